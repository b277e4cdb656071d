"""Authority as the rest of the system sees it: who holds this token, what is the verdict, and who changed what.

The one face of this package. What is permitted is decided by pure functions (`grants`, `delegation`, `limits`,
`verdict`, `approvals`), and what was permitted becomes true in the store: every change carries the guard that the grant
of whoever makes it is alive, and an answer that it was made means that it is durable.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from authority.delegation import child_of, faults, wider
from authority.grants import (
    GRANTS_STREAM,
    TOKEN_BYTES,
    GrantOrder,
    Principal,
    grant_stream,
    operator_grant,
    permissions,
    token_of,
)
from authority.policy import PolicySet, parse, places
from authority.policy_sets import KeptPolicySet, PolicySets
from authority.record import record
from authority.schema import OperationShape, check
from authority.suspension import change, suspend_for
from authority.tasks import Tasks
from authority.tokens import Tokens
from authority.turns import Turns
from authority.verdict import evaluate, foregone
from ledger import bounds
from ledger.errors import (
    Forbidden,
    InvalidPolicy,
    InvalidRequest,
    InvariantViolation,
    NotFound,
    Unauthenticated,
    WiderThanParent,
)
from ledger.events import (
    GrantIssued,
    GrantResumed,
    GrantRevoked,
    GrantSuspended,
    IntentSubmitted,
    PolicyEvaluated,
    StandingAnomaly,
)
from ledger.intents import JSON
from ledger.store import Append, Appended, GrantAlive, Issue, Revoke, StandingGrant, Store, VersionConflict
from ledger.tasks import TaskContract

_GRANT_ID_BYTES: Final = 10  # not a secret: a grant is only named by it


class Revoked(msgspec.Struct, frozen=True):
    """What died with a grant: it and all below it, and the intents that were in flight under them."""

    revoked: tuple[str, ...]
    in_flight: tuple[str, ...]


class Authority:
    """The grants, the policy sets and the tasks of one ledger, as one process knows them."""

    def __init__(self, store: Store) -> None:
        """Know nothing yet: everything is read when it is first asked for."""
        self._store = store
        self._tokens = Tokens(store)
        self._policies = PolicySets(store)
        self._tasks = Tasks(store)
        self._verdicts = Turns[PolicyEvaluated]()
        self.anomalies: Callable[[Sequence[GrantIssued]], tuple[StandingAnomaly, ...]] = _none  # of those of a chain

    async def close(self) -> None:
        """Stop what runs in the background; before the store stops."""
        await self._tokens.close()

    # ── who is it? ───────────────────────────────────────────────────────────────────────────────────────────────

    async def authenticate(self, token: str, *, fresh: bool = True) -> Principal:
        """Return who holds this token. Raises `Unauthenticated`; says no more about why.

        With `fresh` the store is asked each time. Without, the answer may come from memory: only for a request whose
        append is guarded by the grant.
        """
        return await self._tokens.authenticate(token, fresh=fresh)

    async def standing(self, token: str) -> Sequence[StandingGrant]:
        """Return the chain of a token, dead or alive, the first grant first; empty if unknown. Records no refusal."""
        return await self._tokens.standing(token)

    def person(self, principal: Principal) -> None:
        """Raise `Forbidden` for anybody but a person."""
        if principal.subject.kind != "person":
            raise Forbidden("Only a person may do this. Nothing was done.")

    def refused(self, principal: Principal, act: str, of: str | None) -> None:
        """Let the audit tell that somebody asked for what is not theirs to do: `act`, `of` an intent. Never waits."""
        self._tokens.refusals.act(principal, act, of)

    async def expiry(self, grant: str) -> datetime | None:
        """Return when a grant, or the first above it, expires; None: never."""
        expiries = [one.expires_at for one in await self._tokens.chain(grant) if one.expires_at is not None]
        return min(expiries, default=None)

    def unbounded(self, principal: Principal, why: str = "Policy binds everybody") -> None:
        """Raise `Forbidden` for anybody but a person who may do everything: what binds all, no one else changes."""
        self.person(principal)
        for grant in principal.chain:
            everything = any(one.operation == "*" and not one.where for one in permissions(grant))
            if not everything or grant.task is not None:
                raise Forbidden(
                    f"{why}, and grant {grant.grant} does not permit everything: somebody whose whole "
                    "chain does must change it. Nothing was done."
                )

    def dead(self, grant: str) -> None:
        """Answer no more from memory for a grant whose guard did not hold, or for those below it."""
        self._tokens.forget(grant)

    async def record(self, principal: Principal, append: Append, what: str) -> Appended | VersionConflict:
        """Append what a principal says under their living grant; tell that it is durable, or that the stream moved on.

        `what` names it ("your answer was recorded"). Raises `Unauthenticated`, and `Unavailable` if it is not known.
        """
        try:
            return await record(self._store, append, what)
        except Unauthenticated:
            self.dead(principal.grant)
            raise

    # ── what is the verdict? ─────────────────────────────────────────────────────────────────────────────────────

    async def verdict(self, submitted: IntentSubmitted, facts: Mapping[str, JSON], at: datetime) -> PolicyEvaluated:
        """Give the verdict of the grants, the task, the limits and the policy set that this process holds active.

        The append that rests on it carries the guard that it still is (`ledger.store.PolicyActive`).
        """
        policy_set = await self._policies.in_force()
        chain = await self._tokens.chain(submitted.grant)
        odd = self.anomalies(chain)
        return await self._verdicts.take(lambda: evaluate(chain, policy_set, submitted, facts, at, anomalies=odd))

    async def foregone(self, submitted: IntentSubmitted, at: datetime) -> PolicyEvaluated | None:
        """Give the verdict if grants, task or limits deny whatever the facts are, before anybody looks those up."""
        policy_set = await self._policies.in_force()
        return foregone(await self._tokens.chain(submitted.grant), policy_set, submitted, at)

    async def refresh_policy(self) -> None:
        """Ask the store which policy set is active, because a guard said that another one is."""
        self._policies.forget()
        await self._policies.in_force()

    # ── grants ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def ensure_operator(self, token: str) -> bool:
        """Make the operator's grant for `token` unless the ledger has a living one; False if it has.

        Raises `Unavailable` when it is not known whether the grant was recorded.
        """
        past = await self._store.read(GRANTS_STREAM)
        if past and not isinstance(past[-1].event, GrantRevoked):
            return False
        grant = operator_grant(token, 1 + len(past) // 2)  # each one before was issued and revoked
        append = Append(stream=GRANTS_STREAM, expected_version=len(past), events=(grant,), change=Issue(grant))
        return isinstance(await record(self._store, append, "the operator's grant was recorded"), Appended)

    async def issue(
        self, principal: Principal, order: GrantOrder, entropy: Callable[[int], bytes]
    ) -> tuple[GrantIssued, str]:
        """Issue a grant below the principal's own; return it with its token, which nobody can show again.

        Raises `InvalidRequest` and `WiderThanParent` with each place; `Unavailable` if it is not known whether it was
        recorded: then nobody has its token, and it may be revoked if it turns up among the grants.
        """
        found = faults(order)
        if found:
            raise InvalidRequest("This is no grant. Nothing was issued.", errors=found)
        token = token_of(entropy(TOKEN_BYTES))
        name = f"grant-{entropy(_GRANT_ID_BYTES).hex()}"
        child = child_of(principal, order, grant=name, token=token, now=self._store.now())
        found = wider(child, principal.chain[-1])
        if found:
            raise WiderThanParent(errors=found)
        append = Append(
            stream=grant_stream(child),
            expected_version=0,
            events=(child,),
            guards=(GrantAlive(principal.grant),),
            change=Issue(child),
        )
        if not isinstance(await self.record(principal, append, f"grant {name} was issued"), Appended):
            raise InvariantViolation(f"The new id {name} was already in use.")
        return child, token

    async def revoke(self, principal: Principal, grant: str, reason: str) -> Revoked:
        """Revoke a grant and all below it: the principal's own, or one below it. Doing it again is harmless.

        Once this returns, no decision is made under any of them. Raises `NotFound`, for agents also where the grant is
        none of theirs, and `Forbidden`; `Unavailable` if it is not known whether it was recorded: revoke again.
        """
        standing = await self._store.chain(grant=grant)
        if principal.grant not in {one.issued.grant for one in standing}:
            if standing and principal.subject.kind == "person":
                raise Forbidden(f"Grant {grant} is not below yours. Nothing was revoked.")
            raise NotFound(f"There is no grant {grant} here.")
        stream = grant_stream(standing[-1].issued)
        past = await self._store.read(stream)
        if not standing[-1].revoked and not isinstance(past[-1].event, GrantRevoked):
            event = GrantRevoked(grant=grant, reason=reason, by=principal.subject.name, custody=principal.custody)
            append = Append(
                stream=stream,
                expected_version=len(past),  # if it has moved on, somebody else has just revoked it
                events=(event,),
                guards=(GrantAlive(principal.grant),),
                change=Revoke(grant),
            )
            await self.record(principal, append, f"grant {grant} was revoked")
        return await self._stopped(grant)

    async def suspend(self, principal: Principal, grant: str, reason: str) -> Revoked:
        """Suspend a grant below the principal's own, with all below it, until it is resumed. Again is harmless.

        Once this returns, no decision is made under any of them. Raises as `authority.suspension.change` does.
        """
        by, custody = principal.subject.name, principal.custody
        await change(self._store, principal, GrantSuspended(grant=grant, reason=reason, by=by, custody=custody))
        return await self._stopped(grant)

    async def suspend_for(self, grant: str, anomaly: str, reason: str, *, since: datetime) -> bool:
        """Suspend a grant for an anomaly that was found at a time, once; tell whether it was suspended for it."""
        done = await suspend_for(self._store, grant, anomaly, reason, since)
        self._tokens.forget(grant)
        return done

    async def resume(self, principal: Principal, grant: str, reason: str) -> StandingGrant:
        """Lift the suspension of a grant below the principal's own; return it as it stands. Again is harmless.

        Raises as `authority.suspension.change` does.
        """
        by, custody = principal.subject.name, principal.custody
        await change(self._store, principal, GrantResumed(grant=grant, reason=reason, by=by, custody=custody))
        return await self.grant(principal, grant)

    async def grants(self, principal: Principal, after: str | None, limit: int) -> Sequence[StandingGrant]:
        """Return the principal's own grant and all below it, by id, at most `limit` after the id `after`."""
        return await self._store.below(principal.grant, after, limit)

    async def grant(self, principal: Principal, grant: str) -> StandingGrant:
        """Return a grant: the principal's own, or one below it. Raises `NotFound`."""
        standing = await self._store.chain(grant=grant)
        if principal.grant not in {one.issued.grant for one in standing}:
            raise NotFound(f"There is no grant {grant} at or below yours.")
        return standing[-1]

    async def _stopped(self, grant: str) -> Revoked:
        self._tokens.forget(grant)
        dead = await self._all_below(grant)
        return Revoked(dead, tuple(await self._store.in_flight_under(grant)))

    async def _all_below(self, grant: str) -> tuple[str, ...]:
        found: list[str] = []
        while True:
            page = await self._store.below(grant, found[-1] if found else None, bounds.PAGE_LIMIT_MAX)
            found.extend(one.issued.grant for one in page)
            if len(page) < bounds.PAGE_LIMIT_MAX:
                return tuple(found)

    # ── policy sets ──────────────────────────────────────────────────────────────────────────────────────────────

    async def candidate(self, cedar: str, operations: Sequence[OperationShape]) -> PolicySet:
        """Return a policy set that fits the catalogue, and do no more. Raises `InvalidPolicy` with each place."""
        return await asyncio.to_thread(_checked, cedar, operations)  # it may take a tenth of a second

    async def add_policy(
        self, principal: Principal, cedar: str, operations: Sequence[OperationShape], *, activate: bool
    ) -> PolicySet:
        """Check a policy set against the catalogue and keep it; with `activate`, put it in force.

        Adding one that is kept already is harmless. Raises `InvalidPolicy` with each place, and then neither was done.
        """
        self.unbounded(principal)
        policy_set = await self.candidate(cedar, operations)
        await self._policies.add(principal, policy_set)
        if activate:
            await self._policies.activate(principal, policy_set.digest)
        return policy_set

    async def activate(self, principal: Principal, digest: str) -> PolicySet:
        """Put a kept policy set in force for every decision from now on. Raises `NotFound`, `Conflict`."""
        self.unbounded(principal)
        return await self._policies.activate(principal, digest)

    async def policies(self) -> Sequence[KeptPolicySet]:
        """Return the policy sets that are or were in force, the active one first."""
        return await self._policies.activated()

    async def policy(self, digest: str) -> PolicySet:
        """Return a policy set that was kept, in force or not. Raises `NotFound`."""
        return await self._policies.find(digest)

    async def active(self) -> PolicySet:
        """Return the policy set in force, as the store has it now; the built-in one if none was ever activated."""
        await self.refresh_policy()
        return await self._policies.in_force()

    # ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def define_task(self, principal: Principal, contract: TaskContract) -> TaskContract:
        """Define what a task is. The same again is harmless; raises `Conflict` if it is defined otherwise."""
        self.person(principal)
        return await self._tasks.define(principal, contract)

    async def task(self, task: str) -> TaskContract | None:
        """Return the contract of a task; None if none was defined."""
        return await self._tasks.find(task)


def _none(_chain: Sequence[GrantIssued]) -> tuple[StandingAnomaly, ...]:
    return ()


def _checked(cedar: str, operations: Sequence[OperationShape]) -> PolicySet:
    policy_set = parse(cedar)
    found = check(policy_set, operations)
    if found:
        raise InvalidPolicy(
            f"The policy set does not fit the catalogue ({places(found)}). It was not kept.", errors=found
        )
    return policy_set

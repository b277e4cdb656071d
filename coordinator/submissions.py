"""New intents: refused, answered by the one that has their key, or made durable together with what is known at once.

An intent is checked whole before anything of it is recorded, and it is recorded with the verdict of authority where no
facts are needed for that, under guards that hold in the same transaction. Personal data are sealed before
(`coordinator/seals.py`).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, assert_never

import msgspec

from adapters.registry import Registry
from authority.authority import Authority
from authority.grants import Principal
from authority.record import NOT_ALIVE
from coordinator.guards import policy_active
from coordinator.intake import Fault, Request, faults, submitted
from coordinator.seals import Incoming, Seals
from coordinator.worker import Worker
from ledger import bounds
from ledger.errors import (
    Invalid,
    InvariantViolation,
    KeyReused,
    Overloaded,
    PossibleDuplicate,
    Unauthenticated,
    Unavailable,
)
from ledger.ids import intent_id, intent_stream
from ledger.intents import Mode
from ledger.phases import Phase
from ledger.state import IntentState, fold
from ledger.store import (
    Append,
    Appended,
    GrantAlive,
    Guard,
    GuardFailed,
    KeyUnused,
    PolicyActive,
    Store,
    Take,
    Unknown,
    Unlike,
    VersionConflict,
)

_TRIES: Final = 5  # of a submission against authority that keeps changing


class Accepted(msgspec.Struct, frozen=True):
    """A durable intent; `hit` when it was there already, under the same key and with the same body."""

    state: IntentState
    hit: bool


class Submissions:
    """How one process takes new intents of one ledger."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        authority: Authority,
        entropy: Callable[[int], bytes],
        *,
        worker: Worker,
        seals: Seals,
        look: Callable[[str], Awaitable[IntentState]],
    ) -> None:
        """`worker` begins to work on what is accepted; `look` returns an intent on record."""
        self._store = store
        self._registry = registry
        self._authority = authority
        self._entropy = entropy
        self._worker = worker
        self._seals = seals
        self._look = look

    async def submit(self, principal: Principal, request: Request) -> Accepted:
        """Record an intent durably and begin to work on it.

        A key that is known is answered by its intent, even where a new one would be refused. Raises `Invalid` with
        every fault, `KeyReused`, `PossibleDuplicate`, `Unauthenticated` (the grant has died), `Overloaded` (nothing was
        recorded), or `Unavailable` (it may have been: the same key gives the truth).
        """
        found = faults(request, self._registry) or self._seals.faults(request)
        if found or self._worker.full:
            return await self._replay_or_refuse(principal, request, found)
        contract = await self._authority.task(request.task) if request.task is not None else None
        intent = intent_id(self._store.now(), self._entropy(10))
        plain = submitted(request, self._registry, principal, self._store.ledger, intent, contract=contract)
        first = await self._seals.incoming(request, plain)
        in_vain: list[str] = []
        for _ in range(_TRIES):
            until = self._worker.lease_until()
            verdict = await self._store.append(await self._first_append(principal, first, in_vain))
            match verdict:
                case Appended(recorded, epoch):
                    state = fold(recorded)
                    if state is None:
                        raise InvariantViolation("An accepted intent has no state.")
                    if epoch is not None:
                        self._worker.begin(intent, epoch, until, state)
                    return Accepted(state, hit=False)
                case GuardFailed():
                    replayed = await self._refused(verdict, request, in_vain)
                    if replayed is not None:
                        return replayed
                case Unknown(reason):
                    raise Unavailable(
                        f"Whether the intent was recorded is not known: {reason} The same key gives the truth."
                    )
                case VersionConflict():
                    raise InvariantViolation(f"The new id {intent} was already in use.")
                case _:
                    assert_never(verdict)
        raise Overloaded("Authority kept changing while this was submitted. Nothing was recorded; retry.")

    async def _refused(self, failed: GuardFailed, request: Request, in_vain: list[str]) -> Accepted | None:
        """Say why a guard keeps a new intent out, answer it by the one that has its key, or let it try again."""
        match failed:
            case GuardFailed(KeyUnused(), used_by):
                return await self._replay(used_by, request)
            case GuardFailed(GrantAlive(grant)):
                self._authority.dead(grant)
                raise Unauthenticated(NOT_ALIVE)
            case GuardFailed(PolicyActive()):
                await self._authority.refresh_policy()
            case GuardFailed(Unlike(), str(like)) if like not in in_vain and await self._was_in_vain(like):
                in_vain.append(like)
            case GuardFailed(Unlike(), like):
                raise PossibleDuplicate(intent=like)
            case _:
                raise InvariantViolation(f"A submission met the guard {type(failed.guard).__name__}.")
        return None

    async def _first_append(self, principal: Principal, first: Incoming, in_vain: Sequence[str]) -> Append:
        """Return what is recorded at once: the intent, and the verdict where no facts are needed for it."""
        now, plain, kept = self._store.now(), first.plain, first.kept
        no_facts = plain.mode is Mode.EXECUTE and not any(plan.facts for plan in plain.actions)
        authority = self._authority
        verdict = await (authority.verdict(plain, {}, now) if no_facts else authority.foregone(plain, now))
        if verdict is not None and first.seal is not None:
            verdict = first.seal.sealed(verdict)
        denied = verdict is not None and verdict.effect == "deny"
        guards: list[Guard] = [
            KeyUnused(principal.namespace, kept.idempotency_key, kept.request_digest),
            GrantAlive(principal.grant),
        ]
        if verdict is not None:
            guards.append(policy_active(verdict.policy_set))
        if first.likeness is not None and not denied:
            guards.append(Unlike(first.likeness, 0 if kept.again else bounds.DUPLICATE_SECONDS, tuple(in_vain)))
        return Append(
            stream=intent_stream(kept.intent),
            expected_version=0,
            events=(kept,) if verdict is None else (kept, verdict),
            guards=tuple(guards),
            work=None if denied else Take(self._worker.name, self._worker.lease_seconds),
        )

    async def _was_in_vain(self, intent: str) -> bool:
        """Tell whether an intent has ended without leaving any effect: repeating it repeats nothing."""
        return (await self._look(intent)).phase in {Phase.DENIED, Phase.ABORTED, Phase.COMPENSATED}

    async def _replay(self, intent: str | None, request: Request) -> Accepted:
        if intent is None:
            raise InvariantViolation("An idempotency key is in use by no intent.")
        state = await self._look(intent)
        if not await self._seals.same(state, request):
            raise KeyReused(intent=intent)
        return Accepted(state, hit=True)

    async def _replay_or_refuse(self, principal: Principal, request: Request, found: Sequence[Fault]) -> Accepted:
        """Refuse a new intent; one that was accepted long ago is not undone by what has changed since."""
        known = await self._store.submission(principal.namespace, request.idempotency_key)
        if known is not None:
            return await self._replay(known.intent, request)
        if found:
            raise Invalid("The intent does not fit the catalogue. Nothing was recorded.", errors=found)
        raise Overloaded

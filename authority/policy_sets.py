"""Policy sets: kept under their digest, active by an event, and known to each process until a guard says otherwise.

Each append that rests on a verdict names the policy set which gave it (`PolicyActive`), so a process that has not heard
of an activation is corrected at the append, and then asks again (`forget`).
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from authority.grants import Principal
from authority.policy import DEFAULT, PolicySet, parse
from authority.recent import Recent
from authority.record import record
from ledger.errors import Conflict, Corrupt, InvalidPolicy, NotFound
from ledger.events import PolicySetActivated, PolicySetAdded
from ledger.store import Activate, Append, Appended, GrantAlive, Store

ACTIVATIONS_STREAM: Final = "policies"
_TRIES: Final = 5  # of an activation against others
_KEPT: Final = 8  # parsed sets; one is active, others are being tried or left


class KeptPolicySet(msgspec.Struct, frozen=True):
    """A policy set that is, or was, in force."""

    digest: str
    active: bool
    activated_at: datetime  # the last time
    activated_by: str


class PolicySets:
    """The policy sets of one ledger, as one process knows them."""

    def __init__(self, store: Store) -> None:
        """Know nothing yet."""
        self._store = store
        self._in_force: PolicySet | None = None
        self._asking = asyncio.Lock()  # one question at a time, however many wait for its answer
        self._sets: Recent[str, PolicySet] = Recent(_KEPT)  # by digest; they never change

    async def in_force(self) -> PolicySet:
        """Return the active policy set as far as this process knows; the built-in one if none was ever activated."""
        if self._in_force is not None:
            return self._in_force
        async with self._asking:
            if self._in_force is None:
                digest = await self._store.active_policy()
                self._in_force = DEFAULT if digest is None else await self.find(digest)
            return self._in_force

    def forget(self) -> None:
        """Ask the store again which policy set is active."""
        self._in_force = None

    async def find(self, digest: str) -> PolicySet:
        """Return a policy set that was added, or the built-in one. Raises `NotFound`."""
        if digest == DEFAULT.digest:
            return DEFAULT
        known = self._sets.get(digest)
        if known is not None:
            return known
        recorded = await self._store.read(_stream(digest))
        if not recorded:
            raise NotFound(f"There is no policy set {digest} in this ledger.")
        event = recorded[0].event
        if not isinstance(event, PolicySetAdded):
            raise Corrupt(f"The stream of policy set {digest} holds a {recorded[0].type}, which is no policy set.")
        try:
            found = parse(event.cedar)
        except InvalidPolicy as error:  # it was valid when it was kept; what bound it then is not ours to relax
            raise Corrupt(f"This release cannot read the policy set kept as {digest}: {error.message}") from error
        if found.digest != digest:
            raise Corrupt(f"The policy set kept as {digest} is {found.digest}. It is not used; a person must look.")
        self._sets.put(digest, found)
        return found

    async def add(self, principal: Principal, policy_set: PolicySet) -> None:
        """Keep a checked policy set; keeping it again is harmless."""
        event = PolicySetAdded(
            policy_set=policy_set.digest,
            cedar=policy_set.text,
            policies=policy_set.policies,
            by=principal.subject.name,
            custody=principal.custody,
        )
        append = Append(
            stream=_stream(policy_set.digest),
            expected_version=0,
            events=(event,),
            guards=(GrantAlive(principal.grant),),
        )
        await record(self._store, append, f"policy set {policy_set.digest} was kept")
        self._sets.put(policy_set.digest, policy_set)

    async def activate(self, principal: Principal, digest: str) -> PolicySet:
        """Put a policy set in force for every decision from now on. Raises `NotFound`, `Conflict`."""
        policy_set = await self.find(digest)
        for _ in range(_TRIES):
            version = len(await self._store.read(ACTIVATIONS_STREAM))
            event = PolicySetActivated(policy_set=digest, by=principal.subject.name, custody=principal.custody)
            append = Append(
                stream=ACTIVATIONS_STREAM,
                expected_version=version,
                events=(event,),
                guards=(GrantAlive(principal.grant),),
                change=Activate(None if policy_set is DEFAULT else digest),
            )
            verdict = await record(self._store, append, f"policy set {digest} was activated")
            self.forget()
            if isinstance(verdict, Appended):
                return policy_set
        raise Conflict("Others activated policy sets at the same time. Nothing was changed; look and try again.")

    async def activated(self) -> Sequence[KeptPolicySet]:
        """Return the policy sets that are or were in force, the active one first."""
        last: dict[str, KeptPolicySet] = {}
        active = await self._store.active_policy()
        for one in await self._store.read(ACTIVATIONS_STREAM):
            if not isinstance(one.event, PolicySetActivated):
                raise Corrupt(f"The stream of activations holds a {one.type} at position {one.position}.")
            digest = one.event.policy_set
            last.pop(digest, None)
            last[digest] = KeptPolicySet(digest, digest == (active or DEFAULT.digest), one.at, one.event.by)
        return sorted(last.values(), key=lambda one: (one.active, one.activated_at), reverse=True)


def _stream(digest: str) -> str:
    return f"policy/{digest}"

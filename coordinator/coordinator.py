"""The coordinator as the door sees it: submit, look, wait, and what people say.

Thin: every decision is made by the pure functions of `intake`, `people` and `decide`; every fact is in the store.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

import structlog

from adapters.registry import Registry
from authority.approvals import Involved
from authority.authority import Authority
from authority.grants import Principal
from coordinator import people
from coordinator.backoff import pauses
from coordinator.calls import Calls
from coordinator.guards import notable
from coordinator.intake import Request
from coordinator.places import AdapterStatus
from coordinator.runner import Runner
from coordinator.seals import Seals
from coordinator.submissions import Accepted, Submissions
from coordinator.undo_plans import UndoPlans
from coordinator.undo_runner import UndoRunner
from coordinator.worker import Worker
from ledger import bounds
from ledger.errors import Conflict, Corrupt, NotFound
from ledger.events import Event, GrantIssued, Recorded
from ledger.ids import intent_stream
from ledger.intent_seal import IntentSeal
from ledger.phases import TERMINAL, UNDECIDED, Phase
from ledger.state import IntentState, fold
from ledger.store import Append, Appended, Due, GrantAlive, Store
from ledger.subject_keys import SubjectKeys

log = structlog.get_logger(__name__)

_TRIES: Final = 5  # of a person's word against a worker that keeps appending


class Coordinator:
    """One process's coordinator of one ledger."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        authority: Authority,
        entropy: Callable[[int], bytes],
        worker_name: str,
        *,
        lease_seconds: float = bounds.LEASE_SECONDS,
        notify: bool = False,
        keys: SubjectKeys | None = None,
    ) -> None:
        """`entropy(n)` gives n random bytes; `worker_name` must differ between processes.

        `keys`: of data subjects; without them no intent with personal data is taken or worked.
        `notify`: somebody wants to be told of questions to people and their answers, through the outbox.
        """
        self._notify = notify
        self._lease_seconds = lease_seconds
        self._store = store
        self._registry = registry
        self._authority = authority
        self._entropy = entropy
        self._seals = seals = Seals(store.ledger, keys, registry)
        self.calls = Calls(store, registry, seals)
        runner = Runner(store, self.calls, authority, seals, notify=notify)
        self._worker = Worker(store, runner, UndoRunner(store, registry), worker_name, lease_seconds)
        self._submissions = Submissions(
            store, registry, authority, entropy, worker=self._worker, seals=seals, look=self.get
        )
        self.undo_plans = UndoPlans(store, registry, authority, entropy, wake=self._worker.wake, seals=seals)

    @property
    def in_flight(self) -> int:
        """Return how many intents this process is running now."""
        return self._worker.in_flight

    def statuses(self) -> Sequence[AdapterStatus]:
        """Tell how this process finds each adapter now."""
        return self.calls.statuses()

    def start(self) -> None:
        """Begin to work on what is due, left behind or not."""
        self._worker.start()

    async def drain(self, seconds: float) -> None:
        """Take nothing new, finish what runs or give it away."""
        await self._worker.drain(seconds)

    async def submit(self, principal: Principal, request: Request) -> Accepted:
        """Record an intent durably and begin to work on it: see `Submissions.submit`."""
        return await self._submissions.submit(principal, request)

    async def get(self, intent: str, at_position: int | None = None) -> IntentState:
        """Return an intent as it is, or as it was at a position of the ledger. Raises `NotFound`."""
        recorded = await self.events(intent)
        state = fold(one for one in recorded if at_position is None or one.position <= at_position)
        if state is None:
            raise NotFound(f"At position {at_position} there was no intent {intent} yet.")
        return state

    async def events(self, intent: str) -> Sequence[Recorded]:
        """Return the events of an intent. Raises `NotFound`."""
        recorded = await self._store.read(intent_stream(intent))
        if not recorded:
            raise NotFound(f"There is no intent {intent} in this ledger.")
        return recorded

    async def seal_of(self, state: IntentState) -> IntentSeal | None:
        """Return what opens the personal data of an intent, with the keys that are left; None if it has none."""
        return await self._seals.of(state)

    async def rest(self, intent: str) -> IntentState:
        """Wait until the intent has ended or waits for a person, for as long as the caller lets us."""
        state: IntentState | None = None
        pause = pauses()
        while True:
            task = self._worker.running(intent)
            ended = await _result(task) if task else None
            state = ended or await self._newer(intent, state)
            if settled(state):
                return state
            if task is None:
                await asyncio.sleep(next(pause))

    async def _newer(self, intent: str, state: IntentState | None) -> IntentState:
        """Return the state as it is now, reading only what was appended since it was seen. Raises `NotFound`."""
        if state is None:
            return await self.get(intent)
        return fold(await self._store.read(intent_stream(intent), state.version), state) or state

    async def cancel(self, intent: str, principal: Principal, reason: str) -> IntentState:
        """Abort an undecided intent. Raises `NotFound`, `Forbidden`, `AlreadyDecided`, `Unauthenticated`."""
        by = principal.subject.name
        return await self._say_within_reach(intent, principal, lambda state: people.cancel(state, reason, by))

    async def undo(self, intent: str, principal: Principal, reason: str, *, partial: bool) -> IntentState:
        """Begin to undo a committed intent. Raises `NotFound`, `Forbidden`, `NotUndoable`, `Unauthenticated`."""
        now, by = self._store.now(), principal.subject.name
        return await self._say_within_reach(
            intent, principal, lambda state: people.undo(state, reason, by, partial=partial, now=now)
        )

    async def resolve(
        self,
        intent: str,
        principal: Principal,
        action: str | None,
        outcome: Literal["applied", "not_applied"],
        note: str,
    ) -> IntentState:
        """Answer an intent's call for attention. Raises `NotFound`, `Forbidden`, `NotWaiting`, `Unauthenticated`."""
        by = principal.subject.name
        return await self._say_within_reach(
            intent, principal, lambda state: people.resolve(state, action, outcome, note, by)
        )

    async def approve(self, intent: str, principal: Principal, digest: str, note: str | None) -> IntentState:
        """Record a person's approval of exactly what the digest names.

        Raises `NotFound`, `NotWaiting`, `NotEligible`, `DigestMismatch`, `Unauthenticated`.
        """

        async def word(state: IntentState) -> Event:
            involved = await self._involved(state)
            return people.approve(state, involved, people.Answer(principal, digest, self._store.now()), note)

        return await self._say(intent, principal, word)

    async def reject(self, intent: str, principal: Principal, digest: str, reason: str) -> IntentState:
        """Decide against an intent that waits for approval. Raises as `approve` does."""

        async def word(state: IntentState) -> Event:
            involved = await self._involved(state)
            return people.reject(state, involved, people.Answer(principal, digest, self._store.now()), reason)

        return await self._say(intent, principal, word)

    async def classify(self, intents: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
        """Split intents whose grant has just been revoked into those that will be aborted and those decided before.

        Nothing can be decided under that grant any more, so what is undecided now will never be anything else. Whatever
        cannot be read is left out: the revocation stands, and such an intent is nobody's to move.
        """
        self._worker.wake()
        aborting: list[str] = []
        decided: list[str] = []
        for intent in intents:  # there may be very many, and each may be large: one at a time
            state = await self._legible(intent)
            if state is not None and (state.phase in UNDECIDED or state.abort is not None):
                aborting.append(intent)
            elif state is not None and state.committed is not None:
                decided.append(intent)
        return aborting, decided

    async def _involved(self, state: IntentState) -> Involved:
        """Return the grants under which an intent was submitted and, if it waits for people, of those who approved."""
        answered = state.approvals if state.phase is Phase.AWAITING_APPROVAL else ()
        return Involved(
            custody=await self._chain(state.submitted.grant),
            answered=[await self._chain(given.grant) for given in answered],
        )

    async def _chain(self, grant: str | None) -> Sequence[GrantIssued]:
        return [] if grant is None else [one.issued for one in await self._store.chain(grant=grant)]

    async def _say_within_reach(
        self, intent: str, principal: Principal, word: Callable[[IntentState], Event]
    ) -> IntentState:
        """Say what needs no more than that the intent is theirs, or that their own grants permit what it does."""

        async def permitted(state: IntentState) -> Event:
            people.permitted(state, principal)
            return word(state)

        return await self._say(intent, principal, permitted)

    async def _say(
        self, intent: str, principal: Principal, word: Callable[[IntentState], Awaitable[Event]]
    ) -> IntentState:
        """Append what somebody said at the version they saw, and wake a worker; look again if it has moved on.

        Their own grant must be alive at that moment, however long their request was on the way. Raises
        `Unauthenticated` if it is not.
        """
        for _ in range(_TRIES):
            state = await self.get(intent)
            event = await word(state)
            seal = await self.seal_of(state)
            if seal is not None:  # what people write may name whom it is about
                event = seal.sealed(event)
            append = Append(
                stream=intent_stream(intent),
                expected_version=state.version,
                events=(event,),
                guards=(GrantAlive(principal.grant),),
                work=Due(),
                notify=notable((event,)) if self._notify else None,
            )
            verdict = await self._authority.record(principal, append, "your answer was recorded")
            if isinstance(verdict, Appended):
                self._worker.wake()
                return fold(verdict.recorded, state) or state
        raise Conflict("The intent kept moving while you answered. Nothing was changed; look at it and try again.")

    async def _legible(self, intent: str) -> IntentState | None:
        try:
            return await self.get(intent)
        except Corrupt as error:
            log.exception("intent_not_classified", intent=intent, error=type(error).__name__)
            return None


async def _result(task: "asyncio.Task[IntentState | None]") -> IntentState | None:
    """Wait for a run to come to rest, whoever else waits; None if it lost the intent or was stopped."""
    await asyncio.wait([task])
    return None if task.cancelled() else task.result()


def settled(state: IntentState) -> bool:
    """Tell whether nothing more happens to an intent without a person."""
    return state.phase in TERMINAL or state.phase is Phase.AWAITING_APPROVAL or state.attention is not None

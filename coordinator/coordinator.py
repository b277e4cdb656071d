"""The coordinator as the door sees it: submit, look, wait, and what people say.

Thin: every decision is made by the pure functions of `intake`, `people` and `decide`; every fact is in the store.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal, assert_never

import msgspec
import structlog

from adapters.registry import Registry
from authority.approvals import Involved
from authority.authority import Authority
from authority.grants import Principal
from coordinator import people
from coordinator.backoff import pauses
from coordinator.calls import Calls
from coordinator.guards import notable, policy_active
from coordinator.intake import Fault, Request, faults, likeness, submitted
from coordinator.places import AdapterStanding
from coordinator.runner import Runner
from coordinator.undo_plans import UndoPlans
from coordinator.undo_runner import UndoRunner
from coordinator.worker import Worker
from ledger import bounds
from ledger.errors import (
    Conflict,
    Corrupt,
    Invalid,
    InvariantViolation,
    KeyReused,
    NotFound,
    Overloaded,
    PossibleDuplicate,
    Unauthenticated,
    Unavailable,
)
from ledger.events import Event, GrantIssued, IntentSubmitted, Recorded
from ledger.ids import intent_id, intent_stream
from ledger.intents import Mode
from ledger.phases import TERMINAL, UNDECIDED, Phase
from ledger.state import IntentState, fold
from ledger.store import (
    Append,
    Appended,
    Due,
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

log = structlog.get_logger(__name__)

_TRIES: Final = 5  # of a person's word against a worker that keeps appending, of a submission against authority


class Accepted(msgspec.Struct, frozen=True):
    """A durable intent; `hit` when it was there already, under the same key and with the same body."""

    state: IntentState
    hit: bool


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
    ) -> None:
        """`entropy(n)` gives n random bytes; `worker_name` must differ between processes.

        `notify`: somebody wants to be told of questions to people and their answers, through the outbox.
        """
        self._notify = notify
        self._lease_seconds = lease_seconds
        self._store = store
        self._registry = registry
        self._authority = authority
        self._entropy = entropy
        self.calls = Calls(store, registry)
        runner = Runner(store, self.calls, authority, notify=notify)
        self._worker = Worker(store, runner, UndoRunner(store, registry), worker_name, lease_seconds)
        self.undo_plans = UndoPlans(store, registry, authority, entropy, self._worker.wake)

    @property
    def in_flight(self) -> int:
        """Return how many intents this process is running now."""
        return self._worker.in_flight

    def standings(self) -> Sequence[AdapterStanding]:
        """Tell how this process finds each adapter now."""
        return self.calls.standings()

    def start(self) -> None:
        """Begin to work on what is due, left behind or not."""
        self._worker.start()

    async def drain(self, seconds: float) -> None:
        """Take nothing new, finish what runs or give it away."""
        await self._worker.drain(seconds)

    async def submit(self, principal: Principal, request: Request) -> Accepted:
        """Record an intent durably and begin to work on it.

        A key that is known is answered by its intent, even where a new one would be refused. Raises `Invalid` with
        every fault, `KeyReused`, `PossibleDuplicate`, `Unauthenticated` (the grant has died), `Overloaded` (nothing was
        recorded), or `Unavailable` (it may have been: the same key gives the truth).
        """
        found = faults(request, self._registry)
        if found or self._worker.full:
            return await self._replay_or_refuse(principal, request, found)
        contract = await self._authority.task(request.task) if request.task is not None else None
        intent = intent_id(self._store.now(), self._entropy(10))
        first = submitted(request, self._registry, principal, self._store.ledger, intent, contract=contract)
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
            case GuardFailed(KeyUnused(), used_by, digest):
                return await self._replay(used_by, digest, request)
            case GuardFailed(GrantAlive(grant)):
                self._authority.dead(grant)
                raise Unauthenticated("This token is not alive. Nothing was recorded.")
            case GuardFailed(PolicyActive()):
                await self._authority.refresh_policy()
            case GuardFailed(Unlike(), str(like)) if like not in in_vain and await self._was_in_vain(like):
                in_vain.append(like)
            case GuardFailed(Unlike(), like):
                raise PossibleDuplicate(intent=like)
            case _:
                raise InvariantViolation(f"A submission met the guard {type(failed.guard).__name__}.")
        return None

    async def _first_append(self, principal: Principal, first: IntentSubmitted, in_vain: Sequence[str]) -> Append:
        """Return what is recorded at once: the intent, and the verdict where no facts are needed for it."""
        now = self._store.now()
        no_facts = first.mode is Mode.EXECUTE and not any(plan.facts for plan in first.actions)
        authority = self._authority
        verdict = await (authority.verdict(first, {}, now) if no_facts else authority.foregone(first, now))
        denied = verdict is not None and verdict.effect == "deny"
        guards: list[Guard] = [
            KeyUnused(principal.namespace, first.idempotency_key, first.request_digest),
            GrantAlive(principal.grant),
        ]
        if verdict is not None:
            guards.append(policy_active(verdict.policy_set))
        like = likeness(first)
        if like is not None and not denied:
            guards.append(Unlike(like, 0 if first.again else bounds.DUPLICATE_SECONDS, tuple(in_vain)))
        return Append(
            stream=intent_stream(first.intent),
            expected_version=0,
            events=(first,) if verdict is None else (first, verdict),
            guards=tuple(guards),
            work=None if denied else Take(self._worker.name, self._lease_seconds),
        )

    async def _was_in_vain(self, intent: str) -> bool:
        """Tell whether an intent has ended without leaving any effect: repeating it repeats nothing."""
        return (await self.get(intent)).phase in {Phase.DENIED, Phase.ABORTED, Phase.COMPENSATED}

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
            verdict = await self._store.append(
                Append(
                    stream=intent_stream(intent),
                    expected_version=state.version,
                    events=(event,),
                    guards=(GrantAlive(principal.grant),),
                    work=Due(),
                    notify=notable((event,)) if self._notify else None,
                )
            )
            match verdict:
                case Appended(recorded, _):
                    self._worker.wake()
                    return fold(recorded, state) or state
                case Unknown(reason):
                    raise Unavailable(f"Whether your answer was recorded is not known: {reason} Look at the intent.")
                case GuardFailed(GrantAlive(grant)):
                    self._authority.dead(grant)
                    raise Unauthenticated("This token is not alive. Nothing was recorded.")
                case VersionConflict() | GuardFailed():
                    continue
                case _:
                    assert_never(verdict)
        raise Conflict("The intent kept moving while you answered. Nothing was changed; look at it and try again.")

    async def _replay(self, intent: str | None, digest: str | None, request: Request) -> Accepted:
        if digest != request.request_digest:
            raise KeyReused(intent=intent)
        if intent is None:
            raise InvariantViolation("An idempotency key is in use by no intent.")
        return Accepted(await self.get(intent), hit=True)

    async def _replay_or_refuse(self, principal: Principal, request: Request, found: Sequence[Fault]) -> Accepted:
        """Refuse a new intent; one that was accepted long ago is not undone by what has changed since."""
        known = await self._store.submission(principal.namespace, request.idempotency_key)
        if known is not None:
            return await self._replay(known.intent, known.request_digest, request)
        if found:
            raise Invalid("The intent does not fit the catalogue. Nothing was recorded.", errors=found)
        raise Overloaded

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

"""The coordinator as the door sees it: submit, look, wait, and what people say.

Thin: every decision is made by the pure functions of `intake`, `people` and `decide`; every fact is in the store.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, assert_never

import msgspec

from adapters.registry import Registry
from authority.authority import Authority
from authority.grants import Principal
from coordinator import people
from coordinator.calls import Calls
from coordinator.intake import Fault, Request, faults, submitted
from coordinator.runner import Runner
from coordinator.worker import Worker
from ledger import bounds
from ledger.errors import Conflict, Invalid, InvariantViolation, KeyReused, NotFound, Overloaded, Unavailable
from ledger.events import Event, PolicyEvaluated, Recorded
from ledger.ids import intent_id, intent_stream
from ledger.intents import Mode
from ledger.phases import TERMINAL, Phase
from ledger.state import IntentState, fold
from ledger.store import Append, Appended, Due, GuardFailed, KeyUnused, Store, Take, Unknown, VersionConflict

_TRIES: Final = 5  # of a person's word against a worker that keeps appending
_POLL_SECONDS: Final = 0.1  # for an intent that another process runs: at first,
_POLL_SECONDS_MAX: Final = 1.0  # and when it takes long


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
    ) -> None:
        """`entropy(n)` gives n random bytes; `worker_name` must differ between processes."""
        self._lease_seconds = lease_seconds
        self._store = store
        self._registry = registry
        self._authority = authority
        self._entropy = entropy
        runner = Runner(store, Calls(store, registry), authority)
        self._worker = Worker(store, runner, worker_name, lease_seconds)

    @property
    def in_flight(self) -> int:
        """Return how many intents this process is running now."""
        return self._worker.in_flight

    def start(self) -> None:
        """Begin to work on what is due, left behind or not."""
        self._worker.start()

    async def drain(self, seconds: float) -> None:
        """Take nothing new, finish what runs or give it away."""
        await self._worker.drain(seconds)

    async def submit(self, principal: Principal, request: Request) -> Accepted:
        """Record an intent durably and begin to work on it.

        A key that is known is answered by its intent, even where a new one would be refused. Raises `Invalid` with
        every fault, `KeyReused`, `Overloaded` (nothing was recorded), or `Unavailable` (it may have been: the same
        key gives the truth).
        """
        subject = f"{principal.subject.kind}:{principal.subject.name}"
        found = faults(request, self._registry)
        if found or self._worker.full:
            return await self._replay_or_refuse(subject, request, found)
        intent = intent_id(self._store.now(), self._entropy(10))
        events = self._first_events(request, principal, intent)
        last = events[-1]
        denied = isinstance(last, PolicyEvaluated) and last.effect == "deny"
        until = self._worker.lease_until()
        verdict = await self._store.append(
            Append(
                stream=intent_stream(intent),
                expected_version=0,
                events=events,
                guards=(KeyUnused(subject, request.idempotency_key, request.request_digest),),
                work=None if denied else Take(self._worker.name, self._lease_seconds),
            )
        )
        match verdict:
            case Appended(recorded, epoch):
                state = fold(recorded)
                if state is None:
                    raise InvariantViolation("An accepted intent has no state.")
                if epoch is not None:
                    self._worker.begin(intent, epoch, until, state)
                return Accepted(state, hit=False)
            case GuardFailed(_, used_by, digest):
                return await self._replay(used_by, digest, request)
            case Unknown(reason):
                raise Unavailable(
                    f"Whether the intent was recorded is not known: {reason} The same key gives the truth."
                )
            case VersionConflict():
                raise InvariantViolation(f"The new id {intent} was already in use.")
            case _:
                assert_never(verdict)

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

    async def cancel(self, intent: str, reason: str, by: str) -> IntentState:
        """Abort an undecided intent. Raises `NotFound`, `AlreadyDecided`."""
        return await self._say(intent, lambda state: people.cancel(state, reason, by))

    async def undo(self, intent: str, reason: str, by: str, *, partial: bool) -> IntentState:
        """Begin to undo a committed intent. Raises `NotFound`, `NotUndoable`."""
        now = self._store.now()
        return await self._say(intent, lambda state: people.undo(state, reason, by, partial=partial, now=now))

    async def resolve(
        self, intent: str, action: str | None, outcome: Literal["applied", "not_applied"], note: str, by: str
    ) -> IntentState:
        """Answer an intent's call for attention. Raises `NotFound`, `NotWaiting`."""
        return await self._say(intent, lambda state: people.resolve(state, action, outcome, note, by))

    async def _say(self, intent: str, word: Callable[[IntentState], Event]) -> IntentState:
        """Append what a person said at the version they saw, and wake a worker; look again if it has moved on."""
        for _ in range(_TRIES):
            state = await self.get(intent)
            verdict = await self._store.append(
                Append(
                    stream=intent_stream(intent),
                    expected_version=state.version,
                    events=(word(state),),
                    work=Due(),
                )
            )
            match verdict:
                case Appended(recorded, _):
                    self._worker.wake()
                    return fold(recorded, state) or state
                case Unknown(reason):
                    raise Unavailable(f"Whether your answer was recorded is not known: {reason} Look at the intent.")
                case VersionConflict() | GuardFailed():
                    continue
                case _:
                    assert_never(verdict)
        raise Conflict("The intent kept moving while you answered. Nothing was changed; look at it and try again.")

    def _first_events(self, request: Request, principal: Principal, intent: str) -> tuple[Event, ...]:
        """Return what is recorded at once: the intent, and the verdict where no facts are needed for it."""
        first = submitted(request, self._registry, principal, self._store.ledger, intent)
        if request.mode is Mode.DRY_RUN or any(plan.facts for plan in first.actions):
            return (first,)
        return (first, self._authority.evaluate(first, {}))

    async def _replay(self, intent: str | None, digest: str | None, request: Request) -> Accepted:
        if digest != request.request_digest:
            raise KeyReused(intent=intent)
        if intent is None:
            raise InvariantViolation("An idempotency key is in use by no intent.")
        return Accepted(await self.get(intent), hit=True)

    async def _replay_or_refuse(self, subject: str, request: Request, found: Sequence[Fault]) -> Accepted:
        """Refuse a new intent; one that was accepted long ago is not undone by what has changed since."""
        known = await self._store.submission(subject, request.idempotency_key)
        if known is not None:
            return await self._replay(known.intent, known.request_digest, request)
        if found:
            raise Invalid("The intent does not fit the catalogue. Nothing was recorded.", errors=found)
        raise Overloaded


def pauses() -> Iterator[float]:
    """Yield the seconds between looks at an intent that others run: growing, so that waiting for long costs little."""
    pause = _POLL_SECONDS
    while True:
        yield pause
        pause = min(2 * pause, _POLL_SECONDS_MAX)


async def _result(task: "asyncio.Task[IntentState | None]") -> IntentState | None:
    """Wait for a run to come to rest, whoever else waits; None if it lost the intent or was stopped."""
    await asyncio.wait([task])
    return None if task.cancelled() else task.result()


def settled(state: IntentState) -> bool:
    """Tell whether nothing more happens to an intent without a person."""
    return state.phase in TERMINAL or state.phase is Phase.AWAITING_APPROVAL or state.attention is not None

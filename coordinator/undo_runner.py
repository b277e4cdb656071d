"""Carries out an approved undo plan: begins its intents one after another, and records what came of them.

    plan ─► ahead ─► for each intent: read ─► begin_or_end ─► CompensateDecided, appended and taken in one ─► run
              ▲                                                                                              │
              └──────────────── what came to rest, recorded some at a time ◄─────────────────────────────────┘

Rules of this file:

1. A plan is in flight like an intent, under a lease and an epoch; whoever dies leaves it to whoever claims next. There
   is nothing to repair: an intent that was begun says so in its own stream.
2. Each undo is a decision of its own, at the version that was looked at, under the approver's living grant. Once that
   has died nothing more is begun, and the plan halts; what was begun goes on, for it is decided.
3. An intent that is being undone is an intent like any other, run by the worker under a lease of its own. Whoever else
   runs it, here we only look.
4. Nothing is decided here (`coordinator/undo_plan.py`), and nothing is kept that the next worker would miss.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Final, Protocol, assert_never

import structlog

from adapters.registry import Registry
from coordinator.backoff import pauses
from coordinator.calls import Lease
from coordinator.undo_plan import Configured, ahead, begin_or_end
from ledger import bounds
from ledger import events as e
from ledger.errors import Corrupt, Unavailable
from ledger.ids import flight_stream, intent_stream
from ledger.state import IntentState, fold
from ledger.store import (
    Append,
    Appended,
    Due,
    EpochCurrent,
    Finished,
    GrantAlive,
    GuardFailed,
    Parked,
    Store,
    Take,
    Unknown,
    VersionConflict,
    Work,
)
from ledger.undo_plans import Ending, PlannedUndo, UndoOutcome, count_endings
from ledger.undo_state import PlanPhase, PlanState, fold_plan

log = structlog.get_logger(__name__)


_NOT_ALIVE: Final = (
    "The grant under which it was approved was revoked or suspended, or has expired. The rest was not undone."
)


class Hands(Protocol):
    """The worker, as far as plans need it: it runs the intents that are begun."""

    name: str
    lease_seconds: float

    @property
    def closing(self) -> bool:
        """Tell whether nothing new is to be begun."""

    def lease_until(self) -> datetime:
        """Return when a lease that is asked for now ends at the latest."""

    def begin(self, intent: str, epoch: int, until: datetime, state: IntentState) -> "asyncio.Task[IntentState | None]":
        """Run an intent that is leased to this worker."""

    def running(self, intent: str) -> "asyncio.Task[IntentState | None] | None":
        """Return the task that runs an intent here."""


class UndoRunner:
    """Moves undo plans on until they end, halt, or are lost."""

    def __init__(self, store: Store, registry: Registry) -> None:
        """Work on the ledger of `store`; operations that `registry` does not offer cannot be undone here."""
        self._store = store
        self._configured = registry.configured

    async def run(self, lease: Lease, hands: Hands) -> None:
        """Move one plan on as far as it goes now, and give it out of hand. Raises `Unavailable`, `Corrupt`."""
        plan = fold_plan(await self._store.read(flight_stream(lease.intent)))
        if plan is None or plan.phase is not PlanPhase.UNDOING:
            await self._store.reschedule(lease.intent, lease.epoch, Parked(), plan.version if plan else 0)
            return
        execution = _Execution(self._store, self._configured, plan, lease, hands)
        try:
            await execution.run()
        finally:
            await execution.let_go()

    async def halt(self, lease: Lease, reason: str) -> None:
        """Put on record that a plan cannot be worked; a person looks, and may approve the rest again."""
        plan = fold_plan(await self._store.read(flight_stream(lease.intent)))
        if plan is not None and plan.phase is PlanPhase.UNDOING:
            halted = e.UndoPlanHalted(reason=reason[: bounds.REASON_LENGTH])
            await self._store.append(_append(plan, lease, (halted,), Finished()))


class _Dead(Exception):
    """The grant of whoever approved the plan is no longer alive."""


class _Execution:
    """One worker's hold of one plan: the intents under way, and what came to rest and is not recorded yet."""

    def __init__(self, store: Store, configured: Configured, plan: PlanState, lease: Lease, hands: Hands) -> None:
        self._store = store
        self._configured = configured
        self._plan = plan
        self._lease = lease
        self._hands = hands
        self._pending = {item.intent: item for item in plan.to_undo if item.intent not in plan.outcomes}
        self._under_way: dict[str, asyncio.Task[UndoOutcome]] = {}
        self._fresh: dict[str, UndoOutcome] = {}
        self._looked_at = store.now()

    async def run(self) -> None:
        """Begin, wait and record, until there is nothing left, the lease is over, or the worker closes."""
        while self._store.now() < self._lease.until:
            if self._hands.closing:
                await self._record(work=Due())
                return
            chosen = ahead(self._pending.values())
            for item in chosen:
                if item.intent not in self._under_way:
                    self._under_way[item.intent] = asyncio.create_task(self._undo(item))
            if not chosen:
                counts = count_endings((*self._plan.outcomes.values(), *self._fresh.values()))
                await self._record(e.UndoPlanFinished(counts=counts), work=Finished())
                return
            try:
                await self._some_rest()
            except _Dead:
                await self._record(e.UndoPlanHalted(reason=_NOT_ALIVE), work=Finished())
                return
            if self._is_time() and not await self._go_on():
                return

    async def let_go(self) -> None:
        """Stop looking; the intents that were begun go on."""
        looking = list(self._under_way.values())
        for task in looking:
            task.cancel()
        if looking:
            await asyncio.wait(looking)
        for task in looking:
            _ = task.cancelled() or task.exception()  # heard: the first one has said why we stop

    async def _some_rest(self) -> None:
        """Wait until an intent has come to rest, or for a moment. Raises `_Dead`."""
        done, _ = await asyncio.wait(
            self._under_way.values(), timeout=bounds.UNDO_RECORD_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        for task in [task for task in done if task.exception() is None]:  # first, so that none is lost by another's end
            outcome = task.result()
            self._fresh[outcome.intent] = outcome
            del self._under_way[outcome.intent], self._pending[outcome.intent]
        for task in done:
            task.result()

    def _is_time(self) -> bool:
        long_ago = self._store.now() - self._looked_at >= timedelta(seconds=bounds.UNDO_RECORD_SECONDS)
        return long_ago or len(self._fresh) >= bounds.UNDO_RECORDED

    async def _go_on(self) -> bool:
        """Record what came to rest; where nothing did, look whether the plan is still ours to carry out."""
        self._looked_at = self._store.now()
        if self._fresh:
            return await self._record()
        return not await self._store.read(flight_stream(self._lease.intent), self._plan.version)

    async def _record(self, *last: e.Event, work: Work | None = None) -> bool:
        """Append what came to rest, and what follows from it; False if the plan is no longer ours.

        Raises `Unavailable` where it is not known: the streams of the intents tell the next worker the same.
        """
        advanced = (e.UndoPlanAdvanced(outcomes=tuple(self._fresh.values())),) if self._fresh else ()
        events = (*advanced, *last)
        if not events:
            return await self._store.reschedule(self._lease.intent, self._lease.epoch, Due(), self._plan.version)
        verdict = await self._store.append(_append(self._plan, self._lease, events, work))
        match verdict:
            case Appended(recorded, _):
                self._plan = fold_plan(recorded, self._plan) or self._plan
                self._fresh = {}
                return True
            case Unknown(reason):
                raise Unavailable(f"Whether what came of an undo plan was recorded is not known: {reason}")
            case VersionConflict() | GuardFailed():
                log.info("undo_plan_lost", plan=self._plan.id, epoch=self._lease.epoch)
                return False
            case _:
                assert_never(verdict)

    # ── one intent ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _undo(self, item: PlannedUndo) -> UndoOutcome:
        """Begin to undo an intent unless that was done before, and wait until it rests. Raises `_Dead`."""
        state: IntentState | None = None
        pause = pauses()
        while True:
            try:
                state = await self._newer(item.intent, state)
                move = begin_or_end(self._plan, item, state, self._configured, self._store.now())
            except Corrupt as error:
                return UndoOutcome(item.intent, Ending.NOT_UNDONE, error.message[: bounds.REASON_LENGTH])
            if isinstance(move, UndoOutcome):
                return move
            if move is not None:
                state = await self._begin(state, move) or state
            run = self._hands.running(item.intent)
            if run is None:
                await asyncio.sleep(next(pause))
            else:
                await asyncio.wait([run])
                state = (None if run.cancelled() else run.result()) or state

    async def _newer(self, intent: str, state: IntentState | None) -> IntentState:
        recorded = await self._store.read(intent_stream(intent), state.version if state else 0)
        newer = fold(recorded, state)
        if newer is None:
            raise Corrupt(f"There is no intent {intent} in this ledger. Nothing was undone.")
        return newer

    async def _begin(self, state: IntentState, decision: e.CompensateDecided) -> IntentState | None:
        """Decide it and run it here; None if it has moved on, or nobody knows. Raises `_Dead`."""
        approved = self._plan.approved
        if approved is None or self._store.now() >= self._lease.until:
            return None
        until = self._hands.lease_until()
        verdict = await self._store.append(
            Append(
                stream=intent_stream(state.id),
                expected_version=state.version,
                events=(decision,),
                guards=(GrantAlive(approved.grant),),
                work=Take(self._hands.name, self._hands.lease_seconds),
            )
        )
        match verdict:
            case Appended(recorded, int(epoch)):
                begun = fold(recorded, state)
                if begun is not None:
                    self._hands.begin(state.id, epoch, until, begun)
                return begun
            case GuardFailed():
                raise _Dead
            case _:
                return None


def _append(plan: PlanState, lease: Lease, events: tuple[e.Event, ...], work: Work | None) -> Append:
    return Append(
        stream=flight_stream(lease.intent),
        expected_version=plan.version,
        events=events,
        guards=(EpochCurrent(lease.epoch),),
        work=work,
    )

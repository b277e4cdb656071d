"""Takes intents that are due, runs them, and keeps their leases alive while it does.

There is no recovery: an intent left behind by a crash becomes due when its lease ends, and is run like any other.
The lease only saves work; what keeps two workers apart is the epoch and the expected version of every append.

An intent that cannot be run (a poison: its stream cannot be folded, or our own code fails on it) is parked with a
sentence for a person, and the worker goes on with the others.

An approved undo plan is in flight beside the intents, under a name of its own, and is run by `undo_runner.py`.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import structlog

from coordinator.calls import Lease
from coordinator.guards import guards_of
from coordinator.runner import Lost, Runner
from coordinator.undo_runner import UndoRunner
from ledger import bounds
from ledger import events as e
from ledger.background import Background
from ledger.errors import Corrupt, LedgerError, Unavailable
from ledger.ids import intent_stream, undo_plan_of
from ledger.phases import TERMINAL, UNDECIDED
from ledger.state import IntentState, fold
from ledger.store import Append, Claimed, Due, EpochCurrent, Parked, Store

log = structlog.get_logger(__name__)

_CLAIM_SECONDS: Final = 1.0  # for a claim that is under way at the end; what it leased would wait for its lease to end

Run = asyncio.Task[IntentState | None]  # None: the intent was lost, or is poison


class Worker:
    """One process's share of the work of a ledger. Several may run on the same ledger."""

    def __init__(self, store: Store, runner: Runner, undo: UndoRunner, name: str, lease_seconds: float) -> None:
        """`name` is written beside what this worker has leased; it must differ between processes."""
        self._store = store
        self._runner = runner
        self._undo = undo
        self.name = name
        self.lease_seconds = lease_seconds
        self._running: dict[str, dict[int, tuple[Lease, Run]]] = {}  # by intent and epoch: the newest counts
        self._claiming = Background(
            f"claims of {name}",
            self._claim,
            retry_seconds=bounds.CLAIM_POLL_SECONDS,
            drain_seconds=_CLAIM_SECONDS,
        )
        self._renewing = Background(f"leases of {name}", self._renew, retry_seconds=lease_seconds / 3)
        self._closing = False

    @property
    def in_flight(self) -> int:
        """Return how many intents this process is running now."""
        return len(self._running)

    @property
    def full(self) -> bool:
        """Tell whether this process must not take on more."""
        return self._closing or len(self._running) >= bounds.INTENTS_IN_FLIGHT

    @property
    def closing(self) -> bool:
        """Tell whether this process begins nothing new any more."""
        return self._closing

    def start(self) -> None:
        """Begin to claim what is due."""
        self._claiming.start()
        self._renewing.start()

    def lease_until(self) -> datetime:
        """Return when a lease that is asked for now ends at the latest: counted from before the asking."""
        return self._store.now() + timedelta(seconds=self.lease_seconds)

    def wake(self) -> None:
        """Look for due intents now instead of at the next poll."""
        self._claiming.wake()

    def begin(
        self, intent: str, epoch: int, until: datetime, state: IntentState | None = None, *, alive: bool = True
    ) -> Run:
        """Run an intent that is leased to us under `epoch` until then; `state` saves reading it again.

        `alive`: whether its grant was when it was leased; if it dies later, the guards of the next append say so.

        One epoch is one run: a second one would pass every guard of the first, and could free its lease.
        """
        runs = self._running.setdefault(intent, {})
        if epoch in runs:
            return runs[epoch][1]
        lease = Lease(intent, epoch, until, alive)
        task = asyncio.create_task(self._run(lease, state) if undo_plan_of(intent) is None else self._run_plan(lease))
        runs[epoch] = (lease, task)
        task.add_done_callback(lambda _: self._forget(lease))
        return task

    def running(self, intent: str) -> Run | None:
        """Return the task that runs this intent here, if one does."""
        runs = self._running.get(intent)
        return runs[max(runs)][1] if runs else None

    async def drain(self, seconds: float) -> None:
        """Stop claiming, let what runs come to rest for `seconds`, and give the rest away."""
        self._closing = True
        await self._claiming.stop()
        running = [run for runs in self._running.values() for run in runs.values()]
        tasks = [task for _, task in running]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        left = [lease for lease, task in running if not task.done()]
        await self._renewing.stop()
        for ending in tasks:
            ending.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(self._give_away(lease) for lease in left))

    # ── one intent ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self, lease: Lease, state: IntentState | None) -> IntentState | None:
        try:
            state = state or await self._read(lease)
            if state is None:
                return None
            ended = await self._runner.run(state, lease)
            if not isinstance(ended, Lost):
                return ended
            log.info("intent_lost", intent=lease.intent, epoch=lease.epoch, reason=ended.reason)
            await self._give_away(lease)
        except Unavailable as error:
            log.warning("intent_left_to_its_lease", intent=lease.intent, reason=error.message)
        except Exception as error:
            log.exception("intent_poisoned", intent=lease.intent, error=type(error).__name__)
            await self._park(lease, error)
        return None

    async def _run_plan(self, lease: Lease) -> None:
        """Run an undo plan; where our own code fails on it, it halts and says so."""
        try:
            await self._undo.run(lease, self)
        except Unavailable as error:
            log.warning("undo_plan_left_to_its_lease", plan=lease.intent, reason=error.message)
        except Exception as error:
            log.exception("undo_plan_poisoned", plan=lease.intent, error=type(error).__name__)
            await self._halt(lease, f"This plan could not be worked: {_said(error)} The rest was not undone.")

    async def _halt(self, lease: Lease, reason: str) -> None:
        """Put the reason on record; what nobody can read is parked. Without a database the lease ends by itself."""
        try:
            await self._undo.halt(lease, reason)
        except Corrupt as error:
            log.exception("undo_plan_could_not_be_halted", plan=lease.intent, error=type(error).__name__)
            with suppress(Unavailable):
                await self._store.reschedule(lease.intent, lease.epoch, Parked())
        except Unavailable as error:
            log.warning("undo_plan_left_to_its_lease", plan=lease.intent, reason=error.message)

    async def _read(self, lease: Lease) -> IntentState | None:
        """Return the intent's state; None if its stream has grown so long that a person is asked first."""
        recorded = await self._store.read(intent_stream(lease.intent))
        state = fold(recorded)
        if state is None:
            raise Corrupt(f"Intent {lease.intent} is in flight but its stream is empty.")
        lost = not lease.alive and state.phase in UNDECIDED  # it is aborted, and nobody needs to be asked
        if state.attention is None and state.phase not in TERMINAL and not lost and _too_long_unasked(recorded):
            reason = (
                f"This intent has {len(recorded)} events and can be read up to {bounds.STREAM_EVENTS}: it has been "
                "trying for very long. Help it to an end; resolving this lets it try on, and nobody is asked again."
            )
            await self._raise_attention(lease, reason)
            return None
        return state

    async def _give_away(self, lease: Lease) -> None:
        """Let whoever claims next have it; if the database is away, the lease ends by itself."""
        try:
            await self._store.reschedule(lease.intent, lease.epoch, Due())
        except Unavailable:
            return
        self.wake()

    async def _park(self, lease: Lease, error: Exception) -> None:
        reason = f"This intent could not be worked: {_said(error)} It was parked; resolving it tries once more."
        try:
            await self._raise_attention(lease, reason[: bounds.REASON_LENGTH])
        except LedgerError as second:
            log.exception("intent_could_not_be_parked", intent=lease.intent, error=type(second).__name__)

    async def _raise_attention(self, lease: Lease, reason: str) -> None:
        """Put the reason on record. Where that fails, the lease ends by itself and the intent is tried again.

        It fails too where the grant of an undecided intent has died meanwhile: that is aborted, and asks nobody.
        Only a stream that nobody can read is parked without a word: there is nothing to append to.
        """
        try:
            state = fold(await self._store.read(intent_stream(lease.intent)))
        except Corrupt:
            await self._store.reschedule(lease.intent, lease.epoch, Parked())
            return
        if state is None or state.phase in TERMINAL:
            await self._store.reschedule(lease.intent, lease.epoch, Parked(), state.version if state else 0)
            return
        asked = e.AttentionRaised(action=None, reason=reason)
        await self._store.append(
            Append(
                stream=intent_stream(lease.intent),
                expected_version=state.version,
                events=(asked,),
                guards=(EpochCurrent(lease.epoch), *guards_of(state, (asked,))),
                work=await self._runner.asleep(state),
            )
        )

    def _forget(self, lease: Lease) -> None:
        runs = self._running[lease.intent]
        del runs[lease.epoch]
        if not runs:
            del self._running[lease.intent]

    # ── in the background ────────────────────────────────────────────────────────────────────────────────────────

    async def _claim(self) -> float:
        """Begin what is due, as much as this process takes on; return how long to rest then."""
        free = min(bounds.CLAIMS_AT_ONCE, bounds.INTENTS_IN_FLIGHT - len(self._running))
        if free <= 0:
            return bounds.CLAIM_POLL_SECONDS
        until = self.lease_until()
        claimed = await self._store.claim(self.name, free, self.lease_seconds)
        for one in claimed:
            self.begin(one.intent, one.epoch, until, alive=one.alive)
        return bounds.CLAIM_POLL_SECONDS if len(claimed) < free else 0.0

    async def _renew(self) -> float:
        """Extend the leases of what runs here; return how long to rest then."""
        held = {intent: runs[max(runs)][0] for intent, runs in self._running.items()}
        if held:
            until = self.lease_until()
            claims = [Claimed(lease.intent, lease.epoch) for lease in held.values()]
            for intent in await self._store.renew(self.name, claims, self.lease_seconds):
                held[intent].until = until
        return self.lease_seconds / 3


def _said(error: Exception) -> str:
    return error.message if isinstance(error, LedgerError) else f"{type(error).__name__} in our own code."


def _too_long_unasked(recorded: Sequence[e.Recorded]) -> bool:
    """Tell whether a stream is beyond STREAM_EVENTS_ASKED and nobody has been asked about the whole of it since."""
    beyond = [one.event for one in recorded[bounds.STREAM_EVENTS_ASKED :]]
    return bool(beyond) and not any(isinstance(event, e.AttentionRaised) and event.action is None for event in beyond)

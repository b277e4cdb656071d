"""Takes intents that are due, runs them, and keeps their leases alive while it does.

There is no recovery: an intent left behind by a crash becomes due when its lease ends, and is run like any other.
The lease only saves work; what keeps two workers apart is the epoch and the expected version of every append.

An intent that cannot be run (a poison: its stream cannot be folded, or our own code fails on it) is parked with a
sentence for a person, and the worker goes on with the others.
"""

import asyncio
from collections.abc import Iterable

import structlog

from coordinator.runner import Lost, Runner
from ledger import bounds
from ledger import events as e
from ledger.errors import Corrupt, LedgerError, Unavailable
from ledger.ids import intent_stream
from ledger.state import TERMINAL, IntentState, fold
from ledger.store import Append, Appended, Claimed, Due, EpochCurrent, Parked, Store

log = structlog.get_logger(__name__)


Run = asyncio.Task[IntentState | None]  # None: the intent was lost, or is poison


class Worker:
    """One process's share of the work of a ledger. Several may run on the same ledger."""

    def __init__(self, store: Store, runner: Runner, name: str) -> None:
        """`name` is written beside what this worker has leased; it must differ between processes."""
        self._store = store
        self._runner = runner
        self.name = name
        self._running: dict[str, tuple[Claimed, Run]] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._closing = False

    @property
    def in_flight(self) -> int:
        """Return how many intents this process is running now."""
        return len(self._running)

    @property
    def full(self) -> bool:
        """Tell whether this process must not take on more."""
        return self._closing or len(self._running) >= bounds.INTENTS_IN_FLIGHT

    def start(self) -> None:
        """Begin to claim what is due."""
        self._loops = [asyncio.create_task(self._claim_loop()), asyncio.create_task(self._renew_loop())]

    def wake(self) -> None:
        """Look for due intents now instead of at the next poll."""
        self._wake.set()

    def begin(self, intent: str, epoch: int, state: IntentState | None = None) -> Run:
        """Run an intent that is leased to us under `epoch`; `state` saves reading it again."""
        claimed = Claimed(intent, epoch)
        task = asyncio.create_task(self._run(claimed, state))
        self._running[intent] = (claimed, task)
        task.add_done_callback(lambda _: self._forget(claimed))
        return task

    def running(self, intent: str) -> Run | None:
        """Return the task that runs this intent here, if one does."""
        found = self._running.get(intent)
        return found[1] if found else None

    async def drain(self, seconds: float) -> None:
        """Stop claiming, let what runs come to rest for `seconds`, and give the rest away."""
        self._closing = True
        for loop in self._loops[:1]:
            loop.cancel()
        tasks = [task for _, task in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        left = [claimed for claimed, task in self._running.values() if not task.done()]
        for claimed in left:
            self._running[claimed.intent][1].cancel()
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, *tasks, return_exceptions=True)
        await asyncio.gather(*(self._give_away(claimed) for claimed in left))

    # ── one intent ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self, claimed: Claimed, state: IntentState | None) -> IntentState | None:
        try:
            ended = await self._runner.run(state or await self._read(claimed.intent), claimed.epoch)
            if not isinstance(ended, Lost):
                return ended
            log.info("intent_lost", intent=claimed.intent, epoch=claimed.epoch, reason=ended.reason)
            await self._give_away(claimed)
        except Unavailable as error:
            log.warning("intent_left_to_its_lease", intent=claimed.intent, reason=error.message)
        except Exception as error:
            log.exception("intent_poisoned", intent=claimed.intent, error=type(error).__name__)
            await self._park(claimed, error)
        return None

    async def _read(self, intent: str) -> IntentState:
        state = fold(await self._store.read(intent_stream(intent)))
        if state is None:
            raise Corrupt(f"Intent {intent} is in flight but its stream is empty.")
        return state

    async def _give_away(self, claimed: Claimed) -> None:
        """Let whoever claims next have it; if the database is away, the lease ends by itself."""
        try:
            await self._store.reschedule(claimed.intent, claimed.epoch, Due())
        except Unavailable:
            return
        self.wake()

    async def _park(self, claimed: Claimed, error: Exception) -> None:
        words = error.message if isinstance(error, LedgerError) else f"{type(error).__name__} in our own code."
        reason = f"This intent could not be worked: {words} It was parked; resolving it tries once more."
        try:
            if not await self._raise_attention(claimed, reason[: bounds.REASON_LENGTH]):
                await self._store.reschedule(claimed.intent, claimed.epoch, Parked())
        except LedgerError as second:
            log.exception("intent_could_not_be_parked", intent=claimed.intent, error=type(second).__name__)

    async def _raise_attention(self, claimed: Claimed, reason: str) -> bool:
        """Put the reason on record; False where the stream itself cannot be folded, or somebody else has moved on."""
        recorded = await self._store.read(intent_stream(claimed.intent))
        try:
            state = fold(recorded)
        except Corrupt:
            return False
        if state is None or state.phase in TERMINAL:
            return False
        verdict = await self._store.append(
            Append(
                stream=intent_stream(claimed.intent),
                expected_version=state.version,
                events=(e.AttentionRaised(action=None, reason=reason),),
                guards=(EpochCurrent(claimed.epoch),),
                work=Parked(),
            )
        )
        return isinstance(verdict, Appended)

    def _forget(self, claimed: Claimed) -> None:
        found = self._running.get(claimed.intent)
        if found is not None and found[0] == claimed:
            del self._running[claimed.intent]

    # ── the loops ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _claim_loop(self) -> None:
        while True:
            free = min(bounds.CLAIMS_AT_ONCE, bounds.INTENTS_IN_FLIGHT - len(self._running))
            claimed: Iterable[Claimed] = ()
            try:
                if free > 0:
                    claimed = await self._store.claim(self.name, free, bounds.LEASE_SECONDS)
            except Unavailable as error:
                log.warning("claim_postponed", reason=error.message)
            count = 0
            for one in claimed:
                count += 1
                self.begin(one.intent, one.epoch)
            if count < free:
                await self._pause()

    async def _pause(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(bounds.CLAIM_POLL_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _renew_loop(self) -> None:
        while True:
            await asyncio.sleep(bounds.LEASE_SECONDS / 3)
            held = [claimed for claimed, _ in self._running.values()]
            if not held:
                continue
            try:
                await self._store.renew(self.name, held, bounds.LEASE_SECONDS)
            except Unavailable as error:
                log.warning("leases_not_renewed", reason=error.message)

"""The log as a part of a process: its keeper, the places that it publishes to, and what is said about both.

Everything that may be wrong is found before anything is served: keys, places, and whether the ledger is the one whose
checkpoints are known outside.
"""

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from gateway.log_places import open_places
from gateway.log_settings import LogSettings
from gateway.metrics import Metrics
from ledger.bounds import LOG_LATE_SECONDS
from ledger.log.keeper import Keeper

if TYPE_CHECKING:
    from ledger.database import Pool


class LogKeeping:
    """Keeps the log of one ledger, from `open` to `stop`."""

    def __init__(self, pool: "Pool", ledger: str, settings: LogSettings) -> None:
        """Touch nothing yet."""
        self._pool = pool
        self._ledger = ledger
        self._settings = settings
        self._parts = AsyncExitStack()
        self.keeper: Keeper | None = None

    async def open(self, entropy: Callable[[int], bytes] | None) -> None:
        """Compare the ledger with what is known of it outside; `entropy` makes the first key of a log that has none.

        Raises `Corrupt`, `Misconfigured` and `Unavailable`; then nothing was begun.
        """
        async with AsyncExitStack() as opened:
            keeper = Keeper(
                self._pool,
                self._ledger,
                self._settings.origin,
                self._settings.keys,
                await open_places(opened, self._pool, self._ledger, self._settings),
            )
            await keeper.open(entropy)
            self._parts = opened.pop_all()
        self.keeper = keeper

    async def start(self) -> None:
        """Begin to keep it."""
        if self.keeper is not None:
            await self.keeper.start()
            self._parts.push_async_callback(self.keeper.stop)

    async def stop(self) -> None:
        """Let go of it, and of the places."""
        await self._parts.aclose()

    def remarks(self) -> Iterator[str]:
        """Say what is wrong with the log; intents are taken all the same."""
        keeper = self.keeper
        if keeper is None:
            return
        if keeper.failure is not None:
            yield "The log has stopped: the ledger and its checkpoints disagree. A person must look now."
        elif keeper.behind_seconds > LOG_LATE_SECONDS:
            yield "Events wait for a checkpoint of the log: no process that holds its keys keeps it."
        if any(publisher.failure is not None for publisher in keeper.publishers):
            yield "The newest checkpoint of the log has not reached every place outside; what we log says which."

    def watched_by(self, metrics: Metrics) -> None:
        """Show Prometheus how the log is doing."""
        keeper = self.keeper
        if keeper is None:
            return

        def failing(cosigns: bool) -> int:
            return sum(one.failure is not None and one.place.cosigns is cosigns for one in keeper.publishers)

        metrics.watch(
            "log_checkpoint_age_seconds",
            "For how long events have had no checkpoint of the log; 0 while all have.",
            lambda: keeper.behind_seconds,
        )
        metrics.watch("log_uncovered_events", "Events without a checkpoint of the log.", lambda: keeper.uncovered)
        metrics.watch("log_stopped", "1 if the log and the ledger disagree.", lambda: keeper.failure is not None)
        metrics.watch(
            "log_place_failures", "Places that did not take the newest checkpoint.", lambda: failing(cosigns=False)
        )
        metrics.watch(
            "log_witness_failures",
            "Witnesses that did not cosign the newest checkpoint.",
            lambda: failing(cosigns=True),
        )

"""What goes on in a process beside everything else: a part that takes turn after turn until it is let go.

    start ─► turn ─► rest, as long as the turn says, or until `wake` ─► turn ─► … ─► stop

* A database that is away ends a turn, not the part: the next one comes after `retry_seconds`.
* Nor does a defect of ours, which must not end the process, nor pass for a part that has nothing to do; nor that
  something was cancelled for which the turn waited.
* Either is said once, and again when something else is the matter or after a turn that went well.
* What a turn leaves behind must be true at every moment: `stop` gives it `drain_seconds`, and then cuts it off.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from ledger.errors import Unavailable

_log = structlog.get_logger(__name__)


class Background:
    """One part of a process, with a task of its own while it goes on."""

    def __init__(
        self,
        name: str,
        turn: Callable[[], Awaitable[float]],
        *,
        retry_seconds: float,
        drain_seconds: float = 0.0,
    ) -> None:
        """`turn` does what there is to do now, and returns for how many seconds there is nothing more."""
        self._name = name
        self._turn = turn
        self._retry_seconds = retry_seconds
        self._drain_seconds = drain_seconds
        self._stopping = False
        self._news = asyncio.Event()
        self._said: str | None = None  # what was the matter with the last turn
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with the first turn."""
        self._task = asyncio.create_task(self._go_on(), name=self._name)

    def wake(self) -> None:
        """Take the next turn now; if one is under way, right after it."""
        self._news.set()

    async def stop(self) -> None:
        """Let the turn that is under way end, if it does in time. Does nothing to what was never started."""
        self._stopping = True
        self.wake()
        if self._task is not None:
            if self._drain_seconds:
                await asyncio.wait([self._task], timeout=self._drain_seconds)
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _go_on(self) -> None:
        while not self._stopping:
            self._news.clear()  # before the turn: what comes while it is under way is for the next one
            await rest(await self._taken(), self._news)

    async def _taken(self) -> float:
        """Take a turn; return how long to rest after it."""
        try:
            seconds = await self._turn()
        except Unavailable as error:
            if self._is_new(error.message):
                _log.warning("background_waits", part=self._name, reason=error.message)
        except (Exception, asyncio.CancelledError) as error:  # else the part would be gone, and nobody would know
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            if self._is_new(repr(error)):
                _log.exception("background_failed", part=self._name, error=repr(error))
        else:
            self._said = None
            return seconds
        return self._retry_seconds

    def _is_new(self, said: str) -> bool:
        before, self._said = self._said, said
        return said != before


def _is_cancelled() -> bool:
    """Tell whether it is this task that was cancelled, and not something that it waited for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def rest(seconds: float, news: asyncio.Event) -> None:
    """Let others work for so long, or until there is news."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # wait_for may swallow a cancellation
            await news.wait()

"""What lies between a process and everything outside it: requests and answers, each of which can be lost or late.

A request that has left does not need its sender any more: it arrives even if the process is dead by then. Where the
request arrives, `apply` runs at once and undivided, as a transaction of a database or a request to a service does.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any, NamedTuple

from simulation.loop import PROCESS, Process

from ledger import bounds


class Fate(NamedTuple):
    """What becomes of one request. Times in seconds."""

    request_delay: float = 0.0
    answer_delay: float = 0.0
    request_lost: bool = False
    answer_lost: bool = False
    twice_after: float | None = None  # it arrives once more, this much later


SMOOTH = Fate()


PAUSE_SECONDS = bounds.LEASE_SECONDS + bounds.RETRY_CAP_SECONDS  # long enough for others to finish the intent


class Network:
    """Carries calls. At numbered moments the calling process dies (`crash_points`) or pauses (`pause_points`)."""

    def __init__(self, crash_points: frozenset[int] = frozenset(), pause_points: frozenset[int] = frozenset()) -> None:
        self.points = 0  # how many there were: one before and one after each arrival
        self.quiet_at = 0.0  # by then everything that was sent has arrived
        self.paused = 0  # how often it came to a pause
        self.happenings: dict[int, Callable[[], None]] = {}  # what else happens at these moments
        self._crash_points = crash_points
        self._pause_points = pause_points

    def count_from_here(self, crash_points: frozenset[int], pause_points: frozenset[int]) -> None:
        """Number the moments anew, and let the process die or pause at these."""
        self.points = 0
        self._crash_points = crash_points
        self._pause_points = pause_points

    async def call(self, apply: Callable[[], Any], fate: Fate = SMOOTH, *, changes: bool = True) -> Any:
        """Send a request; returns or raises what `apply` does, or never ends when something was lost.

        Only requests that change something have crash points: a crash around a look is a crash before what follows.
        """
        loop = asyncio.get_running_loop()
        process = PROCESS.get()
        answer: asyncio.Future[Any] = loop.create_future()
        mortal = process if changes else None
        if not self._dies_here(mortal) and not fate.request_lost:
            self._send(loop, fate.request_delay, self._arrival(apply, fate, mortal, answer))
            if fate.twice_after is not None:
                again = fate._replace(answer_lost=True)
                self._send(loop, fate.request_delay + fate.twice_after, self._arrival(apply, again, None, answer))
        return await answer

    def _send(self, loop: asyncio.AbstractEventLoop, delay: float, arrive: Callable[[], None]) -> None:
        self.quiet_at = max(self.quiet_at, loop.time() + delay)
        if delay:
            loop.call_later(delay, arrive, context=Context())
        else:
            loop.call_soon(arrive, context=Context())

    def _arrival(self, apply, fate, process, answer) -> Callable[[], None]:
        def arrive() -> None:
            loop = asyncio.get_running_loop()
            value, error = None, None
            try:
                value = apply()
            except Exception as raised:  # noqa: BLE001 - it is an answer like any other, and goes to the caller
                error = raised
            self._dies_here(process)
            if process is not None and process.pauses_next:
                process.pauses_next = False
                process.pause()
            if not fate.answer_lost:
                loop.call_later(fate.answer_delay, _deliver, answer, value, error, context=Context())

        return arrive

    def _dies_here(self, process) -> bool:
        if process is None:
            return False
        number = self.points
        self.points += 1
        self.happenings.get(number, _nothing)()
        if number in self._pause_points and process.alive:
            self._pause(process)
        if number in self._crash_points and process.alive:
            process.crash()
            return True
        return False

    def _pause(self, process: Process) -> None:
        loop = asyncio.get_running_loop()
        process.pause()
        self.paused += 1
        self.quiet_at = max(self.quiet_at, loop.time() + PAUSE_SECONDS)
        loop.call_later(PAUSE_SECONDS, process.wake, context=Context())


def _nothing() -> None:
    pass


def _deliver(answer: asyncio.Future[Any], value: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(value)

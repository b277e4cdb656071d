"""Turns: what is asked for at about the same time is worked out in one go, one after another.

Under load many requests are ready at once. If each of them went all the way by itself, each step would find in the
processor's cache what another step has left there; a policy decision takes almost three times as long then. Answers
wait at most until everything else that is ready now has run, and they are the same.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Work of one kind, for one event loop."""

    def __init__(self) -> None:
        """Wait for nothing yet."""
        self._waiting: list[tuple[Callable[[], T], asyncio.Future[T]]] = []

    async def take(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises, in the next turn."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._work)
        answer: asyncio.Future[T] = loop.create_future()
        self._waiting.append((work, answer))
        return await answer

    def _work(self) -> None:
        waiting, self._waiting = self._waiting, []
        for work, answer in waiting:
            if answer.done():  # cancelled: nobody waits any more
                continue
            try:
                answer.set_result(work())
            except Exception as error:  # noqa: BLE001 - whoever asked hears of it, the others get their answers
                answer.set_exception(error)

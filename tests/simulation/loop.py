"""An event loop in which time costs nothing, the order of work is drawn from a seed, and processes can die.

`VirtualLoop` is asyncio's own loop with another clock: where the real one would sleep until the next timer, this one
moves its clock there. Where the real one runs what is ready in the order of arrival, this one draws.

A `Process` is whatever runs in its context. A dead process's callbacks are dropped, so that none of its tasks ever
takes another step, exactly as after kill -9; a paused one's are kept until it wakes, exactly as after SIGSTOP.
"""

import asyncio
import contextlib
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any

from structlog.testing import capture_logs

PROCESS: ContextVar["Process | None"] = ContextVar("process", default=None)


class Process:
    """A simulated operating-system process: a name, and whether it runs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.pauses_next = False  # as soon as the next thing it asked for has happened
        self.parked: list[asyncio.Handle] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.context: Context = copy_context()
        self.context.run(PROCESS.set, self)

    def crash(self) -> None:
        """Never run again."""
        self.alive = False
        self.parked.clear()
        if not self.ended.done():
            self.ended.set_result(None)

    def pause(self) -> None:
        """Stop until `wake`; time goes on."""
        self.paused = True

    def wake(self) -> None:
        """Go on with everything that became ready in the meantime."""
        self.paused = False
        loop = asyncio.get_running_loop()
        for handle in self.parked:
            loop._ready.append(handle)
        self.parked = []


class Stalled(Exception):
    """Nothing is ready and nothing will ever be: the simulation waits for something that cannot happen."""


class _Ready:
    """What asyncio keeps in a deque: handles ready to run. Here one is drawn, and only if its process runs."""

    def __init__(self, random: Random | None) -> None:
        self._draw = random.random if random else None
        self._handles: list[asyncio.Handle] = []
        self.append = self._handles.append
        self.clear = self._handles.clear
        self._nothing: Any = None

    def __len__(self) -> int:
        return len(self._handles)

    def popleft(self) -> asyncio.Handle:
        handles = self._handles
        if self._draw is None:
            handle = handles.pop(0)
        else:
            place = int(self._draw() * len(handles))
            handle, handles[place] = handles[place], handles[-1]
            handles.pop()
        process = handle._context.get(PROCESS)
        if process is None or (process.alive and not process.paused):
            return handle
        if not process.alive:
            handle.cancel()
            return handle
        process.parked.append(handle)
        return _Cancelled


class _Selector:
    """Where the real loop waits for sockets, this one moves the clock."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Stalled
        self._loop.clock += timeout
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """asyncio with virtual time. With a `random`, the order of what is ready is drawn from it; without, it is FIFO."""

    def __init__(self, random: Random | None = None) -> None:
        super().__init__()
        self.clock = 0.0
        self._selector = _Selector(self)
        self._ready = _Ready(random)
        self._tasks: list[asyncio.Task[Any]] = []
        self.set_task_factory(self._remember)

    def time(self) -> float:
        return self.clock

    def _process_events(self, _events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def _remember(self, loop: asyncio.AbstractEventLoop, coroutine: Any, context: Context | None = None) -> Any:
        task = asyncio.Task(coroutine, loop=loop, context=context)
        self._tasks.append(task)  # else a dead process's tasks would be collected, and their `finally` run
        if len(self._tasks) > 5_000:
            self._tasks = [task for task in self._tasks if not task.done()]
        return task

    def bury(self) -> None:
        """Close the loop and every coroutine that was left waiting; what the dead say of it is not printed."""
        with capture_logs():
            for task in self._tasks:
                if not task.done():
                    task._log_destroy_pending = False
                    with contextlib.suppress(RuntimeError):
                        task.get_coro().close()
        self._tasks.clear()
        self.close()


def _cancelled() -> asyncio.Handle:
    loop = asyncio.BaseEventLoop()
    handle = asyncio.Handle(lambda: None, (), loop)
    handle.cancel()
    loop.close()
    return handle


_Cancelled = _cancelled()

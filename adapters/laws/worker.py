"""Worker processes that make one call after another, as the coordinator's do, and can be killed at any moment of one.

`hire` forks. The child opens adapters when they are first called, makes each call it is asked for, bounded by
CALL_SECONDS as the coordinator bounds it, and answers over a pipe with what came of it: a value of the contract or one
of its errors. In it stands the network of `network.py`, so a call can be given a fault.

`Worker` is the asking side, and blocks: one thing happens at a time, unless two workers are asked before either is
heard. A worker that has died says so by the end of its pipe; one that was stopped has said so just before.

The child dies with its parent. Its clock is its event loop's, which a fault can set ahead; what it prints goes nowhere.
"""

import asyncio
import gc
import os
import pickle
import select
import signal
import struct
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NoReturn

import msgspec

from adapters.contract import Adapter, Call, Prepared, Preview, Refused, Result, Standing
from adapters.laws.faults import AFTER, BEFORE, Fault, Kind, Step
from adapters.laws.network import Network
from adapters.parent_death import signal_at_parent_death
from adapters.registry import Registry
from ledger.bounds import CALL_SECONDS
from ledger.errors import AdapterError, InDoubt, Unavailable
from ledger.intents import JSON, Verb

Answer = Prepared | Refused | Result | Preview | Standing | AdapterError | None  # None: an abort that succeeded

_HEAD: Final = struct.Struct("!I")
_FRAME_BYTES: Final = 16 * 1024 * 1024  # an adapter that answers more has broken law 12 long before
_HEAR_SECONDS: Final = CALL_SECONDS + 20  # longer than any call: then the process itself hangs
_AHEAD_SECONDS: Final = CALL_SECONDS - 0.25  # past every time-out of an adapter's own, shortly before the coordinator's


class Ask(msgspec.Struct, frozen=True):
    """One call to make. `asks` is the verb to call; for an inquiry the call's own verb is the one asked about."""

    call: Call
    asks: Verb
    receipt: JSON | None = None
    result: JSON | None = None
    fault: Fault | None = None


class Reply(msgspec.Struct, frozen=True):
    """What came of a call, and by which steps."""

    answer: Answer
    steps: tuple[Step, ...]
    fired: bool  # whether its fault happened


class Stopped(msgspec.Struct, frozen=True):
    """The worker stops itself now, in the middle of its call."""


class Died(msgspec.Struct, frozen=True):
    """The worker has ended; `signal` is what ended it, 0 if it went by itself."""

    signal: int


class Worker:
    """One worker process, as seen by who asks it."""

    def __init__(self, process: int, asks: int, answers: int) -> None:
        """Take over a process and the two pipes to it."""
        self._process: int | None = process
        self._asks = asks
        self._answers = answers

    def ask(self, ask: Ask) -> Reply | Stopped | Died:
        """Have one call made and hear what came of it."""
        self.begin(ask)
        return self.hear()

    def begin(self, ask: Ask) -> None:
        """Have one call made, and do not wait."""
        with suppress(BrokenPipeError):  # it has died; who listens is told
            _write(self._asks, pickle.dumps(ask))

    def hear(self) -> Reply | Stopped | Died:
        """Wait for what becomes of the call under way. Raises `Unavailable` if the process hangs."""
        frame = _read(self._answers)
        if frame is None:
            return self._ended()
        heard: Reply | Stopped = pickle.loads(frame)  # noqa: S301 - our own child wrote it
        if isinstance(heard, Stopped) and self._process is not None:
            os.waitpid(self._process, os.WUNTRACED)
        return heard

    def wake(self) -> None:
        """Let a stopped worker go on (SIGCONT)."""
        if self._process is not None:
            os.kill(self._process, signal.SIGCONT)

    def dismiss(self) -> None:
        """End the process, whatever it is doing (SIGKILL)."""
        if self._process is not None:
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)
            self._process = None
        for pipe in (self._asks, self._answers):
            if pipe >= 0:
                os.close(pipe)
        self._asks = self._answers = -1

    def _ended(self) -> Died:
        process, self._process = self._process, None
        status = os.waitpid(process, 0)[1] if process is not None else 0
        return Died(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)


def hire(registry: Registry) -> Worker:
    """Fork a worker over adapters that have not been opened here."""
    asks, ask = os.pipe()
    answer, answers = os.pipe()
    die_with_parent = signal_at_parent_death(signal.SIGKILL)
    with warnings.catch_warnings():
        # Python warns of forks beside threads. The child uses nothing that a thread of ours could have locked.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process == 0:
        os.close(ask)
        os.close(answer)
        _live(registry, die_with_parent, asks, answer=answers)
    os.close(asks)
    os.close(answers)
    return Worker(process, ask, answer)


# ── in the child ─────────────────────────────────────────────────────────────────────────────────────────────────


class _Clock(asyncio.SelectorEventLoop):
    """An event loop whose time can be set ahead."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def _live(registry: Registry, die_with_parent: Callable[[], None], asks: int, *, answer: int) -> NoReturn:
    """Be the child until the parent wants no more. Nothing of the parent's is cleaned up: it was never ours."""
    status = 1
    try:
        die_with_parent()
        gc.freeze()  # or the first collection would write to, and so copy, every page that is still the parent's
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nowhere, standard)
        asyncio._set_running_loop(None)  # noqa: SLF001 - the parent's loop, if there is one, is not ours
        loop = _Clock()
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(lambda *_: None)  # connections that we broke complain
        loop.run_until_complete(_work(loop, registry, asks, answer))
        status = 0
    finally:
        os._exit(status)


async def _work(loop: _Clock, registry: Registry, asks: int, answer: int) -> None:
    def hurt(kind: Kind) -> None:
        if kind is Kind.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if kind is Kind.LATE:
            loop.ahead += _AHEAD_SECONDS
        if kind in {Kind.STOP, Kind.SLEEP}:
            _write(answer, pickle.dumps(Stopped()))
            os.kill(os.getpid(), signal.SIGSTOP)
        if kind is Kind.SLEEP:
            loop.ahead += 2 * CALL_SECONDS

    network = Network(hurt)
    network.install()
    opened: dict[str, Adapter] = {}
    while True:
        frame = await _asked(loop, asks)
        if frame is None:
            return
        ask: Ask = pickle.loads(frame)  # noqa: S301 - our own parent wrote it
        network.begin(None)
        adapter = await _opened(registry, ask.call.operation, opened)
        network.begin(ask.fault)
        network.reach(BEFORE)
        answered = await _made(adapter, ask)
        network.reach(AFTER)
        network_said = tuple(network.steps), network.fired
        network.begin(None)
        _write(answer, _frame(Reply(answered, *network_said)))


async def _asked(loop: _Clock, asks: int) -> bytes | None:
    """Wait for the next call to make, while connections are kept alive; None when there will be none."""
    there = loop.create_future()
    loop.add_reader(asks, there.set_result, None)
    try:
        await there
    finally:
        loop.remove_reader(asks)
    return _read(asks)


async def _opened(registry: Registry, operation: str, opened: dict[str, Adapter]) -> Adapter:
    offered = registry.adapter(operation)
    if offered.name not in opened:
        opened[offered.name] = next(one for one in registry.adapters if one.name == offered.name)
        await opened[offered.name].open()
    return offered


async def _made(adapter: Adapter, ask: Ask) -> Answer:
    """Make the call as the coordinator does: bounded, and nobody waits for one that does not let itself be ended."""
    task = asyncio.create_task(_dispatch(adapter, ask))
    await asyncio.wait([task], timeout=CALL_SECONDS)
    if not task.done():
        task.cancel()
        return InDoubt(f"No answer within {CALL_SECONDS:.0f} seconds.")
    try:
        return task.result()
    except AdapterError as error:
        return error
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - law 10: anything else counts as in doubt
        return InDoubt(f"The adapter stopped with {type(error).__name__}: {error}.")


async def _dispatch(adapter: Adapter, ask: Ask) -> Answer:
    makes: dict[Verb, Callable[[], Any]] = {
        Verb.PREVIEW: lambda: adapter.preview(ask.call),
        Verb.PREPARE: lambda: adapter.prepare(ask.call),
        Verb.COMMIT: lambda: adapter.commit(ask.call, ask.receipt),
        Verb.ABORT: lambda: adapter.abort(ask.call, ask.receipt),
        Verb.COMPENSATE: lambda: adapter.compensate(ask.call, ask.receipt, ask.result or {}),
        Verb.INQUIRE: lambda: adapter.inquire(ask.call),
    }
    answered: Answer = await makes[ask.asks]()
    return answered


def _frame(reply: Reply) -> bytes:
    try:
        return pickle.dumps(reply)
    except Exception as error:  # noqa: BLE001 - what cannot be written down at all breaks law 12, and is said in words
        unkept = InDoubt(f"The adapter answered what cannot be kept: {type(reply.answer).__name__}, {error}.")
        return pickle.dumps(Reply(unkept, reply.steps, reply.fired))


# ── the pipes ────────────────────────────────────────────────────────────────────────────────────────────────────


def _write(pipe: int, frame: bytes) -> None:
    rest = memoryview(_HEAD.pack(len(frame)) + frame)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def _read(pipe: int) -> bytes | None:
    """Return one frame, None at the end of the pipe. Raises `Unavailable` if it does not come."""
    head = _exactly(pipe, _HEAD.size)
    return None if head is None else _exactly(pipe, min(_HEAD.unpack(head)[0], _FRAME_BYTES))


def _exactly(pipe: int, size: int) -> bytes | None:
    read = bytearray()
    while len(read) < size:
        if not select.select([pipe], [], [], _HEAR_SECONDS)[0]:
            raise Unavailable("A worker of the verification hangs: it neither answers nor ends. Nothing is proved.")
        part = os.read(pipe, size - len(read))
        if not part:
            return None
        read += part
    return bytes(read)

"""Replay in several processes, each with some of the views, because one Python process folds on one core.

    we ── what to do ─► python -m gateway.replay_parts ── how far it has come …, then what came of it ─► we

Each part is `projections/replay.py` as it is in one process, with its own reading of the events; whoever starts them
holds the right to swap. A part ends with whoever started it, also if that is killed.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec

from adapters.parent_death import signal_at_parent_death
from gateway import logs
from gateway.command import run
from ledger import bounds, errors
from ledger.database import open_pool
from ledger.progress import Progress
from projections.catalogue import chosen
from projections.projection import Projection
from projections.replay import Replayed, replay

if TYPE_CHECKING:
    from ledger.database import Pool

_TOLD_SECONDS: Final = 0.1


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one process is to do."""

    dsn: str
    ledger: str
    views: tuple[str, ...] = ()
    swap: bool = False
    at: int | None = None
    into: str | None = None


class _Reached(msgspec.Struct, frozen=True, tag=True):
    done: int
    whole: int


class _Found(msgspec.Struct, frozen=True, tag=True):
    replayed: list[Replayed]


class _Fault(msgspec.Struct, frozen=True, tag=True):
    """Why a part was not done."""

    fault: str  # a class of `ledger.errors`
    message: str


_Answer = _Reached | _Found | _Fault


def processes_for(events: int, projections: Sequence[Projection[Any]]) -> int:
    """Return in how many processes these views of a ledger of this length are best replayed."""
    if events < bounds.REPLAY_APART_EVENTS:
        return 1
    return min(len(os.sched_getaffinity(0)), len(projections), bounds.REPLAY_PROCESSES)


async def replay_in_parts(
    wanted: Part, projections: Sequence[Projection[Any]], progress: Progress, processes: int
) -> list[Replayed]:
    """Do what `wanted` says for these views; raises what a part raises that fails, when all have ended."""
    names = [projection.name for projection in projections]
    reached = [(0, 0)] * processes

    async def part(number: int) -> list[Replayed]:
        def show(done: int, whole: int) -> None:
            reached[number] = (done, whole)
            progress(min(done for done, _ in reached), max(whole for _, whole in reached))

        return await _part(msgspec.structs.replace(wanted, views=tuple(names[number::processes])), show)

    ended = await asyncio.gather(*map(part, range(processes)), return_exceptions=True)
    found = {replayed.name: replayed for one in ended if isinstance(one, list) for replayed in one}
    faults = [one for one in ended if isinstance(one, BaseException)]
    if faults:
        raise _together(faults, [name for name in names if name in found])
    return [found[name] for name in names]


def _together(faults: Sequence[BaseException], done: Sequence[str]) -> BaseException:
    """Return the first fault, in the words of all of them, and of which views the replay came to its end."""
    ours = [one for one in faults if isinstance(one, errors.LedgerError)]
    if len(ours) < len(faults):
        return next(one for one in faults if one not in ours)
    words = [*dict.fromkeys(one.message for one in ours)]
    if done:
        words.append(f"The replay of {', '.join(done)} came to its end.")
    return type(ours[0])(" ".join(words))


async def _part(wanted: Part, progress: Progress) -> list[Replayed]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "gateway.replay_parts"),  # -P: not a `gateway` of where we were called
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Control-C is for us
        preexec_fn=signal_at_parent_death(signal.SIGKILL),
    )
    try:
        return await _heard(process, wanted, progress)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _heard(process: asyncio.subprocess.Process, wanted: Part, progress: Progress) -> list[Replayed]:
    """Tell a part what to do, and listen until it is done. Raises what it raised."""
    if process.stdin is None or process.stdout is None:
        raise errors.InvariantViolation("A process was started without the pipes that were asked for.")
    process.stdin.write(msgspec.json.encode(wanted))
    process.stdin.write_eof()
    while line := await _line(process.stdout):
        match msgspec.json.decode(line, type=_Answer):
            case _Reached(done, whole):
                progress(done, whole)
            case _Fault(fault, message):
                raise getattr(errors, fault)(message)
            case _Found(replayed):
                await process.wait()
                return replayed
    code = await process.wait()
    raise errors.Unavailable(
        f"The process that replayed {', '.join(wanted.views)} ended with {code} before it was done. Each of them is as "
        "it was, or in place; replay again."
    )


async def _line(stream: asyncio.StreamReader) -> bytes:
    """Read a line, however long: a difference holds two whole rows."""
    line = b""
    while not line.endswith(b"\n"):
        try:
            more = await stream.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            more = await stream.readexactly(error.consumed)
        except asyncio.IncompleteReadError:
            return b""
        line += more
    return line


# ── in the part ──────────────────────────────────────────────────────────────────────────────────────────────────


async def _replayed(wanted: Part) -> list[Replayed]:
    told = 0.0

    def show(done: int, whole: int) -> None:
        nonlocal told
        if time.monotonic() > told + _TOLD_SECONDS:
            told = time.monotonic()
            _answer(_Reached(done, whole))

    async with AsyncExitStack() as parts:
        here = await _opened(wanted.dsn, parts)
        there = None if wanted.into is None else await _opened(wanted.into, parts)
        views = chosen(wanted.views)
        return await replay(here, wanted.ledger, views, show, swap=wanted.swap, into=there, at=wanted.at)


async def _opened(dsn: str, parts: AsyncExitStack) -> "Pool":
    pool = await open_pool(dsn, 2)
    parts.push_async_callback(pool.close)
    return pool


def _answer(value: _Answer) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Do one part."""
    logs.configure("warning", "auto")
    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=Part)
    try:
        _answer(_Found(run(_replayed(wanted))))
    except errors.LedgerError as error:
        _answer(_Fault(type(error).__name__, error.message))


if __name__ == "__main__":
    main()

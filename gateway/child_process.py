"""Child processes that end when we end, and what the kernel knows about others'.

The rule: a process is known by what the kernel says of it now (its program, its working directory), never by a number
that somebody once wrote into a file.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from adapters.parent_death import signal_at_parent_death
from ledger.errors import Unavailable

_POLL_SECONDS: Final = 0.01
_STOP_SECONDS: Final = 60.0  # then a child is told to stop less politely


def processes_in(program: str, directory: Path) -> Sequence[int]:
    """Return the ids of living processes of this program whose working directory this is, lowest first."""
    try:
        wanted = directory.stat()
    except FileNotFoundError:
        return ()
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                here = (process / "cwd").stat()
                runs = (process / "exe").readlink().name.removesuffix(" (deleted)")  # as after an upgrade
            except OSError:
                continue  # it has ended, or belongs to a user whose processes are not ours to see
            if runs == program and os.path.samestat(here, wanted):
                found.append(int(process.name))
    return sorted(found)


def spawn(
    command: Sequence[str | Path], uid: int | None, at_our_death: signal.Signals, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a child that gets a signal when the thread that calls this ends."""
    try:
        return subprocess.Popen(  # noqa: S603
            command,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
            cwd="/",  # the server's user may not pass through ours
            env={"LC_ALL": "C", "PATH": os.defpath},  # no PG* variable of others, no credential of an adapter
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Control-C in a terminal is for us: we stop the server when we have drained
            preexec_fn=signal_at_parent_death(at_our_death),  # noqa: PLW1509  after setuid, which would clear it
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{command[0]} could not be started: {error}.") from error


async def ended(process: subprocess.Popen[bytes], seconds: float | None) -> int | None:
    """Wait for a child, at most `seconds`; return its status, or None if it still runs."""
    deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
    pause = _POLL_SECONDS
    while (status := process.poll()) is None:
        if deadline is not None and asyncio.get_running_loop().time() > deadline:
            return None
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return status


async def end(process: subprocess.Popen[bytes]) -> None:
    """Stop our child: cleanly, else without a checkpoint, else at once; in each case its data survive."""
    for number, seconds in ((signal.SIGINT, _STOP_SECONDS), (signal.SIGQUIT, 5.0), (signal.SIGKILL, None)):
        if process.poll() is None:
            process.send_signal(number)
            await ended(process, seconds)

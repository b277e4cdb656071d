"""A load and what it drives: a service of its own, and a process that keeps intents in flight and says what it saw.

The protocol with a load process: it connects, warms up and prints `ready`; whoever counts reads the counters and sends
a line; it works and prints what it saw as JSON; the counters are read again and its input is closed. So neither its
start nor its warm-up nor its end counts. What is in flight when the time is over is waited for and counted.

It belongs to `intentledger bench` and to the comparisons in bench/. It knows no counter, and of the service only what
anybody knows: its command, its HTTP interface, its adapters' file.
"""

import asyncio
import os
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from adapters.parent_death import signal_at_parent_death
from ledger.errors import Unavailable

TOKEN_VARIABLE: Final = "LOAD_TOKEN"  # noqa: S105  where a load process finds the token with which it submits
POSTED: Final = ("payments", "crm")
"""The adapters whose `post` each intent of the load uses, one action each."""
_PYTHON: Final = (sys.executable, "-P")  # -P: our own `gateway`, not one of the directory where we were called
PROGRAM: Final = (*_PYTHON, "-c", "from gateway.cli import main; main()")
"""The command `intentledger`, wherever it was installed."""
_LINE_BYTES: Final = 256 * 1024 * 1024  # all latencies of a long run stand in one line
WARM_UP_SECONDS: Final = 1.0
_START_SECONDS: Final = 120
_STOP_SECONDS: Final = 60
_WORDS: Final = 2_000  # of a process that ended too soon


class Seen(msgspec.Struct, frozen=True):
    """What a load process saw."""

    seconds: float  # until the last answer
    latencies: list[float]

    @property
    def rate(self) -> float:
        """Return how many intents ended in a second."""
        return len(self.latencies) / self.seconds

    def milliseconds(self, percent: int) -> float:
        """Return within how many milliseconds so many of a hundred intents had ended."""
        return sorted(self.latencies)[len(self.latencies) * percent // 100] * 1e3


class Served(msgspec.Struct, frozen=True):
    """A service that was started for a load."""

    pid: int
    url: str
    token: str  # the operator's


class Load:
    """A load process that has warmed up and waits for the word."""

    def __init__(self, process: Process) -> None:
        """Speak to a process that has said `ready`."""
        self.pid = process.pid
        self._process = process

    async def run(self) -> Seen:
        """Let it work, and return what it saw. Raises `EOFError` if it stops instead."""
        self._process.stdin.write(b"\n")  # type: ignore[union-attr]
        return msgspec.json.decode(await _line(self._process), type=Seen)


def adapters(names: Sequence[str]) -> str:
    """Write the adapters' file of a service under load: participants in memory, that are never what is waited for."""
    return "\n".join(
        f'[adapters.{name}]\ntype = "reference"\nguarantee = "atomic"\nfacts = false\n'
        + ("money = true\n" if name == "payments" else "")
        for name in names
    )


def load_command(url: str, in_flight: int, seconds: float) -> list[str]:
    """Return the command of our own load process."""
    command = [*_PYTHON, "-m", "gateway.load_client", "--url", url]
    return [*command, "--in-flight", str(in_flight), "--seconds", str(seconds)]


@asynccontextmanager
async def loading(command: Sequence[str], environment: Mapping[str, str]) -> AsyncGenerator[Load]:
    """Start a load process and yield it once it has warmed up. Raises `Unavailable` with its last words if it stops."""
    with tempfile.TemporaryFile() as words:
        process = await create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=words, env=dict(environment), limit=_LINE_BYTES
        )
        try:
            async with asyncio.timeout(_START_SECONDS):
                while await _line(process) != b"ready\n":
                    pass  # what a library says when it starts
            yield Load(process)
        except EOFError as error:
            words.seek(0)
            said = words.read()[-_WORDS:].decode(errors="replace")
            raise Unavailable(f"The load stopped before its end:\n{said}") from error
        finally:
            await _end(process)


async def _line(process: Process) -> bytes:
    line = await process.stdout.readline()  # type: ignore[union-attr]
    if not line:
        raise EOFError
    return line


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.stdin.close()  # type: ignore[union-attr]
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def served(
    directory: Path, dsn: str, file: str, command: Sequence[str] = PROGRAM, ledger: str = "main"
) -> AsyncGenerator[Served]:
    """Run a service in a new directory, on a database and with an adapters' file.

    Raises `Unavailable` with its last words if it does not begin.
    """
    directory.mkdir()  # noqa: ASYNC240  nothing else runs yet
    (directory / "intentledger.toml").write_text(file)
    log = directory / "service.log"
    with log.open("wb") as words:
        process = await create_subprocess_exec(
            *(*command, "serve", "--port", "0", "--json"),
            env=environment_of(directory, dsn, ledger),
            stdout=PIPE,
            stderr=words,
            start_new_session=True,  # Control-C is for us: the service ends when we have done with it
            preexec_fn=signal_at_parent_death(signal.SIGTERM),
        )
    try:
        try:
            async with asyncio.timeout(_START_SECONDS):
                said = msgspec.json.decode(await _line(process))
        except (EOFError, TimeoutError) as error:
            last = log.read_text(errors="replace")[-_WORDS:]
            raise Unavailable(f"The service under load did not begin:\n{last}") from error
        token = Path(said["token_file"]).read_text().strip()  # noqa: ASYNC240
        yield Served(process.pid, said["url"], token)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


def environment_of(directory: Path, dsn: str, ledger: str = "main") -> dict[str, str]:
    """Return the environment in which a command means the service of a directory, and no other."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("INTENTLEDGER_")}
    return others | {
        "INTENTLEDGER_DSN": dsn,
        "INTENTLEDGER_DATA": str(directory / "data"),
        "INTENTLEDGER_CONFIG": str(directory / "intentledger.toml"),
        "INTENTLEDGER_LEDGER": ledger,
        "INTENTLEDGER_LOG_LEVEL": "warning",
    }

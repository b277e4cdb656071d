"""The processes of the demo: each with its own log, and none outlives whoever started it.

Start them from the main thread: the kernel ends them when the thread that started them ends (PR_SET_PDEATHSIG). They
are in sessions of their own, so that Control-C in a terminal reaches only us, and we end them in order.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import aiohttp

from adapters.parent_death import signal_at_parent_death

READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0
_ENTRY: Final = "from gateway.cli import main; main()"  # what the command `intentledger` runs, wherever it is installed


class StoppedEarlyError(Exception):
    """A process of the demo ended, or was not ready in time; its log says why."""


class Child:
    """One process that can be started again after it was killed."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        """Run `python <arguments>` with its words appended to `log`, in this environment beside ours."""
        self.name = name
        self.log = log
        self._arguments = arguments
        self._environment = environment or {}
        self._python = python
        self._within: list[str] = []
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """Return its process id, None while it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def status(self) -> int | None:
        """Return how it ended (a signal is negative), None while it runs."""
        return self._process.returncode if self._process is not None else None

    async def start(self, *, speaks: bool = False) -> None:
        """Start it; `speaks` keeps its standard output for us."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._within,
                self._python,
                "-P",  # the working directory is no place to import from
                *self._arguments,
                stdin=PIPE if speaks else DEVNULL,
                stdout=PIPE if speaks else log,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,
                preexec_fn=signal_at_parent_death(signal.SIGKILL),
            )

    def run_within(self, command: list[str]) -> None:
        """Start it from now on by another command that runs what it is given, `unshare …` say."""
        self._within = command

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self.pid is not None:
            with suppress(ProcessLookupError):  # it has just ended, and we have not been told yet
                os.kill(self.pid, number)

    async def kill(self) -> None:
        """Kill it with -9, as a crash would, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def ended(self) -> None:
        """Wait until it is gone."""
        if self._process is not None:
            await self._process.wait()

    async def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        self.signal(signal.SIGTERM)
        if self._process is None:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def line(self) -> str:
        """Return the next line that it says."""
        if self._process is None or self._process.stdout is None:
            return ""
        async with asyncio.timeout(READY_SECONDS):
            return (await self._process.stdout.readline()).decode()

    def last_words(self) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:]) if self.log.exists() else ""


class Outside(Child):
    """An outside system: it keeps its own record, and its port when it is started again."""

    def __init__(self, module: str, record: Path) -> None:
        """Run a module of this package over a record file."""
        self.record = record
        self.port = 0
        self._module = module
        super().__init__(module, [], record.with_suffix(".log"))

    async def start(self, *, speaks: bool = True) -> None:
        """Start it and learn where it listens."""
        self._arguments = ["-m", self._module, "--record", str(self.record), "--port", str(self.port)]
        await super().start(speaks=speaks)
        said = await self.line()
        if not said:
            raise StoppedEarlyError(f"{self.name} did not start.\n{self.last_words()}")
        self.port = json.loads(said)["port"]

    @property
    def url(self) -> str:
        """Return its address, if it speaks HTTP."""
        return f"http://127.0.0.1:{self.port}"


class Service(Child):
    """`intentledger serve`, as an operator would run it, on one port for all its lives."""

    def __init__(self, name: str, directory: Path, environment: Mapping[str, str], command: str = "serve") -> None:
        """Keep its log in `directory`; the settings come in the environment."""
        self.port = free_port()
        settings = {**environment, "INTENTLEDGER_PORT": str(self.port)}
        super().__init__(name, ["-c", _ENTRY, command], directory / f"{name}.log", settings)

    @property
    def url(self) -> str:
        """Return the address of its door."""
        return f"http://127.0.0.1:{self.port}"

    async def ready(self) -> None:
        """Wait until it answers that it is ready; raises `StoppedEarlyError` if it ends or takes too long."""
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        async with aiohttp.ClientSession() as session:
            while not await _answers(session, self.url + "/readyz"):
                if self.pid is None or asyncio.get_running_loop().time() > deadline:
                    raise StoppedEarlyError(f"{self.name} did not become ready.\n{self.last_words()}")
                await asyncio.sleep(0.05)


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

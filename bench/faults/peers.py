"""The published packages as contenders: a worker program of ours in the environment of each, behind the same door."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import msgspec

from bench.engines import PEER_ENVIRONMENT, ROOT, make_peer_environment
from bench.faults.cells import Work
from bench.faults.contender import NoAnswerError
from bench.faults.verdicts import Said, State
from examples.demo.processes import Child
from gateway.embedded_postgres import EmbeddedPostgres

WORKERS: Final = Path(__file__).parent / "workers"
REQUIREMENTS: Final = Path(__file__).parent / "requirements"
_REQUEST_SECONDS: Final = 40.0


def make_environment(package: str) -> Path:
    """Install a package beside us from its lock file, unless that was done; return its interpreter."""
    if package == "dbos":
        make_peer_environment()
        return PEER_ENVIRONMENT / "bin" / "python"
    lock = REQUIREMENTS / f"{package}.txt"
    environment = ROOT / f".venv-faults-{package}"
    python = environment / "bin" / "python"
    done = environment / "done"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(lock)]
        subprocess.run(install, check=True)
        done.touch()
    return python


class Worker(Child):
    """A worker program; its port is another one in each of its lives."""

    def __init__(self, python: str, script: Path, directory: Path, arguments: list[str], number: int) -> None:
        """Run it with the interpreter of its package."""
        command = [str(script), *arguments, "--directory", str(directory), "--number", str(number)]
        environment = {"PYTHONPATH": str(WORKERS), "PYTHONDONTWRITEBYTECODE": "1"}
        super().__init__(f"worker-{number}", command, directory / f"worker-{number}.log", environment, python)
        self.url = ""

    async def start(self, *, speaks: bool = True) -> None:
        """Start it, and learn where it listens."""
        await super().start(speaks=speaks)
        said = await self.line()
        if not said:
            raise NoAnswerError(f"{self.name} did not start.\n{self.last_words()}")
        self.url = f"http://127.0.0.1:{json.loads(said)['port']}"


class Peer:
    """A package at work: fresh workers, a fresh directory and a fresh database for every cell."""

    def __init__(self, python: str, script: Path, directory: Path, postgres: EmbeddedPostgres, gate: str) -> None:
        """Run this script with this interpreter."""
        self._python = python
        self._script = script
        self._directory = directory
        self._postgres = postgres
        self._gate = gate
        self._workers: dict[int, Worker] = {}
        self._databases: list[str] = []
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Get ready to ask."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_REQUEST_SECONDS))

    async def close(self) -> None:
        """Kill what runs."""
        for worker in self._workers.values():
            await worker.kill()
        if self._session is not None:
            await self._session.close()

    async def begin(self, work: Work) -> None:
        """Start worker 1 on a database that nobody has used; that of the last cell has served."""
        for worker in self._workers.values():
            await worker.kill()
        connection = await asyncpg.connect(self._postgres.dsn("postgres"))
        for database in self._databases:
            await connection.execute(f"drop database {database} with (force)")
        await connection.execute(f"create database {work.key}")
        await connection.close()
        self._databases = [work.key]
        directory = self._directory / work.key
        directory.mkdir()
        arguments = ["--gate", self._gate, "--dsn", self._postgres.dsn(work.key), "--cell", work.key]
        self._workers = {n: Worker(self._python, self._script, directory, arguments, n) for n in (1, 2)}
        await self.start(1)

    async def start(self, number: int) -> None:
        """Start a worker, if it does not run."""
        if self._workers[number].pid is None:
            await self._workers[number].start()

    async def kill(self, number: int) -> None:
        """Kill it."""
        await self._workers[number].kill()

    def pause(self, number: int) -> None:
        """Stop it."""
        self._workers[number].signal(signal.SIGSTOP)

    def wake(self, number: int) -> None:
        """Let it go on."""
        self._workers[number].signal(signal.SIGCONT)

    async def take_over(self, dead: int) -> None:
        """Tell the other worker."""
        await self._ask(3 - dead, "/take-over", {"of": dead})

    async def submit(self, number: int, work: Work) -> Said:
        """Ask for the work."""
        return _said(await self._ask(number, "/submit", msgspec.to_builtins(work)))

    async def says(self, number: int, work: Work) -> Said:
        """Ask what became of it."""
        return _said(await self._ask(number, "/says", msgspec.to_builtins(work)))

    def logs(self) -> str:
        """Return the last words of both."""
        return "\n".join(worker.last_words() for worker in self._workers.values())

    async def _ask(self, number: int, path: str, body: Any) -> dict[str, Any]:
        if self._session is None or self._workers[number].pid is None:
            raise NoAnswerError(f"Worker {number} does not run.")
        try:
            async with self._session.post(self._workers[number].url + path, json=body) as response:
                document: dict[str, Any] = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise NoAnswerError(str(error)) from error
        if response.status != 200:
            raise NoAnswerError(f"{response.status}: {document}")
        return document


def _said(answer: dict[str, Any]) -> Said:
    return Said(State(answer["state"]), answer["applied"], answer["words"])

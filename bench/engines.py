"""The engines under measurement, and the PostgreSQL server they share.

Each is set up as its documentation says: `intentledger serve` as one process with `reference` adapters; DBOS in an
environment of its own, as a library inside the process that calls it. The server is the embedded one with its
defaults, all of them durable; each engine has a database of its own on it.

Ours runs three times: as anybody would start it, under the authority of `bench/under_authority.py`, and without any
(`bench/bare.py`). While one of them works the others have nothing to do.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import asyncpg
import msgspec

from bench.load import Task
from bench.meter import prepare
from bench.under_authority import ADAPTERS, put_under_authority
from gateway.data_directory import token_file
from gateway.embedded_postgres import EmbeddedPostgres

ROOT: Final = Path(__file__).parents[1]
PEER_ENVIRONMENT: Final = ROOT / ".venv-bench"
PEER_SETTINGS: Final = ("documented", "best")
OURS: Final = "intentledger"
UNDER_AUTHORITY: Final = "intentledger, under authority"
BARE: Final = "intentledger, without authority"
OUR_DATABASES: Final = {OURS: "ours", UNDER_AUTHORITY: "under_authority", BARE: "bare"}
PEERS: Final = tuple(f"DBOS, {settings}" for settings in PEER_SETTINGS)

_ADAPTERS = "\n".join(
    f'[adapters.{name}]\ntype = "reference"\nguarantee = "atomic"\nfacts = false\n'
    + ("money = true\n" if name == "payments" else "")
    for name in ADAPTERS
)
_READY_SECONDS = 60


@asynccontextmanager
async def postgres(directory: Path) -> AsyncIterator[EmbeddedPostgres]:
    """Run a PostgreSQL server below a directory, with a database for each engine."""
    server = EmbeddedPostgres(directory)
    try:
        await server.start()
        connection = await asyncpg.connect(server.dsn())
        await prepare(connection)
        for database in (*OUR_DATABASES.values(), *map(_peer_database, PEER_SETTINGS)):
            await connection.execute(f"create database {database}")
        await connection.close()
        yield server
    finally:
        await server.stop()


class Service(msgspec.Struct, frozen=True):
    """A running `intentledger serve`, or what stands for it."""

    engine: str
    pid: int
    url: str
    token: str  # the operator's
    holder: str  # the token of who submits
    command: tuple[str, ...]  # how to call `intentledger`
    environment: Mapping[str, str]  # in which it is this service that is meant

    def task(self, in_flight: int, seconds: float) -> Task:
        """Drive it by a client process over HTTP."""
        command = [sys.executable, "-m", "bench.client", "--url", self.url]
        return Task(
            engine=self.engine,
            in_flight=in_flight,
            command=[*command, "--in-flight", str(in_flight), "--seconds", str(seconds)],
            environment={**os.environ, "BENCH_TOKEN": self.holder},
            engine_pid=self.pid,
        )


@asynccontextmanager
async def service(
    engine: str, directory: Path, server: EmbeddedPostgres, port: int, more_adapters: str = ""
) -> AsyncIterator[Service]:
    """Run the service as one process on its database, in a directory of its own."""
    directory.mkdir()  # noqa: ASYNC240 - nothing else runs yet
    (directory / "intentledger.toml").write_text(_ADAPTERS + more_adapters)
    program = str(Path(sys.executable).parent / "intentledger")
    command = (sys.executable, "-m", "bench.bare") if engine == BARE else (program,)
    environment = _service_environment(directory, server.dsn(OUR_DATABASES[engine]), port)
    with (directory / "service.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, "serve", env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        await _ready(process, f"{url}/readyz", directory / "service.log")
        token = token_file(directory / "data", "main").read_text().strip()
        holder = put_under_authority(url, token) if engine == UNDER_AUTHORITY else token
        yield Service(engine, process.pid, url, token, holder, command, environment)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _service_environment(directory: Path, dsn: str, port: int) -> Mapping[str, str]:
    return os.environ | {
        "INTENTLEDGER_DSN": dsn,
        "INTENTLEDGER_DATA": str(directory / "data"),
        "INTENTLEDGER_CONFIG": str(directory / "intentledger.toml"),
        "INTENTLEDGER_PORT": str(port),
        "INTENTLEDGER_LOG_LEVEL": "warning",
    }


async def _ready(process: asyncio.subprocess.Process, url: str, log: Path) -> None:
    for _ in range(_READY_SECONDS * 10):
        if process.returncode is not None:
            break
        try:
            await asyncio.to_thread(_get, url)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            return
    words = log.read_text()[-2000:]  # noqa: ASYNC240 - the benchmark ends here
    raise RuntimeError(f"The service did not become ready:\n{words}")


def _get(url: str) -> None:
    with urlopen(url, timeout=5) as answer:
        answer.read()


def make_peer_environment() -> None:
    """Install DBOS beside us, from the lock file, unless that was done."""
    done = PEER_ENVIRONMENT / "env-bench"
    lock = ROOT / "requirements-bench.txt"
    if done.exists() and done.stat().st_mtime >= lock.stat().st_mtime:
        return
    python = PEER_ENVIRONMENT / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", PEER_ENVIRONMENT], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(lock)]
    subprocess.run(install, check=True)
    done.touch()


def peer_task(server: EmbeddedPostgres, settings: str, in_flight: int, seconds: float) -> Task:
    """Run the same work on DBOS, called from inside its process."""
    command = [str(PEER_ENVIRONMENT / "bin" / "python"), str(ROOT / "bench" / "dbos_work.py")]
    command += ["--url", server.dsn(_peer_database(settings)), "--settings", settings]
    return Task(
        engine=PEERS[PEER_SETTINGS.index(settings)],
        in_flight=in_flight,
        command=[*command, "--in-flight", str(in_flight), "--seconds", str(seconds)],
        environment=os.environ,
        engine_pid=None,
    )


def _peer_database(settings: str) -> str:
    return f"dbos_{settings}"

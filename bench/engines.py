"""The engines under measurement, and the PostgreSQL server they share.

Each is set up as its documentation says: `intentledger serve` as one process with `reference` adapters; DBOS in an
environment of its own, as a library inside the process that calls it. The server is the embedded one with its
defaults, all of them durable; each engine has a database of its own on it.

Ours runs three times: as anybody would start it, under the authority of `bench/under_authority.py`, and without any
(`bench/bare.py`). While one of them works the others have nothing to do.
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from bench.load import Task
from bench.under_authority import ADAPTERS, put_under_authority
from gateway.embedded_postgres import EmbeddedPostgres
from gateway.load import TOKEN_VARIABLE, adapters, environment_of, load_command, served
from gateway.write_ahead_log import keep_log

ROOT: Final = Path(__file__).parents[1]
PEER_ENVIRONMENT: Final = ROOT / ".venv-bench"
PEER_SETTINGS: Final = ("documented", "best")
OURS: Final = "intentledger"
UNDER_AUTHORITY: Final = "intentledger, under authority"
BARE: Final = "intentledger, without authority"
OUR_DATABASES: Final = {OURS: "ours", UNDER_AUTHORITY: "under_authority", BARE: "bare"}
PEERS: Final = tuple(f"DBOS, {settings}" for settings in PEER_SETTINGS)


@asynccontextmanager
async def postgres(directory: Path) -> AsyncIterator[EmbeddedPostgres]:
    """Run a PostgreSQL server below a directory, with a database for each engine."""
    server = EmbeddedPostgres(directory)
    try:
        await server.start()
        connection = await asyncpg.connect(server.dsn())
        await keep_log(connection)
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
        return Task(
            engine=self.engine,
            in_flight=in_flight,
            command=load_command(self.url, in_flight, seconds),
            environment={**os.environ, TOKEN_VARIABLE: self.holder},
            engine_pid=self.pid,
        )


@asynccontextmanager
async def service(
    engine: str, directory: Path, server: EmbeddedPostgres, more_adapters: str = ""
) -> AsyncIterator[Service]:
    """Run the service as one process on its database, in a directory of its own."""
    program = (str(Path(sys.executable).parent / "intentledger"),)
    command = (sys.executable, "-m", "bench.bare") if engine == BARE else program
    dsn = server.dsn(OUR_DATABASES[engine])
    async with served(directory, dsn, adapters(ADAPTERS) + more_adapters, command) as ours:
        holder = put_under_authority(ours.url, ours.token) if engine == UNDER_AUTHORITY else ours.token
        yield Service(engine, ours.pid, ours.url, ours.token, holder, command, environment_of(directory, dsn))


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

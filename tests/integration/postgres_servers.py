"""Servers to test with: ask them, look at their processes, run them in another process."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from gateway.embedded_postgres import EmbeddedPostgres
from ledger.errors import Misconfigured

REPOSITORY = Path(__file__).parents[2]
STRANGER = 1  # daemon: a user id that is neither root's, ours nor the service's
ROOT = os.geteuid() == 0


async def value(postgres: EmbeddedPostgres, query: str):
    connection = await asyncpg.connect(postgres.dsn(), timeout=10)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def execute(postgres: EmbeddedPostgres, script: str) -> None:
    connection = await asyncpg.connect(postgres.dsn(), timeout=10)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


def kernel_file(pid: int | None, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def program(command: list[str | Path], uid: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, user=uid if ROOT else None, cwd="/", stderr=subprocess.DEVNULL)


async def eventually(condition, seconds: float = 15) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen in time"
        await asyncio.sleep(0.02)


OWNER = """
import asyncio, sys
from pathlib import Path
import structlog
from gateway.embedded_postgres import EmbeddedPostgres

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

async def main():
    postgres = EmbeddedPostgres(Path(sys.argv[1]))
    await postgres.start()
    print(postgres.pid, file=sys.stdout, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await postgres.stop()

asyncio.run(main())
"""


def start_owner(directory: Path) -> subprocess.Popen[str]:
    """Start another process that runs the server of this directory until its standard input is closed."""
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(owner: subprocess.Popen[str]) -> None:
    owner.communicate(timeout=20)


def snapshot(directory: Path) -> list[tuple[str, int, int, int, int]]:
    found = []
    for path in sorted([directory, *directory.rglob("*")]):
        if path.name == "postgres.lock":
            continue  # it says who tried last
        stat = path.lstat()
        found.append((str(path), stat.st_mode, stat.st_uid, stat.st_size, stat.st_mtime_ns))
    return found


async def refusal_of(postgres: EmbeddedPostgres, directory: Path, error: type[Exception] = Misconfigured) -> str:
    before = snapshot(directory)
    with pytest.raises(error) as refusal:
        await postgres.start()
    assert snapshot(directory) == before
    assert postgres.pid is None
    return str(refusal.value)

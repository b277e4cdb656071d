"""Where it was measured, in words that say what matters for the figures and nothing else."""

import os
import platform
from pathlib import Path

import asyncpg
import msgspec

from gateway.write_ahead_log import fsync_us


class Machine(msgspec.Struct, frozen=True):
    """What the figures depend on."""

    cores: int
    python: str
    postgres: str
    fsync_us: int  # median, of 8 kB, where the database lies
    settings: dict[str, str]  # the ones that durability and speed hang on


async def describe(connection: asyncpg.Connection, directory: Path) -> Machine:
    """Look at the machine, and at the server behind `connection` whose files lie below `directory`."""
    names = ["fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers", "max_wal_size"]
    settings = {name: await connection.fetchval("select current_setting($1)", name) for name in names}
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        postgres=await connection.fetchval("select current_setting('server_version')"),
        fsync_us=fsync_us(directory),
        settings=settings,
    )

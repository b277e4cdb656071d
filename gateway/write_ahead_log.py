"""What reached PostgreSQL's write-ahead log between two moments: commits that had to be durable, and bytes. And what
a disk takes for one.

Counted in the log itself (`pg_walinspect`), so exactly; the statistics views count reads as well and lag by up to ten
seconds. It counts what everybody writes to that server, so it means something only on one that nobody else uses.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Final

import asyncpg

_SLOT: Final = "bench"
_FSYNCS: Final = 200
_BLOCK: Final = bytes(8192)


async def keep_log(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Let the log be looked into, and keep it until it has been: a checkpoint in a long run would remove it.

    `connection` must be of a superuser, here and below.
    """
    await connection.execute("create extension if not exists pg_walinspect")
    await connection.execute("select pg_create_physical_replication_slot($1, true)", _SLOT)


async def log_position(connection: "asyncpg.Connection[asyncpg.Record]") -> str:
    """Return where the log ends now."""
    position: str = await connection.fetchval("select pg_current_wal_lsn()::text")
    return position


async def written_between(connection: "asyncpg.Connection[asyncpg.Record]", begin: str, end: str) -> tuple[int, int]:
    """Return the commits and the bytes between two positions, and let go of the log up to now."""
    size: int = await connection.fetchval("select ($2::text::pg_lsn - $1::text::pg_lsn)::bigint", begin, end)
    commits: int = 0 if size == 0 else await connection.fetchval(_COMMITS, begin, end)
    await connection.execute("select pg_replication_slot_advance($1, pg_current_wal_lsn())", _SLOT)
    return commits, size


def fsync_us(directory: Path) -> int:
    """Return the median of what it takes to make 8 kB durable below a directory, in microseconds."""
    with tempfile.TemporaryFile(dir=directory) as file:
        took = []
        for _ in range(_FSYNCS):
            begin = time.perf_counter()
            os.pwrite(file.fileno(), _BLOCK, 0)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begin)
    return int(sorted(took)[_FSYNCS // 2] * 1e6)


_COMMITS: Final = (
    "select coalesce(sum(count), 0)::bigint from pg_get_wal_stats($1::text::pg_lsn, $2::text::pg_lsn, true) "
    "where \"resource_manager/record_type\" like 'Transaction/COMMIT%'"
)

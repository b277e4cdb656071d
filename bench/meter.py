"""What a run cost: processor time of each party from /proc, and what reached PostgreSQL's log.

Commits are counted in the write-ahead log itself (`pg_walinspect`): exact, and only those that had to be made durable.
The statistics views count reads as well and lag by up to ten seconds. Only one engine works at a time, so the whole
log between two moments is its own; the ledger's projections are part of it.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import asyncpg
import msgspec

_SLOT = "bench"
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Reading(msgspec.Struct, frozen=True):
    """Where the counters stood at one moment."""

    wal: str
    cpu_seconds: Mapping[str, float]


class Cost(msgspec.Struct, frozen=True):
    """What happened between two readings."""

    commits: int
    wal_bytes: int
    cpu_seconds: Mapping[str, float]


async def prepare(connection: asyncpg.Connection) -> None:
    """Let the log be looked into, and keep it until it has been: a checkpoint in a long run would remove it."""
    await connection.execute("create extension if not exists pg_walinspect")
    await connection.execute("select pg_create_physical_replication_slot($1, true)", _SLOT)


class Meter:
    """Reads the counters of one PostgreSQL server and of named processes."""

    def __init__(self, connection: asyncpg.Connection, postmaster: int) -> None:
        """`connection` must be of a superuser of a database that `prepare` has prepared."""
        self._connection = connection
        self._postmaster = postmaster

    async def read(self, processes: Mapping[str, int]) -> Reading:
        """Read everything now."""
        wal: str = await self._connection.fetchval("select pg_current_wal_lsn()::text")
        cpu = {name: _cpu_seconds([pid]) for name, pid in processes.items()}
        return Reading(wal, cpu | cpu_seconds(self._postmaster))

    async def cost(self, begin: Reading, end: Reading) -> Cost:
        """Say what lies between two readings."""
        wal_bytes = await self._connection.fetchval(
            "select ($2::text::pg_lsn - $1::text::pg_lsn)::bigint", begin.wal, end.wal
        )
        commits = await self._commits(begin.wal, end.wal) if wal_bytes else 0
        await self._connection.execute("select pg_replication_slot_advance($1, pg_current_wal_lsn())", _SLOT)
        cpu = {name: seconds - begin.cpu_seconds.get(name, 0.0) for name, seconds in end.cpu_seconds.items()}
        return Cost(commits, wal_bytes, cpu)

    async def _commits(self, begin: str, end: str) -> int:
        count: int = await self._connection.fetchval(
            "select coalesce(sum(count), 0)::bigint from pg_get_wal_stats($1::text::pg_lsn, $2::text::pg_lsn, true) "
            "where \"resource_manager/record_type\" like 'Transaction/COMMIT%'",
            begin,
            end,
        )
        return count


def cpu_seconds(postmaster: int) -> Mapping[str, float]:
    """Return the seconds that the whole machine has been busy, and those of a PostgreSQL server."""
    postgres = _cpu_seconds([postmaster, *_children(postmaster)], reaped_of=postmaster)
    return {"machine": _machine_seconds(), "postgres": postgres}


def peak_memory_bytes(pid: int) -> int:
    """Return the largest resident memory a process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"Process {pid} has ended.")


def _machine_seconds() -> float:
    """Return the seconds that all cores together have been busy, for whomever."""
    fields = [int(ticks) for ticks in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS_PER_SECOND  # all but idle and iowait: proc_stat(5)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _cpu_seconds(pids: Iterable[int], reaped_of: int | None = None) -> float:
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue  # it has just ended; its parent counts it as reaped
        ticks += int(fields[11]) + int(fields[12])  # utime, stime: proc(5) fields 14 and 15
        if pid == reaped_of:
            ticks += int(fields[13]) + int(fields[14])  # cutime, cstime
    return ticks / _TICKS_PER_SECOND

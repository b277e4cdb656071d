"""What a run cost: processor time of each party from /proc, and what reached PostgreSQL's log.

Only one engine works at a time, so the whole log between two moments is its own; the ledger's projections are part of
it.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import asyncpg
import msgspec

from gateway.write_ahead_log import log_position, written_between

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


class Meter:
    """Reads the counters of one PostgreSQL server and of named processes."""

    def __init__(self, connection: asyncpg.Connection, postmaster: int) -> None:
        """`connection` must be of a superuser, to a server whose log is kept (`keep_log`)."""
        self._connection = connection
        self._postmaster = postmaster

    async def read(self, processes: Mapping[str, int]) -> Reading:
        """Read everything now."""
        wal = await log_position(self._connection)
        cpu = {name: _cpu_seconds([pid]) for name, pid in processes.items()}
        return Reading(wal, cpu | cpu_seconds(self._postmaster))

    async def cost(self, begin: Reading, end: Reading) -> Cost:
        """Say what lies between two readings."""
        commits, wal_bytes = await written_between(self._connection, begin.wal, end.wal)
        cpu = {name: seconds - begin.cpu_seconds.get(name, 0.0) for name, seconds in end.cpu_seconds.items()}
        return Cost(commits, wal_bytes, cpu)


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

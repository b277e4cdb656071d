"""Runs one load process (`gateway/load.py`) against one engine and returns what it saw and what it cost."""

from collections.abc import Mapping, Sequence

import msgspec

from bench.meter import Cost, Meter, peak_memory_bytes
from gateway.load import Seen, loading


class Run(msgspec.Struct, kw_only=True):
    """One measured run. Commits, bytes and processor time are for each unit of work: an intent, a workflow."""

    engine: str
    in_flight: int
    count: int
    seconds: float
    rate: float
    p50_ms: float
    p99_ms: float
    commits: float
    wal_bytes: float
    cpu_us: Mapping[str, float]
    cpu_share: Mapping[str, float]  # of one core
    memory_bytes: int  # the engine's process at its peak
    others_share: float  # of one core, by whatever else ran on the machine


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: a load process and the engine it drives; no pid when the load process is the engine."""

    engine: str
    in_flight: int
    command: Sequence[str]
    environment: Mapping[str, str]
    engine_pid: int | None


async def measure(task: Task, meter: Meter) -> Run:
    """Run a load process; raises `Unavailable` if it fails."""
    async with loading(task.command, task.environment) as load:
        engine = task.engine_pid or load.pid
        processes = {"engine": engine} | ({"load": load.pid} if task.engine_pid else {})
        begin = await meter.read(processes)
        seen = await load.run()
        end = await meter.read(processes)
        memory = peak_memory_bytes(engine)
    return _run(task, seen, await meter.cost(begin, end), memory)


def _run(task: Task, seen: Seen, cost: Cost, memory: int) -> Run:
    count = len(seen.latencies)
    busy = cost.cpu_seconds["machine"]
    parties = {name: seconds for name, seconds in cost.cpu_seconds.items() if name != "machine"}
    return Run(
        engine=task.engine,
        in_flight=task.in_flight,
        count=count,
        seconds=seen.seconds,
        rate=seen.rate,
        p50_ms=seen.milliseconds(50),
        p99_ms=seen.milliseconds(99),
        commits=cost.commits / count,
        wal_bytes=cost.wal_bytes / count,
        cpu_us={name: seconds / count * 1e6 for name, seconds in parties.items()},
        cpu_share={name: seconds / seen.seconds for name, seconds in parties.items()},
        memory_bytes=memory,
        others_share=max(0.0, busy - sum(parties.values())) / seen.seconds,
    )

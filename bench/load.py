"""Runs one load process against one engine and returns what it saw and what it cost.

The protocol with a load process: it connects, warms up and prints `ready`; the counters are read and it is sent a line;
it works and prints its result as JSON; the counters are read and its input is closed. So neither its start nor its
warm-up nor its end counts. What is in flight when the time is over is waited for and counted.
"""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence

import msgspec

from bench.meter import Cost, Meter, peak_memory_bytes

_LINE_BYTES = 256 * 1024 * 1024  # all latencies of a long run stand in one line
_START_SECONDS = 120


class Seen(msgspec.Struct):
    """What a load process reports."""

    seconds: float  # until the last answer
    latencies: list[float]


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
    """Run a load process; raises `RuntimeError` if it fails."""
    with tempfile.TemporaryFile() as words:
        process = await asyncio.create_subprocess_exec(
            *task.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=words,
            env=dict(task.environment),
            limit=_LINE_BYTES,
        )
        try:
            return await _drive(process, task, meter)
        except EOFError as error:
            words.seek(0)
            said = words.read()[-4000:].decode(errors="replace")
            raise RuntimeError(f"{task.engine} at {task.in_flight} in flight stopped:\n{said}") from error


async def _drive(process: asyncio.subprocess.Process, task: Task, meter: Meter) -> Run:
    engine = task.engine_pid or process.pid
    processes = {"engine": engine} | ({"load": process.pid} if task.engine_pid else {})
    try:
        async with asyncio.timeout(_START_SECONDS):
            while (line := await _answer(process)) != b"ready\n":
                del line  # what a library says when it starts
        begin = await meter.read(processes)
        process.stdin.write(b"\n")  # type: ignore[union-attr]
        seen = msgspec.json.decode(await _answer(process), type=Seen)
        end = await meter.read(processes)
        memory = peak_memory_bytes(engine)
    finally:
        await _end(process)
    return _run(task, seen, await meter.cost(begin, end), memory)


async def _answer(process: asyncio.subprocess.Process) -> bytes:
    line = await process.stdout.readline()  # type: ignore[union-attr]
    if not line:
        raise EOFError
    return line


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.stdin.close()  # type: ignore[union-attr]
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


def _run(task: Task, seen: Seen, cost: Cost, memory: int) -> Run:
    count = len(seen.latencies)
    busy = cost.cpu_seconds["machine"]
    parties = {name: seconds for name, seconds in cost.cpu_seconds.items() if name != "machine"}
    latencies = sorted(seen.latencies)
    return Run(
        engine=task.engine,
        in_flight=task.in_flight,
        count=count,
        seconds=seen.seconds,
        rate=count / seen.seconds,
        p50_ms=latencies[count // 2] * 1e3,
        p99_ms=latencies[count * 99 // 100] * 1e3,
        commits=cost.commits / count,
        wal_bytes=cost.wal_bytes / count,
        cpu_us={name: seconds / count * 1e6 for name, seconds in parties.items()},
        cpu_share={name: seconds / seen.seconds for name, seconds in parties.items()},
        memory_bytes=memory,
        others_share=max(0.0, busy - sum(parties.values())) / seen.seconds,
    )

"""I19 measured: how long others take beside a system that swallows every call. `python -m bench.black_hole`.

Each round begins with a new database and a new `intentledger serve`, with two adapters in memory and an `http` one.
Others keep intents in flight over the two in memory: first `alone`, then while an agent keeps submitting intents that
use the one over HTTP, as long as that answers (`answering`: what the work itself costs), then from the moment on in
which it falls silent (`opening`: calls hang, and its circuit opens), and further (`open`: calls are held back, and a
few try). Ratios of the 99th percentiles are taken within a round; their median and range are printed.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import aiohttp
import asyncpg
import msgspec

from bench.engines import OURS, Service, postgres, service
from bench.load import Task, measure
from bench.machine import describe
from bench.meter import Meter
from gateway.embedded_postgres import EmbeddedPostgres

TIMES = 2.0  # I19
PHASES = ("alone", "answering", "opening", "open")
_HOLE = """
[adapters.hole]
type = "http"
url = "http://127.0.0.1:{port}"
allow_private = true
[adapters.hole.operations.post]
guarantee = "idempotent"
commit = {{ path = "/post", body = "{{params}}" }}
params = {{ type = "object", additionalProperties = false }}
"""


class Figures(msgspec.Struct, frozen=True):
    """One round: p50 and p99 of others in milliseconds and their rate, by phase; how the silent system was found."""

    p50_ms: dict[str, float]
    p99_ms: dict[str, float]
    rate: dict[str, float]
    others_share: float  # of one core, by whatever else ran on the machine, at its highest
    submitted: int  # intents for the silent system
    circuit: str

    def times(self, phase: str) -> float:
        """Return how many times as long the slowest hundredth took as it took alone."""
        return self.p99_ms[phase] / self.p99_ms["alone"]


def main() -> None:
    """Read the flags, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.black_hole", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=12.0, help="of each phase; a call to the silent system takes 8"
    )
    parser.add_argument("--in-flight", type=int, default=8, help="intents of others")
    parser.add_argument("--flood", type=float, default=20.0, help="intents each second for the silent system")
    flags = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    directory.chmod(0o711)  # PostgreSQL may run as another user
    try:
        rounds = asyncio.run(_rounds(flags, directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    _show(flags, rounds)
    sys.exit(0 if all(median(one.times(phase) for one in rounds) <= TIMES for phase in PHASES) else 1)


async def _rounds(flags: argparse.Namespace, directory: Path) -> list[Figures]:
    async with postgres(directory / "postgres") as server, _listening() as hole:
        connection = await asyncpg.connect(server.dsn())
        machine = await describe(connection, directory)
        print(f"{machine.cores} cores, PostgreSQL {machine.postgres}, an fsync of {machine.fsync_us} µs")
        meter = Meter(connection, server.pid or 0)
        rounds = []
        for number in range(flags.rounds):
            await connection.execute("drop database ours")
            await connection.execute("create database ours")
            rounds.append(await _round(flags, directory / str(number), server, hole, meter))
            print(f"round {number + 1}: {_words(rounds[-1])}", flush=True)
        await connection.close()
    return rounds


async def _round(
    flags: argparse.Namespace, directory: Path, server: EmbeddedPostgres, hole: "_Hole", meter: Meter
) -> Figures:
    hole.silent = False
    async with service(OURS, directory, server, _HOLE.format(port=hole.port)) as ours:
        task: Task = ours.task(flags.in_flight, flags.seconds)
        runs = {"alone": await measure(task, meter)}
        async with _flood(ours, flags.flood) as submitted:
            for phase in PHASES[1:]:
                hole.silent = phase != "answering"
                runs[phase] = await measure(task, meter)
            circuit = await _circuit(ours)
    return Figures(
        p50_ms={phase: run.p50_ms for phase, run in runs.items()},
        p99_ms={phase: run.p99_ms for phase, run in runs.items()},
        rate={phase: run.rate for phase, run in runs.items()},
        others_share=max(run.others_share for run in runs.values()),
        submitted=len(submitted),
        circuit=circuit,
    )


class _Hole(msgspec.Struct):
    """A server over HTTP that answers, or takes what is sent and never does."""

    port: int = 0
    silent: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection, or read until the other side hangs up."""
        while await reader.read(65_536):
            if not self.silent:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()


@asynccontextmanager
async def _listening() -> AsyncIterator[_Hole]:
    hole = _Hole()
    server = await asyncio.start_server(hole.serve, "127.0.0.1", 0)
    hole.port = server.sockets[0].getsockname()[1]
    yield hole
    server.close()


@asynccontextmanager
async def _flood(ours: Service, each_second: float) -> AsyncIterator[list[int]]:
    """Keep submitting intents for the silent system; what they were answered goes into the list."""
    submitted: list[int] = []
    headers = {"Authorization": f"Bearer {ours.holder}"}
    body = {"reason": "black hole", "deadline": 300, "actions": [{"id": "a", "operation": "hole.post", "params": {}}]}

    async def flood(session: aiohttp.ClientSession) -> None:
        while True:
            key = {"Idempotency-Key": f"hole-{len(submitted)}-{os.getpid()}"}
            async with session.post(f"{ours.url}/v1/intents", json=body, headers=key) as answer:
                if answer.status != 202:
                    raise RuntimeError(f"The silent system's intent was answered {answer.status}.")
                submitted.append(answer.status)
            await asyncio.sleep(1 / each_second)

    async with aiohttp.ClientSession(headers=headers) as session:
        flooding = asyncio.create_task(flood(session))
        yield submitted
        if flooding.done():
            flooding.result()
        flooding.cancel()
        await asyncio.wait([flooding])


async def _circuit(ours: Service) -> str:
    headers = {"Authorization": f"Bearer {ours.holder}"}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{ours.url}/v1/operations") as answer:
        items = (await answer.json())["items"]
    return next(str(one["circuit"]["state"]) for one in items if one["operation"] == "hole.post")


def _words(one: Figures) -> str:
    parts = [f"{phase} p99 {one.p99_ms[phase]:.1f} ms, {one.rate[phase]:.0f}/s" for phase in PHASES]
    return f"{'; '.join(parts)}; {one.submitted} for the silent system, its circuit {one.circuit}"


def _show(flags: argparse.Namespace, rounds: Sequence[Figures]) -> None:
    others = max(one.others_share for one in rounds)
    print(
        f"{flags.in_flight} intents in flight, {flags.flood:.0f} a second for the silent system, {len(rounds)} rounds"
    )
    print(f"other work on the machine took up to {others:.0%} of a core\n")
    print("| | p50 ms | p99 ms | each second | p99, times as long as alone | range |\n|---|---|---|---|---|---|")
    for phase in PHASES:
        times = [one.times(phase) for one in rounds]
        p50, p99, rate = (median(each[phase] for each in found) for found in _columns(rounds))
        print(
            f"| {phase} | {p50:.1f} | {p99:.1f} | {rate:.0f} | "
            f"{median(times):.2f} | {min(times):.2f} to {max(times):.2f} |"
        )


def _columns(rounds: Sequence[Figures]) -> tuple[list[dict[str, float]], ...]:
    return [one.p50_ms for one in rounds], [one.p99_ms for one in rounds], [one.rate for one in rounds]


if __name__ == "__main__":
    main()

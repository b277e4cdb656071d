"""`python -m bench`: measure ours and the peer side by side, on one PostgreSQL, in one run.

Rounds are interleaved, so that what else the machine does falls on both; ratios are taken within a round.
"""

import argparse
import asyncio
import logging
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
import structlog
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.afterwards import caught_up, measure_afterwards
from bench.engines import (
    OUR_DATABASES,
    OURS,
    PEER_SETTINGS,
    ROOT,
    Service,
    make_peer_environment,
    peer_task,
    postgres,
    service,
)
from bench.load import Run, Task, measure
from bench.machine import describe
from bench.meter import Meter
from bench.page import write_page
from bench.report import BUSY, Report, show
from gateway.embedded_postgres import EmbeddedPostgres

RESULTS: Final = ROOT / "bench" / "results"
IN_FLIGHT: Final = (1, 8, 32, BUSY)  # at 8 the peer is at its best


class Plan(msgspec.Struct, frozen=True):
    """How much to measure."""

    rounds: int
    seconds: float  # of each run
    peer_in_flight: tuple[int, ...]
    sustained_seconds: float | None


def main() -> None:
    """Read the flags, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, half a minute: a look, no figure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument("--sustained", type=float, metavar="SECONDS", help=f"one long run with {BUSY} in flight")
    parser.add_argument("--without-peer", action="store_true", help="measure only ours")
    parser.add_argument("--directory", type=Path, help="below which the database lies meanwhile; no tmpfs")
    parser.add_argument("--page", type=Path, help="write the figures into this page too: docs/performance.md")
    flags = parser.parse_args()
    peer = () if flags.without_peer else (BUSY,) if flags.quick else IN_FLIGHT
    plan = (
        Plan(1, 2.0, peer, flags.sustained) if flags.quick else Plan(flags.rounds, flags.seconds, peer, flags.sustained)
    )
    console = Console()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if peer:
        make_peer_environment()
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=flags.directory))
    directory.chmod(0o711)  # PostgreSQL may run as another user
    try:
        report = asyncio.run(_measure_all(plan, directory, console))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    show(report, console)
    console.print(f"Written to {_write(report)}.")
    if flags.page:
        write_page(report, flags.page)


async def _measure_all(plan: Plan, directory: Path, console: Console) -> Report:
    async with AsyncExitStack() as running:
        server = await running.enter_async_context(postgres(directory / "postgres"))
        services = [
            await running.enter_async_context(service(engine, directory / database, server))
            for engine, database in OUR_DATABASES.items()
        ]
        ours = services[0]
        connection = await asyncpg.connect(server.dsn())
        if server.pid is None:
            raise RuntimeError("PostgreSQL has stopped.")
        meter = Meter(connection, server.pid)
        machine = await describe(connection, directory)
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
        ) as progress:
            rounds = [
                await _round(plan, _tasks(plan, server, services), services, meter, progress, number)
                for number in range(plan.rounds)
            ]
            sustained = None
            if plan.sustained_seconds:
                shown = progress.add_task(f"{plan.sustained_seconds:.0f} s with {BUSY} in flight")
                sustained = await measure(ours.task(BUSY, plan.sustained_seconds), meter)
                progress.remove_task(shown)
            progress.add_task("views, replay, store")
            afterwards = await measure_afterwards(ours, server.dsn(OUR_DATABASES[OURS]), plan.seconds)
        await connection.close()
    return Report(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine,
        rounds=rounds,
        sustained=sustained,
        afterwards=afterwards,
    )


def _tasks(plan: Plan, server: EmbeddedPostgres, services: Sequence[Service]) -> list[Task]:
    tasks = []
    for in_flight in IN_FLIGHT:
        engines = services if in_flight == BUSY else services[:1]
        tasks += [one.task(in_flight, plan.seconds) for one in engines]
        if in_flight in plan.peer_in_flight:
            tasks += [peer_task(server, settings, in_flight, plan.seconds) for settings in PEER_SETTINGS]
    return tasks


async def _round(
    plan: Plan, tasks: list[Task], services: Sequence[Service], meter: Meter, progress: Progress, number: int
) -> list[Run]:
    """Run every task once, every second round backwards; none begins while the views of the one before catch up."""
    runs = []
    for task in tasks if number % 2 == 0 else tasks[::-1]:
        shown = progress.add_task(f"round {number + 1} of {plan.rounds}: {task.engine}, {task.in_flight} in flight")
        runs.append(await measure(task, meter))
        for one in services:
            if one.engine == task.engine:
                await caught_up(one)
        progress.remove_task(shown)
    return runs


def _write(report: Report) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{report.at.replace(':', '')}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return path


if __name__ == "__main__":
    main()

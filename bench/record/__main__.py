"""`make bench-record`: make a big ledger, and measure everything that reads, verifies, moves or folds all of it.

Each step is a process of its own (`bench/record/steps.py`) on one embedded PostgreSQL. With `--directory` the ledger
stays there, and the next run over as many events begins at once. Exits with 1 if a target is missed.
"""

import argparse
import asyncio
import os
import re
import shutil
import sys
import tempfile
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from bench.machine import Machine, describe
from bench.meter import cpu_seconds
from bench.page import write_between
from bench.record.report import ALL, APPEND, AUDIT, HALF, PAGES, VERIFY, WHOLE, Record, Step, lines, show, targets
from gateway import logs
from gateway.embedded_postgres import EmbeddedPostgres
from ledger.migrations import migrate
from projections.catalogue import PROJECTIONS

_ROOT: Final = Path(__file__).parents[2]
_RESULTS: Final = _ROOT / "bench" / "results"
_LEDGER: Final = "record"  # its database
_PROGRESS: Final = re.compile(rb"(\d+) (\d+)\n")
_EARLY: Final = "the audit `--at` a hundredth of it"


class Made(msgspec.Struct, frozen=True):
    """What a directory holds."""

    events: int
    revisions: dict[str, int]  # of the views: rows of others are not reused
    making: list[Step]


class Stage:
    """Where the steps run: a server, a directory, and a terminal."""

    def __init__(self, server: EmbeddedPostgres, home: Path, progress: Progress) -> None:
        self._server = server
        self._home = home
        self._progress = progress

    async def database(self, name: str) -> None:
        """Make an empty database, in the place of one that may be there."""
        owner = await asyncpg.connect(self._server.dsn())
        await owner.execute(f"drop database if exists {name} with (force)")
        await owner.execute(f"create database {name}")
        await owner.close()

    async def step(self, shown: str, name: str, *words: str, database: str = _LEDGER) -> Step:
        """Run a step to its end. Raises `RuntimeError` with its words if it fails."""
        task = self._progress.add_task(shown, total=None)
        command = [
            sys.executable,
            "-m",
            "bench.record.steps",
            name,
            self._server.dsn(database),
            str(self._home),
            *words,
        ]
        before, began = cpu_seconds(self._postmaster), asyncio.get_running_loop().time()
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=dict(os.environ)
        )
        answer, said, code = await asyncio.gather(_all(process.stdout), self._follow(process, task), process.wait())
        if code != 0:
            raise RuntimeError(f"The step {shown!r} failed:\n{said[-3000:].decode(errors='replace')}")
        seconds = asyncio.get_running_loop().time() - began
        after = cpu_seconds(self._postmaster)
        self._progress.remove_task(task)
        found = msgspec.json.decode(answer)
        own, machine, postgres = (
            found.pop("cpu_seconds"),
            *(after[one] - before[one] for one in ("machine", "postgres")),
        )
        return Step(
            name=shown,
            seconds=found.pop("seconds"),
            cpu_seconds=own,
            postgres_seconds=round(postgres, 2),
            others_share=round(max(machine - own - postgres, 0) / seconds, 3),
            peak_bytes=found.pop("peak_bytes"),
            found=found,
        )

    @property
    def _postmaster(self) -> int:
        if self._server.pid is None:
            raise RuntimeError("PostgreSQL has stopped.")
        return self._server.pid

    async def _follow(self, process: asyncio.subprocess.Process, task: TaskID) -> bytes:
        """Show how far a step is; return what else it says."""
        said = b""
        if process.stderr is not None:
            async for line in process.stderr:
                if progress := _PROGRESS.fullmatch(line):
                    self._progress.update(task, completed=int(progress[1]), total=int(progress[2]))
                else:
                    said += line
        return said


async def _all(stream: asyncio.StreamReader | None) -> bytes:
    return b"" if stream is None else await stream.read()


async def made(stage: Stage, home: Path, events: int) -> list[Step]:
    """Make the ledger, unless it is here already; return what that took."""
    mark, revisions = home / "made.json", {one.name: one.revision for one in PROJECTIONS}
    if mark.exists():
        known = msgspec.json.decode(mark.read_bytes(), type=Made)
        if (known.events, known.revisions) == (events, revisions):
            return known.making
    mark.unlink(missing_ok=True)
    for old in (home / "main", home / "main.key"):
        shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink(missing_ok=True)
    await stage.database(_LEDGER)
    making = [
        await stage.step("writing the events", "write", str(events)),
        await stage.step("making the inline tables", "inline"),
        await stage.step("making the views", "views"),
        await stage.step("making the log", "cover"),
    ]
    mark.write_bytes(msgspec.json.encode(Made(events, revisions, making)))
    return making


async def measured(stage: Stage, home: Path, events: int, pages: int, seconds: float) -> list[Step]:
    """Measure everything that reads the whole."""
    file = str(home / "main.ledger")
    steps = [await stage.step(PAGES, "pages", str(pages)), await stage.step(VERIFY, "verify")]
    steps.append(await stage.step("export", "export", file))
    steps.append(await stage.step("prove the file", "prove", file))
    await stage.database("elsewhere")
    steps.append(await stage.step("import, without views", "bring_in", file, database="elsewhere"))
    (home / "main.ledger").unlink()
    steps.append(await stage.step(AUDIT, "replay_audit"))
    for shown, position in ((_EARLY, events // 100), (HALF, events // 2), (WHOLE, steps[-1].events)):
        steps.append(await stage.step(shown, "replay_at", str(position)))
    steps.append(await stage.step(ALL, "replay_all"))
    await stage.database("elsewhere")
    steps.append(await stage.step(APPEND, "append", str(seconds), database="elsewhere"))
    return steps


async def record(home: Path, events: int, pages: int, seconds: float, console: Console) -> Record:
    """Start the server, make the ledger and measure."""
    bars = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    async with AsyncExitStack() as running:
        server = EmbeddedPostgres(home)
        running.push_async_callback(server.stop)
        await server.start()
        machine = await _machine(server, home)
        stage = Stage(server, home, running.enter_context(Progress(*bars, console=console, transient=True)))
        making = await made(stage, home, events)
        await migrate(server.dsn(_LEDGER))
        steps = await measured(stage, home, events, pages, seconds)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Record(at=at, machine=machine, events=making[0].events, making=making, steps=steps)


async def _machine(server: EmbeddedPostgres, home: Path) -> Machine:
    connection = await asyncpg.connect(server.dsn())
    try:
        return await describe(connection, home)
    finally:
        await connection.close()


def main() -> int:
    """Read the flags, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.record", description=__doc__)
    parser.add_argument("--events", type=int, default=500_000, help="5000000 is the full measure, with 10 GB of disk")
    parser.add_argument("--pages", type=int, default=2_000, help="of the audit to be read")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round of appending")
    parser.add_argument("--directory", type=Path, help="where the ledger lies and stays; by default it goes")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="where the figures go, as JSON")
    parser.add_argument("--page", type=Path, help="write the figures into this page too: docs/performance.md")
    flags = parser.parse_args()
    logs.configure("warning", "text")
    console = Console()
    home = flags.directory or Path(tempfile.mkdtemp(prefix="bench-record-"))
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o711)  # PostgreSQL may run as another user
    try:
        found = asyncio.run(record(home, flags.events, flags.pages, flags.seconds, console))
    finally:
        if flags.directory is None:
            shutil.rmtree(home, ignore_errors=True)
    written = _write(found, flags.results)
    show(found, console)
    console.print(f"Written to {written}.")
    if flags.page:
        write_between(flags.page, "record", lines(found))
    return 0 if all(one.met for one in targets(found)) else 1


def _write(found: Record, results: Path) -> Path:
    results.mkdir(exist_ok=True)
    path = results / f"record-{found.at.replace(':', '')}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    return path


if __name__ == "__main__":
    sys.exit(main())

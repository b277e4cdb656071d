"""`python -m bench.faults`: play the matrix, print it, and fail if a cell of ours is not what it must be.

A look: `--only intentledger --row "lost answer"`. The page is written only by a full run with `--page docs/faults.md`.
"""

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bench.engines import ROOT
from bench.faults.cells import ALL, Cell, Client, Guarantee, Row
from bench.faults.lane import Outcome, play
from bench.faults.page import Matrix, write_page
from bench.faults.roster import OURS, ROSTER, contender, expected_of_ours, installer
from bench.faults.table import show

RESULTS: Final = ROOT / "bench" / "results"


def main() -> None:
    """Read the flags, play, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--only", action="append", choices=[one.name for one in ROSTER], help="play only this one")
    parser.add_argument("--row", action="append", choices=[*Row], help="play only this row")
    parser.add_argument("--column", action="append", choices=[*Guarantee], help="play only this guarantee")
    parser.add_argument("--client", choices=[*Client], help="play only this client")
    parser.add_argument("--lanes", type=int, default=5, help="how many cells are played at the same time")
    parser.add_argument("--page", type=Path, help="write the matrix into this page: docs/faults.md")
    parser.add_argument("--keep", action="store_true", help="keep the records and logs")
    flags = parser.parse_args()
    cells = [
        cell
        for cell in ALL
        if cell.row in (flags.row or Row)
        and cell.guarantee in (flags.column or Guarantee)
        and (flags.client is None or cell.client == flags.client)
    ]
    names = flags.only or [one.name for one in ROSTER]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    directory = Path(tempfile.mkdtemp(prefix="faults-"))
    directory.chmod(0o711)  # PostgreSQL may run as another user
    console = Console()
    try:
        outcomes = asyncio.run(_play_all(names, cells, flags.lanes, directory, console))
    finally:
        if flags.keep:
            console.print(f"Kept in {directory}.")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    matrix = Matrix(at=datetime.now(UTC).isoformat(timespec="seconds"), outcomes=outcomes)
    show(matrix.outcomes, console)
    if flags.page:
        write_page(matrix, flags.page)
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"faults-{matrix.at[:10]}.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(matrix)) + b"\n")
        console.print(f"Written to {flags.page} and {path}.")
    sys.exit(_complain(outcomes, console))


async def _play_all(
    names: Sequence[str], cells: Sequence[Cell], lanes: int, directory: Path, console: Console
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    columns = (TextColumn("{task.description:14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for name in names:
            task = progress.add_task(name, total=len(cells))

            def tell(outcome: Outcome, task: TaskID = task) -> None:
                progress.advance(task)
                _tell(outcome, progress)

            outcomes += await play(contender(name), installer(name), cells, directory / name, lanes, tell)
    return outcomes


def _tell(outcome: Outcome, progress: Progress) -> None:
    if outcome.contender == OURS and outcome.verdict is expected_of_ours(outcome.cell):
        return
    if outcome.verdict.value in {"ATOMIC", "n/a"}:
        return
    progress.console.print(f"{outcome.contender}: {outcome.cell}: {outcome.verdict}: {outcome.why}", soft_wrap=True)


def _complain(outcomes: Sequence[Outcome], console: Console) -> int:
    wrong = [one for one in outcomes if one.contender == OURS and one.verdict is not expected_of_ours(one.cell)]
    for one in wrong:
        console.print(f"[red]{one.cell} must be {expected_of_ours(one.cell)} and is {one.verdict}: {one.why}")
    return 1 if wrong else 0


if __name__ == "__main__":
    main()

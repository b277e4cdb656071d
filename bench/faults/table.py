"""The matrix as a table: rows as they are, one column for each guarantee, both clients in a cell."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from bench.faults.cells import Cell, Client, Guarantee, Row
from bench.faults.lane import Outcome
from bench.faults.verdicts import Verdict

Verdicts = Mapping[Cell, Verdict]


def verdicts_of(outcomes: Sequence[Outcome], contender: str) -> Verdicts:
    """Return the verdicts of one contender."""
    return {one.cell: one.verdict for one in outcomes if one.contender == contender}


def cell_text(verdicts: Verdicts, row: Row, guarantee: Guarantee) -> str:
    """Return what stands in a square: one word if one applies to both clients, else both, the returning one first."""
    both = [str(verdicts[cell]) for client in Client if (cell := Cell(row, guarantee, client)) in verdicts]
    words = [word for word in both if word != Verdict.NOT_APPLICABLE] or both
    return " / ".join(words if len(set(words)) > 1 else words[:1])


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print a table for each contender."""
    for name in dict.fromkeys(one.contender for one in outcomes):
        verdicts = verdicts_of(outcomes, name)
        table = Table("client returns / never returns", *Guarantee, title=name)
        for row in Row:
            cells = [cell_text(verdicts, row, guarantee) for guarantee in Guarantee]
            if any(cells):
                table.add_row(row, *cells)
        console.print(table)

"""The matrix as it stands in docs/faults.md, between two marks: no verdict is copied by hand."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench.faults.cells import Guarantee, Row
from bench.faults.lane import Outcome
from bench.faults.roster import ROSTER
from bench.faults.table import cell_text, verdicts_of
from bench.faults.verdicts import Verdict

_BEGIN = "<!-- matrix: begin -->\n"
_END = "<!-- matrix: end -->\n"


class Matrix(msgspec.Struct, frozen=True):
    """A run."""

    at: str
    outcomes: Sequence[Outcome]


def write_page(matrix: Matrix, page: Path) -> None:
    """Replace the matrix of a page by that of a run."""
    before, _, rest = page.read_text().partition(_BEGIN)
    _, mark, after = rest.partition(_END)
    if not mark:
        raise ValueError(f"{page} has no place for the matrix.")
    page.write_text(before + _BEGIN + "\n".join(_lines(matrix)) + "\n" + _END + after)


def _lines(matrix: Matrix) -> Iterator[str]:
    yield f"Played on {matrix.at[:10]}. One word stands for both clients, or for the one to whom the cell applies;"
    yield "of two, the first is for the client that returns.\n"
    played = {one.contender for one in matrix.outcomes}
    for contender in (one for one in ROSTER if one.name in played):
        verdicts = verdicts_of(matrix.outcomes, contender.name)
        yield f"### {contender.name}, {contender.version}\n"
        yield f"{contender.configuration[0].upper()}{contender.configuration[1:]}.\n"
        yield f"| | {' | '.join(Guarantee)} |"
        yield "|---" * (len(Guarantee) + 1) + "|"
        for row in Row:
            yield f"| {row} | {' | '.join(_marked(cell_text(verdicts, row, one)) for one in Guarantee)} |"
        yield ""
        yield from _reasons(matrix.outcomes, contender.name)
        void = sum(one.void for one in matrix.outcomes if one.contender == contender.name)
        if void:
            yield f"- {void} plays were void and played again, unjudged: the database was away for too long."
        if contender.recovers:
            yield from _quotations(matrix.outcomes, contender.name)
        yield ""


def _marked(text: str) -> str:
    return " / ".join(f"**{word}**" if word in _BAD else word for word in text.split(" / "))


_BAD = {Verdict.HALF, Verdict.LOST, Verdict.DOUBLED, Verdict.LIED}


def _reasons(outcomes: Sequence[Outcome], contender: str) -> Iterator[str]:
    """Say why cells are not applicable."""
    absent = [one for one in outcomes if one.contender == contender and one.verdict is Verdict.NOT_APPLICABLE]
    for reason in dict.fromkeys(one.why for one in absent):
        rows = {one.cell.row for one in absent if one.why == reason}
        where = "every row, client returns" if len(rows) == len(Row) else ", ".join(row for row in Row if row in rows)
        yield f"- n/a ({where}): {reason}."


def _quotations(outcomes: Sequence[Outcome], contender: str) -> Iterator[str]:
    """Quote one cell for each bad verdict in a row."""
    for row in Row:
        bad = [one for one in outcomes if one.contender == contender and one.cell.row is row and one.verdict in _BAD]
        for kind in dict.fromkeys(one.verdict for one in bad):
            first = next(one for one in bad if one.verdict is kind)
            yield f"- {kind} ({first.cell}): {first.why}."

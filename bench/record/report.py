"""What the steps of a record say: figures, targets, and the lines of the page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from bench.machine import Machine
from bench.targets import Target, target_lines, targets_table


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one step took."""

    name: str
    seconds: float
    cpu_seconds: float  # of its own process
    postgres_seconds: float
    others_share: float  # of one core, by other work on the machine
    peak_bytes: int
    found: Mapping[str, Any]

    @property
    def events(self) -> int:
        """Return how many events it was about; 0 if it is not about so many."""
        return int(self.found.get("events", 0))


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one run measured; what lies in bench/results as JSON."""

    at: str
    machine: Machine
    events: int
    making: Sequence[Step]  # of the run that made the ledger
    steps: Sequence[Step]

    def step(self, name: str) -> Step:
        """Return the step of this name."""
        return next(one for one in self.steps if one.name == name)


HALF: Final = "the audit `--at` half of it"
WHOLE: Final = "the audit `--at` its end"
PAGES: Final = "pages of the audit"
VERIFY: Final = "verify"
AUDIT: Final = "replay of the audit"
ALL: Final = "replay of all views, and swap"
APPEND: Final = "append beside the log"


def targets(record: Record) -> Iterator[Target]:
    """Name each target with what was reached."""
    pages, verify, audit = record.step(PAGES), record.step(VERIFY), record.step(AUDIT)
    lag, waiting = (record.step(APPEND).found[one] for one in ("lag_seconds", "uncovered_events"))
    growth = record.step(WHOLE).peak_bytes / record.step(HALF).peak_bytes
    yield Target("ms p95 of a page of the audit", pages.found["ms"]["p95"], 50, at_least=False)
    yield Target("events/s verified, for each second of one core", verify.events / verify.cpu_seconds, 200_000, True)
    yield Target("events/s of the audit replayed and compared", audit.events / audit.seconds, 50_000, at_least=True)
    yield Target("MB at the peak of that", audit.peak_bytes / 1e6, 256, at_least=False)
    if record.events >= _FULL:
        yield Target("memory of a replay of all of it, times that of half", growth, 1.1, at_least=False)
    yield Target("seconds from an append to its published checkpoint, longest", lag["max"], 1, at_least=False)
    yield Target("events without a checkpoint, at most", waiting["max"], 1_000, at_least=False)


def show(record: Record, console: Console) -> None:
    """Print the tables."""
    console.print(" ".join(_about(record)))
    table = Table(title="the record")
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading == _HEADINGS[0] else "right")
    for cells in _rows(record):
        table.add_row(*cells)
    console.print(table)
    console.print("\n".join(_besides(record)))
    console.print(targets_table(targets(record)))


def lines(record: Record) -> Iterator[str]:
    """Write them as they stand on a page."""
    yield from _about(record)
    yield f"\n| {' | '.join(_HEADINGS)} |"
    yield "|---" + "|---:" * (len(_HEADINGS) - 1) + "|"
    for cells in _rows(record):
        yield f"| {' | '.join(cells)} |"
    yield ""
    for one in _besides(record):
        yield f"- {one}"
    yield ""
    yield from target_lines(targets(record))


_FULL: Final = 500_000  # events: with fewer, not all memory that a replay may take is taken half-way
_HEADINGS: Final = ("step", "s", "events/s", "µs an event", "PostgreSQL", "MB", "others")


def _about(record: Record) -> Iterator[str]:
    machine = record.machine
    yield f"Measured on {record.at[:10]} over {record.events:,} events: {machine.cores} cores for it and PostgreSQL"
    yield f"{machine.postgres}, Python {machine.python}, an fsync of {machine.fsync_us} µs. Processor time is that of"
    yield "the step's own processes, and of PostgreSQL meanwhile; MB are the most that one of them had; others are the"
    yield "share of a core that other work on the machine took: where that is much, rates say little."


def _rows(record: Record) -> Iterator[Sequence[str]]:
    for step in (*record.making, *record.steps):
        yield (
            step.name,
            f"{step.seconds:,.1f}",
            *(_each(step) if step.events else ("", "", "")),
            f"{step.peak_bytes / 1e6:,.0f}",
            f"{step.others_share:.0%}",
        )


def _each(step: Step) -> Sequence[str]:
    rate, own, postgres = step.events / step.seconds, step.cpu_seconds, step.postgres_seconds
    return f"{rate:,.0f}", f"{own / step.events * 1e6:.1f}", f"{postgres / step.events * 1e6:.1f}"


def _besides(record: Record) -> Iterator[str]:
    pages, append, everything = record.step(PAGES).found, record.step(APPEND).found, record.step(ALL)
    ms, worst, lag, waiting = pages["ms"], pages["worst"], append["lag_seconds"], append["uncovered_events"]
    yield (
        f"A page of 50 of the {pages['entries']:,} entries, filters drawn by chance, {ms['pages']:,} times: "
        f"p50 {ms['p50']} ms, p95 {ms['p95']} ms, p99 {ms['p99']} ms; the longest {ms['max']} ms, "
        f"with {len(worst['filters'])} filters."
    )
    yield (
        f"Replay of all views: {len(everything.found['forged'])} of them had a forged row each, which was found, and "
        "put right by the swap; afterwards each view had the digest of its rebuild."
    )
    yield (
        f"The log: from an append to the published checkpoint that covers it p50 {lag['p50']} s, p99 {lag['p99']} s, "
        f"longest {lag['max']} s, at {append['events_per_second']['beside']:,.0f} events/s; at most {waiting['max']:,} "
        f"events without one; the keeper adds {append['keeper_microseconds_each']} µs an event."
    )

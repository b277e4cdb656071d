"""What the runs say together: medians and ranges, ratios taken within each round, and the targets beside them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from bench.afterwards import Afterwards
from bench.engines import BARE, OURS, PEERS, UNDER_AUTHORITY
from bench.load import Run
from bench.machine import Machine
from bench.targets import Target, targets_table

Round = Sequence[Run]


class Report(msgspec.Struct, kw_only=True):
    """Everything one benchmark measured; what lies in bench/results as JSON."""

    at: str
    machine: Machine
    rounds: Sequence[Round]
    sustained: Run | None = None
    afterwards: Afterwards


BUSY: Final = 128


def show(report: Report, console: Console) -> None:
    """Print the tables."""
    machine = report.machine
    console.print(
        f"{machine.cores} cores shared by load, engine and PostgreSQL {machine.postgres} "
        f"({', '.join(f'{name} {value}' for name, value in machine.settings.items())}); "
        f"fsync {machine.fsync_us} µs; Python {machine.python}; {len(report.rounds)} rounds, interleaved; "
        f"other work on the machine took {others(report):.0%} of a core"
    )
    console.print(_speed_table(report))
    console.print(_cost_table(report))
    if any(ratios(report)):
        console.print(_ratio_table(report))
    console.print(_costs_table(report))
    console.print(_policy_table(report))
    after = report.afterwards
    console.print(
        f"afterwards: the views had every event after {after.catch_up_seconds:.1f} s; replay of "
        f"{after.replayed_events:,} events into every view, proven equal: {after.replayed_per_second:,.0f} events/s; "
        f"the store alone, without HTTP and adapters: {after.store['intents_128']['intents_per_second']:,} intents/s, "
        f"{after.appended_per_second:,.0f} events/s, reading {after.store['reading']['events_per_second']:,} events/s"
    )
    console.print(targets_table(targets(report)))


def others(report: Report) -> float:
    """Return the share of one core that other work on the machine took meanwhile: what is above a tenth is too much."""
    return median(run.others_share for runs in report.rounds for run in runs)


def targets(report: Report) -> Iterator[Target]:
    """Name each target with what was reached; medians over the rounds."""
    busy, alone = _ours(report, BUSY), _ours(report, 1)
    if busy:
        yield Target("intents/s, 128 in flight", _median(busy, lambda run: run.rate), 1_500, at_least=True)
        yield Target("commits per intent, 128 in flight", _median(busy, lambda run: run.commits), 0.3, at_least=False)
        memory = max(run.memory_bytes for run in (*busy, report.sustained or busy[0])) / 1e6
        yield Target("MB resident at the peak", memory, 200, at_least=False)
    if alone:
        yield Target("p50 ms, 1 in flight", _median(alone, lambda run: run.p50_ms), 5, at_least=False)
        yield Target("commits per intent, 1 in flight", _median(alone, lambda run: run.commits), 4, at_least=False)
    for name, found in ratios(report):
        if str(BUSY) in name:
            yield Target(f"times {name}", median(found), 20, at_least=True)
    for name, found in costs(report):
        if name == _COST:
            yield Target("% of the throughput without authority, under it", 100 * median(found), 75, at_least=True)
    decision = report.afterwards.policy[DECISION]["allow"]["p50"]
    yield Target(f"µs p50 of a policy decision, {DECISION}", decision, 200, at_least=False)
    yield Target("events/s appended in batches", report.afterwards.appended_per_second, 50_000, at_least=True)
    yield Target("events/s replayed", report.afterwards.replayed_per_second, 50_000, at_least=True)


def _ours(report: Report, in_flight: int) -> list[Run]:
    return [run for runs in report.rounds for run in runs if run.engine == OURS and run.in_flight == in_flight]


def _median(runs: Iterable[Run], figure: Callable[[Run], float]) -> float:
    return median(figure(run) for run in runs)


def _groups(report: Report) -> dict[tuple[int, str], list[Run]]:
    groups: dict[tuple[int, str], list[Run]] = {}
    for runs in report.rounds:
        for run in runs:
            groups.setdefault((run.in_flight, run.engine), []).append(run)
    return groups


def ratios(report: Report) -> Iterator[tuple[str, list[float]]]:
    """Give the ratio of our rate to the peer's within each round, at equal numbers in flight, and to its best one."""
    kinds = sorted({(run.in_flight, run.engine) for runs in report.rounds for run in runs if run.engine in PEERS})
    for in_flight, engine in kinds:
        found = [_rate(runs, OURS, in_flight) / _rate(runs, engine, in_flight) for runs in report.rounds]
        yield f"{engine}, {in_flight} in flight", found
    if kinds:
        best = [max(run.rate for run in runs if run.engine in PEERS) for runs in report.rounds]
        ours = [_rate(runs, OURS, BUSY) for runs in report.rounds]
        yield (
            f"DBOS at its best, ours at {BUSY} in flight",
            [mine / theirs for mine, theirs in zip(ours, best, strict=True)],
        )


def costs(report: Report) -> Iterator[tuple[str, list[float]]]:
    """Give what is left of the rate without authority, within each round."""
    for name, engine in ((_COST, UNDER_AUTHORITY), ("the operator's token and the built-in policy set", OURS)):
        yield name, [_rate(runs, engine, BUSY) / _rate(runs, BARE, BUSY) for runs in report.rounds]


_COST: Final = "three grants, two limits and 50 policies"
DECISION: Final = "50 of a department, one action"


def _rate(runs: Round, engine: str, in_flight: int) -> float:
    return next(run.rate for run in runs if run.engine == engine and run.in_flight == in_flight)


def _speed_table(report: Report) -> Table:
    table = _by_engine("speed: medians", "per second", "range", "p50 ms", "p99 ms")
    for name, runs in rows(report):
        rates = sorted(run.rate for run in runs)
        table.add_row(
            *name,
            f"{median(rates):,.0f}",
            f"{rates[0]:,.0f} to {rates[-1]:,.0f}",
            f"{_median(runs, lambda run: run.p50_ms):.1f}",
            f"{_median(runs, lambda run: run.p99_ms):.1f}",
        )
    return table


def _cost_table(report: Report) -> Table:
    table = _by_engine(
        "cost of one: medians (µs of processor time; the share of one core that the engine's process used)",
        "commits", "WAL B", "engine", "postgres", "load", "core", "MB",
    )  # fmt: skip
    for name, runs in rows(report):
        cpu = [
            f"{median(run.cpu_us[party] for run in runs):,.0f}" if party in runs[0].cpu_us else ""
            for party in ("engine", "postgres", "load")
        ]
        table.add_row(
            *name,
            f"{_median(runs, lambda run: run.commits):.2f}",
            f"{_median(runs, lambda run: run.wal_bytes):,.0f}",
            *cpu,
            f"{median(run.cpu_share['engine'] for run in runs):.0%}",
            f"{_median(runs, lambda run: run.memory_bytes) / 1e6:,.0f}",
        )
    return table


def _by_engine(title: str, *figures: str) -> Table:
    table = Table(title=title)
    table.add_column("in flight", justify="right")
    table.add_column("engine")
    for figure in figures:
        table.add_column(figure, justify="right")
    return table


def rows(report: Report) -> Iterator[tuple[tuple[str, str], Sequence[Run]]]:
    """Give the runs by number in flight and engine."""
    for (in_flight, engine), runs in sorted(_groups(report).items(), key=lambda item: item[0][0]):
        yield (str(in_flight), engine), runs
    if report.sustained is not None:
        run = report.sustained
        yield (str(run.in_flight), f"{run.engine}, {run.seconds:.0f} s"), [run]


def _ratio_table(report: Report) -> Table:
    table = Table(title="ours is so many times as fast as (ratio within each round)")
    table.add_column("")
    table.add_column("median", justify="right")
    table.add_column("range", justify="right")
    for name, found in ratios(report):
        table.add_row(name, f"{median(found):.1f} times", f"{min(found):.1f} to {max(found):.1f}")
    return table


def _costs_table(report: Report) -> Table:
    table = Table(title=f"of the throughput without authority there is left, {BUSY} in flight (within each round)")
    for heading in ("with", "median", "range"):
        table.add_column(heading, justify="left" if heading == "with" else "right")
    for name, found in costs(report):
        table.add_row(name, f"{median(found):.0%}", f"{min(found):.0%} to {max(found):.0%}")
    return table


def _policy_table(report: Report) -> Table:
    table = Table(title="a policy decision, µs: p50 and p99")
    table.add_column("policies")
    for effect in EFFECTS:
        table.add_column(EFFECTS[effect], justify="right")
    for name, by_effect in report.afterwards.policy.items():
        table.add_row(name, *(f"{by_effect[one]['p50']:,.0f}   {by_effect[one]['p99']:,.0f}" for one in EFFECTS))
    return table


EFFECTS: Final = {"allow": "allowed", "escalate": "for a person", "deny": "denied"}

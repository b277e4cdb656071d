"""The figures of a run as they stand in docs/performance.md, between two marks: none of them is copied by hand."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

from bench.report import EFFECTS, Report, costs, others, ratios, rows, targets
from bench.targets import target_lines


def write_page(report: Report, page: Path) -> None:
    """Replace the figures of a page by those of a run."""
    write_between(page, "figures", _lines(report))


def write_between(page: Path, mark: str, lines: Iterable[str]) -> None:
    """Replace what stands between two marks of a page."""
    begin, end = f"<!-- {mark}: begin -->\n", f"<!-- {mark}: end -->\n"
    before, _, rest = page.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{page} has no place for {mark}.")
    page.write_text(before + begin + "\n".join(lines) + "\n" + end + after)


def _lines(report: Report) -> Iterator[str]:
    machine = report.machine
    yield f"Measured on {report.at[:10]}: {machine.cores} cores shared by the load, the engine and PostgreSQL"
    yield f"{machine.postgres}, Python {machine.python}, an fsync of {machine.fsync_us} µs; other work on the machine"
    yield f"took {others(report):.0%} of a core. Medians of {len(report.rounds)} rounds, and their range.\n"
    yield f"| {' | '.join(_HEADINGS)} |"
    yield "|---" * len(_HEADINGS) + "|"
    for (in_flight, engine), runs in rows(report):
        rates = sorted(run.rate for run in runs)
        cpu = [f"{median(r.cpu_us[who] for r in runs):,.0f}" if who in runs[0].cpu_us else "" for who in _PARTIES]
        cells = [
            in_flight,
            engine,
            f"**{median(rates):,.0f}**",
            f"{rates[0]:,.0f} to {rates[-1]:,.0f}",
            f"{median(r.p50_ms for r in runs):.1f}",
            f"{median(r.p99_ms for r in runs):.1f}",
            f"{median(r.commits for r in runs):.2f}",
            f"{median(r.wal_bytes for r in runs):,.0f}",
            *cpu,
            f"{median(r.memory_bytes for r in runs) / 1e6:,.0f}",
        ]
        yield f"| {' | '.join(cells)} |"
    yield "\nCommits, bytes and processor time are for one intent, or for one workflow.\n"
    yield "| ours is so many times as fast as | median | range of the rounds |\n|---|---|---|"
    for name, found in ratios(report):
        yield f"| {name} | {median(found):.1f} | {min(found):.1f} to {max(found):.1f} |"
    yield "\n| of the throughput without authority there is left, 128 in flight, with | median | range of the rounds |"
    yield "|---|---|---|"
    for name, found in costs(report):
        yield f"| {name} | {median(found):.0%} | {min(found):.0%} to {max(found):.0%} |"
    yield f"\n| a policy decision, µs p50 (p99): policies | {' | '.join(EFFECTS.values())} |\n|---|---|---|---|"
    for name, by_effect in report.afterwards.policy.items():
        cells = [f"{by_effect[one]['p50']:,.0f} ({by_effect[one]['p99']:,.0f})" for one in EFFECTS]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    yield from target_lines(targets(report))
    after = report.afterwards
    alone = after.store["intents_128"]["intents_per_second"]
    yield f"\nAfter the load the views had every event within {after.catch_up_seconds:.1f} s. The store alone, without"
    yield f"HTTP, adapters and views, appends for {alone:,} intents each second with 128 in flight, and reads"
    yield f"{after.store['reading']['events_per_second']:,} events each second back."


_PARTIES = ("engine", "postgres", "load")
_HEADINGS = (
    "in flight", "engine", "each second", "range", "p50 ms", "p99 ms", "commits", "log bytes",
    "CPU µs: engine", "PostgreSQL", "load", "MB",
)  # fmt: skip

"""`make bench-behaviour`: what the watch over behaviour sees, how soon, and how often it cries wolf.

Everything is simulated from seeds and no database is needed: first by the crowd that the watch was made with, then by
a livelier one that was written without looking at it. Exits with 1 if a promise is not kept by either: address updates
that go from 100 an hour to 10,000 are found within a minute, refunds ten times as large within 10 of them, and forty
agent-weeks of ordinary traffic give one false alarm at most.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

from bench.behaviour import lively_scenarios as lively
from bench.behaviour import scenarios as first
from bench.behaviour.watched import Watched

WEEKS = 4


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.behaviour", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="repetitions of everything")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--crowd", choices=("both", "first", "lively"), default="both")
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.seeds)
    kept = True
    if asked.crowd != "lively":
        kept = _first(seeds)
        kept = _ordinary("first", seeds, first.ordinary, len(first.ORDINARY)) and kept
    if asked.crowd != "first":
        kept = _lively(seeds) and kept
        kept = _ordinary("lively", seeds, lively.ordinary, len(lively.WORKERS)) and kept
    return 0 if kept else 1


def _first(seeds: range) -> bool:
    _head("what goes wrong in the first crowd")
    kept = True
    for wrong in first.WRONG:
        outcomes = [first.play(wrong, seed) for seed in seeds]
        told = [lively.Told(one.events, one.seconds) for one in outcomes]
        story = ("seconds", 60) if wrong.kind == "count" else ("events", 10)
        kept = _row(wrong.name, wrong.agent, told, story if wrong.story else None) and kept
    return kept


def _lively(seeds: range) -> bool:
    _head("what goes wrong in the lively crowd")
    rehearsed = [lively.Rehearsed(seed) for seed in seeds]
    kept = True
    for wrong in lively.WRONG:
        for worker in wrong.workers:
            kept = _row(wrong.name, worker, [one.play(wrong, worker) for one in rehearsed], wrong.story) and kept
    for name, person in lively.ASKED:
        _row(name, "a person", [one.ask(person) for one in rehearsed], None)
    return kept


def _head(title: str) -> None:
    _say(f"\n{title:<41} {'who':<16} {'recall':>7} {'events':>8} {'seconds':>9}   (median; the slowest)")


def _row(name: str, who: str, told: Sequence[lively.Told], story: tuple[str, int] | None) -> bool:
    events = [one.events for one in told if one.events is not None]
    seconds = [one.seconds for one in told if one.seconds is not None]
    figures = f"{'-':>8} {'-':>9}"
    if events:
        slowest = f"({max(events)}; {max(seconds):.1f})"
        figures = f"{statistics.median(events):>8.0f} {statistics.median(seconds):>9.1f}   {slowest}"
    kept = True
    if story is not None:
        measure, limit = story
        slowest_allowed = max(events if measure == "events" else seconds, default=limit + 1)
        kept = len(events) == len(told) and slowest_allowed <= limit
    _say(f"{name:<41} {who:<16} {len(events):>3}/{len(told):<3} {figures}{'' if kept else '   NOT AS PROMISED'}")
    return kept


def _ordinary(name: str, seeds: range, watch: Callable[[int, object], Watched], agents: int) -> bool:
    weeks, alarms = WEEKS * agents, 0
    _say("")
    for seed in seeds:
        started = time.process_time()
        watched = watch(WEEKS, seed)
        took = time.process_time() - started
        alarms += len(watched.seen)
        _say(
            f"ordinary traffic of the {name} crowd, seed {seed}: {len(watched.seen)} false alarms in {weeks} "
            f"agent-weeks, {watched.events:,} events, {took:.1f} s with the simulation"
        )
        for one in watched.seen:
            _say(f"    {one.finding.at:%d %b %H:%M} {one.subject} {one.finding.kind} {one.finding.evidence}")
    rate = 40 * alarms / (weeks * len(seeds))
    _say(f"in all {rate:.2f} in 40 agent-weeks{'' if rate <= 1 else '   NOT AS PROMISED'}")
    return rate <= 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())

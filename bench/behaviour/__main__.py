"""`make bench-behaviour`: what the watch over behaviour sees, how soon, and how often it cries wolf.

Everything is simulated from seeds and no database is needed. Exits with 1 if a promise is not kept: address updates
that go from 100 an hour to 10,000 are found within a minute, refunds ten times as large within 10 of them, and forty
agent-weeks of ordinary traffic give one false alarm at most.
"""

import argparse
import statistics
import sys
import time

from bench.behaviour.scenarios import ORDINARY, WRONG, Outcome, ordinary, play

WEEKS = 4


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.behaviour", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="repetitions of everything")
    seeds = range(parser.parse_args().seeds)
    kept = _wrong(seeds) and True
    return 0 if _ordinary(seeds) and kept else 1


def _wrong(seeds: range) -> bool:
    _say(f"{'what goes wrong':<44} {'recall':>7} {'events':>8} {'seconds':>9}   (median; the slowest)")
    kept = True
    for wrong in WRONG:
        outcomes = [play(wrong, seed) for seed in seeds]
        found = [one for one in outcomes if one.seen is not None]
        kept = kept and all(map(_promised, outcomes))
        events, seconds = [one.events or 0 for one in found], [one.seconds or 0.0 for one in found]
        slowest = f"({max(events, default=0)}; {max(seconds, default=0.0):.1f})"
        figures = (
            f"{statistics.median(events):>8.0f} {statistics.median(seconds):>9.1f}   {slowest}"
            if found
            else f"{'-':>8} {'-':>9}"
        )
        _say(f"{wrong.name:<44} {len(found):>3}/{len(outcomes):<3} {figures}")
    return kept


def _promised(outcome: Outcome) -> bool:
    if not outcome.wrong.story:
        return True
    if outcome.seconds is None or outcome.events is None:
        return False
    return outcome.seconds <= 60 if outcome.wrong.kind == "count" else outcome.events <= 10


def _ordinary(seeds: range) -> bool:
    weeks = WEEKS * len(ORDINARY)
    kept = True
    for seed in seeds:
        started = time.perf_counter()
        watched = ordinary(WEEKS, seed)
        took = time.perf_counter() - started
        kinds = ", ".join(f"{one.subject} {one.finding.kind} {one.finding.evidence}" for one in watched.seen)
        kept = kept and len(watched.seen) <= 1
        _say(
            f"ordinary traffic, seed {seed}: {len(watched.seen)} false alarms in {weeks} agent-weeks, "
            f"{watched.events:,} events, {took:.1f} s with the simulation {kinds}"
        )
    return kept


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())

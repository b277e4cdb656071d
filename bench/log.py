"""Measure what the log costs: `python -m bench.log DSN` prints JSON. The database is migrated and gains ledgers.

catching_up   an old ledger whose events have no log yet: events per second, microseconds of this process for each
appending     64 waiters append one event each, with the keeper beside them and without, in turn: events per second,
              microseconds of this process for each event, and what the keeper adds to them
lag           meanwhile: how long the newest event was without a published checkpoint, and how many events were
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

import uvloop

from ledger import events as e
from ledger.database import open_pool
from ledger.log_directory import Directory
from ledger.log_keeper import Keeper
from ledger.migrations import migrate
from ledger.postgres_store import PostgresStore
from ledger.store import Append, Appended

WAITERS = 64
EVENT = e.ActionDone(action="refund", result={"id": "re_1Mx", "status": "succeeded", "amount": 4200})
_streams = count(1)


async def append(store: PostgresStore, events: int = 1) -> None:
    written = await store.append(Append(stream=f"s/{next(_streams)}", expected_version=0, events=(EVENT,) * events))
    if not isinstance(written, Appended):
        raise TypeError(f"Not appended: {written}")


async def for_a_while(store: PostgresStore, seconds: float) -> tuple[float, float]:
    """Append from many waiters; return events per second, and microseconds of CPU of this process for each."""
    done, until = 0, time.perf_counter() + seconds

    async def wait_in_turn() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await append(store)
            done += 1

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(wait_in_turn() for _ in range(WAITERS)))
    return done / (time.perf_counter() - began), (time.process_time() - cpu) / done * 1e6


async def catching_up(pool, home: Path, events: int) -> dict[str, float]:
    store = PostgresStore(pool, "old")
    await store.start()
    for _ in range(events // 500):
        await append(store, 500)
    keeper = Keeper(pool, "old", "bench/old", home / "old.key", ())
    await keeper.open(os.urandom)
    cpu, began = time.process_time(), time.perf_counter()
    await keeper.start()
    while (await keeper.log.newest()).size < events // 500 * 500:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    await keeper.stop()
    await store.stop()
    return {"events": events, "events_per_second": events / seconds, "microseconds_each": used / events * 1e6}


async def watched(keeper: Keeper, seen: list[tuple[float, int]]) -> None:
    while True:
        seen.append((keeper.behind_seconds, keeper.uncovered))
        await asyncio.sleep(0.005)


async def appending(pool, home: Path, rounds: int, seconds: float) -> dict[str, object]:
    store = PostgresStore(pool, "live")
    await store.start()
    without, beside, seen = [], [], []
    await for_a_while(store, 1.0)
    for _ in range(rounds):
        without.append(await for_a_while(store, seconds))
        keeper = Keeper(pool, "live", "bench/live", home / "live.key", [Directory(home / "live")])
        await keeper.open(os.urandom)
        await keeper.start()
        while keeper.uncovered:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        watching = asyncio.create_task(watched(keeper, seen))
        beside.append(await for_a_while(store, seconds))
        watching.cancel()
        await keeper.stop()
    await store.stop()
    each = [(with_it[1], alone[1]) for with_it, alone in zip(beside, without, strict=True)]
    return {
        "events_per_second": {"without": _median(without, 0), "beside": _median(beside, 0)},
        "microseconds_each": {"without": _median(without, 1), "beside": _median(beside, 1)},
        "keeper_microseconds_each": round(statistics.median(a - b for a, b in each), 2),
        "throughput_ratio": round(statistics.median(a[0] / b[0] for a, b in zip(beside, without, strict=True)), 3),
        "lag_seconds": {"median": _at(seen, 0, 0.5), "p99": _at(seen, 0, 0.99), "max": _at(seen, 0, 1)},
        "uncovered_events": {"median": _at(seen, 1, 0.5), "p99": _at(seen, 1, 0.99), "max": _at(seen, 1, 1)},
    }


def _median(rounds: list[tuple[float, float]], at: int) -> float:
    return round(statistics.median(one[at] for one in rounds), 1)


def _at(seen: list[tuple[float, int]], at: int, part: float) -> float:
    values = sorted(one[at] for one in seen)
    return round(values[min(len(values) - 1, int(part * len(values)))], 3)


async def measure(dsn: str, events: int, rounds: int, seconds: float) -> dict[str, object]:
    await migrate(dsn)
    pool = await open_pool(dsn, 10)
    with tempfile.TemporaryDirectory() as home:
        found = {
            "catching_up": await catching_up(pool, Path(home), events),
            "appending": await appending(pool, Path(home), rounds, seconds),
        }
    await asyncio.wait_for(pool.close(), 10)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dsn")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    given = parser.parse_args()
    json.dump(uvloop.run(measure(given.dsn, given.events, given.rounds, given.seconds)), sys.stdout, indent=1)


if __name__ == "__main__":
    main()

"""Measure what the log costs: `python -m bench.log DSN` prints JSON. The database is migrated and gains ledgers.

catching_up   an old ledger whose events have no log yet: events per second, microseconds of this process for each
appending     64 waiters append one event each, with the keeper beside them and without, in turn: events per second,
              microseconds of this process for each event, and what the keeper adds to them
lag           meanwhile: how long after its append an event was covered by the checkpoint in the directory, and how
              many events were not
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
from ledger.log.checkpoint import parse_checkpoint
from ledger.log.directory import Directory
from ledger.log.keeper import Keeper
from ledger.migrations import migrate
from ledger.postgres_store import PostgresStore
from ledger.store import Append, Appended

WAITERS = 64
EVENT = e.ActionDone(action="refund", result={"id": "re_1Mx", "status": "succeeded", "amount": 4200})
_streams = count(1)


async def append(store: PostgresStore, events: int = 1) -> int:
    written = await store.append(Append(stream=f"s/{next(_streams)}", expected_version=0, events=(EVENT,) * events))
    if not isinstance(written, Appended):
        raise TypeError(f"Not appended: {written}")
    return written.recorded[-1].position


async def for_a_while(store: PostgresStore, seconds: float, appended: dict[int, float]) -> tuple[float, float]:
    """Append from many waiters, and note when; return events per second, and microseconds of CPU for each."""
    done, until = 0, time.perf_counter() + seconds

    async def wait_in_turn() -> None:
        nonlocal done
        while time.perf_counter() < until:
            position = await append(store)
            appended[position] = time.perf_counter()
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


async def watched(directory: Directory, appended: dict[int, float], seen: list[tuple[float, int]]) -> None:
    """Look at what is published, and see when each event was covered."""
    covered = published(directory)
    while True:
        size, now = published(directory), time.perf_counter()
        waiting = max(appended, default=size) - size
        seen += [(now - appended[one], waiting) for one in range(covered + 1, size + 1) if one in appended]
        covered = size
        await asyncio.sleep(0.005)


def published(directory: Directory) -> int:
    note = directory.read()
    return 0 if note is None else parse_checkpoint(note.text).size


async def appending(pool, home: Path, rounds: int, seconds: float) -> dict[str, object]:
    store = PostgresStore(pool, "live")
    await store.start()
    without, beside, seen = [], [], []
    directory = Directory(home / "live")
    await for_a_while(store, 1.0, {})
    for _ in range(rounds):
        without.append(await for_a_while(store, seconds, {}))
        keeper = Keeper(pool, "live", "bench/live", home / "live.key", [directory])
        await keeper.open(os.urandom)
        await keeper.start()
        while published(directory) < await store.head():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        beside.append(await for_a_while(store, seconds, {}))
        appended: dict[int, float] = {}
        watching = asyncio.create_task(watched(directory, appended, seen))  # which costs more than the keeper
        await for_a_while(store, seconds, appended)
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

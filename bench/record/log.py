"""What the log costs, and how far it is behind.

cover    an old ledger whose events have no log yet gets one
append   64 waiters append one event each, with the keeper beside them and without, in turn: events per second,
         microseconds of this process for each event, and what the keeper adds to them; and meanwhile, how long after
         its append an event was covered by the checkpoint in the directory, and how many events were not
"""

import asyncio
import os
import statistics
import time
from itertools import count
from pathlib import Path

from ledger import events as e
from ledger.database import open_pool
from ledger.log.checkpoint import parse_checkpoint
from ledger.log.directory import Directory
from ledger.log.keeper import Keeper
from ledger.migrations import migrate
from ledger.postgres_store import PostgresStore
from ledger.progress import Progress
from ledger.store import Append, Appended

WAITERS = 64
LEDGER = "live"
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


async def cover(dsn: str, ledger: str, home: Path, show: Progress) -> dict[str, object]:
    """Give a ledger its log: keys and the last checkpoint are below `home` then."""
    pool = await open_pool(dsn, 4)
    keeper = log_of(pool, ledger, home)
    head = await PostgresStore(pool, ledger).head()
    await keeper.open(os.urandom)
    await keeper.start()
    while (newest := await keeper.log.newest()) is None or newest.size < head:
        show(0 if newest is None else newest.size, head)
        await asyncio.sleep(0.02)
    await keeper.stop()
    await pool.close()
    return {"events": head}


def log_of(pool, ledger: str, home: Path) -> Keeper:
    return Keeper(pool, ledger, f"bench/{ledger}", home / f"{ledger}.key", [Directory(home / ledger)])


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


async def append_beside(dsn: str, home: Path, rounds: int, seconds: float, show: Progress) -> dict[str, object]:
    """Append to a new ledger of a database, in rounds."""
    await migrate(dsn)
    pool = await open_pool(dsn, 10)
    store = PostgresStore(pool, LEDGER)
    await store.start()
    without, beside, seen = [], [], []
    directory = Directory(home / LEDGER)
    await for_a_while(store, 1.0, {})
    for done in range(rounds):
        show(done, rounds)
        without.append(await for_a_while(store, seconds, {}))
        keeper = log_of(pool, LEDGER, home)
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
    events = await store.head()
    await store.stop()
    await pool.close()
    each = [(with_it[1], alone[1]) for with_it, alone in zip(beside, without, strict=True)]
    return {
        "events": events,
        "events_per_second": {"without": _median(without, 0), "beside": _median(beside, 0)},
        "microseconds_each": {"without": _median(without, 1), "beside": _median(beside, 1)},
        "keeper_microseconds_each": round(statistics.median(a - b for a, b in each), 2),
        "throughput_ratio": round(statistics.median(a[0] / b[0] for a, b in zip(beside, without, strict=True)), 3),
        "lag_seconds": {"p50": _at(seen, 0, 0.5), "p99": _at(seen, 0, 0.99), "max": _at(seen, 0, 1)},
        "uncovered_events": {"p50": _at(seen, 1, 0.5), "p99": _at(seen, 1, 0.99), "max": _at(seen, 1, 1)},
    }


def _median(rounds: list[tuple[float, float]], at: int) -> float:
    return round(statistics.median(one[at] for one in rounds), 1)


def _at(seen: list[tuple[float, int]], at: int, part: float) -> float:
    values = sorted(one[at] for one in seen)
    return round(values[min(len(values) - 1, int(part * len(values)))], 3)

"""The store on every PostgreSQL that is supported and at hand: the same schema, the same queries, the same answers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

import sql
from ledger import events as e
from ledger.database import open_pool
from ledger.ids import intent_stream
from ledger.migrations import migrate
from ledger.postgres_store import PostgresStore
from ledger.store import Append, Appended, EpochCurrent, GuardFailed, Take, VersionConflict


@pytest.fixture
async def url(make_postgres, binaries: Path) -> str:
    return await make_postgres(binaries).start()


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    await migrate(url)
    pool = await open_pool(url, 4)
    started = PostgresStore(pool, "main")
    await started.start()
    yield started
    await started.stop()
    await asyncio.wait_for(pool.close(), 10)


def done(stream: str, version: int, action: str, **more) -> Append:
    return Append(
        stream=intent_stream(stream), expected_version=version, events=(e.ActionDone(action=action, result={}),), **more
    )


async def test_every_migration_applies_once_and_every_query_prepares(url):
    assert await migrate(url) == list(sql.migrations())
    assert await migrate(url) == []
    connection = await asyncpg.connect(url)
    try:
        for name in sql.names():
            await connection.prepare(sql.query(name))
    finally:
        await connection.close()


async def test_appends_guards_claims_and_reads_answer_alike(store):
    taken = await store.append(done("i-1", 0, "a", work=Take("worker", 0.0)))
    assert isinstance(taken, Appended)
    assert [one.position for one in taken.recorded] == [1]
    verdicts = await asyncio.gather(*(store.append(done(f"p-{n}", 0, "a")) for n in range(50)))
    assert sorted(v.recorded[0].position for v in verdicts) == list(range(2, 52))
    assert await store.append(done("i-1", 0, "b")) == VersionConflict(actual=1)

    (claimed,) = await store.claim("other", 10, 60.0)
    assert claimed.intent == "i-1"
    late = await store.append(done("i-1", 1, "b", guards=(EpochCurrent(taken.epoch),)))
    assert isinstance(late, GuardFailed)
    now = await store.append(done("i-1", 1, "b", guards=(EpochCurrent(claimed.epoch),)))
    assert isinstance(now, Appended)

    assert [one.event.action for one in await store.read(intent_stream("i-1"))] == ["a", "b"]
    assert [one.position for one in await store.read_all(0, 100)] == list(range(1, 53))
    assert await store.head() == 52

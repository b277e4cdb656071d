"""Two processes' stores on one ledger, each with its own pool: races, positions, followers, lasting facts."""

import asyncio
import json
from contextlib import aclosing

import asyncpg
import pytest

import sql
from ledger import events as e
from ledger.database import open_pool
from ledger.ids import intent_stream
from ledger.postgres_store import PostgresStore
from ledger.store import Append, Appended, Take, VersionConflict


def append_to(name: str, version: int = 0, size: int = 1, **options) -> Append:
    events = tuple(e.ActionDone(action=f"a{n}", result={}) for n in range(size))
    return Append(stream=intent_stream(name), expected_version=version, events=events, **options)


@pytest.fixture
async def stores(dsn):
    """Two stores of one ledger that share nothing but the database."""
    started = []
    for _ in range(2):
        pool = await open_pool(dsn, 4)
        store = PostgresStore(pool, "main")
        await store.start()
        started.append((store, pool))
    yield [store for store, _ in started]
    for store, pool in started:
        await store.stop()
        await pool.close()


async def test_of_many_appends_from_two_processes_exactly_one_wins_each_version(stores):
    for version in range(20):
        verdicts = await asyncio.gather(
            *(store.append(append_to("one", version)) for store in stores for _ in range(5))
        )
        assert sum(isinstance(verdict, Appended) for verdict in verdicts) == 1
        assert sum(verdict == VersionConflict(version + 1) for verdict in verdicts) == 9
    assert [r.version for r in await stores[0].read(intent_stream("one"))] == list(range(1, 21))


async def test_a_follower_never_skips_a_position_while_two_processes_append(stores):
    async def write(writer: int) -> int:
        for n in range(30):
            verdict = await stores[writer % 2].append(append_to(f"i-{writer}-{n}", size=n % 4 + 1))
            assert isinstance(verdict, Appended)
        return sum(n % 4 + 1 for n in range(30))

    writing = asyncio.gather(*(write(writer) for writer in range(10)))
    seen, partial = 0, 0
    async with asyncio.timeout(30), aclosing(stores[0].follow(0, 37)) as batches:
        async for batch in batches:
            assert [recorded.position for recorded in batch] == list(range(seen + 1, seen + len(batch) + 1))
            seen += len(batch)
            partial += 0 < len(batch) < 37
            if writing.done() and seen == sum(writing.result()):
                break
    assert partial > 1  # it caught up with the writers and fell behind again


async def test_a_taking_over_waits_for_the_append_that_is_under_way(store, dsn):
    taken = await store.append(append_to("one", work=Take("w1", 0.0)))
    writer, watcher = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    transaction = writer.transaction()
    await transaction.start()
    item = {"stream": "intent/one", "version": 1, "types": ["IntentCommitted"], "intent": "one", "epoch": taken.epoch}
    row = await writer.fetchrow(sql.query("append.batch"), "main", json.dumps([item]), [b"{}"])
    assert row["verdict"] == "appended"
    claiming = asyncio.ensure_future(store.claim("w2", 1, 60.0))
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    async with asyncio.timeout(5):
        while await watcher.fetchval(waiting) == 0:
            assert not claiming.done()
            await asyncio.sleep(0.01)
    await transaction.commit()
    assert [one.intent for one in await claiming] == ["one"]
    await writer.close()
    await watcher.close()


async def test_two_ledgers_count_apart_and_see_nothing_of_one_another(pool, stores):
    other = PostgresStore(pool, "other")
    await other.start()
    await asyncio.gather(*(store.append(append_to("i")) for store in (stores[0], other)))
    assert [(r.ledger, r.position) for r in await other.read_all(0, 10)] == [("other", 1)]
    assert await stores[0].head() == await other.head() == 1
    await other.stop()


async def test_an_append_to_a_ledger_that_was_never_opened_is_refused(pool):
    row = await pool.fetchrow("select count(*) as n from intent_ledger.heads where ledger = 'never'")
    assert row["n"] == 0
    with pytest.raises(asyncpg.PostgresError) as refused:
        await pool.fetch("select * from intent_ledger.append('never', '[]', '{}')")
    assert refused.value.sqlstate == "ILA02"


# ── facts last ───────────────────────────────────────────────────────────────────────────────────────────────────

CHANGES = [
    "update intent_ledger.events set body = 'x'",
    "delete from intent_ledger.events",
    "truncate intent_ledger.events",
]


@pytest.mark.parametrize("change", CHANGES)
async def test_the_service_has_no_right_to_change_an_event(store, pool, change):
    await store.append(append_to("i"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute(change)
    assert await store.head() == len(await store.read_all(0, 10)) == 1


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("replication_role", ["origin", "replica"])
async def test_not_even_the_owner_changes_an_event(store, dsn, change, replication_role):
    await store.append(append_to("i"))
    owner = await asyncpg.connect(dsn)
    await owner.execute(f"set session_replication_role = {replication_role}")
    with pytest.raises(asyncpg.PostgresError, match="Events never change") as refused:
        await owner.execute(change)
    assert refused.value.sqlstate == "ILA01"
    await owner.close()
    assert len(await store.read_all(0, 10)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "delete from intent_ledger.submissions",
        "update intent_ledger.submissions set intent = 'x'",
        "delete from intent_ledger.heads",
        "delete from intent_ledger.grants",
        "update intent_ledger.grants set expires_at = 'infinity'",
        "update intent_ledger.grants set issued = 'x'",
        "update intent_ledger.grants set parent = null",
        "delete from intent_ledger.limits",
        "truncate intent_ledger.outbox",
        "drop table intent_ledger.events",
        "alter table intent_ledger.events disable trigger all",
        "update intent_ledger.migrations set sha256 = ''",
        "create table intent_ledger.mine (n int)",
    ],
)
async def test_the_service_has_no_right_to_rewrite_what_guards_the_events(pool, statement):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute(statement)

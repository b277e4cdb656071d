"""Views of another release on PostgreSQL: older ones are rebuilt before they are followed, newer ones left alone."""

import asyncio
from contextlib import suppress

import asyncpg
import msgspec
import pytest
from histories import ledger_of
from views import everything, folded, make, stored, write

import sql
from ledger.database import open_pool
from ledger.errors import Corrupt
from ledger.ids import intent_of
from ledger.migrations import migrate
from ledger.postgres_store import PostgresStore
from projections import follower as follower_module
from projections.catalogue import PROJECTIONS
from projections.digest import ViewStatuses
from projections.rebuild import alone

OLD = "update intent_ledger.projections set revision = 1 where name = any($1::text[])"
NEW = "update intent_ledger.projections set revision = 99 where name = $1"
REVISIONS = "select name, revision from intent_ledger.projections where ledger = 'main'"
THEN = ("intents", "audit", "exposure")  # the views of the first release
OWN = {projection.name: projection.revision for projection in PROJECTIONS}

FIRST_RELEASE = 13  # the number of its last migration
AUDIT_THEN = (
    "intent", "version", "position", "at", "kind", "agent_kind", "agent", "agent_version", "by", "task",
    "commissioned_by", "grant_id", "custody", "policies", "policy_set", "actions", "operations", "summaries", "outcome",
    "reason", "attention", "outcome_position", "outcome_at",
)  # fmt: skip
INTENTS_THEN = (
    "intent", "phase", "agent", "task", "commissioned_by", "operations", "attention", "version", "position",
    "submitted_at", "updated_at",
)  # fmt: skip


async def tell(pool, statement, *arguments):
    async with pool.acquire() as connection:
        return await connection.execute(statement, *arguments)


async def revisions(pool):
    async with pool.acquire() as connection:
        return {record["name"]: record["revision"] for record in await connection.fetch(REVISIONS)}


async def test_a_view_of_an_older_release_is_rebuilt_and_then_followed(pool, store):
    events = ledger_of(50, 40)
    half = len(events) // 2
    await write(pool, events[:half])
    await everything(await make(pool, store))
    assert await revisions(pool) == OWN
    await tell(pool, "update intent_ledger.audit set agent = 'as-it-was'")
    await tell(pool, OLD, ["audit"])
    await write(pool, events[half:])
    upgraded = await make(pool, store)
    assert (upgraded.rebuilding, upgraded.position) == (("audit",), 0)
    (waiting,) = [s for s in await ViewStatuses(pool, "main", PROJECTIONS).read() if s.failure]
    assert (waiting.name, waiting.failure) == ("audit", "Its rows are an older release's and are being rebuilt.")
    assert await upgraded.advance() == half
    assert upgraded.rebuilding == ()
    assert upgraded.failure is None
    await everything(upgraded)
    assert upgraded.position == len(events)
    assert await stored(pool) == folded(events)
    assert await revisions(pool) == OWN


async def test_rows_of_an_older_release_are_read_until_the_new_ones_stand_in_their_place(pool, store, monkeypatch):
    events = ledger_of(51, 30)
    await write(pool, events)
    await everything(await make(pool, store))
    await tell(pool, "update intent_ledger.intents set agent = 'as-it-was'")
    await tell(pool, OLD, ["intents"])
    replay, seen = follower_module.replay, []

    async def watched(*given, **how):
        seen.extend(row.agent for row in (await stored(pool))["intents"])
        return await replay(*given, **how)

    monkeypatch.setattr(follower_module, "replay", watched)
    await everything(await make(pool, store))
    assert set(seen) == {"as-it-was"}
    assert len(seen) == 30
    assert await stored(pool) == folded(events)


async def test_only_one_process_rebuilds(pool, store, monkeypatch):
    await write(pool, ledger_of(52, 20))
    await everything(await make(pool, store))
    await tell(pool, OLD, ["intents", "audit"])
    one, other = await make(pool, store), await make(pool, store)
    replay, entered, go_on = follower_module.replay, asyncio.Event(), asyncio.Event()

    async def slow(*given, **how):
        entered.set()
        await go_on.wait()
        return await replay(*given, **how)

    monkeypatch.setattr(follower_module, "replay", slow)
    rebuilding = asyncio.create_task(one.advance())
    async with asyncio.timeout(10):
        await entered.wait()
        assert await other.advance() is None
        assert set(other.rebuilding) == {"intents", "audit"}
        go_on.set()
        assert await rebuilding
        assert await other.advance() == 0
    assert other.rebuilding == ()
    assert await revisions(pool) == OWN


class Broken:
    """A connection of which one statement comes to nothing for whoever waits, and may have been done."""

    def __init__(self, held, statement):
        self._held = held
        self._statement = statement

    def __getattr__(self, name):
        return getattr(self._held, name)

    async def fetchval(self, *asked):
        answer = await self._held.fetchval(*asked)
        if self._statement == "begin":
            raise asyncio.CancelledError
        return answer

    async def execute(self, *asked):
        if self._statement == "end":
            raise TimeoutError
        return await self._held.execute(*asked)


@pytest.mark.parametrize("statement", ["begin", "end"])
async def test_the_right_to_rebuild_never_stays_with_a_connection_of_the_pool(pool, statement):
    with suppress(asyncio.CancelledError):
        async with pool.acquire() as held, alone(Broken(held, statement), "main") as mine:
            assert (statement, mine) == ("end", True)
    async with pool.acquire() as one, pool.acquire() as other:
        async with alone(one, "main") as mine:
            assert mine
        async with alone(other, "main") as mine:
            assert mine


async def test_a_view_of_a_newer_release_is_left_alone_and_the_others_go_on(pool, store):
    events = ledger_of(53, 30)
    await write(pool, events[:60])
    await everything(await make(pool, store))
    await tell(pool, NEW, "audit")
    before = (await stored(pool))["audit"]
    await write(pool, events[60:])
    older = await make(pool, store)
    await everything(older)
    views = await stored(pool)
    assert views["audit"] == before
    assert views["intents"] == folded(events)["intents"]
    assert older.failure == "audit: Its rows are a newer release's, which keeps them; this process does not."
    assert older.position == 60


async def test_a_view_that_cannot_be_rebuilt_says_why_and_does_not_stop_the_others(pool, store):
    events = ledger_of(54, 20)
    await write(pool, events)
    await everything(await make(pool, store))
    first = next(one for one in events if intent_of(one.stream))
    strange = msgspec.structs.replace(first, position=len(events) + 1, version=900)
    await write(pool, [strange])
    await tell(pool, "update intent_ledger.projections set position = position + 1 where name = 'intents'")
    await tell(pool, OLD, ["intents"])
    upgraded = await make(pool, store)
    await everything(upgraded)
    assert upgraded.rebuilding == ()
    assert f"intents: It cannot be rebuilt for this release. Stopped before position {strange.position}" in (
        upgraded.failure
    )
    assert not await upgraded.advance()
    assert (await revisions(pool))["intents"] == 1


async def test_a_rebuild_that_breaks_off_takes_no_view_back(pool, store, monkeypatch):
    await write(pool, ledger_of(56, 20))
    await everything(await make(pool, store))
    await tell(pool, OLD, ["intents", "audit"])
    upgraded, replay = await make(pool, store), follower_module.replay

    async def broken_off(_pool, ledger, projections, *, swap):
        await replay(pool, ledger, [one for one in projections if one.name == "intents"], swap=swap)
        await tell(pool, "update intent_ledger.projections set position = position + 7 where name = 'audit'")
        raise Corrupt("It cannot be.")  # while the release before went on with the audit

    monkeypatch.setattr(follower_module, "replay", broken_off)
    await upgraded.advance()
    async with pool.acquire() as connection:
        found = {one["name"]: one for one in await connection.fetch("select * from intent_ledger.projections")}
    assert found["audit"]["position"] == found["intents"]["position"] + 7
    assert found["audit"]["failure"] == "It cannot be rebuilt for this release. It cannot be."
    assert (found["intents"]["failure"], found["intents"]["revision"]) == (None, OWN["intents"])
    assert upgraded.failure_of("intents") is None


@pytest.fixture
async def first_release(empty_dsn):
    """A database of the first release, with views of a ledger of its time."""
    files = sql.migrations()
    await migrate(empty_dsn, {name: text for name, text in files.items() if int(name[:3]) <= FIRST_RELEASE})
    events = [one for one in ledger_of(55, 40) if intent_of(one.stream)]
    events = [msgspec.structs.replace(one, position=place) for place, one in enumerate(events, 1)]
    views = folded(events)
    owner = await asyncpg.connect(empty_dsn)
    await owner.execute("insert into intent_ledger.heads (ledger, position) values ('main', 0)")
    await _insert(owner, "projections", [{"name": name, "position": len(events)} for name in THEN])
    await _insert(owner, "intents", [_then(row, INTENTS_THEN) for row in views["intents"]])
    entries = [_then(row, AUDIT_THEN) | {"intent": intent_of(row.stream)} for row in views["audit"]]
    await _insert(owner, "audit", entries)
    await _insert(owner, "exposure", [msgspec.structs.asdict(row) for row in views["exposure"]])
    await owner.close()
    return empty_dsn, events


def _then(row, names):
    return {name: value for name, value in msgspec.structs.asdict(row).items() if name in names}


async def _insert(owner, table, rows):
    columns = ", ".join(["ledger", *rows[0]])
    await owner.execute(
        f"insert into intent_ledger.{table} ({columns}) select {columns}"
        f" from json_populate_recordset(null::intent_ledger.{table}, $1::text::json)",
        msgspec.json.encode([{"ledger": "main", **row} for row in rows]).decode(),
    )


async def test_the_views_of_the_first_release_are_migrated_and_rebuilt(first_release):
    dsn, events = first_release
    await migrate(dsn)
    pool = await open_pool(dsn, 8)
    store = PostgresStore(pool, "main")
    await store.start()
    await write(pool, events)
    upgraded = await make(pool, store)
    assert set(upgraded.rebuilding) == {"intents", "audit"}
    migrated = await stored(pool)
    assert [row.custody for row in migrated["intents"]] == [()] * 40
    assert [row.stream for row in migrated["audit"]] == [row.stream for row in folded(events)["audit"]]
    await everything(upgraded)
    assert upgraded.failure is None
    assert await stored(pool) == folded(events)
    assert await revisions(pool) == OWN
    await store.stop()
    await pool.close()

"""Replay as of a position or a time, and into another database: the same events, the same bytes."""

import json
from datetime import UTC, timedelta, timezone
from random import Random

import asyncpg
import msgspec
import pytest
from histories import T0, ledger_of
from kept_events import RELEASES, understood
from views import everything, folded, make, stored, write

from ledger import events as e
from ledger.canonical import canonical
from ledger.database import connect, open_pool
from ledger.errors import Conflict, Misconfigured, NotFound
from ledger.ids import intent_of
from ledger.postgres_store import PostgresStore
from projections.catalogue import PROJECTIONS, chosen
from projections.moment import position_at
from projections.replay import replay
from projections.table import as_row


@pytest.fixture
async def other(make_database, template):
    """A pool on another migrated database."""
    opened = await open_pool(await make_database(template), 4)
    yield opened
    await opened.close()


async def rows_at(pool, position):
    """Return what each view was at a position, and what was said of it."""
    shown = {projection.name: [] for projection in PROJECTIONS}
    said = await replay(pool, "main", PROJECTIONS, at=position, show=lambda view, rows: shown[view].extend(rows))
    rows = {p.name: [as_row(p.row, record) for record in shown[p.name]] for p in PROJECTIONS}
    return rows, said


async def test_the_views_at_a_position_are_what_they_were_then(pool, store):
    events = ledger_of(61, 40)
    await write(pool, events)
    await everything(await make(pool, store))
    now = await stored(pool)
    for position in (0, 1, Random(61).randrange(2, len(events)), len(events)):
        rows, said = await rows_at(pool, position)
        assert rows == folded(events[:position])
        assert {(one.position, one.live_digest, one.swapped) for one in said} == {(position, None, False)}
        assert [one.rows for one in said] == [len(rows[one.name]) for one in said]
    assert rows == now, "the end of the ledger is now"
    assert await stored(pool) == now
    with pytest.raises(NotFound, match=f"ends at position {len(events)}"):
        await replay(pool, "main", PROJECTIONS, at=len(events) + 1)


async def test_a_time_is_the_position_that_the_ledger_had_reached_then(pool, store):
    events = ledger_of(62, 20)
    times = [T0 + timedelta(seconds=number // 3) for number, _ in enumerate(events)]  # three events at each
    await write(pool, [msgspec.structs.replace(one, at=at) for one, at in zip(events, times, strict=True)])
    zone = timezone(timedelta(hours=5, minutes=45))
    assert await position_at(pool, "main", T0 - timedelta(microseconds=1)) == 0
    assert await position_at(pool, "main", T0) == 3
    assert await position_at(pool, "main", (T0 + timedelta(seconds=4.5)).astimezone(zone)) == 15
    assert await position_at(pool, "main", times[-1] + timedelta(days=1)) == len(events)
    assert await position_at(pool, "nobody's", T0) == 0


async def test_another_server_gets_the_whole_read_side_and_no_events(pool, store, other):
    events = ledger_of(63, 40)
    follower = await make(pool, store)
    for some in (events[:200], events[200:]):  # the second time it is brought up to date
        await write(pool, some)
        await everything(follower)
        said = await replay(pool, "main", PROJECTIONS, into=other)
        assert all(one.equal and one.swapped and one.digest == one.live_digest for one in said)
        assert await stored(other) == await stored(pool)
        positions = await other.fetch("select name, position from intent_ledger.projections order by name")
        assert {row["position"] for row in positions} == {said[0].position}
        assert {row["name"] for row in positions} == {projection.name for projection in PROJECTIONS}
        assert await other.fetchval("select count(*) from intent_ledger.events") == 0
    then = await replay(pool, "main", chosen(("audit",)), into=other, at=100)
    assert then[0].swapped
    assert (await stored(other))["audit"] == folded(events[:100])["audit"]


async def test_a_live_view_that_was_tampered_with_does_not_travel(pool, store, other):
    events = ledger_of(64, 20)
    await write(pool, events)
    await everything(await make(pool, store))
    await pool.execute("update intent_ledger.audit set agent = 'eve'")
    (said,) = await replay(pool, "main", chosen(("audit",)), into=other)
    assert not said.equal
    assert said.swapped
    assert (await stored(other))["audit"] == folded(events)["audit"]


async def test_a_server_that_has_such_a_ledger_itself_is_refused(pool, store, other):
    events = ledger_of(65, 10)
    await write(pool, events)
    await everything(await make(pool, store))
    there = PostgresStore(other, "main")
    await there.start()
    await there.stop()
    await write(other, events[:30])
    with pytest.raises(Conflict, match="events of a ledger 'main' itself"):
        await replay(pool, "main", PROJECTIONS, into=other)
    assert (await stored(other))["audit"] == []


async def test_another_database_is_named_by_a_dsn_or_by_nothing():
    with pytest.raises(Misconfigured, match=r"This is no DSN of a PostgreSQL: .* Nothing was done"):
        await connect("nonsense")


async def test_the_ledger_of_every_release_is_rebuilt_as_it_is_followed(make_database, template):
    for release in RELEASES:
        pool = await open_pool(await make_database(template), 4)
        store = PostgresStore(pool, "main")
        await store.start()
        await write(pool, understood(release))
        await everything(await make(pool, store))
        assert all(one.equal for one in await replay(pool, "main", PROJECTIONS))
        await store.stop()
        await pool.close()


async def test_a_retired_event_is_followed_and_rebuilt_as_the_one_that_replaced_it(pool, store, monkeypatch):
    events = ledger_of(67, 40)
    mixed = next(one for one in events if isinstance(one.event, e.IntentMixed))
    monkeypatch.setattr(e, "UPCAST", {"IntentMuddled": lambda body: e.IntentMixed(**json.loads(body))})
    monkeypatch.setattr("projections.feed.UPCAST", e.UPCAST)
    await write(pool, events)
    owner = "alter table intent_ledger.events {} trigger events_never_change"
    connection = await asyncpg.connect(str(pool._connect_args[0]))
    for statement in (
        owner.format("disable"),
        f"update intent_ledger.events set type = 'IntentMuddled' where position = {mixed.position}",
        owner.format("enable always"),
    ):
        await connection.execute(statement)
    await connection.close()
    follower = await make(pool, store)
    await everything(follower)
    assert follower.failure is None
    assert await stored(pool) == folded(events)
    assert {row.phase for row in (await stored(pool))["intents"] if row.intent == intent_of(mixed.stream)} == {"mixed"}
    assert all(one.equal for one in await replay(pool, "main", PROJECTIONS))
    assert mixed.body == canonical(mixed.event)
    assert mixed.at.astimezone(UTC) == mixed.at

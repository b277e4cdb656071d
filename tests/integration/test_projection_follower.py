"""The follower on PostgreSQL: live views are what the events say, whoever follows and whatever interrupts."""

import asyncio

import asyncpg
import pytest
from histories import ledger_of
from views import INSERT, everything, folded, make, stored, write

from ledger import bounds
from ledger.errors import UnknownEventType
from ledger.ids import intent_of
from ledger.store import Append, Appended
from projections import feed
from projections.catalogue import PROJECTIONS, chosen
from projections.digest import ViewStatuses
from projections.follower import Follower
from projections.table import Table


async def followed(follower: Follower, position: int) -> None:
    async with asyncio.timeout(20):
        while follower.position < position:  # noqa: ASYNC110  it has a task of its own
            await asyncio.sleep(0.01)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(bounds, "VIEW_BATCH_EVENTS", 37)


@pytest.mark.parametrize("seed", range(5))
async def test_live_views_are_what_the_events_say_whatever_the_batches(pool, store, small_batches, seed):
    events = ledger_of(seed, 60)
    await write(pool, events)
    follower = await make(pool, store)
    assert await everything(follower) == len(events)
    assert follower.position == len(events)
    assert follower.failure is None
    views = await stored(pool)
    assert views == folded(events)
    assert len(views["intents"]) == 60
    assert len(views["audit"]) > 60
    assert len(views["exposure"]) > 0


async def test_views_follow_a_store_that_is_appended_to(pool, store):
    follower = Follower(pool, store, PROJECTIONS)
    await follower.start()
    events = [r for r in ledger_of(3, 10) if intent_of(r.stream)]
    for recorded in events:
        append = Append(stream=recorded.stream, expected_version=recorded.version - 1, events=(recorded.event,))
        assert isinstance(await store.append(append), Appended)
    await followed(follower, len(events))
    await follower.stop()
    assert [row.version for row in (await stored(pool))["intents"]] == [
        row.version for row in folded(events)["intents"]
    ]


async def test_a_batch_that_breaks_off_leaves_nothing_and_is_followed_again(pool, store, small_batches, monkeypatch):
    events = ledger_of(7, 40)
    await write(pool, events)
    follower = await make(pool, store)
    await follower.advance()
    before = await stored(pool)
    save, broken = Table.save, []

    async def breaks(self, connection, ledger, changes):
        await save(self, connection, ledger, changes)
        if self.projection.name == "exposure" and not broken:  # after the other views were written
            broken.append(self)
            raise asyncio.CancelledError

    monkeypatch.setattr(Table, "save", breaks)
    with pytest.raises(asyncio.CancelledError):
        await follower.advance()
    assert broken
    assert await stored(pool) == before
    await everything(await make(pool, store))
    assert await stored(pool) == folded(events)


async def test_two_followers_apply_every_event_once(pool, store, small_batches):
    events = ledger_of(11, 120)
    await write(pool, events)
    left, right = await make(pool, store), await make(pool, store)
    counts = {left: 0, right: 0}
    refused = 0

    async def work(follower: Follower) -> None:
        nonlocal refused
        async with asyncio.timeout(30):
            while follower.position < len(events):
                count = await follower.advance()
                refused += count is None
                counts[follower] += count or 0
                await asyncio.sleep(0)

    await asyncio.gather(work(left), work(right))
    assert sum(counts.values()) == len(events)
    assert min(counts.values()) > 0, "both followers should have worked"
    assert refused, "the followers never met"
    assert await stored(pool) == folded(events)


async def test_an_event_of_an_unknown_type_stops_the_views_and_says_where(pool, store):
    events = ledger_of(5, 30)
    await write(pool, events)
    async with pool.acquire() as connection:
        await connection.execute(
            INSERT, "main", [len(events) + 1], [events[5].stream], [1_000], ["Hologram"], [events[0].at], [b"{}"]
        )
    follower = await make(pool, store)
    assert await follower.advance() == len(events)
    assert follower.position == len(events)
    for part in ("intents", "audit", "exposure", f"position {len(events) + 1}", "'Hologram'"):
        assert part in follower.failure
    assert await stored(pool) == folded(events)
    assert await follower.advance() is None, "it should not try again and again"
    statuses = await ViewStatuses(pool, "main", PROJECTIONS).read()
    assert {s.lag for s in statuses} == {0}  # the head row was not moved by the forged event
    assert all("'Hologram'" in s.failure for s in statuses)


async def test_one_view_that_cannot_apply_an_event_does_not_stop_the_others(pool, store):
    events = ledger_of(6, 30)
    await write(pool, events[:100])
    follower = await make(pool, store)
    await everything(follower)
    async with pool.acquire() as connection:
        await connection.execute("update intent_ledger.intents set phase = 'denied'")
    await write(pool, events[100:])
    await everything(follower)
    statuses = {s.name: s for s in await ViewStatuses(pool, "main", PROJECTIONS).read()}
    assert statuses["audit"].position == statuses["exposure"].position == len(events)
    assert statuses["audit"].failure is None
    assert 100 <= statuses["intents"].position < len(events)
    stop = statuses["intents"].position + 1
    assert statuses["intents"].failure.startswith(f"Stopped before position {stop}: ")
    assert statuses["intents"].lag == len(events) - statuses["intents"].position
    assert follower.position == statuses["intents"].position
    assert follower.failure == f"intents: {statuses['intents'].failure}"


async def test_rows_that_postgresql_refuses_stop_only_their_view(dsn, pool, store):
    events = ledger_of(8, 20)
    await write(pool, events)
    owner = await asyncpg.connect(dsn)
    await owner.execute("alter table intent_ledger.audit add constraint never check (outcome <> 'committed')")
    await owner.close()
    follower = await make(pool, store)
    await follower.advance()
    await everything(follower)
    statuses = {s.name: s for s in await ViewStatuses(pool, "main", PROJECTIONS).read()}
    assert statuses["intents"].position == statuses["exposure"].position == len(events)
    assert statuses["audit"].position == 0
    assert "PostgreSQL refuses its rows" in statuses["audit"].failure


async def test_a_view_that_stopped_is_tried_again_by_a_new_process(pool, store, monkeypatch):
    events = ledger_of(9, 20)
    await write(pool, events)
    known = feed.understand

    def older_release(ledger, record):
        if record["position"] == 50:
            raise UnknownEventType("The event type 'NotYet' is not known to this release.")
        return known(ledger, record)

    monkeypatch.setattr(feed, "understand", older_release)
    follower = await make(pool, store)
    await everything(follower)
    assert follower.position == 49
    monkeypatch.setattr(feed, "understand", known)
    assert await follower.advance() is None
    upgraded = await make(pool, store)
    await everything(upgraded)
    assert upgraded.position == len(events)
    assert upgraded.failure is None
    assert await stored(pool) == folded(events)
    await follower.advance()
    assert follower.failure is None, "the older process should see that the views go on"


async def test_a_fault_of_ours_ends_the_follower_and_is_said(pool, store, monkeypatch):
    async def broken(_self) -> int:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(Follower, "advance", broken)
    follower = Follower(pool, store, PROJECTIONS)
    await follower.start()
    async with asyncio.timeout(10):
        while follower.failure is None:  # noqa: ASYNC110  it has a task of its own
            await asyncio.sleep(0.01)
    assert "not followed any more: ZeroDivisionError" in follower.failure
    await follower.stop()


async def test_views_that_stand_at_different_positions_each_apply_what_they_lack(pool, store, monkeypatch):
    events = ledger_of(12, 40)
    await write(pool, events)
    monkeypatch.setattr(bounds, "VIEW_BATCH_EVENTS", 50)
    await (await make(pool, store, chosen(("intents",)))).advance()
    monkeypatch.setattr(bounds, "VIEW_BATCH_EVENTS", 37)  # so that a batch ends before 50 and the next one after it
    follower = await make(pool, store)
    assert follower.position == 0
    await everything(follower)
    assert await stored(pool) == folded(events)


async def test_another_ledger_in_the_same_tables_is_left_alone(pool, store):
    events = ledger_of(2, 15)
    await write(pool, events)
    async with pool.acquire() as connection:
        await connection.execute("insert into intent_ledger.heads (ledger, position) values ('other', 0)")
    others = ledger_of(4, 15)
    await write(pool, others, "other")
    await everything(await make(pool, store))
    assert await stored(pool) == folded(events)
    assert await stored(pool, "other") == {projection.name: [] for projection in PROJECTIONS}


async def test_lag_counts_events_and_a_digest_stands_for_its_position(pool, store, small_batches):
    events = ledger_of(10, 30)
    await write(pool, events)
    statuses = ViewStatuses(pool, "main", PROJECTIONS)
    follower = await make(pool, store)
    empty = {s.name: s for s in await statuses.read()}
    assert all(s.lag == len(events) and s.position == s.digest_position == 0 for s in empty.values())
    await everything(follower)
    full = {s.name: s for s in await ViewStatuses(pool, "main", PROJECTIONS).read()}
    views = await stored(pool)
    assert views["intents"]
    for name, standing in full.items():
        assert standing.lag == 0
        assert standing.position == standing.digest_position == len(events)
        assert (standing.digest != empty[name].digest) == bool(views[name])
        assert standing.digest.startswith("sha256:")
    assert len({s.digest for s in full.values()}) == len({bool(rows) and name for name, rows in views.items()})

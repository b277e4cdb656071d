"""Replay on PostgreSQL: what is rebuilt is what was live, and what is not is found, named and put right."""

import asyncio

import asyncpg
import msgspec
import pytest
from histories import ledger_of
from views import everything, folded, make, stored, write

from ledger import bounds
from ledger.errors import Corrupt
from ledger.ids import intent_of
from projections import rebuild as rebuild_module
from projections import rows as rows_module
from projections.catalogue import PROJECTIONS, chosen
from projections.digest import ViewStatuses
from projections.exposure import read_exposure
from projections.follower import Follower
from projections.intents import IntentFilter, list_intents
from projections.replay import replay

CONTENTS = """
    select
        (select count(*) from intent_ledger.events),
        (select sum(hashtext(encode(body, 'hex'))) from intent_ledger.events),
        (select array_agg(heads order by ledger) from intent_ledger.heads),
        (select count(*) from intent_ledger.in_flight)
"""

FORGED_ENTRY = """
    insert into intent_ledger.audit
    select (entry).*
    from (
        select jsonb_populate_record(audit, '{{"version": 999, "kind": "cancel", "by": "eve"}}') as entry
        from intent_ledger.audit
        where stream = 'intent/{intent}' and version = 1
    ) as forged
"""


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(bounds, "VIEW_BATCH_EVENTS", 37)
    monkeypatch.setattr(rebuild_module, "REPLAY_BATCH_EVENTS", 101)
    monkeypatch.setattr(rows_module, "REPLAY_ROWS_KEPT", 20)
    monkeypatch.setattr(rows_module, "REPLAY_SUBJECTS_OPEN", 2)


@pytest.fixture
async def connection(pool):
    async with pool.acquire() as borrowed:
        yield borrowed


async def tamper(pool, statement: str) -> None:
    async with pool.acquire() as connection:
        assert (await connection.execute(statement)).split()[-1] != "0"


@pytest.mark.parametrize("seed", range(4))
async def test_a_rebuild_equals_the_live_view_byte_for_byte(pool, store, connection, small_batches, seed):
    events = ledger_of(seed, 50)
    await write(pool, events)
    await everything(await make(pool, store))
    seen = []
    replayed = await replay(pool, "main", PROJECTIONS, lambda done, whole: seen.append((done, whole)))
    statuses = {s.name: s for s in await ViewStatuses(pool, "main", PROJECTIONS).read()}
    for one in replayed:
        assert one.equal
        assert one.position == len(events)
        assert one.digest == one.live_digest == statuses[one.name].digest
        assert not one.swapped
    assert [r.name for r in replayed] == [projection.name for projection in PROJECTIONS]
    assert seen[-1] == (len(events), len(events))
    assert len(seen) > 2
    assert seen == sorted(seen)


async def test_replay_of_an_empty_ledger_is_equal(pool, store, connection):
    replayed = await replay(pool, "main", PROJECTIONS, swap=True)
    assert all(one.equal and one.position == 0 for one in replayed)


@pytest.mark.parametrize(
    ("view", "statement"),
    [
        ("intents", "update intent_ledger.intents set phase = 'committed' where intent = '{intent}'"),
        ("intents", "delete from intent_ledger.intents where intent = '{intent}'"),
        (
            "audit",
            "update intent_ledger.audit set agent = 'somebody-else' where stream = 'intent/{intent}' and version = 1",
        ),
        ("audit", "update intent_ledger.audit set summaries = '{{}}' where stream = 'intent/{intent}' and version = 1"),
        (
            "audit",
            FORGED_ENTRY,
        ),
        ("audit", "update intent_ledger.audit set by = 'nobody' where stream = 'grant/grant-7' and kind = 'revoke'"),
        ("exposure", "delete from intent_ledger.exposure where intent = '{exposed}'"),
    ],
)
async def test_a_tampered_row_is_found_named_and_put_right(pool, store, connection, small_batches, view, statement):
    events = ledger_of(21, 40)
    await write(pool, events)
    await everything(await make(pool, store))
    right = await stored(pool)
    denied = [row for row in right["intents"] if row.phase != "committed"]
    exposed = right["exposure"][0].intent
    await tamper(pool, statement.format(intent=denied[3].intent, exposed=exposed))
    assert await stored(pool) != right
    replayed = {one.name: one for one in await replay(pool, "main", PROJECTIONS)}
    assert [name for name, one in replayed.items() if not one.equal] == [view]
    found = replayed[view]
    assert found.digest != found.live_digest
    named = exposed if view == "exposure" else "grant/grant-7" if "revoke" in statement else denied[3].intent
    assert found.difference.key[0].removeprefix("intent/") == named
    assert found.difference.live != found.difference.rebuilt
    swapped = await replay(pool, "main", PROJECTIONS, swap=True)
    assert all(one.swapped for one in swapped)
    assert await stored(pool) == right
    assert all(one.equal for one in await replay(pool, "main", PROJECTIONS))


async def test_replay_appends_nothing_and_leaves_no_shadow(dsn, pool, store, connection, small_batches):
    await write(pool, ledger_of(22, 30))
    await everything(await make(pool, store))
    owner = await asyncpg.connect(dsn)
    before = await owner.fetchrow(CONTENTS)
    await replay(pool, "main", PROJECTIONS, swap=True)
    assert await owner.fetchrow(CONTENTS) == before
    assert await owner.fetchval("select count(*) from pg_class where relname = 'intents'") == 1
    await owner.close()


async def test_a_swap_writes_only_what_differs(pool, store, connection, small_batches):
    await write(pool, ledger_of(23, 30))
    await everything(await make(pool, store))
    before = await connection.fetch("select intent, ctid::text, xmin::text from intent_ledger.intents order by intent")
    await tamper(pool, f"update intent_ledger.intents set agent = 'eve' where intent = '{before[4]['intent']}'")
    await replay(pool, "main", PROJECTIONS, swap=True)
    after = await connection.fetch("select intent, ctid::text, xmin::text from intent_ledger.intents order by intent")
    assert [a["intent"] for a, b in zip(before, after, strict=True) if a != b] == [before[4]["intent"]]


async def test_readers_and_the_follower_go_on_while_a_view_is_swapped(pool, store, connection, small_batches):
    events = ledger_of(24, 80)
    half = len(events) // 2
    await write(pool, events[:half])
    follower = await make(pool, store)
    await everything(follower)
    total = len((await stored(pool))["intents"])
    await tamper(pool, "update intent_ledger.intents set agent = 'eve'")
    seen: set[tuple[int, int]] = set()
    done = asyncio.Event()

    async def read() -> None:
        async with pool.acquire() as reader:
            while not done.is_set():
                row = await reader.fetchrow(
                    "select count(*) as rows, count(*) filter (where agent = 'eve') as wrong from intent_ledger.intents"
                )
                seen.add((row["rows"], row["wrong"]))
                await asyncio.sleep(0)

    reading = asyncio.create_task(read())
    async with asyncio.timeout(20):
        while not seen:  # noqa: ASYNC110  on a busy machine the swap could be over before anybody has read
            await asyncio.sleep(0.01)
    replayed = await replay(pool, "main", chosen(("intents",)), swap=True)
    async with asyncio.timeout(20):
        while (total, 0) not in seen:  # noqa: ASYNC110  the reader goes on reading
            await asyncio.sleep(0.01)
    done.set()
    await reading
    assert replayed[0].swapped
    assert not replayed[0].equal
    assert seen == {(total, total), (total, 0)}, "a reader saw something between before and after"
    await write(pool, events[half:])
    await everything(follower)
    assert await stored(pool) == folded(events)


async def test_a_view_that_stopped_on_a_tampered_row_goes_on_after_a_replay(pool, store, connection):
    events = ledger_of(25, 40)
    await write(pool, events[:120])
    follower = await make(pool, store)
    await everything(follower)
    await tamper(pool, "update intent_ledger.intents set phase = 'denied'")
    await write(pool, events[120:])
    await everything(follower)
    assert follower.failure is not None
    await replay(pool, "main", PROJECTIONS, swap=True)
    await everything(follower)
    assert follower.failure is None
    assert await stored(pool) == folded(events)


async def test_a_rebuild_stops_where_the_follower_would_and_is_not_swapped(pool, store, connection):
    events = ledger_of(26, 20)
    await write(pool, events)
    await everything(await make(pool, store))
    await tamper(pool, "update intent_ledger.projections set position = position + 1")
    first = next(one for one in events if intent_of(one.stream))
    strange = msgspec.structs.replace(first, position=len(events) + 1, version=900)
    await write(pool, [strange])
    replayed = await replay(pool, "main", PROJECTIONS, swap=True)
    stopped = {one.name for one in replayed if one.failure is not None}
    assert {"intents", "exposure"} <= stopped
    for one in replayed:
        assert one.swapped == (one.name not in stopped)
        assert one.equal == (one.swapped and one.name != "behaviour")  # which reads what it can of any stream
        assert one.failure is None or one.failure.startswith(f"Stopped before position {len(events) + 1}: ")


async def test_a_view_ahead_of_its_ledger_is_refused(pool, store, connection):
    await write(pool, ledger_of(27, 10))
    await everything(await make(pool, store))
    await tamper(pool, "update intent_ledger.projections set position = position + 5")
    with pytest.raises(Corrupt, match="ledger ends at"):
        await replay(pool, "main", PROJECTIONS)


async def test_pages_show_the_intents_as_the_view_knows_them(pool, store, connection, small_batches):
    events = ledger_of(28, 60)
    await write(pool, events)
    follower = await make(pool, store)
    await follower.advance()
    await follower.advance()  # the views know 74 events, the ledger many more
    known = folded(events[:74])["intents"]
    page = await list_intents(connection, "main", IntentFilter(), None, 500)
    assert [(s.id, s.phase, s.version) for s in page.items] == [
        (row.intent, row.phase, row.version) for row in reversed(known)
    ]
    assert page.next is None
    assert {s.position for s in page.items} == {row.position for row in known}


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (IntentFilter(phase="committed"), lambda row: row.phase == "committed"),
        (IntentFilter(agent="mail-room"), lambda row: row.agent == "mail-room"),
        (IntentFilter(task="12A"), lambda row: row.task == "12A"),
        (IntentFilter(commissioned_by="manager-x"), lambda row: row.commissioned_by == "manager-x"),
        (IntentFilter(operation="email.refund"), lambda row: "email.refund" in row.operations),
        (IntentFilter(attention=True), lambda row: row.attention),
        (IntentFilter(custody="grant-operator"), lambda row: True),
        (IntentFilter(phase="awaiting_approval"), lambda row: row.phase == "awaiting_approval"),
        (IntentFilter(attention=False, task="12B"), lambda row: not row.attention and row.task == "12B"),
    ],
)
async def test_filters_find_what_fits_page_by_page(pool, store, connection, wanted, fits):
    events = ledger_of(29, 80)
    await write(pool, events)
    await everything(await make(pool, store))
    expected = [row.intent for row in reversed(folded(events)["intents"]) if fits(row)]
    assert expected
    found, after = [], None
    while True:
        page = await list_intents(connection, "main", wanted, after, 3)
        assert len(page.items) <= 3
        found += [state.id for state in page.items]
        after = page.next
        if after is None:
            break
    assert found == expected


async def test_a_page_of_long_histories_is_cut_short_and_continues(pool, store, connection, monkeypatch):
    events = ledger_of(30, 12)
    await write(pool, events)
    await everything(await make(pool, store))
    monkeypatch.setattr("projections.intents.PAGE_EVENTS", 25)
    found, after, pages = [], None, 0
    while True:
        page = await list_intents(connection, "main", IntentFilter(), after, 500)
        assert len(page.items) == 1 or sum(state.version for state in page.items) <= 25
        found += [state.id for state in page.items]
        pages += 1
        after = page.next
        if after is None:
            break
    assert found == [row.intent for row in reversed(folded(events)["intents"])]
    assert pages > 3


async def test_exposure_counts_what_is_open(pool, store, connection):
    events = ledger_of(31, 80)
    await write(pool, events)
    await everything(await make(pool, store))
    open_rows = [row for row in folded(events)["exposure"] if row.exposure is not None]
    exposure = await read_exposure(connection, "main")
    assert exposure["position"] == len(events)
    for word in ("held", "promised", "in_doubt"):
        assert sum(group[word] for group in exposure["groups"]) == sum(row.exposure == word for row in open_rows)
    assert len(exposure["actions"]) == len(open_rows) > 5
    assert {group["agent"] for group in exposure["groups"]} == {row.agent for row in open_rows}
    assert exposure["more"] is False


def test_chosen_names_what_there_is():
    assert chosen(()) == PROJECTIONS
    assert [p.name for p in chosen(("exposure", "audit"))] == ["exposure", "audit"]
    with pytest.raises(LookupError, match="intents, audit, exposure"):
        chosen(("horizon",))


def test_a_follower_that_never_started_is_nowhere():
    class NoStore:
        ledger = "main"

    follower = Follower(None, NoStore(), PROJECTIONS)
    assert follower.position == 0
    assert follower.failure is None

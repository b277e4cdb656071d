"""Replay where something is wrong beside the rows: a view that stands still, a crash, a second replay, a full disk."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from histories import ledger_of
from views import everything, folded, make, stored, write

from ledger import bounds
from ledger.database import open_pool
from ledger.errors import Corrupt, Unavailable
from ledger.ids import intent_of
from projections.catalogue import PROJECTIONS, chosen
from projections.replay import replay
from projections.table import SHADOW, Table

COMMAND = Path(sys.executable).with_name("intentledger")


async def said_by_the_command(dsn, *flags):
    environment = {**os.environ, "INTENTLEDGER_DSN": dsn}
    command = [COMMAND, "replay", *flags]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
async def stopped(pool, store):
    """A ledger of which the view of intents has stopped at an event of the middle, because its rows are not right."""
    events = ledger_of(81, 40)
    middle = len(events) // 2
    await write(pool, events[:middle])
    follower = await make(pool, store)
    await everything(follower)
    right = {row.intent: row.phase for row in (await stored(pool))["intents"]}
    going_on = next(one for one in events[middle:] if one.version > 1 and right.get(intent_of(one.stream)))
    tampered = "update intent_ledger.intents set phase = 'denied' where intent = $1"
    await pool.execute(tampered, intent_of(going_on.stream))
    await write(pool, events[middle:])
    await everything(follower)
    assert follower.failure_of("intents") is not None
    await pool.execute("update intent_ledger.intents set phase = $2 where intent = $1",
                       intent_of(going_on.stream), right[intent_of(going_on.stream)])  # fmt: skip
    return events


async def test_a_view_that_has_stopped_is_not_called_equal(pool, stopped):
    found = {one.name: one for one in await replay(pool, "main", PROJECTIONS)}
    intents = found.pop("intents")
    assert intents.difference is None, "what is there is right"
    assert not intents.equal
    assert intents.stopped.startswith(f"Stopped before position {intents.position + 1}: ")
    assert intents.behind == len(stopped) - intents.position > 0
    assert {(one.equal, one.stopped, one.behind) for one in found.values()} == {(True, None, 0)}


async def test_the_command_says_where_a_view_has_stopped_and_exits_with_1(dsn, pool, store, stopped):
    code, words, _ = await said_by_the_command(dsn, "--view", "intents")
    place = await pool.fetchval("select position from intent_ledger.projections where name = 'intents'")
    assert code == 1
    assert words.startswith(f"intents: STOPPED, Stopped before position {place + 1}: ")
    assert f"It is equal up to position {place:,}; the {len(stopped) - place:,} events after it are not in it" in words
    code, answer, _ = await said_by_the_command(dsn, "--view", "intents", "--view", "audit", "--json")
    assert (code, [(one["equal"], one["behind"] > 0) for one in json.loads(answer)]) == (
        1,
        [(False, True), (True, False)],
    )
    code, words, _ = await said_by_the_command(dsn, "--view", "intents", "--swap")
    assert (code, "whoever serves tries to go on" in words) == (1, True), "it was wrong, and is put right"
    follower = await make(pool, store)
    await everything(follower)
    assert await stored(pool) == folded(stopped)
    code, words, _ = await said_by_the_command(dsn, "--view", "intents")
    assert (code, words.startswith(f"intents: equal at position {len(stopped):,}, sha256:")) == (0, True)


async def test_a_view_that_is_behind_is_equal_only_as_far_as_it_has_come(dsn, pool, store):
    events = ledger_of(82, 10)
    await write(pool, events[:30])
    await everything(await make(pool, store))
    await write(pool, events[30:])
    (found,) = await replay(pool, "main", chosen(("audit",)))
    assert (found.equal, found.position, found.behind) == (True, 30, len(events) - 30)
    code, words, _ = await said_by_the_command(dsn, "--view", "audit")
    assert code == 0
    assert words.startswith(f"audit: equal at position 30, {len(events) - 30} before the ledger's end, sha256:")


@pytest.mark.parametrize(
    ("view", "tampered"),
    [
        ("behaviour", "update intent_ledger.behaviour set state = 'not JSON'"),
        ("behaviour", """update intent_ledger.behaviour set state = '{"series": 7}'"""),
        ("intents", "update intent_ledger.intents set phase = 'nowhere'"),
    ],
)
async def test_a_row_that_is_none_stops_its_view_and_no_other_until_it_is_replayed(pool, store, view, tampered):
    events = ledger_of(83, 20)
    await write(pool, events[:60])
    follower = await make(pool, store)
    await everything(follower)
    await pool.execute(tampered)
    await write(pool, events[60:])
    await everything(follower)
    others = [projection.name for projection in PROJECTIONS if projection.name != view]
    assert follower.reached(*others) == len(events)
    assert follower.failure_of(*others) is None
    assert follower.failure_of(view).startswith(f"{view}: Stopped after position 60: ")
    assert all(one.swapped for one in await replay(pool, "main", PROJECTIONS, swap=True))
    again = await make(pool, store)
    await everything(again)
    assert again.failure is None
    assert await stored(pool) == folded(events)


# ── what breaks off ──────────────────────────────────────────────────────────────────────────────────────────────

HELD = "select from intent_ledger.projections where name = 'audit' for update"
WAITS = "select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
TEMPORARY = "select count(*) from pg_class where relpersistence = 't' and relkind = 'r'"
FORGED = "update intent_ledger.{} set agent = 'eve'"


@pytest.fixture
async def forged(pool, store):
    """A ledger whose intents and audit are wrong in every row."""
    events = ledger_of(84, 40)
    await write(pool, events)
    await everything(await make(pool, store))
    for view in ("intents", "audit"):
        await pool.execute(FORGED.format(view))
    return events


@pytest.fixture
async def held(dsn):
    """Somebody who holds the checkpoint of the audit: a swap puts the intents in place, and then waits here."""
    holder = await asyncpg.connect(dsn)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute(HELD)
    yield holder
    await holder.close()


@pytest.fixture
async def owner(dsn):
    """See what every session does."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def becomes(owner, query, wanted):
    async with asyncio.timeout(30):
        while not wanted(await owner.fetchval(query)):  # noqa: ASYNC110 - another process makes it so
            await asyncio.sleep(0.02)


async def agents(pool, view):
    return {row["agent"] for row in await pool.fetch(f"select distinct agent from intent_ledger.{view}")}


async def begun(dsn, *flags):
    environment = {**os.environ, "INTENTLEDGER_DSN": dsn}
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(COMMAND, "replay", *flags, env=environment, stdout=pipe, stderr=pipe)


async def test_a_replay_that_is_killed_leaves_views_as_they_were_or_in_place_and_nothing_else(
    dsn, pool, store, owner, forged, held
):
    running = await begun(dsn, "--swap")
    await becomes(owner, WAITS, bool)
    assert await pool.fetchval(TEMPORARY) > 0
    running.kill()
    await running.wait()
    await held.close()
    await becomes(owner, TEMPORARY, lambda count: count == 0)
    assert ("eve" in await agents(pool, "intents"), await agents(pool, "audit")) == (False, {"eve"})
    code, words, _ = await said_by_the_command(dsn, "--swap")
    assert (code, "audit: DIFFERS" in words, "intents: equal" in words) == (1, True, True)
    await everything(await make(pool, store))
    assert await stored(pool) == folded(forged)


async def test_a_second_swap_at_once_is_refused_and_a_second_look_is_not(dsn, owner, forged, held):
    running = await begun(dsn, "--view", "audit", "--swap")
    await becomes(owner, WAITS, bool)
    code, words, why = await said_by_the_command(dsn, "--view", "audit", "--swap")
    assert (code, words) == (1, "")
    assert "Another process puts rebuilt views of the ledger 'main' in place just now" in why
    assert "Nothing was changed" in why
    code, words, _ = await said_by_the_command(dsn, "--view", "audit")
    assert (code, words.startswith("audit: DIFFERS")) == (1, True)
    await held.close()
    await running.communicate()
    assert running.returncode == 1, "it was wrong"
    code, words, _ = await said_by_the_command(dsn, "--view", "audit", "--swap")
    assert (code, words.startswith("audit: equal")) == (0, True)


async def test_a_swap_that_waits_too_long_says_what_is_in_place(dsn, forged, held, pool, monkeypatch):
    monkeypatch.setattr(bounds, "STATEMENT_SECONDS", 0.3)
    hasty = await open_pool(dsn, 2)
    with pytest.raises(Unavailable) as said:
        await replay(hasty, "main", chosen(("intents", "audit", "exposure")), swap=True)
    assert "statement timeout" in said.value.message
    assert said.value.message.endswith(
        "The replay was broken off. In place are: intents. As before are: audit, exposure."
    )
    await hasty.close()
    assert ("eve" in await agents(pool, "intents"), await agents(pool, "audit")) == (False, {"eve"})


async def test_a_swap_that_finds_a_view_beyond_the_ledger_says_what_is_in_place(forged, pool):
    await pool.execute("update intent_ledger.projections set position = position + 5 where name = 'audit'")
    with pytest.raises(Corrupt, match="The view audit is to be at position") as said:
        await replay(pool, "main", chosen(("intents", "audit", "exposure")), swap=True)
    assert "Nothing was changed" not in said.value.message
    assert said.value.message.endswith(
        "The replay was broken off. In place are: intents. As before are: audit, exposure."
    )
    assert ("eve" in await agents(pool, "intents"), await agents(pool, "audit")) == (False, {"eve"})


async def test_a_full_disk_ends_a_replay_with_nothing_changed(pool, forged, monkeypatch):
    save = Table.save

    async def full(table, connection, ledger, changed):
        if table._load.count(SHADOW):
            raise asyncpg.DiskFullError("could not extend file: No space left on device")
        await save(table, connection, ledger, changed)

    with monkeypatch.context() as patched:
        patched.setattr(Table, "save", full)
        with pytest.raises(Unavailable) as said:
            await replay(pool, "main", PROJECTIONS, swap=True)
    assert "No space left on device" in said.value.message
    views = ", ".join(projection.name for projection in PROJECTIONS)
    assert said.value.message.endswith(f"The replay was broken off. As before are: {views}.")
    assert await agents(pool, "audit") == {"eve"}
    assert await pool.fetchval(TEMPORARY) == 0
    await replay(pool, "main", PROJECTIONS, swap=True)
    assert await stored(pool) == folded(forged)

"""Replay where something is wrong beside the rows: a view that stands still, a crash, a second replay, a full disk."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from histories import ledger_of
from views import everything, folded, make, stored, write

from ledger.ids import intent_of
from projections.catalogue import PROJECTIONS, chosen
from projections.replay import replay

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

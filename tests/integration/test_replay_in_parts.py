"""Replay in several processes: what one process would find, and nothing that outlives who asked."""

import asyncio
import os
import signal
import sys

import asyncpg
import pytest
from histories import ledger_of
from views import everything, folded, make, stored, write

from gateway import replay_parts
from gateway.replay_parts import Part, processes_for, replay_in_parts
from ledger import bounds
from ledger.errors import Corrupt, Unavailable
from ledger.progress import unseen
from projections.catalogue import PROJECTIONS
from projections.replay import replay

SESSIONS = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
HELD = "select from intent_ledger.projections where name = any($1::text[]) for update"
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
PARENT = """
import asyncio
from gateway.replay_parts import *
from projections.catalogue import PROJECTIONS
asyncio.run(replay_in_parts(Part(dsn={dsn!r}, ledger="main", swap=True), PROJECTIONS, lambda *_: None, 2))
"""


@pytest.fixture
async def events(pool, store):
    written = ledger_of(85, 40)
    await write(pool, written)
    await everything(await make(pool, store))
    return written


async def test_parts_find_what_one_process_finds(dsn, pool, events):
    alone = await replay(pool, "main", PROJECTIONS)
    shown = []
    part = Part(dsn=dsn, ledger="main")
    for wanted in (part, Part(dsn=dsn, ledger="main", at=100)):
        found = await replay_in_parts(wanted, PROJECTIONS, lambda *told: shown.append(told), 3)
        assert [one.name for one in found] == [projection.name for projection in PROJECTIONS]
        assert {one.position for one in found} == {wanted.at or len(events)}
        if wanted is part:
            assert [(one.digest, one.rows, one.equal) for one in found] == [(o.digest, o.rows, True) for o in alone]
    await pool.execute("update intent_ledger.intents set agent = 'eve'")
    await pool.execute("update intent_ledger.audit set agent = 'eve'")
    found = await replay_in_parts(Part(dsn=dsn, ledger="main", swap=True), PROJECTIONS, unseen, 3)
    assert {one.name for one in found if one.difference is not None} == {"intents", "audit"}
    assert all(one.swapped for one in found)
    assert await stored(pool) == folded(events)


async def test_a_part_is_ours_wherever_it_is_called(dsn, events, monkeypatch, tmp_path):
    (tmp_path / "gateway.py").write_text("raise SystemExit('somebody else')")
    monkeypatch.chdir(tmp_path)
    found = await replay_in_parts(Part(dsn=dsn, ledger="main"), PROJECTIONS, unseen, 2)
    assert all(one.equal for one in found)


async def test_what_one_part_raises_is_raised_when_all_have_ended(dsn, pool, events):
    await pool.execute("update intent_ledger.projections set position = position + 5 where name = 'audit'")
    with pytest.raises(Corrupt, match=r"view audit is to be at position .* but the ledger ends at") as said:
        await replay_in_parts(Part(dsn=dsn, ledger="main"), PROJECTIONS, unseen, 3)
    ended = ", ".join(one.name for place, one in enumerate(PROJECTIONS) if place % 3 != 1)
    assert said.value.message.endswith(f" The replay of {ended} came to its end.")
    owner = await asyncpg.connect(dsn)
    await pool.close()
    assert await owner.fetchval(SESSIONS) == 0
    await owner.close()


async def test_a_part_that_is_killed_is_said_to_have_ended(dsn, events, monkeypatch):
    def alarm():  # goes off in the new program, and nobody there listens
        signal.setitimer(signal.ITIMER_REAL, 0.05)

    monkeypatch.setattr(replay_parts, "signal_at_parent_death", lambda _signal: alarm)
    with pytest.raises(Unavailable, match=r"The process that replayed intents ended with -14 before it was done"):
        await replay_in_parts(Part(dsn=dsn, ledger="main"), PROJECTIONS[:2], unseen, 2)


async def test_parts_end_with_who_asked_for_them(dsn, pool, events):
    await pool.execute("update intent_ledger.intents set agent = 'eve'")
    await pool.close()
    owner, holder = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute(HELD, [projection.name for projection in PROJECTIONS])
    asking = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT.format(dsn=dsn))
    async with asyncio.timeout(30):
        while await owner.fetchval(WAITING) < 2:  # noqa: ASYNC110 - other processes make it so
            await asyncio.sleep(0.02)
        asking.kill()
        await asking.wait()
        await transaction.rollback()
        await holder.close()
        while await owner.fetchval(SESSIONS):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await owner.fetchval("select count(*) from intent_ledger.intents where agent <> 'eve'") == 0
    await owner.close()


def test_a_small_ledger_is_not_worth_two_processes(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)))
    assert processes_for(bounds.REPLAY_APART_EVENTS - 1, PROJECTIONS) == 1
    assert processes_for(bounds.REPLAY_APART_EVENTS, PROJECTIONS) == bounds.REPLAY_PROCESSES
    assert processes_for(bounds.REPLAY_APART_EVENTS, PROJECTIONS[:1]) == 1

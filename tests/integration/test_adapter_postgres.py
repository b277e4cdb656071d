"""What is special about a PostgreSQL participant: holds that outlive everything, fences, locks, the operator's SQL."""

import asyncio
import copy
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from adapter_worlds import CRM, KEY, PostgresOutside, call

from adapters import fence
from adapters.contract import Absent, Applied, Held, Prepared, Refused, Unknown
from adapters.postgres.adapter import PostgresAdapter, _end
from adapters.postgres.session import judge
from adapters.postgres.tables import PostgresTable
from ledger.errors import InDoubt, Permanent, Transient
from ledger.intents import Verb


@pytest.fixture
async def world(empty_dsn: str) -> AsyncIterator[PostgresOutside]:
    world = await PostgresOutside(empty_dsn).start()
    yield world
    await world.stop()


def changed(**operation: Any) -> dict[str, Any]:
    """Return the table of the CRM with some keys of its operation changed."""
    table = copy.deepcopy(CRM)
    table["operations"]["update"] |= operation
    return table


async def with_table(world: PostgresOutside, table: dict[str, Any]) -> PostgresAdapter:
    world.table = PostgresTable.model_validate_json(json.dumps(table))
    adapter = await world.another()
    assert isinstance(adapter, PostgresAdapter)
    return adapter


async def hold(world: PostgresOutside) -> dict[str, Any]:
    vote = await world.adapter.prepare(call(world, Verb.PREPARE))
    assert isinstance(vote, Prepared), vote
    return vote.receipt


# ── holds ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_hold_outlives_the_death_of_every_session_of_ours(world: PostgresOutside) -> None:
    receipt = await hold(world)
    await world.system.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'intentledger'"
    )
    assert await world.holds() == 1
    other = await world.another()
    await other.commit(call(world, Verb.COMMIT), receipt)
    assert await world.effects() == 1


async def test_a_hold_outlives_kill_9_of_the_database(make_postgres: Any) -> None:
    postgres = make_postgres()
    world = await PostgresOutside(await postgres.start()).start()
    receipt = await hold(world)
    await world.stop()
    os.kill(postgres.pid, signal.SIGKILL)
    await until(lambda: postgres.pid is None)
    await postgres.stop()
    dsn = await postgres.start()
    adapter = PostgresAdapter("crm", PostgresTable.model_validate_json(json.dumps(CRM)), lambda: dsn)
    await adapter.open()
    assert await adapter.inquire(call(world, Verb.COMMIT)) == Held(receipt)
    await adapter.commit(call(world, Verb.COMMIT), receipt)
    assert isinstance(await adapter.inquire(call(world, Verb.COMMIT)), Applied)
    await adapter.close()


async def test_a_hold_that_somebody_rolled_back_by_hand_is_told_and_stays_gone(world: PostgresOutside) -> None:
    receipt = await hold(world)
    await world.system.execute(f"rollback prepared '{receipt['gid']}'")
    with pytest.raises(Permanent, match="rolled back"):
        await world.adapter.commit(call(world, Verb.COMMIT), receipt)
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE)), Refused)
    assert await world.effects() == 0


async def test_a_hold_that_somebody_committed_by_hand_is_an_effect(world: PostgresOutside) -> None:
    receipt = await hold(world)
    await world.system.execute(f"commit prepared '{receipt['gid']}'")
    result = await world.adapter.commit(call(world, Verb.COMMIT), receipt)
    assert result.data == {"rows": [{"id": "88", "status": "refunded"}], "captured": {"status": "active"}}
    with pytest.raises(Permanent, match="can no longer be aborted"):
        await world.adapter.abort(call(world, Verb.ABORT), receipt)


async def test_holds_that_nobody_finished_can_be_listed(world: PostgresOutside) -> None:
    await hold(world)
    (found,) = await world.adapter.holds()
    assert (found.key, found.epoch, found.gid) == (KEY, 1, f"intentledger:crm:{KEY}:1")


async def test_the_hold_and_not_the_receipt_is_what_an_abort_ends(world: PostgresOutside) -> None:
    await hold(world)
    await world.adapter.abort(call(world, Verb.ABORT, epoch=2), {"gid": "intentledger:crm:somebody-else:1"})
    assert await world.holds() == 0


# ── the fence ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_while_another_process_is_preparing_nobody_waits_and_nobody_guesses(world: PostgresOutside) -> None:
    await world.adapter.preview(call(world, Verb.PREVIEW))  # the fence table exists
    busy = world.system.transaction()
    await busy.start()
    assert await fence.claim(world.system, KEY, 1)
    with pytest.raises(Transient):
        await world.adapter.prepare(call(world, Verb.PREPARE))
    with pytest.raises(InDoubt):
        await world.adapter.abort(call(world, Verb.ABORT), None)
    assert isinstance(await world.adapter.inquire(call(world, Verb.COMMIT)), Unknown)
    await busy.rollback()
    assert await world.adapter.inquire(call(world, Verb.COMMIT)) == Absent()
    await world.adapter.abort(call(world, Verb.ABORT), None)
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE)), Refused)


async def test_who_looks_just_before_the_effect_is_not_told_that_there_is_none(
    world: PostgresOutside, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = await hold(world)
    await world.adapter.commit(call(world, Verb.COMMIT), receipt)

    async def too_early(*_: Any) -> None:
        return None

    monkeypatch.setattr(fence, "read", too_early)
    assert isinstance(await world.adapter.inquire(call(world, Verb.COMMIT)), Unknown)


async def test_a_refusal_leaves_no_transaction_open_behind_it(
    world: PostgresOutside, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE, status="melted")), Refused)
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE, customer="nobody")), Refused)
    assert caplog.text == ""


async def test_many_processes_may_create_the_fence_at_the_same_time(world: PostgresOutside) -> None:
    await world.system.execute("drop table if exists public.intent_ledger_fence")
    others = [await world.another() for _ in range(6)]
    await asyncio.gather(*(other.preview(call(world, Verb.PREVIEW)) for other in others))
    assert await fence.read(world.system, KEY) is None


async def test_a_tombstone_keeps_the_newest_epoch(world: PostgresOutside) -> None:
    await world.adapter.abort(call(world, Verb.ABORT, epoch=7), None)
    await world.adapter.abort(call(world, Verb.ABORT, epoch=3), None)
    row = await fence.read(world.system, KEY)
    assert row is not None
    assert (row.state, row.epoch) == (fence.State.ABORTED, 7)


# ── what the database says ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_violated_constraint_is_a_refusal_without_other_peoples_rows(world: PostgresOutside) -> None:
    vote = await world.adapter.prepare(call(world, Verb.PREPARE, status="melted"))
    assert isinstance(vote, Refused)
    assert "check constraint" in vote.reason
    assert "88" not in vote.reason


async def test_a_constraint_that_waits_for_the_commit_refuses_at_the_prepare(world: PostgresOutside) -> None:
    await world.system.execute(
        "create table notes (customer text references customers deferrable initially deferred, status text)"
    )
    note = "insert into notes values (:customer || 'x', :status)"
    adapter = await with_table(world, changed(statements=[{"sql": note}]))
    vote = await adapter.prepare(call(world, Verb.PREPARE))
    assert isinstance(vote, Refused), vote
    assert await world.holds() == 0


async def test_another_number_of_rows_than_expected_is_a_refusal(world: PostgresOutside) -> None:
    vote = await world.adapter.prepare(call(world, Verb.PREPARE, customer="nobody"))
    assert isinstance(vote, Refused)
    adapter = await with_table(world, changed(preview=None, facts=[], capture=None, undo="none", undo_statements=[]))
    vote = await adapter.prepare(call(world, Verb.PREPARE, customer="nobody"))
    assert isinstance(vote, Refused)
    assert vote.reason.startswith("1 row(s) should be affected")


async def test_a_statement_that_cannot_run_is_the_operators_fault_and_permanent(world: PostgresOutside) -> None:
    adapter = await with_table(world, changed(statements=[{"sql": "delete from nowhere where id = :customer"}]))
    vote = adapter.prepare(call(world, Verb.PREPARE))
    with pytest.raises(Permanent, match="nowhere"):
        await vote


async def test_a_preview_that_would_write_writes_nothing(world: PostgresOutside) -> None:
    before = await world.shown()
    adapter = await with_table(world, changed(preview="update customers set status = 'x' returning id, status"))
    with pytest.raises(Permanent, match="read-only"):
        await adapter.preview(call(world, Verb.PREVIEW))
    assert await world.shown() == before


async def test_a_row_that_others_lock_is_not_waited_for(world: PostgresOutside) -> None:
    async with world.system.transaction():
        await world.system.execute("select * from customers where id = '88' for update")
        with pytest.raises(Transient, match="lock timeout"):
            await world.adapter.prepare(call(world, Verb.PREPARE))
    assert await hold(world)


async def test_more_calls_than_connections_are_told_to_come_back(world: PostgresOutside) -> None:
    adapter = await with_table(world, CRM | {"connections": 1, "lock_timeout_seconds": 1.0, "timeout_seconds": 0.3})
    async with world.system.transaction():
        await world.system.execute("select * from customers where id = '88' for update")
        answers = await asyncio.gather(
            *(adapter.prepare(call(world, Verb.PREPARE, key=f"key-{n}")) for n in range(4)), return_exceptions=True
        )
    assert all(isinstance(answer, Transient) for answer in answers), answers
    assert await world.holds() == 0


async def test_a_database_without_prepared_transactions_is_named(world: PostgresOutside) -> None:
    error = asyncpg.ObjectNotInPrerequisiteStateError("prepared transactions are disabled")
    error.hint = "Set max_prepared_transactions to a nonzero value."
    verdict = judge(error)
    assert isinstance(verdict, Permanent)
    assert "max_prepared_transactions" in verdict.message


async def test_a_transaction_that_had_failed_is_not_taken_for_prepared(world: PostgresOutside) -> None:
    await world.system.execute("begin")
    with pytest.raises(asyncpg.PostgresError):
        await world.system.execute("select 1 / 0")
    with pytest.raises(Transient, match="ROLLBACK"):
        await _end(world.system, "prepare transaction 'failed'", "PREPARE TRANSACTION")
    assert await world.holds() == 0


async def test_a_call_that_is_cancelled_in_the_middle_holds_nothing_and_gives_its_connection_back(
    world: PostgresOutside,
) -> None:
    adapter = await with_table(world, CRM | {"connections": 1, "lock_timeout_seconds": 2.0})
    await adapter.preview(call(world, Verb.PREVIEW))
    async with world.system.transaction():
        await world.system.execute("select * from customers where id = '88' for update")
        task = asyncio.create_task(adapter.prepare(call(world, Verb.PREPARE)))
        await until_somebody_waits(world)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert isinstance(await adapter.prepare(call(world, Verb.PREPARE, epoch=2)), Prepared)
    assert await world.holds() == 1


async def until_somebody_waits(world: PostgresOutside) -> None:
    async with asyncio.timeout(5):
        while not await world.system.fetchval("select count(*) from pg_locks where not granted"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# ── the operator's SQL ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", ["'; drop table customers; --", "$1", ":status", "\\'", "88' or '1'='1", 'a"b'])
async def test_a_parameter_is_a_value_whatever_it_contains(world: PostgresOutside, value: str) -> None:
    before = await world.shown()
    vote = await world.adapter.prepare(call(world, Verb.PREPARE, customer=value))
    assert isinstance(vote, Refused)
    assert await world.shown() == before


async def test_what_statements_return_is_kept_as_json(world: PostgresOutside) -> None:
    sql = """select :customer as "text", 12.30::numeric as money, 9007199254740993::int8 as big, 7::int2 as small,
        '2026-01-31 12:00+00'::timestamptz as at, 'nan'::float8 as nan, array[1, 2] as list, '\\xff'::bytea as bytes,
        '{"a": [1]}'::jsonb as document, null as nothing, true as flag"""
    adapter = await with_table(world, changed(statements=[{"sql": sql}]))
    vote = await adapter.prepare(call(world, Verb.PREPARE))
    assert isinstance(vote, Prepared)
    result = await adapter.commit(call(world, Verb.COMMIT), vote.receipt)
    (row,) = result.data["rows"]
    assert row == {
        "text": "88",
        "money": "12.30",
        "big": "9007199254740993",
        "small": 7,
        "at": "2026-01-31 12:00:00+00",
        "nan": "nan",
        "list": [1, 2],
        "bytes": "ff",
        "document": {"a": [1]},
        "nothing": None,
        "flag": True,
    }


async def test_more_than_is_kept_of_an_answer_is_refused_before_the_promise(world: PostgresOutside) -> None:
    for sql in ("select generate_series(1, 101)", "select repeat('x', 70000)"):
        adapter = await with_table(world, changed(statements=[{"sql": sql}]))
        assert isinstance(await adapter.prepare(call(world, Verb.PREPARE, key=sql[:20])), Refused)
    assert await world.holds() == 0


async def test_people_see_before_and_after_of_what_is_prepared(world: PostgresOutside) -> None:
    vote = await world.adapter.prepare(call(world, Verb.PREPARE))
    assert isinstance(vote, Prepared)
    assert vote.preview.before == {"id": "88", "status": "active", "age": 100}
    assert vote.preview.after == {"id": "88", "status": "refunded", "age": 100}


async def test_an_undo_that_no_longer_fits_is_refused_for_good_and_changes_nothing(world: PostgresOutside) -> None:
    undo = "update customers set status = :captured.status where id = :customer and status = :status"
    adapter = await with_table(world, changed(undo_statements=[{"sql": undo, "expect_rows": 1}]))
    receipt = await hold(world)
    result = await adapter.commit(call(world, Verb.COMMIT), receipt)
    await world.system.execute("update customers set status = 'active' where id = '88'")
    for _ in range(2):
        with pytest.raises(Permanent, match="Nothing was changed"):
            await adapter.compensate(call(world, Verb.COMPENSATE), receipt, result.data)


async def test_an_insert_is_undone_by_what_it_returned(world: PostgresOutside) -> None:
    await world.system.execute("create table notes (id bigserial primary key, text text)")
    adapter = await with_table(
        world,
        changed(
            statements=[{"sql": "insert into notes (text) values (:status) returning id"}],
            undo_statements=[{"sql": "delete from notes where id = :returned.id", "expect_rows": 1}],
        ),
    )
    vote = await adapter.prepare(call(world, Verb.PREPARE))
    assert isinstance(vote, Prepared)
    result = await adapter.commit(call(world, Verb.COMMIT), vote.receipt)
    await adapter.compensate(call(world, Verb.COMPENSATE), vote.receipt, result.data)
    assert await world.system.fetchval("select count(*) from notes") == 0


async def test_a_database_that_is_down_does_not_keep_the_service_from_starting() -> None:
    table = PostgresTable.model_validate_json(json.dumps(CRM))
    adapter = PostgresAdapter("crm", table, lambda: "postgresql://x@127.0.0.1:1/nothing")
    await adapter.open()
    world = type("Nowhere", (), {"operation": "crm.update", "params": {"customer": "88", "status": "refunded"}})()
    with pytest.raises(Transient):
        await adapter.prepare(call(world, Verb.PREPARE))
    await adapter.close()

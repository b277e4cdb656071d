"""What is special about a MariaDB participant: prepared branches, the sessions they hang on, what its errors mean."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from adapter_worlds import KEY, call
from mysql_world import MysqlOutside, crm
from servers.mariadb import PASSWORD

from adapters.contract import Absent, Applied, Held, Prepared, Refused, Result, Unknown
from adapters.mysql import adapter as mysql
from adapters.mysql.adapter import MysqlAdapter
from adapters.mysql.session import address
from ledger.errors import InDoubt, Misconfigured, Permanent, Transient
from ledger.intents import Verb

XID = f"intentledger:{KEY},crm:1"


@pytest.fixture
async def world() -> AsyncIterator[MysqlOutside]:
    world = await MysqlOutside().start()
    yield world
    await world.stop()


async def hold(world: MysqlOutside, **kwargs: Any) -> dict[str, Any]:
    vote = await world.adapter.prepare(call(world, Verb.PREPARE, **kwargs))
    assert isinstance(vote, Prepared), vote
    return vote.receipt


async def until_free(world: MysqlOutside) -> None:
    """Wait until the sessions of the adapter have ended: before, nobody else can finish what they prepared."""
    async with asyncio.timeout(5):
        while await world.query("select 1 from information_schema.processlist where user = 'ledger'"):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def restart(world: MysqlOutside) -> None:
    """Kill -9 the server and start it again."""
    world.server.kill()
    await world.server.start()
    world.system.close()
    world.system = await world.server.connect(world.database)


# ── holds and crashes ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_hold_outlives_kill_9_of_the_server_between_prepare_and_commit(world: MysqlOutside) -> None:
    receipt = await hold(world)
    await restart(world)
    assert await world.adapter.inquire(call(world, Verb.COMMIT)) == Held(receipt)
    with pytest.raises(Transient, match="Lock wait timeout"):
        await world.adapter.prepare(call(world, Verb.PREPARE, key="rival"))
    result = await world.adapter.commit(call(world, Verb.COMMIT), receipt)
    assert await world.adapter.inquire(call(world, Verb.COMMIT)) == Applied(result)
    await restart(world)
    assert await world.adapter.commit(call(world, Verb.COMMIT), receipt) == result
    assert (await world.effects(), await world.holds()) == (1, 0)


async def test_a_hold_that_outlived_kill_9_can_be_rolled_back_and_stays_gone(world: MysqlOutside) -> None:
    before = await world.shown()
    receipt = await hold(world)
    await restart(world)
    await world.adapter.abort(call(world, Verb.ABORT), None)
    await restart(world)
    assert await world.adapter.inquire(call(world, Verb.COMMIT)) == Absent()
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE)), Refused)
    with pytest.raises(Permanent, match="rolled back"):
        await world.adapter.commit(call(world, Verb.COMMIT), receipt)
    assert (await world.shown(), await world.holds()) == (before, 0)


@pytest.mark.parametrize("verb", ["prepare", "commit", "abort"])
async def test_kill_9_in_the_middle_of_a_call_leaves_all_or_nothing_and_repeating_it_tells(
    world: MysqlOutside, verb: str
) -> None:
    for number, pause in enumerate((0.0, 0.002, 0.004)):
        key = f"{verb}-{number}"
        receipt = None if verb == "prepare" else await hold(world, key=key, customer="88")
        made = {
            "prepare": lambda key=key: world.adapter.prepare(call(world, Verb.PREPARE, key=key)),
            "commit": lambda key=key, receipt=receipt: world.adapter.commit(call(world, Verb.COMMIT, key=key), receipt),
            "abort": lambda key=key: world.adapter.abort(call(world, Verb.ABORT, key=key), None),
        }[verb]
        task = asyncio.create_task(made())
        await asyncio.sleep(pause)  # somewhere in it; every place must do
        await restart(world)
        (first,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(first, Prepared | Result | Transient | InDoubt | None), first
        if verb == "prepare":
            receipt = await hold(world, key=key)
            await world.adapter.abort(call(world, Verb.ABORT, key=key), receipt)
        else:
            await made()
        wanted = {"commit": Applied}.get(verb, Absent)
        assert isinstance(await world.adapter.inquire(call(world, Verb.COMMIT, key=key)), wanted)
        assert await world.holds() == 0
        await world.query("update customers set status = 'active' where id = '88'")
    assert await world.effects() == (3 if verb == "commit" else 0)


async def test_a_restart_brings_back_the_locks_of_what_was_changed_and_not_of_what_was_only_locked(
    world: MysqlOutside,
) -> None:
    both = "select status from customers for update"
    adapter = await world.another(crm(capture=both))
    vote = await adapter.prepare(call(world, Verb.PREPARE))
    assert isinstance(vote, Prepared)
    other = call(world, Verb.PREPARE, key="other", customer="89")
    with pytest.raises(Transient, match="Lock wait timeout"):
        await world.adapter.prepare(other)
    await restart(world)
    assert isinstance(await world.adapter.prepare(other), Prepared)  # docs/adapters.md says so
    with pytest.raises(Transient, match="Lock wait timeout"):
        await world.adapter.prepare(call(world, Verb.PREPARE, key="same"))


# ── the session that a branch hangs on ───────────────────────────────────────────────────────────────────────────


async def prepared_by_somebody_who_stays(session: Any) -> None:
    xid = mysql._literal(XID)
    await session.execute(f"xa start {xid}")
    assert await mysql.fence.claim(session, KEY, 1)
    await session.execute("update customers set status = 'refunded' where id = '88'")
    await session.execute(f"xa end {xid}")
    await session.execute(f"xa prepare {xid}")


async def test_a_hold_that_hangs_on_a_session_is_in_doubt_and_not_taken_for_lost(
    world: MysqlOutside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql, "_ENDING_SECONDS", 0.1)
    adapter = world.adapter
    await adapter.preview(call(world, Verb.PREVIEW))
    async with adapter._database.session(adapter._dsn()) as session:
        await prepared_by_somebody_who_stays(session)
        with pytest.raises(InDoubt, match="has not ended"):
            await adapter.commit(call(world, Verb.COMMIT), {"xid": XID})
        with pytest.raises(InDoubt, match="has not ended"):
            await adapter.abort(call(world, Verb.ABORT), None)
        assert await adapter.inquire(call(world, Verb.COMMIT)) == Held({"xid": XID})
    monkeypatch.undo()
    await adapter.commit(call(world, Verb.COMMIT), {"xid": XID})
    assert (await world.effects(), await world.holds()) == (1, 0)


async def test_the_server_itself_ends_a_session_that_is_cut_off_and_its_hold_is_free(world: MysqlOutside) -> None:
    adapter = await world.another(crm() | {"timeout_seconds": 0.4})  # so the server waits one second
    await adapter.preview(call(world, Verb.PREVIEW))
    async with adapter._database.session(adapter._dsn()) as session:
        await prepared_by_somebody_who_stays(session)
        async with asyncio.timeout(5):
            while True:
                try:
                    await adapter.commit(call(world, Verb.COMMIT), {"xid": XID})
                except InDoubt:
                    continue
                break
    assert (await world.effects(), await world.holds()) == (1, 0)


async def test_who_looks_while_others_commit_is_never_told_that_there_is_nothing(world: MysqlOutside) -> None:
    adapters = [await world.another() for _ in range(3)]
    for number in range(15):
        key = f"key-{number}"
        receipt = await hold(world, key=key)
        asked = call(world, Verb.COMMIT, key=key)
        answers = await asyncio.gather(
            *(adapter.commit(asked, receipt) for adapter in adapters),
            *(adapter.inquire(asked) for adapter in adapters),
            return_exceptions=True,
        )
        assert all(isinstance(answer, Result | InDoubt | Held | Applied | Unknown) for answer in answers), answers
        assert isinstance(await world.adapter.commit(asked, receipt), Result)
        await world.query("update customers set status = 'active' where id = '88'")
    assert await world.effects() == 15


async def test_a_hold_that_somebody_finished_by_hand_is_told_as_it_is(world: MysqlOutside) -> None:
    receipt = await hold(world)
    await until_free(world)
    await world.query(f"xa commit {mysql._literal(receipt['xid'])}")
    result = await world.adapter.commit(call(world, Verb.COMMIT), receipt)
    assert result.data == {"rows": [{"id": "88", "status": "refunded"}], "captured": {"status": "active"}}
    with pytest.raises(Permanent, match="can no longer be aborted"):
        await world.adapter.abort(call(world, Verb.ABORT), receipt)
    vote = await world.adapter.prepare(call(world, Verb.PREPARE, key="other", customer="89"))
    assert isinstance(vote, Prepared)
    other = vote.receipt
    await until_free(world)
    await world.query(f"xa rollback {mysql._literal(other['xid'])}")
    with pytest.raises(Permanent, match="rolled back"):
        await world.adapter.commit(call(world, Verb.COMMIT, key="other"), other)


async def test_holds_that_nobody_finished_can_be_listed_among_those_of_others(world: MysqlOutside) -> None:
    await hold(world)
    stranger = await world.server.connect(world.database)
    for statement in (
        "xa start x'ff00','\\xff'",
        "insert into changes (status) values ('x')",
        "xa end x'ff00','\\xff'",
        "xa prepare x'ff00','\\xff'",
    ):
        await stranger.query(statement)
    await stranger.ensure_closed()
    (found,) = await world.adapter.holds()
    assert (found.key, found.epoch, found.xid) == (KEY, 1, XID)


async def test_while_another_process_is_preparing_nobody_waits_and_nobody_guesses(world: MysqlOutside) -> None:
    adapter = world.adapter
    await adapter.preview(call(world, Verb.PREVIEW))  # the fence table exists
    async with adapter._database.session(adapter._dsn()) as busy:
        await busy.execute("start transaction")
        assert await mysql.fence.claim(busy, KEY, 1)
        with pytest.raises(Transient):
            await adapter.prepare(call(world, Verb.PREPARE))
        with pytest.raises(InDoubt):
            await adapter.abort(call(world, Verb.ABORT), None)
        assert isinstance(await adapter.inquire(call(world, Verb.COMMIT)), Unknown)
        await busy.execute("rollback")
    assert await adapter.inquire(call(world, Verb.COMMIT)) == Absent()


async def test_a_call_that_is_cancelled_in_the_middle_holds_nothing(world: MysqlOutside) -> None:
    adapter = await world.another(crm() | {"connections": 1, "lock_timeout_seconds": 5})
    await adapter.preview(call(world, Verb.PREVIEW))
    await world.query("begin")
    await world.query("select * from customers where id = '88' for update")
    task = asyncio.create_task(adapter.prepare(call(world, Verb.PREPARE)))
    async with asyncio.timeout(5):
        while (await world.query("show status like 'innodb_row_lock_current_waits'"))[0][1] == "0":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await world.query("rollback")
    assert isinstance(await adapter.prepare(call(world, Verb.PREPARE, epoch=2)), Prepared)
    assert await world.holds() == 1


# ── what the database says ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_violated_constraint_is_a_refusal_without_other_peoples_rows(world: MysqlOutside) -> None:
    vote = await world.adapter.prepare(call(world, Verb.PREPARE, status="melted"))
    assert isinstance(vote, Refused)
    assert "CONSTRAINT" in vote.reason
    taken = "insert into customers (id, status) select id, status from customers where id = :customer"
    vote = await (await world.another(crm(statements=[{"sql": taken}]))).prepare(call(world, Verb.PREPARE))
    assert isinstance(vote, Refused)
    assert "Duplicate entry" in vote.reason
    assert "88" not in vote.reason


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("update customers set age = 'old' where id = :customer", "Refused: .*Incorrect integer value"),
        ("update customers set status = repeat('x', 99) where id = :customer", "Refused: .*too long"),
        ("update customers set status = null where id = :customer", "Refused: .*cannot be null"),
        ("delete from nowhere where id = :customer", "Permanent: .*nowhere"),
        ("selec from", "Misconfigured"),
        ("select seq from seq_1_to_200", "Refused: .*more than 100 rows"),
        ("select repeat('x', 70000)", "Refused: .*more than 65536 bytes"),
        ("update customers set status = 'refunded' where id = 'nobody'", "Refused: 1 row"),
    ],
)
async def test_what_a_statement_cannot_do_is_a_no_or_the_operators_fault_and_holds_nothing(
    world: MysqlOutside, sql: str, said: str
) -> None:
    expect = {"expect_rows": 1} if "nobody" in sql else {}
    try:
        adapter = await world.another(crm(statements=[{"sql": sql, **expect}]))
        vote = await adapter.prepare(call(world, Verb.PREPARE))
        answer = f"Refused: {vote.reason}" if isinstance(vote, Refused) else repr(vote)
    except (Permanent, Misconfigured) as error:
        answer = f"{type(error).__name__}: {error.message}"
    assert re.search(said, answer), answer
    assert await world.holds() == 0


async def test_a_row_that_others_lock_is_not_waited_for_and_more_calls_than_connections_come_back(
    world: MysqlOutside,
) -> None:
    adapter = await world.another(crm() | {"connections": 1, "lock_timeout_seconds": 1, "timeout_seconds": 0.3})
    await world.query("begin")
    await world.query("select * from customers where id = '88' for update")
    with pytest.raises(Transient, match="Lock wait timeout"):
        await world.adapter.prepare(call(world, Verb.PREPARE))
    calls = [adapter.prepare(call(world, Verb.PREPARE, key=f"key-{number}")) for number in range(3)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, Transient) for answer in answers), answers
    await world.query("rollback")
    assert await world.holds() == 0


async def test_a_database_that_acknowledges_what_a_crash_may_lose_is_not_used(world: MysqlOutside) -> None:
    for setting, value, proper in (("innodb_flush_log_at_trx_commit", 2, 1), ("sync_binlog", 0, 1)):
        await world.query(f"set global {setting} = {value}")
        try:
            with pytest.raises(Transient, match=setting):
                await (await world.another()).prepare(call(world, Verb.PREPARE))
        finally:
            await world.query(f"set global {setting} = {proper}")
    await hold(world)


async def test_a_fence_that_is_not_transactional_is_not_used(world: MysqlOutside) -> None:
    await world.query("create table intent_ledger_fence (`key` varchar(64) primary key) engine = aria")
    with pytest.raises(Transient, match="Aria"):
        await world.adapter.prepare(call(world, Verb.PREPARE))


async def test_what_is_declared_to_read_cannot_change_anything(world: MysqlOutside) -> None:
    await world.query(
        "create function meddle() returns int deterministic modifies sql data "
        "begin insert into changes values (99, 'x'); return 1; end"
    )
    table = crm()
    table["reads"]["customer"]["query"] = "select status, age, meddle() as what from customers where id = :customer"
    adapter = await world.another(table)
    world.operation, world.params = "crm.customer", {"customer": "88"}
    with pytest.raises(Permanent, match="READ ONLY"):
        await adapter.preview(call(world, Verb.PREVIEW))


# ── the operator's SQL, and how we come in ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", ["'; drop table customers; --", "\\'; drop table customers", ":status", "88\0", "😀"])
async def test_a_parameter_is_a_value_whatever_it_contains(world: MysqlOutside, value: str) -> None:
    before = await world.shown()
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE, customer=value)), Refused)
    assert await world.shown() == before


async def test_what_statements_return_is_kept_as_json_and_values_arrive_as_they_are(world: MysqlOutside) -> None:
    sql = """select :customer as text, 12.30 as money, 9007199254740993 as big, cast(7 as signed) as small,
        timestamp '2026-01-31 12:00:00' as at, cast(x'ff' as binary) as bytes, 1e0 / 4 as quarter, null as nothing,
        true as flag, '😀' as face, hex(:customer) as digits, json_object('a', 1) as document"""
    adapter = await world.another(crm(preview=None, facts=[], fact_types={}, statements=[{"sql": sql}]))
    vote = await adapter.prepare(call(world, Verb.PREPARE, customer="Zoë'\\\0"))
    assert isinstance(vote, Prepared), vote
    result = await adapter.commit(call(world, Verb.COMMIT), vote.receipt)
    (row,) = result.data["rows"]
    document = json.loads(row.pop("document"))
    assert document == {"a": 1}
    assert row == {
        "text": "Zoë'\\\0",
        "money": "12.30",
        "big": "9007199254740993",
        "small": 7,
        "at": "2026-01-31 12:00:00",
        "bytes": "ff",
        "quarter": 0.25,
        "nothing": None,
        "flag": 1,
        "face": "😀",
        "digits": "5A6FC3AB275C00",
    }


async def test_a_procedure_is_one_statement_and_its_first_answer_counts(world: MysqlOutside) -> None:
    await world.query(
        "create procedure refund(in who varchar(64)) begin "
        "update customers set status = 'refunded' where id = who; select status from customers where id = who; "
        "select 2 as second; end"
    )
    adapter = await world.another(crm(statements=[{"sql": "call refund(:customer)", "expect_rows": 1}]))
    vote = await adapter.prepare(call(world, Verb.PREPARE))
    assert isinstance(vote, Prepared)
    result = await adapter.commit(call(world, Verb.COMMIT), vote.receipt)
    assert result.data["rows"] == [{"status": "refunded"}]


async def test_a_password_that_was_changed_is_used_from_the_next_call_on(world: MysqlOutside) -> None:
    told = [world.server.dsn(world.database).replace(PASSWORD, "n%C3%ABw%40%2F")]
    adapter = MysqlAdapter("crm", world.adapter._table, lambda: told[0])
    await adapter.open()
    with pytest.raises(Transient, match="Access denied") as refused:
        await adapter.prepare(call(world, Verb.PREPARE))
    assert PASSWORD not in refused.value.message
    told[0] = world.server.dsn(world.database)
    assert isinstance(await adapter.prepare(call(world, Verb.PREPARE)), Prepared)


async def test_the_server_must_show_a_certificate_that_we_trust_before_it_gets_a_password(world: MysqlOutside) -> None:
    trusting = crm() | {"tls": "verify", "ca_file": str(world.server.ca_file)}
    assert isinstance(await (await world.another(trusting)).prepare(call(world, Verb.PREPARE)), Prepared)
    with pytest.raises(Transient, match="nothing was sent"):
        await (await world.another(crm() | {"tls": "verify"})).prepare(call(world, Verb.PREPARE, key="other"))


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "postgresql://u@h/d",
        "mysql://u@h",
        "mysql://h/d",
        "mysql://u@h:x/d",
        "mysql://u:p@h/d?ssl=no",
        "mysql://[u@h/d",
    ],
)
def test_an_address_that_says_too_little_or_too_much_is_refused_without_showing_it(dsn: str) -> None:
    with pytest.raises(Misconfigured, match="dsn is not an address like mysql://") as refused:
        address("crm", dsn)
    assert dsn not in refused.value.message or not dsn

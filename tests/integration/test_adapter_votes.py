"""Facts in a vote: what the outside system shows while the hold stands, not what it showed just before."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from adapter_worlds import CRM, PostgresOutside, call
from payments_world import HttpOutside

from adapters.contract import Prepared
from adapters.postgres.tables import PostgresTable
from examples.faults import Fault
from ledger.errors import InDoubt
from ledger.intents import Verb


@pytest.fixture
async def payments(tmp_path: Path) -> AsyncIterator[HttpOutside]:
    world = await HttpOutside("refund", tmp_path / "record").start()
    yield world
    await world.stop()


def when_held(world: HttpOutside, then: Callable[[], None]) -> None:
    """Do something in the outside system at the moment at which it takes the next hold."""
    record = world.payments._record

    def recorded(what: str, **fields: Any) -> Any:
        if what == "hold":
            then()
        return record(what, **fields)

    world.payments._record = recorded  # type: ignore[method-assign]


async def prepared(world: Any) -> Prepared:
    vote = await world.adapter.prepare(call(world, Verb.PREPARE))
    assert isinstance(vote, Prepared), vote
    return vote


async def test_over_http_a_fact_that_changes_with_the_hold_is_in_the_vote(payments: HttpOutside) -> None:
    when_held(payments, lambda: payments.payments._charges["ch_88"].update(amount=7000))
    vote = await prepared(payments)
    assert vote.preview.facts == {"charged": 7000}
    assert vote.preview.before == {"refunded": 0}  # what people see is what stood there before


async def test_over_http_a_hold_whose_facts_cannot_be_seen_now_is_in_doubt_and_voted_on_again(
    payments: HttpOutside,
) -> None:
    when_held(payments, lambda: payments.payments.faults.arm(Fault(on="look", answer="500")))
    with pytest.raises(InDoubt, match="facts could not be seen"):
        await prepared(payments)
    assert await payments.holds() == 1
    assert (await prepared(payments)).preview.facts == {"charged": 5000}
    assert await payments.holds() == 1


async def test_over_http_a_vote_whose_facts_are_gone_carries_none_and_keeps_its_word(payments: HttpOutside) -> None:
    when_held(payments, lambda: payments.payments._charges["ch_88"].update(amount=None, held=0, refunded=0))
    vote = await prepared(payments)
    assert (vote.receipt is not None, vote.preview.facts) == (True, {})


async def test_in_a_database_the_facts_are_those_of_the_rows_that_the_hold_has_locked(empty_dsn: str) -> None:
    table = copy.deepcopy(CRM) | {"lock_timeout_seconds": 5}
    world = await PostgresOutside(empty_dsn, table).start()
    rival = await asyncpg.connect(empty_dsn)
    try:
        async with rival.transaction():
            await rival.execute("update customers set age = 7 where id = '88'")
            voting = asyncio.create_task(prepared(world))
            await until_somebody_waits_for_a_lock(world)
        vote = await voting
        assert vote.preview.facts == {"status": "active", "age": 7}
        assert (vote.preview.before or {})["age"] == (vote.preview.after or {})["age"] == 7
    finally:
        await rival.close()
        await world.stop()


async def test_a_fact_of_another_type_than_declared_is_refused_and_nothing_is_held(empty_dsn: str) -> None:
    table = copy.deepcopy(CRM)
    table["operations"]["update"]["fact_types"] = {"age": "string"}
    world = await PostgresOutside(empty_dsn, table).start()
    try:
        world.table = PostgresTable.model_validate_json(json.dumps(table))
        vote = await world.adapter.prepare(call(world, Verb.PREPARE))
        assert "says about age what is not a text" in getattr(vote, "reason", "")
        assert await world.holds() == 0
    finally:
        await world.stop()


async def until_somebody_waits_for_a_lock(world: PostgresOutside) -> None:
    async with asyncio.timeout(10):
        while not await world.system.fetchval("select count(*) from pg_locks where not granted"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

"""The laws of `adapters/contract.py` for operations that only read: a test's number is its law's."""

import copy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from adapter_worlds import CRM, SECRET, PostgresOutside, call
from payments_world import HttpOutside

from adapters.contract import Absent, Adapter, Prepared, Refused, Result
from adapters.reading import Reader
from adapters.registry import Registry
from ledger.canonical import canonical
from ledger.errors import Permanent, Transient
from ledger.intents import Guarantee, Undo, Verb


class Reading(NamedTuple):
    """A world of the contract suite, and what its reading operation answers there."""

    world: Any
    adapter: Adapter
    answer: dict[str, Any]
    facts: dict[str, Any]
    nothing: dict[str, Any]  # parameters of what does not exist


@pytest.fixture(params=["http", "postgres"])
def dsn(request: pytest.FixtureRequest) -> str | None:
    """Return a database for the one that needs it."""
    return request.getfixturevalue("empty_dsn") if request.param == "postgres" else None


@pytest.fixture
async def read(dsn: str | None, tmp_path: Path) -> AsyncIterator[Reading]:
    world: Any
    if dsn is None:
        world = await HttpOutside("refund", tmp_path / "record").start()
        world.operation, world.params = "payments.charge", {"charge": "ch_88"}
        facts, nothing = {"charged": 5000}, {"charge": "ch_1"}
        answer: dict[str, Any] = {**facts, "refunded": 0}
    else:
        world = await PostgresOutside(dsn).start()
        world.operation, world.params = "crm.customer", {"customer": "88"}
        facts, nothing = {"status": "active", "age": 100}, {"customer": "1"}
        answer = {**facts, "what": "a customer"}
    yield Reading(world, Registry([world.adapter]).adapter(world.operation), answer, facts, nothing)
    await world.stop()


async def test_it_says_what_it_is_and_nothing_of_its_adapter_but_the_preview_can_be_reached(read: Reading) -> None:
    operation = read.adapter.operations[read.world.operation]
    assert (operation.reads, operation.guarantee, operation.undo) == (True, Guarantee.IDEMPOTENT, Undo.EXACT)
    assert isinstance(read.adapter, Reader)
    assert tuple(read.adapter.operations) == (read.world.operation,)


async def test_1_what_is_there_is_prepared_without_a_hold_and_what_is_not_is_refused(read: Reading) -> None:
    vote = await read.adapter.prepare(call(read.world, Verb.PREPARE))
    assert isinstance(vote, Prepared)
    assert (vote.receipt, await read.world.holds()) == (None, 0)
    missing = await read.adapter.prepare(call(read.world, Verb.PREPARE, **read.nothing))
    assert isinstance(missing, Refused)
    assert missing.reason.endswith(".")


async def test_4_and_5_no_verb_has_an_effect_and_a_commit_answers_what_is_there_as_often_as_it_is_sent(
    read: Reading,
) -> None:
    before = await read.world.shown()
    commit = call(read.world, Verb.COMMIT)
    answers = [await read.adapter.commit(commit, None) for _ in range(2)]
    assert answers == [Result(read.answer)] * 2
    await read.adapter.abort(call(read.world, Verb.ABORT), None)
    assert await read.adapter.compensate(call(read.world, Verb.COMPENSATE), None, read.answer) == Result()
    counted = (await read.world.effects(), await read.world.undone(), await read.world.holds())
    assert (await read.world.shown(), counted) == (before, (0, 0, 0))


async def test_9_an_inquiry_finds_no_effect_because_there_is_never_one(read: Reading) -> None:
    await read.adapter.commit(call(read.world, Verb.COMMIT), None)
    assert await read.adapter.inquire(call(read.world, Verb.COMMIT)) == Absent()


async def test_10_whatever_goes_wrong_nothing_happened(read: Reading) -> None:
    with pytest.raises(Permanent):
        await read.adapter.commit(call(read.world, Verb.COMMIT, **read.nothing), None)
    await read.world.break_down()
    other = Registry([await read.world.another()]).adapter(read.world.operation)
    for verb in (other.preview, other.prepare):
        with pytest.raises(Transient):
            await verb(call(read.world, Verb.PREVIEW))
    with pytest.raises(Transient):
        await other.commit(call(read.world, Verb.COMMIT), None)


async def test_11_a_vote_and_a_preview_carry_the_same_facts(read: Reading) -> None:
    vote = await read.adapter.prepare(call(read.world, Verb.PREPARE))
    assert isinstance(vote, Prepared)
    assert vote.preview == await read.adapter.preview(call(read.world, Verb.PREVIEW))
    assert vote.preview.facts == read.facts


async def test_12_nothing_of_what_is_kept_holds_credentials(read: Reading) -> None:
    vote = await read.adapter.prepare(call(read.world, Verb.PREPARE))
    result = await read.adapter.commit(call(read.world, Verb.COMMIT), None)
    assert SECRET.encode() not in canonical([vote, result])


async def test_4_a_query_that_would_change_something_is_not_run(empty_dsn: str) -> None:
    table = copy.deepcopy(CRM)
    table["reads"]["customer"]["query"] = (
        "with gone as (delete from customers where id = :customer returning status, age) select * from gone"
    )
    world = await PostgresOutside(empty_dsn, table).start()
    world.operation, world.params = "crm.customer", {"customer": "88"}
    before = await world.shown()
    vote = await Registry([world.adapter]).adapter("crm.customer").prepare(call(world, Verb.PREPARE))
    try:
        assert isinstance(vote, Refused)
        assert "read-only transaction" in vote.reason
        assert await world.shown() == before
    finally:
        await world.stop()

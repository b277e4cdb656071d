"""The laws of `adapters/contract.py`, one after another, for every adapter: a test's number is its law's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from adapter_worlds import SECRET, UNDO_KEY, World, call
from law import (
    ALL,
    KEEPING_BOTH,
    OUTSIDE,
    RECOGNISING,
    WITHOUT_FACTS,
    WITHOUT_FENCE,
    committed,
    guarantee,
    prepared,
    undoable,
    worlds,
)

from adapters.contract import Absent, Applied, Held, Prepared, Refused, Result, Unknown
from adapters.registry import Registry
from ledger import bounds
from ledger.canonical import canonical
from ledger.errors import AdapterError, InDoubt, Permanent, Transient
from ledger.intents import Guarantee, Undo, Verb


@pytest.fixture
def place(request: pytest.FixtureRequest) -> tuple[str, str | None]:
    """Name the outside system, and a database for the one that needs it."""
    return request.param, request.getfixturevalue("empty_dsn") if "postgres" in request.param else None


@pytest.fixture
async def world(place: tuple[str, str | None], tmp_path: Path) -> AsyncIterator[World]:
    name, dsn = place
    made = OUTSIDE[name][1](dsn, tmp_path)
    world = await made if asyncio.iscoroutine(made) else made
    Registry([world.adapter])  # what the operation declares is in order
    yield world
    await world.stop()


# ── 1. prepare votes ─────────────────────────────────────────────────────────────────────────────────────────────


@worlds()
async def test_1_what_can_happen_is_prepared_and_only_a_hold_has_a_receipt(world: World) -> None:
    vote = await prepared(world)
    assert (vote.receipt is not None) is (guarantee(world) is Guarantee.ATOMIC)


@worlds()
async def test_1_what_cannot_happen_is_refused_with_a_sentence_and_nothing_is_held(world: World) -> None:
    vote = await world.adapter.prepare(call(world, Verb.PREPARE, **world.refusable))
    assert isinstance(vote, Refused)
    assert vote.reason.endswith(".")
    assert await world.holds() == 0


@worlds({Guarantee.ATOMIC}, where=lambda name: name not in KEEPING_BOTH)
async def test_1_a_promise_is_kept_though_another_wants_the_same(world: World) -> None:
    first = await prepared(world)
    rival = call(world, Verb.PREPARE, key="rival")
    with suppress(Transient):  # it may try again when the hold is gone
        assert isinstance(await world.adapter.prepare(rival), Refused)
    await world.adapter.commit(call(world, Verb.COMMIT), first.receipt)
    assert await world.effects() == 1


# ── 2. a hold survives ───────────────────────────────────────────────────────────────────────────────────────────


@worlds({Guarantee.ATOMIC})
async def test_2_a_hold_outlives_the_process_that_took_it(world: World) -> None:
    vote = await prepared(world)
    await world.adapter.close()
    other = await world.another()
    assert await other.inquire(call(world, Verb.COMMIT)) == Held(vote.receipt)
    await other.commit(call(world, Verb.COMMIT, epoch=2), vote.receipt)
    assert (await world.effects(), await world.holds()) == (1, 0)


# ── 3. prepare can be repeated ───────────────────────────────────────────────────────────────────────────────────


@worlds({Guarantee.ATOMIC})
async def test_3_a_repeated_prepare_gives_the_same_receipt_and_no_second_hold(world: World) -> None:
    first = await prepared(world)
    again = await prepared(world, epoch=2)
    assert again.receipt == first.receipt
    assert await world.holds() == 1


@worlds({Guarantee.ATOMIC})
async def test_3_a_prepare_whose_answer_was_lost_can_be_repeated(world: World) -> None:
    await world.lose_answer(Verb.PREPARE)
    with pytest.raises(InDoubt):
        await world.adapter.prepare(call(world, Verb.PREPARE))
    assert await world.holds() == 1
    vote = await prepared(world)
    await world.adapter.commit(call(world, Verb.COMMIT), vote.receipt)
    assert (await world.effects(), await world.holds()) == (1, 0)


@worlds({Guarantee.ATOMIC})
async def test_3_two_prepares_at_the_same_time_take_one_hold(world: World) -> None:
    other = await world.another()
    votes = await asyncio.gather(
        world.adapter.prepare(call(world, Verb.PREPARE)),
        other.prepare(call(world, Verb.PREPARE, epoch=1)),
        return_exceptions=True,
    )
    assert all(isinstance(vote, Prepared | Transient | InDoubt) for vote in votes), votes
    assert await world.holds() == 1
    receipts = [vote.receipt for vote in votes if isinstance(vote, Prepared)]
    assert receipts.count((await prepared(world)).receipt) == len(receipts)


# ── 4. nothing happens before commit ─────────────────────────────────────────────────────────────────────────────


@worlds()
async def test_4_neither_preview_nor_prepare_can_be_seen(world: World) -> None:
    before = await world.shown()
    await world.adapter.preview(call(world, Verb.PREVIEW))
    await prepared(world)
    assert await world.shown() == before
    assert await world.effects() == 0


# ── 5. commit can be repeated ────────────────────────────────────────────────────────────────────────────────────


@worlds()
async def test_5_a_commit_has_one_effect(world: World) -> None:
    await committed(world)
    assert (await world.effects(), await world.holds()) == (1, 0)


@worlds(RECOGNISING)
async def test_5_a_repeated_commit_gives_the_same_result_and_no_second_effect(world: World) -> None:
    vote, first = await committed(world)
    other = await world.another()
    again = await other.commit(call(world, Verb.COMMIT, epoch=2), vote.receipt)
    assert (again, await world.effects()) == (first, 1)


@worlds(RECOGNISING)
async def test_5_a_commit_whose_answer_was_lost_can_be_repeated(world: World) -> None:
    vote = await prepared(world)
    await world.lose_answer(Verb.COMMIT)
    with pytest.raises(InDoubt):
        await world.adapter.commit(call(world, Verb.COMMIT), vote.receipt)
    await world.adapter.commit(call(world, Verb.COMMIT), vote.receipt)
    assert await world.effects() == 1


@worlds(RECOGNISING)
async def test_5_two_commits_at_the_same_time_have_one_effect(world: World) -> None:
    vote = await prepared(world)
    other = await world.another()
    answers = await asyncio.gather(
        world.adapter.commit(call(world, Verb.COMMIT), vote.receipt),
        other.commit(call(world, Verb.COMMIT), vote.receipt),
        return_exceptions=True,
    )
    assert all(isinstance(answer, Result | Transient | InDoubt) for answer in answers), answers
    await world.adapter.commit(call(world, Verb.COMMIT), vote.receipt)
    assert await world.effects() == 1


@worlds({Guarantee.ATOMIC})
async def test_5_a_commit_that_is_refused_for_good_never_took_effect_and_never_will(world: World) -> None:
    vote = await prepared(world)
    await world.adapter.abort(call(world, Verb.ABORT), vote.receipt)
    with pytest.raises(Permanent):
        await world.adapter.commit(call(world, Verb.COMMIT), vote.receipt)
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE)), Refused)
    assert await world.effects() == 0


# ── 6. abort always ends ─────────────────────────────────────────────────────────────────────────────────────────


@worlds({Guarantee.ATOMIC})
@pytest.mark.parametrize("with_receipt", [True, False])
async def test_6_an_abort_releases_the_hold_leaves_no_trace_and_can_be_repeated(
    world: World, with_receipt: bool
) -> None:
    before = await world.shown()
    vote = await prepared(world)
    receipt = vote.receipt if with_receipt else None
    await world.adapter.abort(call(world, Verb.ABORT), receipt)
    await world.adapter.abort(call(world, Verb.ABORT, epoch=2), receipt)
    assert (await world.holds(), await world.effects(), await world.shown()) == (0, 0, before)
    assert await world.adapter.inquire(call(world, Verb.COMMIT)) == Absent()
    await prepared(world, key="another-action")  # what was held is free again


@worlds({Guarantee.ATOMIC})
async def test_6_an_abort_that_overtakes_its_prepare_wins(world: World) -> None:
    await world.adapter.abort(call(world, Verb.ABORT), None)
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE)), Refused)
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE, epoch=9)), Refused)
    assert await world.holds() == 0


@worlds({Guarantee.ATOMIC})
async def test_6_an_abort_that_races_its_prepare_leaves_nothing_held(world: World) -> None:
    other = await world.another()
    vote, aborted = await asyncio.gather(
        world.adapter.prepare(call(world, Verb.PREPARE)),
        other.abort(call(world, Verb.ABORT, epoch=2), None),
        return_exceptions=True,
    )
    assert isinstance(vote, Prepared | Refused | Transient), vote
    if aborted is not None:
        assert isinstance(aborted, Transient | InDoubt), aborted
        await other.abort(call(world, Verb.ABORT, epoch=2), None)
    assert await world.holds() == 0
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE, epoch=3)), Refused)


@worlds({Guarantee.ATOMIC})
async def test_6_an_abort_whose_answer_was_lost_can_be_repeated(world: World) -> None:
    vote = await prepared(world)
    await world.lose_answer(Verb.ABORT)
    with pytest.raises(InDoubt):
        await world.adapter.abort(call(world, Verb.ABORT), vote.receipt)
    await world.adapter.abort(call(world, Verb.ABORT), vote.receipt)
    assert await world.holds() == 0
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE)), Refused)


# ── 7. a stale epoch changes nothing ─────────────────────────────────────────────────────────────────────────────


@worlds({Guarantee.ATOMIC}, where=lambda name: name not in WITHOUT_FENCE)
async def test_7_a_prepare_from_a_process_that_was_overtaken_is_refused(world: World) -> None:
    vote = await prepared(world, epoch=5)
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE, epoch=4)), Refused)
    assert await world.holds() == 1
    await world.adapter.commit(call(world, Verb.COMMIT, epoch=5), vote.receipt)
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE, epoch=4)), Refused)
    assert (await world.effects(), await world.holds()) == (1, 0)


@worlds({Guarantee.ATOMIC}, where=lambda name: name not in WITHOUT_FENCE)
async def test_7_between_two_processes_that_prepared_the_same_a_stale_one_changes_nothing(world: World) -> None:
    # a hold in a database keeps the epoch it was taken under, so there the answer may be the receipt that stands
    first = await prepared(world, epoch=3)
    assert (await prepared(world, epoch=5)).receipt == first.receipt
    vote = await world.adapter.prepare(call(world, Verb.PREPARE, epoch=4))
    assert isinstance(vote, Refused) or vote.receipt == first.receipt
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE, epoch=2)), Refused)
    assert (await world.holds(), await world.effects()) == (1, 0)


@worlds({Guarantee.ATOMIC}, where=lambda name: name.startswith("reference"))
async def test_7_the_newest_epoch_seen_counts_and_not_the_one_of_the_hold(world: World) -> None:
    await prepared(world, epoch=3)
    await prepared(world, epoch=5)
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE, epoch=4)), Refused)


# ── 8. compensate undoes once ────────────────────────────────────────────────────────────────────────────────────


@worlds(where=undoable)
async def test_8_a_compensation_undoes_once_and_an_exact_one_restores_what_was_shown(world: World) -> None:
    before = await world.shown()
    vote, result = await committed(world)
    await world.adapter.compensate(call(world, Verb.COMPENSATE), vote.receipt, result.data)
    assert (await world.effects(), await world.undone()) == (1, 1)
    if world.adapter.operations[world.operation].undo is Undo.EXACT:
        assert await world.shown() == before


@worlds(RECOGNISING, where=undoable)
async def test_8_a_repeated_compensation_gives_the_same_result(world: World) -> None:
    vote, result = await committed(world)
    first = await world.adapter.compensate(call(world, Verb.COMPENSATE), vote.receipt, result.data)
    other = await world.another()
    again = await other.compensate(call(world, Verb.COMPENSATE, epoch=2), vote.receipt, result.data)
    assert (again, await world.undone()) == (first, 1)


@worlds(RECOGNISING, where=undoable)
async def test_8_a_compensation_whose_answer_was_lost_can_be_repeated(world: World) -> None:
    vote, result = await committed(world)
    await world.lose_answer(Verb.COMPENSATE)
    with pytest.raises(InDoubt):
        await world.adapter.compensate(call(world, Verb.COMPENSATE), vote.receipt, result.data)
    await world.adapter.compensate(call(world, Verb.COMPENSATE), vote.receipt, result.data)
    assert await world.undone() == 1


# ── 9. inquire tells the truth ───────────────────────────────────────────────────────────────────────────────────


@worlds(ALL - {Guarantee.BLIND})
async def test_9_inquire_tells_absent_held_applied_and_changes_nothing(world: World) -> None:
    asked = call(world, Verb.COMMIT)
    assert await world.adapter.inquire(asked) == Absent()
    vote = await prepared(world)
    if vote.receipt is not None:
        assert isinstance(await world.adapter.inquire(asked), Held)
    assert await world.effects() == 0
    result = await world.adapter.commit(asked, vote.receipt)
    standing = await world.adapter.inquire(asked)
    assert isinstance(standing, Applied)
    assert standing.result == result or standing.result.data["id"] == result.data["id"]  # a search shows it otherwise
    assert await world.effects() == 1


@worlds(ALL - {Guarantee.BLIND}, where=undoable)
async def test_9_inquire_tells_about_compensations_too(world: World) -> None:
    vote, result = await committed(world)
    asked = call(world, Verb.COMPENSATE)
    assert await world.adapter.inquire(asked) == Absent()
    await world.adapter.compensate(asked, vote.receipt, result.data)
    assert isinstance(await world.adapter.inquire(asked), Applied)
    assert await world.undone() == 1


@worlds({Guarantee.BLIND})
async def test_9_who_cannot_be_asked_says_so(world: World) -> None:
    await committed(world)
    assert isinstance(await world.adapter.inquire(call(world, Verb.COMMIT)), Unknown)


@worlds({Guarantee.VERIFIABLE})
async def test_9_a_commit_in_doubt_is_found_by_asking(world: World) -> None:
    await prepared(world)
    await world.lose_answer(Verb.COMMIT)
    with pytest.raises(InDoubt):
        await world.adapter.commit(call(world, Verb.COMMIT), None)
    assert isinstance(await world.adapter.inquire(call(world, Verb.COMMIT)), Applied)
    assert await world.effects() == 1


# ── 10. errors mean what they say ────────────────────────────────────────────────────────────────────────────────


@worlds(where=lambda name: not name.startswith("reference"))
async def test_10_what_was_never_sent_is_transient(world: World) -> None:
    vote = await prepared(world)
    other = await world.another()  # a connection that stands and breaks would leave a doubt, and rightly
    await world.break_down()
    with pytest.raises(Transient):
        await other.commit(call(world, Verb.COMMIT), vote.receipt)
    assert await world.effects() == 0


@worlds()
async def test_10_a_lost_answer_is_in_doubt_because_the_effect_is_there(world: World) -> None:
    vote = await prepared(world)
    await world.lose_answer(Verb.COMMIT)
    with pytest.raises(InDoubt):
        await world.adapter.commit(call(world, Verb.COMMIT), vote.receipt)
    assert await world.effects() == 1


# ── 11. preview only looks ───────────────────────────────────────────────────────────────────────────────────────


@worlds()
async def test_11_facts_are_those_that_were_declared_and_come_from_the_system(world: World) -> None:
    before = await world.shown()
    preview = await world.adapter.preview(call(world, Verb.PREVIEW))
    declared = world.adapter.operations[world.operation].facts
    assert tuple(preview.facts) == declared
    expected = {"balance": 100, "status": "active", "age": 100, "charged": 5000}
    expected |= getattr(world, "facts", {})
    assert preview.facts == {fact: expected[fact] for fact in declared}
    assert await world.shown() == before


@worlds(where=lambda name: name not in WITHOUT_FACTS)
async def test_11_the_vote_carries_the_facts_that_it_saw_and_not_those_of_the_preview(world: World) -> None:
    seen = (await world.adapter.preview(call(world, Verb.PREVIEW))).facts
    await world.change_a_fact()
    vote = await prepared(world)
    assert vote.preview.facts == (await world.adapter.preview(call(world, Verb.PREVIEW))).facts != seen
    assert tuple(vote.preview.facts) == world.adapter.operations[world.operation].facts


@worlds({Guarantee.ATOMIC}, where=lambda name: name not in WITHOUT_FACTS)
async def test_11_a_repeated_vote_carries_the_facts_as_they_are_then(world: World) -> None:
    first = await prepared(world)
    assert (await prepared(world)).preview.facts == first.preview.facts


# ── 12. nothing leaks ────────────────────────────────────────────────────────────────────────────────────────────


@worlds(where=undoable)
async def test_12_what_is_kept_is_json_within_bounds_and_holds_no_credentials(world: World) -> None:
    vote, result = await committed(world)
    undone = await world.adapter.compensate(call(world, Verb.COMPENSATE), vote.receipt, result.data)
    standing = await world.adapter.inquire(call(world, Verb.COMPENSATE, key=UNDO_KEY))
    refused = await world.adapter.prepare(call(world, Verb.PREPARE, key="refused", **world.refusable))
    kept = canonical([vote, result, undone, standing, refused])
    assert SECRET.encode() not in kept
    assert len(kept) < bounds.ANSWER_BYTES


@worlds(where=lambda name: not name.startswith("reference"))
async def test_12_what_is_said_about_a_system_that_is_down_holds_no_credentials(world: World) -> None:
    await world.break_down()
    gone, done = {"id": "x", "gid": "x"}, {"id": "x", "captured": {"status": "active"}}
    answers = await asyncio.gather(
        world.adapter.prepare(call(world, Verb.PREPARE)),
        world.adapter.commit(call(world, Verb.COMMIT), gone),
        world.adapter.compensate(call(world, Verb.COMPENSATE), None, done),
        return_exceptions=True,
    )
    said = [answer.message for answer in answers if isinstance(answer, AdapterError)]
    assert len(said) >= 2
    assert not any(SECRET in sentence for sentence in said)

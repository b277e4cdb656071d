"""Card payments at Stripe on bad days: lost answers, stored errors, forgotten keys, short holds, a killed server.

What happened is read from the simulator's own record, never from the adapter.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from adapter_worlds import UNDO_KEY, call
from servers.stripe_books import DAY
from servers.stripe_simulator import Server
from stripe_world import StripeOutside

from adapters.contract import Absent, Held, Prepared, Refused
from ledger.errors import InDoubt, Permanent, Transient
from ledger.intents import Verb

PAYMENTS = "POST /v1/payment_intents"
CAPTURE = "POST /v1/payment_intents/{id}/capture"
CANCEL = "POST /v1/payment_intents/{id}/cancel"


@pytest.fixture
async def world() -> AsyncIterator[StripeOutside]:
    world = await StripeOutside("pay").start()
    yield world
    await world.stop()


async def prepare(world, **changed):
    return await world.adapter.prepare(call(world, Verb.PREPARE, **changed))


async def held(world):
    vote = await prepare(world)
    assert isinstance(vote, Prepared), vote
    return vote


def abort(world, receipt=None, epoch=1):
    return world.adapter.abort(call(world, Verb.ABORT, epoch=epoch), receipt)


def commit(world, receipt, epoch=1):
    return world.adapter.commit(call(world, Verb.COMMIT, epoch=epoch), receipt)


# ── an abort that knows nothing but the key ──────────────────────────────────────────────────────────────────────


async def test_a_hold_whose_answer_was_lost_is_let_go_by_the_key_alone(world) -> None:
    world.arm(PAYMENTS, "lose")
    with pytest.raises(InDoubt):
        await prepare(world)
    assert await world.holds() == 1
    await abort(world)
    assert (await world.holds(), world.happened("let go")) == (0, 1)
    assert isinstance(await prepare(world), Refused)
    assert await world.holds() == 0


async def test_a_tombstone_never_touches_the_card(world) -> None:
    await abort(world)
    assert isinstance(await prepare(world), Refused)
    assert [world.happened(what) for what in ("held", "charge made", "declined")] == [0, 0, 0]
    assert world.happened("payment made") == world.happened("let go") == 1


async def test_an_error_that_may_hide_a_prepare_under_way_does_not_end_its_abort(world) -> None:
    world.arm(PAYMENTS, "late", seconds=0.8)
    under_way = asyncio.create_task(prepare(world))
    await world.arrival(PAYMENTS)
    world.arm(PAYMENTS, "503", skip=1)  # the tombstone is answered, the repetition is not
    with pytest.raises(InDoubt):
        await abort(world)
    assert isinstance(await under_way, Prepared)
    await abort(world)
    assert await world.holds() == 0


@pytest.mark.parametrize("busy_first", [True, False])
async def test_an_abort_waits_for_the_prepare_that_stripe_is_carrying_out(world, busy_first) -> None:
    world.server.tell(world.account, "POST", {"busy_first": busy_first})
    world.arm(PAYMENTS, "late", seconds=0.8)
    under_way = asyncio.create_task(prepare(world))
    await world.arrival(PAYMENTS)
    with pytest.raises(Transient, match="in-progress"):
        await abort(world)
    assert isinstance(await under_way, Prepared)
    await abort(world)
    assert await world.holds() == 0


async def test_a_hold_is_let_go_after_stripe_has_forgotten_its_key(world) -> None:
    world.arm(PAYMENTS, "lose")
    with pytest.raises(InDoubt):
        await prepare(world)
    world.later(DAY + 60)
    await abort(world)
    assert (await world.holds(), world.happened("held")) == (0, 1)


async def test_a_hold_is_found_behind_a_thousand_payments_of_its_customer(world) -> None:
    world.arm(PAYMENTS, "lose")
    with pytest.raises(InDoubt):
        await prepare(world)
    world.later(DAY + 60)
    paid = world.object("pi_88") | {"created": world.now()}
    world.give(*(paid | {"id": f"pi_9{number:04d}"} for number in range(1000)))
    assert isinstance(await world.adapter.inquire(call(world, Verb.COMMIT)), Held)
    await abort(world)
    assert (await world.holds(), world.happened("held")) == (0, 1)


async def test_an_abort_whose_tombstone_was_lost_or_failed_can_be_repeated(world) -> None:
    for answer in ("lose", "500 after"):
        world.arm(PAYMENTS, answer)
    with pytest.raises(InDoubt):
        await abort(world)
    await abort(world)
    assert isinstance(await prepare(world), Refused)
    assert (await world.holds(), world.happened("held")) == (0, 0)


async def test_where_stripe_refuses_what_is_asked_there_is_nothing_to_let_go(world) -> None:
    world.params = world.params | {"customer": "cus_nobody"}
    vote = await prepare(world)
    assert isinstance(vote, Refused)
    assert "No such customer" in vote.reason
    await abort(world)
    assert await world.holds() == 0


# ── a prepare on a bad day ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_hold_behind_a_stored_500_is_found_at_once(world) -> None:
    world.arm(PAYMENTS, "500 after")
    vote = await held(world)
    assert vote.receipt == (await held(world)).receipt
    assert (await world.holds(), world.happened("held")) == (1, 1)


async def test_a_stored_500_without_a_hold_is_a_doubt_and_its_abort_ends(world) -> None:
    world.arm(PAYMENTS, "500 before")
    for _ in range(2):  # Stripe repeats it
        with pytest.raises(InDoubt):
            await prepare(world)
    await abort(world)
    assert isinstance(await world.adapter.inquire(call(world, Verb.COMMIT)), Absent)
    assert world.happened("held") == 0


async def test_a_hold_that_cannot_be_looked_at_again_is_a_doubt_and_not_a_failure(world) -> None:
    await held(world)
    world.arm("GET /v1/payment_intents/{id}", "429")
    with pytest.raises(InDoubt):
        await prepare(world)
    assert await world.holds() == 1


@pytest.mark.parametrize(("card", "said"), [("pm_declined", "declined"), ("pm_asks", "authentication")])
async def test_a_card_that_is_declined_or_asks_its_owner_is_refused(world, card, said) -> None:
    first, again = [await prepare(world, payment_method=card) for _ in range(2)]
    assert isinstance(first, Refused)
    assert said in first.reason
    assert first == again
    assert world.happened("declined") == 1
    world.params = world.params | {"payment_method": card}
    await abort(world)  # nothing is left that somebody could confirm later
    assert {one["status"] for one in world.shows()["objects"].values() if one.get("capture_method")} == {"canceled"}


async def test_a_card_that_holds_for_less_than_promised_is_refused_and_let_go(world) -> None:
    for _ in range(2):
        vote = await prepare(world, payment_method="pm_brief")
        assert isinstance(vote, Refused)
        assert await world.holds() == 0
    assert world.happened("let go") == 1


# ── commit ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stored_500_of_a_capture_is_not_inherited_by_the_next_process(world) -> None:
    vote = await held(world)
    world.arm(CAPTURE, "500 before")
    for _ in range(2):
        with pytest.raises(InDoubt):
            await commit(world, vote.receipt)
    await commit(world, vote.receipt, epoch=2)
    assert (await world.effects(), await world.holds()) == (1, 0)


async def test_what_was_taken_behind_a_stored_500_is_seen_and_not_taken_again(world) -> None:
    vote = await held(world)
    world.arm(CAPTURE, "500 after")
    with pytest.raises(InDoubt):
        await commit(world, vote.receipt)
    result = await commit(world, vote.receipt)
    assert result.data == vote.receipt
    assert (await world.effects(), world.shows()["seen"].count(CAPTURE)) == (1, 1)


async def test_a_hold_that_has_run_out_fails_for_good_and_nothing_was_taken(world) -> None:
    vote = await held(world)
    world.later(7 * DAY + 1)
    with pytest.raises(Permanent, match="canceled"):
        await commit(world, vote.receipt)
    await abort(world, vote.receipt)
    assert await world.adapter.inquire(call(world, Verb.COMMIT)) == Absent()
    assert (await world.effects(), world.happened("expired")) == (0, 1)


async def test_a_hold_is_there_for_as_long_as_it_is_promised(world) -> None:
    vote = await held(world)
    world.later(world.adapter.operations["stripe.pay"].hold_seconds - 60)
    await commit(world, vote.receipt)
    assert await world.effects() == 1


async def test_a_bank_that_will_not_pay_what_it_held_is_a_failure_and_the_hold_is_let_go(world) -> None:
    vote = await held(world)
    world.arm(CAPTURE, "402")
    with pytest.raises(Permanent, match="402"):
        await commit(world, vote.receipt)
    await abort(world, vote.receipt)
    assert (await world.effects(), await world.holds()) == (0, 0)


async def test_a_hold_of_another_amount_than_was_asked_for_is_not_promised(world) -> None:
    vote = await held(world)
    world.give(world.object(vote.receipt["id"]) | {"amount": 4100})
    with pytest.raises(InDoubt, match="not what was asked for"):
        await prepare(world)


async def test_a_hold_that_ends_between_look_and_capture_is_no_effect(world) -> None:
    vote = await held(world)
    world.arm(CAPTURE, "late", seconds=0.3)
    under_way = asyncio.create_task(commit(world, vote.receipt))
    await world.arrival(CAPTURE)
    await (await world.another()).abort(call(world, Verb.ABORT, epoch=2), vote.receipt)
    with pytest.raises(Permanent):
        await under_way
    assert await world.effects() == 0


async def test_what_was_taken_cannot_be_let_go(world) -> None:
    vote = await held(world)
    await commit(world, vote.receipt)
    for receipt in (vote.receipt, None):
        with pytest.raises(Permanent, match="taken already"):
            await abort(world, receipt)
    assert isinstance(await prepare(world), Refused)
    assert (await world.effects(), world.happened("held")) == (1, 1)


async def test_an_api_key_of_another_account_makes_a_doubt_and_not_a_failure(world) -> None:
    vote = await held(world)
    mine, world.account = world.account, f"{world.account}_other"
    world.give()
    for verb in (commit(world, vote.receipt), abort(world, vote.receipt)):
        with pytest.raises(InDoubt, match="No such payment_intent"):
            await verb
    world.account = mine  # the credential is asked for each request
    await commit(world, vote.receipt)
    assert await world.effects() == 1


# ── the way back ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_compensation_is_not_made_again_after_stripe_has_forgotten_its_key(world) -> None:
    vote = await held(world)
    result = await commit(world, vote.receipt)
    undo = call(world, Verb.COMPENSATE)
    first = await world.adapter.compensate(undo, vote.receipt, result.data)
    world.later(DAY + 60)
    assert await world.adapter.compensate(undo, vote.receipt, result.data) == first
    assert (await world.undone(), first.data["amount"]) == (1, 4200)


async def test_what_was_given_back_by_hand_is_not_given_back_again(world) -> None:
    vote = await held(world)
    result = await commit(world, vote.receipt)
    by_hand = call(world, Verb.COMPENSATE, key=f"{UNDO_KEY}-by-hand")
    await world.adapter._account.refund(by_hand, result.data["id"], 1000)
    with pytest.raises(Permanent, match="greater than unrefunded"):
        await world.adapter.compensate(call(world, Verb.COMPENSATE), vote.receipt, result.data)
    assert await world.undone() == 1


# ── the other side ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_hold_outlives_a_kill_of_the_system_that_keeps_it(tmp_path) -> None:
    world = StripeOutside("pay")
    world.server = Server(tmp_path / "record")
    world.table |= {"url": world.server.url}
    await world.start()
    try:
        vote = await held(world)
        world.server.kill()
        with pytest.raises(Transient):
            await commit(world, vote.receipt)
        world.server.start()
        assert await world.adapter.inquire(call(world, Verb.COMMIT)) == Held(vote.receipt)
        assert (await held(world)).receipt == vote.receipt
        await commit(world, vote.receipt)
        assert (await world.effects(), world.happened("held")) == (1, 1)
    finally:
        await world.stop()
        world.server.kill()


async def test_a_key_used_by_many_at_once_takes_one_hold(world) -> None:
    other = await world.another()
    calls = [one.prepare(call(world, Verb.PREPARE)) for one in (world.adapter, other, world.adapter, other)]
    votes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(vote, Prepared | Transient) for vote in votes), votes
    assert (await world.holds(), world.happened("held")) == (1, 1)


async def test_no_request_says_more_than_it_must(world) -> None:
    vote = await held(world)
    await commit(world, vote.receipt)
    sent = set(world.shows()["headers"])
    assert not any("telemetry" in name or "client" in name for name in sent), sent
    assert {"authorization", "idempotency-key", "stripe-version"} <= sent

"""Refunds and subscriptions at Stripe on bad days, what its errors mean for each verb, and what can be looked at."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from adapter_worlds import KEY, SECRET, UNDO_KEY, call
from servers.stripe_books import DAY
from stripe_world import StripeOutside

from adapters.contract import Absent, Applied, Prepared, Refused, Unknown
from ledger.errors import InDoubt, Permanent, Transient
from ledger.intents import Verb

REFUNDS = "POST /v1/refunds"
SUBSCRIPTION = "POST /v1/subscriptions/{id}"
VERBS = ("pay", "refund", "cancel_subscription", "end_subscription")


@pytest.fixture
async def world(request) -> AsyncIterator[StripeOutside]:
    verb, table = request.param if isinstance(request.param, tuple) else (request.param, {})
    world = await StripeOutside(verb, **table).start()
    yield world
    await world.stop()


def at(*places):
    return pytest.mark.parametrize("world", places, indirect=True)


def prepare(world, **changed):
    return world.adapter.prepare(call(world, Verb.PREPARE, **changed))


def commit(world, receipt=None, **more):
    return world.adapter.commit(call(world, Verb.COMMIT, **more), receipt)


def undo(world, result, key=UNDO_KEY):
    return world.adapter.compensate(call(world, Verb.COMPENSATE, key=key), None, result.data)


def change(world, name, **changed):
    world.give(world.object(name) | changed)


# ── refunds ──────────────────────────────────────────────────────────────────────────────────────────────────────


@at("refund")
async def test_the_facts_of_a_refund_are_those_of_stripe_and_its_clock(world) -> None:
    preview = await world.adapter.preview(call(world, Verb.PREVIEW))
    assert preview.facts["customer_age_days"] == 100
    world.later(DAY)  # the clock of Stripe; ours stands where it stood
    seen = (await world.adapter.preview(call(world, Verb.PREVIEW))).facts
    assert seen["customer_age_days"] == 101
    await commit(world)
    assert (await world.adapter.preview(call(world, Verb.PREVIEW))).facts == seen | {"refundable": 800}


@at("refund")
@pytest.mark.parametrize("gone", ["nobody", "deleted"])
async def test_who_has_no_account_is_as_new_as_one_can_be(world, gone) -> None:
    change(world, "pi_88", customer=None if gone == "nobody" else "cus_88")
    world.give({"id": "cus_88", "object": "customer", "deleted": True})
    facts = (await world.adapter.preview(call(world, Verb.PREVIEW))).facts
    assert (facts["customer_age_days"], facts["customer"]) == (0, "" if gone == "nobody" else "cus_88")


@at("refund")
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"currency": "EUR"}, "USD, not in EUR"),
        ({"amount": 5001}, "only 5000"),
        ({"payment": "pi_404"}, "No such payment_intent"),
        ({"payment": "ch_404"}, "No such charge"),
    ],
)
async def test_a_refund_that_stripe_would_refuse_is_refused_before_it_is_asked(world, changed, said) -> None:
    vote = await prepare(world, **changed)
    assert isinstance(vote, Refused)
    assert said in vote.reason
    assert REFUNDS not in world.shows()["seen"]


@at("refund")
@pytest.mark.parametrize(
    ("changed", "said"),
    [({"disputed": True}, "disputed"), ({"captured": False}, "not taken"), ({"status": "failed"}, "not")],
)
async def test_a_charge_that_gives_nothing_back_is_refused(world, changed, said) -> None:
    change(world, "ch_88", **changed)
    vote = await prepare(world)
    assert isinstance(vote, Refused)
    assert said in vote.reason


@at("refund")
async def test_a_charge_without_a_payment_is_given_back_too(world) -> None:
    world.params = world.params | {"payment": "ch_88"}
    vote = await prepare(world)
    assert isinstance(vote, Prepared)
    result = await commit(world)
    assert result.data["payment"] == "ch_88"
    assert await world.adapter.inquire(call(world, Verb.COMMIT)) == Applied(result)


@at("refund")
async def test_a_refund_behind_a_stored_500_is_found_by_its_mark(world) -> None:
    world.arm(REFUNDS, "500 after")
    with pytest.raises(InDoubt):
        await commit(world)
    await commit(world)
    assert (await world.effects(), world.shows()["seen"].count(REFUNDS)) == (1, 1)


@at("refund")
async def test_a_stored_500_without_a_refund_stays_a_doubt(world) -> None:
    world.arm(REFUNDS, "500 before")
    for _ in range(2):
        with pytest.raises(InDoubt):
            await commit(world)
    assert await world.adapter.inquire(call(world, Verb.COMMIT)) == Absent()
    assert await world.effects() == 0


@at("refund")
async def test_a_refund_is_not_repeated_when_stripe_has_forgotten_its_key(world) -> None:
    first = await commit(world)
    world.later(DAY + 60)
    assert await commit(world) == first
    assert await world.effects() == 1


@at("refund")
async def test_a_refund_that_fails_at_the_bank_is_no_effect_and_says_so(world) -> None:
    result = await commit(world)
    change(world, result.data["id"], status="failed")
    with pytest.raises(Permanent, match="failed"):
        await commit(world)
    assert isinstance(await world.adapter.inquire(call(world, Verb.COMMIT)), Unknown)


@at("refund")
async def test_a_refund_among_hundreds_is_found(world) -> None:
    await commit(world)
    others = [
        {
            "id": f"re_9{number:03d}",
            "object": "refund",
            "created": world.now(),
            "payment_intent": "pi_88",
            "metadata": {},
        }
        for number in range(230)
    ]
    world.give(*others)
    assert isinstance(await world.adapter.inquire(call(world, Verb.COMMIT)), Applied)
    assert world.shows()["seen"].count("GET /v1/refunds") == 1 + 3


@at("refund")
async def test_a_refund_cannot_be_undone_and_nothing_is_sent(world) -> None:
    result = await commit(world)
    before = world.shows()["seen"]
    with pytest.raises(Permanent, match="Nothing was sent"):
        await undo(world, result)
    assert world.shows()["seen"] == before


# ── subscriptions ────────────────────────────────────────────────────────────────────────────────────────────────


@at("cancel_subscription")
async def test_an_undo_restores_what_a_subscription_showed(world) -> None:
    before = world.object("sub_88")
    result = await commit(world)
    assert world.object("sub_88")["cancel_at_period_end"]
    await undo(world, result)
    after = world.object("sub_88")
    assert after | {"metadata": {}} == before
    assert after["metadata"] == {"intent_ledger_key": UNDO_KEY}  # the mark of who was here last


@at("cancel_subscription")
async def test_a_commit_that_comes_late_does_not_undo_the_undo(world) -> None:
    world.arm(SUBSCRIPTION, "late", seconds=0.3)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await commit(world)
    result = await until_answered(lambda: commit(world))
    await undo(world, result)
    await world.adapter._account.let_run_out(call(world, Verb.COMMIT), "sub_88", out=True)  # as one on its way would
    assert not world.object("sub_88")["cancel_at_period_end"]


@at("cancel_subscription")
async def test_what_somebody_else_cancelled_is_not_ours_to_take_back(world) -> None:
    rival = call(world, Verb.COMMIT, key="rival")
    await world.adapter.commit(rival, None)
    vote = await prepare(world)
    assert isinstance(vote, Refused)
    assert "to end already" in vote.reason
    with pytest.raises(Permanent, match="to end already"):
        await commit(world)
    assert (await world.effects(), world.object("sub_88")["metadata"]) == (1, {"intent_ledger_key": "rival"})


@at("cancel_subscription")
async def test_an_undo_leaves_alone_what_was_changed_since(world) -> None:
    result = await commit(world)
    change(world, "sub_88", metadata={"intent_ledger_key": "another action"})
    with pytest.raises(Permanent, match="changed again since"):
        await undo(world, result)
    assert world.object("sub_88")["cancel_at_period_end"]


@at("cancel_subscription")
async def test_what_has_run_out_cannot_be_taken_back(world) -> None:
    result = await commit(world)
    world.later(21 * DAY)
    with pytest.raises(Permanent, match="canceled already"):
        await undo(world, result)
    assert await commit(world) == result  # a late repetition still says what it did
    assert await world.undone() == 0


@at("cancel_subscription")
async def test_a_subscription_that_follows_a_schedule_is_refused(world) -> None:
    change(world, "sub_88", schedule="sub_sched_1")
    vote = await prepare(world)
    assert isinstance(vote, Refused)
    assert "schedule" in vote.reason


@at("end_subscription")
async def test_an_end_is_known_by_its_mark_for_ever(world) -> None:
    world.arm("DELETE /v1/subscriptions/{id}", "lose")
    with pytest.raises(InDoubt):
        await commit(world)
    world.later(400 * DAY)
    assert (await commit(world)).data == {"id": "sub_88"}
    assert await world.effects() == 1
    with pytest.raises(Permanent, match="canceled already"):
        await commit(world, key="rival")
    with pytest.raises(Permanent, match="cannot be begun again"):
        await undo(world, await commit(world))


@at("end_subscription")
async def test_what_is_missing_though_it_was_there_is_a_doubt_until_it_is_looked_at(world) -> None:
    world.arm(Verb.COMMIT, "late", seconds=0.4)
    under_way = asyncio.create_task(commit(world))
    await world.arrival("DELETE /v1/subscriptions/{id}")
    await commit(world, key="rival")
    with pytest.raises(InDoubt, match="No such subscription"):
        await under_way
    with pytest.raises(Permanent, match="canceled already"):
        await commit(world)
    assert await world.effects() == 1


# ── what errors mean ─────────────────────────────────────────────────────────────────────────────────────────────

_COMMITS = {"refund": REFUNDS, "cancel_subscription": SUBSCRIPTION, "end_subscription": "DELETE /v1/subscriptions/{id}"}


@at(*_COMMITS)
@pytest.mark.parametrize(
    ("answer", "error"),
    [("429", Transient), ("401", Transient), ("403", Transient), ("503", InDoubt), ("reset before", InDoubt)],
)
async def test_a_one_shot_that_was_not_carried_out_is_in_doubt_unless_stripe_itself_says_so(
    world, answer, error
) -> None:
    world.arm(_COMMITS[world.verb], answer)
    with pytest.raises(error):
        await commit(world)
    assert await world.effects() == 0
    await commit(world)
    assert await world.effects() == 1


@at("pay", *_COMMITS)
@pytest.mark.parametrize("answer", ["lose", "rubbish", "empty", "senseless", "not found", "bad gateway", "500 after"])
async def test_whatever_hides_an_effect_is_a_doubt_and_the_repetition_settles_it(world, answer) -> None:
    vote = await prepare(world)
    world.arm(Verb.COMMIT, answer)
    with pytest.raises(InDoubt):
        await commit(world, vote.receipt)
    await commit(world, vote.receipt)
    assert await world.effects() == 1


@at(*((verb, {"timeout_seconds": 0.3}) for verb in ("pay", "refund")))
async def test_a_slow_answer_is_a_doubt_about_an_effect_and_nothing_to_a_look(world) -> None:
    vote = await prepare(world)
    world.arm(Verb.COMMIT, "slow", seconds=0.6)
    with pytest.raises(InDoubt) as doubt:
        await commit(world, vote.receipt)
    assert doubt.value.silent
    await commit(world, vote.receipt)
    assert await world.effects() == 1


@at(*VERBS)
@pytest.mark.parametrize("answer", ["lose", "rubbish", "empty", "senseless", "not found", "500 after", "429", "401"])
async def test_a_look_that_fails_never_makes_a_doubt(world, answer) -> None:
    places = {"pay": "payment_methods", "refund": "payment_intents"}
    world.arm(f"GET /v1/{places.get(world.verb, 'subscriptions')}/{{id}}", answer)
    with pytest.raises(Transient):
        await world.adapter.preview(call(world, Verb.PREVIEW))


@at("pay", "refund")
async def test_a_list_that_is_none_is_not_taken_for_an_empty_one(world) -> None:
    await commit(world, getattr(await prepare(world), "receipt", None))
    listing = f"GET /v1/{'refunds' if world.verb == 'refund' else 'payment_intents'}"
    world.arm(listing, "empty")
    with pytest.raises(Transient, match="asked for a list"):
        await world.adapter.inquire(call(world, Verb.COMMIT))
    if world.verb == "refund":
        world.later(DAY + 60)  # only the list can tell now
        world.arm(listing, "empty")
        with pytest.raises(Transient, match="asked for a list"):
            await commit(world)
    assert await world.effects() == 1


@at(*VERBS)
async def test_a_secret_that_stripe_repeats_is_blotted_out(world) -> None:
    world.account += "-unknown"  # an API key of nobody, which the error repeats
    with pytest.raises(Transient) as error:
        await world.adapter.preview(call(world, Verb.PREVIEW))
    assert "Invalid API Key" in error.value.message
    assert SECRET not in error.value.message


@at("refund")
async def test_a_rotated_key_is_used_from_the_next_request_on(world) -> None:
    mine, world.account = world.account, "sk_test_expired"
    with pytest.raises(Transient, match="401"):
        await commit(world)
    world.account = mine
    await commit(world)
    assert await world.effects() == 1


# ── what can be looked at ────────────────────────────────────────────────────────────────────────────────────────


@at("pay")
async def test_what_stands_can_be_looked_at_and_what_was_let_go_cannot(world) -> None:
    async def look(what, **params):
        preview = await world.adapter.preview(call(StripeLook(f"stripe.{what}", params), Verb.PREVIEW))
        return preview.before["latest"] if preview.before else preview.facts

    assert await look("customer", customer="cus_88") == {"customer_age_days": 100, "delinquent": False}
    for ending in ("abort", "commit"):
        vote = await prepare(world, key=ending)
        line = {"id": vote.receipt["id"], "amount": 4200, "currency": "usd"}
        assert await look("holds", customer="cus_88") == [line]
        assert len(await look("payments", customer="cus_88")) == 1
        verb = call(world, Verb.COMMIT, key=ending)
        await getattr(world.adapter, ending)(verb, vote.receipt)
        assert await look("holds", customer="cus_88") == []
    assert (await look("payments", customer="cus_88"))[0] == line | {"refunded": 0}
    paid = {"status": "succeeded", "amount": 5000, "currency": "USD", "taken": 5000, "customer": "cus_88"}
    assert await look("payment", payment="pi_88") == await look("payment", payment="ch_88") == paid | {"refunded": 0}
    assert await look("refunds", payment="pi_88") == []
    assert (await look("subscription", subscription="sub_88"))["status"] == "active"
    with pytest.raises(Permanent, match="No such customer"):
        await look("customer", customer="cus_404")


class StripeLook:
    def __init__(self, operation, params):
        self.operation = operation
        self.params = params


async def until_answered(ask):
    deadline = time.monotonic() + 10
    while True:
        try:
            return await ask()
        except InDoubt:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


def test_the_keys_of_the_calls_fit_into_what_stripe_takes() -> None:
    assert len(f"{KEY}-cancel-pi_{'x' * 64}-{2**63}") <= 255

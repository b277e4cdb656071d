"""What every store promises about limits, likenesses, the outbox, and the order in which guards are judged."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from appends import (
    activate,
    charge,
    charging,
    decide,
    deciding,
    issue,
    issued,
    issuing,
    new_intent,
    revoke,
    revoking,
    submit,
    submit_like,
    submitting,
)

from ledger import events as e
from ledger.errors import InvariantViolation
from ledger.grants import Charge
from ledger.store import (
    Activate,
    Append,
    Appended,
    EpochCurrent,
    Finished,
    GrantAlive,
    GuardFailed,
    KeyUnused,
    PolicyActive,
    Restore,
    Take,
    Unlike,
    VersionConflict,
    WithinLimits,
)

NOON = datetime(2040, 6, 1, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)


def of(limit: str, amount: int, *, max: int = 10, per: str = "total") -> Charge:  # noqa: A002
    return Charge(limit=limit, per=per, amount=amount, max=max)


async def used(store, limit: str, per: str = "total") -> int:
    """Ask for more than anything has room for."""
    verdict = await charge(store, of(limit, 1, max=-1, per=per))
    assert isinstance(verdict, GuardFailed)
    assert verdict.limit == limit
    return verdict.used


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_limit_is_used_up_to_its_last_unit_and_not_beyond(store):
    assert isinstance(await charge(store, of("x", 6)), Appended)
    assert isinstance(await charge(store, of("x", 4)), Appended)
    over = of("x", 1)
    assert await charge(store, over) == GuardFailed(WithinLimits((over,)), limit="x", used=10)


async def test_a_first_charge_beyond_the_limit_is_refused(store):
    assert (await charge(store, of("x", 11))).used == 0
    assert isinstance(await charge(store, of("x", 10)), Appended)


async def test_a_refused_decision_takes_from_no_limit_and_names_the_first_without_room(store):
    await charge(store, of("b", 8), of("c", 9))
    verdict = await charge(store, of("a", 1), of("b", 5), of("c", 5))
    assert (verdict.limit, verdict.used) == ("b", 8)
    assert [await used(store, name) for name in "abc"] == [0, 8, 9]


async def test_a_limit_that_has_grown_or_shrunk_is_judged_as_the_decision_says(store):
    await charge(store, of("x", 10))
    assert isinstance(await charge(store, of("x", 5, max=15)), Appended)
    assert (await charge(store, of("x", 1, max=12))).used == 15


async def test_an_append_that_fails_another_guard_takes_nothing(store):
    await decide(store, WithinLimits((of("x", 5),)), GrantAlive("nobody"))
    await decide(store, WithinLimits((of("x", 5),)), version=7)
    await decide(store, WithinLimits((of("x", 5),)), PolicyActive("other"))
    assert await used(store, "x") == 0


@pytest.mark.parametrize(
    ("per", "last", "first"),
    [
        ("hour", NOON + timedelta(hours=1) - TICK, NOON + timedelta(hours=1)),
        ("day", datetime(2040, 6, 2, tzinfo=UTC) - TICK, datetime(2040, 6, 2, tzinfo=UTC)),
    ],
)
async def test_a_window_ends_with_the_calendars_hour_or_day_in_utc(store, set_time, per, last, first):
    await set_time(NOON)
    await charge(store, of("x", 10, per=per))
    await set_time(last)
    assert await used(store, "x", per) == 10
    await set_time(first)
    assert await used(store, "x", per) == 0
    assert isinstance(await charge(store, of("x", 7, per=per)), Appended)
    assert await used(store, "x", per) == 7


async def test_a_total_has_no_window(store, set_time):
    await charge(store, of("x", 10))
    await set_time(NOON)
    assert await used(store, "x") == 10


def restoring(charged: Appended, *charges: Charge) -> Append:
    return deciding(restore=Restore(charges, charged.recorded[0].at))


async def test_what_is_restored_can_be_taken_again(store):
    charged = await charge(store, of("x", 10), of("y", 3))
    assert isinstance(await store.append(restoring(charged, of("x", 10), of("y", 3))), Appended)
    assert [await used(store, name) for name in "xy"] == [0, 0]
    assert isinstance(await charge(store, of("x", 10)), Appended)


async def test_a_restoration_that_was_refused_gives_nothing_back(store):
    charged = await charge(store, of("x", 10))
    late = msgspec.structs.replace(restoring(charged, of("x", 10)), expected_version=3)
    assert await store.append(late) == VersionConflict(0)
    assert await used(store, "x") == 10


async def test_what_was_charged_in_a_window_that_is_over_is_not_given_to_another(store, set_time):
    await set_time(NOON)
    charged = await charge(store, of("x", 4, per="hour"))
    await set_time(NOON + timedelta(hours=1))
    await charge(store, of("x", 5, per="hour"))
    await store.append(restoring(charged, of("x", 4, per="hour")))
    assert await used(store, "x", "hour") == 5


async def test_no_more_is_restored_than_was_taken(store):
    charged = await charge(store, of("x", 4))
    await store.append(restoring(charged, of("x", 9), of("nobody charged", 1)))
    assert await used(store, "x") == 0
    assert (await charge(store, of("x", 11))).used == 0


@pytest.mark.parametrize("seed", range(8))
async def test_decisions_at_the_same_time_never_overspend_together(store, seed):
    random_ = random.Random(seed)
    asked = [
        tuple(of(name, random_.randint(1, 7), max=40) for name in random_.sample("abc", random_.randint(1, 3)))
        for _ in range(50)
    ]
    verdicts = await asyncio.gather(*(charge(store, *charges) for charges in asked))
    spent: Counter[str] = Counter()
    for charges, verdict in zip(asked, verdicts, strict=True):
        if isinstance(verdict, Appended):
            spent.update({one.limit: one.amount for one in charges})
    assert max(spent.values()) <= 40
    assert {name: await used(store, name) for name in "abc"} == {name: spent[name] for name in "abc"}
    for charges, verdict in zip(asked, verdicts, strict=True):
        if isinstance(verdict, GuardFailed):
            lacking = next(one for one in charges if one.limit == verdict.limit)
            assert verdict.used + lacking.amount > 40
            assert verdict.used <= spent[verdict.limit]


@pytest.mark.parametrize("others", [0, 30])
async def test_of_many_decisions_at_sixty_percent_of_a_limit_exactly_one_is_made(store, others):
    asked = [charging(of("x", 6)) for _ in range(40)] + [deciding() for _ in range(others)]
    random.Random(others).shuffle(asked)
    verdicts = await asyncio.gather(*(store.append(one) for one in asked))
    assert sum(isinstance(verdict, Appended) for verdict in verdicts) == 1 + others
    assert await store.head() == 1 + others
    assert await used(store, "x") == 6


# ── likeness ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_like_another_within_the_window_is_refused_and_names_the_newest(store):
    _, first = await submit_like(store, "x", 60)
    assert isinstance(first, Appended)
    second, again = await submit_like(store, "x", 0)
    assert isinstance(again, Appended)
    refused, verdict = await submit_like(store, "x", 60)
    assert verdict == GuardFailed(Unlike("x", 60), intent=second)
    assert await store.submission("agent/a", refused) is None
    assert isinstance((await submit_like(store, "y", 60))[1], Appended)


async def test_a_likeness_counts_for_so_long(store, set_time):
    await set_time(NOON)
    like, _ = await submit_like(store, "x", 60)
    await set_time(NOON + timedelta(seconds=60) - TICK)
    assert (await submit_like(store, "x", 60))[1].intent == like
    assert (await submit_like(store, "x", 59))[1].recorded
    await set_time(NOON + timedelta(seconds=120))
    assert (await submit_like(store, "x", 60))[1].recorded


async def test_a_refused_submission_is_nobodys_likeness(store):
    first, _ = await submit_like(store, "x", 60)
    await submit_like(store, "x", 60)
    assert (await submit_like(store, "x", 60))[1].intent == first


async def test_intents_known_to_have_had_no_effect_do_not_count(store):
    first, _ = await submit_like(store, "x", 60)
    second, _ = await submit_like(store, "x", 0)
    assert (await submit_like(store, "x", 60, second))[1].intent == first
    third, verdict = await submit_like(store, "x", 60, first, second)
    assert isinstance(verdict, Appended)
    assert (await submit_like(store, "x", 60))[1].intent == third
    assert isinstance((await submit_like(store, "x", 60, third))[1], Appended)  # the others count no more


async def test_intents_that_a_refused_submission_named_still_count(store):
    first, _ = await submit_like(store, "x", 60)
    second, _ = await submit_like(store, "x", 0)
    await submit_like(store, "x", 60, second)
    assert (await submit_like(store, "x", 60, first))[1].intent == second


async def test_of_many_alike_exactly_one_is_taken(store):
    asked = [submit_like(store, "x", 60) for _ in range(20)] + [submit_like(store, f"y{n}", 60) for n in range(20)]
    answers = await asyncio.gather(*asked)
    (winner,) = [intent for intent, verdict in answers[:20] if isinstance(verdict, Appended)]
    assert {verdict.intent for intent, verdict in answers[:20] if intent != winner} == {winner}
    assert all(isinstance(verdict, Appended) for _, verdict in answers[20:])


# ── the order ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_guards_are_judged_in_one_order_whatever_order_they_are_given_in(store):
    await charge(store, of("x", 10))
    await activate(store, "p", 0)
    await issue(store, "g")
    await submit_like(store, "alike", 60)
    await store.append(submitting("used", key="k"))
    intent, epoch = await submit(store, "g", Take("w1", 3600.0))
    await revoke(store, "g")
    wrong = [
        EpochCurrent(epoch + 1),
        GrantAlive("g"),
        KeyUnused("agent/a", "k", "sha256:x"),
        PolicyActive(None),
        Unlike("alike", 60),
        WithinLimits((of("x", 1),)),
    ]
    random_ = random.Random(7)

    async def answer(version: int):
        return await decide(store, *random_.sample(left, len(left)), intent=intent, version=version)

    left = list(wrong)
    assert await answer(2) == VersionConflict(1)
    right = [EpochCurrent(epoch), None, KeyUnused("agent/a", "k-2", "d"), PolicyActive("p"), Unlike("other", 60), None]
    for number, (guard, mended) in enumerate(zip(wrong, right, strict=True)):
        left = [one for one in right[:number] if one] + wrong[number:]
        verdict = await answer(1)
        assert isinstance(verdict, GuardFailed)
        assert verdict.guard == guard
        assert mended is None or mended not in wrong
    left = [one for one in right if one]
    assert isinstance(await answer(1), Appended)


# ── the outbox ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_event_that_somebody_wants_to_be_told_of_is_in_the_outbox_with_its_append(store, outbox):
    await decide(store)
    events = tuple(e.ActionDone(action=name, result={}) for name in "abc")
    told = await store.append(Append(stream="s", expected_version=0, events=events, notify=1))
    assert await outbox() == [told.recorded[1].position] == [3]
    assert isinstance(await store.append(Append(stream="t", expected_version=0, events=events, notify=0)), Appended)
    assert await outbox() == [3, 5]


async def test_nobody_is_told_of_what_was_not_appended(store, outbox):
    assert isinstance(await decide(store, GrantAlive("nobody"), notify=0), GuardFailed)
    assert isinstance(await decide(store, version=3, notify=0), VersionConflict)
    assert await outbox() == []


async def test_many_at_once_are_told_of_once_each(store, outbox):
    verdicts = await asyncio.gather(*(decide(store, notify=0 if n % 2 else None) for n in range(40)))
    assert await outbox() == sorted(v.recorded[0].position for n, v in enumerate(verdicts) if n % 2)


# ── what no store takes ──────────────────────────────────────────────────────────────────────────────────────────

ISSUING, REVOKING = issuing(issued("g")), revoking("g")
UNLAWFUL = {
    "two guards of a class": deciding(GrantAlive("a"), GrantAlive("b")),
    "a limit charged twice": charging(of("x", 1), of("x", 1)),
    "no charge": charging(),
    "a charge of nothing": charging(of("x", 0)),
    "a charge that gives": charging(of("x", -5)),
    "a likeness without a key": deciding(Unlike("x", 60)),
    "a key of no intent": Append(
        stream="s", expected_version=0, events=ISSUING.events, guards=(KeyUnused("a", "k", "d"),)
    ),
    "work of no intent": Append(stream="s", expected_version=0, events=ISSUING.events, work=Finished()),
    "a grant that its events do not issue": deciding(change=ISSUING.change),
    "a grant issued otherwise": msgspec.structs.replace(ISSUING, events=(issued("g", expires_at=NOON),)),
    "a revocation of another": msgspec.structs.replace(REVOKING, events=revoking("h").events, expected_version=0),
    "an activation of another": Append(
        stream="policies",
        expected_version=0,
        events=(e.PolicySetActivated(policy_set="p", by="dana"),),
        change=Activate("q"),
    ),
    "told of nothing": deciding(notify=1),
}


@pytest.mark.parametrize("what", UNLAWFUL)
async def test_what_no_store_takes_is_refused_before_anything_is_written(store, outbox, what):
    with pytest.raises(InvariantViolation):
        await store.append(UNLAWFUL[what])
    assert await store.head() == 0
    assert await outbox() == []
    assert isinstance(await store.append(deciding(intent=new_intent())), Appended)

"""What lasts: several times as often for days is found, half as much again never; and the quiet of a lively crowd."""

import itertools
import random
from heapq import merge

import pytest

from bench.behaviour.lively import DAY, WEEK, acts, told
from bench.behaviour.lively_scenarios import WORKERS, WRONG, Rehearsed
from bench.behaviour.traffic import poisson
from bench.behaviour.watched import Watched
from projections.behaviour.counts import HOURS, series
from projections.behaviour.habits import Finding
from projections.behaviour.lasting import THIRD, Lasting, likelier
from projections.behaviour.logarithm import UNIT
from projections.behaviour.odd_words import words
from projections.behaviour.view import closed

BUSY = range(8, 18)


def days(factor, *, of=5, weeks=3, per_hour=40):
    """Return the hours after a change at which what lasts was found, in a series with working days of ten hours."""
    dice, seen, found = random.Random(5), series(0), []
    for hour in range((weeks * 7 + of) * 24):
        wrong = hour >= weeks * HOURS
        mean = per_hour * dice.gammavariate(4, 0.25) * (factor if wrong else 1) if hour % 24 in BUSY else 0.3
        for _ in range(poisson(dice, mean)):
            ended = seen.close_hour(60 * hour)
            seen.count(60 * hour)
            if ended is not None and ended.longer is not None:
                found.append(hour - weeks * HOURS)
    return found


@pytest.mark.parametrize(("factor", "within"), [(10, 36), (5, 48)])
def test_several_times_as_often_is_found_within_days(factor, within):
    found = days(factor)
    assert found
    assert 8 <= found[0] <= within


@pytest.mark.parametrize("factor", [0.5, 1, 1.5])
def test_half_as_much_again_is_nothing_odd_however_long_it_lasts(factor):
    assert days(factor, of=28) == []


def test_thirds_are_judged_from_the_third_week_on():
    assert days(8, weeks=1, of=6) == []
    assert days(8, weeks=2, of=6) != []


def test_no_third_of_a_day_is_enough_by_itself():
    lasting = Lasting()
    lasting.add(10**6, 10_000)
    assert lasting.close(little=False, r=50_000) is None
    lasting.add(10**6, 10_000)
    found = lasting.close(little=False, r=50_000)
    assert found is not None
    assert (found.hours, found.count, found.expected) == (2 * THIRD, 2 * 10**6, 20_000)
    assert lasting == Lasting()


def test_a_night_wipes_nothing_out_and_an_empty_day_does():
    lasting = Lasting()
    lasting.add(500, 100_000)
    assert lasting.close(little=False, r=4_000) is None
    shown = lasting.evidence
    assert shown > 0
    lasting.add(0, 2_000)
    assert lasting.close(little=True, r=4_000) is None
    assert lasting.evidence == shown
    for _ in range(2):
        lasting.add(0, 100_000)
        assert lasting.close(little=False, r=4_000) is None
    assert lasting.evidence == 0


def test_evidence_speaks_for_more_from_about_twice_the_mean():
    assert likelier(100, 100_000, 3_000) < 0 < likelier(250, 100_000, 3_000) < likelier(500, 100_000, 3_000)
    assert likelier(0, 100_000, 3_000) < -UNIT


def test_a_day_of_silence_takes_evidence_away():
    seen = series(0)
    seen.lasting.evidence = 11 * UNIT
    seen.close_hour(60 * 25)
    assert seen.lasting.evidence < 11 * UNIT


@pytest.mark.parametrize(("first", "many"), [(0, 8), (3, 5), (160, 8), (167, 1), (40, 2)])
def test_some_hours_together_are_expected_to_have_what_each_has(first, many):
    dice, seen = random.Random(first), series(0)
    for hour in range(5 * HOURS):
        seen.normal.learn(hour % HOURS, [dice.randrange(1, 9)] * 60, [])
    normal = seen.normal
    each = sum(normal.own(hour, normal.hours) for hour in range(first, first + many))
    assert abs(normal.own_of_many(first, many, normal.hours) - each) <= each // 10


def test_what_lasts_is_said_in_a_sentence():
    evidence = {"hours": 24, "count": 3_412, "expected_thousandths": 702_400}
    finding = Finding(id="7-0", kind="count", at=None, intent=None, grants=(), evidence=evidence)
    assert words("agent", "biller", "payments.charge", finding) == (
        "Biller Agent asked for payments.charge 3,412 times within 24 hours, and 702.4 are usual in such hours"
    )


# ── the lively crowd ─────────────────────────────────────────────────────────────────────────────────────────────

CALM = ("refunds-heavy", "refunds-capped", "payouts", "night-reports", "cleaner", "stock", "dns", "keys", "backup")


def test_twenty_weeks_of_the_seldom_ones_of_the_lively_crowd_give_one_false_alarm_at_most():
    workers = [one for one in WORKERS if one.name in {*CALM, "desk-new"}]
    assert len(workers) == 10
    seen = Watched()
    crowd = merge(*(acts(one, 2 * WEEK, 3) for one in workers), key=lambda one: one.seconds)
    for number, done in enumerate(crowd, 1):
        for recorded, past in told(done, number):
            seen.see(recorded, past)
    assert len(seen.seen) <= 1, seen.seen


@pytest.mark.parametrize(
    "story", [one for one in WRONG if one.story and one.workers != ("charges",)], ids=lambda one: one.name
)
def test_the_stories_are_kept_in_the_lively_crowd(story):
    found = Rehearsed(1).play(story, story.workers[-1])
    measure, limit = story.story
    assert found.events is not None
    assert (found.events if measure == "events" else found.seconds) <= limit


def test_the_same_events_leave_the_same_rows():
    worker = next(one for one in WORKERS if one.name == "refunds-capped")
    both = []
    for _ in range(2):
        seen = Watched()
        for number, done in enumerate(acts(worker, 9 * DAY, 4), 1):
            for recorded, past in told(done, number):
                seen.see(recorded, past)
        both.append({subject: closed(subject, habits) for subject, habits in seen.habits.items()})
    assert both[0] == both[1]
    assert list(itertools.chain.from_iterable(both[0].values()))

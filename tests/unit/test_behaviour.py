"""What is normal, and what is found odd: the stories, the quiet of ordinary weeks, and each rule by itself."""

import itertools
import math
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from histories import ANOMALY

from bench.behaviour.scenarios import ORDINARY, WRONG
from bench.behaviour.traffic import START, Act, Agent, Change, acts, submitted
from bench.behaviour.watched import Watched
from gateway import webhook_message
from gateway.behaviour_settings import BehaviourSettings, load_behaviour
from ledger import bounds
from ledger import events as e
from ledger.canonical import canonical
from ledger.errors import Misconfigured
from ledger.sealing import MARK
from projections.behaviour.counts import HOURS, Normal, week_hour
from projections.behaviour.habits import Answers, begin, count, first_use, move, reach
from projections.behaviour.logarithm import UNIT, ln
from projections.behaviour.odd_words import words
from projections.behaviour.view import apply, closed, opened, touches

HOUR = 3_600
AGENT = Agent("refunder", "billing", "payments.refund", 20, always=True, amount_minor=4_000, targets=3)


def watched(*agents: Agent, weeks: float = 2, change: Change | None = None) -> Watched:
    seen = Watched()
    everything = sorted(itertools.chain.from_iterable(acts(agent, weeks, 1, change) for agent in agents))
    seen.take(submitted(everything, agents))
    return seen


# ── the stories ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hundred_address_updates_an_hour_become_ten_thousand_and_are_found_within_a_minute():
    tuesday = 8 * 1_440 + 12 * 60
    keeper = Agent("address-keeper", None, "crm.update", 100)
    seen = watched(keeper, weeks=(tuesday + 2) / 10_080, change=Change(tuesday, per_hour=10_000)).seen
    assert [one.finding.kind for one in seen] == ["count"]
    assert timedelta(0) < seen[0].finding.at - (START + timedelta(minutes=tuesday)) <= timedelta(minutes=1)


def test_refunds_ten_times_as_large_are_found_within_ten_of_them():
    dice = random.Random(7)
    for spread in (0.2, 0.5, 0.8):
        habit = begin(0)
        for place in range(300):
            amount = int(4_000 * (10 if place >= 290 else 1) * math.exp(dice.gauss(0, spread)))
            odd = move(habit, None, (amount, "USD"), place)
            assert odd is None or place >= 290
            if odd is not None:
                break
        assert odd is not None, f"ten refunds were not enough at a spread of {spread}"
        assert odd["lately_minor"] > 5 * odd["typical_minor"]


def test_forty_ordinary_weeks_give_one_false_alarm_at_most():
    crowd = [msgspec.structs.replace(one, per_hour=one.per_hour / 12) for one in ORDINARY]
    seen = watched(*crowd, weeks=4)
    assert seen.events > 10_000
    assert len(seen.seen) <= 1, seen.seen


# ── counts ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_hours_of_the_week_begin_on_monday():
    assert [
        week_hour(int(datetime(2030, 1, day, hour, tzinfo=UTC).timestamp()) // 60) for day, hour in ((7, 0), (13, 23))
    ] == [0, 167]


def test_what_is_normal_at_noon_is_odd_at_night():
    normal = Normal()
    for hour in range(4 * HOURS):
        busy = 9 <= hour % 24 < 17
        normal.learn(hour % HOURS, [2 if busy else 0] * 60, [100, 500, 1_500, 6_000])
    noon, night = normal.limits(12), normal.limits(3)
    assert all(of_night < of_noon for of_night, of_noon in zip(night, noon, strict=True))
    assert night[-1] < 120 <= noon[-1]


def test_the_more_the_past_was_dispersed_the_wider_are_the_limits():
    steady, bursty = Normal(), Normal()
    for hour in range(2 * HOURS):
        steady.learn(hour % HOURS, [1] * 60, [10**6] * 4)
        bursty.learn(hour % HOURS, [4 if hour % 4 == 0 else 0] * 60, [10**6] * 4)
    assert bursty.limits(5)[-1] > 2 * steady.limits(5)[-1]


def test_an_attack_does_not_become_normal_while_it_lasts():
    normal = Normal()
    for hour in range(2 * HOURS):
        normal.learn(hour % HOURS, [1] * 60, [60] * 4)
    before, surplus = normal.limits(5), list(normal.surplus)
    normal.learn(5, [200] * 60, before, odd=True)
    assert normal.limits(5)[-1] < 3 * before[-1]
    assert normal.surplus == surplus


def test_what_goes_on_is_told_once_an_hour():
    week = 7 * 24 * HOUR
    before = range(0, week, HOUR // 2)
    minutes = storm_of([*before, *range(week, week + 3 * HOUR)])
    assert len(minutes) == 3
    assert all(later - earlier >= 60 for earlier, later in itertools.pairwise(minutes))


def test_whom_nobody_knows_is_told_again_when_it_is_twice_as_much():
    twice_a_second = [half / 2 for half in range(8 * HOUR)]
    assert len(storm_of(twice_a_second)) == 2, "beyond 1,200 in 15 minutes, 4,800 an hour, and not beyond 9,600"


def storm_of(seconds):
    """Return the minutes at which something was found."""
    agent = Agent("stormy", None, "crm.update", 0)
    seen = Watched()
    seen.take(submitted([Act(at, "stormy", "crm.update", None, f"customer {at}") for at in seconds], [agent]))
    return [int((one.finding.at - START).total_seconds()) // 60 for one in seen.seen]


def test_a_new_agent_is_judged_by_its_role_and_a_lonely_one_by_caps():
    role, known = begin(0), begin(0)
    for minute in range(0, 9 * 1_440, 6):
        assert count(known, role, "crm.update", minute) is None
    now = 9 * 1_440
    newcomer, stranger = begin(now), begin(now)
    ours = next(n for n in range(1_000) if count(newcomer, role, "crm.update", now))
    caps = next(n for n in range(1_000) if count(stranger, None, "crm.update", now))
    assert ours < caps == bounds.BEHAVIOUR_CAPS[0]


def test_a_long_silence_is_learned_and_ends():
    habit = begin(0)
    count(habit, None, "crm.update", 0)
    count(habit, None, "crm.update", 400 * 1_440)
    assert habit.series.counter.within(60) == 1
    assert HOURS <= habit.series.normal.observed_hours <= 12 * HOURS
    assert habit.series.knows


def test_a_silence_is_the_same_learned_at_once_or_hour_by_hour():
    for first, length in ((0, 1), (160, 8), (160, 9), (167, 1), (5, 167), (5, 168), (5, 169), (3, 1_000), (0, 336)):
        at_once, by_hour = Normal(), Normal()
        at_once.skip(first, length)
        for hour in range(first, first + length):
            by_hour.learn(hour % HOURS, [0] * 60, [])
        assert at_once.hours == by_hour.hours
        assert at_once.observed_hours == by_hour.observed_hours == sum(at_once.hours)


# ── amounts, operations, targets, denials, answers ───────────────────────────────────────────────────────────────


def test_one_large_amount_among_ordinary_ones_is_nothing_odd():
    habit = begin(0)
    for minute in range(400):
        assert move(habit, None, (4_000_000 if minute % 50 == 49 else 4_000 + minute, "USD"), minute) is None


def test_currencies_are_kept_apart():
    habit = begin(0)
    for minute in range(200):
        assert move(habit, None, (4_000, "USD"), minute) is None
        assert move(habit, None, (600_000, "JPY"), minute) is None


def test_an_operation_never_used_before_is_odd_unless_the_role_uses_it():
    habits = {"crm.update": begin(0)}
    habits["crm.update"].uses = bounds.BEHAVIOUR_USES_MIN
    later = bounds.BEHAVIOUR_AGE_MINUTES
    assert first_use(habits, None, later) is not None
    assert first_use(habits, None, later - 1) is None, "it is too new"
    role = begin(0)
    assert first_use(habits, role, later) is not None
    role.uses = bounds.BEHAVIOUR_ROLE_USES
    assert first_use(habits, role, later) is None


def test_a_new_target_is_odd_for_who_reaches_few_and_not_for_who_reaches_anybody():
    few, many = begin(0), begin(0)
    for n in range(2 * bounds.BEHAVIOUR_TARGET_USES):
        assert reach(few, f"cluster {n % 5}") is None
        assert reach(many, f"customer {n}") is None
    odd = reach(few, "cluster production")
    assert odd is not None
    assert odd["target"] == "cluster production"
    assert reach(few, "cluster production") is None
    assert reach(many, "customer x") is None
    assert many.targets == []


def test_the_more_targets_are_known_the_longer_a_rare_one_may_take():
    habit = begin(0)
    for n in range(380):
        assert reach(habit, f"cluster {n % 19}") is None
    assert reach(habit, "a rare one") is None
    for n in range(400):
        assert reach(habit, f"cluster {n % 19}") is None
    assert reach(habit, "another") is not None


def test_attempts_beyond_the_remit_are_counted_and_found():
    agent = Agent("prober", None, "crm.update", 0)
    storm = [Act(n, "prober", "crm.update", None, "customer 1") for n in range(40)]
    seen = Watched()
    for recorded in submitted(storm, [agent]):
        seen.take([recorded])
        denial = e.PolicyEvaluated(effect="deny", policies=(), policy_set="p", reasons=("grant-7 does not permit it",))
        denied = msgspec.structs.replace(recorded, event=denial, version=2)
        assert touches(denied, [recorded]) == ("agent/prober",)
        apply(seen.habits, denied, [recorded])
    (finding,) = seen.habits["agent/prober"]["denied"].findings
    assert finding.kind == "denied"
    assert finding.evidence["count"] == bounds.BEHAVIOUR_DENIED_CAPS[0] + 1
    assert "does not permit it" in words("agent", "prober", None, finding)


def test_answers_faster_than_anybody_reads_are_odd_the_third_time():
    answers = Answers()
    odd = [answers.answer(approves=True, seconds=one, actions=1) for one in (40, 1, 90, 2, 2, 1)]
    assert [place for place, one in enumerate(odd) if one] == [4]


def answered(answers: Answers, *said: bool) -> list[int]:
    """Return after how many of these answers something was odd."""
    return [place for place, yes in enumerate(said, 1) if answers.answer(approves=yes, seconds=60, actions=1)]


def test_who_never_says_no_is_odd_after_many_approvals_and_again_after_twice_as_many():
    assert answered(Answers(), *[True] * 400) == [172, 344]


def test_who_now_and_then_says_no_may_approve_for_longer_the_rarer_it_was():
    often, seldom = Answers(), Answers()
    assert answered(often, *[False, True, True, True] * 50) == []
    assert answered(seldom, *[False, *[True] * 49] * 40) == []
    (first, *_), (later, *_) = answered(often, *[True] * 60), answered(seldom, *[True] * 600)
    assert first < 60 < 200 < later
    assert often.answers == 196 + 1


def test_a_no_begins_anew():
    answers = Answers()
    assert answered(answers, *[True] * 171, False, *[True] * 150) == []


def test_an_answer_is_timed_from_the_question_that_it_answers():
    submission = next(submitted([Act(0, "refunder", "payments.refund", 100, "customer 88")], [AGENT]))
    known = {"approver/dana": {}}
    for number in range(3):
        at = submission.at + timedelta(hours=number)
        asked = e.ApprovalRequested(digest=f"d{number}", expires_at=at)
        before = msgspec.structs.replace(submission, event=asked, version=2, at=at - timedelta(minutes=9))
        past = [submission, before, msgspec.structs.replace(before, version=3, at=at)]  # it was asked again
        given = e.ApprovalGiven(digest=f"d{number}", by="dana", grant="grant-dana")
        answer = msgspec.structs.replace(submission, event=given, version=3, at=at + timedelta(seconds=1))
        assert touches(answer, past) == ("approver/dana",)
        apply(known, answer, past)
    (finding,) = known["approver/dana"]["answers"].findings
    assert finding.grants == ("grant-dana",)
    assert "faster than anybody reads" in words("approver", "dana", None, finding)


# ── the view ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_hold_everything_wherever_they_are_cut():
    events = list(submitted(list(acts(AGENT, 0.6, 3)), [AGENT]))
    whole = Watched()
    whole.take(events)
    rows = {}
    for part in itertools.batched(events, 97) if hasattr(itertools, "batched") else _parts(events, 97):
        known = {subject: opened(rows.get(subject, ())) for subject in ("agent/refunder", "role/billing")}
        for recorded in part:
            apply(known, recorded, ())
        rows = {subject: closed(subject, habits) for subject, habits in known.items()}
    for subject, habits in whole.habits.items():
        assert closed(subject, habits) == rows[subject]


def _parts(events, size):
    return [events[at : at + size] for at in range(0, len(events), size)]


def test_a_person_who_has_looked_begins_anew():
    seen = watched(Agent("stormy", None, "crm.update", 0), weeks=0.003, change=Change(15, per_hour=30_000))
    assert seen.seen
    habit = seen.habits["agent/stormy"]["crm.update"]
    last = START + timedelta(minutes=habit.series.counter.minute)
    cleared = e.AnomalyCleared("7-0", "agent", "stormy", "A migration.", "dana")
    one = e.Recorded(
        ledger="main", position=9**9, stream="anomaly/7-0", version=2, at=last, event=cleared, body=canonical(cleared)
    )
    apply(seen.habits, one, ())
    assert habit.series.counter.within(60) == 0


def test_a_personal_target_is_not_remembered():
    (submission,) = submitted([Act(0, "refunder", "payments.refund", 100, f"customer {MARK}key.intent.blob")], [AGENT])
    known = {subject: {} for subject in ("agent/refunder", "role/billing")}
    apply(known, submission, ())
    assert known["agent/refunder"]["payments.refund"].targets == []


@pytest.mark.parametrize("number", [1, 2, 3, 10, 41_234, 2**53, 10**30])
def test_the_logarithm_is_right(number):
    assert abs(Decimal(ln(number)) / UNIT - Decimal(number).ln()) < Decimal("1e-9")


def test_every_story_has_its_sentence():
    assert {one.kind for one in WRONG} >= {"count", "amount", "operation"}
    evidence = {"uses_of_other_operations": 5_312, "known_operations": 3, "days": 40}
    finding = opened_finding("operation", evidence)
    assert words("agent", "refunder", "payments.payout", finding) == (
        "Refunder Agent asked for payments.payout for the first time, after 5,312 uses of 3 other operations in 40 days"
    )
    evidence = {"amounts": 6, "typical_minor": 4_000, "lately_minor": 41_200, "last_minor": 40_000, "currency": "USD"}
    assert words("agent", "refunder", "payments.refund", opened_finding("amount", evidence)) == (
        "the last 6 amounts of payments.refund by Refunder Agent were about 412.00 USD, and 40.00 USD is usual"
    )
    assert words("agent", "payment-specialist", "payments.refund", opened_finding("count", ANOMALY.evidence)) == (
        "Payment Specialist Agent asked for payments.refund 57 times within a minute; "
        "1.7 are usual then, and at most 44"
    )


def opened_finding(kind, evidence):
    from projections.behaviour.habits import Finding  # noqa: PLC0415

    return Finding(id="7-0", kind=kind, at=START, intent=None, grants=(), evidence=evidence)


# ── configuration ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_rule_that_matches_says_what_is_done(tmp_path):
    file = tmp_path / "intentledger.toml"
    file.write_text(
        '[behaviour]\ncount = "escalate"\nwebhook = true\n'
        '[[behaviour.rules]]\noperation = "payments.*"\nkind = "count"\nresponse = "suspend"\n'
        '[[behaviour.rules]]\nagent = "intern"\nresponse = "note"\n'
    )
    known = load_behaviour(file)
    assert known.webhook
    assert known.response("count", "refunder", "payments.refund") == "suspend"
    assert known.response("count", "intern", "crm.update") == "note"
    assert known.response("count", "refunder", "crm.update") == "escalate"
    assert known.response("amount", "refunder", "payments.refund") == "note"
    assert known.response("denied", "refunder", None) == "note"
    assert load_behaviour(None) == BehaviourSettings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[behaviour]\ncount = "panic"', "behaviour.count"),
        ('[behaviour]\napprover = "escalate"', "behaviour.approver"),
        ("[behaviour]\nloud = true", "behaviour.loud"),
        ("[behaviour]\nstands_hours = 0", "behaviour.stands_hours"),
        ('[[behaviour.rules]]\noperation = "Pay"\nresponse = "note"', "behaviour.rules.0.operation"),
        ("behaviour = 7", "behaviour"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(tmp_path, text, said):
    file = tmp_path / "intentledger.toml"
    file.write_text(text)
    with pytest.raises(Misconfigured, match=said.replace(".", r"\.")):
        load_behaviour(file)


def test_a_webhook_tells_what_was_odd_and_what_was_done():
    told = e.Recorded(
        ledger="main", position=9, stream="anomaly/7-0", version=1, at=START, event=ANOMALY, body=canonical(ANOMALY)
    )
    said = msgspec.json.decode(webhook_message.body([told], told))
    assert (said["type"], said["data"]["anomaly"], said["data"]["kind"]) == ("anomaly.detected", "7-0", "count")
    assert (said["data"]["response"], said["data"]["suspended"]) == ("suspend", ["grant-7"])
    assert said["data"]["sentence"] == ANOMALY.sentence

"""A candidate tried on the past: whose verdict would differ, how much money that is, how many people it asks."""

from datetime import timedelta

import msgspec
from chains import NOW, agent, descend, intent, limit, only, person, refund

from authority.policy import DEFAULT, PolicySet, parse
from authority.rehearsal import Past, Sum, Turn, rehearse
from authority.verdict import evaluate
from ledger import bounds
from ledger.intents import ActionPlan

CHAIN = descend(
    person("manager-x", operations=only("payments.*"), limits=(limit("payments.*", 90_000),)), agent("refunder")
)
SMALL = parse(
    '@id("P-45") permit (principal, action == Action::"payments.refund", resource) when { context.amount < 5000 };'
    '@id("P-46") permit (principal, action == Action::"payments.refund#with_approval", resource)'
    " when { context.amount < 50000 };"
)
TWO = parse(SMALL.text.replace('@id("P-46")', '@id("P-46") @quorum("2") @approvers("dana")'))
NOBODY = parse('@id("no") forbid (principal, action, resource);')


def past(policy_set: PolicySet, *plans: ActionPlan) -> list[Past]:
    found = []
    for number, plan in enumerate(plans):
        submitted = msgspec.structs.replace(intent(CHAIN, plan), intent=f"i-{number}")
        found.append(Past(CHAIN, submitted, evaluate(CHAIN, policy_set, submitted, {"a": {"age": 91}}, NOW)))
    return found


def test_a_set_rehearsed_on_its_own_verdicts_differs_nowhere():
    report = rehearse(SMALL, past(SMALL, refund(100), refund(6_000), refund(60_000)))
    assert (report.looked_at, report.differing) == (3, 0)
    assert (report.turns, report.money, report.differences) == ((), (), ())


def test_a_narrower_set_shows_what_it_would_have_stopped_and_asked():
    report = rehearse(SMALL, past(DEFAULT, refund(100), refund(6_000), refund(7_000, "EUR"), refund(60_000)))
    assert (report.looked_at, report.differing) == (4, 2)  # the limit counts USD only, and so denied the EUR before
    assert report.turns == (Turn("allow", "deny", 1), Turn("allow", "escalate", 1))
    assert report.money == (Sum("deny", "USD", 60_000), Sum("escalate", "USD", 6_000))
    assert (report.approvals_added, report.approvals_removed) == (1, 0)


def test_a_difference_names_the_intent_and_why():
    report = rehearse(SMALL, past(DEFAULT, refund(6_000)))
    (one,) = report.differences
    assert (one.intent, one.agent, one.task, one.was, one.would_be) == ("i-0", "refunder", "12A", "allow", "escalate")
    assert (one.policies, one.quorum) == (("P-45", "P-46"), 1)
    assert one.reasons == ("P-45: context.amount < 5000 does not hold (it is 6000)",)


def test_a_wider_set_shows_what_it_would_have_let_pass():
    report = rehearse(DEFAULT, past(SMALL, refund(6_000), refund(60_000), refund(10)))
    assert report.turns == (Turn("deny", "allow", 1), Turn("escalate", "allow", 1))
    assert report.money == (Sum("allow", "USD", 66_000),)
    assert (report.approvals_added, report.approvals_removed) == (0, 1)


def test_other_people_are_a_difference_too_though_the_verdict_is_the_same():
    report = rehearse(TWO, past(SMALL, refund(6_000), refund(7_000)))
    assert (report.differing, report.turns, report.money) == (2, (), ())
    assert (report.approvals_added, report.approvals_removed) == (2, 0)
    assert report.differences[0].approvers == ("dana",)


def test_what_grants_and_limits_denied_no_set_lets_pass():
    report = rehearse(DEFAULT, past(NOBODY, refund(90_001), refund(90_000)))
    assert report.turns == (Turn("deny", "allow", 1),)


def test_it_judges_at_the_time_of_the_verdict():
    until = parse(
        f'@id("U") permit (principal, action, resource) when {{ context.time < datetime("{NOW:%Y-%m-%d}") }};'
    )
    then = past(DEFAULT, refund(1))
    yesterday = [
        msgspec.structs.replace(
            one, evaluated=msgspec.structs.replace(one.evaluated, evaluated_at=NOW - timedelta(seconds=1))
        )
        for one in then
    ]
    assert (rehearse(until, then).differing, rehearse(until, yesterday).differing) == (1, 0)


def test_verdicts_that_do_not_say_when_they_were_given_are_not_looked_at():
    old = [
        msgspec.structs.replace(one, evaluated=msgspec.structs.replace(one.evaluated, evaluated_at=None))
        for one in past(DEFAULT, refund(1))
    ]
    report = rehearse(NOBODY, old)
    assert (report.looked_at, report.not_looked_at, report.differing) == (0, 1, 0)


def test_differences_are_bounded_and_all_are_counted():
    report = rehearse(NOBODY, past(DEFAULT, *[refund(1)] * (bounds.REHEARSAL_DIFFERENCES + 5)))
    assert (report.differing, len(report.differences)) == (105, 100)
    assert report.turns == (Turn("allow", "deny", 105),)

"""What an anomaly does to a verdict: policy sees it, and one that escalates asks people about what would be allowed."""

import pytest
from chains import NOW, agent, descend, intent, only, person, refund

from authority.policy import DEFAULT, parse
from authority.schema import OperationShape, check
from authority.verdict import evaluate
from gateway.behaviour_settings import BehaviourSettings
from gateway.watch import Watch
from ledger.events import StandingAnomaly

CHAIN = descend(person("manager-x"), agent("boss"), agent("refunder", operations=only("payments.*")))
NOTED, ESCALATING = (StandingAnomaly("7-0", "count", "refunder", escalates=one) for one in (False, True))
CEDAR = """
@id("all") permit (principal, action, resource);
@id("calm") forbid (principal, action, resource) when { context.anomalies.contains("count") };
"""


def verdict(*anomalies, policy_set=DEFAULT):
    return evaluate(CHAIN, policy_set, intent(CHAIN, refund(100)), {}, NOW, anomalies=anomalies)


def test_what_is_noted_changes_nothing_and_is_on_record():
    assert (verdict().effect, verdict().anomalies) == ("allow", ())
    assert (verdict(NOTED).effect, verdict(NOTED).anomalies) == ("allow", (NOTED,))


def test_what_escalates_asks_people_about_what_policy_would_allow():
    found = verdict(ESCALATING)
    assert (found.effect, found.quorum, found.approvers) == ("escalate", 1, ())
    assert found.reasons == ("refunder does something odd: count (anomaly 7-0)",)
    assert found.policies == ("allow-all",)


def test_an_anomaly_never_lets_happen_what_policy_denies():
    deny = parse('@id("none") forbid (principal, action, resource);')
    assert verdict(ESCALATING, policy_set=deny).effect == "deny"


def test_policy_sees_the_kinds_that_stand():
    policy_set = parse(CEDAR)
    assert verdict(policy_set=policy_set).effect == "allow"
    found = verdict(NOTED, policy_set=policy_set)
    assert (found.effect, found.policies) == ("deny", ("calm",))


def test_a_policy_about_anomalies_fits_every_catalogue():
    assert check(parse(CEDAR), [OperationShape("payments.refund", {"type": "object", "properties": {}})]) == []


@pytest.mark.parametrize(
    ("whose", "name", "seen"),
    [
        ("agent", "refunder", True),
        ("agent", "boss", True),
        ("agent", "somebody", False),
        ("person", "manager-x", False),
        ("approver", "refunder", False),
    ],
)
def test_what_is_odd_about_who_acts_or_delegated_is_seen_and_nothing_else(whose, name, seen):
    watch = Watch(None, None, None, None, BehaviourSettings())
    watch._standing = ((whose, StandingAnomaly("7-0", "count", name, escalates=True)),)
    assert bool(watch.of(CHAIN)) == seen
    assert watch.of(()) == ()

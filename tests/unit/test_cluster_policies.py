"""The policy set of the clusters example, held to its words: what goes, what people decide, what never goes."""

from pathlib import Path

import pytest
from judged import NOON, action, asking

from adapters.configuration import load
from authority.policy import Judgement, judge, parse
from authority.schema import OperationShape, check
from ledger.intents import JSON, Guarantee, Undo

CLUSTERS = Path(__file__).parents[2] / "examples" / "clusters"
CEDAR = (CLUSTERS / "clusters.cedar").read_text("utf-8")
OLD_AND_IDLE: JSON = {"environment": "test", "protected": False, "age_days": 400, "idle_days": 200}


def said(operation: str = "clusters.delete", *, role: str | None = "platform-engineer", **changed: object) -> Judgement:
    confidence = changed.pop("confidence", 0.95)
    intent = asking(action(operation, cluster="old-1"), role=role, confidence=confidence)
    facts = {name: value for name, value in {**OLD_AND_IDLE, **changed}.items() if value is not None}
    return judge(parse(CEDAR), intent, {"it": facts}, NOON)


def test_it_fits_the_operations_beside_it_and_they_promise_what_the_api_keeps():
    operations = load(CLUSTERS / "intentledger.toml", {}).operations
    shapes = [OperationShape(one.name, one.params, one.fact_types) for one in operations.values()]
    assert check(parse(CEDAR), shapes) == []
    delete, purge = operations["clusters.delete"], operations["clusters.purge"]
    assert (delete.guarantee, delete.undo, purge.guarantee, purge.undo) == (
        Guarantee.ATOMIC,
        Undo.EXACT,
        Guarantee.ATOMIC,
        Undo.NONE,
    )
    assert delete.undo_window_seconds == 7 * 86_400 - 3_600


@pytest.mark.parametrize(
    ("facts", "effect", "policies"),
    [
        ({}, "allow", ("C-30",)),
        ({"age_days": 90, "idle_days": 30}, "allow", ("C-30",)),
        ({"environment": "staging"}, "allow", ("C-30",)),
        ({"idle_days": 29}, "escalate", ("C-30", "C-30-person")),
        ({"idle_days": 1}, "escalate", ("C-30", "C-30-person")),
        ({"idle_days": 0}, "escalate", ("C-30", "C-30-person", "C-today-two-people")),
        ({"age_days": 89}, "escalate", ("C-30", "C-30-person")),
        ({"environment": ""}, "escalate", ("C-30", "C-30-person")),
        ({"environment": "PROD"}, "escalate", ("C-30", "C-30-person")),
        ({"environment": "production"}, "deny", ("production-never",)),
        ({"environment": "prod-eu"}, "deny", ("production-never",)),
        ({"protected": True}, "deny", ("protected-never",)),
    ],
)
def test_what_is_old_and_idle_goes_by_itself_and_production_never(facts, effect, policies):
    judgement = said(**facts)
    assert (judgement.effect, judgement.policies) == (effect, policies)


@pytest.mark.parametrize("fact", OLD_AND_IDLE)
def test_what_the_api_does_not_say_makes_the_answer_no(fact):
    assert said(**{fact: None}).effect == ("escalate" if fact == "age_days" else "deny")


def test_what_stops_a_deletion_is_told_by_its_condition():
    assert said(idle_days=12).reasons == ("C-30: context.facts.idle_days >= 30 does not hold (it is 12)",)


def test_one_person_decides_two_on_a_day_with_traffic_and_two_on_every_purge():
    assert (said(idle_days=12).approvers, said(idle_days=12).quorum) == (("platform-lead", "service-owner"), 1)
    assert said(idle_days=0).quorum == 2
    purge = said("clusters.purge")
    assert (purge.effect, purge.quorum) == ("escalate", 2)


@pytest.mark.parametrize("environment", ["production", "prod"])
def test_production_is_not_purged_either(environment):
    assert said("clusters.purge", environment=environment).policies == ("production-never",)


@pytest.mark.parametrize(("confidence", "effect"), [(0.9, "allow"), (0.8999, "escalate"), (None, "escalate")])
def test_an_agent_that_is_not_sure_asks_a_person(confidence, effect):
    assert said(confidence=confidence).effect == effect


@pytest.mark.parametrize("operation", ["clusters.cluster", "clusters.delete", "clusters.purge"])
@pytest.mark.parametrize("role", ["support", None])
def test_nobody_else_has_work_here(operation, role):
    judgement = said(operation, role=role)
    assert (judgement.effect, judgement.policies) == ("deny", ("platform-only",))


def test_looking_is_free():
    assert said("clusters.cluster", confidence=None, environment="production").effect == "allow"

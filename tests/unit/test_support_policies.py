"""The policy set of the support department, held to its words: who may do what, how far, and where a person decides."""

from pathlib import Path
from string import Template

import pytest
from judged import NOON, action, asking

from adapters.configuration import load
from authority.policy import Judgement, judge, parse
from authority.schema import OperationShape, check
from ledger.intents import JSON

SUPPORT = Path(__file__).parents[2] / "examples" / "support"
CEDAR = (SUPPORT / "support.cedar").read_text("utf-8")
PORTS = {"PAYMENTS_PORT": 1, "BILLING_PORT": 2, "MAILBOX_PORT": 3, "MAILBOX_HTTP_PORT": 4}
AT_HOME: JSON = {"account_age_days": 91, "amount": 200_000, "currency": "USD", "country": "US"}
LOOKS = ("payments.charge", "billing.subscription", "crm.read", "diagnostics.connection", "mailbox.find")
ACTS = ("payments.refund", "billing.cancel_subscription", "crm.route", "diagnostics.restart", "email.send")
REMITS = {
    "tier-1": ("T1-remit", {*LOOKS, "crm.route"}),
    "payment-specialist": (
        "PS-remit",
        {"payments.refund", "payments.charge", "crm.read", "crm.route", "email.send", "mailbox.find"},
    ),
    "technical-support": ("TS-remit", {"diagnostics.connection", "diagnostics.restart"}),
    "account-manager": (
        "AM-remit",
        {"payments.refund", "payments.charge", "billing.cancel_subscription", "billing.subscription"}
        | {"crm.read", "crm.route", "email.send", "mailbox.find"},
    ),
}


def operations(tmp_path: Path) -> list[OperationShape]:
    path = tmp_path / "intentledger.toml"
    path.write_text(Template((SUPPORT / "intentledger.toml").read_text("utf-8")).substitute(PORTS))
    registry = load(path, {"CRM_DSN": "postgresql://crm@127.0.0.1/crm"})
    return [OperationShape(one.name, one.params, one.fact_types) for one in registry.operations.values()]


def refund(
    amount: int,
    *,
    role: str | None = "payment-specialist",
    confidence: float | None = 0.95,
    currency: str = "USD",
    **facts: object,
) -> Judgement:
    intent = asking("payments.refund", role=role, confidence=confidence, amount=amount, currency=currency)
    return judge(parse(CEDAR), intent, {"it": {**AT_HOME, **facts}}, NOON)


def does(role: str, operation: str) -> Judgement:
    amount = 100 if operation == "payments.refund" else None
    return judge(parse(CEDAR), asking(operation, role=role, amount=amount), {"it": AT_HOME}, NOON)


def test_it_fits_the_operations_of_the_department(tmp_path):
    assert check(parse(CEDAR), operations(tmp_path)) == []


@pytest.mark.parametrize(
    ("amount", "facts", "effect", "policies"),
    [
        (4_200, {}, "allow", ("P-45",)),
        (4_999, {}, "allow", ("P-45",)),
        (4_999, {"account_age_days": 90}, "deny", ("P-45", "P-45-person", "P-45-two-people")),
        (4_999, {"account_age_days": 0}, "deny", ("P-45", "P-45-person", "P-45-two-people")),
        (5_000, {}, "escalate", ("P-45", "P-45-person")),
        (12_000, {}, "escalate", ("P-45", "P-45-person")),
        (12_000, {"account_age_days": 90}, "deny", ("P-45", "P-45-person", "P-45-two-people")),
        (99_999, {}, "escalate", ("P-45", "P-45-person")),
        (100_000, {}, "escalate", ("P-45", "P-45-person", "P-45-two-people")),
        (4_200, {"country": "CH"}, "escalate", ("P-45", "P-45-person")),
        (4_200, {"country": None}, "escalate", ("P-45", "P-45-person")),
        (4_200, {"account_age_days": None}, "deny", ("P-45", "P-45-person", "P-45-two-people")),
        (4_200, {"account_age_days": "91"}, "deny", ("P-45", "P-45-person", "P-45-two-people")),
        (4_200, {"currency": "EUR"}, "deny", ("currency-of-the-charge",)),
        (4_200, {"currency": None}, "deny", ("currency-of-the-charge",)),
    ],
)
def test_the_payment_specialist_refunds_under_p_45(amount, facts, effect, policies):
    said = refund(amount, **facts)
    assert (said.effect, said.policies) == (effect, policies)


def test_what_p_45_stops_is_told_by_its_condition():
    assert refund(12_000).reasons == ("P-45: context.amount < 5000 does not hold (it is 12000)",)
    assert refund(4_200, country="CH").reasons == ('P-45: context.facts.country == "US" does not hold (it is "CH")',)
    assert refund(4_200, account_age_days=90).reasons[0] == (
        "P-45: context.facts.account_age_days > 90 does not hold (it is 90)"
    )


def test_one_person_of_finance_or_a_team_lead_decides_and_two_from_a_thousand_on():
    assert (refund(12_000).approvers, refund(12_000).quorum) == (("finance", "team-lead"), 1)
    assert (refund(100_000).approvers, refund(100_000).quorum) == (("finance", "team-lead"), 2)


def test_another_currency_is_for_a_person():
    intent = asking("payments.refund", role="payment-specialist", amount=4_200, currency="EUR")
    said = judge(parse(CEDAR), intent, {"it": {**AT_HOME, "currency": "EUR"}}, NOON)
    assert (said.effect, said.policies) == ("escalate", ("P-45", "P-45-person"))


@pytest.mark.parametrize(
    ("confidence", "effect"),
    [(0.8, "allow"), (1.0, "allow"), (0.7999, "escalate"), (0.0, "escalate"), (None, "escalate")],
)
def test_an_agent_that_is_not_sure_asks_a_person(confidence, effect):
    said = refund(4_200, confidence=confidence)
    assert said.effect == effect
    assert said.policies == (("P-45",) if effect == "allow" else ("P-45-person", "sure-enough"))


@pytest.mark.parametrize(
    ("amount", "currency", "effect"),
    [(50_000, "USD", "allow"), (50_001, "USD", "deny"), (1, "USD", "allow"), (50_000, "EUR", "deny")],
)
def test_the_account_manager_refunds_up_to_500_usd(amount, currency, effect):
    intent = asking("payments.refund", role="account-manager", amount=amount, currency=currency)
    said = judge(parse(CEDAR), intent, {"it": {**AT_HOME, "currency": currency}}, NOON)
    assert said.effect == effect
    assert "AM-500" in said.policies


def test_an_account_manager_that_is_not_sure_asks_a_person_before_it_ends_a_contract():
    intent = asking("billing.cancel_subscription", role="account-manager", confidence=0.5)
    said = judge(parse(CEDAR), intent, {}, NOON)
    assert (said.effect, said.policies) == ("escalate", ("AM-cancels", "sure-enough"))


@pytest.mark.parametrize("operation", [*LOOKS, *ACTS])
@pytest.mark.parametrize("role", REMITS)
def test_each_role_does_what_is_in_its_remit_and_is_denied_the_rest_by_its_id(role, operation):
    remit, within = REMITS[role]
    said = does(role, operation)
    if operation in within:
        assert said.effect == "allow"
    else:
        assert (said.effect, said.policies) == ("deny", (remit,))
        assert said.reasons[0].startswith(f"{remit} forbids {operation}: ")


@pytest.mark.parametrize("role", [None, "", "Tier-1", "tier-1 ", "operator"])
@pytest.mark.parametrize("operation", ["crm.read", "payments.refund"])
def test_a_role_that_the_department_does_not_have_does_nothing(role, operation):
    said = does(role, operation)
    assert (said.effect, said.policies) == ("deny", ("department-only",))


def test_what_one_action_may_not_the_whole_intent_may_not():
    both = asking(action("crm.route", "route"), action("payments.refund", "refund", 100), role="tier-1")
    said = judge(parse(CEDAR), both, {"refund": AT_HOME}, NOON)
    assert (said.effect, said.policies) == ("deny", ("T1-remit",))
    assert said.reasons == (
        "refund: T1-remit forbids payments.refund: Tier 1 reads and routes, and does nothing else.",
    )

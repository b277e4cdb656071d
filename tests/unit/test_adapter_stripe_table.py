"""What `[adapters.<name>]` of type stripe may say, and what it then offers."""

from pathlib import Path

import pytest

from adapters.configuration import load
from adapters.registry import Registry
from ledger.errors import Misconfigured
from ledger.intents import Guarantee, Undo

TABLE = '[adapters.till]\ntype = "stripe"\napi_key = { env = "KEY" }\n'


def offered(tmp_path: Path, more: str = "") -> Registry:
    path = tmp_path / "intentledger.toml"
    path.write_text(TABLE + more)
    return load(path, {"KEY": "sk_test_s3cret"})


def test_nothing_that_has_an_effect_is_offered_unless_it_is_named(tmp_path) -> None:
    assert all(one.reads for one in offered(tmp_path).operations.values())
    acting = offered(tmp_path, 'operations = ["refund"]').operations
    assert [name for name, one in acting.items() if not one.reads] == ["till.refund"]


def test_what_is_promised_is_what_stripe_gives(tmp_path) -> None:
    verbs = ["pay", "refund", "cancel_subscription", "end_subscription"]
    registry = offered(tmp_path, f"operations = {verbs}")
    promised = [registry.operations[f"till.{verb}"] for verb in verbs]
    assert [(one.guarantee, one.undo, one.hold_seconds, one.key_lifetime_seconds) for one in promised] == [
        (Guarantee.ATOMIC, Undo.SEMANTIC, 410_400, None),
        (Guarantee.IDEMPOTENT, Undo.NONE, None, 86_400),
        (Guarantee.IDEMPOTENT, Undo.EXACT, None, 86_400),
        (Guarantee.IDEMPOTENT, Undo.NONE, None, None),
    ]
    paid = {"customer": "cus_1", "payment_method": "pm_1", "amount": 4200, "currency": "USD"}
    assert registry.validate("till.pay", paid) == []
    assert registry.money("till.pay", paid) == (4200, "USD")
    assert registry.summary("till.pay", paid) == "take 42.00 USD from customer cus_1 by card pm_1"


@pytest.mark.parametrize(
    "params",
    [
        {"payment": "pi_1/../../customers", "amount": 1, "currency": "USD"},
        {"payment": "pi_1?expand[]=customer", "amount": 1, "currency": "USD"},
        {"payment": "pi_1", "amount": 0, "currency": "USD"},
        {"payment": "pi_1", "amount": 1, "currency": "usd"},
        {"payment": "pi_1", "amount": 1, "currency": "USD", "reason": "because"},
    ],
)
def test_what_could_lead_elsewhere_is_no_parameter(tmp_path, params) -> None:
    assert offered(tmp_path, 'operations = ["refund"]').validate("till.refund", params)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('url = "http://api.stripe.com"', "url is https and public"),
        ('url = "https://127.0.0.1:8420"', "url is https and public"),
        ('url = "https://[::1]:8420"', "url is https and public"),
        ('url = "https://user:pass@api.stripe.com"', "url"),
        ('operations = ["payout"]', "operations"),
        ("hold_seconds = 2_678_400", "hold_seconds"),
        ('account = "cus_1"', "account"),
        ("retries = 3", "retries is not a known key"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_start(tmp_path, more, said) -> None:
    with pytest.raises(Misconfigured, match=said) as refused:
        offered(tmp_path, more)
    assert "s3cret" not in refused.value.message


def test_a_stand_in_of_ones_own_is_allowed_where_it_is_meant(tmp_path) -> None:
    assert offered(tmp_path, 'url = "http://127.0.0.1:8420"\nallow_private = true').operations


MARKS = """
[adapters.till.marks.pay]
data_subject = "/customer"
personal = ["customer", "payment_method"]
personal_fields = ["card"]
[adapters.till.marks.refund]
data_subject = "/payment"
personal = ["payment"]
personal_fields = ["customer"]
"""


def test_the_operator_says_which_parameters_are_personal(tmp_path) -> None:
    registry = offered(tmp_path, 'operations = ["pay", "refund"]' + MARKS)
    paid = {"customer": "cus_1", "payment_method": "pm_1", "amount": 4200, "currency": "USD"}
    data = registry.personal("till.pay")
    assert data is not None
    assert data.sealed(paid, lambda _: "*") == {**paid, "customer": "*", "payment_method": "*"}
    assert registry.operations["till.refund"].data_subject == "/payment"
    assert registry.personal("till.customer") is None  # what is not marked is not personal


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ('[adapters.till.marks.pay]\ndata_subject = "/customer"\npersonal = ["customer"]', "no such operation"),
        ('[adapters.till.marks.refund]\ndata_subject = "/payment"\npersonal = ["mail"]', "no parameter 'mail'"),
        ('[adapters.till.marks.refund]\ndata_subject = "/payment"\npersonal = []', "personal"),
        ('[adapters.till.marks.refund]\npersonal = ["payment"]', "data_subject is missing"),
        ('[adapters.till.marks.refund]\ndata_subject = "/payment"\npersonal = ["payment", "amount"]', "not personal"),
        ("marks = 3", "marks must be tables"),
    ],
)
def test_marks_that_fit_nothing_are_refused_at_start(tmp_path, marks, said) -> None:
    with pytest.raises(Misconfigured, match=said):
        offered(tmp_path, f'operations = ["refund"]\n{marks}')

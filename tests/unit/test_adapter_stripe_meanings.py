"""What Stripe's errors mean, as Stripe's own library names them; the table stands in `adapters/stripe/answers.py`."""

import pytest
import stripe

from adapters.stripe.account import API_VERSION
from adapters.stripe.answers import Denied, Meaning, Seen, denied, fault
from ledger.errors import InDoubt, Permanent, Transient


def said(status, kind, code=None, **headers):
    """Return what the library raises for an error in Stripe's form."""
    body = {"error": {"type": kind, "message": "So it is.", **({"code": code} if code else {})}}
    requestor = stripe.StripeClient("sk_test")._requestor
    try:
        requestor.handle_error_response(b"", status, body, headers, "V1")
    except stripe.StripeError as error:
        return denied(error)


@pytest.mark.parametrize(
    ("status", "kind", "code", "meaning", "error"),
    [
        (400, "invalid_request_error", None, Meaning.NO, Permanent),
        (400, "invalid_request_error", "charge_already_refunded", Meaning.NO, Permanent),
        (402, "card_error", "card_declined", Meaning.NO, Permanent),
        (404, "invalid_request_error", "resource_missing", Meaning.MISSING, InDoubt),
        (400, "invalid_request_error", "resource_missing", Meaning.MISSING, InDoubt),
        (400, "idempotency_error", None, Meaning.KEY_USED, InDoubt),
        (409, "idempotency_error", "idempotency_key_in_use", Meaning.BUSY, InDoubt),
        (409, "invalid_request_error", None, Meaning.BUSY, InDoubt),
        (401, "invalid_request_error", None, Meaning.NOT_NOW, Transient),
        (403, "invalid_request_error", None, Meaning.NOT_NOW, Transient),
        (429, "rate_limit_error", "rate_limit", Meaning.NOT_NOW, Transient),
        (429, "invalid_request_error", "lock_timeout", Meaning.NOT_NOW, Transient),
        (500, "api_error", None, Meaning.UNCLEAR, InDoubt),
        (503, "api_error", None, Meaning.UNCLEAR, InDoubt),
        (418, "api_error", None, Meaning.UNCLEAR, InDoubt),
        (302, "invalid_request_error", None, Meaning.UNCLEAR, InDoubt),
    ],
)
def test_an_error_means_what_the_table_says(status, kind, code, meaning, error) -> None:
    answer = said(status, kind, code)
    assert answer == Denied(meaning, f"Stripe answered {status} ({code or kind}): So it is.")
    assert type(fault(answer)) is error


def test_what_is_repeated_from_memory_is_known_as_such() -> None:
    assert said(500, "api_error", **{"idempotent-replayed": "true"}).replayed
    assert not said(500, "api_error").replayed


def test_the_version_that_is_asked_for_is_the_one_that_our_requests_are_checked_against() -> None:
    assert stripe.api_version == API_VERSION


@pytest.mark.parametrize("value", [None, "7", 7.0, True, [7]])
def test_what_is_no_integer_is_taken_for_none(value) -> None:
    with pytest.raises(InDoubt):
        Seen({"amount": value}, 0).number("/amount")


@pytest.mark.parametrize(("created", "days"), [(0, 10), (86_399, 9), (864_000, 0), (864_001, 0), (None, 0), ("0", 0)])
def test_an_age_is_whole_days_by_stripes_clock(created, days) -> None:
    assert Seen({"customer": {"created": created}}, 864_000).age_days("/customer") == days


def test_an_age_without_a_time_is_not_guessed() -> None:
    with pytest.raises(InDoubt, match="no age"):
        Seen({"customer": {"created": 1}}, None).age_days("/customer")

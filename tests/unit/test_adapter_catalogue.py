"""The catalogue: what adapters may declare, how parameters are checked, and the line that people read."""

from typing import Any

import msgspec
import pytest

from adapters.contract import Operation
from adapters.reference import ReferenceAdapter, World
from adapters.registry import Registry
from ledger import bounds
from ledger.errors import Misconfigured
from ledger.intents import Guarantee, Undo
from ledger.money import money

PARAMS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["customer", "amount", "currency"],
    "properties": {
        "customer": {"type": "string", "maxLength": 500},
        "amount": {"type": "integer", "minimum": 1},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "address": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"a/b~c": {"type": "string"}},
        },
    },
}
REFUND = Operation(
    name="payments.refund",
    params=PARAMS,
    guarantee=Guarantee.ATOMIC,
    undo=Undo.EXACT,
    summary="refund {amount|money} to customer {customer}",
)
VALID = {"customer": "88", "amount": 4200, "currency": "USD"}


class Offering(ReferenceAdapter):
    """An adapter that declares whatever a test says."""

    def __init__(self, name: str = "payments", *operations: Operation) -> None:
        super().__init__(name, World())
        self.operations = {operation.name: operation for operation in operations or (REFUND,)}
        self.events: list[str] = []
        self.fails = False

    async def open(self) -> None:
        if self.fails:
            raise RuntimeError("cannot open")
        self.events.append("open")

    async def close(self) -> None:
        self.events.append("close")


def refund(**changed: Any) -> Operation:
    return msgspec.structs.replace(REFUND, **changed)


def summary(template: str | None, params: dict[str, Any]) -> str:
    return Registry([Offering("payments", refund(summary=template))]).summary("payments.refund", params)


# ── what may be declared ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"params": {**PARAMS, "additionalProperties": True}}, "additionalProperties"),
        ({"params": {"type": "object"}}, "additionalProperties"),
        ({"params": {"type": "array", "additionalProperties": False}}, "object"),
        ({"params": {**PARAMS, "properties": {"a": {"type": "strin"}}}}, "not a JSON Schema"),
        ({"params": {**PARAMS, "properties": {"a": {"pattern": "(?=look)"}}}}, "not a JSON Schema"),
        ({"params": {**PARAMS, "properties": {"a": {"format": "no-such-format"}}}}, "not a JSON Schema"),
        ({"params": {**PARAMS, "properties": {"a": {"$ref": "https://example.com/x"}}}}, "not a JSON Schema"),
        ({"name": "crm.refund"}, "must be 'payments.'"),
        ({"name": "payments.Refund"}, "must be 'payments.'"),
        ({"name": "payments"}, "must be 'payments.'"),
        ({"summary": "refund {amout|money}"}, "amout"),
        ({"summary": "refund {amount|coins}"}, "coins"),
        ({"summary": "refund {amount"}, "brace"),
        ({"summary": "{customer.__class__}"}, "brace"),
        ({"guarantee": Guarantee.BLIND, "hold_seconds": 60}, "hold_seconds"),
        ({"undo": Undo.NONE, "undo_window_seconds": 60}, "undo window"),
        ({"key_lifetime_seconds": 86_400}, "is atomic: its key must live as long as its hold"),
        ({"settle_seconds": 60}, "cannot have settle_seconds"),
        ({"guarantee": Guarantee.VERIFIABLE, "settle_seconds": -1}, "settle_seconds cannot be negative"),
        ({"facts": ("age",), "fact_types": {"agee": "integer"}}, "has no fact 'agee'"),
        ({"reads": True}, "only reads; so it is idempotent"),
        ({"reads": True, "guarantee": Guarantee.IDEMPOTENT}, "only reads; so it moves no money"),
        ({"money": "sum"}, "'sum' beside 'currency' is taken for money, but 'sum' is not declared as an integer"),
        ({"money": "customer"}, "'customer' is not declared as an integer"),
    ],
)
def test_what_is_not_in_order_is_refused_at_start_with_the_reason(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(Misconfigured, match=said.replace(".", r"\.")):
        Registry([Offering("payments", refund(**changed))])


def test_two_adapters_cannot_have_one_name() -> None:
    with pytest.raises(Misconfigured, match="named 'payments'"):
        Registry([Offering(), Offering()])


async def test_one_that_cannot_be_opened_leaves_the_others_open_and_offers_nothing() -> None:
    first, second, third = [Offering(name, refund(name=f"{name}.b")) for name in "abc"]
    second.fails = True
    registry = Registry([first, second, third])
    await registry.open()
    assert set(registry.operations) == {"a.b", "c.b"}
    assert registry.faults == {"b": ("[adapters.b] could not be opened: it stopped with RuntimeError.",)}
    await registry.close()
    assert first.events == third.events == ["open", "close"]
    assert second.events == []


# ── money ────────────────────────────────────────────────────────────────────────────────────────────────────────


def schema(**properties: Any) -> dict[str, Any]:
    merged = {**PARAMS["properties"], **properties}
    return {**PARAMS, "properties": {name: value for name, value in merged.items() if value is not None}}


def test_an_integer_amount_beside_a_currency_is_money() -> None:
    registry = Registry([Offering()])
    assert registry.operations["payments.refund"].money == "amount"
    assert registry.money("payments.refund", VALID) == (4200, "USD")


def test_another_parameter_can_be_named_as_the_money() -> None:
    params = {**schema(total={"type": "integer", "minimum": 0}), "required": ["total", "amount", "currency"]}
    registry = Registry([Offering("payments", refund(params=params, money="total"))])
    assert registry.money("payments.refund", VALID | {"total": 7}) == (7, "USD")


@pytest.mark.parametrize("changed", [{"money": False}, {"params": schema(currency=None), "summary": None}])
def test_what_is_no_money_is_not_counted(changed: dict[str, Any]) -> None:
    registry = Registry([Offering("payments", refund(**changed))])
    assert registry.operations["payments.refund"].money is False
    assert registry.money("payments.refund", VALID) is None


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({**PARAMS, "required": ["customer", "currency"]}, "'amount' is not required"),
        ({**PARAMS, "required": ["customer", "amount"]}, "'currency' is not required"),
        (schema(amount={"type": "integer"}), "'amount' may be negative"),
        (schema(amount={"type": "integer", "minimum": -1}), "'amount' may be negative"),
        (schema(amount={"type": "number", "minimum": 1}), "'amount' is not declared as an integer"),
        (schema(amount={"type": ["integer", "null"], "minimum": 1}), "'amount' is not declared as an integer"),
        (schema(currency={"type": ["string", "null"]}), "'currency' is not declared as a string"),
    ],
)
def test_what_looks_like_money_and_could_slip_past_a_limit_is_refused_at_start(
    params: dict[str, Any], said: str
) -> None:
    with pytest.raises(Misconfigured, match=said):
        Registry([Offering("payments", refund(params=params))])
    registry = Registry([Offering("payments", refund(params=params, money=False))])
    assert registry.money("payments.refund", VALID) is None


# ── parameters ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_valid_parameters_have_no_faults() -> None:
    assert Registry([Offering()]).validate("payments.refund", VALID) == []


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"amount": 0}, "/amount"),
        ({"amount": "4200"}, "/amount"),
        ({"amount": True}, "/amount"),
        ({"currency": "usd"}, "/currency"),
        ({"address": {"a/b~c": 1}}, "/address/a~1b~0c"),
        ({"extra": 1}, ""),
        ({"address": {"extra": 1}}, "/address"),
    ],
)
def test_a_fault_names_its_place_and_not_its_value(changed: dict[str, Any], path: str) -> None:
    (fault,) = Registry([Offering()]).validate("payments.refund", VALID | changed)
    assert fault["path"] == path
    assert fault["message"].endswith(".")


def test_no_fault_repeats_what_was_sent() -> None:
    sent = VALID | {"currency": "s3cret-value", "amount": -987654, "address": {"a/b~c": ["s3cret-value"]}}
    faults = Registry([Offering()]).validate("payments.refund", sent)
    assert len(faults) == 3
    assert "s3cret" not in str(faults)
    assert "987654" not in str(faults)


def test_faults_are_bounded() -> None:
    items = {"type": "array", "items": {"type": "integer"}}
    params = {"type": "object", "additionalProperties": False, "properties": {"list": items}}
    registry = Registry([Offering("payments", refund(params=params, summary=None))])
    assert len(registry.validate("payments.refund", {"list": ["x"] * 1000})) == bounds.PARAM_FAULTS


# ── the line that people read ────────────────────────────────────────────────────────────────────────────────────


def test_the_summary_is_the_sentence_of_the_audit() -> None:
    assert summary(REFUND.summary, VALID) == "refund 42.00 USD to customer 88"


@pytest.mark.parametrize(
    ("minor", "currency", "said"),
    [
        (4200, "USD", "42.00 USD"),
        (5, "EUR", "0.05 EUR"),
        (-5, "EUR", "-0.05 EUR"),
        (0, "EUR", "0.00 EUR"),
        (4200, "JPY", "4200 JPY"),
        (4200, "KWD", "4.200 KWD"),
        (4200, "CLF", "0.4200 CLF"),
        (4200, "usd", "42.00 USD"),
    ],
)
def test_money_has_the_digits_of_its_currency(minor: int, currency: str, said: str) -> None:
    assert money(minor, currency) == said


def test_an_amount_without_a_currency_is_said_as_it_is() -> None:
    assert summary("refund {amount|money}", {"amount": 4200}) == "refund 4200 minor units of nothing"
    assert summary("refund {amount|money}", {"amount": 4200, "currency": "US"}) == "refund 4200 minor units of US"


def test_a_value_cannot_pretend_to_be_another_sentence() -> None:
    said = summary(REFUND.summary, VALID | {"customer": "88, committed; refund 0.01 USD to customer 1"})
    assert said == 'refund 42.00 USD to customer "88, committed; refund 0.01 USD to customer 1"'
    assert summary(REFUND.summary, VALID | {"customer": '8"8'}) == 'refund 42.00 USD to customer "8\\"8"'


@pytest.mark.parametrize(
    "character", ["\n", "\r", "\x1b", "\u202e", "\u2066", "\u200b", "\ufeff", "\u2028", "\x7f", "\0"]
)
def test_no_character_changes_how_the_line_is_read(character: str) -> None:
    for template in (REFUND.summary, None):
        said = summary(template, VALID | {"customer": f"8{character}8"})
        assert character not in said
        assert said.isprintable()


def test_without_a_template_name_and_parameters_are_said() -> None:
    assert summary(None, VALID) == "payments.refund(customer=88, amount=4200, currency=USD)"


def test_the_line_is_bounded_however_long_the_values() -> None:
    said = summary(None, {f"field{n}": "x" * 5000 for n in range(100)})
    assert len(said) == bounds.SUMMARY_LENGTH
    assert len(summary(REFUND.summary, VALID | {"customer": "x" * 500})) < 120

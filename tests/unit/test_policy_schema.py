"""Whether a policy set fits the catalogue of operations: what would never apply is told before it is kept."""

import pytest

from authority.policy import DEFAULT, parse
from authority.schema import OperationShape, cedar_schema, check
from ledger.errors import Misconfigured

PARAMS = {
    "type": "object",
    "additionalProperties": False,
    "required": ["charge", "amount", "currency", "maybe", "set"],
    "properties": {
        "charge": {"type": "string"},
        "amount": {"type": "integer", "minimum": 1},
        "currency": {"enum": ["USD", "EUR"]},
        "urgent": {"type": "boolean"},
        "maybe": {"type": ["string", "null"]},
        "either": {"type": ["string", "integer"]},
        "rate": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "things": {"type": "array"},
        "free": {"type": "object"},
        "set": {
            "type": "object",
            "required": ["status"],
            "properties": {"status": {"type": "string"}, "score": {"type": "number"}},
        },
        "one": {"const": 1},
        "any": {},
        "of": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    },
}
REFUND = OperationShape(
    "payments.refund", PARAMS, {"age": "integer", "country": "string", "known": "boolean", "score": "number"}
)
FIND = OperationShape("crm.find", {"type": "object", "properties": {"q": {"type": "string"}}})
CATALOGUE = [REFUND, FIND]


def permit(condition: str, scope: str = 'principal, action in Action::"payments.refund", resource') -> str:
    return f'@id("P") permit ({scope}) when {{ {condition} }};'


def told(cedar: str, catalogue=CATALOGUE) -> list[str]:
    return [str(one["message"]) for one in check(parse(cedar), catalogue)]


def test_the_built_in_set_fits_every_catalogue():
    assert check(DEFAULT, CATALOGUE) == []


@pytest.mark.parametrize(
    "condition",
    [
        "context.amount < 5000 && context.params.amount == context.amount",
        'context.params.currency == "USD" && context.currency like "U*"',
        "context.params has urgent && context.params.urgent",
        'context.params has maybe && context.params.maybe == "x"',
        'context.params has tags && context.params.tags.contains("x")',
        'context.params.set.status == "closed"',
        "context.params has one && context.params.one == 1",
        'context.facts.age > 90 && context.facts.country == "US" && context.facts.known',
        'context.confidence.lessThan(decimal("0.8")) && context.time < datetime("2031-01-01")',
        'context.task == "12A" && context.mode == "execute" && !context.approved',
        'principal.role == "x" && principal.version == "" && principal.grant == "g" && principal is Agent',
        'resource == System::"payments"',
    ],
)
def test_what_the_catalogue_has_may_be_compared(condition):
    assert told(permit(condition)) == []


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("context.params.amont < 5", "Attribute `params.amont` in context"),
        ("context.facts.ages < 5", "Attribute `facts.ages` in context"),
        ('context.amount == "5"', "not compatible"),
        ('context.facts.age > "90"', "expected Long but saw String"),
        ("context.confidence < 80", "expected Long but saw decimal"),
        ("context.params.urgent", "optional attribute"),
        ('context.params.maybe == "x"', "optional attribute"),
        ("context.params has nothing || context.amount < 5", "No operation that it may be about has context.params.n"),
        ('principal.rule == "x"', "attribute `rule` on entity type" ),
        ("principal is User", "Unrecognized entity type `User`"),
        ('resource == System::"paiments"', "There is no system 'paiments'; there are crm, payments."),
        ('action == Action::"payments.refunds"', "Unrecognized action"),
        ("false", "It can never apply"),
        ("context.amount < 5 && !(context.amount < 5 || true)", "It can never apply"),
        ("context.params.rate < 1", "context.params.rate of payments.refund may have a fraction"),
        ("context.facts.score < 1", "context.facts.score of payments.refund may have a fraction"),
        ("context.params.set.score < 1", "context.params.set.score of payments.refund may have a fraction"),
        ('context.params.either == "x"', "context.params.either of payments.refund has no single type"),
        ('context.params.any == "x"', "context.params.any of payments.refund has no single type"),
        ('context.params.of == "x"', "context.params.of of payments.refund has no single type"),
        ("context.params has things", "is a list, and its JSON Schema does not say of what"),
        ("context.params.free.x == 1", "is an object, and its JSON Schema does not name its properties"),
        ("context.params has free", "is an object, and its JSON Schema does not name its properties"),
        ('decimal("0.12345") == context.confidence', "failed to parse as a decimal value"),
    ],
)  # fmt: skip
def test_what_it_does_not_have_is_a_fault_with_the_reason(condition, message):
    assert any(message.lower() in said.lower() for said in told(permit(condition))), told(permit(condition))


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ('principal, action == Action::"payments.refnd", resource', "Unrecognized action"),
        ('principal, action in Action::"payment.*", resource', "Unrecognized action"),
        ('principal, action in [Action::"payments.refund", Action::"x.y"], resource', "Unrecognized action"),
        ('principal, action == Action::"payments.*", resource', "Unable to find an applicable action"),
        ('principal, action, resource == System::"mail"', "There is no system 'mail'"),
        ('principal == User::"x", action, resource', "Unrecognized entity type `User`"),
        ("principal, action, resource is Agent", "Unable to find an applicable action"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_a_scope_that_nothing_lies_in_is_a_fault(effect, scope, message):
    said = told(f'@id("P") {effect} ({scope});')
    assert any(message in one for one in said), said


def test_an_operation_without_a_parameter_is_a_fault_of_a_policy_about_all():
    assert told(permit("context.params.amount < 5", "principal, action, resource"))[0].startswith(
        'Attribute `params.amount` in context for Action::"crm.find'
    )


def test_a_fault_names_its_policy_and_its_place():
    cedar = f'{permit("true")}\n// about another\n  @id("Q") permit (principal, action == Action::"x.y", resource);'
    first = check(parse(cedar), CATALOGUE)[0]
    assert (first["line"], first["column"], first["policy"]) == (3, 3, "Q")


def test_faults_are_bounded_in_number():
    cedar = "".join(f'@id("{n}") permit (principal, action == Action::"x.y{n}", resource);' for n in range(30))
    assert len(check(parse(cedar), CATALOGUE)) == 20


def test_a_catalogue_that_cedar_does_not_take_is_told_and_not_ignored():
    with pytest.raises(Misconfigured, match="cannot be written as a Cedar schema"):
        cedar_schema([OperationShape("*", {"type": "object", "properties": {}})])


def test_without_operations_nothing_can_apply():
    assert told(permit("true", "principal, action, resource"), [])

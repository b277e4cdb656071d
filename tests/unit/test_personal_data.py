"""What an operation says about personal data: read where it is marked, refused where that is unclear."""

import pytest

from adapters.contract import Operation
from adapters.personal import marked, personal_data
from adapters.tables import MarksTable
from ledger.errors import Misconfigured
from ledger.intents import Guarantee, Undo

CUSTOMER = {"type": "string", "maxLength": 64, "personal": True}
LINES = {
    "type": "array",
    "items": {"type": "object", "properties": {"to": {"type": "string", "personal": True}, "n": {"type": "integer"}}},
}


def operation(properties, subject="/customer", required=("customer",), **more):
    params = {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}
    return Operation(
        name="crm.x", params=params, guarantee=Guarantee.BLIND, undo=Undo.NONE, data_subject=subject, **more
    )


def test_an_operation_without_marks_has_nothing_personal():
    assert personal_data(operation({"customer": {"type": "string"}}, None)) is None


def test_marks_are_found_at_properties_within_objects_and_arrays():
    properties = {"customer": CUSTOMER, "set": {"properties": {"mail": {"personal": True}, "n": {}}}, "lines": LINES}
    data = personal_data(operation(properties))
    params = {"customer": "88", "set": {"mail": ["a"], "n": 1}, "lines": [{"to": "a", "n": 1}, {"n": 2}]}
    assert data.subject_of(params) == "88"
    assert data.parameters == {"customer", "set", "lines"}
    assert data.personal(params) == ["88", ["a"], "a"]
    assert data.sealed(params, lambda _: "*") == {
        "customer": "*", "set": {"mail": "*", "n": 1}, "lines": [{"to": "*", "n": 1}, {"n": 2}]
    }  # fmt: skip
    assert params["customer"] == "88"


def test_a_subject_may_stand_within_an_object_that_is_marked_as_a_whole():
    whole = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}, "personal": True}
    data = personal_data(operation({"customer": whole}, "/customer/id"))
    assert data.subject_of({"customer": {"id": 88}}) == "88"
    assert data.subject_of({"customer": {"id": 88.0}}) == "88"  # the same whole number to JSON Schema
    assert data.sealed({"customer": {"id": 88}}, str) == {"customer": "{'id': 88}"}


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (operation({"customer": CUSTOMER}, None), "does not say whose"),
        (operation({"customer": CUSTOMER}, None, personal_fields=("name",)), "does not say whose"),
        (operation({"customer": CUSTOMER}, "/client"), "is no required parameter"),
        (operation({"customer": CUSTOMER}, required=()), "is no required parameter"),
        (operation({"customer": {"type": "string", "maxLength": 9}}), "is itself personal"),
        (operation({"customer": {**CUSTOMER, "type": "array"}}), "one string or integer"),
        (operation({"customer": {"type": "string", "personal": True}}), "maxLength"),
        (operation({"customer": CUSTOMER, "x": {"personal": "true"}}), "could be overlooked"),
        (operation({"customer": CUSTOMER, "x": {"anyOf": [{"personal": True}]}}), "could be overlooked"),
        (operation({"customer": CUSTOMER, "amount": {"personal": True}}, money="amount"), "not personal"),
    ],
)  # fmt: skip
def test_what_is_unclear_is_not_offered(made, sentence):
    with pytest.raises(Misconfigured) as refusal:
        personal_data(made)
    assert sentence in refusal.value.message


def marks(**more):
    return MarksTable(**{"data_subject": "/customer", "personal": ("customer",), **more})


PLAIN_CUSTOMER = {"customer": {"type": "string", "maxLength": 512}, "mail": {"type": "string"}}


def test_an_operator_marks_what_an_adapter_cannot_know_to_be_personal():
    plain = operation(PLAIN_CUSTOMER, None)
    made = marked(plain, marks(personal=("customer", "mail"), personal_fields=("card",)))
    data = personal_data(made)
    assert (data.subject, data.parameters, data.fields) == (("customer",), {"customer", "mail"}, ("card",))
    assert made.params["properties"]["customer"]["maxLength"] == 256  # so that it fits where somebody is erased
    assert "personal" not in plain.params["properties"]["mail"]


@pytest.mark.parametrize(
    ("made", "said", "sentence"),
    [
        (operation({"customer": CUSTOMER}), marks(), "says itself"),
        (operation({"customer": CUSTOMER}, None), marks(), "says itself"),
        (operation(PLAIN_CUSTOMER, None), marks(personal=("customer", "phone")), "no parameter 'phone' to mark"),
        (operation(PLAIN_CUSTOMER, None), marks(personal=("mail",)), "is itself personal"),
        (operation(PLAIN_CUSTOMER, None), marks(data_subject="/client"), "is no required parameter"),
        (
            operation({**PLAIN_CUSTOMER, "amount": {}}, None, money="amount"),
            marks(personal=("customer", "amount")),
            "not personal",
        ),
    ],
)
def test_marks_that_cannot_be_meant_are_refused(made, said, sentence):
    with pytest.raises(Misconfigured) as refusal:
        personal_data(marked(made, said))
    assert sentence in refusal.value.message

"""Facts: a system of record that says something of another type than declared has said nothing."""

from typing import Any

import pytest

from adapters.facts import FactType, checked_facts
from ledger.errors import Permanent


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("integer", [0, -1, 2**53]),
        ("string", ["", "90"]),
        ("boolean", [True, False]),
        ("number", [1, 1.5]),
    ],
)
def test_a_fact_has_the_type_that_is_declared_for_it(kind: FactType, values: list[Any]) -> None:
    for value in values:
        assert checked_facts("crm.update", {"age": value}, {"age": kind}) == {"age": value}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("integer", ["90", True, 90.5, None, [90]]),
        ("string", [90, None, {"a": "b"}]),
        ("boolean", [0, 1, "true", None]),
        ("number", ["1.5", False, None]),
    ],
)
def test_a_fact_of_another_type_is_none(kind: FactType, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(Permanent, match=r"^The preview of crm\.update says about age what is not "):
            checked_facts("crm.update", {"age": value}, {"age": kind})


def test_a_fact_without_a_type_is_as_it_is() -> None:
    assert checked_facts("crm.update", {"age": None, "tags": ["a"]}, {}) == {"age": None, "tags": ["a"]}

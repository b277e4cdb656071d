"""What an operation declares about its facts, and the check that a system of record keeps to it.

A fact without a type is shown to people and recorded; policy can only compare one that has a type. A value of another
type than declared is no fact: it would be a condition that silently never holds.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from ledger.errors import Permanent
from ledger.intents import JSON

FactType = Literal["integer", "string", "boolean", "number"]

_WORDS: Final[Mapping[FactType, str]] = {
    "integer": "an integer",
    "string": "a text",
    "boolean": "true or false",
    "number": "a number",
}


def checked_facts(operation: str, facts: JSON, types: Mapping[str, FactType]) -> JSON:
    """Return the facts if each has the type that is declared for it; raises `Permanent`."""
    for name, kind in types.items():
        if not _is(kind, facts.get(name)):
            raise Permanent(f"The preview of {operation} says about {name} what is not {_WORDS[kind]}.")
    return facts


def _is(kind: FactType, value: Any) -> bool:
    match kind:
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)

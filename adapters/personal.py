"""What of an operation is personal, and whose it is: read once from what the operation declares.

    {"type": "object", "additionalProperties": false, "required": ["customer", "email"],
     "properties": {"customer": {"type": "string", "personal": true},
                    "email": {"type": "string", "personal": true}}}
    data_subject = "/customer"     the parameter that names the person
    personal_fields = ["name"]     members of answers (facts, previews, receipts, results) that are personal

The mark may stand at any property, and at the items of an array. Where it could be overlooked (behind `$ref`, `anyOf`
and the like) an operation is refused, and so is one whose marked data are nobody's: what is said to be personal is
sealed, or not offered.

Where the parameters are the adapter's own, and it cannot know which of them are about a person, the operator says so
beside it ([adapters.<name>.marks.<verb>]); `marked` writes the marks into its schema.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from adapters.contract import Operation
from adapters.tables import MarksTable
from ledger import bounds
from ledger.canonical import canonical
from ledger.errors import Misconfigured
from ledger.intents import JSON

KEYWORD: Final = "personal"
_EACH: Final = "*"  # of an array; no property, for those stand in lists of names of their own

Place = tuple[str, ...]


class PersonalData(msgspec.Struct, frozen=True):
    """What of an operation is personal."""

    subject: Place  # the parameter that names the person
    places: tuple[Place, ...]  # of parameters, outermost first; `*` is every item of an array
    fields: tuple[str, ...]

    @property
    def parameters(self) -> frozenset[str]:
        """Return the parameters with anything personal in them."""
        return frozenset(place[0] for place in self.places)

    def subject_of(self, params: JSON) -> str:
        """Return the name of the person that valid parameters are about."""
        found: Any = params
        for name in self.subject:
            found = found[name]
        return found if isinstance(found, str) else canonical(found).decode()  # 88.0 is 88

    def sealed(self, params: JSON, seal: Callable[[Any], str]) -> JSON:
        """Return valid parameters with everything personal in them sealed."""
        for place in self.places:
            params = _changed(params, place, seal)
        return params

    def personal(self, params: JSON) -> list[Any]:
        """Return the personal values in valid parameters."""
        found: list[Any] = []

        def take(value: Any) -> str:
            found.append(value)
            return ""

        self.sealed(params, take)
        return found


def personal_data(operation: Operation) -> PersonalData | None:
    """Return what of an operation is personal; None if nothing is. Raises `Misconfigured` where that is unclear."""
    marked = dict(_marked(operation.params, ()))
    places = tuple(place for place in marked if not any(place[:n] in marked for n in range(1, len(place))))
    name = operation.name
    if _marks(operation.params) != len(marked):
        raise Misconfigured(
            f"Operation {name}: a parameter is marked as personal where it could be overlooked. Mark properties, or "
            "items of arrays, that stand in the schema itself."
        )
    if operation.data_subject is None:
        if places or operation.personal_fields:
            raise Misconfigured(
                f"Operation {name} has personal data and does not say whose: data_subject names a parameter."
            )
        return None
    subject = tuple(operation.data_subject.strip("/").split("/"))
    _check_subject(operation, subject, marked)
    if operation.money and {operation.money, "currency"} & {place[0] for place in places}:
        raise Misconfigured(f"Operation {name}: limits count what it moves, so amount and currency are not personal.")
    return PersonalData(subject, places, operation.personal_fields)


def marked(operation: Operation, marks: MarksTable) -> Operation:
    """Return an operation with what its operator marks. Raises `Misconfigured` where that cannot be meant.

    The parameter that names the person becomes as short as an address can be in which somebody is erased.
    """
    name = operation.name
    if operation.data_subject is not None or operation.personal_fields or _marks(operation.params):
        raise Misconfigured(f"Operation {name} says itself what of it is personal; it cannot be marked once more.")
    properties = dict(operation.params.get("properties", {}))
    for parameter in marks.personal:
        if parameter not in properties:
            offered = ", ".join(sorted(properties))
            raise Misconfigured(f"Operation {name} has no parameter {parameter!r} to mark; it has {offered}.")
        schema = {**properties[parameter], KEYWORD: True}
        if f"/{parameter}" == marks.data_subject and schema.get("type") == "string":
            schema["maxLength"] = min(schema.get("maxLength", bounds.SUBJECT_LENGTH), bounds.SUBJECT_LENGTH)
        properties[parameter] = schema
    return msgspec.structs.replace(
        operation,
        params={**operation.params, "properties": properties},
        data_subject=marks.data_subject,
        personal_fields=marks.personal_fields,
    )


def _check_subject(operation: Operation, subject: Place, marked: Mapping[Place, Any]) -> None:
    schema: Any = operation.params
    for name in subject:
        if name not in schema.get("properties", {}) or name not in schema.get("required", ()):
            raise Misconfigured(
                f"Operation {operation.name}: its data_subject {operation.data_subject} is no required parameter."
            )
        schema = schema["properties"][name]
    if not any(subject[:n] in marked for n in range(1, len(subject) + 1)):
        raise Misconfigured(
            f"Operation {operation.name}: the parameter that names the person is itself personal; mark "
            f'{operation.data_subject} with "personal": true.'
        )
    if schema.get("type") not in {"string", "integer"}:
        raise Misconfigured(
            f"Operation {operation.name}: its data_subject {operation.data_subject} is one string or integer."
        )
    longest = schema.get("maxLength", 0 if schema["type"] == "string" else 1)
    if not 0 < longest <= bounds.SUBJECT_LENGTH:
        raise Misconfigured(
            f"Operation {operation.name}: its data_subject {operation.data_subject} must have a maxLength of at most "
            f"{bounds.SUBJECT_LENGTH}, so that it fits into the address where it is erased."
        )


def _marked(schema: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """Yield every place that is marked and can be reached, the outermost first."""
    if not isinstance(schema, Mapping):
        return
    if schema.get(KEYWORD) is True and place:
        yield place, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _marked(inner, (*place, name))
    if place:
        yield from _marked(schema.get("items"), (*place, _EACH))


def _marks(value: Any) -> int:
    """Count the marks of a whole schema, wherever they stand."""
    if isinstance(value, Mapping):
        inner = sum(map(_marks, value.values()))
        mark = value.get(KEYWORD, False)  # a mark that is neither yes nor no ("true") must not pass for no
        return inner + (mark is not False and not isinstance(mark, Mapping))
    return sum(map(_marks, value)) if isinstance(value, list | tuple) else 0


def _changed(value: Any, place: Place, change: Callable[[Any], Any]) -> Any:
    if not place:
        return change(value)
    name, *rest = place
    if isinstance(value, list) and name == _EACH:
        return [_changed(item, tuple(rest), change) for item in value]
    if isinstance(value, dict) and name in value:
        return {**value, name: _changed(value[name], tuple(rest), change)}
    return value

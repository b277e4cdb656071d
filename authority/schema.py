"""The Cedar schema of the catalogue of operations, and whether a policy set fits it.

A policy that names an operation, a parameter or a fact that does not exist would wait silently for something that never
comes. So a set is checked before it is kept, and whatever Cedar's validator would only warn of (a policy that can never
apply) is a fault here too. What JSON Schema says and Cedar cannot is left out of the schema, and a policy that names it
is told why. The catalogue comes as plain values; adapters are not known here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import cedarpy
import msgspec
from cedarpy import pst

from authority.cedar_request import PRINCIPALS, SYSTEM, WITH_APPROVAL, groups
from authority.cedar_words import Path, presences
from authority.policy import PolicySet
from authority.rules import Rule
from ledger import bounds
from ledger.errors import Misconfigured

CedarType = dict[str, Any]
Fault = Mapping[str, str | int]

_STRING: Final[CedarType] = {"type": "String"}
_SIMPLE: Final[Mapping[str, CedarType]] = {
    "string": _STRING,
    "integer": {"type": "Long"},
    "boolean": {"type": "Boolean"},
}
_DECIMAL: Final[CedarType] = {"type": "Extension", "name": "decimal"}
_DATETIME: Final[CedarType] = {"type": "Extension", "name": "datetime"}
_PRINCIPAL: Final = ("name", "version", "role", "grant", "kind")
_POLICY_NUMBER: Final = re.compile(r"^(?:for policy `policy[0-9]+`, )")
_NEVER: Final = "__never"  # an attribute that nothing has


class OperationShape(msgspec.Struct, frozen=True):
    """What policy may know of an operation."""

    name: str  # "adapter.verb"
    params: Mapping[str, Any]  # JSON Schema
    fact_types: Mapping[str, str] = {}  # "integer" | "string" | "boolean" | "number", by name


class CedarSchema(msgspec.Struct, frozen=True):
    """A schema that Cedar has accepted, and what it could not say: sentences by operation and path."""

    handle: cedarpy.Schema
    systems: frozenset[str]
    known: Mapping[str, frozenset[Path]]  # what policies may look at, by operation
    left_out: Mapping[str, Mapping[Path, str]]  # what Cedar cannot compare, and why


def cedar_schema(operations: Sequence[OperationShape]) -> CedarSchema:
    """Write the catalogue as a Cedar schema. Raises `Misconfigured` if Cedar does not take it."""
    left_out: dict[str, dict[Path, str]] = {}
    known: dict[str, frozenset[Path]] = {}
    actions: dict[str, CedarType] = {"*": {}}
    for operation in operations:
        own, system, everything = groups(operation.name)
        actions[system] = {"memberOf": [{"id": everything}]}
        context = _record(_context(operation, left_out.setdefault(own, {})))
        known[own] = frozenset(_inside(context, ("context",)))
        applies = {"principalTypes": list(PRINCIPALS), "resourceTypes": [SYSTEM], "context": context}
        actions[own] = {"memberOf": [{"id": system}], "appliesTo": applies}
        actions[own + WITH_APPROVAL] = {"memberOf": [{"id": own}], "appliesTo": applies}
    principal = {"shape": _record(dict.fromkeys(_PRINCIPAL, (_STRING, True)))}
    schema = {"": {"entityTypes": {**dict.fromkeys(PRINCIPALS, principal), SYSTEM: {}}, "actions": actions}}
    try:
        handle = cedarpy.Schema.from_json_str(msgspec.json.encode(schema).decode())
    except ValueError as error:
        raise Misconfigured(f"The catalogue of operations cannot be written as a Cedar schema: {error}.") from error
    return CedarSchema(handle, frozenset(one.name.partition(".")[0] for one in operations), known, left_out)


def check(policy_set: PolicySet, operations: Sequence[OperationShape]) -> list[Fault]:
    """Return where a policy set does not fit the catalogue: `{line, column, policy, message}`, at most `POLICY_FAULTS`.

    For hundreds of policies and operations it takes seconds, most of them outside the interpreter: run it in a thread.
    Raises `Misconfigured` if there is no schema to check against.
    """
    schema = cedar_schema(operations)
    rules = policy_set.rules
    wrong = _validate([rule.statement.whole for rule in rules], schema)
    # A condition that fails to validate after the policy's own is reached unless the policy's own are never true.
    reached = _validate([f"{rule.statement.whole[:-1]} when {{ principal.{_NEVER} }};" for rule in rules], schema)
    found: list[Fault] = []
    for rule in rules:
        told = [
            *(_explained(said, rule, schema) for said in wrong.get(rule.number, ())),
            *_unknown_systems(rule, schema),
            *_unknown_places(rule, schema),
        ]
        if not told and rule.number not in reached:
            told = ["It can never apply: its conditions contradict the catalogue of operations or one another."]
        place = rule.statement.fault("")
        found += [
            {"line": place.line, "column": place.column, "policy": rule.id, "message": said}
            for said in dict.fromkeys(told)
        ]
    return found[: bounds.POLICY_FAULTS]


def _validate(policies: Sequence[str], schema: CedarSchema) -> Mapping[int, list[str]]:
    """Return what Cedar's validator says, by the number of the policy."""
    result = cedarpy.validate_policies("\n".join(policies), schema.handle, release_gil=True)
    found: dict[int, list[str]] = {}
    for one in result.errors:
        if not one.policy_id.startswith("policy"):
            raise Misconfigured(
                f"The policy set could not be checked against the catalogue of operations: {one.error}."
            )
        found.setdefault(int(one.policy_id.removeprefix("policy")), []).append(one.error)
    if not found and not result.validation_passed:
        raise Misconfigured("The policy set could not be checked against the catalogue of operations.")
    return found


def _explained(said: str, rule: Rule, schema: CedarSchema) -> str:
    """Say in addition why something that the policy looks at is not in the schema, if it was left out."""
    complaint = _POLICY_NUMBER.sub("", said)
    complaint = complaint[:1].upper() + complaint[1:]
    for operation in _about(rule, schema):
        for path, reason in schema.left_out[operation].items():
            if any(looked[: len(path)] == path for one in rule.conditions for looked in one.looks_at):
                return f"{complaint}: {'.'.join(path)} of {operation} {reason}."
    return f"{complaint}."


def _unknown_systems(rule: Rule, schema: CedarSchema) -> Iterator[str]:
    for uid in sorted(pst.entity_uids(rule.template), key=str):
        if str(uid.type) == SYSTEM and uid.id not in schema.systems:
            yield f"There is no system {uid.id!r}; there are {', '.join(sorted(schema.systems)) or 'none'}."


def _unknown_places(rule: Rule, schema: CedarSchema) -> Iterator[str]:
    """Say what the policy asks for with `has` and the schema does not know: Cedar takes that for never there."""
    operations = _about(rule, schema)
    for path in dict.fromkeys(path for clause in rule.template.clauses for path in presences(clause.expr)):
        if path[0] != "context" or any(path in schema.known[one] for one in operations):
            continue
        left_out = [
            f"{'.'.join(out)} of {one} {reason}."
            for one in operations
            for out, reason in schema.left_out[one].items()
            if path[: len(out)] == out
        ]
        yield left_out[0] if left_out else f"No operation that it may be about has {'.'.join(path)}."


def _about(rule: Rule, schema: CedarSchema) -> list[str]:
    return [one for one in schema.known if rule.may_be_about(one) or rule.may_be_about(one + WITH_APPROVAL)]


# ── from JSON Schema to Cedar ────────────────────────────────────────────────────────────────────────────────────

Attributes = Mapping[str, tuple[CedarType, bool]]


def _context(operation: OperationShape, left_out: dict[Path, str]) -> Attributes:
    params = _cedar_type(operation.params, ("context", "params"), left_out)
    facts: dict[str, tuple[CedarType, bool]] = {}
    for name, declared in operation.fact_types.items():
        kind = _cedar_type({"type": declared}, ("context", "facts", name), left_out)
        if kind is not None:
            facts[name] = (kind, True)
    return {
        **({} if params is None else {"params": (params, True)}),
        "facts": (_record(facts), True),
        "confidence": (_DECIMAL, True),
        "task": (_STRING, True),
        "mode": (_STRING, True),
        "time": (_DATETIME, True),
        "approved": (_SIMPLE["boolean"], True),
        "amount": (_SIMPLE["integer"], True),
        "currency": (_STRING, True),
        "anomalies": ({"type": "Set", "element": _STRING}, True),
    }


def _inside(kind: CedarType, path: Path) -> Iterator[Path]:
    for name, inner in kind.get("attributes", {}).items():
        yield (*path, name)
        yield from _inside(inner, (*path, name))


def _record(attributes: Attributes) -> CedarType:
    return {
        "type": "Record",
        "attributes": {name: {**kind, "required": required} for name, (kind, required) in attributes.items()},
    }


def _cedar_type(schema: Any, path: Path, left_out: dict[Path, str]) -> CedarType | None:
    """Return the Cedar type of all values that a JSON Schema lets pass, or None with the reason in `left_out`."""
    kinds = _kinds(schema) - {"null"}
    if len(kinds) != 1:
        left_out[path] = "has no single type in its JSON Schema, and Cedar needs one"
        return None
    (kind,) = kinds
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if kind == "array" and isinstance(schema.get("items"), Mapping):
        element = None if "null" in _kinds(schema["items"]) else _cedar_type(schema["items"], path, left_out)
        if element is not None:
            return {"type": "Set", "element": element}
        left_out[path] = "is a list whose elements have no single type of Cedar's"
        return None
    if kind == "object" and isinstance(schema.get("properties"), Mapping):
        required = set(schema.get("required", ()))
        found: dict[str, tuple[CedarType, bool]] = {}
        for name, inner in schema["properties"].items():
            cedar = _cedar_type(inner, (*path, name), left_out)
            if cedar is not None:
                found[name] = (cedar, name in required and "null" not in _kinds(inner))
        return _record(found)
    left_out[path] = {
        "number": "may have a fraction, which Cedar does not have: use whole numbers of smaller units",
        "array": "is a list, and its JSON Schema does not say of what",
        "object": "is an object, and its JSON Schema does not name its properties",
    }.get(kind, f"has the type {kind}, which Cedar does not have")
    return None


def _kinds(schema: Any) -> set[str]:
    """Return the JSON types that a schema lets pass as far as it says so plainly; empty if it does not."""
    if not isinstance(schema, Mapping):
        return set()
    declared = schema.get("type")
    if declared is not None:
        return {declared} if isinstance(declared, str) else set(declared)
    if "const" in schema:
        return {_kind(schema["const"])}
    return {_kind(one) for one in schema["enum"]} if schema.get("enum") else set()


def _kind(value: Any) -> str:
    kinds = {str: "string", bool: "boolean", int: "integer", type(None): "null"}
    return kinds.get(type(value), "number" if isinstance(value, float) else "object")

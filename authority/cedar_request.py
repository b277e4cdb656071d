"""What Cedar is asked about an action: who, what, where, and under which circumstances.

Values from outside become Cedar values and never Cedar text, so that no name, parameter or fact can be read as policy.
Whatever Cedar has no value for (a fraction with more than four digits, a whole number beyond 64 bits, a record that
looks like one of Cedar's own escapes, a null within a list) stands as an entity of the type `Inexpressible`: it is
there, it equals only itself, and every other use of it is an error, which denies. A null is as if it were not there.
"""

import json
from collections.abc import Callable, Container, Mapping
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal
from functools import lru_cache, partial
from math import isfinite
from typing import Any, Final

import cedarpy
import msgspec

from ledger.canonical import digest
from ledger.events import IntentSubmitted
from ledger.intents import JSON, ActionPlan, Subject

WITH_APPROVAL: Final = "#with_approval"
RESERVED: Final = ("#", "*")  # no operation has them in its name
INEXPRESSIBLE: Final = "Inexpressible"
PRINCIPALS: Final = ("Agent", "Person")
SYSTEM: Final = "System"
_LONG: Final = 2**63  # Cedar's whole numbers have 64 bits
_DECIMAL: Final = Decimal("922337203685477.5807")  # the largest of Cedar's decimals, which have four digits
_FOUR_DIGITS: Final = Decimal("0.0001")
_ESCAPES: Final = frozenset({"__entity", "__extn", "__expr"})
CIRCUMSTANCES: Final = (
    "params",
    "facts",
    "amount",
    "currency",
    "confidence",
    "task",
    "mode",
    "time",
    "approved",
    "anomalies",
)

Request = dict[str, Any]


class Question(msgspec.Struct, frozen=True):
    """What Cedar is asked, as a value: the same question to the same policies has the same answer."""

    subject: Subject
    grant: str
    operation: str
    adapter: str
    approved: bool
    context: str  # JSON of Cedar values

    @property
    def request(self) -> Request:
        """Write it for Cedar."""
        return {
            "principal": {"type": _type(self.subject), "id": self.subject.name},
            "action": {"type": "Action", "id": named(self.operation, approved=self.approved)},
            "resource": {"type": SYSTEM, "id": self.adapter},
            "context": self.context,
        }

    @property
    def entities(self) -> cedarpy.Entities:
        """Return who, what and where, with all that policies may know of them."""
        return _entities(self.subject, self.grant, self.operation, self.adapter)


class Asked(msgspec.Struct, frozen=True):
    """One action of an intent, as policy sees it, with the facts that its adapter reported."""

    submitted: IntentSubmitted
    action: ActionPlan
    facts: JSON
    at: datetime
    anomalies: tuple[str, ...] = ()  # kinds of what is odd about whoever acts

    @property
    def operation(self) -> str:
        """Return what is to be done."""
        return self.action.operation

    def seen(self, *, approved: bool) -> JSON:
        """Return what the policies of such a question look at, as a person reads it."""
        return {
            "principal": attributes(self.submitted.agent, self.submitted.grant),
            "context": {name: self._circumstance(name, approved=approved) for name in CIRCUMSTANCES},
        }

    def question(self, *, approved: bool, about: Container[str] = CIRCUMSTANCES) -> Question:
        """Ask whether it may happen by itself, or once the people have approved it whom policy wants to.

        Of the circumstances only those in `about` are told; whoever asks knows that nobody looks at the others.
        """
        context = {
            name: _IN_CEDAR[name](self._circumstance(name, approved=approved))
            for name in CIRCUMSTANCES
            if name in about
        }
        return Question(
            subject=self.submitted.agent,
            grant=self.submitted.grant,
            operation=self.action.operation,
            adapter=self.action.adapter,
            approved=approved,
            context=msgspec.json.encode(context).decode(),
        )

    def _circumstance(self, name: str, *, approved: bool) -> Any:
        match name:
            case "params":
                return self.action.params
            case "facts":
                return self.facts
            case "amount":
                return self.action.amount_minor or 0
            case "currency":
                return self.action.currency or ""
            case "confidence":
                return _confidence(self.submitted.confidence)
            case "task":
                return self.submitted.task or ""
            case "mode":
                return self.submitted.mode.value
            case "time":
                return _time(self.at)
            case "anomalies":
                return self.anomalies
            case _:
                return approved


def attributes(subject: Subject, grant: str) -> dict[str, str]:
    """Return what policy knows of who acts."""
    return {
        "name": subject.name,
        "version": subject.version or "",
        "role": subject.role or "",
        "grant": grant,
        "kind": subject.kind,
    }


def named(operation: str, *, approved: bool) -> str:
    """Return the action that is asked about: the operation by itself, or once people have approved it."""
    return operation + (WITH_APPROVAL if approved else "")


def groups(operation: str) -> tuple[str, ...]:
    """Return an operation's place in the tree of actions, from itself upwards."""
    return (operation, f"{operation.partition('.')[0]}.*", "*")


def value(given: Any) -> Any:
    """Write a JSON value as Cedar's JSON; the same after it was stored and read again."""
    if isinstance(given, (str, bool)):
        return given
    if isinstance(given, int):
        return given if -_LONG <= given < _LONG else _inexpressible(given)
    if isinstance(given, float):
        return _number(given)
    if isinstance(given, Mapping):
        if not _ESCAPES.isdisjoint(given):
            return _inexpressible(given)
        return {name: value(member) for name, member in given.items() if not _is_null(member)}
    if isinstance(given, list | tuple):
        return [value(member) for member in given]
    return _inexpressible(given)


def _is_null(given: Any) -> bool:
    return given is None or (isinstance(given, float) and not isfinite(given))  # which is stored as null


def _number(given: float) -> Any:
    if not isfinite(given):
        return _inexpressible(None)
    if given.is_integer():  # the canonical form of 5.0 is 5
        return value(int(given))
    exact = Decimal(repr(given))
    if abs(exact) <= _DECIMAL and exact == exact.quantize(_FOUR_DIGITS):
        return _extension("decimal", f"{exact.quantize(_FOUR_DIGITS):f}")
    return _inexpressible(given)


def _inexpressible(given: Any) -> JSON:
    return {"__entity": {"type": INEXPRESSIBLE, "id": digest(json.dumps(given, sort_keys=True, default=str))}}


def _extension(function: str, argument: str) -> JSON:
    return {"__extn": {"fn": function, "arg": argument}}


@lru_cache(maxsize=1024)
def _confidence(given: float | None) -> str:
    """None stated is none at all; and rounding never makes an agent more confident than it said."""
    return f"{Decimal(repr(given or 0.0)).quantize(_FOUR_DIGITS, ROUND_DOWN):f}"


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _type(subject: Subject) -> str:
    return PRINCIPALS[0] if subject.kind == "agent" else PRINCIPALS[1]


@lru_cache(maxsize=1024)
def _entities(subject: Subject, grant: str, operation: str, adapter: str) -> cedarpy.Entities:
    own, *above = groups(operation)
    tree = [(own + WITH_APPROVAL, own), *zip((own, *above), above, strict=False)]
    entities = [
        {"uid": {"type": _type(subject), "id": subject.name}, "attrs": attributes(subject, grant), "parents": []},
        {"uid": {"type": SYSTEM, "id": adapter}, "attrs": {}, "parents": []},
        {"uid": {"type": "Action", "id": "*"}, "attrs": {}, "parents": []},
        *(
            {"uid": {"type": "Action", "id": child}, "attrs": {}, "parents": [{"type": "Action", "id": parent}]}
            for child, parent in tree
        ),
    ]
    return cedarpy.Entities.from_json_str(msgspec.json.encode(entities).decode())


_IN_CEDAR: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(CIRCUMSTANCES, value),
    "confidence": partial(_extension, "decimal"),
    "time": partial(_extension, "datetime"),
}

"""The words of authority: what a grant permits, what its limits count, and what a decision takes from them.

Frozen values that stand in events, and what their patterns cover. What is permitted is decided in
`authority/grants.py`, whether a child is narrower than its parent in `authority/delegation.py`.
"""

import re
from typing import Final, Literal

import msgspec

from ledger.intents import Value

PATTERN: Final = r"^(\*|[a-z][a-z0-9_]*\.(\*|[a-z][a-z0-9_]*))$"  # also what OpenAPI shows

Scalar = str | int | float | bool | None


class Range(Value, frozen=True):
    """A constraint on a whole number, both ends included; None leaves an end open."""

    min: int | None = None
    max: int | None = None


class Permission(Value, frozen=True):
    """Operations that a grant permits: one ("payments.refund"), those of an adapter ("payments.*") or all ("*").

    `where` narrows by parameter: each one named must be there and be one of the values, or lie within the range.
    """

    operation: str
    where: dict[str, tuple[Scalar, ...] | Range] = msgspec.field(default_factory=dict)


class Limit(Value, frozen=True):
    """How much a grant and everything below it may do in a window of time.

    Windows are hours and days of the calendar in UTC. With `each` = "agent", every agent (by name) below the grant has
    an allowance of its own; otherwise all of them share one.
    """

    operation: str  # a pattern, as in Permission
    measure: Literal["count", "amount"]
    per: Literal["hour", "day", "total"]
    max: int  # actions, or minor units of `currency`
    currency: str | None = None  # with measure "amount" only, and always
    each: Literal["grant", "agent"] = "grant"


class Charge(Value, frozen=True):
    """What one decision takes from one limit. The window is that of the time at which the decision is recorded."""

    limit: str  # names the counter: the grant, the limit's place in it, and the agent where each has its own
    per: Literal["hour", "day", "total"]
    amount: int  # at least 1
    max: int


def is_pattern(text: str) -> bool:
    """Tell whether this names one operation, those of an adapter, or all."""
    return re.fullmatch(PATTERN, text) is not None


def covers(pattern: str, operation: str) -> bool:
    """Tell whether a pattern ("payments.refund", "payments.*", "*") covers an operation, or another pattern."""
    return pattern in {"*", operation} or (pattern.endswith(".*") and operation.startswith(pattern[:-1]))

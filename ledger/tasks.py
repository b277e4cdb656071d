"""The words of a task: what somebody commissioned, when it counts as done, and who is asked when it cannot be.

Frozen values that stand in events. The contract is copied into each intent that names its task, so that what was
promised then is what is checked.
"""

from ledger.intents import JSON, Value


class Criterion(Value, frozen=True):
    """One thing that must be true outside after the commit: what an operation's preview shows, compared by field."""

    verify: str  # an operation whose preview reports facts, "billing.subscription"
    params: JSON  # of that operation
    expect: JSON  # facts by name, each of which must be equal


class FailureMode(Value, frozen=True):
    """A way to fail that was foreseen: its words in an outside system's answer, and the person it escalates to."""

    name: str
    contains: str  # compared with the reason without regard to case
    escalate_to: str
    operation: str = "*"  # a pattern


class TaskContract(Value, frozen=True):
    """What was commissioned."""

    task: str
    owner: str  # a person
    scope: tuple[str, ...]  # patterns of operations
    success: tuple[Criterion, ...] = ()
    failure_modes: tuple[FailureMode, ...] = ()


class Check(Value, frozen=True):
    """What one criterion found. `found` holds the expected fields as they are outside; None if nobody could tell."""

    verify: str
    expect: JSON
    found: JSON | None
    holds: bool
    reason: str | None = None  # why nobody could tell

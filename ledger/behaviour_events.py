"""The events of the watch over behaviour: what was found odd, and that a person has looked at it.

An anomaly is a stream of its own, `anomaly/<id>`, whose id is made of the position of the event that showed it: however
many processes watch, and however often they crash, it is told once. The rules of `ledger/events.py` hold here.
"""

from datetime import datetime
from typing import Any, Literal

from ledger.event import Event
from ledger.intents import Value


class AnomalyDetected(Event, frozen=True):
    """Somebody does something odd. What is done about it was configuration, and is part of the fact."""

    anomaly: str
    kind: Literal["count", "amount", "operation", "target", "denied", "approver"]
    whose: str  # "agent" | "person" | "approver"
    name: str
    operation: str | None
    position: int  # of the event that showed it
    found_at: datetime  # when that event was recorded
    intent: str | None
    grants: tuple[str, ...]  # under which it was done lately
    evidence: dict[str, Any]
    sentence: str
    response: Literal["note", "escalate", "suspend"]
    stands_until: datetime  # while it stands, policy sees it
    suspended: tuple[str, ...] = ()  # the grants that were suspended for it


class AnomalyCleared(Event, frozen=True):
    """A person has looked at an anomaly, and it stands no longer. What goes on is looked at anew."""

    anomaly: str
    whose: str
    name: str
    note: str
    by: str
    custody: tuple[str, ...] = ()  # of who did it


class StandingAnomaly(Value, frozen=True):
    """An anomaly as a verdict saw it."""

    anomaly: str
    kind: str
    name: str  # whose it is: the agent that acts, or one above it that delegated
    escalates: bool


def anomaly_stream(anomaly: str) -> str:
    """Return the stream of an anomaly."""
    return f"anomaly/{anomaly}"

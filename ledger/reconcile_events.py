"""The events of reconciliation. The rules of `ledger/events.py` hold here.

Each intent whose effects were ever found to be other than its events say has one stream for that, beside its own: what
was decided and done stays as it was, and nobody who works on the intent meets a version that a look has moved.
"""

from typing import Literal

from ledger.event import Event
from ledger.intents import JSON, Subject


class DivergenceFound(Event, frozen=True):
    """The outside was asked, and does not show what the ledger says it did there. Stands until it is gone."""

    intent: str
    action: str | None  # None: it is about what the intent's task calls success
    aspect: str  # standing | result | shown | criterion-1, -2 …
    operation: str  # that was asked about, or that looked
    expected: JSON
    found: JSON | None  # None: nothing of it is there
    reason: str
    summary: str  # what the action, or the intent, does
    agent: Subject
    task: str | None
    commissioned_by: str | None
    grant: str
    custody: tuple[str, ...]
    intent_version: int  # of the intent's stream: what was compared is its state there


class DivergenceGone(Event, frozen=True):
    """A divergence that was found is none any more."""

    intent: str
    action: str | None
    aspect: str
    cause: Literal["agrees", "overtaken"]  # overtaken: the ledger itself has since changed the same thing, or undone it
    reason: str

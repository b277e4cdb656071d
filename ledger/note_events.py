"""The event of a note: what an agent, or a person, says about an intent while it runs or afterwards.

Part of the closed union; the rules of `ledger/events.py` hold here.

Notes have a stream of their own beside their intent's. A note moves nothing, so it must not be able to disturb either:
no run of an intent ever meets a version that a note has taken.
"""

import msgspec

from ledger.event import Event
from ledger.intents import JSON, Subject


class NoteAdded(Event, frozen=True):
    """Somebody said something about an intent. Shown in its timeline, never interpreted."""

    intent: str
    text: str
    by: Subject
    grant: str
    custody: tuple[str, ...]  # of who said it
    data: JSON = msgspec.field(default_factory=dict)
    traceparent: str | None = None  # the span in which they said it
    key: str | None = None  # the idempotency key under which it was sent

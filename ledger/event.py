"""What an event is; the events themselves stand in `ledger/events.py`."""

from ledger.intents import Value


class Event(Value, frozen=True):
    """A fact."""

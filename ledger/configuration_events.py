"""The event of configuration: what the service offers, and by what promises. The rules of `ledger/events.py` hold here.

All of it has one stream. Nothing secret stands in it: the file names secrets, it never holds them.
"""

from ledger.event import Event
from ledger.intents import Guarantee, Undo, Value

CONFIGURATION_STREAM = "configuration"


class Promise(Value, frozen=True):
    """What an operation promised."""

    guarantee: Guarantee
    undo: Undo
    params: str  # digest of the schema
    undo_window_seconds: int | None = None
    hold_seconds: int | None = None
    settle_seconds: int = 0
    key_lifetime_seconds: int | None = None
    facts: tuple[str, ...] = ()
    reads: bool = False


class ConfigurationChanged(Event, frozen=True):
    """A process began with another configuration than the last one that was recorded."""

    configuration: str  # digest of `sections` and `operations`
    before: str | None  # that of the last one; None for the first
    sections: dict[str, str]  # the tables of the file, by name, each as a digest
    operations: dict[str, Promise]
    added: tuple[str, ...] = ()  # names of sections and of operations
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

"""From stored events to what projections read: decode what is read, pass over what is not, stop at what is unknown.

Reading here does not go through the store's `read_all`, because that understands a whole batch or nothing. A view has
to say at which position it stopped, and it does not pay for decoding events that nobody reads.
"""

from collections.abc import Collection
from typing import Final

from asyncpg import Record

from ledger.events import EVENT_TYPES, UPCAST, Recorded, decode
from ledger.ids import intent_of

_KNOWN: Final = frozenset(EVENT_TYPES) | frozenset(UPCAST)


def understand(ledger: str, record: Record) -> Recorded:
    """Turn a row of the events table into the event it is. Raises `Corrupt`."""
    position, stream, version, type_name, at, body = record
    return Recorded(
        ledger=ledger,
        position=position,
        stream=stream,
        version=version,
        at=at,
        event=decode(type_name, body),
        body=body,
    )


def understand_if_read(ledger: str, record: Record, reads: Collection[str]) -> Recorded | None:
    """Like `understand`, for events of intents that somebody reads; None for the others.

    A type that this release does not know raises `UnknownEventType`, whoever may read it: what it means is not known.
    """
    type_name = record["type"]
    if type_name in _KNOWN and (intent_of(record["stream"]) is None or _unread(type_name, reads)):
        return None
    return understand(ledger, record)


def _unread(type_name: str, reads: Collection[str]) -> bool:
    return type_name not in reads and type_name not in UPCAST  # a retired type may become one that is read

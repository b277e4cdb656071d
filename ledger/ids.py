"""Names of things: intents, streams and the keys under which outside systems know our calls.

Randomness and time come in as arguments, so that a simulation can replay them.
"""

import hashlib
from datetime import datetime
from uuid import UUID

_STREAM_OF_INTENT = "intent/"
_STREAM_OF_UNDO_PLAN = "undo-plan/"
_STREAM_OF_NOTES = "notes/"
_STREAM_OF_RECONCILIATION = "reconcile/"


def intent_id(now: datetime, entropy: bytes) -> str:
    """Build a UUID version 7 (RFC 9562 §5.7): 48 bits of milliseconds and 74 of the 80 bits of `entropy`."""
    milliseconds = int(now.timestamp() * 1000)
    random = int.from_bytes(entropy[:10], "big")
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76
    value |= (random >> 68 & 0xFFF) << 64
    value |= 0b10 << 62
    value |= random & (1 << 62) - 1
    return str(UUID(int=value))


def intent_stream(intent: str) -> str:
    """Name the stream that holds the events of an intent."""
    return _STREAM_OF_INTENT + intent


def intent_of(stream: str) -> str | None:
    """Return the intent whose stream this is, or None for any other stream."""
    return stream.removeprefix(_STREAM_OF_INTENT) if stream.startswith(_STREAM_OF_INTENT) else None


def notes_stream(intent: str) -> str:
    """Name the stream that holds the notes about an intent."""
    return _STREAM_OF_NOTES + intent


def undo_plan_stream(plan: str) -> str:
    """Name the stream that holds the events of an undo plan."""
    return _STREAM_OF_UNDO_PLAN + plan


def undo_plan_of(stream: str) -> str | None:
    """Return the undo plan whose stream this is, or None for any other stream."""
    return stream.removeprefix(_STREAM_OF_UNDO_PLAN) if stream.startswith(_STREAM_OF_UNDO_PLAN) else None


def reconciliation_stream(intent: str) -> str:
    """Name the stream that holds what reconciliation found about an intent."""
    return _STREAM_OF_RECONCILIATION + intent


def reconciled_intent_of(stream: str) -> str | None:
    """Return the intent about which reconciliation found what is in this stream, or None for any other stream."""
    return stream.removeprefix(_STREAM_OF_RECONCILIATION) if stream.startswith(_STREAM_OF_RECONCILIATION) else None


def flight_of(stream: str) -> str | None:
    """Name, in the table of work, what this stream is about: an intent by its id, an undo plan by its stream."""
    return stream if undo_plan_of(stream) is not None else intent_of(stream)


def flight_stream(name: str) -> str:
    """Name the stream of what has this name in the table of work."""
    return name if undo_plan_of(name) is not None else intent_stream(name)


def action_key(ledger: str, intent: str, action: str, verb: str) -> str:
    """Derive the key under which an adapter knows (intent, action, verb).

    Called once, at intake; from then on the key written in `IntentSubmitted` is the only source.
    40 hexadecimal characters of SHA-256, short enough for PostgreSQL's 200-byte transaction identifiers.
    """
    return hashlib.sha256(f"{ledger}\n{intent}\n{action}\n{verb}".encode()).hexdigest()[:40]


def retaken_key(key: str) -> str:
    """Derive the key under which a hold is taken again that was let go under `key`, which refuses it from then on."""
    return hashlib.sha256(f"{key}\nagain".encode()).hexdigest()[:40]

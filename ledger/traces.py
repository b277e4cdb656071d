"""Names in distributed tracing (W3C Trace Context): the trace of an intent, and the spans of what happens to it.

Every name is derived and none is drawn: whoever reads the same events finds the same spans, so a span that is exported
twice is one span, and a call that leaves for the outside names its parent before anybody has exported it.

  * An intent belongs to the trace of the agent's `traceparent`; without one its own id, 128 bits too, is the trace.
  * A *run* is what one agent does about one task under one trace: the intents of that trace. Without a trace every
    intent is a run of its own.
"""

import hashlib
import re
from typing import Final

import msgspec

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
).fullmatch
_SAMPLED: Final = 0x01


class TraceParent(msgspec.Struct, frozen=True):
    """Where in a trace somebody stands: the header `traceparent` (W3C Trace Context §3.2), read."""

    trace: str  # 32 hexadecimal digits
    span: str  # 16
    sampled: bool


def read_traceparent(header: str | None) -> TraceParent | None:
    """Read a `traceparent`; None for none, and for what is none."""
    match = _TRACEPARENT(header) if header is not None else None
    if match is None:
        return None
    return TraceParent(match["trace"], match["span"], bool(int(match["flags"], 16) & _SAMPLED))


def trace_of(intent: str, traceparent: str | None) -> str:
    """Return the trace to which an intent belongs."""
    parent = read_traceparent(traceparent)
    return intent.replace("-", "") if parent is None else parent.trace


def run_of(intent: str, traceparent: str | None) -> str:
    """Return the run of which an intent is a part: its trace, or itself."""
    parent = read_traceparent(traceparent)
    return intent if parent is None else parent.trace


def span_of(intent: str, *what: str) -> str:
    """Return the span of a part of an intent; of the intent itself, if nothing is named."""
    digest = hashlib.sha256("\n".join((intent, *what)).encode()).hexdigest()[:16]
    return digest if digest.strip("0") else "0" * 15 + "1"


def outgoing(intent: str, action: str | None, verb: str, traceparent: str | None) -> str:
    """Return the `traceparent` under which an outside system is called: the action's own span, or the intent's.

    What the agent's tracing has left out stays left out.
    """
    parent = read_traceparent(traceparent)
    flags = "01" if parent is None or parent.sampled else "00"
    part = UNDOING if verb == "compensate" else ACTING
    span = span_of(intent) if action is None else span_of(intent, part, action)
    return f"00-{trace_of(intent, traceparent)}-{span}-{flags}"


ACTING: Final = "action"
UNDOING: Final = "undo"

"""What an outside system's answer must look like before a word of it is believed, and what of it is kept.

An answer is one JSON text that two readers cannot understand differently (`ledger/strict_json.py`); anything else has
no meaning, and the caller treats it so. What is kept for ever holds no credentials: where an outside system echoes one,
it is blotted out before anything is read.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from adapters.contract import Operation, Preview
from adapters.facts import checked_facts
from ledger import bounds
from ledger.canonical import canonical
from ledger.errors import Permanent
from ledger.intents import JSON
from ledger.strict_json import NotStrictJSON, reader

_BLOT: Final = b"***"
_SHORTEST_SECRET: Final = 6  # blotting out shorter ones would mangle answers and protect nothing

AWAY: Final = frozenset({502, 503, 504})  # with which a proxy says that the system behind it was not heard


class Senseless(ValueError):
    """The answer has no meaning."""


def parse(body: bytes, secrets: Sequence[bytes] = ()) -> JSON:
    """Read an answer that must be a JSON object; an empty one is `{}`. Raises `Senseless`.

    Integers beyond 2^53 become text, because they are names (of a charge, of a row) and not amounts.
    """
    for secret in secrets:
        body = body.replace(secret, _BLOT)
    if not body.strip():
        return {}
    try:
        value = _read(body)
    except NotStrictJSON as error:
        raise Senseless(f"it {error}") from None
    if not isinstance(value, dict):
        raise Senseless("it is not a JSON object")
    return value


def secrets_in(headers: Iterable[str]) -> tuple[bytes, ...]:
    """Return what must never be kept of credentials: the whole of each, and its part behind a scheme like "Bearer"."""
    parts = {part for value in headers for part in (value, value.rpartition(" ")[2]) if len(part) >= _SHORTEST_SECRET}
    return tuple(part.encode() for part in sorted(parts, key=len, reverse=True))


def pointed(value: Any, pointer: str) -> Any:
    """Return what a JSON pointer (RFC 6901) points to; None where it points nowhere."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def said(data: JSON) -> str | None:
    """Return the sentence with which an outside system explains an error, in the usual places."""
    for pointer in ("/detail", "/message", "/error/message", "/error", "/title"):
        found = pointed(data, pointer)
        if isinstance(found, str) and found.strip():
            return " ".join(found.split())[: bounds.ERROR_LENGTH // 2]
    return None


def _beyond(digits: str) -> float | str:
    if not set(digits) & set(".eE"):
        return digits
    number = float(digits)
    if not math.isfinite(number):
        raise NotStrictJSON("contains a number that is too large")
    return number


_read: Final = reader(_beyond)


def previewed(operation: Operation, data: JSON, facts: Mapping[str, str], before: Mapping[str, str]) -> Preview:
    """Take from an answer what pointers name: facts for policy, and what people see. Raises `Permanent` (law 11).

    A fact that is not there, has another type than declared, or is too long together with the rest, is no preview.
    """
    seen = {fact: pointed(data, pointer) for fact, pointer in facts.items()}
    missing = [fact for fact, value in seen.items() if value is None]
    if missing:
        raise Permanent(f"The preview of {operation.name} says nothing about {', '.join(missing)}.")
    shown = {name: pointed(data, pointer) for name, pointer in before.items()}
    if len(canonical([seen, shown])) > bounds.PREVIEW_BYTES:
        raise Permanent(f"The preview of {operation.name} is longer than {bounds.PREVIEW_BYTES} bytes.")
    return Preview(checked_facts(operation.name, seen, operation.fact_types), shown or None)

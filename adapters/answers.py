"""What an outside system's answer must look like before a word of it is believed, and what of it is kept.

An answer is one JSON text (RFC 8259) that two readers cannot understand differently: no duplicate keys, no NaN, no
lone surrogates, bounded in size and depth. Anything else has no meaning, and the caller treats it so. What is kept for
ever holds no credentials: where an outside system echoes one, it is blotted out before anything is read.
"""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from ledger import bounds
from ledger.intents import JSON

_BLOT: Final = b"***"
_SHORTEST_SECRET: Final = 6  # blotting out shorter ones would mangle answers and protect nothing


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
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_integer,
        )
        _check(value, 1)
    except UnicodeError:
        raise Senseless("it is not UTF-8") from None
    except RecursionError:
        raise Senseless("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Senseless(f"it is not JSON ({error.msg})") from None
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


def _object(pairs: list[tuple[str, Any]]) -> JSON:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Senseless("it has a key twice in one object")
    return value


def _constant(name: str) -> Any:
    raise Senseless(f"it contains {name}, which JSON does not have")


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise Senseless("it contains a number that is too large")
    return number


def _integer(digits: str) -> int | str:
    return digits if len(digits) > 16 or abs(int(digits)) > bounds.INTEGER_MAX else int(digits)


def _check(value: Any, depth: int) -> None:
    if depth > bounds.JSON_DEPTH:
        raise Senseless("it is nested too deeply")
    match value:
        case str():
            value.encode()  # a lone surrogate raises UnicodeError
            if "\0" in value:
                raise Senseless("it contains the character NUL")
        case dict():
            for key, one in value.items():
                _check(key, depth)
                _check(one, depth + 1)
        case list():
            for one in value:
                _check(one, depth + 1)
        case _:
            pass

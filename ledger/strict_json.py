r"""JSON that means one thing to every reader: bytes from outside become a value once, or are refused.

Rules of this file:

1. A text that two JSON readers could understand differently is refused (RFC 8259 §4 and §6 leave duplicate names and
   large numbers open; RFC 7493 closes them): duplicate keys, NaN and Infinity, NUL, lone surrogates, bytes that are
   not UTF-8, a byte order mark, more depth than JSON_DEPTH.
2. One number is one value: `5000`, `5000.0` and `5e3` are the same JSON number with the same canonical bytes
   (RFC 8785), so they are the same integer here. A text that looks like a number stays a text.
3. Beyond ±2^53 readers disagree on a number. Whoever reads says what becomes of one (`beyond`).

The scanner of the standard library does the reading: it is the one in C that shows duplicate keys. Strings need a
second look only where the text holds a `\u` escape, and depth only where there are enough brackets for it.
"""

from collections.abc import Callable
from json import JSONDecodeError, JSONDecoder
from typing import Any, Final, NoReturn

from ledger.bounds import INTEGER_MAX, JSON_DEPTH

_DIGITS_MAX: Final = 17  # a sign and the 16 digits of 2^53; also spares int() from absurd lengths


class NotStrictJSON(ValueError):
    """A text without one meaning. Its words go on after "the body …": "is not JSON at character 0: …"."""


def refuse_beyond(digits: str) -> NoReturn:
    """Refuse a number beyond ±2^53."""
    del digits
    raise NotStrictJSON("contains a number beyond 2^53, on which JSON readers disagree")


def reader(beyond: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """Return the function from bytes to a value, or `NotStrictJSON` with the first thing that is wrong.

    `beyond` is given the digits of a number that is not within ±2^53.
    """

    def integer(digits: str) -> Any:
        if len(digits) > _DIGITS_MAX or not -INTEGER_MAX <= (number := int(digits)) <= INTEGER_MAX:
            return beyond(digits)
        return number

    def fraction(digits: str) -> Any:
        number = float(digits)
        if not -INTEGER_MAX < number < INTEGER_MAX:  # what was beyond it may have been rounded down to it
            return beyond(digits)
        return int(number) if number.is_integer() else number

    decode = JSONDecoder(object_pairs_hook=_pairs, parse_int=integer, parse_float=fraction, parse_constant=_constant)

    def read(body: bytes) -> Any:
        return _read(decode.decode, body)

    return read


def _read(decode: Callable[[str], Any], body: bytes) -> Any:
    try:
        text = body.decode()
        value = decode(text)
    except UnicodeDecodeError as error:
        raise NotStrictJSON(f"is not UTF-8 at byte {error.start}") from None
    except JSONDecodeError as error:
        raise NotStrictJSON(f"is not JSON at character {error.pos}: {error.msg.removesuffix(' at')}") from None
    except RecursionError:
        raise _too_deep() from None
    if text.count("{") + text.count("[") > JSON_DEPTH or "\\u" in text:
        _look_again(value, 1)
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotStrictJSON("has the same key twice in one object")
    return members


def _constant(name: str) -> NoReturn:
    raise NotStrictJSON(f"contains {name}, which JSON does not have")


def _too_deep() -> NotStrictJSON:
    return NotStrictJSON(f"is nested deeper than {JSON_DEPTH}")


def _look_again(value: Any, depth: int) -> None:
    """Check what the scanner does not: depth, and strings that escapes can bring in (NUL, lone surrogates)."""
    if isinstance(value, str):
        _look_at_text(value)
    elif isinstance(value, dict | list):
        if depth > JSON_DEPTH:
            raise _too_deep()
        if isinstance(value, dict):
            for key in value:
                _look_at_text(key)
            value = value.values()
        for inner in value:
            _look_again(inner, depth + 1)


def _look_at_text(text: str) -> None:
    if "\0" in text:
        raise NotStrictJSON("contains the character NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotStrictJSON("contains half of a surrogate pair") from None

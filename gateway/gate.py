r"""The gate in front of everything: bytes from outside become a JSON value once, or are refused.

Rules of this file:

1. A text that two JSON readers could understand differently is refused (RFC 8259 §4 and §6 leave duplicate names and
   large numbers open; RFC 7493 closes them): duplicate keys, NaN and Infinity, numbers beyond 2^53, NUL, lone
   surrogates, bytes that are not UTF-8, a byte order mark. What passes means one thing everywhere, for ever.
2. Parsed once. The value that leaves here is what is validated, digested and stored; the bytes are not looked at again.
3. It bounds what it reads before it reads it, and knows nothing of intents.

The scanner of the standard library does the reading: it is the one in C that shows duplicate keys. Strings need a
second look only where the text holds a `\u` escape, and depth only where there are enough brackets for it.
"""

import asyncio
import re
from collections.abc import Mapping
from json import JSONDecodeError, JSONDecoder
from typing import Any, Final

from aiohttp.web import BaseRequest, RequestPayloadError

from ledger.bounds import BODY_BYTES, INTEGER_MAX, JSON_DEPTH
from ledger.errors import Malformed, TooLarge, TooSlow, UnsupportedMedia

_NOTHING: Final = "Nothing was recorded."
_JSON_TYPE: Final = re.compile(r'application/json(?:\s*;\s*charset\s*=\s*"?utf-8"?)?\s*', re.IGNORECASE).fullmatch


def parse(body: bytes) -> Any:
    """Turn a JSON text into a value; raises `Malformed` with the first thing that is wrong with it."""
    try:
        text = body.decode()
        value = _decode(text)
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not UTF-8 at byte {error.start}. {_NOTHING}") from None
    except JSONDecodeError as error:
        raise Malformed(f"The body is not JSON at character {error.pos}: {error.msg}. {_NOTHING}") from None
    except RecursionError:
        raise _too_deep() from None
    if text.count("{") + text.count("[") > JSON_DEPTH or "\\u" in text:
        _look_again(value, 1)
    return value


async def read_json(request: BaseRequest, seconds: float) -> Any:
    """Read and parse the body of `request` within `seconds`.

    Raises `UnsupportedMedia` for any Content-Encoding and any type but JSON in UTF-8, `TooLarge` beyond BODY_BYTES (at
    once where the length is announced, else at the first chunk that passes it), `TooSlow` and `Malformed`.
    """
    headers = request.headers
    if "Content-Encoding" in headers:
        raise UnsupportedMedia(f"A body with a Content-Encoding is not accepted; send it as it is. {_NOTHING}")
    content_type = headers.get("Content-Type", "")
    if content_type != "application/json" and not _JSON_TYPE(content_type):
        raise UnsupportedMedia(f"The body must have the Content-Type application/json, in UTF-8. {_NOTHING}")
    if (request.content_length or 0) > BODY_BYTES:
        raise TooLarge
    content = request.content
    try:
        if content.is_eof():  # the usual case: it came with the headers, and no timer is needed
            body = content.read_nowait(-1)
        else:
            body = await asyncio.wait_for(_read(request, headers), seconds)
    except TimeoutError:
        raise TooSlow(f"The body did not arrive within {seconds:g} seconds. {_NOTHING}") from None
    except RequestPayloadError:
        raise Malformed(f"The body was cut off or its chunks were wrong. {_NOTHING}") from None
    if len(body) > BODY_BYTES:
        raise TooLarge
    return parse(body)


async def _read(request: BaseRequest, headers: Mapping[str, str]) -> bytes:
    """Read until the end, or until there is more than will be accepted; first say so to whoever waits for that."""
    if headers.get("Expect", "").lower() == "100-continue":  # RFC 9110 §10.1.1
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun
    body = bytearray()
    while len(body) <= BODY_BYTES:
        chunk = await request.content.readany()
        if not chunk:
            break
        body += chunk
    return bytes(body)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed(f"An object of the body has the same key twice. {_NOTHING}")
    return members


def _integer(digits: str) -> int:
    if len(digits) > 17:  # a sign and the 16 digits of 2^53; also spares int() from absurd lengths
        raise _too_big()
    number = int(digits)
    if not -INTEGER_MAX <= number <= INTEGER_MAX:
        raise _too_big()
    return number


def _float(digits: str) -> float:
    number = float(digits)
    if not -INTEGER_MAX < number < INTEGER_MAX:  # what was beyond it may have been rounded down to it
        raise _too_big()
    return number


def _constant(name: str) -> Any:
    raise Malformed(f"The body contains {name}, which JSON does not have. {_NOTHING}")


def _too_big() -> Malformed:
    return Malformed(f"The body contains a number beyond 2^53, on which JSON readers disagree. {_NOTHING}")


def _too_deep() -> Malformed:
    return Malformed(f"The body is nested deeper than {JSON_DEPTH}. {_NOTHING}")


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
        raise Malformed(f"The body contains the character NUL. {_NOTHING}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Malformed(f"The body contains half of a surrogate pair. {_NOTHING}") from None


_decode: Final = JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=_float, parse_constant=_constant
).decode

"""The gate in front of everything: bytes from outside become a JSON value or a form once, or are refused.

Rules of this file:

1. A text that two JSON readers could understand differently is refused (`ledger/strict_json.py`), numbers beyond 2^53
   included. What passes means one thing everywhere, for ever.
2. Parsed once. The value that leaves here is what is validated, digested and stored; the bytes are not looked at again.
3. A form (OAuth clients speak in forms) is held to the same: one type, UTF-8, no name twice, a bounded number of them.
4. It bounds what it reads before it reads it, and knows nothing of intents.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp.web import BaseRequest, RequestPayloadError

from ledger.bounds import BODY_BYTES, FORM_FIELDS
from ledger.errors import Malformed, TooLarge, TooSlow, UnsupportedMedia
from ledger.strict_json import NotStrictJSON, reader, refuse_beyond

_NOTHING: Final = "Nothing was recorded."
_UTF_8: Final = r'(?:\s*;(?:\s*charset\s*=\s*"?utf-8"?)?)*\s*'  # a parameter may be empty (RFC 9110 §5.6.6)
_JSON_TYPE: Final = re.compile("application/json" + _UTF_8, re.IGNORECASE).fullmatch
_read_json: Final = reader(refuse_beyond)
_FORM_TYPE: Final = re.compile("application/x-www-form-urlencoded" + _UTF_8, re.IGNORECASE).fullmatch


def parse(body: bytes) -> Any:
    """Turn a JSON text into a value; raises `Malformed` with the first thing that is wrong with it."""
    try:
        return _read_json(body)
    except NotStrictJSON as error:
        raise Malformed(f"The body {error}. {_NOTHING}") from None


def parse_form(body: bytes) -> Mapping[str, str]:
    """Turn `application/x-www-form-urlencoded` into its fields; raises `Malformed` with what is wrong with it.

    A field without a value counts as not sent, and one sent twice is refused (RFC 6749 §3.2).
    """
    try:
        text = body.decode("ascii")
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=FORM_FIELDS
        )
    except ValueError:  # UnicodeDecodeError is one
        raise Malformed(f"The body is not a form of at most {FORM_FIELDS} fields in UTF-8. {_NOTHING}") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Malformed(f"The form has the same field twice. {_NOTHING}")
    if any("\0" in text for text in (*fields, *fields.values())):
        raise Malformed(f"The form contains the character NUL. {_NOTHING}")
    return {name: text for name, text in fields.items() if text}


async def read_json(request: BaseRequest, seconds: float) -> Any:
    """Read and parse the body of `request` within `seconds`.

    Raises `UnsupportedMedia` for any Content-Encoding and any type but JSON in UTF-8, `TooLarge` beyond BODY_BYTES (at
    once where the length is announced, else at the first chunk that passes it), `TooSlow` and `Malformed`.
    """
    content_type = request.headers.get("Content-Type", "")
    if content_type != "application/json" and not _JSON_TYPE(content_type):
        raise UnsupportedMedia(f"The body must have the Content-Type application/json, in UTF-8. {_NOTHING}")
    return parse(await _body(request, seconds))


async def read_form(request: BaseRequest, seconds: float) -> Mapping[str, str]:
    """Read and parse a form within `seconds`. Raises what `read_json` does, for forms in UTF-8."""
    if not _FORM_TYPE(request.headers.get("Content-Type", "")):
        raise UnsupportedMedia(
            f"The body must have the Content-Type application/x-www-form-urlencoded, in UTF-8. {_NOTHING}"
        )
    return parse_form(await _body(request, seconds))


async def _body(request: BaseRequest, seconds: float) -> bytes:
    headers = request.headers
    if "Content-Encoding" in headers:
        raise UnsupportedMedia(f"A body with a Content-Encoding is not accepted; send it as it is. {_NOTHING}")
    if (request.content_length or 0) > BODY_BYTES:
        raise TooLarge
    content = request.content
    try:
        if content.is_eof():  # the usual case: it came with the headers, and no timer is needed
            body = content.read_nowait(-1)
        else:
            async with asyncio.timeout(seconds):
                body = await _read(request, headers)
    except TimeoutError:
        raise TooSlow(f"The body did not arrive within {seconds:g} seconds. {_NOTHING}") from None
    except RequestPayloadError:
        raise Malformed(f"The body was cut off or its chunks were wrong. {_NOTHING}") from None
    if len(body) > BODY_BYTES:
        raise TooLarge
    return body


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

"""Canonical bytes: the one way a value becomes bytes that are hashed, stored and shown (RFC 8785).

The fast encoder of msgspec writes the same bytes as RFC 8785 except for some numbers that are not integers and for
keys beyond the Basic Multilingual Plane; where either could stand, the reference encoder is used instead.
This module knows nothing of events; it takes plain JSON values and frozen structs.
"""

import hashlib
import json
import re
from typing import Any, Final

import msgspec
import rfc8785

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not what they should be, not UTF-8, or nested too deep."""

_sorted = msgspec.json.Encoder(order="sorted")
_zero_fraction = re.compile(rb"\.0(?:[,\]}]|\Z)").search
_exponent = re.compile(rb"e(?<=[0-9]e)[-+]?[0-9]{1,3}(?:[,\]}]|\Z)").search  # a hexadecimal digest ends with a quote
_BEYOND_BMP = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")  # first bytes of UTF-8 sequences of four


def canonical(value: Any) -> bytes:
    """Encode a JSON value or struct as RFC 8785 bytes. Integers beyond ±2^53 must have been refused before."""
    encoded = _sorted.encode(value)
    if _may_need_care(encoded):
        return rfc8785.dumps(json.loads(encoded, parse_int=_integer))
    return encoded


def canonical_text(value: Any) -> str:
    """Encode a value as `canonical` does, as text: for a column that people read."""
    return canonical(value).decode()


def _may_need_care(encoded: bytes) -> bool:
    """Tell whether the encoders could differ; never wrongly no, and rarely wrongly yes, which costs time only."""
    if _zero_fraction(encoded) is not None or _exponent(encoded) is not None:
        return True
    return not encoded.isascii() and any(lead in encoded for lead in _BEYOND_BMP)


def _integer(digits: str) -> int | float:
    return (
        int(digits) if len(digits) < 16 else float(digits)
    )  # the reference encoder stops at 2^53 - 1; its float does not


def digest(value: Any) -> str:
    """Return `sha256:<hex>` of the canonical bytes of `value`."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()

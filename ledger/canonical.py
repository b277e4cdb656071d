"""Canonical bytes: the one way a value becomes bytes that are hashed, stored and shown (RFC 8785).

The fast encoder of msgspec writes the same bytes as RFC 8785 except for some numbers that are not integers and for
keys beyond the Basic Multilingual Plane; where either could stand, the reference encoder is used instead.
This module knows nothing of events; it takes plain JSON values and frozen structs.
"""

import hashlib
import re
from typing import Any

import msgspec
import rfc8785

_sorted = msgspec.json.Encoder(order="sorted")
_needs_care = re.compile(rb"(?:^|[:\[,])-?\d+(?:\.\d+)?(?:[eE]|(?<=\.0)[,\]}]|(?<=\.0)$)|[\xf0-\xf4]").search


def canonical(value: Any) -> bytes:
    """Encode a JSON value or struct as RFC 8785 bytes. Integers beyond ±2^53 must have been refused before."""
    encoded = _sorted.encode(value)
    if _needs_care(encoded):
        return rfc8785.dumps(msgspec.json.decode(encoded))
    return encoded


def digest(value: Any) -> str:
    """Return `sha256:<hex>` of the canonical bytes of `value`."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()

"""The entry of an event in the ledger's log: the bytes that one leaf of the Merkle tree is the hash of.

An entry is the RFC 8785 form of one recorded event with everything that says where it stands:

    {"at":"2026-11-23T00:49:29.123456Z","body":{…},"ledger":"main","position":7,"stream":"…","type":"…","version":1}

It is put together from the stored canonical body without reading it. No two records have the same entry, whatever
stands in their bodies: the time in front has a fixed length, and what follows the body can be read from the end.
The leaf of position n has the index n - 1, and a tree of size n covers the events up to position n.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

_encode = msgspec.json.Encoder().encode  # of a string the same bytes as RFC 8785; of most times, too
_TIME_BYTES: Final = len('"2026-11-23T00:49:29.123456Z"')


Row = Iterable[Any]  # position, stream, version, type, time, canonical body as stored


def entry(  # noqa: PLR0917  the columns of an event
    ledger: str, position: int, stream: str, version: int, type_name: str, at: datetime, body: bytes
) -> bytes:
    """Return the entry of a recorded event. `body` are its canonical bytes as stored, `at` knows its time zone."""
    return entries(ledger, [(position, stream, version, type_name, at, body)])[0]


def entries(ledger: str, rows: Iterable[Row]) -> list[bytes]:
    """Return the entries of recorded events, in their order; a microsecond each."""
    written: list[bytes] = []
    between = b',"ledger":%b,"position":' % _encode(ledger)
    for position, stream, version, type_name, at, body in rows:
        when = _encode(at)
        if len(when) != _TIME_BYTES:  # another time zone, or a whole second
            when = f'"{at.astimezone(UTC).isoformat(timespec="microseconds")[:26]}Z"'.encode()
        written.append(
            b'{"at":%b,"body":%b%b%d,"stream":%b,"type":%b,"version":%d}'
            % (when, body, between, position, _encode(stream), _encode(type_name), version)
        )
    return written

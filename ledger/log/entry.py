"""The entry of an event in the ledger's log: the bytes that one leaf of the Merkle tree is the hash of.

An entry is the RFC 8785 form of one recorded event with everything that says where it stands:

    {"at":"2026-11-23T00:49:29.123456Z","body":{…},"ledger":"main","position":7,"stream":"…","type":"…","version":1}

It is put together from the stored canonical body without reading it. No two records have the same entry, whatever
stands in their bodies: the time in front has a fixed length, and what follows the body can be read from the end.
The leaf of position n has the index n - 1, and a tree of size n covers the events up to position n.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from ledger.canonical import UNREADABLE
from ledger.errors import Malformed

_encode = msgspec.json.Encoder().encode  # of a string the same bytes as RFC 8785; of most times, too
_TIME_BYTES: Final = len('"2026-11-23T00:49:29.123456Z"')


Columns = Iterable[Any]  # position, stream, version, type, time, canonical body as stored


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A recorded event as its entry says it, field by field. Other bytes may say the same: compare `written`."""

    at: datetime
    body: msgspec.Raw
    ledger: str
    position: int
    stream: str
    type: str
    version: int

    @property
    def written(self) -> bytes:
        """Return the entry that says this."""
        return entry(self.ledger, self.position, self.stream, self.version, self.type, self.at, bytes(self.body))


_decode: Final = msgspec.json.Decoder(Entry).decode


def read_entry(data: bytes) -> Entry:
    """Read what an entry says. Raises `Malformed` if it says nothing that an entry could."""
    try:
        read = _decode(data)
    except UNREADABLE as error:
        raise Malformed(f"{error}.") from error
    if read.at.utcoffset() != timedelta():
        raise Malformed("Its time is not in UTC.")
    return read


def entry(  # noqa: PLR0917  the columns of an event
    ledger: str, position: int, stream: str, version: int, type_name: str, at: datetime, body: bytes
) -> bytes:
    """Return the entry of a recorded event. `body` are its canonical bytes as stored, `at` knows its time zone."""
    return entries(ledger, [(position, stream, version, type_name, at, body)])[0]


def entries(ledger: str, rows: Iterable[Columns]) -> list[bytes]:
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

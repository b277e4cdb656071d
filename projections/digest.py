"""The digest of a view: SHA-256 over the canonical bytes (RFC 8785) of its rows in key order, each row an array on a
line of its own.

Two views are the same exactly if their digests at the same position are. A digest reads every row, so it is never part
of following: it is made when somebody asks, a thousand rows at a time, and then stands for VIEW_DIGEST_RATIO times the
seconds that it took. Beside it stands the position at which it is true.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from asyncpg import Record

import sql
from ledger.bounds import VIEW_DIGEST_RATIO
from ledger.database import connection as borrowed
from projections.projection import Projection, R
from projections.table import Table

if TYPE_CHECKING:
    from ledger.database import Connection, Pool

_LOOK: Final = sql.query("views.checkpoints")
_HEAD: Final = sql.query("read.head")

_encode_lines: Final = msgspec.json.Encoder().encode_lines


def line_of(record: Record) -> bytes:
    """Write a row as the digest sees it: of what a row may hold, the plain encoder writes the canonical bytes."""
    return lines_of([record])


def lines_of(records: Iterable[Record]) -> bytes:
    """Write rows as the digest sees them."""
    return _encode_lines([[*record.values()] for record in records])


def shown(sha256: "hashlib._Hash") -> str:
    """Write a digest as it is shown."""
    return f"sha256:{sha256.hexdigest()}"


def sha256_of(lines: bytes) -> str:
    """Digest lines that are few."""
    return shown(hashlib.sha256(lines))


async def digest_of(pages: AsyncIterator[list[Record]]) -> str:
    """Digest rows that come in key order; memory does not grow with their number."""
    sha256 = hashlib.sha256()
    async for records in pages:
        sha256.update(lines_of(records))
    return shown(sha256)


def out_of_date(projection: Projection[Any], revision: int) -> str | None:
    """Say why a view of this revision is not what this release would make of the events; None if it is."""
    if revision == projection.revision:
        return None
    if revision < projection.revision:
        return "Its rows are an older release's and are being rebuilt."
    return "Its rows are a newer release's, which keeps them; this process does not."


class ViewStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a view stands. `lag` counts events; `digest` is true at `digest_position`."""

    name: str
    position: int
    lag: int
    digest: str
    digest_position: int
    failure: str | None


class _Known(msgspec.Struct, frozen=True):
    digest: str
    position: int
    fresh_until: float


class ViewStatuses:
    """How the views of one ledger stand, with digests that are made when asked for."""

    def __init__(self, pool: "Pool", ledger: str, projections: tuple[Projection[Any], ...]) -> None:
        """Know nothing yet; nothing is sent."""
        self._pool = pool
        self._ledger = ledger
        self._tables = [Table(projection) for projection in projections]
        self._known: dict[str, _Known] = {}
        self._making = asyncio.Lock()  # one at a time: whoever comes meanwhile gets the same digest

    async def read(self) -> list[ViewStatus]:
        """Return how each view stands now. Raises `Unavailable`."""
        async with self._making, borrowed(self._pool) as connection:
            return [await self._standing(connection, table) for table in self._tables]

    async def _standing(self, connection: "Connection", table: Table[R]) -> ViewStatus:
        clock = asyncio.get_running_loop().time
        started = clock()
        name = table.projection.name
        async with connection.transaction(isolation="repeatable_read", readonly=True):  # one moment for all of it
            found = await connection.fetchrow(_LOOK, self._ledger, [name])
            head = await connection.fetchval(_HEAD, self._ledger) or 0
            position, failure = (found["position"], found["failure"]) if found else (0, None)
            if failure is None and found is not None:
                failure = out_of_date(table.projection, found["revision"])
            known = self._known.get(name)
            if known is None or started > known.fresh_until:
                digest = await digest_of(table.every(connection, self._ledger))
                seconds = clock() - started
                known = self._known[name] = _Known(digest, position, clock() + VIEW_DIGEST_RATIO * seconds)
        return ViewStatus(
            name=name,
            position=position,
            lag=head - position,
            digest=known.digest,
            digest_position=known.position,
            failure=failure,
        )

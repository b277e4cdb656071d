"""Finding entries of the audit: any filters together, a page at a time, newest first.

The position of an entry is its place in the order and the cursor of a page. However the filters are combined, a page is
found in the same way, in bounded time (`audit_found` in sql/views.sql, the index in 027_view_audit_search.sql): segment
by segment of the ledger, at most AUDIT_SEGMENTS of them, and at most AUDIT_PAGE_BYTES of what entries carry along. So a
page may be shorter than was asked for, or empty, and there still is a next one; only a missing `next` is the end.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec
from asyncpg import Record

import sql
from ledger.bounds import AUDIT_PAGE_BYTES, AUDIT_SEGMENTS
from projections.audit.entry import AuditRow
from projections.page import Page
from projections.table import as_row

if TYPE_CHECKING:
    from ledger.database import Connection

_BOUNDS: Final = sql.query("views.audit_bounds")
_ALL: Final = sql.query("views.audit_all")
_FOUND: Final = sql.query("views.audit_found")
_POSITION: Final = sql.query("views.position")
_HELD: Final = sql.query("views.audit_held")
_ENTRIES: Final = sql.query("views.audit_entries")
_SEGMENT_BITS: Final = 15  # as in the index


class AuditFilter(msgspec.Struct, frozen=True):
    """Which entries to read; None does not ask. `since` is included, `until` is not."""

    agent: str | None = None
    commissioned_by: str | None = None
    task: str | None = None
    operation: str | None = None
    policy: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    kind: str | None = None
    by: str | None = None
    grant: str | None = None  # anywhere in the custody chain

    @property
    def terms(self) -> tuple[str | None, ...]:
        """Return what the index is asked for, in the order of the query."""
        of_actor = (self.agent, self.commissioned_by, self.task)
        return (*of_actor, self.operation, self.policy, self.outcome, self.kind, self.by, self.grant)


class Span(msgspec.Struct, frozen=True):
    """The positions among which to look, both included; none where `newest` is before `oldest`."""

    oldest: int
    newest: int


async def list_audit(
    connection: "Connection", ledger: str, wanted: AuditFilter, after: int | None, limit: int
) -> Page[AuditRow, int]:
    """Return one page of entries, at most `limit`; `after` is the `next` of the page before."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        span = await span_of(connection, ledger, wanted, after)
        if span.newest < span.oldest:
            return Page((), None)
        if any(wanted.terms):
            found, looked = await _found(connection, ledger, wanted, span, limit)
        else:
            found, looked = await connection.fetch(_ALL, ledger, span.oldest, span.newest, limit + 1), span.oldest
        shown = _affordable(found[:limit])
        entries = await connection.fetch(_ENTRIES, ledger, [record["position"] for record in shown])
    items = tuple([as_row(AuditRow, entry) for entry in entries])
    if len(shown) < len(found):
        return Page(items, shown[-1]["position"])
    return Page(items, looked if looked > span.oldest else None)


async def span_of(connection: "Connection", ledger: str, wanted: AuditFilter, after: int | None = None) -> Span:
    """Return the positions among which all entries lie that are wanted and come after a page."""
    bounds = await connection.fetchrow(_BOUNDS, ledger, wanted.since, wanted.until)
    if bounds is None or bounds["oldest"] is None or bounds["newest"] is None:
        return Span(1, 0)
    return Span(bounds["oldest"], bounds["newest"] if after is None else min(bounds["newest"], after - 1))


@asynccontextmanager
async def moment(connection: "Connection", ledger: str) -> AsyncIterator[int]:
    """Hold the audit as it is now, however slowly it is read; yields how far it has come."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(_HELD)
        yield await connection.fetchval(_POSITION, ledger, "audit") or 0


async def _found(
    connection: "Connection", ledger: str, wanted: AuditFilter, span: Span, limit: int
) -> tuple[list[Record], int]:
    """Find the entries with these terms, one more than `limit` if there is a next page, and where the search ended."""
    first = (span.newest >> _SEGMENT_BITS) - AUDIT_SEGMENTS + 1
    oldest = max(span.oldest, first << _SEGMENT_BITS)
    found = await connection.fetch(_FOUND, ledger, oldest, span.newest, *wanted.terms, limit + 1)
    return found, oldest


def _affordable(found: list[Record]) -> list[Record]:
    """Cut the page short before its entries carry more than we take into memory; the first one always fits."""
    carried = 0
    for count, record in enumerate(found):
        carried += record["bytes"]
        if carried > AUDIT_PAGE_BYTES and count:
            return found[:count]
    return found

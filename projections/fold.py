"""Bringing the rows of one view up to a batch of events: load what is touched, fold in memory, save what changed.

The follower and the rebuild both go this way, the one on the live table and the other on its shadow, so that they can
differ only if something else has written. Where an event cannot be applied, everything before it is; the answer says
how far the view has come and why it stops there. The caller owns the transaction.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

import sql
from ledger.bounds import VIEW_SLICE_EVENTS
from ledger.errors import Corrupt
from ledger.events import Recorded
from ledger.ids import intent_of, intent_stream
from projections.feed import understand, understand_if_read
from projections.projection import Projection, R
from projections.table import Table, changes

if TYPE_CHECKING:
    from ledger.database import Connection

Rows: TypeAlias = dict[str, tuple[R, ...]]  # by intent, each in key order

_READ: Final = sql.query("read.all")
_EARLIER: Final = sql.query("views.earlier")


class Batch(msgspec.Struct, frozen=True):
    """Some of the ledger's events: those of intents that some view reads, and how far all of them were understood."""

    events: tuple[Recorded, ...]
    end: int  # every event up to this position was looked at
    count: int  # of events looked at, read by a view or not
    failure: str | None = None  # why it ends there, if the next one cannot be understood


class Reached(msgspec.Struct, frozen=True):
    """How far a view has come, and why it stopped there if it did."""

    position: int
    failure: str | None = None


async def read_batch(
    connection: "Connection", ledger: str, reads: Collection[str], *, after: int, limit: int, until: int | None = None
) -> Batch:
    """Read at most `limit` events after a position, and none after `until`; understand those that are read."""
    records = await connection.fetch(_READ, ledger, after, limit)
    found: list[Recorded] = []
    end = after
    for count, record in enumerate(records):
        position = record["position"]
        if until is not None and position > until:
            return Batch(tuple(found), end, count)
        try:
            recorded = understand_if_read(ledger, record, reads)
        except Corrupt as error:
            return Batch(tuple(found), end, count, stopped(position, error))
        if recorded is not None:
            found.append(recorded)
        end = position
        if count % VIEW_SLICE_EVENTS == 0:
            await asyncio.sleep(0)
    return Batch(tuple(found), end, len(records))


async def bring_up(connection: "Connection", ledger: str, table: Table[R], after: int, batch: Batch) -> Reached:
    """Bring a view from `after` up to the end of a batch, or to the event that it cannot apply."""
    if after > batch.end:
        return Reached(after)
    projection = table.projection
    events = [r for r in batch.events if r.position > after and r.type in projection.reads]
    reached = Reached(batch.end, batch.failure)
    stored: Rows[R] = {}
    rows: Rows[R] = {}
    position = after + 1
    try:
        stored, rows = await _rows_before(connection, ledger, table, events)
        for count, recorded in enumerate(events):
            position = recorded.position
            _apply(projection, rows, recorded)
            if count % VIEW_SLICE_EVENTS == 0:
                await asyncio.sleep(0)
    except Corrupt as error:  # of a pure function: the transaction knows nothing of it
        reached = Reached(position - 1, stopped(position, error))
    await table.save(connection, ledger, changes(projection, stored, rows))
    return reached


def stopped(position: int, error: Corrupt) -> str:
    """Say where a view stopped and why."""
    return f"Stopped before position {position}: {error.message}"


def _apply(projection: Projection[R], rows: Rows[R], recorded: Recorded) -> None:
    intent = intent_of(recorded.stream) or ""
    rows[intent] = projection.apply(rows.get(intent, ()), recorded)


async def _rows_before(
    connection: "Connection", ledger: str, table: Table[R], events: Sequence[Recorded]
) -> tuple[Rows[R], Rows[R]]:
    """Return what is stored of the touched intents, and all their rows: those that are not stored, folded anew."""
    first = {intent_of(recorded.stream) or "": recorded.version for recorded in reversed(events)}
    older = [intent for intent, version in first.items() if version > 1]
    stored = await table.load(connection, ledger, older)
    rows = dict(stored)
    forgotten = [intent for intent in older if intent not in stored] if table.projection.forgets else []
    if forgotten:
        streams = [intent_stream(intent) for intent in forgotten]
        for record in await connection.fetch(_EARLIER, ledger, streams, [first[intent] for intent in forgotten]):
            _apply(table.projection, rows, understand(ledger, record))
    return stored, rows

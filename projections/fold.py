"""Bringing the rows of one view up to a batch of events: load what is touched, fold in memory, save what changed.

The follower and the rebuild both go this way, the one on the live table and the other on its shadow, so that they can
differ only if something else has written. Where an event cannot be applied, everything before it is; the answer says
how far the view has come and why it stops there. The caller owns the transaction.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

import sql
from ledger.bounds import VIEW_SLICE_EVENTS
from ledger.errors import Corrupt
from ledger.events import Recorded
from ledger.ids import intent_stream
from projections.feed import Batch, stopped, understand
from projections.projection import Projection, R
from projections.table import Table, changes

if TYPE_CHECKING:
    from ledger.database import Connection

Rows: TypeAlias = dict[str, tuple[R, ...]]  # by intent, each in key order
Events: TypeAlias = Mapping[str, list[Recorded]]  # by intent, each in order

_EARLIER: Final = sql.query("views.earlier")


class Reached(msgspec.Struct, frozen=True):
    """How far a view has come, and why it stopped there if it did."""

    position: int
    failure: str | None = None


async def bring_up(connection: "Connection", ledger: str, table: Table[R], after: int, batch: Batch) -> Reached:
    """Bring a view from `after` up to the end of a batch, or to the event that it cannot apply."""
    if after > batch.end:
        return Reached(after)
    projection = table.projection
    events = {
        intent: read
        for intent, of_intent in batch.events.items()
        if (read := [r for r in of_intent if type(r.event) in projection.reads and r.position > after])
    }
    older = [intent for intent, (first, *_) in events.items() if first.version > 1]
    stored = await table.load(connection, ledger, older)
    before = stored
    if projection.forgets and len(stored) < len(older):
        before = stored | await _forgotten(
            connection, ledger, projection, {i: events[i] for i in older if i not in stored}
        )
    reached = Reached(batch.end, batch.failure)
    while isinstance(folded := await _fold(projection, before, events, reached.position), Reached):
        reached = folded
    await table.save(connection, ledger, changes(projection, stored, folded))
    return reached


async def _fold(projection: Projection[R], before: Rows[R], events: Events, until: int) -> Rows[R] | Reached:
    """Return the rows of the touched intents after the events up to `until`, or where an event cannot be applied.

    Intents are folded one after the other, so another event may fail at an earlier position: fold again up to there.
    """
    folded: Rows[R] = {}
    since = 0
    for intent, of_intent in events.items():
        rows = before.get(intent, ())
        for recorded in of_intent:
            if recorded.position > until:
                break
            try:
                rows = projection.apply(rows, recorded)
            except Corrupt as error:
                return Reached(recorded.position - 1, stopped(recorded.position, error))
        folded[intent] = rows
        since += len(of_intent)
        if since >= VIEW_SLICE_EVENTS:
            since = 0
            await asyncio.sleep(0)
    return folded


async def _forgotten(connection: "Connection", ledger: str, projection: Projection[R], events: Events) -> Rows[R]:
    """Fold anew the rows that are not stored although their intents have earlier events."""
    streams = [intent_stream(intent) for intent in events]
    firsts = [of_intent[0].version for of_intent in events.values()]
    rows: Rows[R] = dict.fromkeys(events, ())
    of_stream = dict(zip(streams, events, strict=True))
    for record in await connection.fetch(_EARLIER, ledger, streams, firsts):
        intent = of_stream[record["stream"]]
        rows[intent] = projection.apply(rows[intent], understand(ledger, record))
    return rows

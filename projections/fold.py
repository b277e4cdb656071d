"""Bringing the rows of one view up to a batch of events: load what is touched, fold in memory, save what changed.

The follower and the rebuild both go this way, the one on the live table and the other on its shadow, so that they can
differ only if something else has written. Where an event cannot be applied, everything before it is; the answer says
how far the view has come and why it stops there. The caller owns the transaction.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

import sql
from ledger.bounds import VIEW_SLICE_EVENTS
from ledger.errors import Corrupt
from ledger.events import Recorded
from projections.across import fold_across
from projections.feed import Batch, Source, stopped, understand
from projections.projection import Projection, R
from projections.rows import OfSubjects, Rows

Events: TypeAlias = Mapping[str, list[Recorded]]  # by subject, each in order

_EARLIER: Final = sql.query("views.earlier")


class Reached(msgspec.Struct, frozen=True):
    """How far a view has come, and why it stopped there if it did."""

    position: int
    failure: str | None = None


async def bring_up(source: Source, ledger: str, rows: Rows[R], after: int, batch: Batch) -> Reached:
    """Bring a view from `after` up to the end of a batch, or to the event that it cannot apply.

    From `source` come the events of subjects whose rows were not kept although they have some.
    """
    if after > batch.end:
        return Reached(after)
    try:
        return await _bring_up(source, ledger, rows, after, batch)
    except Corrupt as error:  # not one event of these: rows that stand in the table, or what came long before
        return Reached(after, f"Stopped after position {after}: {error.message}")


async def _bring_up(source: Source, ledger: str, rows: Rows[R], after: int, batch: Batch) -> Reached:
    projection = rows.projection
    if projection.across is not None:
        return Reached(*await fold_across(source, ledger, rows, after, batch))
    events = {
        subject: read
        for stream, of_stream in batch.events.items()
        if (subject := projection.subject(stream)) is not None
        and (read := [r for r in of_stream if type(r.event) in projection.reads and r.position > after])
    }
    older = [subject for subject, (first, *_) in events.items() if first.version > 1]
    stored = await rows.load(older)
    before = stored
    if projection.forgets and len(stored) < len(older):
        before = stored | await _forgotten(source, ledger, projection, {s: events[s] for s in older if s not in stored})
    reached = Reached(batch.end, batch.failure)
    while isinstance(folded := await _fold(projection, before, events, reached.position), Reached):
        reached = folded
    await rows.save(stored, folded)
    return reached


async def _fold(
    projection: Projection[R], before: OfSubjects[R], events: Events, until: int
) -> OfSubjects[R] | Reached:
    """Return the rows of the touched subjects after the events up to `until`, or where an event cannot be applied.

    Subjects are folded one after the other, so another event may fail at an earlier position: fold again up to there.
    """
    folded: OfSubjects[R] = {}
    since = 0
    for subject, of_subject in events.items():
        rows = before.get(subject, ())
        for recorded in of_subject:
            if recorded.position > until:
                break
            try:
                rows = projection.apply(rows, recorded)
            except Corrupt as error:
                return Reached(recorded.position - 1, stopped(recorded.position, error))
        folded[subject] = rows
        since += len(of_subject)
        if since >= VIEW_SLICE_EVENTS:
            since = 0
            await asyncio.sleep(0)
    return folded


async def _forgotten(source: Source, ledger: str, projection: Projection[R], events: Events) -> OfSubjects[R]:
    """Fold anew the rows that are not stored although their subjects have earlier events."""
    of_stream = {first.stream: subject for subject, (first, *_) in events.items()}
    firsts = [first.version for first, *_ in events.values()]
    rows: OfSubjects[R] = dict.fromkeys(events, ())
    for record in await source.fetch(_EARLIER, ledger, list(of_stream), firsts):
        recorded = understand(ledger, record)
        if type(recorded.event) in projection.reads:
            subject = of_stream[recorded.stream]
            rows[subject] = projection.apply(rows[subject], recorded)
    return rows

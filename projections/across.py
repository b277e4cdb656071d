"""Folding a view whose events each touch several subjects: in the order of the ledger, over all subjects at once.

    open the rows of every subject that a batch touches ─► fold event by event ─► close them

Where an event is understood only with the earlier ones of its stream (a denial does not name the agent), those are read
too; they never change, so the same events give the same rows however they fall into batches. `projections/fold.py`
folds all other views, subject by subject.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import sql
from ledger.bounds import VIEW_SLICE_EVENTS
from ledger.errors import Corrupt, InvariantViolation
from ledger.events import Recorded
from projections.feed import Batch, Source, stopped, understand
from projections.projection import Across, R
from projections.rows import Rows

_EARLIER: Final = sql.query("views.earlier")


async def fold_across(source: Source, ledger: str, rows: Rows[R], after: int, batch: Batch) -> tuple[int, str | None]:
    """Bring a view up to the end of a batch, or to the event that it cannot apply; return how far, and why not on."""
    across, reads = rows.projection.across, rows.projection.reads
    if across is None:
        raise InvariantViolation(f"The view {rows.projection.name} is not folded across subjects.")
    events = sorted(
        (one for of_stream in batch.events.values() for one in of_stream if type(one.event) in reads),
        key=lambda one: one.position,
    )
    events = [one for one in events if one.position > after]
    pasts = await _pasts(source, ledger, across, events)
    end, failure = batch.end, batch.failure
    touched: dict[str, None] = {}
    for place, one in enumerate(events):
        try:
            touched |= dict.fromkeys(across.touches(one, pasts.get(one.position, ())))
        except Corrupt as error:
            end, failure = one.position - 1, stopped(one.position, error)
            events = events[:place]
            break
    known = await rows.opened(list(touched))
    for count, one in enumerate(events, 1):
        across.apply(known, one, pasts.get(one.position, ()))
        if count % VIEW_SLICE_EVENTS == 0:
            await asyncio.sleep(0)
    await rows.closed(known)
    return end, failure


async def _pasts(
    source: Source, ledger: str, across: Across[R], events: Sequence[Recorded]
) -> dict[int, Sequence[Recorded]]:
    """Return the earlier events of the streams of those that need them, by position."""
    needing = [one for one in events if across.needs_past(one.event)]
    if not needing:
        return {}
    last = {one.stream: one.version for one in needing}  # the latest wins
    records = await source.fetch(_EARLIER, ledger, list(last), list(last.values()))
    streams: dict[str, list[Recorded]] = {}
    for record in records:
        if record["type"] in across.past_types:
            understood = understand(ledger, record)
            streams.setdefault(understood.stream, []).append(understood)
    return {
        one.position: [past for past in streams.get(one.stream, ()) if past.version < one.version] for one in needing
    }

"""Words for tests of the views on PostgreSQL: write a ledger as it is, follow it by hand, see what the views hold."""

from collections.abc import Sequence

import asyncpg

from ledger.events import Recorded
from projections.catalogue import PROJECTIONS
from projections.follower import Follower
from projections.inline_replay import INLINE, replay_inline
from projections.projection import Projection
from projections.table import Table, as_row

INSERT = """
    insert into intent_ledger.events (ledger, position, stream, version, type, at, body)
    select $1, * from unnest($2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::timestamptz[], $7::bytea[])
"""
HEAD = "update intent_ledger.heads set position = $2 where ledger = $1"


async def write(pool: asyncpg.Pool, events: Sequence[Recorded], ledger: str = "main") -> None:
    """Put events into the ledger as they are, past the store: their times are of another year."""
    columns = list(zip(*((r.position, r.stream, r.version, r.type, r.at, r.body) for r in events), strict=True))
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(INSERT, ledger, *map(list, columns))
        await connection.execute(HEAD, ledger, events[-1].position)


def folded(events: Sequence[Recorded], projections=PROJECTIONS) -> dict[str, list]:
    """Fold events in memory: what each view should hold, in key order."""
    views = {}
    for projection in projections:
        rows = {} if projection.across is None else across(projection, events)
        for recorded in events if projection.across is None else ():
            subject = projection.subject(recorded.stream)
            if subject is not None and type(recorded.event) in projection.reads:
                rows[subject] = projection.apply(rows.get(subject, ()), recorded)
        kept = [row for of_subject in rows.values() for row in of_subject if projection.stored(row)]
        views[projection.name] = sorted(kept, key=lambda row: [getattr(row, column) for column in projection.key])
    return views


def across(projection: Projection, events: Sequence[Recorded]) -> dict[str, tuple]:
    """Fold events that touch several subjects in memory."""
    how, known, streams = projection.across, {}, {}
    for recorded in events:
        past = list(streams.get(recorded.stream, ()))
        streams.setdefault(recorded.stream, []).append(recorded)
        if type(recorded.event) in projection.reads:
            for subject in how.touches(recorded, past):
                known.setdefault(subject, how.opened(()))
            how.apply(known, recorded, past)
    return {subject: how.closed(subject, state) for subject, state in known.items()}


async def stored(pool: asyncpg.Pool, ledger: str = "main") -> dict[str, list]:
    """Read what each view holds, in key order."""
    views = {}
    async with pool.acquire() as connection, connection.transaction():
        for projection in PROJECTIONS:
            pages = Table(projection).every(connection, ledger)
            views[projection.name] = [as_row(projection.row, record) async for page in pages for record in page]
    return views


async def make(pool, store, projections=PROJECTIONS) -> Follower:
    """Open the checkpoints without beginning to follow: the test moves on by hand."""
    follower = Follower(pool, store, projections)
    await follower.start()
    await follower.stop()
    return follower


async def everything(follower: Follower) -> int:
    total = 0
    while count := await follower.advance():
        total += count
    return total


async def inline_tables_are_what_events_say(dsn: str) -> None:
    """Fail if an inline table holds anything that the events do not say, at whatever moment this is asked."""
    connection = await asyncpg.connect(dsn)
    try:
        found = await replay_inline(connection, "main")
    finally:
        await connection.close()
    assert {one.name: one.difference for one in found} == dict.fromkeys(INLINE)

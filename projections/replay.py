"""Rebuilding views from the events, proving that the live ones are the same, and swapping the rebuilt ones in.

    fold all events into shadow tables, while the live views serve and go on
    then for each view:
    one snapshot: bring the shadow to exactly where the live view stands, and compare row by row
    if asked to swap: one transaction that takes the checkpoint, catches up and makes the live rows those of the shadow

The shadows are in the session's own schema, `pg_temp`: nobody else sees them, they are not written to the WAL, and a
crash leaves nothing to clean. A swap touches only rows that differ, so a view that was right is not written at all;
readers see the rows before it or after it, never between. What it puts there is of this release's revision.

Each view has a connection, and events are read on one more, a batch ahead of the fold, so that PostgreSQL and Python
work at the same time. Replay calls no adapter, appends nothing, and needs memory for two batches, however long the
ledger is.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Generic

import msgspec
from asyncpg import Record

import sql
from ledger.bounds import REPLAY_BATCH_EVENTS
from ledger.database import connection as borrowed
from ledger.errors import Corrupt
from ledger.events import Event
from projections.digest import line_of, shown
from projections.feed import Batch, ReadAhead, read_batch
from projections.fold import Reached, bring_up
from projections.projection import Projection, R
from projections.table import SHADOW, Table

if TYPE_CHECKING:
    from ledger.database import Connection, Pool

Progress = Callable[[int, int], None]  # events folded so far, events to fold

_OPEN: Final = sql.query("views.open")
_LOOK: Final = sql.query("views.checkpoints")
_HOLD: Final = sql.query("views.hold")
_SWAPPED: Final = sql.query("views.swapped")
_UNBOUNDED: Final = sql.query("views.unbounded")


class Difference(msgspec.Struct, frozen=True):
    """The first row, in key order, that is not the same; None on the side where there is none."""

    key: tuple[Any, ...]
    live: Mapping[str, Any] | None
    rebuilt: Mapping[str, Any] | None


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of rebuilding one view. Both digests are true at `position`."""

    name: str
    position: int
    events: int
    seconds: float
    digest: str
    live_digest: str
    difference: Difference | None
    swapped: bool
    failure: str | None  # why the rebuild stopped before the live view's position, if it did

    @property
    def equal(self) -> bool:
        """Tell whether the live view was, byte for byte, what the events say."""
        return self.difference is None and self.failure is None


async def replay(
    pool: "Pool",
    ledger: str,
    projections: Sequence[Projection[Any]],
    progress: Progress = lambda _done, _all: None,
    *,
    swap: bool = False,
) -> list[Replayed]:
    """Rebuild these views and compare them with the live ones; with `swap`, put the rebuilt rows in their place.

    Uses a connection of the pool for each view, and one more. What it finds are rows that were written by other ways
    than the follower. Raises `Unavailable`, and `Corrupt` if a view is ahead of its ledger; nothing was changed then.
    """
    clock = asyncio.get_running_loop().time
    async with AsyncExitStack() as parts:
        reader = await parts.enter_async_context(borrowed(pool))
        await reader.execute(_OPEN, ledger, [p.name for p in projections], [p.revision for p in projections])
        rebuilds = []
        for projection in projections:
            connection = await parts.enter_async_context(borrowed(pool))
            rebuilds.append(await parts.enter_async_context(_shadowed(connection, ledger, projection)))
        started = clock()
        events = await _fold_all(reader, ledger, rebuilds, progress)
        seconds = clock() - started
        return [await rebuild.finish(events, seconds, swap=swap) for rebuild in rebuilds]


async def _fold_all(reader: "Connection", ledger: str, rebuilds: Sequence["_Rebuild[Any]"], progress: Progress) -> int:
    """Bring all shadows, from one reading of the events, to where the hindmost live view stands; return how many."""
    reads = frozenset[type[Event]]().union(*(rebuild.projection.reads for rebuild in rebuilds))
    until = min([await rebuild.checkpoint() for rebuild in rebuilds], default=0)
    ahead = ReadAhead(reader, ledger, reads, REPLAY_BATCH_EVENTS)
    folded = end = 0
    try:
        while end < until:
            batch = await ahead.batch(end, until)
            for fault in await asyncio.gather(*(r.take(batch) for r in rebuilds), return_exceptions=True):
                if fault is not None:  # raised once nobody works on a connection any more
                    raise fault
            folded += batch.count
            progress(batch.end, until)
            if batch.end == end or batch.failure is not None:
                break
            end = batch.end
    finally:
        await ahead.end()
    return folded


@asynccontextmanager
async def _shadowed(connection: "Connection", ledger: str, projection: Projection[R]) -> AsyncIterator["_Rebuild[R]"]:
    """Make the shadow of a view on this connection, and drop it afterwards."""
    rebuild = _Rebuild(connection, ledger, projection)
    await rebuild.shadow.create_shadow(connection)
    try:
        yield rebuild
    finally:
        if not connection.is_closed():
            await rebuild.shadow.drop_shadow(connection)


class _Rebuild(Generic[R]):
    """The shadow of one view and how far it has come."""

    def __init__(self, connection: "Connection", ledger: str, projection: Projection[R]) -> None:
        self.projection = projection
        self.live = Table(projection)
        self.shadow = Table(projection, SHADOW)
        self.reached = Reached(0)
        self._connection = connection
        self._ledger = ledger

    async def checkpoint(self, query: str = _LOOK) -> int:
        """Return where the live view stands."""
        record = await self._connection.fetchrow(query, self._ledger, [self.projection.name])
        return record["position"] if record is not None else 0

    async def take(self, batch: Batch) -> None:
        """Fold a batch into the shadow, unless it has stopped before."""
        if self.reached.failure is not None:
            return
        self.reached = await bring_up(self._connection, self._ledger, self.shadow, self.reached.position, batch)

    async def finish(self, events: int, seconds: float, *, swap: bool) -> Replayed:
        """Compare with the live view in one snapshot, then put the rebuilt rows in the place of the live ones."""
        async with self._connection.transaction(isolation="repeatable_read"):
            position = await self.checkpoint()
            await self._connection.execute(_UNBOUNDED)
            await self._catch_up(position)
            replayed = await self._compare(position, events, seconds)
        if not swap:
            return replayed
        async with self._connection.transaction():
            position = await self.checkpoint(_HOLD)
            await self._connection.execute(_UNBOUNDED)
            await self._catch_up(position)
            if self.reached.position != position:
                return replayed  # the rebuild could not come so far
            await self.live.take_over(self._connection, self._ledger)
            await self._connection.execute(
                _SWAPPED, self._ledger, self.projection.name, position, self.projection.revision
            )
        return msgspec.structs.replace(replayed, swapped=True)

    async def _catch_up(self, until: int) -> None:
        """Bring the shadow exactly to a position, or to the event that it cannot apply."""
        while self.reached.position < until and self.reached.failure is None:
            after = self.reached.position
            batch = await read_batch(
                self._connection,
                self._ledger,
                self.projection.reads,
                after=after,
                limit=REPLAY_BATCH_EVENTS,
                until=until,
            )
            if batch.end == after and batch.failure is None:
                raise Corrupt(
                    f"The view {self.projection.name} has reached position {until}, but the ledger ends at {after}. "
                    "Nothing was changed; find out which of the two is not the newest."
                )
            await self.take(batch)

    async def _compare(self, position: int, events: int, seconds: float) -> Replayed:
        """Digest both tables in one pass and find the first row that differs."""
        live, rebuilt = hashlib.sha256(), hashlib.sha256()
        difference: Difference | None = None
        rows = _Rows(self.live.every(self._connection, self._ledger))
        shadow_rows = _Rows(self.shadow.every(self._connection, self._ledger))
        async for one, other in _side_by_side(rows, shadow_rows, self.projection.key):
            lines = _line(one), _line(other)
            live.update(lines[0])
            rebuilt.update(lines[1])
            if difference is None and lines[0] != lines[1]:
                difference = _difference(self.projection.key, one, other)
        return Replayed(
            name=self.projection.name,
            position=position,
            events=events,
            seconds=seconds,
            digest=shown(rebuilt),
            live_digest=shown(live),
            difference=difference,
            swapped=False,
            failure=self.reached.failure,
        )


async def _side_by_side(
    ours: "_Rows", theirs: "_Rows", key: tuple[str, ...]
) -> AsyncIterator[tuple[Record | None, Record | None]]:
    """Pair the rows of two tables by key, both in key order; None on the side where a key is missing."""
    a, b = await ours.next(), await theirs.next()
    while a is not None or b is not None:
        order = _order(a, b, key)
        yield (a if order <= 0 else None), (b if order >= 0 else None)
        if order <= 0:
            a = await ours.next()
        if order >= 0:
            b = await theirs.next()


class _Rows:
    """Rows one by one from pages of them."""

    def __init__(self, pages: AsyncIterator[list[Record]]) -> None:
        self._pages = pages
        self._page: Iterator[Record] = iter(())

    async def next(self) -> Record | None:
        for record in self._page:
            return record
        self._page = iter(await anext(self._pages, []))
        return next(self._page, None)


def _order(a: Record | None, b: Record | None, key: tuple[str, ...]) -> int:
    """Compare two rows by key as PostgreSQL orders them under collation "C"; a missing row comes last."""
    if a is None or b is None:
        return (a is None) - (b is None)
    left, right = ([record[column] for column in key] for record in (a, b))
    return (left > right) - (left < right)


def _line(record: Record | None) -> bytes:
    return b"" if record is None else line_of(record)


def _difference(key: tuple[str, ...], live: Record | None, rebuilt: Record | None) -> Difference:
    named = live if live is not None else rebuilt
    return Difference(
        key=tuple(named[column] for column in key) if named is not None else (),
        live=dict(live) if live is not None else None,
        rebuilt=dict(rebuilt) if rebuilt is not None else None,
    )

"""Rebuilding views from the events, proving that the live ones are the same, and swapping the rebuilt ones in.

    fold all events into shadow tables, while the live views serve and go on
    one snapshot: bring the shadows to exactly where the live views stand, and compare row by row
    if asked to swap: one transaction that takes the checkpoints, catches up and makes the live rows those of the shadow

The shadows are in the session's own schema, `pg_temp`: nobody else sees them, they are not written to the WAL, and a
crash leaves nothing to clean. A swap touches only rows that differ, so a view that was right is not written at all;
readers see the rows before it or after it, never between.

Events are read on a second connection, a batch ahead of the fold. Replay calls no adapter, appends nothing, and needs
memory for two batches, however long the ledger is.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from asyncpg import Record

import sql
from ledger.bounds import REPLAY_BATCH_EVENTS
from ledger.database import connection as borrowed
from ledger.errors import Corrupt
from ledger.events import Event
from projections.digest import line_of, shown
from projections.feed import ReadAhead
from projections.fold import Reached, bring_up
from projections.projection import Projection
from projections.table import SHADOW, Table

if TYPE_CHECKING:
    from ledger.database import Connection, Pool

Progress = Callable[[int, int], None]  # events folded so far, events to fold

_OPEN: Final = sql.query("views.open")
_LOOK: Final = sql.query("views.checkpoints")
_HOLD: Final = sql.query("views.hold")
_MOVE: Final = sql.query("views.move")
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

    Two connections of the pool are used. What this finds are rows that were written by other ways than the follower.
    Raises `Unavailable`, and `Corrupt` if a view is ahead of its ledger; then nothing was changed.
    """
    reads = frozenset[type[Event]]().union(*(p.reads for p in projections))
    async with borrowed(pool) as connection, borrowed(pool) as reader:
        rebuild = _Rebuild(
            connection, ReadAhead(reader, ledger, reads, REPLAY_BATCH_EVENTS), ledger, projections, progress
        )
        await rebuild.begin()
        try:
            return await rebuild.run(swap=swap)
        finally:
            await rebuild.end()


class _Rebuild:
    """The shadows of some views and how far they have come."""

    def __init__(
        self,
        connection: "Connection",
        events: ReadAhead,
        ledger: str,
        projections: Sequence[Projection[Any]],
        progress: Progress,
    ) -> None:
        self._connection = connection
        self._read_ahead = events
        self._ledger = ledger
        self._live = {p.name: Table(p) for p in projections}
        self._shadows = {p.name: Table(p, SHADOW) for p in projections}
        self._reached = {p.name: Reached(0) for p in projections}
        self._progress = progress
        self._events = 0

    async def begin(self) -> None:
        await self._connection.execute(_OPEN, self._ledger, list(self._live))
        for table in self._shadows.values():
            await table.create_shadow(self._connection)

    async def end(self) -> None:
        await self._read_ahead.end()
        if not self._connection.is_closed():
            for table in self._shadows.values():
                await table.drop_shadow(self._connection)

    async def run(self, *, swap: bool) -> list[Replayed]:
        clock = asyncio.get_running_loop().time
        started = clock()
        await self._catch_up(await self._checkpoints(_LOOK))
        seconds = clock() - started
        async with self._connection.transaction(isolation="repeatable_read"):
            checkpoints = await self._checkpoints(_LOOK)
            await self._connection.execute(_UNBOUNDED)
            await self._catch_up(checkpoints)
            found = [await self._compare(name, checkpoints[name], seconds) for name in self._live]
        if not swap:
            return found
        async with self._connection.transaction():
            checkpoints = await self._checkpoints(_HOLD)
            await self._connection.execute(_UNBOUNDED)
            await self._catch_up(checkpoints)
            return [await self._swap(replayed, checkpoints[replayed.name]) for replayed in found]

    async def _checkpoints(self, query: str) -> dict[str, int]:
        records = await self._connection.fetch(query, self._ledger, list(self._live))
        return {record["name"]: record["position"] for record in records}

    async def _catch_up(self, until: Mapping[str, int]) -> None:
        """Fold events into each shadow up to where its live view stands, or to the event that it cannot apply."""
        while going := {n: r.position for n, r in self._reached.items() if r.position < until[n] and not r.failure}:
            after = min(going.values())
            together = [name for name, position in going.items() if position == after]
            end = min(until[name] for name in together)
            batch = await self._read_ahead.batch(after, end)
            if batch.end == after and batch.failure is None:
                raise Corrupt(
                    f"A view has reached position {end}, but the ledger ends at {after}. Nothing was changed; "
                    "find out which of the two is not the newest."
                )
            for name in together:
                table = self._shadows[name]
                self._reached[name] = await bring_up(self._connection, self._ledger, table, after, batch)
            self._events += batch.count
            self._progress(batch.end, max(until.values()))

    async def _compare(self, name: str, position: int, seconds: float) -> Replayed:
        """Digest both tables in one pass and find the first row that differs; inside one snapshot."""
        key = self._live[name].projection.key
        live, shadow = self._live[name], self._shadows[name]
        digests = (hashlib.sha256(), hashlib.sha256())
        difference: Difference | None = None
        rows = (table.every(self._connection, self._ledger) for table in (live, shadow))
        async for pair in _side_by_side(_Rows(next(rows)), _Rows(next(rows)), key):
            lines = tuple(line_of(record) if record is not None else b"" for record in pair)
            for sha256, line in zip(digests, lines, strict=True):
                sha256.update(line)
            if difference is None and lines[0] != lines[1]:
                difference = _difference(key, *pair)
        return Replayed(
            name=name,
            position=position,
            events=self._events,
            seconds=seconds,
            digest=shown(digests[1]),
            live_digest=shown(digests[0]),
            difference=difference,
            swapped=False,
            failure=self._reached[name].failure,
        )

    async def _swap(self, replayed: Replayed, position: int) -> Replayed:
        """Put the rebuilt rows in the place of the live ones, unless the rebuild itself could not come so far."""
        if self._reached[replayed.name].position != position:
            return replayed
        await self._live[replayed.name].take_over(self._connection, self._ledger)
        await self._connection.execute(_MOVE, self._ledger, [replayed.name], [position], [None])
        return msgspec.structs.replace(replayed, swapped=True)


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


def _difference(key: tuple[str, ...], live: Record | None, rebuilt: Record | None) -> Difference:
    named = live if live is not None else rebuilt
    return Difference(
        key=tuple(named[column] for column in key) if named is not None else (),
        live=dict(live) if live is not None else None,
        rebuilt=dict(rebuilt) if rebuilt is not None else None,
    )

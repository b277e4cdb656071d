"""Shadows: tables of the shape of the views, in `pg_temp`, into which the events of a ledger are folded anew.

Nobody else sees them, they are not written to the WAL, and a crash leaves nothing to clean. The events are read on one
connection, a batch ahead of the fold, and the shadows are on another, so that PostgreSQL and Python work at the same
time; it may lead to another server. Two connections do for any number of views, so that a rebuild in a process that
serves leaves it the others. Memory is two batches and the rows kept (`projections/rows.py`), however long the ledger
is.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Generic

import sql
from ledger.bounds import REPLAY_BATCH_EVENTS
from ledger.database import connection as borrowed
from ledger.database import session_lock
from ledger.errors import Corrupt
from ledger.events import Event
from ledger.progress import Progress
from projections.feed import Batch, ReadAhead, Source, read_batch
from projections.fold import Reached, bring_up
from projections.projection import Projection, R
from projections.rows import Kept
from projections.table import SHADOW, Table

if TYPE_CHECKING:
    from ledger.database import Connection, Pool

_LOOK: Final = sql.query("views.checkpoints")
_HOLD: Final = sql.query("views.hold")
_SWAPPED: Final = sql.query("views.swapped")
_BEGIN: Final = sql.query("views.begin_rebuild")
_END: Final = sql.query("views.end_rebuild")
UNBOUNDED: Final = sql.query("views.unbounded")


class Rebuild(Generic[R]):
    """The shadow of one view and how far it has come."""

    def __init__(
        self, source: Source, connection: "Connection", turn: asyncio.Lock, ledger: str, projection: Projection[R]
    ) -> None:
        """Read events from `source`; the shadow is of the session of `connection`, which others use in turn."""
        self.until = 0  # what is folded together with others ends before it
        self.projection = projection
        self.connection = connection
        self.live = Table(projection)
        self.shadow = Table(projection, SHADOW)
        self.reached = Reached(0)
        self._source = source
        self._ledger = ledger
        self._rows = Kept(connection, turn, ledger, self.shadow)

    async def take(self, batch: Batch) -> None:
        """Fold a batch into the shadow, unless it has stopped before."""
        if self.reached.failure is None:
            self.reached = await bring_up(self._source, self._ledger, self._rows, self.reached.position, batch)

    async def bring_to(self, position: int) -> None:
        """Bring the shadow exactly to a position, or to the event that it cannot apply. Raises `Corrupt`."""
        while self.reached.position < position and self.reached.failure is None:
            after, reads = self.reached.position, self.projection.reads
            batch = await read_batch(
                self._source, self._ledger, reads, after=after, limit=REPLAY_BATCH_EVENTS, until=position
            )
            if batch.end == after and batch.failure is None:
                raise Corrupt(
                    f"The view {self.projection.name} is to be at position {position}, but the ledger ends at {after}. "
                    "It was not changed; find out which of the two is not the newest."
                )
            await self.take(batch)
        await self.settle()

    async def settle(self) -> None:
        """Write what is in memory; from here on nothing is written but by who asks for it."""
        await self._rows.flush()

    async def swap(self) -> bool:
        """Catch up with the live view and put the rebuilt rows in the place of its own, in one transaction.

        False, and nothing changed, if the rebuild could not come as far as the live view.
        """
        async with self.connection.transaction():
            position = (await checkpoint(self.connection, self._ledger, self.projection, _HOLD)).position
            await self.connection.execute(UNBOUNDED)
            await self.bring_to(position)
            if self.reached.position != position:
                return False
            await self.replace()
        return True

    async def replace(self) -> None:
        """Make the table on the shadow's server what the shadow is, with its checkpoint. The caller has the latter."""
        await self.live.take_over(self.connection, self._ledger)
        name, revision = self.projection.name, self.projection.revision
        await self.connection.execute(_SWAPPED, self._ledger, name, self.reached.position, revision)

    async def end(self) -> None:
        """Drop the shadow, when nothing is being written any more."""
        await self._rows.stop()
        if not self.connection.is_closed():
            await self.shadow.drop_shadow(self.connection)


@asynccontextmanager
async def rebuilds(
    source: Source, pool: "Pool", ledger: str, projections: Sequence[Projection[Any]]
) -> AsyncIterator[list[Rebuild[Any]]]:
    """Make an empty shadow of each view, on one connection of `pool`, and drop them afterwards."""
    async with AsyncExitStack() as parts:
        connection, turn = await parts.enter_async_context(borrowed(pool)), asyncio.Lock()
        made = []
        for projection in projections:
            rebuild = Rebuild(source, connection, turn, ledger, projection)
            parts.push_async_callback(rebuild.end)
            await rebuild.shadow.create_shadow(connection)
            made.append(rebuild)
        yield made


def alone(connection: "Connection", ledger: str) -> AbstractAsyncContextManager[bool]:
    """Be the only one that puts rebuilt rows in place here, as long as the connection lives; False: another one does.

    Two at once would do no harm, but the second would wait for rows that the first has locked.
    """
    return session_lock(connection, _BEGIN, _END, ledger)


async def fold_together(source: Source, ledger: str, rebuilding: Sequence[Rebuild[Any]], progress: Progress) -> int:
    """Bring each shadow near its `until` from one reading of the events; return how many were folded."""
    until = max([rebuild.until for rebuild in rebuilding], default=0)
    reads = frozenset[type[Event]]().union(*(rebuild.projection.reads for rebuild in rebuilding))
    ahead = ReadAhead(source, ledger, reads, REPLAY_BATCH_EVENTS)
    folded = end = 0
    try:
        while end < until:
            batch = await ahead.batch(end, until)
            for fault in await asyncio.gather(
                *(r.take(batch) for r in rebuilding if batch.end <= r.until), return_exceptions=True
            ):
                if fault is not None:  # raised once nobody works on a connection any more
                    raise fault
            folded += batch.count
            progress(batch.end, until)
            if batch.end == end or batch.failure is not None:
                break
            end = batch.end
    finally:
        await ahead.end()
    for rebuild in rebuilding:
        await rebuild.settle()
    return folded


async def checkpoint(connection: "Connection", ledger: str, projection: Projection[Any], query: str = _LOOK) -> Reached:
    """Return where the live view of a server stands, and why it stands still if it does."""
    record = await connection.fetchrow(query, ledger, [projection.name])
    return Reached(record["position"], record["failure"]) if record is not None else Reached(0)

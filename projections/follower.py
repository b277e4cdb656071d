"""Keeping the views up to the ledger: one task of each process, in the spare time of its event loop.

  take the checkpoints ─► read events ─► load the rows they touch ─► fold ─► save ─► move the checkpoints
  └─────────────────────────────── one transaction of PostgreSQL ───────────────────────────────────────┘

* Whoever holds the checkpoint rows follows; another process finds them taken, does nothing and looks again later. A
  batch that was interrupted has left nothing behind.
* A view whose rows are of an older revision is rebuilt first (`projections/replay.py`), by one process, while its rows
  go on being read as they are. One of a newer revision is left to the processes of that release.
* A view that cannot apply an event stops before it and says why, in its checkpoint row, where every process sees it.
  The other views go on. It is tried again when a process starts (with a newer release, perhaps) and after a replay.
* Views never slow appends. News are gathered first, so that an intent which comes and goes within a batch is written
  once and its exposure never; a fold looks at the event loop every VIEW_SLICE_EVENTS; and while the loop is busy, the
  follower pauses VIEW_PAUSE_RATIO times as long as a batch took. The lag grows then, and shrinks later.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import structlog

import sql
from ledger import bounds
from ledger.database import connection as borrowed
from ledger.errors import Corrupt, Unavailable
from ledger.events import Event
from ledger.progress import Progress, unseen
from ledger.store import Store
from projections.digest import out_of_date
from projections.feed import read_batch
from projections.fold import Reached, bring_up
from projections.projection import Projection
from projections.rebuild import alone
from projections.replay import Replayed, replay
from projections.rows import Stored
from projections.table import Table

if TYPE_CHECKING:
    from ledger.database import Connection, Pool

_OPEN: Final = sql.query("views.open")
_TAKE: Final = sql.query("views.take")
_LOOK: Final = sql.query("views.checkpoints")
_HOLD: Final = sql.query("views.hold")
_MOVE: Final = sql.query("views.move")
_POLL_SECONDS: Final = 0.02  # between two looks of who waits for a view
_UNWRITABLE: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

_log = structlog.get_logger(__name__)


class Follower:
    """One process's follower of one ledger."""

    def __init__(self, pool: "Pool", store: Store, projections: Sequence[Projection[Any]]) -> None:
        """Know nothing yet; `start` begins to follow."""
        self._pool = pool
        self._store = store
        self._ledger = store.ledger
        self._tables: dict[str, Table[Any]] = {p.name: Table(p) for p in projections}
        self._reads = frozenset[type[Event]]().union(*(p.reads for p in projections))
        self._reached: dict[str, Reached] = {}  # what the checkpoint rows said last
        self._revisions: dict[str, int] = {}  # and whose rows they are
        self._given_up: dict[str, int] = {}  # where this process could not go on
        self._task: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None  # what ended the task: a fault of ours

    @property
    def position(self) -> int:
        """Return the position that every view has reached; 0 while the rows of one are an older release's."""
        return self.reached()

    def reached(self, *views: str) -> int:
        """Return the position that these views have reached, all of them for none, as `position`."""
        names = views or tuple(self._reached)
        if any(name in names for name in self.rebuilding):
            return 0
        return min((self._reached[name].position for name in names if name in self._reached), default=0)

    @property
    def positions(self) -> dict[str, int]:
        """Return the position that each view has reached."""
        return {name: self.reached(name) for name in self._reached}

    @property
    def rebuilding(self) -> tuple[str, ...]:
        """Name the views that are to be rebuilt for this release, and can be."""
        return tuple(
            [
                name
                for name, revision in self._revisions.items()
                if revision < self._tables[name].projection.revision and not self._stands(name)
            ]
        )

    @property
    def failure(self) -> str | None:
        """Say why a view stands still, by name; None while all of them go on."""
        return self.failure_of()

    def failure_of(self, *views: str) -> str | None:
        """Say why one of these views stands still, any of them for none."""
        if self._broken is not None:
            return f"The views are not followed any more: {self._broken!r}"
        failures = {name: reached.failure for name, reached in self._reached.items()}
        for name, revision in self._revisions.items():
            if revision > self._tables[name].projection.revision:
                failures[name] = out_of_date(self._tables[name].projection, revision)
        told = [f"{name}: {why}" for name, why in failures.items() if why and (not views or name in views)]
        return " ".join(told) or None

    async def has(self, position: int, *views: str, progress: Progress = unseen) -> str | None:
        """Wait until these views, all of them for none, have a position; return why not if one of them stops before it.

        Whoever calls says for how long. A view waits for no other, and neither does who reads only that one.
        """
        while (reached := self.reached(*views)) < position:
            failure = self.failure_of(*views)
            if failure is not None:
                return f"The views have stopped: {failure}"
            progress(reached, position)
            await asyncio.sleep(_POLL_SECONDS)
        return None

    async def start(self) -> None:
        """Begin to follow. Raises `Unavailable`."""
        async with borrowed(self._pool) as connection:
            revisions = [table.projection.revision for table in self._tables.values()]
            await connection.execute(_OPEN, self._ledger, list(self._tables), revisions)
            await self._look(connection)
        self._task = asyncio.create_task(self._follow(), name=f"follower of {self._ledger}")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Let go. A batch that is under way is rolled back and will be followed again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def advance(self) -> int | None:
        """Bring every view up to the same batch of events; return how many events were looked at.

        A view of an older release is rebuilt first. None when another process follows or rebuilds just now, or when no
        view can go on. Raises `Unavailable`.
        """
        if self.rebuilding:
            return await self._rebuild()
        try:
            return await self._advance(list(self._tables))
        except _UNWRITABLE:  # one view made rows that PostgreSQL refuses; the others need not wait for it
            return max([await self._advance_alone(name) or 0 for name in self._tables])

    async def _advance(self, names: Sequence[str]) -> int | None:
        """Do one batch for these views in one transaction."""
        async with borrowed(self._pool) as connection, connection.transaction():
            taken = await connection.fetch(_TAKE, self._ledger, names)
            if len(taken) < len(names):
                await self._look(connection)
                return None
            self._learn(taken)
            going = {name: self._reached[name].position for name in names if self._goes(name)}
            if not going:
                return None
            moved: dict[str, Reached] = {}
            count = 0
            for group in _abreast(going):
                after, limit = min(group.values()), bounds.VIEW_BATCH_EVENTS
                batch = await read_batch(connection, self._ledger, self._reads, after=after, limit=limit)
                count += batch.count
                for name, position in group.items():
                    rows = Stored(connection, self._ledger, self._tables[name])
                    moved[name] = await bring_up(connection, self._ledger, rows, position, batch)
            await self._move(connection, {n: r for n, r in moved.items() if r != self._reached[n]})
        self._note(moved)
        return count

    async def _advance_alone(self, name: str) -> int | None:
        try:
            return await self._advance([name])
        except _UNWRITABLE as error:
            here = self._reached[name].position
            failure = Reached(here, f"Stopped after position {here}: PostgreSQL refuses its rows: {error}")
            async with borrowed(self._pool) as connection:
                await self._move(connection, {name: failure})
            self._note({name: failure})
            return None

    async def _rebuild(self) -> int | None:
        """Rebuild what an older release made; return how many events were folded. None while another process does."""
        async with borrowed(self._pool) as connection, alone(connection, self._ledger) as mine:
            await self._look(connection)  # another may just have done it
            if not mine:
                return None
            count = await self._swap(connection, [self._tables[name].projection for name in self.rebuilding])
            await self._look(connection)
        return count

    async def _swap(self, connection: "Connection", projections: Sequence[Projection[Any]]) -> int:
        """Put new rows in the place of these views' old ones; say for which it cannot be done, and why."""
        _log.info("views_rebuilding", ledger=self._ledger, views=[projection.name for projection in projections])
        replayed: Sequence[Replayed] = ()
        try:
            replayed = await replay(self._pool, self._ledger, projections, swap=True)
            failures = {one.name: one.failure for one in replayed if one.failure is not None}
        except Corrupt as error:
            failures = {projection.name: error.message for projection in projections}
        await self._leave(connection, failures)
        return max((one.events for one in replayed), default=0)

    async def _leave(self, connection: "Connection", failures: dict[str, str]) -> None:
        """Say why views are not rebuilt, of each that is not; a process of their own release may have moved them on."""
        async with connection.transaction():
            self._learn(await connection.fetch(_HOLD, self._ledger, list(failures)))
            stuck = {
                name: Reached(self._reached[name].position, f"It cannot be rebuilt for this release. {why}")
                for name, why in failures.items()
                if self._revisions[name] < self._tables[name].projection.revision
            }
            await self._move(connection, stuck)
        self._note(stuck)

    def _goes(self, name: str) -> bool:
        """Tell whether this process may move the view on."""
        return self._revisions[name] == self._tables[name].projection.revision and not self._stands(name)

    def _stands(self, name: str) -> bool:
        """Tell whether this process has already failed at the very place where the view stands."""
        reached = self._reached[name]
        return reached.failure is not None and self._given_up.get(name) == reached.position

    def _note(self, moved: dict[str, Reached]) -> None:
        for name, reached in moved.items():
            if reached.failure is not None:
                _log.error("view_stopped", ledger=self._ledger, view=name, reason=reached.failure)
                self._given_up[name] = reached.position
        self._reached |= moved

    async def _move(self, connection: "Connection", moved: dict[str, Reached]) -> None:
        positions = [reached.position for reached in moved.values()]
        failures = [reached.failure for reached in moved.values()]
        await connection.execute(_MOVE, self._ledger, list(moved), positions, failures)

    async def _look(self, connection: "Connection") -> None:
        """Learn how far the views are, whoever moves them."""
        self._learn(await connection.fetch(_LOOK, self._ledger, list(self._tables)))

    def _learn(self, records: Sequence[asyncpg.Record]) -> None:
        for record in records:
            self._reached[record["name"]] = Reached(record["position"], record["failure"])
            self._revisions[record["name"]] = record["revision"]

    # ── when ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _follow(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            started = clock()
            try:
                count = await self.advance()
                await self._rest(count, clock() - started)
            except Unavailable as error:
                _log.warning("views_wait_for_the_database", ledger=self._ledger, reason=error.message)
                await asyncio.sleep(bounds.VIEW_RETRY_SECONDS)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._broken = task.exception()
            _log.error("follower_broke", ledger=self._ledger, exc_info=self._broken)

    async def _rest(self, count: int | None, seconds: float) -> None:
        """Leave the event loop to the others for a while, or until there is something new."""
        if count is None:
            await asyncio.sleep(bounds.VIEW_RETRY_SECONDS)
        elif count < bounds.VIEW_BATCH_EVENTS and not self.rebuilding:
            going = [reached.position for name, reached in self._reached.items() if self._goes(name)]
            await self._news(min(going, default=self.position))
            await asyncio.sleep(bounds.VIEW_GATHER_SECONDS)
        if await _loop_is_busy():
            await asyncio.sleep(min(bounds.VIEW_PAUSE_RATIO * seconds, bounds.VIEW_PAUSE_SECONDS_MAX))

    async def _news(self, after: int) -> None:
        """Wait for an event after a position. One that cannot be understood is news too."""
        news = self._store.follow(after, 1)
        try:
            async for batch in news:
                if batch:
                    return
        except Corrupt:
            return
        finally:
            if isinstance(news, AsyncGenerator):
                await news.aclose()


def _abreast(going: dict[str, int]) -> list[dict[str, int]]:
    """Part the views that keep up from those far behind: a new one reads the whole ledger, and none waits for it."""
    far = max(going.values()) - bounds.VIEW_BATCH_EVENTS
    groups = [{n: p for n, p in going.items() if p > far}, {n: p for n, p in going.items() if p <= far}]
    return [group for group in groups if group]


async def _loop_is_busy() -> bool:
    """Tell whether others need the event loop: whether one of a few turns of it takes long."""
    clock = asyncio.get_running_loop().time
    for _ in range(3):
        before = clock()
        await asyncio.sleep(0)
        if clock() - before > bounds.VIEW_BUSY_SECONDS:
            return True
    return False

"""Group commit: all concurrent appends of this process go down together, in one round trip and one commit.

Two lanes take turns at the ledger's head: while the batch of one commits, that of the other is already encoded and
sent, and a lane sends its next batch before the waiters of its last are woken. How large a batch is follows the load:
a lone append leaves at once; while a batch is under way the next gathers OVERLAP_ITEMS before it leaves beside it,
because a call costs PostgreSQL as much as some fifteen items; under more load both lanes carry alike.
A batch never holds two items of one stream, one submission key or one likeness: the later one goes with a later batch.
A change of authority travels alone, so that every decision is in a transaction before it or in one after it.

What happens when something fails is told in `ledger/lane.py`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

import structlog

from ledger import bounds
from ledger.batch import Item, item_of
from ledger.errors import Overloaded
from ledger.lane import Lane, answer, fail
from ledger.store import Append, Unknown, Verdict

if TYPE_CHECKING:
    from ledger.database import Pool

LANES: Final = 2  # more do not help: the commits of one ledger follow one another
OVERLAP_ITEMS: Final = 32
_PROBE_SECONDS: Final = 0.2

_log = structlog.get_logger(__name__)


class Appender:
    """The only writer of events of one ledger in this process."""

    def __init__(self, pool: "Pool", ledger: str, committed: Callable[[datetime], None]) -> None:
        """`committed` is called with the ledger's time after each commit."""
        self._ledger = ledger
        self._lanes = [Lane(pool, ledger, committed) for _ in range(LANES)]
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: deque[Item] = deque()
        self._idle: list[asyncio.Future[None]] = []  # lanes with nothing to carry
        self._under_way = 0  # items
        self._stopped = True
        self._away = False  # the database, for longer than AWAY_SECONDS

    async def start(self) -> None:
        """Begin to take appends."""
        self._stopped = False
        self._tasks = [asyncio.create_task(self._run(lane), name="append lane") for lane in self._lanes]

    async def stop(self) -> None:
        """Refuse new appends, answer those that were taken, and end; within AWAY_SECONDS."""
        self._stopped = True
        while self._idle:
            self._idle.pop().set_result(None)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=bounds.AWAY_SECONDS)
            for task in late:
                task.cancel()
        self._refuse_waiting()

    async def append(self, append: Append) -> Verdict:
        """Append durably and answer for this append alone.

        Raises `Overloaded` if nothing was recorded and may be later, `InvariantViolation` if it can never be.
        """
        if self._stopped:
            raise Overloaded("The store is stopping. Nothing was recorded; retry later.")
        if self._away:
            raise Overloaded("PostgreSQL does not answer. Nothing was recorded; retry later.")
        if len(self._waiting) >= bounds.APPENDS_QUEUED:
            raise Overloaded(f"{bounds.APPENDS_QUEUED} appends wait already. Nothing was recorded; retry later.")
        item = item_of(append, asyncio.get_running_loop().create_future())
        self._waiting.append(item)
        if self._idle and self._is_worthwhile():
            self._idle.pop().set_result(None)  # the lane that was last used: its caches are warm
        return await item.answer

    async def _run(self, lane: Lane) -> None:
        try:
            while True:
                if batch := self._take():
                    if not await self._carry(lane, batch):
                        await self._come_back(lane)
                elif self._stopped:
                    return
                else:
                    turn = asyncio.get_running_loop().create_future()
                    self._idle.append(turn)
                    await turn
        finally:
            lane.close()

    async def _carry(self, lane: Lane, batch: list[Item]) -> bool:
        """Carry a batch, and leave nobody without an answer whatever happens to the lane."""
        self._under_way += len(batch)
        try:
            return await lane.carry(batch)
        except Exception:  # noqa: BLE001  # a defect of ours in one batch must not silence the lane for all others
            _log.exception("append_lane_failed", items=len(batch))
            lane.close()
            return True
        finally:
            self._under_way -= len(batch)
            if any(not item.answer.done() for item in batch):
                answer(batch, [Unknown("The store stopped before it knew.")] * len(batch))

    async def _come_back(self, lane: Lane) -> None:
        """Refuse everything until the database is back."""
        self._away = True
        self._refuse_waiting()
        while self._away:
            await asyncio.sleep(_PROBE_SECONDS)
            self._away = not await lane.reaches_the_database()

    def _refuse_waiting(self) -> None:
        fail(self._waiting, Overloaded, "PostgreSQL does not answer. Nothing was recorded; retry later.")
        self._waiting.clear()

    def _is_worthwhile(self) -> bool:
        """Tell whether a batch should leave now, rather than when the one under way is back."""
        return not self._under_way or len(self._waiting) >= OVERLAP_ITEMS

    def _take(self) -> list[Item]:
        """Take the next batch from those that wait: a lane's share, at most BATCH_ITEMS and about BATCH_BYTES."""
        waiting = self._waiting
        share = 0
        if self._is_worthwhile():
            half = (len(waiting) + self._under_way) // LANES
            share = min(bounds.BATCH_ITEMS, max(LANES * OVERLAP_ITEMS, half))
        batch: list[Item] = []
        postponed: list[Item] = []
        names: set[object] = set()
        size = 0
        while waiting and len(batch) < share and len(postponed) < bounds.BATCH_ITEMS:
            item = waiting.popleft()
            if item.answer.done():  # cancelled before it was sent
                continue
            if not names.isdisjoint(item.names):
                postponed.append(item)
                continue
            size += item.size
            if batch and (item.is_alone or size > bounds.BATCH_BYTES):
                waiting.appendleft(item)
                break
            batch.append(item)
            names.update(item.names)
            if item.is_alone:
                break
        waiting.extendleft(reversed(postponed))
        return batch

"""Reconciliation as a part of a process: when it runs, over what window, and where what it needs comes from.

    [reconcile]
    every_seconds = 3600          how long after one pass began the next one does; left out: only on demand
    window_seconds = 604800       asked about is what came to rest within it, and whatever is known to diverge
    calls_per_second = 5          of all adapters together

Any number of processes may be so configured: one of them runs a pass, the others find that it is not due. Nothing of
the ledger rests on that schedule; two passes at once would only ask twice.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field, PositiveInt

import sql
from adapters.tables import Table
from coordinator.reconciler import Passed, Reconciler
from gateway.config_section import section
from ledger import bounds
from ledger.background import Background
from ledger.database import connection
from ledger.errors import NotReady
from ledger.progress import Progress, unseen
from ledger.state import IntentState
from ledger.store import Store
from projections.acted import acted
from projections.divergences import DIVERGENCES, diverging
from projections.follower import Follower
from projections.intents import INTENTS

if TYPE_CHECKING:
    from ledger.database import Pool

_SCHEDULE: Final = sql.query("reconcile.schedule")
_BEGIN: Final = sql.query("reconcile.begin")
_KEEP: Final = sql.query("reconcile.keep")
_END: Final = sql.query("reconcile.end")
_LOOK_SECONDS: Final = 15.0  # between two looks whether a pass is due; what runs one says so as often


class ReconcileTable(Table):
    """`[reconcile]` of the adapters' file."""

    every_seconds: Annotated[int, Field(ge=1, le=366 * 86_400)] | None = None
    window_seconds: PositiveInt = int(bounds.RECONCILE_WINDOW_SECONDS)
    calls_per_second: Annotated[float, Field(gt=0, le=1_000)] = bounds.RECONCILE_CALLS_PER_SECOND


def reconcile_table(config: Path | None) -> ReconcileTable:
    """Read what the adapters' file says about reconciliation. Raises `Misconfigured`."""
    return section(config, "reconcile", ReconcileTable)


class Reconciliation:
    """Runs passes over one ledger: when they are due, or at once."""

    def __init__(
        self,
        pool: "Pool",
        store: Store,
        follower: Follower,
        reconciler: Callable[..., Reconciler],
        table: ReconcileTable,
    ) -> None:
        """`reconciler` makes one of what tells which intents have moved since a time."""
        self._pool = pool
        self._store = store
        self._follower = follower
        self._reconciler = reconciler(self._moved)
        self._table = table
        self._part: Background | None = None

    def start(self) -> None:
        """Begin to look whether a pass is due, if the configuration says how often."""
        every = self._table.every_seconds
        if every is not None:
            turn, seconds = partial(self._turn, every), min(every, _LOOK_SECONDS)
            self._part = Background("reconciliation", turn, retry_seconds=seconds)
            self._part.start()

    async def stop(self) -> None:
        """Let go. What a pass has recorded stays; the next one begins anew."""
        if self._part is not None:
            await self._part.stop()

    async def now(
        self,
        since: datetime | None = None,
        calls_per_second: float | None = None,
        progress: Progress = unseen,
    ) -> Passed:
        """Run a pass now, over what came to rest since then, or in the configured window. Raises `Unavailable`."""
        async with connection(self._pool) as writer:
            await writer.execute(_SCHEDULE, self._store.ledger)
            await writer.fetchval(_BEGIN, self._store.ledger, self._table.every_seconds or 0, True)
        return await self._passed(since, calls_per_second, progress)

    async def _turn(self, every: int) -> float:
        """Run a pass if one is due."""
        async with connection(self._pool) as writer:
            await writer.execute(_SCHEDULE, self._store.ledger)
            is_due = await writer.fetchval(_BEGIN, self._store.ledger, every, False)
        if is_due:
            keeping = Background("lease of reconciliation", partial(self._keep, every), retry_seconds=_LOOK_SECONDS)
            keeping.start()
            try:
                await self._passed(None, None)
            finally:
                await keeping.stop()
        return min(every, _LOOK_SECONDS)

    async def _keep(self, every: int) -> float:
        """Say, some time after it was begun, that a pass is still being run here: no other process is to begin one."""
        await asyncio.sleep(_LOOK_SECONDS)
        async with connection(self._pool) as writer:
            await writer.execute(_KEEP, self._store.ledger, max(every, 2 * _LOOK_SECONDS))
        return 0.0

    async def _passed(
        self,
        since: datetime | None,
        calls_per_second: float | None,
        progress: Progress = unseen,
    ) -> Passed:
        ledger, table = self._store.ledger, self._table
        await self._views_have(await self._store.head())
        async with connection(self._pool) as reader:
            known = await diverging(reader, ledger)
        began = since or self._store.now() - timedelta(seconds=table.window_seconds)
        passed = await self._reconciler.run(began, calls_per_second or table.calls_per_second, known, progress)
        async with connection(self._pool) as writer:
            counts = (passed.intents, passed.calls, passed.agreed, passed.diverged, passed.untold)
            await writer.execute(_END, ledger, *counts)
        return passed

    async def _moved(self, since: datetime) -> AsyncIterator[Sequence[IntentState]]:
        """Yield what has moved since a time, once the views know all of it."""
        await self._views_have(await self._store.head())
        async for states in acted(self._pool, self._store.ledger, since):
            yield states

    async def _views_have(self, position: int) -> None:
        try:
            async with asyncio.timeout(bounds.RECONCILE_VIEW_SECONDS):
                stopped = await self._follower.has(position, INTENTS.name, DIVERGENCES.name)
        except TimeoutError:
            raise NotReady(f"The views did not reach position {position} in time. Compare again later.") from None
        if stopped is not None:
            raise NotReady(f"{stopped} Nothing was compared.")

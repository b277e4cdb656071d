"""Waiting for the ledger, its log or its views to have reached a position (`?min_position=`), with a bound."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from gateway.door import Visit
from ledger.bounds import VIEW_SECONDS
from ledger.errors import NotReady

_POLL_SECONDS: Final = 0.02


async def ledger_has(visit: Visit, position: int) -> None:
    """Wait until the ledger has this position. Raises `NotReady` after VIEW_SECONDS."""
    await _reached(visit, position, visit.service.store.head)


async def log_covers(visit: Visit, position: int) -> None:
    """Wait until a checkpoint of the log covers this position. Raises `NotReady` after VIEW_SECONDS."""

    async def covered() -> int:
        newest = await visit.service.log.newest()
        return 0 if newest is None else newest.size

    await _reached(visit, position, covered)


async def views_have(visit: Visit, position: int, *views: str) -> None:
    """Wait until these views have this position.

    Raises `NotReady` after VIEW_SECONDS, or at once if one of them has stopped before it.
    """
    async with _patience(visit, position):
        stopped = await visit.service.follower.has(position, *views)
        if stopped is not None:
            raise NotReady(f"{stopped} Nothing was changed.")


async def _reached(visit: Visit, position: int, at: Callable[[], Awaitable[int]]) -> None:
    async with _patience(visit, position):
        while await at() < position:  # noqa: ASYNC110 other processes move it on too
            await asyncio.sleep(_POLL_SECONDS)


@asynccontextmanager
async def _patience(visit: Visit, position: int) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(VIEW_SECONDS) as timeout:
            with visit.door.patience(timeout):
                yield
    except TimeoutError:
        raise NotReady(f"Position {position} was not reached within {VIEW_SECONDS:g} seconds.") from None

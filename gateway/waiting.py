"""Waiting for the ledger, its log or its views to have reached a position (`?min_position=`), with a bound."""

import asyncio
from collections.abc import Awaitable, Callable
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
    """Wait until these views have this position: no reader of one waits for another, and one that stopped is told.

    Raises `NotReady` after VIEW_SECONDS, or at once if one of them has stopped before it.
    """
    follower = visit.service.follower

    async def reached() -> int:
        failure = follower.failure_of(*views)
        if failure is not None and follower.reached(*views) < position:
            raise NotReady(f"The views have stopped: {failure} Nothing was changed.")
        return follower.reached(*views)

    await _reached(visit, position, reached)


async def _reached(visit: Visit, position: int, at: Callable[[], Awaitable[int]]) -> None:
    try:
        async with asyncio.timeout(VIEW_SECONDS) as timeout:
            with visit.door.patience(timeout):
                while await at() < position:  # noqa: ASYNC110 other processes move it on too
                    await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise NotReady(f"Position {position} was not reached within {VIEW_SECONDS:g} seconds.") from None

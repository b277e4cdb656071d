"""What machines ask about the service itself, without a token: is it alive, may it be sent work, how is it doing.

Nothing here tells what is in a ledger, and no answer costs more when it is asked for more often.
"""

import asyncio
from typing import Final

from aiohttp import web

from gateway.door import Door, Route, Visit
from gateway.metrics import CONTENT_TYPE
from gateway.render import Readiness
from ledger.bounds import READY_FRESH_SECONDS, READY_SECONDS
from ledger.errors import LedgerError


async def alive(visit: Visit) -> web.Response:
    """Say that this process answers, whatever else is wrong."""
    return visit.answer(Readiness(ready=True, reasons=()))


async def ready(visit: Visit) -> web.Response:
    """Say whether this process should be sent work, and if not why."""
    reasons = await _reasons(visit.door)
    return visit.answer(Readiness(ready=not reasons, reasons=reasons), 503 if reasons else 200)


async def metrics(visit: Visit) -> web.Response:
    """Show the measures of this process in Prometheus' text format."""
    return web.Response(body=visit.door.metrics.exposition(), headers=visit.headers(CONTENT_TYPE))


async def document(visit: Visit) -> web.Response:
    """Show the OpenAPI document of this service."""
    return web.Response(body=visit.door.document, headers=visit.headers())


async def _reasons(door: Door) -> tuple[str, ...]:
    """Return why the service is not ready; one question to the database stands for READY_FRESH_SECONDS."""
    if door.draining:
        return ("The service is shutting down.",)
    service = door.service
    if service is None:
        return (door.reason,)
    clock = asyncio.get_running_loop().time
    if clock() - door.asked_at >= READY_FRESH_SECONDS:
        door.asked_at = clock()
        try:
            async with asyncio.timeout(READY_SECONDS):
                await service.store.head()
            door.away = None
        except (LedgerError, TimeoutError):
            door.away = "The database does not answer."
    stopped = service.follower.failure
    return tuple(reason for reason in (door.away, f"The views have stopped: {stopped}" if stopped else None) if reason)


HEALTH_ROUTES: Final = (
    Route(
        method="GET",
        path="/healthz",
        name="is_alive",
        summary="Is the process alive?",
        handler=alive,
        answers={200: Readiness},
        public=True,
    ),
    Route(
        method="GET",
        path="/readyz",
        name="is_ready",
        summary="May it be sent work?",
        handler=ready,
        answers={200: Readiness, 503: Readiness},
        public=True,
    ),
    Route(
        method="GET",
        path="/metrics",
        name="get_metrics",
        summary="Measures of this process for Prometheus",
        handler=metrics,
        answers={200: None},
        media=("text/plain",),
        public=True,
    ),
    Route(
        method="GET",
        path="/openapi.json",
        name="get_openapi",
        summary="This document",
        handler=document,
        answers={200: None},
        public=True,
    ),
)

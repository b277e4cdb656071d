"""What machines ask about the service itself, without a token: is it alive, may it be sent work, how is it doing.

Nothing here tells what is in a ledger, and no answer costs more when it is asked for more often.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

from aiohttp import web

from adapters.registry import Registry
from gateway.door import Caller, Door, Route, Visit
from gateway.metrics import CONTENT_TYPE
from gateway.render import Readiness
from ledger.bounds import READY_FRESH_SECONDS, READY_SECONDS
from ledger.errors import LedgerError
from projections.follower import Follower

_VIEWS_STOPPED: Final = (
    "A view has stopped; GET /v1/projections says which and why. "
    "Intents are accepted and run; lists and the audit may be out of date."
)
_VIEWS_REBUILDING: Final = (
    "Views of an older release are being rebuilt; GET /v1/projections says which. "
    "Intents are accepted and run; lists and the audit may be out of date."
)


async def alive(visit: Visit) -> web.Response:
    """Say that this process answers, whatever else is wrong."""
    return visit.answer(Readiness(ready=True, reasons=()))


async def ready(visit: Visit) -> web.Response:
    """Say whether this process should be sent work, and if not why.

    A view that has stopped, or is being rebuilt, is told and takes no work away: intents are accepted and run without
    any view. So is an adapter that is misconfigured: the others work.
    """
    door = visit.door
    hindrance = await _hindrance(door)
    if hindrance is not None:
        return visit.answer(Readiness(ready=False, reasons=(hindrance,)), 503)
    service = door.service
    reasons = () if service is None else (*_lagging(service.follower), *_misconfigured(service.registry))
    reasons += tuple(said for remark in door.remarks for said in remark())
    lag = {} if service is None else _lag(service.follower, door.head)
    return visit.answer(Readiness(ready=True, reasons=reasons, lag=lag))


async def metrics(visit: Visit) -> web.Response:
    """Show the measures of this process in Prometheus' text format."""
    return web.Response(body=visit.door.metrics.exposition(), headers=visit.headers(CONTENT_TYPE))


async def document(visit: Visit) -> web.Response:
    """Show the OpenAPI document of this service."""
    return web.Response(body=visit.door.document, headers=visit.headers())


def _lag(follower: Follower, head: int) -> dict[str, int]:
    """Return how many events each view has not reached, of those that were there when the head was seen."""
    return {name: max(0, head - position) for name, position in follower.positions.items()}


def _lagging(follower: Follower) -> tuple[str, ...]:
    """Say what is behind although work is taken."""
    stopped = (_VIEWS_STOPPED,) if follower.failure is not None else ()
    return (*stopped, _VIEWS_REBUILDING) if follower.rebuilding else stopped


def _misconfigured(registry: Registry) -> Iterator[str]:
    """Say which adapters cannot be used; why, only who reads the log may know."""
    for adapter in registry.faults:
        yield (
            f"The adapter {adapter} is misconfigured; the log says where and why. New intents that use it are refused, "
            "those in flight wait."
        )


async def _hindrance(door: Door) -> str | None:
    """Return what keeps intents from being accepted; one question to the database stands for READY_FRESH_SECONDS."""
    if door.draining:
        return "The service is shutting down."
    service = door.service
    if service is None:
        return door.reason
    clock = asyncio.get_running_loop().time
    if clock() - door.asked_at >= READY_FRESH_SECONDS:
        door.asked_at = clock()
        try:
            async with asyncio.timeout(READY_SECONDS):
                door.head = await service.store.head()
            door.away = None
        except (LedgerError, TimeoutError):
            door.away = "The database does not answer."
    return door.away


HEALTH_ROUTES: Final = (
    Route(
        method="GET",
        path="/healthz",
        name="is_alive",
        summary="Is the process alive?",
        handler=alive,
        answers={200: Readiness},
        caller=Caller.EVERYBODY,
    ),
    Route(
        method="GET",
        path="/readyz",
        name="is_ready",
        summary="May it be sent work?",
        handler=ready,
        answers={200: Readiness, 503: Readiness},
        caller=Caller.EVERYBODY,
    ),
    Route(
        method="GET",
        path="/metrics",
        name="get_metrics",
        summary="Measures of this process for Prometheus",
        handler=metrics,
        answers={200: None},
        media=("text/plain",),
        caller=Caller.EVERYBODY,
    ),
    Route(
        method="GET",
        path="/openapi.json",
        name="get_openapi",
        summary="This document",
        handler=document,
        answers={200: None},
        caller=Caller.EVERYBODY,
    ),
)

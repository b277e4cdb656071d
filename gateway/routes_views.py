"""The routes of the catalogue and of the views: what is offered, what has been done, what is open.

Everything here only reads. Views follow the ledger at a small distance; `?min_position=` waits until they have come as
far as a position that the reader knows.
"""

from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.door import Caller, Route, Visit
from gateway.models import ExposureQuery, IntentsQuery, no_next
from gateway.render import IntentPage, OperationPage, show_intent, show_operation
from gateway.shapes_views import ExposurePage, ProjectionPage
from gateway.visibility import is_agent
from gateway.waiting import views_have
from ledger.database import connection
from projections.exposure import EXPOSURE, read_exposure
from projections.intents import INTENTS, IntentFilter, is_cursor, list_intents


async def operations(visit: Visit) -> web.Response:
    """Show what the configured adapters offer, and whether they answer."""
    service = visit.service
    offered = service.registry.operations.items()
    statuses = {one.adapter: one for one in service.coordinator.statuses()}
    items = tuple([show_operation(one, statuses[name.partition(".")[0]]) for name, one in offered])
    return visit.answer(OperationPage(items=items, next=None))


async def intents(visit: Visit) -> web.Response:
    """List intents, newest first."""
    query: IntentsQuery = visit.query or IntentsQuery()
    after = cursor_of(query)
    if query.min_position:
        await views_have(visit, query.min_position, INTENTS.name)
    service = visit.service
    wanted = _wanted(IntentFilter, query)
    if is_agent(visit.principal):
        wanted = msgspec.structs.replace(wanted, custody=visit.principal.grant)
    async with connection(service.pool) as reader:
        page = await list_intents(reader, service.store.ledger, wanted, after, query.limit)
    return visit.answer({"items": [show_intent(state) for state in page.items], "next": page.next})


async def exposure(visit: Visit) -> web.Response:
    """Show what is held, promised and in doubt in the outside systems now."""
    query: ExposureQuery = visit.query or ExposureQuery()
    if query.min_position:
        await views_have(visit, query.min_position, EXPOSURE.name)
    service = visit.service
    async with connection(service.pool) as reader:
        return visit.answer(await read_exposure(reader, service.store.ledger))


async def projections(visit: Visit) -> web.Response:
    """Show how far each view has come, and its digest there."""
    return visit.answer({"items": await visit.service.view_statuses.read(), "next": None})


def cursor_of(query: Any) -> str | None:
    """Return the `after` of a query for intents. Raises `InvalidRequest` for what is no id."""
    after: str | None = query.after
    if after is not None and not is_cursor(after):
        raise no_next()
    return after


def _wanted(filter_type: type[Any], query: Any) -> Any:
    """Fill a view's filter from the query parameters of the same names."""
    return filter_type(**{name: getattr(query, name, None) for name in filter_type.__struct_fields__})


VIEW_ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/operations",
        name="list_operations",
        summary="The catalogue: what adapters offer and promise",
        handler=operations,
        answers={200: OperationPage},
        caller=Caller.HOLDER,
    ),
    Route(
        method="GET",
        path="/v1/intents",
        name="list_intents",
        summary="List intents, newest first",
        handler=intents,
        query=IntentsQuery,
        answers={200: IntentPage},
        caller=Caller.HOLDER,
    ),
    Route(
        method="GET",
        path="/v1/exposure",
        name="read_exposure",
        summary="What is held, promised and in doubt now",
        handler=exposure,
        query=ExposureQuery,
        answers={200: ExposurePage},
    ),
    Route(
        method="GET",
        path="/v1/projections",
        name="list_projections",
        summary="How far the views have come, with digests",
        handler=projections,
        answers={200: ProjectionPage},
    ),
)

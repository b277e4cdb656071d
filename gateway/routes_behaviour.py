"""The routes of the watch over behaviour: habits, anomalies, and that somebody has looked at one."""

from typing import Final

from aiohttp import web

from authority.anomalies import clear
from gateway.cursors import position_in
from gateway.door import Route, Visit
from gateway.models import no_next
from gateway.models_behaviour import AnomaliesQuery, BehaviourQuery, ClearAnomaly
from gateway.shapes_behaviour import AnomalyPage, BehaviourPage, ShownAnomaly, show_anomaly
from gateway.waiting import views_have
from ledger.behaviour_events import anomaly_stream
from ledger.database import connection
from ledger.errors import Forbidden, InvalidRequest, NotFound
from ledger.events import Recorded
from projections.behaviour.anomalies import ANOMALIES, AnomalyFilter, AnomalyRow, list_anomalies
from projections.behaviour.page import BehaviourFilter, list_behaviour, read_cursor
from projections.behaviour.view import BEHAVIOUR


async def behaviour(visit: Visit) -> web.Response:
    """Show what is usual and what is now, for each agent and operation."""
    query: BehaviourQuery = visit.query or BehaviourQuery()
    if query.after is not None and read_cursor(query.after) is None:
        raise no_next()
    if query.min_position:
        await views_have(visit, query.min_position, BEHAVIOUR.name)
    store = visit.service.store
    wanted = BehaviourFilter(store.now(), query.agent, query.operation)
    async with connection(visit.service.pool) as reader:
        page = await list_behaviour(reader, store.ledger, wanted, query.after, query.limit)
    return visit.answer(BehaviourPage(items=page.items, next=page.next))


async def anomalies(visit: Visit) -> web.Response:
    """List anomalies, newest first."""
    query: AnomaliesQuery = visit.query or AnomaliesQuery()
    after = None if query.after is None else await position_in(visit, query.after)
    if query.min_position:
        await views_have(visit, query.min_position, ANOMALIES.name)
    store = visit.service.store
    now = store.now()
    names = AnomalyFilter.__struct_fields__[1:]
    wanted = AnomalyFilter(now, **{name: getattr(query, name) for name in names})
    async with connection(visit.service.pool) as reader:
        page = await list_anomalies(reader, store.ledger, wanted, after, query.limit)
    items = tuple([show_anomaly(row, now) for row in page.items])
    return visit.answer(AnomalyPage(items=items, next=None if page.next is None else str(page.next)))


async def anomaly(visit: Visit) -> web.Response:
    """Show one anomaly."""
    return _shown(visit, list(await visit.service.store.read(anomaly_stream(visit.id))))


async def clear_anomaly(visit: Visit) -> web.Response:
    """Record that a person has looked at an anomaly."""
    said, _ = await visit.body(ClearAnomaly)
    return _shown(visit, await clear(visit.service.store, visit.principal, visit.id, said.note))


def _shown(visit: Visit, stream: list[Recorded]) -> web.Response:
    if not stream:
        raise NotFound(f"There is no anomaly {visit.id} in this ledger.")
    rows: tuple[AnomalyRow, ...] = ()
    for recorded in stream:
        rows = ANOMALIES.apply(rows, recorded)
    return visit.answer(show_anomaly(rows[0], visit.service.store.now()))


BEHAVIOUR_ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/behaviour",
        name="read_behaviour",
        summary="Normal and now, for each agent and operation",
        notes="`windows` count the last minutes against what is usual at this hour of the week (UTC). `judged_by` says "
        "whether an agent is known long enough to be judged by its own past.",
        handler=behaviour,
        query=BehaviourQuery,
        answers={200: BehaviourPage},
        errors=(InvalidRequest,),
    ),
    Route(
        method="GET",
        path="/v1/anomalies",
        name="list_anomalies",
        summary="What was odd, and what was done about it, newest first",
        handler=anomalies,
        query=AnomaliesQuery,
        answers={200: AnomalyPage},
        errors=(InvalidRequest,),
    ),
    Route(
        method="GET",
        path="/v1/anomalies/{id}",
        name="get_anomaly",
        summary="Look at an anomaly",
        handler=anomaly,
        answers={200: ShownAnomaly},
        errors=(NotFound,),
    ),
    Route(
        method="POST",
        path="/v1/anomalies/{id}/clear",
        name="clear_anomaly",
        summary="Say that you have looked at an anomaly; it stands no longer",
        notes="Policy sees it no longer, and what goes on is looked at anew. A grant that was suspended for it stays "
        "so until it is resumed (`POST /v1/grants/{id}/resume`). Nobody clears an anomaly of their own.",
        handler=clear_anomaly,
        body=ClearAnomaly,
        answers={200: ShownAnomaly},
        errors=(NotFound, InvalidRequest, Forbidden),
    ),
)

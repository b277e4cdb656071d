"""The routes of undo plans: see what undoing many intents would do, approve exactly that, follow how far it has come.

Rule: nothing is decided here. For people, each of whom may undo what their own grants permit.
"""

import re
from typing import Final

from aiohttp import web

from coordinator.undo_plans import Wanted
from gateway.door import Route, Visit
from gateway.models_undo import ApproveUndoPlan, HaltUndoPlan, NewUndoPlan
from gateway.render import EventPage, encode
from gateway.routes_feed import lines
from gateway.shapes_undo import ShownUndoPlan, show_undo_plan
from gateway.waiting import views_have
from ledger import bounds
from ledger.database import connection
from ledger.errors import DigestMismatch, Forbidden, InvalidRequest, NotFound, NotReady, NotWaiting
from projections.intents import INTENTS
from projections.undo_candidates import undo_candidates

_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch


async def plan(visit: Visit) -> web.Response:
    """Record what undoing everything that a selection reaches would do; nothing is undone."""
    new, _ = await visit.body(NewUndoPlan)
    service = visit.service
    as_of = await service.store.head()
    await views_have(visit, as_of, INTENTS.name)
    wanted = Wanted(new.selection(), new.reason, new.partial)
    async with connection(service.pool) as reader:
        found = undo_candidates(reader, service.store.ledger, wanted.selection)
        made = await service.coordinator.undo_plans.plan(visit.principal, wanted, found, as_of)
    headers = visit.headers()
    headers["Location"] = f"/v1/undo-plans/{made.id}"
    return web.Response(body=encode(show_undo_plan(made)), status=201, headers=headers)


async def look(visit: Visit) -> web.Response:
    """Show a plan and how far it has come."""
    return visit.answer(show_undo_plan(await visit.service.coordinator.undo_plans.get(_plan_of(visit))))


async def stream(visit: Visit) -> web.Response:
    """Show the events of a plan, from which anybody can compute its digest."""
    recorded = await visit.service.coordinator.undo_plans.events(_plan_of(visit))
    return visit.answer({"items": await lines(visit.service, recorded), "next": None})


async def approve(visit: Visit) -> web.Response:
    """Let a plan be carried out, exactly as its digest names it."""
    named = _plan_of(visit)
    said, _ = await visit.body(ApproveUndoPlan)
    approved = await visit.service.coordinator.undo_plans.approve(named, visit.principal, said.digest)
    return visit.answer(show_undo_plan(approved), 202)


async def halt(visit: Visit) -> web.Response:
    """Let nothing more of a plan be begun."""
    named = _plan_of(visit)
    said, _ = await visit.body(HaltUndoPlan)
    return visit.answer(
        show_undo_plan(await visit.service.coordinator.undo_plans.halt(named, visit.principal, said.reason))
    )


def _plan_of(visit: Visit) -> str:
    """Return the id in the address. Raises `NotFound` for what cannot be one."""
    if not _ID(visit.id):
        raise NotFound("There is no such undo plan in this ledger.")
    return visit.id


UNDO_PLAN_ROUTES: Final = (
    Route(
        method="POST",
        path="/v1/undo-plans",
        name="plan_undo",
        summary="See what undoing many intents would do",
        notes="Nothing is undone by it. The same content has the same digest whenever it is planned. At most "
        f"{bounds.UNDO_PLAN_INTENTS} intents; intents that never had an effect are not listed.",
        handler=plan,
        body=NewUndoPlan,
        answers={201: ShownUndoPlan},
        errors=(InvalidRequest, NotReady),
    ),
    Route(
        method="GET",
        path="/v1/undo-plans/{id}",
        name="get_undo_plan",
        summary="A plan, and how far it has come",
        handler=look,
        answers={200: ShownUndoPlan},
        errors=(NotFound,),
    ),
    Route(
        method="GET",
        path="/v1/undo-plans/{id}/events",
        name="get_undo_plan_events",
        summary="Read the events of a plan",
        as_stored=True,
        handler=stream,
        answers={200: EventPage},
        errors=(NotFound,),
    ),
    Route(
        method="POST",
        path="/v1/undo-plans/{id}/approve",
        name="approve_undo_plan",
        summary="Approve exactly what a plan lists, and let it be carried out",
        notes="It is carried out after the answer, by any process; each intent is undone at most once. An intent that "
        "was undone or moved since it was planned is left alone, and says so. The approver's grant must stay alive: "
        "the plan halts where it dies, and the rest can be approved again.",
        handler=approve,
        body=ApproveUndoPlan,
        answers={202: ShownUndoPlan},
        errors=(NotFound, InvalidRequest, NotWaiting, DigestMismatch, Forbidden),
    ),
    Route(
        method="POST",
        path="/v1/undo-plans/{id}/halt",
        name="halt_undo_plan",
        summary="Let nothing more of a plan be begun",
        notes="Whoever carries it out notices within a second or so. What was begun goes on, for it is decided; the "
        "rest can be approved again.",
        handler=halt,
        body=HaltUndoPlan,
        answers={200: ShownUndoPlan},
        errors=(NotFound, InvalidRequest, NotWaiting, Forbidden),
    ),
)

"""The routes of grants: delegate, look at what was delegated, revoke, suspend, resume.

Rule: nothing is decided here. What may be delegated, and by whom a grant may be revoked, is for `authority/`.
"""

import secrets
from typing import Final

from aiohttp import web

from gateway.door import Caller, Route, Visit
from gateway.models_authority import GrantsQuery, NewGrant, RevokeGrant, SuspendGrant, order_of
from gateway.personal_terms import check_terms
from gateway.render import encode
from gateway.shapes_authority import (
    GrantPage,
    IssuedGrant,
    Revocation,
    StandingShown,
    Suspension,
    show_grant,
    show_issued,
)
from ledger.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    WiderThanParent,
)


async def issue(visit: Visit) -> web.Response:
    """Issue a grant below the caller's own, and show its token this once."""
    new, _ = await visit.body(NewGrant)
    order = order_of(new)
    check_terms(order, visit.service.registry)
    issued, token = await visit.service.authority.issue(visit.principal, order, secrets.token_bytes)
    headers = visit.headers()
    headers["Location"] = f"/v1/grants/{issued.grant}"
    return web.Response(body=encode(show_issued(issued, token)), status=201, headers=headers)


async def grants(visit: Visit) -> web.Response:
    """Show the grants at and below the caller's own."""
    query: GrantsQuery = visit.query or GrantsQuery()
    found = await visit.service.authority.grants(visit.principal, query.after, query.limit + 1)
    page = [show_grant(one) for one in found[: query.limit]]
    return visit.answer({"items": page, "next": page[-1].id if len(found) > query.limit else None})


async def grant(visit: Visit) -> web.Response:
    """Show one of them."""
    return visit.answer(show_grant(await visit.service.authority.grant(visit.principal, visit.id)))


async def revoke(visit: Visit) -> web.Response:
    """Revoke a grant and all below it, and say what that stopped and what was decided before."""
    said, _ = await visit.body(RevokeGrant)
    revoked = await visit.service.authority.revoke(visit.principal, visit.id, said.reason)
    aborting, decided = await visit.service.coordinator.classify(revoked.in_flight)
    shown = Revocation(revoked=revoked.revoked, aborting=tuple(aborting), already_decided=tuple(decided))
    return visit.answer(shown)


async def suspend(visit: Visit) -> web.Response:
    """Suspend a grant and all below it, and say what that stopped and what was decided before."""
    said, _ = await visit.body(SuspendGrant)
    stopped = await visit.service.authority.suspend(visit.principal, visit.id, said.reason)
    aborting, decided = await visit.service.coordinator.classify(stopped.in_flight)
    shown = Suspension(suspended=stopped.revoked, aborting=tuple(aborting), already_decided=tuple(decided))
    return visit.answer(shown)


async def resume(visit: Visit) -> web.Response:
    """Lift the suspension of a grant."""
    said, _ = await visit.body(SuspendGrant)
    return visit.answer(show_grant(await visit.service.authority.resume(visit.principal, visit.id, said.reason)))


GRANT_ROUTES: Final = (
    Route(
        method="POST",
        path="/v1/grants",
        name="issue_grant",
        summary="Delegate authority, narrower than your own",
        notes="The token is shown once. If the answer is lost, nobody has it: find the grant in GET /v1/grants and "
        "revoke it, or leave it to expire, and issue another one. There is no Idempotency-Key here.",
        handler=issue,
        body=NewGrant,
        answers={201: IssuedGrant},
        errors=(InvalidRequest, WiderThanParent),
        caller=Caller.HOLDER,
    ),
    Route(
        method="GET",
        path="/v1/grants",
        name="list_grants",
        summary="The tree of grants at and below your own, never a token",
        handler=grants,
        query=GrantsQuery,
        answers={200: GrantPage},
        caller=Caller.HOLDER,
    ),
    Route(
        method="GET",
        path="/v1/grants/{id}",
        name="get_grant",
        summary="Look at a grant",
        handler=grant,
        answers={200: StandingShown},
        errors=(NotFound,),
        caller=Caller.HOLDER,
    ),
    Route(
        method="POST",
        path="/v1/grants/{id}/revoke",
        name="revoke_grant",
        summary="Revoke a grant and every grant below it",
        notes="After the answer no decision is made under these grants, by any process. `aborting`: intents that were "
        "not decided and will not be. `already_decided`: those whose decision came first; it stands.",
        handler=revoke,
        body=RevokeGrant,
        answers={200: Revocation},
        errors=(NotFound, InvalidRequest, Forbidden),
        caller=Caller.HOLDER,
    ),
    Route(
        method="POST",
        path="/v1/grants/{id}/suspend",
        name="suspend_grant",
        summary="Suspend a grant and every grant below it, until a person resumes it",
        notes="As a revocation that can be lifted: after the answer no decision is made under these grants, by any "
        "process, and their tokens are refused with a sentence that says so. The first grant cannot be suspended.",
        handler=suspend,
        body=SuspendGrant,
        answers={200: Suspension},
        errors=(NotFound, InvalidRequest, Forbidden, Conflict),
    ),
    Route(
        method="POST",
        path="/v1/grants/{id}/resume",
        name="resume_grant",
        summary="Lift the suspension of a grant",
        notes="Only a person whose grant is above it may. `suspended` in the answer stays true while another grant "
        "above it is suspended.",
        handler=resume,
        body=SuspendGrant,
        answers={200: StandingShown},
        errors=(NotFound, InvalidRequest, Forbidden, Conflict),
    ),
)

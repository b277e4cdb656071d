"""The route of the audit: a page of entries, or all of them as a stream in a form of `projections/audit/export.py`."""

from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.cursors import position_in
from gateway.door import Route, Visit
from gateway.models import AuditQuery
from gateway.routes_feed import form_of, stream
from gateway.shapes_views import AuditPage
from gateway.waiting import views_have
from ledger.bounds import PAGE_LIMIT_MAX
from ledger.database import connection
from projections.audit.entry import AuditRow
from projections.audit.export import MEDIA, Form, written
from projections.audit.forms import entry_json
from projections.audit.search import AuditFilter, list_audit
from projections.audit.view import AUDIT
from projections.page import Page

_OFFERED: Final = tuple(MEDIA)  # JSON first


async def audit(visit: Visit) -> web.StreamResponse:
    """Show who did what to whom, by what authority; a page of it, or all of it as a stream."""
    query: AuditQuery = visit.query or AuditQuery()
    wanted = wanted_by(query)
    after = None if query.after is None else await position_in(visit, query.after)
    if query.min_position:
        await views_have(visit, query.min_position, AUDIT.name)
    media = form_of(visit.request, _OFFERED)
    form = MEDIA[media]

    async def page_after(position: int | None, limit: int = PAGE_LIMIT_MAX) -> Page[AuditRow, int]:
        async with connection(visit.service.pool) as reader:  # none is held while whoever reads takes a page
            return await list_audit(reader, visit.service.store.ledger, wanted, position, limit)

    if form is Form.JSON:
        page = await page_after(after, query.limit)
        following = None if page.next is None else str(page.next)
        return visit.answer({"items": [entry_json(entry) for entry in page.items], "next": following})
    if visit.request.method == "HEAD":
        return web.Response(headers=visit.headers(media))
    left = query.limit if "limit" in query.model_fields_set else None  # a stream ends by itself only if that was said

    async def part_after(position: int | None) -> Page[AuditRow, int]:
        nonlocal left
        if left is None:
            return await page_after(position)
        page = await page_after(position, left)
        left -= len(page.items)
        return page if left else msgspec.structs.replace(page, next=None)

    return await stream(visit, media, written(form, visit.service.store.ledger, part_after, after))


def wanted_by(query: AuditQuery) -> AuditFilter:
    """Return the filter that a query asks for."""
    given: dict[str, Any] = {name: getattr(query, name) for name in AuditFilter.__struct_fields__}
    return AuditFilter(**given)


AUDIT_ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/audit",
        name="read_audit",
        summary="Who did what to whom, by what authority",
        handler=audit,
        query=AuditQuery,
        headers=("Accept",),
        answers={200: AuditPage},
        media=_OFFERED,
        notes="A page may be shorter than `limit`, or empty, and there still is a next one: only a `next` of null is "
        "the end. The other forms are streams of everything, or of `limit` entries if that is given.",
    ),
)

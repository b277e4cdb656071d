"""The route of divergences: where the outside does not show what the ledger did there, and when we last looked.

It only reads. What it shows was found by `intentledger reconcile`, or by the process that does that on a schedule.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web
from pydantic import Field

import sql
from gateway.cursors import position_in
from gateway.door import Route, Visit
from gateway.models import Cursor, IntentId, Limit, Position, Query, Truth, Word
from gateway.render import Shown, ShownAgent
from gateway.waiting import views_have
from ledger import bounds
from ledger.database import connection
from ledger.intents import JSON
from projections.divergences import DIVERGENCES, DivergenceFilter, DivergenceRow, list_divergences

if TYPE_CHECKING:
    from ledger.database import Connection

_LAST: Final = sql.query("reconcile.last")


class DivergencesQuery(Query):
    """Which divergences."""

    agent: Word | None = None
    task: Word | None = None
    operation: Word | None = None
    intent: IntentId | None = None
    standing: Truth | None = Field(default=None, description="Only those that stand, or only those that are gone.")
    after: Cursor | None = Field(default=None, description="The `next` of the page before.")
    limit: Limit = bounds.PAGE_LIMIT_DEFAULT
    min_position: Position | None = Field(default=None, description="Wait until the view has this position.")


class ShownDivergence(Shown, frozen=True):
    """What the ledger says of an effect, and what the outside showed instead when it was asked."""

    position: int
    intent: str
    action: str | None
    aspect: str
    operation: str
    agent: ShownAgent
    task: str | None
    commissioned_by: str | None
    custody: tuple[str, ...]
    summary: str
    expected: JSON
    found: JSON | None
    reason: str
    found_at: datetime
    standing: bool
    gone_at: datetime | None
    gone_position: int | None
    cause: str | None


class ShownReconciliation(Shown, frozen=True):
    """What the last comparison with the outside came to: intents and calls, and aspects of actions by what was said."""

    begun_at: datetime
    ended_at: datetime
    intents: int
    calls: int
    agreed: int
    diverged: int
    untold: int


class DivergencePage(Shown, frozen=True):
    """Divergences, the last found first. `last` is null until a comparison has ended."""

    items: tuple[ShownDivergence, ...]
    next: str | None
    last: ShownReconciliation | None


async def divergences(visit: Visit) -> web.Response:
    """Show where the outside differs from the ledger, or did."""
    query: DivergencesQuery = visit.query or DivergencesQuery()
    after = None if query.after is None else await position_in(visit, query.after)
    if query.min_position:
        await views_have(visit, query.min_position, DIVERGENCES.name)
    service = visit.service
    wanted = DivergenceFilter(query.agent, query.task, query.operation, query.intent, query.standing)
    async with connection(service.pool) as reader:
        page = await list_divergences(reader, service.store.ledger, wanted, after, query.limit)
        last = await _last(reader, service.store.ledger)
    following = None if page.next is None else str(page.next)
    return visit.answer(DivergencePage(tuple([_shown(row) for row in page.items]), following, last))


async def _last(reader: "Connection", ledger: str) -> ShownReconciliation | None:
    record = await reader.fetchrow(_LAST, ledger)
    return None if record is None else ShownReconciliation(**dict(record))


def _shown(row: DivergenceRow) -> ShownDivergence:
    return ShownDivergence(
        position=row.position,
        intent=row.intent,
        action=row.action or None,
        aspect=row.aspect,
        operation=row.operation,
        agent=ShownAgent(row.agent, row.agent_version),
        task=row.task,
        commissioned_by=row.commissioned_by,
        custody=row.custody,
        summary=row.summary,
        expected=msgspec.json.decode(row.expected),
        found=None if row.found is None else msgspec.json.decode(row.found),
        reason=row.reason,
        found_at=row.found_at,
        standing=row.gone_position is None,
        gone_at=row.gone_at,
        gone_position=row.gone_position,
        cause=row.cause,
    )


DIVERGENCE_ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/divergences",
        name="list_divergences",
        summary="Where the outside does not show what the ledger did there",
        handler=divergences,
        query=DivergencesQuery,
        answers={200: DivergencePage},
    ),
)

"""Where the outside does not show what the ledger did there: one row for each aspect of an action that ever diverged.

Found by reconciliation (`coordinator/reconciler.py`), which records it once, and once more when it is gone. A row that
is gone stays as what was last known of it; where it diverges anew, the row is of the newer time.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

import sql
from ledger.bounds import RECONCILE_INTENTS
from ledger.canonical import canonical_text
from ledger.errors import IllegalTransition
from ledger.events import DivergenceFound, DivergenceGone, Recorded
from ledger.ids import reconciled_intent_of
from projections.page import Page
from projections.projection import EVENTS_OF_RECONCILIATION, Projection, Row
from projections.table import as_row

if TYPE_CHECKING:
    from ledger.database import Connection

_PAGE: Final = sql.query("reconcile.divergences")
_DIVERGING: Final = sql.query("reconcile.diverging")
_FRESH_PLAN: Final = sql.query("views.fresh_plan")


class DivergenceRow(Row, frozen=True):
    """One aspect of an action that diverges, or did."""

    intent: str
    action: str  # "": the intent as a whole
    aspect: str
    operation: str
    expected: str  # canonical JSON
    found: str | None
    reason: str
    summary: str
    agent: str
    agent_version: str | None
    task: str | None
    commissioned_by: str | None
    custody: tuple[str, ...]
    position: int  # of the event that found it
    found_at: datetime
    gone_position: int | None = None
    gone_at: datetime | None = None
    cause: str | None = None  # why it is gone


class DivergenceFilter(msgspec.Struct, frozen=True):
    """Which divergences to list; None does not ask."""

    agent: str | None = None
    task: str | None = None
    operation: str | None = None
    intent: str | None = None
    standing: bool | None = None


def apply(rows: tuple[DivergenceRow, ...], recorded: Recorded) -> tuple[DivergenceRow, ...]:
    """Fold one event into the rows of its intent. Raises `IllegalTransition`."""
    match recorded.event:
        case DivergenceFound() as found:
            row = _row(found, recorded)
        case DivergenceGone(action=action, aspect=aspect, cause=cause):
            stands = [one for one in rows if (one.action, one.aspect) == (action or "", aspect)]
            if not stands or stands[0].gone_position is not None:
                raise IllegalTransition(f"In {recorded.stream} a divergence is gone that did not stand.")
            row = msgspec.structs.replace(stands[0], gone_position=recorded.position, gone_at=recorded.at, cause=cause)
        case _:
            raise IllegalTransition(f"{recorded.type} cannot stand in stream {recorded.stream}.")
    others = [one for one in rows if (one.action, one.aspect) != (row.action, row.aspect)]
    return tuple(sorted([*others, row], key=lambda one: (one.action, one.aspect)))


def _row(found: DivergenceFound, recorded: Recorded) -> DivergenceRow:
    return DivergenceRow(
        intent=found.intent,
        action=found.action or "",
        aspect=found.aspect,
        operation=found.operation,
        expected=canonical_text(found.expected),
        found=None if found.found is None else canonical_text(found.found),
        reason=found.reason,
        summary=found.summary,
        agent=found.agent.name,
        agent_version=found.agent.version,
        task=found.task,
        commissioned_by=found.commissioned_by,
        custody=found.custody,
        position=recorded.position,
        found_at=recorded.at,
    )


DIVERGENCES: Final = Projection(
    name="divergences",
    row=DivergenceRow,
    key=("intent", "action", "aspect"),
    reads=EVENTS_OF_RECONCILIATION,
    apply=apply,
    subject=reconciled_intent_of,
)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def list_divergences(
    connection: "Connection", ledger: str, wanted: DivergenceFilter, after: int | None, limit: int
) -> Page[DivergenceRow, int]:
    """Return one page of divergences, at most `limit`; `after` is the `next` of the page before."""
    async with connection.transaction(readonly=True):
        await connection.execute(_FRESH_PLAN)
        records = await connection.fetch(_PAGE, ledger, *msgspec.structs.astuple(wanted), after, limit + 1)
    items = tuple(as_row(DivergenceRow, record) for record in records[:limit])
    return Page(items, items[-1].position if len(records) > limit else None)


async def diverging(connection: "Connection", ledger: str) -> list[str]:
    """Return the intents with a divergence that stands, at most RECONCILE_INTENTS."""
    return [record["intent"] for record in await connection.fetch(_DIVERGING, ledger, RECONCILE_INTENTS)]

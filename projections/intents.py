"""The list of intents: one row each, with what intents are searched by.

A row says which intents belong on a page and up to which version the view knows them. The intents themselves are then
folded from their streams up to exactly that version, by the same `evolve` as everywhere: an intent on a page is the
intent, not a second idea of it, and it always fits the filter that found it.

Order: newest first, by id (UUID version 7 begins with the time). The cursor is the id of the last intent of the page,
so a page never shifts when new intents arrive.
"""

from collections.abc import Mapping
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec
from asyncpg import Record

import sql
from ledger.bounds import PAGE_EVENTS
from ledger.errors import Corrupt, IllegalTransition
from ledger.events import AbortDecided, AttentionRaised, AttentionResolved, IntentSubmitted, Recorded
from ledger.ids import intent_of, intent_stream
from ledger.phases import Phase
from ledger.state import IntentState, fold
from ledger.transitions import symbol
from projections.feed import understand
from projections.page import Page
from projections.projection import EVERY_EVENT_OF_AN_INTENT, Projection, Row, next_phase

if TYPE_CHECKING:
    from ledger.database import Connection

_PAGE: Final = sql.query("views.intents")
_STREAMS: Final = sql.query("views.streams")
_FRESH_PLAN: Final = sql.query("views.fresh_plan")


class IntentRow(Row, frozen=True):
    """What an intent can be searched by."""

    intent: str
    phase: Phase
    agent: str
    task: str | None
    commissioned_by: str | None
    operations: tuple[str, ...]  # in the order of the actions, each once
    attention: bool
    version: int
    position: int
    submitted_at: datetime
    updated_at: datetime
    custody: tuple[str, ...]
    follows: str | None  # the intent that handed over to this one
    escalated_to: str | None  # the person to whom a foreseen failure of it went


class IntentFilter(msgspec.Struct, frozen=True):
    """Which intents to list; None does not ask."""

    phase: Phase | None = None
    agent: str | None = None
    task: str | None = None
    commissioned_by: str | None = None
    operation: str | None = None
    attention: bool | None = None
    follows: str | None = None
    escalated_to: str | None = None  # and no other intent follows it yet: it waits for that person
    custody: str | None = None  # a grant in whose chain it was submitted


def apply(rows: tuple[IntentRow, ...], recorded: Recorded) -> tuple[IntentRow, ...]:
    """Fold one event into the row of its intent. Raises `IllegalTransition`."""
    if not rows:
        return (_begin(recorded),)
    (row,) = rows
    if recorded.version != row.version + 1:
        raise IllegalTransition(
            f"Stream {recorded.stream} is known up to version {row.version}; {recorded.version} does not follow."
        )
    return (
        msgspec.structs.replace(
            row,
            phase=next_phase(row.phase, symbol(recorded.event), recorded),
            attention=attention_after(recorded, before=row.attention),
            version=recorded.version,
            position=recorded.position,
            updated_at=recorded.at,
            escalated_to=getattr(recorded.event, "escalated_to", None) or row.escalated_to,
        ),
    )


def attention_after(recorded: Recorded, *, before: bool) -> bool:
    """Tell whether only a person can move the intent on after this event."""
    match recorded.event:
        case AttentionRaised():
            return True
        case AttentionResolved() | AbortDecided():
            return False
        case _:
            return before


def _begin(recorded: Recorded) -> IntentRow:
    event = recorded.event
    intent = intent_of(recorded.stream)
    if not isinstance(event, IntentSubmitted) or intent is None or recorded.version != 1:
        raise IllegalTransition(f"Stream {recorded.stream} does not begin with IntentSubmitted.")
    return IntentRow(
        intent=intent,
        phase=Phase.SUBMITTED,
        agent=event.agent.name,
        task=event.task,
        commissioned_by=event.commissioned_by,
        operations=tuple(dict.fromkeys(plan.operation for plan in event.actions)),
        attention=False,
        version=1,
        position=recorded.position,
        submitted_at=recorded.at,
        updated_at=recorded.at,
        custody=event.custody,
        follows=event.follows,
        escalated_to=None,
    )


INTENTS: Final = Projection(
    name="intents",
    row=IntentRow,
    key=("intent",),
    reads=EVERY_EVENT_OF_AN_INTENT,
    apply=apply,
    revision=2,  # 1 had no custody, follows and escalated_to
)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def list_intents(
    connection: "Connection", ledger: str, wanted: IntentFilter, after: str | None, limit: int
) -> Page[IntentState, str]:
    """Return one page of intents, at most `limit` of them and at most PAGE_EVENTS of their events.

    `after` is the `next` of the page before; anything that is not an intent's id there is the caller's to refuse
    (`is_cursor`). Raises `Corrupt` if a stream cannot be folded.
    """
    async with connection.transaction(readonly=True):
        await connection.execute(_FRESH_PLAN)
        rows = await connection.fetch(_PAGE, ledger, *msgspec.structs.astuple(wanted), after, limit + 1)
        return await page_of(connection, ledger, rows, limit)


async def page_of(connection: "Connection", ledger: str, rows: list[Record], limit: int) -> Page[IntentState, str]:
    """Fold the intents of these rows of the view, one more than `limit` if there is a next page."""
    shown = _affordable(rows[:limit])
    states = await _states(connection, ledger, shown)
    return Page(states, shown[-1]["intent"] if len(shown) < len(rows) else None)


def is_cursor(text: str) -> bool:
    """Tell whether this is a cursor of `list_intents`: an intent's id as we write it."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _affordable(rows: list[Record]) -> list[Record]:
    """Cut the page short before its events are more than we fold at once; the first intent always fits."""
    events = 0
    for count, row in enumerate(rows):
        events += row["version"]
        if events > PAGE_EVENTS and count:
            return rows[:count]
    return rows


async def _states(connection: "Connection", ledger: str, rows: list[Record]) -> tuple[IntentState, ...]:
    """Fold the streams of these rows, each up to the version that its row knows."""
    streams = [intent_stream(row["intent"]) for row in rows]
    records = await connection.fetch(_STREAMS, ledger, streams, [row["version"] for row in rows])
    states: Mapping[str, IntentState | None] = {
        stream: fold(understand(ledger, record) for record in events)
        for stream, events in groupby(records, key=lambda record: record["stream"])
    }
    found = tuple(state for stream in streams if (state := states.get(stream)) is not None)
    if len(found) != len(streams):
        raise Corrupt("The list knows intents that the ledger does not. Rebuild it: intentledger replay.")
    return found

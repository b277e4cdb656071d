"""The runtime view: the path of each intent, what runs it is a part of, and the runs of a task grouped by their paths.

A row is kept for each intent. The spans of one intent are not stored: they are computed from its stream when somebody
asks (`projections/timeline/spans.py`). A run's path is that of its intents, one after the other.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

import sql
from ledger import events as e
from ledger.bounds import PATHS_INTENTS, RUN_INTENTS
from ledger.errors import IllegalTransition
from ledger.ids import intent_of
from ledger.phases import TERMINAL, Phase
from ledger.traces import run_of
from ledger.transitions import symbol
from projections.projection import Projection, Row, next_phase
from projections.timeline.path import MILESTONES, began, extended, milestone

if TYPE_CHECKING:
    from asyncpg import Record

    from ledger.database import Connection

_PATHS: Final = sql.query("timeline.paths")
_RUN: Final = sql.query("timeline.run")
_FRESH_PLAN: Final = sql.query("views.fresh_plan")


class TimelineRow(Row, frozen=True):
    """What is known of the way of one intent."""

    intent: str
    task: str | None
    run: str
    agent: str
    agent_version: str | None
    custody: tuple[str, ...]
    phase: Phase
    actions: tuple[str, ...]  # ids
    operations: tuple[str, ...]  # of each of them
    path: tuple[str, ...]
    submitted_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    position: int


def apply(rows: tuple[TimelineRow, ...], recorded: e.Recorded) -> tuple[TimelineRow, ...]:
    """Fold one milestone into the row of its intent. Raises `IllegalTransition`."""
    if not rows:
        return (_begin(recorded),)
    (row,) = rows
    event = recorded.event
    phase = next_phase(row.phase, symbol(event), recorded)
    step = milestone(event, _operation(row, getattr(event, "action", None), recorded))
    if step is None:
        raise IllegalTransition(f"{symbol(event)} in stream {recorded.stream} is no milestone.")
    ended = phase in TERMINAL
    return (
        msgspec.structs.replace(
            row,
            phase=phase,
            path=extended(row.path, step, row.operations),
            updated_at=recorded.at,
            ended_at=(recorded.at if row.phase not in TERMINAL else row.ended_at) if ended else None,
            position=recorded.position,
        ),
    )


def _operation(row: TimelineRow, action: str | None, recorded: e.Recorded) -> str | None:
    if action is None:
        return None
    if action not in row.actions:
        raise IllegalTransition(f"An event in stream {recorded.stream} names the action {action!r}, which it has not.")
    return row.operations[row.actions.index(action)]


def _begin(recorded: e.Recorded) -> TimelineRow:
    event = recorded.event
    intent = intent_of(recorded.stream)
    if not isinstance(event, e.IntentSubmitted) or intent is None or recorded.version != 1:
        raise IllegalTransition(f"Stream {recorded.stream} does not begin with IntentSubmitted.")
    return TimelineRow(
        intent=intent,
        task=event.task,
        run=run_of(intent, event.traceparent),
        agent=event.agent.name,
        agent_version=event.agent.version,
        custody=event.custody,
        phase=Phase.SUBMITTED,
        actions=tuple(plan.id for plan in event.actions),
        operations=tuple(plan.operation for plan in event.actions),
        path=(began(event),),
        submitted_at=recorded.at,
        updated_at=recorded.at,
        ended_at=None,
        position=recorded.position,
    )


TIMELINE: Final = Projection(
    name="timeline",
    row=TimelineRow,
    key=("intent",),
    reads=MILESTONES,
    apply=apply,
)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


class PathFilter(msgspec.Struct, frozen=True):
    """Which intents to group; None does not ask. `since` is included, `until` is not."""

    task: str | None = None
    agent: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    custody: str | None = None  # a grant in whose chain they were submitted


class PathGroup(msgspec.Struct, frozen=True):
    """The runs of one task that went the same way. Seconds are those of runs that have ended; None if none has."""

    task: str | None
    digest: str
    path: tuple[str, ...]
    runs: int
    intents: int
    agents: tuple[str, ...]
    first_at: datetime
    last_at: datetime
    seconds_median: float | None
    seconds_max: float | None
    examples: tuple[str, ...]  # the first intents of the newest three of these runs


class PathPage(msgspec.Struct, frozen=True):
    """The ways that most of the newest runs went, out of so many intents; `next`: go on with older intents."""

    items: tuple[PathGroup, ...]
    intents: int
    next: str | None


def digest_of(path: Sequence[str]) -> str:
    """Name a path."""
    return "sha256:" + hashlib.sha256("\n".join(path).encode()).hexdigest()


async def list_paths(
    connection: "Connection", ledger: str, wanted: PathFilter, after: str | None, limit: int
) -> PathPage:
    """Group the newest PATHS_INTENTS intents, or those before the intent `after`, into runs, and the runs by path.

    The most frequent ways come first, at most `limit` of them.
    """
    async with connection.transaction(readonly=True):
        await connection.execute(_FRESH_PLAN)
        rows = await connection.fetch(_PATHS, ledger, *msgspec.structs.astuple(wanted), after, PATHS_INTENTS, limit)
    looked_at, oldest = (rows[0]["looked_at"], rows[0]["oldest"]) if rows else (0, None)
    return PathPage(
        items=tuple([_group(row) for row in rows]),
        intents=looked_at,
        next=oldest if looked_at == PATHS_INTENTS else None,
    )


async def run_intents(connection: "Connection", ledger: str, run: str, task: str | None) -> list[str]:
    """Return the intents of a run about one task, oldest first, at most RUN_INTENTS."""
    async with connection.transaction(readonly=True):
        await connection.execute(_FRESH_PLAN)
        rows = await connection.fetch(_RUN, ledger, run, task, RUN_INTENTS)
    return [row["intent"] for row in rows]


def _group(row: "Record") -> PathGroup:
    path = tuple(row["path"].split("\n"))
    shown = {name: value for name, value in row.items() if name not in {"looked_at", "oldest"}}
    return msgspec.convert(shown | {"path": path, "digest": digest_of(path)}, PathGroup)

"""The runtime view: the path of each intent, what runs it is a part of, and the runs of a task grouped by their paths.

A row is kept for each intent. The spans of one intent are not stored: they are computed from its stream when somebody
asks (`projections/spans.py`). A run's path is that of its intents, one after the other.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
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
from projections.path import MILESTONES, began, extended, milestone
from projections.projection import Projection, Row, next_phase

if TYPE_CHECKING:
    from asyncpg import Record

    from ledger.database import Connection

_NEWEST: Final = sql.query("timeline.newest")
_RUN: Final = sql.query("timeline.run")
_FRESH_PLAN: Final = sql.query("views.fresh_plan")
_EXAMPLES: Final = 3


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


class Example(msgspec.Struct, frozen=True):
    """One run that went a way, by its first intent."""

    intent: str
    run: str
    agent: str
    agent_version: str | None
    started_at: datetime
    ended_at: datetime | None


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
    examples: tuple[Example, ...]  # the newest


class PathPage(msgspec.Struct, frozen=True):
    """The ways that the newest runs went, the most frequent first; `next`: continue with older intents than these."""

    items: tuple[PathGroup, ...]
    intents: int
    next: str | None


class _Run(msgspec.Struct, frozen=True):
    task: str | None
    path: tuple[str, ...]
    intents: int
    example: Example


def digest_of(path: Sequence[str]) -> str:
    """Name a path."""
    return "sha256:" + hashlib.sha256("\n".join(path).encode()).hexdigest()


async def list_paths(connection: "Connection", ledger: str, wanted: PathFilter, after: str | None) -> PathPage:
    """Group the newest PATHS_INTENTS intents, or those before the intent `after`, into runs, and the runs by path."""
    async with connection.transaction(readonly=True):
        await connection.execute(_FRESH_PLAN)
        rows = await connection.fetch(_NEWEST, ledger, *msgspec.structs.astuple(wanted), after, PATHS_INTENTS + 1)
    shown = rows[:PATHS_INTENTS]
    return PathPage(
        items=_grouped(_runs(shown)),
        intents=len(shown),
        next=shown[-1]["intent"] if len(rows) > len(shown) else None,
    )


async def run_intents(connection: "Connection", ledger: str, run: str, task: str | None) -> list[str]:
    """Return the intents of a run about one task, oldest first, at most RUN_INTENTS."""
    async with connection.transaction(readonly=True):
        await connection.execute(_FRESH_PLAN)
        rows = await connection.fetch(_RUN, ledger, run, task, RUN_INTENTS)
    return [row["intent"] for row in rows]


def _runs(rows: Iterable["Record"]) -> list[_Run]:
    """Put intents together into runs."""

    def key(row: "Record") -> tuple[str, str, str]:
        return row["task"] or "", row["run"], row["intent"]

    found = []
    for _, of_run in groupby(sorted(rows, key=key), key=lambda row: key(row)[:2]):
        intents = list(of_run)
        first, last = intents[0], intents[-1]
        ends = [row["ended_at"] for row in intents]
        example = Example(
            intent=first["intent"],
            run=first["run"],
            agent=first["agent"],
            agent_version=last["agent_version"],
            started_at=first["submitted_at"],
            ended_at=None if None in ends else max(ends),
        )
        path = tuple(step for row in intents for step in row["path"])
        found.append(_Run(first["task"], path, len(intents), example))
    return found


def _grouped(runs: list[_Run]) -> tuple[PathGroup, ...]:
    def key(run: _Run) -> tuple[str, tuple[str, ...]]:
        return run.task or "", run.path

    groups = [_group(list(same)) for _, same in groupby(sorted(runs, key=key), key=key)]
    return tuple(sorted(groups, key=lambda group: (-group.runs, group.task or "", group.path)))


def _group(runs: list[_Run]) -> PathGroup:
    examples = sorted([run.example for run in runs], key=lambda one: one.started_at, reverse=True)
    seconds = sorted([(one.ended_at - one.started_at).total_seconds() for one in examples if one.ended_at is not None])
    return PathGroup(
        task=runs[0].task,
        digest=digest_of(runs[0].path),
        path=runs[0].path,
        runs=len(runs),
        intents=sum(run.intents for run in runs),
        agents=tuple(sorted({one.agent for one in examples})),
        first_at=examples[-1].started_at,
        last_at=examples[0].started_at,
        seconds_median=seconds[len(seconds) // 2] if seconds else None,
        seconds_max=seconds[-1] if seconds else None,
        examples=tuple(examples[:_EXAMPLES]),
    )

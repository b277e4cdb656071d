"""What is shown of timelines: spans, notes, runs beside each other, runs grouped by path."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from gateway.render import Shown, ShownAgent
from ledger.errors import Corrupt
from ledger.events import NoteAdded, Recorded
from ledger.intents import JSON
from ledger.phases import TERMINAL, Phase
from ledger.state import IntentState
from ledger.traces import read_traceparent, run_of, trace_of
from projections.timeline.side_by_side import Comparison, Pair, Parting, ValueDifference, steps_of
from projections.timeline.span import Kind, Moment, Span
from projections.timeline.view import PathGroup, digest_of


class ShownSpan(Shown, frozen=True):
    """How long one thing took. `ended_at` and `seconds` are null while it lasts; `attempt` counts calls that left."""

    id: str
    parent: str | None
    kind: Kind
    name: str
    action: str | None
    operation: str | None
    verb: str | None
    attempt: int | None
    outcome: str | None
    detail: str | None
    moments: tuple[Moment, ...]
    started_at: datetime
    ended_at: datetime | None
    position: int
    seconds: float | None


class ShownNote(Shown, frozen=True):
    """What somebody said about an intent; `trace` and `span` are where they stood."""

    position: int
    at: datetime
    by: str
    kind: str
    text: str
    data: JSON
    trace: str | None
    span: str | None


class ShownTimeline(Shown, frozen=True):
    """An intent in time. `parent` is the agent's own span, if it sent one; `trace` is where all these spans belong."""

    intent: str
    ledger: str
    task: str | None
    run: str
    trace: str
    parent: str | None
    follows: str | None
    agent: ShownAgent
    phase: Phase
    position: int
    started_at: datetime
    ended_at: datetime | None
    seconds: float | None
    path: tuple[str, ...]
    digest: str
    spans: tuple[ShownSpan, ...]
    notes: tuple[ShownNote, ...]


class ShownRun(Shown, frozen=True):
    """One of two runs that are compared."""

    run: str
    task: str | None
    agent: ShownAgent
    phase: Phase
    intents: tuple[str, ...]
    started_at: datetime
    ended_at: datetime | None
    seconds: float | None
    digest: str
    notes: tuple[ShownNote, ...]


class ShownComparison(Shown, frozen=True):
    """Two runs side by side. `parts_at` is null where both went the same way."""

    left: ShownRun
    right: ShownRun
    same_task: bool
    same_path: bool
    parts_at: Parting | None
    steps: tuple[Pair, ...]
    differences: tuple[ValueDifference, ...]
    more_differences: bool


class ShownPaths(Shown, frozen=True):
    """Runs by task and path, the most frequent path first. `next` goes on with older intents than these."""

    items: tuple[PathGroup, ...]
    intents: int
    next: str | None


class RunSeen(msgspec.Struct, frozen=True):
    """A run that is compared: its intents, their streams, and what was said about them."""

    states: Sequence[IntentState]
    streams: Sequence[Sequence[Recorded]]
    notes: Sequence[Recorded]


def show_timeline(state: IntentState, stream: Sequence[Recorded], spans: Sequence[Span], notes: Any) -> ShownTimeline:
    """Show one intent in time."""
    submitted = state.submitted
    parent = read_traceparent(submitted.traceparent)
    path = tuple([step.words for step in steps_of([stream])])
    ended = _ended(state)
    return ShownTimeline(
        intent=state.id,
        ledger=state.ledger,
        task=submitted.task,
        run=run_of(state.id, submitted.traceparent),
        trace=trace_of(state.id, submitted.traceparent),
        parent=parent.span if parent else None,
        follows=submitted.follows,
        agent=ShownAgent(name=submitted.agent.name, version=submitted.agent.version),
        phase=state.phase,
        position=state.position,
        started_at=state.submitted_at,
        ended_at=ended,
        seconds=_seconds(state.submitted_at, ended),
        path=path,
        digest=digest_of(path),
        spans=tuple([_span(span) for span in spans]),
        notes=tuple([show_note(one) for one in notes]),
    )


def show_note(recorded: Recorded) -> ShownNote:
    """Show a note."""
    event = recorded.event
    if not isinstance(event, NoteAdded):
        raise Corrupt(f"The stream {recorded.stream} holds something that is no note. Nothing was changed.")
    said_in = read_traceparent(event.traceparent)
    return ShownNote(
        position=recorded.position,
        at=recorded.at,
        by=event.by.name,
        kind=event.by.kind,
        text=event.text,
        data=event.data,
        trace=said_in.trace if said_in else None,
        span=said_in.span if said_in else None,
    )


def show_comparison(left: RunSeen, right: RunSeen, compared: Comparison) -> ShownComparison:
    """Show two runs side by side."""
    return ShownComparison(
        left=_run(left),
        right=_run(right),
        same_task=left.states[0].submitted.task == right.states[0].submitted.task,
        same_path=compared.same_path,
        parts_at=compared.parts_at,
        steps=compared.steps,
        differences=compared.differences,
        more_differences=compared.more_differences,
    )


def _run(seen: RunSeen) -> ShownRun:
    first, last = seen.states[0], seen.states[-1]
    ends = [_ended(state) for state in seen.states]
    known = [end for end in ends if end is not None]
    ended = max(known) if len(known) == len(ends) else None
    agent = last.submitted.agent
    return ShownRun(
        run=run_of(first.id, first.submitted.traceparent),
        task=first.submitted.task,
        agent=ShownAgent(name=agent.name, version=agent.version),
        phase=last.phase,
        intents=tuple([state.id for state in seen.states]),
        started_at=first.submitted_at,
        ended_at=ended,
        seconds=_seconds(first.submitted_at, ended),
        digest=digest_of([step.words for step in steps_of(seen.streams)]),
        notes=tuple([show_note(one) for one in seen.notes]),
    )


def _ended(state: IntentState) -> datetime | None:
    return state.updated_at if state.phase in TERMINAL else None


def _span(span: Span) -> ShownSpan:
    return ShownSpan(**msgspec.structs.asdict(span), seconds=_seconds(span.started_at, span.ended_at))


def _seconds(begun: datetime, ended: datetime | None) -> float | None:
    return None if ended is None else (ended - begun).total_seconds()

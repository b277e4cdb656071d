"""The routes of the runtime view: one intent in time, notes about it, two runs beside each other, runs by their paths.

Agents see here what they see elsewhere: their own intents, and of a run those of its intents that are theirs.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web

from coordinator.notes import Note, Notes
from gateway.door import Caller, Route, Visit
from gateway.models import checked_query
from gateway.models_timeline import CompareQuery, NewNote, PathsQuery, TimelineQuery
from gateway.routes_intents import idempotency_key, intent_of
from gateway.routes_views import cursor_of
from gateway.shapes_timeline import (
    RunSeen,
    ShownComparison,
    ShownNote,
    ShownPaths,
    ShownTimeline,
    show_comparison,
    show_note,
    show_timeline,
)
from gateway.visibility import is_agent, seen, sees
from gateway.waiting import ledger_has, views_have
from ledger.bounds import NOTE_DATA_BYTES
from ledger.canonical import canonical
from ledger.database import connection
from ledger.errors import Conflict, Erased, InvalidRequest, KeyReused, NotFound
from ledger.events import Recorded
from ledger.intent_seal import IntentSeal
from ledger.sealing import ERASED, TOKEN, each_text
from ledger.state import IntentState, fold
from ledger.traces import read_traceparent, run_of
from projections.timeline.side_by_side import compare
from projections.timeline.spans import spans_of
from projections.timeline.view import TIMELINE, PathFilter, list_paths, run_intents


async def timeline(visit: Visit) -> web.Response:
    """Show an intent in time."""
    intent = intent_of(visit)
    query: TimelineQuery = visit.query or TimelineQuery()
    if query.min_position:
        await ledger_has(visit, query.min_position)
    state, stream = await _read(visit, intent)
    notes = await Notes(visit.service.store).of(intent)
    return visit.answer(show_timeline(state, stream, spans_of(stream), notes))


async def add_note(visit: Visit) -> web.Response:
    """Keep a note beside an intent."""
    intent = intent_of(visit)
    said, _ = await visit.body(NewNote)
    if len(canonical(said.data)) > NOTE_DATA_BYTES:
        place = {"path": "/data", "message": f"Data of a note may be {NOTE_DATA_BYTES} bytes long."}
        raise InvalidRequest("The note is too long. Nothing was recorded.", errors=[place])
    state = await seen(visit, intent) or await visit.service.coordinator.get(intent)
    headers = visit.request.headers
    traceparent = headers.get("traceparent")
    note = Note(
        text=said.text,
        data=said.data,
        traceparent=traceparent if read_traceparent(traceparent) else None,
        key=idempotency_key(visit.request) if "Idempotency-Key" in headers else None,
    )
    seal = await visit.service.coordinator.seal_of(state)
    added = await Notes(visit.service.store).add(intent, visit.principal, note, seal)
    return visit.answer(show_note(added), 201)


async def compare_runs(visit: Visit) -> web.Response:
    """Put two runs side by side."""
    query: CompareQuery = visit.query or checked_query(CompareQuery, ())
    if query.min_position:
        await views_have(visit, query.min_position, TIMELINE.name)
    named = [await _read(visit, intent) for intent in (query.left, query.right)]
    (left, _), (right, _) = named
    one, other = [await _run(visit, *which) for which in named]
    if left.id != right.id and any(state.id == right.id for state in one.states):  # two intents of one run
        one, other = [RunSeen([state], [stream], await _notes(visit, [state])) for state, stream in named]
    compared = compare(await _opened(visit, one), await _opened(visit, other))
    return visit.answer(show_comparison(one, other, compared))


async def paths(visit: Visit) -> web.Response:
    """Group runs by task and path."""
    query: PathsQuery = visit.query or PathsQuery()
    after = cursor_of(query)
    if query.min_position:
        await views_have(visit, query.min_position, TIMELINE.name)
    service = visit.service
    custody = visit.principal.grant if is_agent(visit.principal) else None
    wanted = PathFilter(query.task, query.agent, query.since, query.until, custody)
    async with connection(service.pool) as reader:
        page = await list_paths(reader, service.store.ledger, wanted, after, query.limit)
    return visit.answer(ShownPaths(items=page.items, intents=page.intents, next=page.next))


async def _read(visit: Visit, intent: str) -> tuple[IntentState, Sequence[Recorded]]:
    """Return an intent that the caller may see, with its events. Raises `NotFound`."""
    unseen = NotFound(f"There is no intent {intent} in this ledger.")  # said as well of what is not the caller's
    try:
        stream = await visit.service.coordinator.events(intent)
    except NotFound:
        raise unseen from None
    state = fold(stream)
    if state is None or not sees(visit.principal, state.submitted):
        raise unseen
    return state, stream


async def _run(visit: Visit, state: IntentState, stream: Sequence[Recorded]) -> RunSeen:
    """Return the run of which an intent is a part, as far as the caller may see it."""
    service, submitted = visit.service, state.submitted
    run = run_of(state.id, submitted.traceparent)
    found = {state.id: (state, stream)}
    if run != state.id:
        async with connection(service.pool) as reader:
            intents = await run_intents(reader, service.store.ledger, run, submitted.task)
        for intent in intents:
            other = found.get(intent) or await _seen_one(visit, intent)
            if other is not None:
                found[intent] = other
    parts = [found[intent] for intent in sorted(found)]
    states = [one for one, _ in parts]
    return RunSeen(states, [events for _, events in parts], await _notes(visit, states))


async def _opened(visit: Visit, run: RunSeen) -> list[Sequence[Recorded]]:
    """Open what was asked for, so that it can be compared: the same value is sealed otherwise in each intent."""
    found = []
    for state, stream in zip(run.states, run.streams, strict=True):
        seal = await visit.service.coordinator.seal_of(state)
        if seal is None:
            found.append(stream)
        else:
            first = msgspec.structs.replace(stream[0], event=each_text(stream[0].event, partial(_open_text, seal)))
            found.append([first, *stream[1:]])
    return found


def _open_text(seal: IntentSeal, text: str) -> Any:
    try:
        return seal.opened(text)
    except Erased:
        return TOKEN.sub(ERASED, text)


async def _seen_one(visit: Visit, intent: str) -> tuple[IntentState, Sequence[Recorded]] | None:
    try:
        return await _read(visit, intent)
    except NotFound:
        return None


async def _notes(visit: Visit, states: Sequence[IntentState]) -> list[Recorded]:
    notes = Notes(visit.service.store)
    return [note for state in states for note in await notes.of(state.id)]


TIMELINE_ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/intents/{id}/timeline",
        name="get_intent_timeline",
        summary="An intent in time: what took how long, and who waited for whom",
        handler=timeline,
        query=TimelineQuery,
        answers={200: ShownTimeline},
        errors=(NotFound,),
        caller=Caller.HOLDER,
    ),
    Route(
        method="POST",
        path="/v1/intents/{id}/notes",
        name="add_intent_note",
        summary="Keep a note beside an intent",
        notes="Whoever sees an intent may. A note changes nothing and is shown in the timeline, under the span that "
        "`traceparent` names. With an `Idempotency-Key` it can be sent again without being kept twice.",
        handler=add_note,
        body=NewNote,
        headers=("Idempotency-Key, if any", "traceparent"),
        answers={201: ShownNote},
        errors=(NotFound, InvalidRequest, KeyReused, Conflict),
        caller=Caller.HOLDER,
    ),
    Route(
        method="GET",
        path="/v1/timeline/compare",
        name="compare_runs",
        summary="Two runs side by side, and where their paths part",
        notes="A run is what was submitted under one trace about one task; an intent without a trace is a run of its "
        "own. Two intents of one run are compared with each other.",
        handler=compare_runs,
        query=CompareQuery,
        answers={200: ShownComparison},
        errors=(NotFound,),
        caller=Caller.HOLDER,
    ),
    Route(
        method="GET",
        path="/v1/timeline/paths",
        name="list_paths",
        summary="Runs grouped by task and path",
        handler=paths,
        query=PathsQuery,
        answers={200: ShownPaths},
        caller=Caller.HOLDER,
    ),
)

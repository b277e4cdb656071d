"""The routes of one intent: submit it, look at it, and say something about it.

Rule: nothing is decided here. A handler turns a request into a call of the coordinator and its answer into JSON.
"""

import asyncio
import re
from datetime import datetime
from typing import Final

from aiohttp import web
from aiohttp.web import BaseRequest

from coordinator.coordinator import settled
from coordinator.intake import Request, RequestedAction
from gateway.door import Caller, Route, Visit, bearer
from gateway.models import (
    ApproveIntent,
    CancelIntent,
    IntentQuery,
    NewIntent,
    RejectIntent,
    ResolveIntent,
    UndoIntent,
    wrong_query,
)
from gateway.render import EventPage, ShownIntent, encode, show_intent
from gateway.routes_feed import lines
from gateway.visibility import seen, sees, unseen
from gateway.waiting import ledger_has
from ledger.bounds import IDEMPOTENCY_KEY_LENGTH, WAIT_SECONDS_MAX
from ledger.canonical import digest
from ledger.errors import (
    AlreadyDecided,
    DigestMismatch,
    Invalid,
    InvalidRequest,
    KeyMissing,
    KeyReused,
    Malformed,
    NotEligible,
    NotFound,
    NotUndoable,
    NotWaiting,
    PossibleDuplicate,
)
from ledger.intents import Mode
from ledger.phases import TERMINAL
from ledger.state import IntentState
from ledger.traces import read_traceparent
from projections.moment import position_at

_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]*").fullmatch
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"').fullmatch
_ESCAPED: Final = re.compile(r'\\(["\\])').sub
_WAIT: Final = re.compile(r'(?:^|,)\s*wait\s*=\s*("?)([0-9]{1,9})\1\s*(?:[,;]|$)', re.IGNORECASE).search


async def submit(visit: Visit) -> web.Response:
    """Record an intent; answer at once, or when it has come to rest within `Prefer: wait`."""
    headers = visit.request.headers
    key = idempotency_key(visit.request)
    new, value = await visit.body(NewIntent)
    if new.follows is not None:
        await _handed_over(visit, new.follows, new.task)
    request = _request(new, key, digest(value), headers.get("traceparent"))
    accepted = await visit.service.coordinator.submit(visit.principal, request)
    if accepted.hit:  # which may have been found without the append that asks whether the grant is alive
        await visit.service.authority.authenticate(bearer(visit.request))
    state = accepted.state
    wait = _wait_seconds(visit.request)
    if wait and not settled(state):
        state = await _rest(visit, state.id, wait)
    answer = visit.headers()
    answer["Location"] = f"/v1/intents/{state.id}"
    if accepted.hit:
        answer["Idempotency-Hit"] = "true"
    if wait is not None:
        answer["Preference-Applied"] = f"wait={wait}"
    status = 200 if state.phase in TERMINAL else 202
    return web.Response(body=encode(show_intent(state)), status=status, headers=answer)


async def look(visit: Visit) -> web.Response:
    """Show an intent as it is, or as it was at a position."""
    intent = intent_of(visit)
    query: IntentQuery = visit.query or IntentQuery()
    if query.min_position:
        await ledger_has(visit, query.min_position)
    state = await seen(visit, intent)
    if state is None or query.at is not None:
        at = query.at
        if isinstance(at, datetime):
            if at > visit.service.store.now():
                raise wrong_query("/at", "This time is yet to come; what will be then is not known.")
            at = await position_at(visit.service.pool, visit.service.store.ledger, at)
        elif at is not None and at > (head := await visit.service.store.head()):
            raise wrong_query("/at", f"The ledger ends at position {head}; what comes after it is not known.")
        state = await visit.service.coordinator.get(intent, at)
    return visit.answer(show_intent(state))


async def stream(visit: Visit) -> web.Response:
    """Show the events of an intent."""
    intent = intent_of(visit)
    await seen(visit, intent)
    recorded = await visit.service.coordinator.events(intent)
    return visit.answer({"items": await lines(visit.service, recorded), "next": None})


async def approve(visit: Visit) -> web.Response:
    """Approve exactly what a digest names."""
    intent = intent_of(visit)
    said, _ = await visit.body(ApproveIntent)
    coordinator = visit.service.coordinator
    return visit.answer(show_intent(await coordinator.approve(intent, visit.principal, said.digest, said.note)))


async def reject(visit: Visit) -> web.Response:
    """Reject exactly what a digest names."""
    intent = intent_of(visit)
    said, _ = await visit.body(RejectIntent)
    coordinator = visit.service.coordinator
    return visit.answer(show_intent(await coordinator.reject(intent, visit.principal, said.digest, said.reason)))


async def cancel(visit: Visit) -> web.Response:
    """Abort an intent that is not decided."""
    intent = intent_of(visit)
    said, _ = await visit.body(CancelIntent)
    await seen(visit, intent)
    return visit.answer(show_intent(await visit.service.coordinator.cancel(intent, visit.principal, said.reason)))


async def undo(visit: Visit) -> web.Response:
    """Begin to undo a committed intent."""
    intent = intent_of(visit)
    said, _ = await visit.body(UndoIntent)
    coordinator = visit.service.coordinator
    state = await coordinator.undo(intent, visit.principal, said.reason, partial=said.partial)
    return visit.answer(show_intent(state))


async def resolve(visit: Visit) -> web.Response:
    """Answer an intent's call for attention."""
    intent = intent_of(visit)
    said, _ = await visit.body(ResolveIntent)
    coordinator = visit.service.coordinator
    state = await coordinator.resolve(intent, visit.principal, said.action, said.outcome, said.note)
    return visit.answer(show_intent(state))


def intent_of(visit: Visit) -> str:
    """Return the id in the address. Raises `NotFound` for what cannot be one, so that it goes no further."""
    if not _ID(visit.id):
        raise unseen()
    return visit.id


async def _handed_over(visit: Visit, earlier: str, task: str | None) -> None:
    """Let an intent follow one that the caller sees, or one of the same task. Raises `Invalid`."""
    try:
        before = (await visit.service.coordinator.get(earlier)).submitted
    except NotFound:
        before = None
    if before is None or not (sees(visit.principal, before) or (task is not None and task == before.task)):
        place = {"path": "/follows", "message": "There is no such intent that you may see, or that has the same task."}
        raise Invalid("The intent follows one that it cannot. Nothing was recorded.", errors=[place])


async def _rest(visit: Visit, intent: str, seconds: int) -> IntentState:
    """Wait for the intent to come to rest; a drain or the time ends the waiting, never the intent."""
    coordinator = visit.service.coordinator
    try:
        async with asyncio.timeout(seconds) as timeout:
            with visit.door.patience(timeout):
                return await coordinator.rest(intent)
    except TimeoutError:
        return await coordinator.get(intent)


def _request(new: NewIntent, key: str, request_digest: str, traceparent: str | None) -> Request:
    return Request(
        idempotency_key=key,
        request_digest=request_digest,
        task=new.task,
        reason=new.reason,
        confidence=new.confidence,
        mode=Mode(new.mode),
        deadline_seconds=new.deadline,
        context=new.context,
        actions=tuple([RequestedAction(a.id, a.operation, a.params, tuple(a.after)) for a in new.actions]),
        again=new.again,
        follows=new.follows,
        traceparent=traceparent if read_traceparent(traceparent) else None,
    )


def idempotency_key(request: BaseRequest) -> str:
    """Return the key, quoted (RFC 8941 §3.3.3) or bare: both spellings name the same key."""
    shown = request.headers.getall("Idempotency-Key", ())
    if len(shown) > 1:
        raise Malformed("There are two Idempotency-Key headers. Nothing was recorded.")
    key = shown[0].strip() if shown else ""
    if key.startswith('"'):
        quoted = _QUOTED(key)
        if quoted is None:
            raise Malformed("The Idempotency-Key begins with a quote and does not end with one. Nothing was recorded.")
        key = _ESCAPED(r"\1", quoted[1])
    if not key:
        raise KeyMissing
    if len(key) > IDEMPOTENCY_KEY_LENGTH or not _PRINTABLE(key):
        raise Malformed(
            f"The Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_LENGTH} printable ASCII characters. "
            "Nothing was recorded."
        )
    return key


def _wait_seconds(request: BaseRequest) -> int | None:
    """Return the seconds of `Prefer: wait` (RFC 7240 §4.3), at most WAIT_SECONDS_MAX; nonsense is ignored."""
    for preferences in request.headers.getall("Prefer", ()):
        match = _WAIT(preferences)
        if match:
            return min(int(match[2]), WAIT_SECONDS_MAX)
    return None


INTENT_ROUTES: Final = (
    Route(
        method="POST",
        path="/v1/intents",
        name="submit_intent",
        summary="Submit an intent",
        handler=submit,
        body=NewIntent,
        headers=("Idempotency-Key", "Prefer", "traceparent"),
        answers={200: ShownIntent, 202: ShownIntent},
        errors=(KeyMissing, Invalid, KeyReused, PossibleDuplicate),
        caller=Caller.HOLDER,
        guarded=True,
    ),
    Route(
        method="GET",
        path="/v1/intents/{id}",
        name="get_intent",
        summary="Look at an intent, now or at a position",
        handler=look,
        query=IntentQuery,
        answers={200: ShownIntent},
        errors=(NotFound,),
        caller=Caller.HOLDER,
    ),
    Route(
        method="GET",
        path="/v1/intents/{id}/events",
        name="get_intent_events",
        summary="Read the events of an intent",
        handler=stream,
        as_stored=True,
        answers={200: EventPage},
        errors=(NotFound,),
        caller=Caller.HOLDER,
    ),
    Route(
        method="POST",
        path="/v1/intents/{id}/approve",
        name="approve_intent",
        summary="Approve exactly what waits for an answer",
        handler=approve,
        body=ApproveIntent,
        answers={200: ShownIntent},
        errors=(NotFound, InvalidRequest, DigestMismatch, NotWaiting),
        refusal=NotEligible,
    ),
    Route(
        method="POST",
        path="/v1/intents/{id}/reject",
        name="reject_intent",
        summary="Reject what waits for an answer",
        handler=reject,
        body=RejectIntent,
        answers={200: ShownIntent},
        errors=(NotFound, InvalidRequest, DigestMismatch, NotWaiting),
        refusal=NotEligible,
    ),
    Route(
        method="POST",
        path="/v1/intents/{id}/cancel",
        name="cancel_intent",
        summary="Abort an intent that is not decided",
        handler=cancel,
        body=CancelIntent,
        answers={200: ShownIntent},
        errors=(NotFound, InvalidRequest, AlreadyDecided),
        caller=Caller.HOLDER,
    ),
    Route(
        method="POST",
        path="/v1/intents/{id}/undo",
        name="undo_intent",
        summary="Undo a committed intent",
        handler=undo,
        body=UndoIntent,
        answers={200: ShownIntent},
        errors=(NotFound, InvalidRequest, NotUndoable),
    ),
    Route(
        method="POST",
        path="/v1/intents/{id}/resolve",
        name="resolve_intent",
        summary="Answer an intent's call for attention",
        handler=resolve,
        body=ResolveIntent,
        answers={200: ShownIntent},
        errors=(NotFound, InvalidRequest, NotWaiting),
    ),
)

"""The feed: the events of the ledger, a page of them, all of them as a stream, or live as they come.

    Accept: application/json       one page
    Accept: application/x-ndjson   every event up to now, one a line
    Accept: text/event-stream      every event from now on too; `id:` is the position, `Last-Event-ID` resumes

Every line names the custody chain under which its event happened.

A stream holds one batch at a time and waits for its reader; a reader that takes nothing for WRITE_SECONDS is cut off.
A stream that breaks inside is cut off too, without its proper end, so that nobody takes a part for the whole.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager, nullcontext
from typing import Any, Final, cast

import msgspec
import structlog
from aiohttp import web
from aiohttp.web import BaseRequest

from gateway.cursors import check_reached
from gateway.door import Door, Route, Service, Visit, bearer
from gateway.models import FeedQuery
from gateway.render import EventPage, encode
from ledger.bounds import PAGE_LIMIT_DEFAULT
from ledger.errors import InvalidRequest, LedgerError, Overloaded
from ledger.events import Recorded

log = structlog.get_logger(__name__)

_JSON: Final = "application/json"
_NDJSON: Final = "application/x-ndjson"
_SSE: Final = "text/event-stream"
_BATCH: Final = 100  # events that a stream holds at a time
_WEIGHT: Final = re.compile(r"\bq\s*=\s*([01](?:\.\d{0,3})?)").search
_POSITION: Final = re.compile(r"[0-9]{1,15}").fullmatch


async def feed(visit: Visit) -> web.StreamResponse:
    """Answer with the feed in the form that was asked for."""
    query: FeedQuery = visit.query or FeedQuery()
    form = form_of(visit.request, (_JSON, _NDJSON, _SSE))
    if query.after:
        await check_reached(visit, query.after)
    if form == _JSON:
        return await _page(visit, query)
    store = visit.service.store
    head = await store.head()  # finds out whether the database answers while there is still a status to say so
    if visit.request.method == "HEAD":
        return web.Response(headers=visit.headers(form))
    if form == _NDJSON:
        return await stream(visit, form, _lines(visit.service, query.after or 0, head, query.limit))
    after = await _resume(visit, query.after)
    with _place(visit.door):
        return await stream(visit, form, _live(visit, after, query.limit), live=True)


def form_of(request: BaseRequest, offered: Sequence[str]) -> str:
    """Choose among the offered media types what `Accept` likes best (RFC 9110 §12.5.1); the first if it names none.

    Of what it likes equally, the one that is named most exactly, and then the first.
    """
    best, best_liking = offered[0], (0.0, 0)
    for wanted in ",".join(request.headers.getall("Accept", ())).lower().split(","):
        media, _, parameters = wanted.partition(";")
        weight = _WEIGHT(parameters)
        exactness = 2 - media.count("*")
        liking = (float(weight[1]) if weight else 1.0, exactness)
        kind = media.strip().removesuffix("*").removesuffix("*/")
        meant = (one for one in offered if one == kind or (exactness < 2 and one.startswith(kind)))
        if liking[0] and liking > best_liking and (found := next(meant, None)) is not None:
            best, best_liking = found, liking
    return best


async def stream(
    visit: Visit, content_type: str, chunks: AsyncGenerator[bytes], *, live: bool = False
) -> web.StreamResponse:
    """Answer with chunks as they come.

    A failure, or a reader that takes nothing for `write_seconds`, breaks the connection off; so does the end of the
    reader's token, which is looked at again every `heartbeat_seconds`. A `live` stream has no end of its own; when the
    service drains it ends properly, and its reader resumes elsewhere.
    """
    clock = asyncio.get_running_loop().time
    asked_at = clock()
    response = web.StreamResponse(headers=visit.headers(content_type))
    await response.prepare(visit.request)
    drained = asyncio.timeout(None)
    try:
        async with drained, aclosing(chunks):
            with visit.door.patience(drained) if live else nullcontext():
                async for chunk in chunks:
                    if clock() - asked_at >= visit.door.limits.heartbeat_seconds:
                        await visit.service.authority.authenticate(bearer(visit.request))
                        asked_at = clock()
                    async with asyncio.timeout(visit.door.limits.write_seconds):
                        await response.write(chunk)
    except (LedgerError, TimeoutError) as error:
        if not drained.expired():
            log.warning("stream_cut_off", request_id=visit.request_id, error=type(error).__name__)
            if visit.request.transport is not None:
                visit.request.transport.abort()
            raise ConnectionResetError("The stream was cut off.") from error
    await response.write_eof()
    return response


async def _page(visit: Visit, query: FeedQuery) -> web.Response:
    limit = query.limit or PAGE_LIMIT_DEFAULT
    recorded = await visit.service.store.read_all(query.after or 0, limit)
    more = recorded[-1].position if len(recorded) == limit else None
    return visit.answer({"items": await lines(visit.service, recorded), "next": more})


async def lines(service: Service, recorded: Sequence[Recorded]) -> list[dict[str, Any]]:
    """Show events as the feed does, each with its custody chain. Raises `Unavailable`."""
    chains = await service.custody.of(recorded)
    return [{**_line(one), "custody": chain} for one, chain in zip(recorded, chains, strict=True)]


def _line(recorded: Recorded) -> dict[str, Any]:
    """Show an event, the stored bytes embedded as they are."""
    return {
        "position": recorded.position,
        "version": recorded.version,
        "type": recorded.type,
        "at": recorded.at,
        "stream": recorded.stream,
        "body": msgspec.Raw(recorded.body),
    }


async def _lines(service: Service, after: int, head: int, limit: int | None) -> AsyncGenerator[bytes]:
    left = head - after if limit is None else min(limit, head - after)
    while left > 0:
        recorded = await service.store.read_all(after, min(left, _BATCH))
        if not recorded:
            return
        yield b"".join([encode(line) + b"\n" for line in await lines(service, recorded)])
        after = recorded[-1].position
        left -= len(recorded)


async def _live(visit: Visit, after: int, limit: int | None) -> AsyncGenerator[bytes]:
    clock = asyncio.get_running_loop().time
    spoke_at = clock()
    yield b": following\n\n"
    following = cast("AsyncGenerator[Sequence[Recorded]]", visit.service.store.follow(after, _BATCH))
    async with aclosing(following) as batches:
        async for batch in batches:
            recorded = batch if limit is None else batch[:limit]
            if recorded:
                yield b"".join([_message(line) for line in await lines(visit.service, recorded)])
                spoke_at = clock()
            elif clock() - spoke_at >= visit.door.limits.heartbeat_seconds:
                yield b": still here\n\n"
                spoke_at = clock()
            if limit is not None:
                limit -= len(recorded)
                if limit <= 0:
                    return


def _message(line: dict[str, Any]) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (line["position"], line["type"].encode(), encode(line))


async def _resume(visit: Visit, after: int | None) -> int:
    """Return where to begin: `Last-Event-ID` if the reader has been here before, else `after`."""
    last = visit.request.headers.get("Last-Event-ID")
    if not last:
        return after or 0
    if not _POSITION(last):
        place = {"path": "/Last-Event-ID", "message": "This header should be a position."}
        raise InvalidRequest("Last-Event-ID is not a position of this ledger. Nothing was changed.", errors=[place])
    await check_reached(visit, int(last), "/Last-Event-ID")
    return int(last)


@contextmanager
def _place(door: Door) -> Iterator[None]:
    """Take one of the places for followers. Raises `Overloaded`."""
    if door.followers >= door.limits.followers:
        raise Overloaded("As many clients as we serve follow the feed already. Nothing was changed; retry later.")
    door.followers += 1
    try:
        yield
    finally:
        door.followers -= 1


FEED_ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/events",
        name="get_events",
        summary="Read or follow the events of the ledger",
        handler=feed,
        query=FeedQuery,
        headers=("Accept", "Last-Event-ID"),
        answers={200: EventPage},
        media=(_JSON, _NDJSON, _SSE),
        as_stored=True,
    ),
)

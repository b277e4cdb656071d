"""The route of receipts: what proves an intent offline, to somebody who trusts neither the service nor its database."""

import asyncio
from typing import Final

from aiohttp import web

from gateway.door import Caller, Route, Visit
from gateway.routes_intents import intent_of
from gateway.visibility import seen
from gateway.waiting import log_covers
from ledger.bounds import RECEIPT_EVENTS
from ledger.errors import InvalidRequest, NotFound, NotReady
from ledger.log.entry import entry
from ledger.log.receipts import receipt_tiles, write_receipt

_TEXT: Final = "text/plain; charset=utf-8"


async def receipt(visit: Visit) -> web.Response:
    """Hand out the receipt of what was recorded of an intent up to now, once the log has signed all of it."""
    intent = intent_of(visit)
    await seen(visit, intent)
    events = await visit.service.coordinator.events(intent)
    if len(events) > RECEIPT_EVENTS:
        raise InvalidRequest(
            f"The intent has {len(events)} events, and a receipt at most {RECEIPT_EVENTS}. Nothing was changed; "
            "/v1/log/proofs/inclusion proves each of them."
        )
    entries = {
        one.position: entry(one.ledger, one.position, one.stream, one.version, one.type, one.at, one.body)
        for one in events
    }
    last = events[-1].position
    await log_covers(visit, last)
    signed = await visit.service.log.best_covering(last)
    if signed is None:
        raise NotReady(f"No checkpoint of the log covers position {last} any more. Nothing was changed; ask again.")
    tiles = await visit.service.log.tiles(receipt_tiles(entries, signed.size))
    text = await asyncio.to_thread(write_receipt, entries, signed.size, str(signed.note), tiles)
    headers = visit.headers(_TEXT)
    headers["Content-Disposition"] = f'attachment; filename="{intent}.tlog-proof"'
    return web.Response(body=text.encode(), headers=headers)


RECEIPT_ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/intents/{id}/receipt",
        name="get_receipt",
        summary="What proves an intent offline: a C2SP tlog-proof for each of its events",
        handler=receipt,
        answers={200: None},
        media=("text/plain",),
        errors=(NotFound, InvalidRequest, NotReady),
        caller=Caller.HOLDER,
        as_stored=True,
    ),
)

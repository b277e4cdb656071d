"""A warehouse over HTTP, which `intentledger_fence` in its transactions makes safe to be called twice, late, or never.

    POST /reservations                   {sku, quantity}     hold
    POST /reservations/{key}/confirm                         confirm: the goods leave
    POST /reservations/{key}/release                         release, also before the hold has arrived
    POST /deliveries                     {sku, quantity}     once: the goods come in
    POST /returns                        {sku, quantity}     once: the undo of a reservation that was confirmed
    POST /corrections                    {sku, quantity}     once: the undo of a delivery
    GET  /keys/{key}                                         what became of a call
    GET  /items/{sku}                                        what is there, and what was moved

Of a handler the lines that name the fence are the whole difference to one without. The rest is the warehouse's own.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from aiohttp import web
from intentledger_fence import Call, Fence, NotNamed, Outcome, Refused

Goods = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Shelf(Protocol):
    """The warehouse's tables, inside one transaction."""

    connection: Any

    async def change(self, sku: str, *, on_hand: int = 0, reserved: int = 0) -> bool:
        """Add to what is there and to what is reserved; False if there is not enough."""

    async def note(self, what: str, sku: str, quantity: int) -> None:
        """Write down that goods were moved."""

    async def show(self, sku: str) -> Goods | None:
        """Return an item with its movements."""


class Warehouse(Protocol):
    """Where the tables are: PostgreSQL (`on_postgres.py`) or MariaDB (`on_mariadb.py`)."""

    fence: Fence

    def transaction(self) -> AbstractAsyncContextManager[Shelf]:
        """Open a transaction: committed at the end, rolled back on an error."""


def app(warehouse: Warehouse) -> web.Application:
    """Return the service."""
    service = _Service(warehouse)
    made = web.Application(middlewares=[_understood])
    made.add_routes(
        [
            web.post("/reservations", service.reserve),
            web.post("/reservations/{key}/confirm", service.confirm),
            web.post("/reservations/{key}/release", service.release),
            web.post("/deliveries", service.moving("delivered", 1)),
            web.post("/returns", service.moving("returned", 1)),
            web.post("/corrections", service.moving("corrected", -1)),
            web.get("/keys/{key}", service.look_up),
            web.get("/items/{sku}", service.show),
        ]
    )
    return made


class _Service:
    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._fence = warehouse.fence

    async def reserve(self, request: web.Request) -> web.Response:
        wanted = _goods(await request.json())
        call = Call.of(request.headers)
        async with self._warehouse.transaction() as shelf:

            async def effect() -> Goods | Refused:
                if not await shelf.change(wanted["sku"], reserved=wanted["quantity"]):
                    return Refused(f"There are not {wanted['quantity']} of {wanted['sku']}.")
                return {"id": call.key, "fate": "held", **wanted}

            outcome = await self._fence.hold(shelf.connection, call, effect)
        return _answer(outcome)

    async def confirm(self, request: web.Request) -> web.Response:
        async with self._warehouse.transaction() as shelf:

            async def effect(held: Goods) -> Goods:
                await shelf.change(held["sku"], on_hand=-held["quantity"], reserved=-held["quantity"])
                await shelf.note("left", held["sku"], held["quantity"])
                return held | {"fate": "applied"}

            outcome = await self._fence.confirm(shelf.connection, Call.of(request.headers), effect)
        return _answer(outcome)

    async def release(self, request: web.Request) -> web.Response:
        async with self._warehouse.transaction() as shelf:

            async def effect(held: Goods) -> None:
                await shelf.change(held["sku"], reserved=-held["quantity"])

            outcome = await self._fence.release(shelf.connection, Call.of(request.headers), effect)
        return _answer(outcome)

    def moving(self, what: str, sign: int) -> Handler:
        """Return the handler of goods that come in, or go, in one shot."""

        async def handle(request: web.Request) -> web.Response:
            goods = _goods(await request.json())
            call = Call.of(request.headers)
            async with self._warehouse.transaction() as shelf:

                async def effect() -> Goods | Refused:
                    if not await shelf.change(goods["sku"], on_hand=sign * goods["quantity"]):
                        return Refused(f"{goods['quantity']} of {goods['sku']} cannot be {what}.")
                    await shelf.note(what, goods["sku"], goods["quantity"])
                    return {"id": call.key, "fate": "applied", **goods}

                outcome = await self._fence.once(shelf.connection, call, effect)
            return _answer(outcome)

        return handle

    async def look_up(self, request: web.Request) -> web.Response:
        async with self._warehouse.transaction() as shelf:
            found = await self._fence.look(shelf.connection, request.match_info["key"])
        if found is None:
            return web.json_response({"error": "Nothing has this key."}, status=404)
        return web.json_response({"fate": found.state, **found.answer})

    async def show(self, request: web.Request) -> web.Response:
        async with self._warehouse.transaction() as shelf:
            item = await shelf.show(request.match_info["sku"])
        return web.json_response(item or {"error": "There is no such item."}, status=200 if item else 404)


def _answer(outcome: Outcome) -> web.Response:
    return web.json_response(outcome.answer, status=outcome.status)


def _goods(body: Any) -> Goods:
    match body:
        case {"sku": str(sku), "quantity": int(quantity)} if sku and 0 < quantity <= 1_000_000:
            return {"sku": sku, "quantity": quantity}
        case _:
            raise ValueError("the goods are {sku, quantity}")


@web.middleware
async def _understood(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (NotNamed, ValueError) as error:
        return web.json_response({"error": f"The request is not understood: {error}."}, status=400)

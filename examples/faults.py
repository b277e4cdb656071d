"""Bad days on demand: how the services of the examples can be told to misbehave on their next answers.

A fault names the endpoint it waits for, whether the effect comes before it or not at all (`moment`), and what the
caller gets to see (`answer`). Faults are taken in the order in which they were armed, each `count` times.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HUGE_BYTES: Final = 10 * 1024 * 1024


@dataclass
class Fault:
    """One way to misbehave; `delay` and `hang` take `seconds`, and a number is an HTTP status.

    A `delay` before the effect lets it happen late, when the caller may have given up; a `hang` never lets it happen.
    A `lie` says yes whatever happened: before the effect, to what never happens.
    A refusal (422) of a one-shot waits for a key that the service has not seen: of one under way it would be a lie.
    """

    on: str
    answer: str  # "delay" | "hang" | "lose" | "lie" | "rubbish" | "huge" | "409" | "500" | …
    moment: str = "after"  # the effect happens first; "before": it does not
    seconds: float = 1.0
    count: int = 1


class Faults:
    """The faults that are armed, and how often one fired."""

    def __init__(self) -> None:
        """Begin as a good citizen."""
        self._armed: list[Fault] = []
        self.fired: dict[str, int] = {}
        self.seen: set[str] = set()  # keys
        self.requests = 0  # that came to an endpoint which may misbehave

    def arm(self, fault: Fault) -> None:
        """Misbehave from the next request on that the fault waits for."""
        self._armed.append(fault)

    def disarm(self) -> None:
        """Behave again."""
        self._armed.clear()

    def around(self, on: str, handler: Handler) -> Handler:
        """Return a handler that answers as the next armed fault for this endpoint says, or properly."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(on, request, handler)

        return handle

    async def _handle(self, on: str, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests += 1
        key = request.headers.get("Idempotency-Key", "").strip('"')
        fault = next((one for one in self._armed if one.on == on and not self._lies(one, key)), None)
        self.seen.add(key)
        if fault is None:
            return await handler(request)
        fault.count -= 1
        if fault.count <= 0:
            self._armed.remove(fault)
        name = f"{on}/{fault.moment}/{fault.answer}"
        self.fired[name] = self.fired.get(name, 0) + 1
        await request.read()  # so that it can be handled after the caller has gone
        if fault.answer == "delay" and fault.moment == "before":
            await asyncio.sleep(fault.seconds)
            return await handler(request)
        proper = await handler(request) if fault.moment == "after" else web.Response(status=503)
        return await _misbehave(fault, request, proper)

    def _lies(self, fault: Fault, key: str) -> bool:
        return fault.answer == "422" and fault.on != "hold" and key in self.seen


async def _misbehave(fault: Fault, request: web.Request, proper: web.StreamResponse) -> web.StreamResponse:
    match fault.answer:
        case "delay" | "hang":
            await asyncio.sleep(fault.seconds)
            return proper
        case "lose":
            if request.transport is not None:
                request.transport.abort()
            return proper
        case "lie":
            return web.json_response({"status": "done"})
        case "rubbish":
            return web.Response(body=b'{"refund": \xff\xfe', content_type="application/json")
        case "huge":
            return web.Response(body=b'"' + b"x" * HUGE_BYTES + b'"', content_type="application/json")
        case status:
            return web.json_response({"error": f"fault {status}"}, status=int(status))

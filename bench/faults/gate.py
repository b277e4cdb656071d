"""The gate between a worker and the outside systems: it stops a request at an exact moment and asks what to do.

    before   the whole request has left the worker, and the outside system has not seen it
    after    the outside system has recorded the effect on its disk and answered; the worker has not seen the answer

What passes is not changed. Only requests about the present cell are stopped, refused or counted: those that name its
accounts, or a key or an id that was used or given in one of those.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp import web

from bench.faults.cells import LEFT
from bench.faults.record import BACK

BEFORE: Final = "before"
AFTER: Final = "after"
HOLD: Final = "hold"
EFFECT: Final = "effect"
UNDO: Final = "undo"
LOOK: Final = "look"


class Passage(Enum):
    """What becomes of a request that was stopped."""

    PASS = auto()
    BREAK = auto()  # the connection to the worker breaks; a request stopped *before* is never made


Strike = Callable[[], Awaitable[Passage]]


class _Rule(msgspec.Struct):
    system: str
    kind: str
    moment: str
    strike: Strike
    times: int
    struck: asyncio.Event


class Gate:
    """Listens on one port of 127.0.0.1; `/left/…` and `/right/…` lead to the two outside systems."""

    def __init__(self, systems: Mapping[str, str]) -> None:
        """Lead to these systems, by name and address."""
        self._systems = systems
        self._rules: list[_Rule] = []
        self._refused: set[tuple[str, str]] = set()
        self._cell = ""
        self._about: set[str] = set()  # keys and ids that were used or given in the present cell
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self.port = 0
        self.log: list[str] = []  # of the present cell, for people

    @property
    def url(self) -> str:
        """Return where the systems stand behind."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_route("*", "/{system}/{rest:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._session = aiohttp.ClientSession()
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    def begin(self, key: str) -> None:
        """Begin a cell whose accounts have `key` in their names, with no rules."""
        self._rules.clear()
        self._refused.clear()
        self._cell, self._about = key, set()
        self.log = []

    def on(self, kind: str, moment: str, strike: Strike, *, system: str = LEFT, times: int = 1) -> asyncio.Event:
        """Stop the next requests of a kind at a moment; the event is set after the first of them."""
        rule = _Rule(system, kind, moment, strike, times, asyncio.Event())
        self._rules.append(rule)
        return rule.struck

    def refuse(self, system: str, kind: str) -> None:
        """Answer every request of a kind with a certain no."""
        self._refused.add((system, kind))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        system = request.match_info["system"]
        body = await request.read()
        document = json.loads(body) if body else {}
        kind = kind_of(request.method, request.match_info["rest"], document)
        ours = self._is_about(request, document)
        self._note(ours, f"{system} {kind} {request.match_info['rest']}")
        if ours and (system, kind) in self._refused:
            return web.json_response({"error": "The account is closed."}, status=422)
        if ours and not await self._stop(system, kind, BEFORE):
            return _break(request)
        status, answer = await self._forward(request, system, body)
        if ours:
            self._learn(request, answer)
            if not await self._stop(system, kind, AFTER):
                return _break(request)
        return web.Response(body=answer, status=status, content_type="application/json")

    async def _stop(self, system: str, kind: str, moment: str) -> bool:
        wanted = (system, kind, moment)
        rule = next((one for one in self._rules if (one.system, one.kind, one.moment) == wanted), None)
        if rule is None:
            return True
        rule.times -= 1
        if rule.times <= 0:
            self._rules.remove(rule)
        try:
            passage = await rule.strike()
        finally:
            self._note(True, f"  {moment} {system} {kind}: struck")
            rule.struck.set()
        return passage is Passage.PASS

    async def _forward(self, request: web.Request, system: str, body: bytes) -> tuple[int, bytes]:
        if self._session is None:
            raise RuntimeError("The gate is not open.")
        headers = {
            name: request.headers[name] for name in ("Idempotency-Key", "Content-Type") if name in request.headers
        }
        url = f"{self._systems[system]}/{request.match_info['rest']}"
        query = request.query_string
        async with self._session.request(
            request.method, f"{url}?{query}" if query else url, data=body, headers=headers
        ) as response:
            return response.status, await response.read()

    def _is_about(self, request: web.Request, document: dict[str, Any]) -> bool:
        values = [*request.path.split("/"), *request.query.values(), _key(request)]
        values += [value for value in document.values() if isinstance(value, str)]
        return any(value in self._about or self._cell in value for value in values)

    def _learn(self, request: web.Request, answer: bytes) -> None:
        known = json.loads(answer) if answer else {}
        if request.method == "POST":
            self._about |= {_key(request), str(known.get("id", "")), str(known.get("key", ""))} - {""}

    def _note(self, ours: bool, words: str) -> None:
        if ours:
            self.log.append(words)


def kind_of(method: str, path: str, document: Mapping[str, Any]) -> str:
    """Return what a request would do."""
    match method, path.split("/"):
        case "POST", ["refunds"]:
            return HOLD
        case "POST", ["reversals"] | ["refunds", _, "release"]:
            return UNDO
        case "POST", ["transfers"] if str(document.get("account", "")).endswith(BACK):
            return UNDO
        case "POST", _:
            return EFFECT
        case _:
            return LOOK


def _key(request: web.Request) -> str:
    return request.headers.get("Idempotency-Key", "").strip('"')


def _break(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()

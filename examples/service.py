"""What the HTTP services of the examples share: endpoints that can misbehave, and a life of their own.

An endpoint is a function to (status, answer). A POST is given its Idempotency-Key, its body and the reference in its
path; a GET its request. What an endpoint cannot make sense of is 400. Faults are armed and shown under /faults.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

from examples.faults import Fault, Faults
from examples.journal import Journal, Line

Body = dict[str, Any]
Answer = tuple[int, Body]


def post(faults: Faults, path: str, name: str, endpoint: Callable[[str, Body, str], Answer]) -> web.RouteDef:
    """Return the route of an endpoint that may have an effect, and that faults know by `name`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        key = request.headers.get("Idempotency-Key", "").strip('"')
        try:
            body = await request.json() if await request.read() else {}
            status, document = endpoint(key, body, request.match_info.get("ref", ""))
        except (ValueError, KeyError, TypeError) as error:
            status, document = HTTPStatus.BAD_REQUEST, {"error": f"The request is not understood: {error!r}."}
        return web.json_response(document, status=status)

    return web.post(path, faults.around(name, answer))


def get(faults: Faults, path: str, endpoint: Callable[[web.Request], Answer]) -> web.RouteDef:
    """Return the route of an endpoint that only looks."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            status, document = endpoint(request)
        except KeyError as error:
            status, document = HTTPStatus.BAD_REQUEST, {"error": f"The request does not say {error}."}
        return web.json_response(document, status=status)

    return web.get(path, faults.around("look", answer))


def fault_routes(faults: Faults) -> list[web.RouteDef]:
    """Return the routes under which faults are armed, disarmed and shown."""

    async def arm(request: web.Request) -> web.Response:
        faults.arm(Fault(**await request.json()))
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def disarm(_: web.Request) -> web.Response:
        faults.disarm()
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def show(_: web.Request) -> web.Response:
        return web.json_response({"fired": faults.fired, "requests": faults.requests})

    return [web.post("/faults", arm), web.delete("/faults", disarm), web.get("/faults", show)]


def plain(line: Line) -> Body:
    """Return what a line of the journal says, without when it was written."""
    return {name: value for name, value in line.items() if name not in {"number", "at", "what"}}


async def listen(app: web.Application, port: int) -> tuple[web.AppRunner, int]:
    """Serve on 127.0.0.1, on a free port for 0; return what must be cleaned up and the port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner, runner.addresses[0][1]


def run(about: str | None, make: Callable[[Journal], web.Application]) -> None:
    """Serve until standard input closes, as the command line says; the first line said is {"port": N}."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0] if about else None)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()

    async def serve() -> None:
        runner, port = await listen(make(Journal(arguments.record)), arguments.port)
        print(json.dumps({"port": port}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await runner.cleanup()

    asyncio.run(serve())

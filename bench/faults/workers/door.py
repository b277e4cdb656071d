"""The door of a worker: the same for every package, so that the harness can be its client.

    POST /submit?key=…   do the work under this key; the answer is a statement: {state, applied, words}
    GET  /says?key=…     what the package itself knows of this key
    POST /take-over      the worker `of` is held to be dead: do what the package has for that

A client that leaves cancels its call, as the frameworks that call such packages do. The first line on standard output
is {"port": N}.
"""

import argparse
import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

Statement = dict


def say(state: str, words: str = "", **applied: bool) -> Statement:
    """Make a statement; `applied` says of single systems whether their effect is in the world."""
    return {"state": state, "words": words, "applied": applied}


def arguments() -> argparse.Namespace:
    """Read the command line that every worker has."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gate", required=True)
    parser.add_argument("--directory", required=True)
    parser.add_argument("--dsn", default="")
    parser.add_argument("--number", type=int, default=1)
    parser.add_argument("--cell", default="")
    return parser.parse_args()


async def serve(
    submit: Callable[[dict], Awaitable[Statement]],
    says: Callable[[dict], Awaitable[Statement]],
    take_over: Callable[[int], Awaitable[None]] | None = None,
) -> None:
    """Serve until the process ends."""

    async def answer(path: str, body: dict) -> Statement:
        if path == "/submit":
            return await submit(body)
        if path == "/says":
            return await says(body)
        if take_over is not None:
            await take_over(body["of"])
        return {}

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path, body = await _request(reader)
        work = asyncio.ensure_future(answer(path, body))
        left = asyncio.ensure_future(reader.read())
        await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
        left.cancel()
        try:
            status, document = 200, await work
        except asyncio.CancelledError:
            writer.close()
            return
        except Exception as error:  # noqa: BLE001 - the client is told
            traceback.print_exc()
            status, document = 500, {"error": f"{type(error).__name__}: {error}"}
        writer.write(f"HTTP/1.0 {status} -\r\nContent-Type: application/json\r\n\r\n{json.dumps(document)}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


async def _request(reader: asyncio.StreamReader) -> tuple[str, dict]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    sizes = [line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length")]
    length = int(sizes[0]) if sizes else 0
    target = urlsplit(head.split()[1])
    body = json.loads(await reader.readexactly(length)) if length else {}
    return target.path, {**body, **{name: values[0] for name, values in parse_qs(target.query).items()}}

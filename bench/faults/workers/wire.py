"""HTTP with the standard library: one request on one connection, which breaks when the caller is cancelled."""

import asyncio
import json
from urllib.parse import urlsplit

SECONDS = 30.0  # longer than a pause, so that a worker that wakes reads its answer and goes on


async def call(method: str, url: str, body: object = None, key: str | None = None) -> tuple[int, dict]:
    """Make one request; return its status and its JSON answer. Raises `OSError` or `TimeoutError` where none came."""
    async with asyncio.timeout(SECONDS):
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(_request(method, parts, body, key))
            await writer.drain()
            answer = await reader.read()
        finally:
            writer.close()
    head, separator, content = answer.partition(b"\r\n\r\n")
    if not separator:
        raise ConnectionResetError("The connection broke before an answer.")
    return int(head.split()[1]), json.loads(content) if content else {}


def _request(method: str, parts, body: object, key: str | None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.0", f"Host: {parts.netloc}", f"Content-Length: {len(content)}"]
    if content:
        lines.append("Content-Type: application/json")
    if key is not None:
        lines.append(f'Idempotency-Key: "{key}"')
    return "\r\n".join([*lines, "", ""]).encode() + content

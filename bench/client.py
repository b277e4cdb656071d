"""The load: a process that keeps a number of intents in flight over HTTP and says what it saw.

Started as `python -m bench.client`, never imported by the service. It shares two cores with what it measures, so it
does as little as a correct client can: one keep-alive connection for each intent in flight, a request that is one
`bytes % values`, and an answer of which only the status, the length and the phase are read. It costs about a tenth of
what the service spends on the same request; a general HTTP client costs as much as the service.

Speaks the protocol of `bench/load.py`.
"""

import argparse
import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from urllib.parse import urlsplit

import msgspec
import uvloop

WAIT_SECONDS = 10

_HEAD = (
    "POST /v1/intents HTTP/1.1\r\nHost: %(host)s\r\nAuthorization: Bearer %(token)s\r\n"
    "Content-Type: application/json\r\nPrefer: wait=%(wait)d\r\nIdempotency-Key: "
)
_BODY = json.dumps(
    {
        "task": "12A",
        "reason": "Customer 88 was charged twice for order 1841; refund the second charge and note it on the account.",
        "confidence": 0.97,
        "context": {"ticket": "T-1841", "channel": "chat"},
        "actions": [
            {"id": "refund", "operation": "payments.post", "params": {"account": "customer-88", "amount": 4200}},
            {"id": "note", "operation": "crm.post", "params": {"account": "customer-88", "amount": 1}},
        ],
    }
).encode()


class _Shown(msgspec.Struct):
    phase: str


_phase_of = msgspec.json.Decoder(_Shown).decode


class Unexpected(Exception):
    """An answer that no benchmark should count."""


class Connection(asyncio.Protocol):
    """One connection with one request in flight; calls `answered` with each answer's body."""

    def __init__(self, answered: "Callable[[Connection, bytes], None]", lost: Callable[[Exception], None]) -> None:
        self._answered = answered
        self._lost = lost
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def send(self, request: bytes) -> None:
        self.sent_at = time.perf_counter()
        self._transport.write(request)  # type: ignore[union-attr]

    def close(self) -> None:
        self._transport.close()  # type: ignore[union-attr]

    def data_received(self, data: bytes) -> None:
        self._buffer = data = self._buffer + data if self._buffer else data
        head = data.find(b"\r\n\r\n")
        if head < 0:
            return
        length = data.find(b"Content-Length: ", 0, head)
        if length < 0:
            self._lost(Unexpected(data[:200]))
            return
        end = head + 4 + int(data[length + 16 : data.find(b"\r", length)])
        if len(data) < end:
            return
        self._buffer = data[end:]
        if not data.startswith(b"HTTP/1.1 200 "):
            self._lost(Unexpected(data[:500]))
            return
        self._answered(self, data[head + 4 : end])

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._lost(exc)


class Load:
    """A number of intents in flight until a deadline; then those in flight are waited for."""

    def __init__(self, token: str, host: str) -> None:
        head = (_HEAD % {"host": host, "token": token, "wait": WAIT_SECONDS}).encode()
        self._request = head + b"%b-%d\r\nContent-Length: " + str(len(_BODY)).encode() + b"\r\n\r\n" + _BODY
        self._seed = secrets.token_hex(8).encode()
        self._number: Iterator[int] = count()
        self._latencies: list[float] = []
        self._deadline = 0.0
        self._open = 0
        self._done: asyncio.Future[None]

    async def run(self, connections: list[Connection], seconds: float) -> tuple[float, list[float]]:
        """Keep every connection busy for `seconds`; return the seconds until the last answer, and all latencies."""
        self._latencies = []
        self._open = len(connections)
        self._done = asyncio.get_running_loop().create_future()
        begin = time.perf_counter()
        self._deadline = begin + seconds
        for connection in connections:
            self._send(connection)
        await self._done
        return time.perf_counter() - begin, self._latencies

    def answered(self, connection: Connection, body: bytes) -> None:
        """Count a committed intent and send the next."""
        now = time.perf_counter()
        if _phase_of(body).phase != "committed":
            self.lost(Unexpected(body[:500]))
            return
        self._latencies.append(now - connection.sent_at)
        if now < self._deadline:
            self._send(connection)
            return
        self._open -= 1
        if self._open == 0 and not self._done.done():
            self._done.set_result(None)

    def lost(self, error: Exception) -> None:
        """Fail the run: a benchmark with errors in it measures something else."""
        if not self._done.done():
            self._done.set_exception(error)

    def _send(self, connection: Connection) -> None:
        connection.send(self._request % (self._seed, next(self._number)))


async def main(arguments: argparse.Namespace) -> None:
    """Connect, warm up, say so, wait for the word, run, report."""
    address = urlsplit(arguments.url)
    load = Load(os.environ["BENCH_TOKEN"], address.netloc)
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: Connection(load.answered, load.lost), address.hostname, address.port))[1]
        for _ in range(arguments.in_flight)
    ]
    await load.run(connections, arguments.warm_up)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    seconds, latencies = await load.run(connections, arguments.seconds)
    print(json.dumps({"seconds": seconds, "latencies": latencies}), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    for connection in connections:
        connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--warm-up", type=float, default=1.0)
    uvloop.run(main(parser.parse_args()))

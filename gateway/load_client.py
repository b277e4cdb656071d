"""The load: a process that keeps a number of intents in flight over HTTP and says what it saw.

Started as `python -m gateway.load_client`, never imported by the service. It shares the cores with what it measures,
so it does as little as a correct client can: one keep-alive connection for each intent in flight, a request that is
one `bytes % values`, an answer of which only the status, the length and the phase are read, and no event loop but
`epoll`.
It spends about a twentieth of what the service spends on the same request; a general HTTP client costs half as much as
the service.

It looks at its connections once a millisecond at most. A client that sleeps in `epoll` is woken by each single answer,
and on one machine that waking is paid for by the process that answers (30 µs in a virtual machine, as much as the
whole HTTP protocol); a client on another machine costs the service nothing of the kind.

Speaks the protocol of `gateway/load.py`. Linux only, as `epoll` is.
"""

import argparse
import json
import os
import secrets
import select
import socket
import sys
import time
from itertools import count
from typing import Final
from urllib.parse import urlsplit

import msgspec

from gateway.load import TOKEN_VARIABLE, WARM_UP_SECONDS

WAIT_SECONDS: Final = 10
LOOK_SECONDS: Final = 0.001
SILENCE_SECONDS: Final = 30

_HEAD = (
    "POST /v1/intents HTTP/1.1\r\nHost: %(host)s\r\nAuthorization: Bearer %(token)s\r\n"
    "Content-Type: application/json\r\nPrefer: wait=%(wait)d\r\nIdempotency-Key: "
)
_BODY = (
    json.dumps(
        {
            "reason": "The customer was charged twice for order 1841; refund the second charge and note it in CRM.",
            "confidence": 0.97,
            "context": {"ticket": "T-1841", "channel": "chat"},
            "actions": [
                {
                    "id": "refund",
                    "operation": "payments.post",
                    "params": {"account": "customer-%04d", "amount": "AMOUNT", "currency": "USD"},
                },
                {"id": "note", "operation": "crm.post", "params": {"account": "customer-%04d", "amount": 1}},
            ],
        }
    )
    .replace('"AMOUNT"', "%04d")
    .encode()
)
_AMOUNTS = range(1_000, 5_000)
_CUSTOMERS = 9_973  # a prime number: the same customer and the same amount meet again after 39,892,000 requests


class _Shown(msgspec.Struct):
    phase: str


_phase_of = msgspec.json.Decoder(_Shown).decode


class Unexpected(Exception):
    """An answer that no benchmark should count."""


class Connection:
    """One connection with at most one request in flight."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.sent_at = 0.0

    def fileno(self) -> int:
        """Return the number by which `epoll` knows it."""
        return self._socket.fileno()

    def send(self, request: bytes) -> None:
        """Send a request, and remember when."""
        self.sent_at = time.perf_counter()
        self._socket.sendall(request)

    def receive(self) -> bytes | None:
        """Read what is there; return the body of the answer when it is whole."""
        data = self._socket.recv(65536)
        if not data:
            raise Unexpected("The service closed a connection.")
        self._buffer = data = self._buffer + data if self._buffer else data
        head = data.find(b"\r\n\r\n")
        if head < 0:
            return None
        length = data.find(b"Content-Length: ", 0, head)
        if length < 0:
            raise Unexpected(data[:200])
        end = head + 4 + int(data[length + 16 : data.find(b"\r", length)])
        if len(data) < end:
            return None
        if not data.startswith(b"HTTP/1.1 200 "):
            raise Unexpected(data[:500])
        self._buffer = data[end:]
        return data[head + 4 : end]


class Load:
    """A number of intents in flight until a deadline; then those in flight are waited for."""

    def __init__(self, url: str, token: str, in_flight: int) -> None:
        address = urlsplit(url)
        head = (_HEAD % {"host": address.netloc, "token": token, "wait": WAIT_SECONDS}).encode()
        self._request = head + b"%%b-%%d\r\nContent-Length: %d\r\n\r\n" % len(_BODY % (0, 0, 0)) + _BODY
        self._seed = secrets.token_hex(8).encode()
        self._number = count()
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        for _ in range(in_flight):
            connection = Connection(address.hostname or "", address.port or 80)
            self._connections[connection.fileno()] = connection
            self._epoll.register(connection, select.EPOLLIN)

    def run(self, seconds: float) -> tuple[float, list[float]]:
        """Keep every connection busy for `seconds`; return the seconds until the last answer, and all latencies.

        Raises `Unexpected` for any answer but a committed intent: a benchmark with errors measures something else.
        """
        latencies: list[float] = []
        begin = now = time.perf_counter()
        for connection in self._connections.values():
            self._send(connection)
        open_requests = len(self._connections)
        while open_requests:
            for number, _ in self._some():
                connection = self._connections[number]
                body = connection.receive()
                if body is None:
                    continue
                if _phase_of(body).phase != "committed":
                    raise Unexpected(body[:500])
                now = time.perf_counter()
                latencies.append(now - connection.sent_at)
                if now < begin + seconds:
                    self._send(connection)
                else:
                    open_requests -= 1
            time.sleep(LOOK_SECONDS)
        return now - begin, latencies

    def _some(self) -> list[tuple[int, int]]:
        found = self._epoll.poll(SILENCE_SECONDS)
        if not found:
            raise Unexpected(f"No answer for {SILENCE_SECONDS} seconds.")
        return found

    def _send(self, connection: Connection) -> None:
        number = next(self._number)
        customer, amount = number % _CUSTOMERS, _AMOUNTS[number % len(_AMOUNTS)]
        connection.send(self._request % (self._seed, number, customer, amount, customer))


def main(arguments: argparse.Namespace) -> None:
    """Connect, warm up, say so, wait for the word, run, report."""
    load = Load(arguments.url, os.environ[TOKEN_VARIABLE], arguments.in_flight)
    load.run(arguments.warm_up)
    _say("ready")
    sys.stdin.readline()
    seconds, latencies = load.run(arguments.seconds)
    _say(json.dumps({"seconds": seconds, "latencies": latencies}))
    sys.stdin.readline()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--warm-up", type=float, default=WARM_UP_SECONDS)
    main(parser.parse_args())

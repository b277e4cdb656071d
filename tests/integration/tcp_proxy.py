"""A TCP proxy in front of PostgreSQL that fails on demand: the tests' bad network."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit


class Cut(Enum):
    """What becomes of a request when its connection breaks."""

    BEFORE_SERVER = "the server never gets it"
    AFTER_SERVER = "the server gets it and works on it; its answer is lost"
    LATE = "the server gets it when the test says so, long after the client gave the connection up"


class Proxy:
    """Forwards everything, until `arm` names a request to cut at or `is_closed` refuses all connections."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._armed: tuple[bytes, Cut] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._stay_away = False
        self.is_closed = False
        self.cuts = 0
        self.deliver = asyncio.Event()  # lets a LATE request go on

    def arm(self, marker: bytes, cut: Cut, *, stay_away: bool = False) -> None:
        """Cut the connection of the next request that holds these bytes; then break the others and refuse new ones."""
        self._armed = (marker, cut)
        self._stay_away = stay_away

    def close_now(self) -> None:
        """Break every connection and refuse new ones."""
        self.is_closed = True
        for client in set(self._clients):
            client.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self.is_closed:
            client.transport.abort()
            return
        self._clients.add(client)
        host, port = self._server
        if host.startswith("/"):
            answers, server = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            answers, server = await asyncio.open_connection(host, port)
        backward = asyncio.create_task(self._backward(answers, client))
        self._tasks.add(backward)
        with suppress(OSError):
            await self._forward(reader, server, client)
        self._clients.discard(client)
        server.close()
        client.close()

    async def _forward(self, reader, server, client) -> None:
        while chunk := await reader.read(1 << 16):
            if self._armed is not None and self._armed[0] in chunk:
                (_, cut), self._armed = self._armed, None
                self.cuts += 1
                client.transport.abort()
                if self._stay_away:
                    self.close_now()
                if cut is Cut.LATE:
                    await self.deliver.wait()
                if cut is not Cut.BEFORE_SERVER:
                    server.write(chunk)
                    await server.drain()
                    await self.finished(server)
                return
            server.write(chunk)
            await server.drain()

    async def finished(self, server) -> None:
        """Let the server come to the end of what it was sent: it then closes, because a Terminate follows."""
        server.write(b"X\x00\x00\x00\x04")
        await server.drain()

    async def _backward(self, answers, client) -> None:
        with suppress(OSError):
            while chunk := await answers.read(1 << 16):
                if not client.is_closing():
                    client.write(chunk)
        client.close()

    async def stop(self) -> None:
        self.close_now()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def proxy_to(dsn: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Run a proxy in front of the server of `dsn`; yields it and the DSN that goes through it."""
    url = urlsplit(dsn)
    options = parse_qs(url.query)  # the embedded server is reached through a socket, named in the query
    host, port = options.pop("host", [url.hostname or "127.0.0.1"])[0], options.pop("port", [str(url.port or 5432)])[0]
    proxy = Proxy(host, int(port))
    listening = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    netloc = f"{url.netloc.rpartition('@')[0]}@127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield proxy, urlunsplit(url._replace(netloc=netloc, query=urlencode(options, doseq=True)))
    finally:
        listening.close()
        await proxy.stop()

"""The server below the door: aiohttp's protocol with bounds on connections, slow clients and words of its own.

A connection that does not finish its headers within `header_seconds`, or is idle for as long, is closed. What cannot
even be parsed as HTTP is answered with a problem like everything else. It knows the door only by its handler.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway.door import Door, Visit
from ledger.bounds import REQUEST_HEADERS, REQUEST_LINE_BYTES
from ledger.errors import LedgerError, Malformed, Misconfigured


class Connection(RequestHandler):
    """One connection. It never lets aiohttp speak for itself."""

    __slots__ = ("_door",)

    def __init__(self, server: "Server", door: Door, loop: asyncio.AbstractEventLoop) -> None:
        """Serve the door."""
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=door.limits.header_seconds,
            lingering_time=1.0,
            max_line_size=REQUEST_LINE_BYTES,
            max_field_size=REQUEST_LINE_BYTES,
            max_headers=REQUEST_HEADERS,
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type] # None is how aiohttp turns it off
        )
        self._door = door

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 theirs, and it quotes what the client sent
    ) -> web.StreamResponse:
        """Answer what failed outside the door: the HTTP itself (4xx), or a defect (5xx). Raises `ConnectionError`."""
        if isinstance(exc, ConnectionError):
            raise exc
        if request.writer.output_size > 0:
            raise ConnectionResetError("An answer has begun; there is no room for another.")
        error: Exception = exc if isinstance(exc, Exception) else LedgerError()
        if status < 500:
            error = Malformed("This is not an HTTP request that we accept. Nothing was recorded.")
        response = self._door.problem(error, Visit(self._door, request, self._door.next_id()))
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; a client that takes nothing of a long one for `write_seconds` is cut off."""
        if isinstance(resp, web.Response) and (resp.content_length or 0) > 64 * 1024:
            try:
                async with asyncio.timeout(self._door.limits.write_seconds):
                    return await super().finish_response(request, resp, start_time)
            except TimeoutError:
                if self.transport is not None:
                    self.transport.abort()
                return resp, True
        return await super().finish_response(request, resp, start_time)


class Server(web.Server):
    """All connections of a process."""

    def __init__(self, door: Door) -> None:
        """Serve the door."""
        super().__init__(door.handle)
        self._door = door

    def __call__(self) -> RequestHandler:
        """Make the protocol of a new connection."""
        return Connection(self, self._door, self._loop)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Take a connection, or close it at once if there are too many."""
        super().connection_made(handler, transport)
        if len(self._connections) > self._door.limits.connections:
            transport.abort()


@asynccontextmanager
async def listening(door: Door, host: str, port: int) -> AsyncGenerator[str]:
    """Listen at an address (port 0: any free one) and yield its URL; connections are closed at the end.

    Raises `Misconfigured` if the address cannot be had.
    """
    server = Server(door)
    runner = web.ServerRunner(server, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise Misconfigured(
                f"{host} port {port} cannot be listened on: {error.strerror}. Nothing was started."
            ) from error
        door.stop_accepting = site.stop
        yield f"http://{'[' + host + ']' if ':' in host else host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()

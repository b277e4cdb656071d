"""One HTTP exchange: a request goes out at most once, and what came of it is known exactly or said to be unknown.

Rules of this file:

1. Until a connection stands nothing was sent: `Transient`. From then on everything but a whole answer is `InDoubt`.
2. Nothing is followed, repeated, decompressed or remembered: no redirects, no cookies, no kept connections (one that
   the other side has just closed would turn a call that never arrived into one in doubt), and no retries, although
   the library's habit is to send GET, PUT and DELETE again when a connection breaks.
3. Of an answer at most `most_bytes` are read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import msgspec
from yarl import URL

from adapters.addresses import ForbiddenAddressError, PublicResolver
from adapters.answers import Senseless, parse, secrets_in
from adapters.credentials import Credential
from ledger import bounds
from ledger.errors import InDoubt, Transient
from ledger.intents import JSON

_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "intentledger"}

Take = Callable[[aiohttp.ClientResponse], Awaitable[bytes | None]]
"""Read the body of an answer; None where it is longer than is read."""


class Answer(msgspec.Struct, frozen=True):
    """A whole answer. Without `data` its body had no meaning, and `fault` says why."""

    status: int
    data: JSON | None
    fault: str | None = None


class Received(msgspec.Struct, frozen=True):
    """What came back, unread. `body` is None where it was longer than is read."""

    status: int
    headers: Mapping[str, str]
    content_type: str
    body: bytes | None


class HttpClient:
    """Sends requests to one system, under credentials that are read anew for each request."""

    def __init__(
        self,
        *,
        connections: int,
        seconds: float,
        allow_private: bool,
        headers: Mapping[str, str],
        credentials: Mapping[str, Credential] | None = None,
        most_bytes: int = bounds.ANSWER_BYTES,
    ) -> None:
        """Bound every exchange by `seconds` in all, from resolving the name to the last byte of the answer.

        `credentials`: by header. What is in one never leaves an answer that `send` reads.
        """
        self._connections = connections
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._allow_private = allow_private
        self._headers = {**headers, **_HEADERS}
        self._credentials = credentials or {}
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the session; it connects to nothing yet."""
        resolver = aiohttp.ThreadedResolver() if self._allow_private else PublicResolver()
        connector = aiohttp.TCPConnector(
            resolver=resolver, use_dns_cache=False, force_close=True, limit=self._connections
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(),  # one clock, below
            trace_configs=[_tracing()],
            middlewares=(_once,),
        )

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def send(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Exchange one request for one answer in JSON. Raises like `receive`."""
        shown = {header: _fit_for_a_header(header, reveal()) for header, reveal in self._credentials.items()}
        more = {"Content-Type": "application/json"} if body is not None else {}
        received = await self.receive(method, url, body, {**headers, **shown, **more})
        return self._read(received, secrets_in((*self._headers.values(), *shown.values())))

    async def receive(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], take: Take | None = None
    ) -> Received:
        """Exchange one request for whatever comes back. Raises `Transient` (nothing sent) or `InDoubt` (no answer).

        `take` reads the body of the answer instead of us, as far as it wants.
        """
        if self._session is None:
            raise Transient("The adapter is closed; nothing was sent.")
        progress = SimpleNamespace(connected=False)
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._session.request(
                    method,
                    URL(url, encoded=True),
                    data=body,
                    headers={**self._headers, **headers},
                    allow_redirects=False,
                    trace_request_ctx=progress,
                ) as response,
            ):
                taken = await (take or self._body)(response)
                return Received(response.status, response.headers, response.content_type, taken)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a TimeoutError is an OSError
            if progress.connected:
                reason = f"The request was sent and no answer came: {_reason(error, self._seconds)}."
                raise InDoubt(reason, silent=True) from error
            reason = f"No connection: {_reason(error, self._seconds)}; nothing was sent."
            raise Transient(reason, silent=True) from error

    async def _body(self, response: aiohttp.ClientResponse) -> bytes | None:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._most_bytes:
                response.close()
                return None
        return bytes(body)

    def _read(self, received: Received, secrets: Sequence[bytes]) -> Answer:
        status, body, kind = received.status, received.body, received.content_type
        if body is None:
            return Answer(status, None, f"it is longer than {self._most_bytes} bytes")
        if received.headers.get("Content-Encoding", "identity").lower() != "identity":
            return Answer(status, None, "it is compressed, which was not asked for")
        if body and kind != "application/json" and not kind.endswith("+json"):
            return Answer(status, None, "its Content-Type is not JSON")
        try:
            return Answer(status, parse(body, secrets))
        except Senseless as error:
            return Answer(status, None, str(error))


def _fit_for_a_header(header: str, credential: str) -> str:
    if not credential.isascii() or not credential.isprintable():
        raise Transient(f"The credential {header} has a character that cannot stand in a header; nothing was sent.")
    return credential


class BrokenConnectionError(aiohttp.ClientError):
    """The connection broke; a name that the library does not take for an invitation to send again."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise BrokenConnectionError from error


def _tracing() -> aiohttp.TraceConfig:
    async def connected(_: Any, context: SimpleNamespace, __: Any) -> None:
        context.trace_request_ctx.connected = True

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(connected)
    tracing.on_connection_reuseconn.append(connected)
    return tracing


def _reason(error: BaseException, seconds: float) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ForbiddenAddressError):
            return str(cause)
        cause = getattr(cause, "os_error", None) or cause.__cause__
    if isinstance(error, TimeoutError):
        return f"{seconds:g} seconds passed"
    return type(error.__cause__ if isinstance(error, BrokenConnectionError) else error).__name__

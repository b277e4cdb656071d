"""Streamable HTTP: a conversation of its own for each call, so that there is nothing to lose between two of them.

A session that the server forgot while we kept it would turn a call that never arrived into one in doubt, as a kept
connection would. So every call greets, looks and says goodbye; without a handshake it only looks.

What comes back for a request, beside a reply:

    | answer | |
    |---|---|
    | no connection; 401 407 421 425 429 | it never arrived |
    | anything else: another status, a stream that ends early, more than MCP_MESSAGE_BYTES | in doubt |

The reply may come as a stream of events, and the server may ask us something on it: that is refused, on a request of
its own, and the stream is read on. A stream that breaks is not taken up again: what became of the call is asked of the
system, not of the stream.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import aiohttp

from adapters.answers import AWAY, Senseless, secrets_in
from adapters.credentials import Credential
from adapters.http_client import HttpClient, Received
from adapters.mcp.conversation import STATELESS, Conversation
from adapters.mcp.messages import Question, Reply, Request, answer, notification, one_line, read
from ledger.bounds import MCP_MESSAGE_BYTES
from ledger.errors import AdapterError, InDoubt, Transient

_NOT_NOW: Final = frozenset({401, 407, 421, 425, 429})
_GOODBYE_SECONDS: Final = 1.0  # the answer is known by then; the server forgets the session by itself too
_EVENTS: Final = "text/event-stream"


class HttpServer:
    """An MCP server behind an address."""

    def __init__(
        self,
        url: str,
        protocol: str,
        credentials: Mapping[str, Credential],
        *,
        seconds: float,
        connections: int,
        allow_private: bool,
    ) -> None:
        """Connect to nothing yet; credentials go into headers, as they are at each call."""
        self._url = url
        self._protocol = protocol
        self._credentials = credentials
        self._client = HttpClient(
            connections=connections,
            seconds=seconds,
            allow_private=allow_private,
            headers={},
            most_bytes=MCP_MESSAGE_BYTES,
        )

    async def open(self) -> None:
        """Make the client; the server may be down."""
        await self._client.open()

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()

    @asynccontextmanager
    async def conversation(self) -> AsyncIterator[Conversation]:
        """Begin a conversation, and end it. Raises `Transient` if there can be none now."""
        wire = _Wire(self._client, self._url, {name: reveal() for name, reveal in self._credentials.items()})
        talk = Conversation(wire, self._protocol)
        try:
            await talk.greet()
            yield talk
        finally:
            await wire.goodbye()


class _Wire:
    """The requests of one conversation."""

    def __init__(self, client: HttpClient, url: str, credentials: Mapping[str, str]) -> None:
        self._client = client
        self._url = url
        self._secrets = secrets_in(credentials.values())
        self._headers = {
            **credentials,
            "Accept": f"application/json, {_EVENTS}",
            "Content-Type": "application/json",
        }

    async def ask(self, request: Request) -> Reply:
        headers = dict(self._headers)
        if headers.get("MCP-Protocol-Version") == STATELESS:
            headers["Mcp-Method"] = request.method
            if isinstance(name := request.params.get("name"), str):
                headers["Mcp-Name"] = name
        received = await self._post(request.encoded(), headers, request)
        if request.method == "initialize" and (session := received.headers.get("Mcp-Session-Id")):
            self._headers["Mcp-Session-Id"] = session
        return self._reply(request, received)

    async def tell(self, method: str) -> None:
        received = await self._post(notification(method), self._headers)
        if not 200 <= received.status <= 299:
            raise InDoubt(f"The server answered {received.status}.", silent=received.status in AWAY)

    def agreed(self, version: str) -> None:
        self._headers["MCP-Protocol-Version"] = version

    async def goodbye(self) -> None:
        """End the session, if there is one and it can be told; the answer changes nothing."""
        if "Mcp-Session-Id" in self._headers:
            with suppress(AdapterError, TimeoutError):
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await self._client.receive("DELETE", self._url, None, self._headers)

    async def _post(self, body: bytes, headers: Mapping[str, str], request: Request | None = None) -> Received:
        take = partial(self._take, request.number) if request is not None else None
        return await self._client.receive("POST", self._url, body, headers, take)

    async def _take(self, number: int, response: aiohttp.ClientResponse) -> bytes | None:
        """Read the reply to a request: the whole body, or that one event of a stream."""
        body = bytearray()
        streamed = response.content_type == _EVENTS
        async for line in _lines(response):
            body += line
            if len(body) > MCP_MESSAGE_BYTES:
                response.close()
                return None
            if streamed and not line.strip(b"\r\n"):
                event, body = _event(bytes(body)), bytearray()
                if event and await self._is_reply(number, event):
                    return event
        return b"" if streamed else bytes(body)

    async def _is_reply(self, number: int, event: bytes) -> bool:
        with suppress(Senseless):
            match read(event, self._secrets):
                case Reply() as reply:
                    return reply.number == number
                case Question() as question:
                    with suppress(AdapterError):
                        await self._post(answer(question), self._headers)
        return False

    def _reply(self, request: Request, received: Received) -> Reply:
        status = received.status
        if status in _NOT_NOW:
            raise Transient(f"The MCP server answered {status}; nothing was called.")
        if received.body is None:
            raise InDoubt(f"The MCP server's answer is longer than {MCP_MESSAGE_BYTES} bytes.")
        if received.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise InDoubt(f"The MCP server answered {status}, compressed, which was not asked for.")
        try:
            message = read(received.body, self._secrets)
        except Senseless as error:
            sentence = f"The MCP server answered {status}, and the answer has no meaning: {error}."
            raise InDoubt(sentence, silent=status in AWAY) from None
        if not isinstance(message, Reply) or message.number != request.number:
            sentence = f"The MCP server answered {status}, and nothing to the request."
            raise InDoubt(sentence, silent=status in AWAY)
        if not 200 <= status <= 299 and message.result is not None:
            raise InDoubt(f"The MCP server answered {status} with a result: {one_line(message.result)}.")
        return message


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the body as lines with their ends; a line without an end comes in pieces."""
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line + b"\n"
        if len(rest) > MCP_MESSAGE_BYTES:
            break
    if rest:
        yield rest


def _event(block: bytes) -> bytes:
    """Return the data of one event (HTML standard, server-sent events); a lone carriage return ends no line here."""
    data = [line[5:].removeprefix(b" ") for line in block.splitlines() if line.startswith(b"data:")]
    return b"\n".join(data)

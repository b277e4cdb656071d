"""A conversation with an MCP server: the greeting, what tools there are, and the call of one, over any wire.

Two generations of the protocol are spoken, and the operator says which. With a handshake (up to 2025-11-25) a
conversation begins with `initialize`; without one (2026-07-28) every request carries who we are. Neither declares any
ability of ours: nothing for a server to ask us for.

Only `call` may have an effect. Whatever goes wrong before it is `Transient`, whatever goes wrong in it is what the wire
says: `Transient` if it never left, else `InDoubt`.
"""

import itertools
from collections.abc import Mapping
from typing import Any, Final, Protocol

from adapters.mcp.messages import Reply, Request, one_line
from ledger.errors import InDoubt, Transient
from ledger.intents import JSON

HANDSHAKE: Final = "2025-11-25"
STATELESS: Final = "2026-07-28"
_SPOKEN: Final = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", HANDSHAKE})  # for a tool call they are the same
_WHO: Final[JSON] = {"name": "intentledger", "version": "1"}
OWN_META: Final = "io.modelcontextprotocol/"
_PAGES: Final = 20  # of a list of tools; a server with more has no end


class Wire(Protocol):
    """One way to a server. It may be used for several requests at the same time."""

    async def ask(self, request: Request) -> Reply:
        """Send a request, and return its reply. Raises `Transient` (it never left) or `InDoubt` (no reply)."""

    async def tell(self, method: str) -> None:
        """Send a notification. Raises like `ask`."""

    def agreed(self, version: str) -> None:
        """Take note of the version of the protocol that is spoken from now on."""


class Conversation:
    """What is said over one wire."""

    def __init__(self, wire: Wire, protocol: str) -> None:
        """Speak this generation of the protocol. Says nothing yet."""
        self._wire = wire
        self._protocol = protocol
        self._numbers = itertools.count(1)

    async def greet(self) -> None:
        """Introduce ourselves, where the protocol wants it; raises `Transient`."""
        if self._protocol == STATELESS:
            self._wire.agreed(STATELESS)
            return
        hello = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": _WHO}
        version = (await self._look("initialize", hello)).get("protocolVersion")
        if version not in _SPOKEN:
            raise Transient(f"The MCP server speaks protocol {one_line(version)}, which we do not. Nothing was called.")
        self._wire.agreed(version)
        try:
            await self._wire.tell("notifications/initialized")
        except InDoubt as error:
            raise Transient(f"The MCP server could not be greeted: {error.message}", silent=error.silent) from error

    async def tools(self) -> Mapping[str, JSON]:
        """Return the definitions of all tools as they are now, by name; raises `Transient`.

        A name that is there twice names nothing: it is left out.
        """
        found: dict[str, JSON] = {}
        twice: set[str] = set()
        cursor: Any = None
        for _ in range(_PAGES):
            page = await self._look("tools/list", {} if cursor is None else {"cursor": cursor})
            listed = page.get("tools")
            if not isinstance(listed, list):
                raise Transient("The MCP server's list of tools makes no sense. Nothing was called.")
            for tool in listed:
                if isinstance(tool, dict) and isinstance(name := tool.get("name"), str):
                    twice |= {name} & found.keys()
                    found[name] = tool
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str):
                return {name: tool for name, tool in found.items() if name not in twice}
        raise Transient(f"The MCP server's list of tools has no end after {_PAGES} pages. Nothing was called.")

    async def call(self, tool: str, arguments: JSON, meta: JSON) -> Reply:
        """Call a tool. Raises `Transient` (it was not called) or `InDoubt` (it may have been)."""
        params: JSON = {"name": tool, "arguments": arguments}
        return await self._wire.ask(self._request("tools/call", params, meta))

    async def _look(self, method: str, params: JSON) -> JSON:
        try:
            reply = await self._wire.ask(self._request(method, params, {}))
        except InDoubt as error:
            sentence = f"The MCP server did not answer {method}: {error.message} Nothing was called."
            raise Transient(sentence, silent=error.silent) from error
        if reply.result is None:
            raise Transient(f"The MCP server refused {method} ({reply.code}): {reply.words}. Nothing was called.")
        return reply.result

    def _request(self, method: str, params: JSON, meta: JSON) -> Request:
        if self._protocol == STATELESS:
            meta = meta | {
                f"{OWN_META}protocolVersion": STATELESS,
                f"{OWN_META}clientInfo": _WHO,
                f"{OWN_META}clientCapabilities": {},
            }
        return Request(next(self._numbers), method, {**params, **({"_meta": meta} if meta else {})})

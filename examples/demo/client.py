"""A client of the service as anybody could write one: plain HTTP, nothing of the product inside.

It asks again where asking again is safe (every GET, and every POST with the same Idempotency-Key), so that a service
that is being restarted is an inconvenience and not an error.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final, Self

import aiohttp

Document = dict[str, Any]
TERMINAL: Final = frozenset({"committed", "aborted", "compensated", "mixed", "denied", "simulated"})
_PAUSE_SECONDS: Final = 0.1
_REQUEST_SECONDS: Final = 40.0


class NotAnsweredError(Exception):
    """What was waited for did not come true in time."""


class Client:
    """Speaks to one door with one token; `url` may be changed when another door is to be used."""

    def __init__(self, url: str, token: str, seconds: float = _REQUEST_SECONDS) -> None:
        """Connect when first asked; wait `seconds` for each answer."""
        self.url = url
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"}, timeout=aiohttp.ClientTimeout(seconds)
        )

    async def __aenter__(self) -> Self:
        """Use it as a context; it closes its connections."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def ask(self, method: str, path: str, body: Document | None = None, **headers: str) -> tuple[int, Document]:
        """Make one request; (0, {}) where no answer came."""
        try:
            async with self._session.request(method, self.url + path, json=body, headers=headers) as response:
                return response.status, await response.json(content_type=None) or {}
        except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError):
            return 0, {}

    async def get(self, path: str, seconds: float = _REQUEST_SECONDS) -> Document:
        """Read until the service answers; raises `NotAnsweredError`."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            status, document = await self.ask("GET", path)
            if status == 200:
                return document
            if asyncio.get_running_loop().time() > deadline or 400 <= status < 500:
                raise NotAnsweredError(f"GET {path} was answered by {status}: {document.get('detail', document)}")
            await asyncio.sleep(_PAUSE_SECONDS)

    async def submit(self, key: str, body: Document, *, wait: int = 0) -> tuple[int, Document]:
        """Submit an intent once, under an idempotency key."""
        headers = {"Idempotency-Key": f'"{key}"'} | ({"Prefer": f"wait={wait}"} if wait else {})
        return await self.ask("POST", "/v1/intents", body, **headers)

    async def intent(self, intent: str) -> Document:
        """Return an intent."""
        return await self.get(f"/v1/intents/{intent}")

    async def until(self, intent: str, seconds: float, done: Callable[[Document], bool] | None = None) -> Document:
        """Wait until an intent has ended, or until `done` says so of it; raises `NotAnsweredError`."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            shown = await self.intent(intent)
            if done(shown) if done else shown["phase"] in TERMINAL:
                return shown
            if asyncio.get_running_loop().time() > deadline:
                raise NotAnsweredError(f"After {seconds:.0f} seconds intent {intent} is {shown['phase']}.")
            await asyncio.sleep(_PAUSE_SECONDS)

    async def events(self, after: int = 0) -> list[Document]:
        """Return every event of the ledger after a position, a page at a time."""
        found: list[Document] = []
        while True:
            page = await self.get(f"/v1/events?after={after}&limit=500")
            found.extend(page["items"])
            if page["next"] is None:
                return found
            after = page["next"]

    async def intents(self) -> dict[str, Document]:
        """Return every intent by its id, a page at a time."""
        found: dict[str, Document] = {}
        path = "/v1/intents?limit=500"
        while True:
            page = await self.get(path)
            found |= {one["id"]: one for one in page["items"]}
            if page["next"] is None:
                return found
            path = f"/v1/intents?limit=500&after={page['next']}"

"""A person's way to the service: its HTTP API, with a token from a file, and refusals turned back into sentences.

Rules of this file:

1. The token is read from a file that only its owner can read, and goes to one address, which must be https or this
   machine: no redirects, no proxies of the environment.
2. What the service answers may carry words of an agent. Sentences are made visible before they are raised.
3. An answer that did not come is not a refusal: whether something was done is said to be unknown.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from gateway.answer_bytes import whole
from gateway.data_directory import token_file
from gateway.settings import Settings
from gateway.webhook_receiver import is_loopback
from ledger.bounds import CLIENT_ANSWER_BYTES, CLIENT_SECONDS, PAGE_LIMIT_MAX
from ledger.errors import LedgerError, Misconfigured, Rejected, Unavailable
from ledger.visible_text import visible

_TOKEN_FILE_BYTES: Final = 512
_ANYWHERE: Final[Mapping[str, str]] = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 it is where we call, not listen


class Client:
    """One person's session with the service."""

    def __init__(self, settings: Settings, seconds: float = CLIENT_SECONDS) -> None:
        """Read the token. Raises `Misconfigured` with a sentence that never shows it."""
        self._url = address(settings)
        self._file = settings.token_file or token_file(settings.data, settings.ledger)
        self._token = read_token(self._file)
        self._seconds = seconds
        self._parts = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Make the session; it connects to nothing yet."""
        self._session = await self._parts.enter_async_context(
            aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {self._token}", "User-Agent": "intentledger"},
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(),  # one clock, below
                auto_decompress=False,
                trust_env=False,
            )
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        await self._parts.aclose()

    async def get(self, path: str, /, **query: str | int) -> bytes:
        """Return what is at a path. Raises `Rejected`, `Unavailable`, `Misconfigured` for a dead token."""
        return await self._ask("GET", path, params=query)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Ask for something to be done; return the JSON answer. Raises as `get` does."""
        return decoded(await self._ask("POST", path, json=body))

    async def pages(self, path: str) -> list[Any]:
        """Return the items of all pages of a list. Raises as `get` does."""
        items: list[Any] = []
        after: dict[str, str] = {}
        while True:
            page = decoded(await self.get(path, limit=PAGE_LIMIT_MAX, **after))
            items += page["items"]
            if page["next"] is None or not page["items"]:
                return items
            after = {"after": str(page["next"])}

    async def _ask(self, method: str, path: str, **how: Any) -> bytes:
        if self._session is None:
            raise Unavailable("The session with the service is closed. Nothing was done.")
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._session.request(method, self._url + path, allow_redirects=False, **how) as response,
            ):
                body = await whole(response, CLIENT_ANSWER_BYTES)
                status = response.status
        except aiohttp.ClientConnectorError as error:
            reason = error.os_error.strerror or type(error.os_error).__name__
            raise Unavailable(
                f"The service does not answer at {self._url}: {reason}. Nothing was done; start it, or name another "
                "with --url or INTENTLEDGER_URL."
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a TimeoutError is an OSError
            done = (
                "Nothing was changed."
                if method == "GET"
                else "Whether it was done is not known; look before you repeat it."
            )
            raise Unavailable(f"No whole answer came from {self._url} ({type(error).__name__}). {done}") from error
        if 200 <= status < 300:
            return body
        raise self._refusal(status, body)

    def _refusal(self, status: int, body: bytes) -> LedgerError:
        """Turn a problem (RFC 9457) into the error that it was, as far as a person's command must know."""
        try:
            problem = msgspec.json.decode(body, type=_Problem)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Unavailable(f"What answers at {self._url} is no Intent Ledger (status {status}). Nothing is known.")
        detail = visible(problem.detail)
        if status == 401:
            return Misconfigured(f"{detail} It lies in {self._file}; name another with --token-file.")
        extras: dict[str, Any] = {"errors": [_visible_fault(one) for one in problem.errors]} if problem.errors else {}
        if problem.intent is not None:
            extras["intent"] = visible(problem.intent)
        return (Unavailable if status >= 500 or status == 429 else Rejected)(detail, **extras)


class _Problem(msgspec.Struct, frozen=True):
    detail: str
    errors: list[dict[str, Any]] = []
    intent: str | None = None


def decoded(body: bytes) -> Any:
    """Return the value of a JSON answer. Raises `Unavailable`."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unavailable("The service answered with what is not JSON. What was done is not known.") from error


def part(name: str) -> str:
    """Write an id as one part of a path, whatever is in it."""
    return quote(name, safe="")


def address(settings: Settings) -> str:
    """Return where the service is reached. Raises `Misconfigured` where a token should not go."""
    if settings.url is None and settings.port == 0:
        raise Misconfigured("INTENTLEDGER_PORT=0 names no address. Nothing was done; name the service with --url.")
    host = _ANYWHERE.get(settings.host, settings.host)
    url = settings.url or f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise Misconfigured(
            f"{url} would show your token to whoever is in between. Nothing was sent; use https, or this machine."
        )
    return url.rstrip("/")


def read_token(file: Path) -> str:
    """Read a token from a file that nobody else may read. Raises `Misconfigured`."""
    try:
        with file.open() as opened:
            if file.stat().st_mode & 0o077:
                raise Misconfigured(
                    f"Others may read the token in {file}. Nothing was sent; if nobody has, forbid it with: "
                    f"chmod 600 {file}"
                )
            token = opened.read(_TOKEN_FILE_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise Misconfigured(
            f"The token in {file} cannot be read: {reason}. Nothing was sent; name another file with --token-file or "
            "INTENTLEDGER_TOKEN_FILE."
        ) from None
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        raise Misconfigured(f"{file} holds no token. Nothing was sent; name another file with --token-file.")
    return token


def _visible_fault(fault: Mapping[str, Any]) -> dict[str, Any]:
    return {name: visible(value) if isinstance(value, str) else value for name, value in fault.items()}

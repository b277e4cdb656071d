"""One connection to NATS, and one stream of JetStream behind it: single requests, and exactly what their ends mean.

    | what happens | reading | publishing |
    |---|---|---|
    | no connection, refused credentials, nobody answers to the subject (503) | Transient | Transient |
    | the stream says that it has no room, or the server that it has no resources | Transient | Transient |
    | the stream says that it is another one than expected, or the message too long | - | Permanent |
    | any other error, no answer in time, the connection breaks, an answer that makes no sense | Transient | InDoubt |

Nothing is repeated or kept for later here: the library does not reconnect, so nothing that was once given to it leaves
after we have spoken. The next call makes the next connection, with credentials as they are then.
"""

import asyncio
import base64
import binascii
import math
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import nats
import nats.errors
from nats.aio.client import Client

from adapters.answers import Senseless, parse, pointed
from adapters.credentials import Credential
from adapters.messages.tables import MessagesTable
from ledger import bounds
from ledger.canonical import canonical
from ledger.errors import AdapterError, InDoubt, Permanent, Transient
from ledger.intents import JSON

_NO_ROOM: Final = frozenset({10023, 10028, 10047})  # insufficient resources, memory or storage resources exceeded
_NO_ROOM_WORDS: Final = ("maximum messages", "maximum bytes")  # 10077 is also said of a disk that fails in the middle
_NEVER: Final = frozenset({10054, 10060})  # the message is too long; another stream has the subject
_NOT_FOUND: Final = frozenset({10037, 10059})  # no message; no stream
_PING_SECONDS: Final = 10  # a dead connection is known after two of them, while calls have a time-out of their own


class Stream(msgspec.Struct, frozen=True):
    """What the server says about a stream, as far as promises depend on it."""

    subjects: tuple[str, ...]
    duplicate_window_seconds: float
    kept_by_limits: bool  # not removed because somebody has read it
    on_disk: bool
    sealed: bool
    longest_bytes: int  # of a message, its headers included
    first: int
    last: int
    whole: bool  # nothing was ever removed


class _Config(msgspec.Struct, frozen=True):
    retention: str
    storage: str
    subjects: tuple[str, ...] = ()
    duplicate_window: int = 0  # nanoseconds
    max_msg_size: int = -1
    sealed: bool = False


class _State(msgspec.Struct, frozen=True):
    first_seq: int
    last_seq: int
    num_deleted: int = 0
    subjects: dict[str, int] | None = None


class _Info(msgspec.Struct, frozen=True):
    config: _Config
    state: _State


class Kept(msgspec.Struct, frozen=True):
    """A message that a stream keeps."""

    sequence: int
    key: str | None  # its Nats-Msg-Id
    data: bytes


class Server:
    """A connection, made when it is needed."""

    def __init__(self, name: str, table: MessagesTable, token: Credential | None, password: Credential | None) -> None:
        """Remember where it is and who we are there. Connects to nothing."""
        self._name = name
        self._table = table
        self._token = token
        self._password = password
        self._client: Client | None = None
        self._lost = asyncio.Event()
        self._one = asyncio.Lock()
        self._open = False

    def open(self) -> None:
        """Allow calls."""
        self._open = True

    async def close(self) -> None:
        """Close the connection."""
        self._open = False
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def stream(self) -> Stream | None:
        """Return what the server says about the stream; None: there is none. Raises `Transient`."""
        info = await self._info({})
        if info is None:
            return None
        config, state = info.config, info.state
        return Stream(
            subjects=config.subjects,
            duplicate_window_seconds=config.duplicate_window / 1_000_000_000,
            kept_by_limits=config.retention == "limits",
            on_disk=config.storage == "file",
            sealed=config.sealed,
            longest_bytes=self._longest(config.max_msg_size),
            first=state.first_seq,
            last=state.last_seq,
            whole=state.first_seq <= 1 and not state.num_deleted,
        )

    async def count(self, subject: str) -> int:
        """Return how many messages of a subject the stream keeps. Raises `Transient`."""
        info = await self._info({"subjects_filter": subject})
        return sum((info.state.subjects or {}).values()) if info is not None else 0

    async def last(self, subject: str) -> Kept | None:
        """Return the last message of a subject that the stream keeps. Raises `Transient`."""
        return _kept(await self._ask("STREAM.MSG.GET", {"last_by_subj": subject}))

    async def next(self, subject: str, sequence: int) -> Kept | None:
        """Return the first message of a subject at or after a sequence. Raises `Transient`."""
        return _kept(await self._ask("STREAM.MSG.GET", {"seq": sequence, "next_by_subj": subject}))

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str]) -> int:
        """Publish, and return the sequence under which the stream keeps it, now or since before.

        `headers` name the message's id and the stream that is expected to keep it.
        """
        answer = await self._request(subject, data, headers)
        error = answer.get("error")
        if error is not None:
            raise _refusal(error)
        sequence = answer.get("seq")
        if answer.get("stream") != self._table.stream or not isinstance(sequence, int):
            raise InDoubt("The message was published, and the acknowledgement makes no sense.")
        return sequence

    # ── one request ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _info(self, request: JSON) -> _Info | None:
        answer = await self._ask("STREAM.INFO", request)
        try:
            return None if answer is None else msgspec.convert(answer, _Info)
        except msgspec.ValidationError as error:
            raise Transient("The server's answer about the stream makes no sense; nothing was published.") from error

    async def _ask(self, what: str, request: JSON) -> JSON | None:
        """Ask the stream's API; None: there is no such thing."""
        try:
            answer = await self._request(f"$JS.API.{what}.{self._table.stream}", canonical(request), {})
        except InDoubt as error:
            raise Transient(f"{error.message} Nothing was published.", silent=error.silent) from error
        refusal = answer.get("error")
        if refusal is None:
            return answer
        if pointed(refusal, "/err_code") in _NOT_FOUND:
            return None
        raise Transient(f"The server did not tell: {_words(refusal)}. Nothing was published.")

    async def _request(self, subject: str, data: bytes, headers: Mapping[str, str]) -> JSON:
        client = await self._connected()
        asking = asyncio.ensure_future(
            client.request(subject, data, timeout=self._table.timeout_seconds, headers=dict(headers) or None)
        )
        breaking = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait({asking, breaking}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise InDoubt("The connection broke before an answer came.", silent=True)
            return parse(asking.result().data)
        except nats.errors.NoRespondersError as error:
            raise Transient("No stream listens to this subject; nothing was published.") from error
        except nats.errors.MaxPayloadError as error:
            raise Permanent("The message is longer than the server takes; nothing was published.") from error
        except (nats.errors.Error, OSError, TimeoutError, Senseless) as error:
            silent = not isinstance(error, Senseless)
            raise InDoubt(f"No answer that makes sense came ({type(error).__name__}).", silent=silent) from error
        finally:
            asking.cancel()
            breaking.cancel()
            await asyncio.gather(asking, breaking, return_exceptions=True)

    def _longest(self, of_stream: int) -> int:
        of_server = self._client.max_payload if self._client is not None else bounds.BODY_BYTES
        return of_server if of_stream < 0 else min(of_server, of_stream)

    async def _connected(self) -> Client:
        if not self._open:
            raise Transient(f"Adapter {self._name} is closed; nothing was sent.")
        async with self._one:
            if self._client is None or not self._client.is_connected:
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> Client:
        table = self._table
        credentials: dict[str, Any] = {"token": self._token()} if self._token else {}
        if self._password is not None:
            credentials = {"user": table.username, "password": self._password()}
        if any(server.startswith("tls:") for server in table.servers):
            credentials["tls"] = ssl.create_default_context(cafile=table.ca_file)
        lost = asyncio.Event()

        async def tell() -> None:
            lost.set()

        client = Client()
        try:
            async with asyncio.timeout(table.timeout_seconds):
                await client.connect(
                    list(table.servers),
                    name=f"intentledger {self._name}",
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=math.ceil(table.timeout_seconds),
                    ping_interval=_PING_SECONDS,
                    error_cb=_heard,
                    closed_cb=tell,
                    **credentials,
                )
        except (nats.errors.Error, OSError, TimeoutError, ValueError) as error:
            with suppress(nats.errors.Error, OSError):
                await client.close()
            silent = not isinstance(error, nats.errors.AuthorizationError)
            reason = f"No connection to the server ({type(error).__name__}); nothing was sent."
            raise Transient(reason, silent=silent) from error
        self._lost = lost
        return client


def weight(headers: Mapping[str, str], data: bytes) -> int:
    """Return how many bytes a message counts with the server: its headers as they are sent, and its body."""
    return len("NATS/1.0\r\n\r\n") + sum(len(f"{name}: {value}\r\n") for name, value in headers.items()) + len(data)


async def _heard(error: Exception) -> None:
    """Let a connection's errors be told by the calls that meet them; the library would print them."""
    del error


def _refusal(error: Any) -> AdapterError:
    code, said = pointed(error, "/err_code"), _words(error)
    if code in _NO_ROOM or said.startswith(_NO_ROOM_WORDS):
        return Transient(f"The stream does not take the message now: {said}.")
    if code in _NEVER:
        return Permanent(f"The stream refuses the message: {said}.")
    return InDoubt(f"The stream answered what may mean anything: {said}.")


def _words(error: Any) -> str:
    said = pointed(error, "/description")
    return " ".join(said.split())[: bounds.ERROR_LENGTH // 2] if isinstance(said, str) else "an error without words"


def _kept(answer: JSON | None) -> Kept | None:
    if answer is None:
        return None
    try:
        message = answer["message"]
        head = base64.b64decode(message.get("hdrs", ""), validate=True).decode("latin-1")
        named = dict(line.split(":", 1) for line in head.split("\r\n") if ":" in line)
        key = named.get("Nats-Msg-Id")
        data = base64.b64decode(message.get("data", ""), validate=True)
        return Kept(int(message["seq"]), key.strip() if key else None, data)
    except (KeyError, TypeError, AttributeError, ValueError, binascii.Error) as error:
        raise Transient("The message that the server showed makes no sense; nothing was published.") from error

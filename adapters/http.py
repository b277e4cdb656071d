"""A system that is spoken to over HTTP, as configured: hold, confirm and release, or one shot under an Idempotency-Key.

What an answer means, by status. A status of the second row that an endpoint lists under `refused` joins it there.

    answer                                  prepare     commit, compensate   abort       preview     inquire
    2xx, a JSON object or nothing           Prepared    Result               done        Preview     as configured
    400 402 404 405 406 410 411 412 413     Refused     Permanent            Permanent   Permanent   as configured
      414 415 422 428 431 451
    401 403 407 421 425 429                 Transient   Transient            Transient   Transient   Unknown
    409 (the same key is in progress), 408  InDoubt     InDoubt              InDoubt     Transient   Unknown
    3xx (never followed), 5xx, any other    InDoubt     InDoubt              InDoubt     Transient   Unknown
    2xx that makes no sense                 InDoubt     InDoubt              InDoubt     Transient   Unknown
    no connection                           Transient   Transient            Transient   Transient   Transient
    a connection, but no whole answer       InDoubt     InDoubt              InDoubt     Transient   Transient

A refusal of credentials (401, 403) is no answer to the action: an operator can repair it, so it is tried again.

`Idempotency-Key` names one request: the action's key for what comes first (prepare, or the commit of a one-shot), the
undo key for compensate, and `<key>-commit` and `<key>-abort` for what follows a hold.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final

from adapters.addresses import is_address, is_public
from adapters.answers import pointed, said
from adapters.contract import (
    Absent,
    Applied,
    Call,
    Held,
    Operation,
    Prepared,
    Preview,
    Refused,
    Result,
    Standing,
    Unknown,
    Vote,
)
from adapters.http_client import Answer, HttpClient
from adapters.http_tables import Endpoint, Exchange, HttpTable, InquiryTable, exchanges
from adapters.references import Unrenderable, render_body
from ledger import bounds
from ledger.canonical import canonical
from ledger.errors import AdapterError, InDoubt, Misconfigured, Permanent, Transient
from ledger.intents import JSON, Guarantee, Verb

_NO: Final = frozenset({400, 402, 404, 405, 406, 410, 411, 412, 413, 414, 415, 422, 428, 431, 451})
_NOT_NOW: Final = frozenset({401, 403, 407, 421, 425, 429})


class Meaning(Enum):
    """What an answer means for the request that it answers."""

    YES = auto()
    NO = auto()  # certainly not, now or ever
    NOT_NOW = auto()  # certainly not, but perhaps later
    UNCLEAR = auto()


def meaning(answer: Answer, refused: frozenset[int] = frozenset()) -> Meaning:
    """Return what an answer means by its status; `refused` are further statuses that are a certain no."""
    if 200 <= answer.status <= 299:
        return Meaning.UNCLEAR if answer.data is None else Meaning.YES
    if answer.status in _NO or answer.status in refused:
        return Meaning.NO
    return Meaning.NOT_NOW if answer.status in _NOT_NOW else Meaning.UNCLEAR


class HttpAdapter:
    """One system and the operations configured for it."""

    def __init__(self, name: str, table: HttpTable, credentials: Mapping[str, str]) -> None:
        """Compile the operator's templates; raises `Misconfigured`. Connects to nothing."""
        self.name = name
        self._url = _checked(name, table, credentials)
        self._exchanges = exchanges(name, table)
        self.operations: Mapping[str, Operation] = {key: one.operation for key, one in self._exchanges.items()}
        self._client = HttpClient(
            connections=table.connections,
            seconds=table.timeout_seconds,
            allow_private=table.allow_private,
            headers={**table.headers, **credentials},
        )

    async def open(self) -> None:
        """Make the client; the system may be down."""
        await self._client.open()

    async def close(self) -> None:
        """Close the client. Holds stay: they belong to the system."""
        await self._client.close()

    async def preview(self, call: Call) -> Preview:
        """Ask the preview endpoint, and take from its answer what is configured (law 11)."""
        exchange = self._exchanges[call.operation]
        table = exchange.table.preview
        if exchange.preview is None or table is None:
            return Preview()
        try:
            answer = await self._send(exchange.preview, call, {}, None)
        except InDoubt as error:
            raise Transient(f"The preview failed and changed nothing: {error.message}") from error
        data = _wanted(answer, exchange.preview, looking=True)
        facts = {fact: pointed(data, pointer) for fact, pointer in table.facts.items()}
        missing = [fact for fact, value in facts.items() if value is None]
        if missing:
            raise Permanent(f"The preview of {call.operation} says nothing about {', '.join(missing)}.")
        before = {name: pointed(data, pointer) for name, pointer in table.before.items()}
        if len(canonical([facts, before])) > bounds.PREVIEW_BYTES:
            raise Permanent(f"The preview of {call.operation} is longer than {bounds.PREVIEW_BYTES} bytes.")
        return Preview(facts, before or None)

    async def prepare(self, call: Call) -> Vote:
        """Take the hold; for a one-shot make sure that its request can be written (laws 1 to 4)."""
        exchange = self._exchanges[call.operation]
        try:
            preview = await self.preview(call)
            if exchange.prepare is None:
                self._request(exchange.commit, call, {})
                return Prepared(None, preview)
        except (Unrenderable, Permanent) as error:
            return Refused(f"The request cannot be made: {error}.")
        answer = await self._send(exchange.prepare, call, {}, call.key)
        if meaning(answer, exchange.prepare.refused) is Meaning.NO:
            return Refused(_words(answer))
        receipt = _kept(exchange, _wanted(answer, exchange.prepare))
        try:
            self._request(exchange.commit, call, {"receipt": receipt})
        except Unrenderable as error:
            raise InDoubt(f"The hold was answered without what its commit needs: {error}.") from error
        return Prepared(receipt, preview)

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        """Confirm the hold, or do it in one shot under the key (law 5)."""
        exchange = self._exchanges[call.operation]
        key = call.key if exchange.prepare is None else f"{call.key}-commit"
        answer = await self._send(exchange.commit, call, {"receipt": receipt or {}}, key)
        return Result(_kept(exchange, _wanted(answer, exchange.commit)))

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        """Release by the key alone, whether or not there is a receipt (law 6)."""
        del receipt
        endpoint = self._exchanges[call.operation].abort
        if endpoint is not None:
            _wanted(await self._send(endpoint, call, {}, f"{call.key}-abort"), endpoint)

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        """Ask for the configured follow-up, under the compensation's own key (law 8)."""
        exchange = self._exchanges[call.operation]
        if exchange.compensate is None:
            raise Permanent(f"{call.operation} cannot be undone. Nothing was sent.")
        values = {"receipt": receipt or {}, "result": result}
        answer = await self._send(exchange.compensate, call, values, call.key)
        return Result(_kept(exchange, _wanted(answer, exchange.compensate)))

    async def inquire(self, call: Call) -> Standing:
        """Ask what became of the key, and read the answer as configured (law 9)."""
        exchange = self._exchanges[call.operation]
        undo = call.verb is Verb.COMPENSATE
        endpoint = exchange.inquire_undo if undo else exchange.inquire
        table = exchange.table.inquire_undo if undo else exchange.table.inquire
        if endpoint is None or table is None:
            return Unknown("This system offers no way to ask.")
        try:
            answer = await self._send(endpoint, call, {}, None)
        except InDoubt as error:
            raise Transient(f"The inquiry failed and changed nothing: {error.message}") from error
        return _standing(exchange, table, answer)

    # ── one request ──────────────────────────────────────────────────────────────────────────────────────────────

    def _request(self, endpoint: Endpoint, call: Call, more: JSON) -> tuple[str, bytes | None]:
        """Write the address and the body; raises `Unrenderable`."""
        values: dict[str, Any] = {**call.params, "params": call.params, "key": call.key, **more}
        body = None if endpoint.body is None else canonical(render_body(endpoint.body, values))
        return self._url + endpoint.path(values), body

    async def _send(self, endpoint: Endpoint, call: Call, more: JSON, key: str | None) -> Answer:
        try:
            url, body = self._request(endpoint, call, more)
        except Unrenderable as error:
            raise Permanent(f"The request cannot be made: {error}. Nothing was sent.") from error
        headers = {"Idempotency-Key": key} if key else {}
        if call.traceparent:
            headers["traceparent"] = call.traceparent
        return await self._client.send(endpoint.method, url, body, headers)


def _wanted(answer: Answer, endpoint: Endpoint, *, looking: bool = False) -> JSON:
    """Return the data of a yes; raise what any other answer means. `looking`: the request had no effect to doubt."""
    error: type[AdapterError]
    match meaning(answer, endpoint.refused):
        case Meaning.YES if answer.data is not None:
            return answer.data
        case Meaning.NO:
            error = Permanent
        case Meaning.NOT_NOW:
            error = Transient
        case _:
            error = Transient if looking else InDoubt
    raise error(_words(answer))


def _standing(exchange: Exchange, table: InquiryTable, answer: Answer) -> Standing:
    state = pointed(answer.data, table.state) if table.state and 200 <= answer.status <= 299 else None

    def among(wanted: tuple[int | str, ...]) -> bool:
        return answer.status in wanted or (isinstance(state, str) and state in wanted)

    if answer.data is None:
        return Unknown(_words(answer))
    if among(table.applied):
        return Applied(Result(_kept(exchange, answer.data)))
    if among(table.held) and exchange.operation.guarantee is Guarantee.ATOMIC:
        return Held(_kept(exchange, answer.data))
    return Absent() if among(table.absent) else Unknown(_words(answer))


def _kept(exchange: Exchange, data: JSON) -> JSON:
    return {name: value for name, value in data.items() if name not in exchange.operation.secret_fields}


def _words(answer: Answer) -> str:
    sentence = said(answer.data) if answer.data else None
    if answer.fault is not None:
        return f"The system answered {answer.status}, but the answer has no meaning: {answer.fault}."
    return f"The system answered {answer.status}" + (f": {sentence.removesuffix('.')}." if sentence else ".")


def _checked(name: str, table: HttpTable, credentials: Mapping[str, str]) -> str:
    host = table.url.split("//", 1)[1].split("/", 1)[0].rpartition("@")[2]
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if is_address(host) and not table.allow_private and not is_public(host):
        raise Misconfigured(
            f"[adapters.{name}]: {host} is not a public address; set allow_private = true if it is meant."
        )
    for header, value in credentials.items():
        if not value.isascii() or not value.isprintable():
            raise Misconfigured(
                f"[adapters.{name}]: the credential {header} has a character that cannot stand in a header."
            )
    return table.url.rstrip("/")

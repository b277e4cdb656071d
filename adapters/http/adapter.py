"""A system that is spoken to over HTTP, as configured: hold, confirm and release, or one shot under an Idempotency-Key.

What an answer means (`docs/adapters.md` has the same table, and says it to operators):

    | answer | preview, prepare | commit, compensate | abort |
    |---|---|---|---|
    | 2xx with a JSON object, or nothing | yes | yes | yes |
    | 402 422, and what the endpoint lists under `refused` | no | no | no |
    | 400 404 405 406 410 411 412 413 414 415 428 431 451 | no | in doubt | no |
    | 403 | not now | in doubt | not now |
    | 401 407 421 425 429 | not now | not now | not now |
    | any other status (3xx, 408, 409, 5xx …), a 2xx that makes no sense | in doubt | in doubt | in doubt |
    | a connection, but no whole answer | in doubt | in doubt | in doubt |
    | no connection | not now | not now | not now |

*yes* is Prepared, Result or Preview. *no* is Refused or Permanent: certainly nothing happened, now or ever.
*not now* is Transient. *in doubt* is InDoubt, for a preview Transient, because it only looks.

To a request that has an effect, a proxy in front of the system may answer as well as the system itself: while it is
being deployed, a 404 says nothing about a charge that stands. So only what the operator lists is a no there, beside two
statuses that no proxy gives. A refusal of credentials (401) is no answer to the action: it is tried again.

An inquiry is read as configured; what is listed nowhere is Unknown, and no answer is Transient. Where no connection or
no whole answer came, or a proxy said so (502 503 504), the error is `silent`: the system was not heard.

`Idempotency-Key` names one request: the action's key for what comes first (prepare, or the commit of a one-shot), the
undo key for compensate, and `<key>-commit` and `<key>-abort` for what follows a hold. `Intent-Epoch` goes with it: a
system that keeps a fence (`fence/`) refuses a hold to a process that was overtaken, which has a smaller one.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final

from adapters.addresses import private_address
from adapters.answers import AWAY, pointed, previewed, said
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
from adapters.credentials import Credential, Reveal
from adapters.http.tables import Endpoint, Exchange, HttpTable, InquiryTable, exchanges, looks
from adapters.http_client import Answer, HttpClient
from adapters.kinds import Kind
from adapters.references import Unrenderable, render_body
from ledger.canonical import canonical
from ledger.errors import AdapterError, InDoubt, Misconfigured, Permanent, Transient
from ledger.intents import JSON, Guarantee, Verb

_NO: Final = frozenset({402, 422})
_NO_BEFORE_EFFECTS: Final = frozenset({400, 404, 405, 406, 410, 411, 412, 413, 414, 415, 428, 431, 451})
_NOT_NOW: Final = frozenset({401, 407, 421, 425, 429})
_NOT_NOW_BEFORE_EFFECTS: Final = frozenset({403})
_HAVE_EFFECTS: Final = frozenset({Verb.COMMIT, Verb.COMPENSATE})


class Meaning(Enum):
    """What an answer means for the request that it answers."""

    YES = auto()
    NO = auto()  # certainly not, now or ever
    NOT_NOW = auto()  # certainly not, but perhaps later
    UNCLEAR = auto()


def meaning(verb: Verb, answer: Answer, refused: frozenset[int] = frozenset()) -> Meaning:
    """Return what an answer to a verb means by its status; `refused` are further statuses that are a certain no."""
    if 200 <= answer.status <= 299:
        return Meaning.UNCLEAR if answer.data is None else Meaning.YES
    harmless = verb not in _HAVE_EFFECTS
    if answer.status in _NO | refused or (harmless and answer.status in _NO_BEFORE_EFFECTS):
        return Meaning.NO
    if answer.status in _NOT_NOW or (harmless and answer.status in _NOT_NOW_BEFORE_EFFECTS):
        return Meaning.NOT_NOW
    return Meaning.UNCLEAR


class HttpAdapter:
    """One system and the operations configured for it."""

    def __init__(self, name: str, table: HttpTable, credentials: Mapping[str, Credential]) -> None:
        """Compile the operator's templates; raises `Misconfigured`. Connects to nothing. `credentials`: by header."""
        self.name = name
        self._url = _checked(name, table, credentials)
        self._exchanges = exchanges(name, table)
        reads = looks(name, table)
        self._looks = {key: one.look for key, one in self._exchanges.items() if one.look} | reads
        self.operations: Mapping[str, Operation] = {
            key: one.operation for offered in (self._exchanges, reads) for key, one in offered.items()
        }
        self._client = HttpClient(
            connections=table.connections,
            seconds=table.timeout_seconds,
            allow_private=table.allow_private,
            headers=table.headers,
            credentials=credentials,
        )

    async def open(self) -> None:
        """Make the client; the system may be down."""
        await self._client.open()

    async def close(self) -> None:
        """Close the client. Holds stay: they belong to the system."""
        await self._client.close()

    async def preview(self, call: Call) -> Preview:
        """Ask the preview endpoint, and take from its answer what is configured (law 11)."""
        look = self._looks.get(call.operation)
        if look is None:
            return Preview()
        try:
            answer = await self._send(look.endpoint, call, {}, None)
        except InDoubt as error:
            raise Transient(f"The preview failed and changed nothing: {error.message}", silent=error.silent) from error
        data = _wanted(Verb.PREVIEW, answer, look.endpoint)
        return previewed(look.operation, data, look.table.facts, look.table.before)

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
        if meaning(Verb.PREPARE, answer, exchange.prepare.refused) is Meaning.NO:
            return Refused(_words(answer))
        receipt = _kept(exchange, _wanted(Verb.PREPARE, answer, exchange.prepare))
        try:
            self._request(exchange.commit, call, {"receipt": receipt})
        except Unrenderable as error:
            raise InDoubt(f"The hold was answered without what its commit needs: {error}.") from error
        return Prepared(receipt, await self._seen_while_held(call, preview))

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        """Confirm the hold, or do it in one shot under the key (law 5)."""
        exchange = self._exchanges[call.operation]
        key = call.key if exchange.prepare is None else f"{call.key}-commit"
        answer = await self._send(exchange.commit, call, {"receipt": receipt or {}}, key)
        return Result(_kept(exchange, _wanted(Verb.COMMIT, answer, exchange.commit)))

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        """Release by the key alone, whether or not there is a receipt (law 6)."""
        del receipt
        endpoint = self._exchanges[call.operation].abort
        if endpoint is not None:
            answer = await self._send(endpoint, call, {}, f"{call.key}-abort")
            _wanted(Verb.ABORT, answer, endpoint)

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        """Ask for the configured follow-up, under the compensation's own key (law 8)."""
        exchange = self._exchanges[call.operation]
        if exchange.compensate is None:
            raise Permanent(f"{call.operation} cannot be undone. Nothing was sent.")
        values = {"receipt": receipt or {}, "result": result}
        answer = await self._send(exchange.compensate, call, values, call.key)
        return Result(_kept(exchange, _wanted(Verb.COMPENSATE, answer, exchange.compensate)))

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
            raise Transient(f"The inquiry failed and changed nothing: {error.message}", silent=error.silent) from error
        return _standing(exchange, table, answer)

    async def _seen_while_held(self, call: Call, before: Preview) -> Preview:
        """Return what people saw before the hold, with the facts as they are now that it stands (law 11)."""
        if not before.facts:
            return before
        try:
            facts = (await self.preview(call)).facts
        except Permanent:  # the word is given: what can no longer be seen must not turn it into a no
            facts = {}
        except Transient as error:
            raise InDoubt(
                f"The hold was taken, and the facts could not be seen then: {error.message}", silent=error.silent
            ) from error
        return Preview(facts, before.before, before.after)

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
        headers = {"Idempotency-Key": key, "Intent-Epoch": str(call.epoch)} if key else {}
        if call.traceparent:
            headers["traceparent"] = call.traceparent
        return await self._client.send(endpoint.method, url, body, headers)


def _wanted(verb: Verb, answer: Answer, endpoint: Endpoint) -> JSON:
    """Return the data of a yes; raise what any other answer means."""
    error: type[AdapterError]
    match meaning(verb, answer, endpoint.refused):
        case Meaning.YES if answer.data is not None:
            return answer.data
        case Meaning.NO:
            error = Permanent
        case Meaning.NOT_NOW:
            error = Transient
        case _:
            error = Transient if verb is Verb.PREVIEW else InDoubt
    raise error(_words(answer), silent=answer.status in AWAY)


def _standing(exchange: Exchange, table: InquiryTable, answer: Answer) -> Standing:
    state = pointed(answer.data, table.state) if table.state and 200 <= answer.status <= 299 else None

    def among(wanted: tuple[int | str, ...]) -> bool:
        return answer.status in wanted or (isinstance(state, str) and state in wanted)

    if answer.status in AWAY and not among((*table.applied, *table.held, *table.absent)):
        raise Transient(_words(answer), silent=True)
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


def _checked(name: str, table: HttpTable, credentials: Mapping[str, Credential]) -> str:
    host = private_address(table.url)
    if host is not None and not table.allow_private:
        raise Misconfigured(
            f"[adapters.{name}]: {host} is not a public address; set allow_private = true if it is meant."
        )
    for header, reveal in credentials.items():
        value = reveal()
        if not value.isascii() or not value.isprintable():
            raise Misconfigured(
                f"[adapters.{name}]: the credential {header} has a character that cannot stand in a header."
            )
    return table.url.rstrip("/")


def _build(name: str, table: HttpTable, reveal: Reveal) -> HttpAdapter:
    return HttpAdapter(name, table, {header: reveal(header, secret) for header, secret in table.credentials.items()})


KIND: Final = Kind(HttpTable, _build)

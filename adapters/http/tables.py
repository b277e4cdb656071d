"""What `intentledger.toml` says about a system that is spoken to over HTTP, and what becomes of it: compiled endpoints.

    [adapters.<name>.reads.<verb>]
    method, path, body, facts, before      a request that only looks, as under preview below

    [adapters.<name>.operations.<verb>]
    guarantee         atomic: prepare, commit and abort (hold, confirm, release); otherwise commit alone, in one shot
    prepare, commit, abort, compensate     { method, path, body, refused }
    preview           { method, path, body, facts, before }: where the facts and what people see stand in the answer
    inquire, inquire_undo                  { method, path, state, applied, held, absent }
    settle_seconds    verifiable only: how long after a request has ended the system may still apply it

What a guarantee needs must be there: an `atomic` operation must be abortable by its key alone (the answer that held a
receipt may have been lost), a `verifiable` one must be askable.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

import msgspec
from pydantic import Field, PositiveInt, field_validator, model_validator

from adapters.contract import Operation
from adapters.references import Render, compile_body, compile_path, parameters
from adapters.tables import (
    SECRET_SOUNDING,
    TIMEOUT_SECONDS_DEFAULT,
    OperationTable,
    Pointer,
    ReadingTable,
    Secret,
    SettleSeconds,
    Table,
    TimeoutSeconds,
    offered_once,
)
from ledger.intents import Guarantee, Undo

Status = Annotated[int, Field(ge=100, le=599)]

_OUR_HEADERS: Final = (
    "accept accept-encoding connection content-length content-type cookie host idempotency-key "
    "intent-epoch te traceparent transfer-encoding upgrade user-agent"
)
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,64}").fullmatch


class EndpointTable(Table):
    """A request that may have an effect."""

    method: Literal["POST", "PUT", "PATCH", "DELETE"] = "POST"
    path: str
    body: Any = None
    refused: tuple[Annotated[int, Field(ge=400, le=499)], ...] = ()  # a certain no here, beside 402 and 422


class PreviewTable(Table):
    """A request that only looks, and where in its answer things stand."""

    method: Literal["GET", "POST"] = "GET"
    path: str
    body: Any = None
    facts: dict[str, Pointer] = Field(default_factory=dict)
    before: dict[str, Pointer] = Field(default_factory=dict)


class HttpReading(PreviewTable, ReadingTable):
    """`[adapters.<name>.reads.<verb>]`."""


class InquiryTable(Table):
    """A request that asks what became of a key: a number is a status, a text a value at `state`, the rest unknown."""

    method: Literal["GET", "POST"] = "GET"
    path: str
    body: Any = None
    state: Pointer | None = None
    applied: Annotated[tuple[Status | str, ...], Field(min_length=1)]
    held: tuple[Status | str, ...] = ()
    absent: tuple[Status | str, ...] = ()


class HttpOperation(OperationTable):
    """`[adapters.<name>.operations.<verb>]`."""

    guarantee: Guarantee
    hold_seconds: PositiveInt | None = None
    key_lifetime_seconds: PositiveInt | None = None
    settle_seconds: SettleSeconds | None = None
    secret_fields: tuple[str, ...] = ()
    preview: PreviewTable | None = None
    prepare: EndpointTable | None = None
    commit: EndpointTable
    abort: EndpointTable | None = None
    compensate: EndpointTable | None = None
    inquire: InquiryTable | None = None
    inquire_undo: InquiryTable | None = None

    @model_validator(mode="after")
    def _keeps_its_promise(self) -> Self:
        atomic, verifiable = self.guarantee is Guarantee.ATOMIC, self.guarantee is Guarantee.VERIFIABLE
        if (self.prepare is not None, self.abort is not None) != (atomic, atomic):
            raise ValueError("an atomic operation has prepare and abort, and no other has")
        if verifiable and self.inquire is None:
            raise ValueError("a verifiable operation has inquire")
        if (self.undo is Undo.NONE) is (self.compensate is not None):
            raise ValueError('undo = "exact" or "semantic" and compensate go together')
        if verifiable and self.compensate is not None and self.inquire_undo is None:
            raise ValueError("a verifiable operation that can be undone has inquire_undo")
        return self


class HttpTable(Table):
    """`[adapters.<name>]` with `type = "http"`."""

    type: Literal["http"]
    url: str
    credentials: dict[str, Secret] = Field(default_factory=dict)  # by header
    headers: dict[str, str] = Field(default_factory=dict)
    allow_private: bool = False
    connections: Annotated[int, Field(ge=1, le=256)] = 16
    timeout_seconds: TimeoutSeconds = TIMEOUT_SECONDS_DEFAULT
    operations: dict[str, HttpOperation] = Field(default_factory=dict)
    reads: dict[str, HttpReading] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _safe(self) -> Self:
        offered_once(self.operations, self.reads)
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("url is https://host or https://host/path, without a query")
        if parts.username is not None or parts.password is not None:
            raise ValueError("url carries no credentials; they stand under credentials, by reference")
        if parts.scheme == "http" and not self.allow_private:
            raise ValueError("url is https, unless allow_private = true says that the network between is yours")
        return self

    @field_validator("credentials", "headers")
    @classmethod
    def _free_names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not _HEADER(name) or name.lower() in _OUR_HEADERS.split():
                raise ValueError(f"{name!r} is not a header that can be set here")
        return value

    @field_validator("headers")
    @classmethod
    def _no_secrets(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if SECRET_SOUNDING(name):
                raise ValueError(f"{name} sounds like a secret; it stands under credentials, by reference")
            if not text.isprintable():
                raise ValueError(f"{name} has a character that cannot stand in a header")
        return value


class Endpoint(msgspec.Struct, frozen=True):
    """A compiled request."""

    method: str
    path: Callable[[Mapping[str, Any]], str]
    body: Render | None
    refused: frozenset[int] = frozenset()


class Look(msgspec.Struct, frozen=True):
    """An operation's compiled preview."""

    operation: Operation
    table: PreviewTable
    endpoint: Endpoint


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """An operation with its compiled requests."""

    operation: Operation
    table: HttpOperation
    commit: Endpoint
    look: Look | None = None
    prepare: Endpoint | None = None
    abort: Endpoint | None = None
    compensate: Endpoint | None = None
    inquire: Endpoint | None = None
    inquire_undo: Endpoint | None = None


def exchanges(name: str, table: HttpTable) -> dict[str, Exchange]:
    """Compile every operation of an adapter; raises `Misconfigured`, naming the place."""
    return {f"{name}.{verb}": _exchange(name, verb, operation) for verb, operation in table.operations.items()}


def looks(name: str, table: HttpTable) -> dict[str, Look]:
    """Compile what only reads; raises `Misconfigured`, naming the place."""
    return {
        f"{name}.{verb}": _look(
            f"[adapters.{name}.reads.{verb}]", one.operation(f"{name}.{verb}", tuple(one.facts)), one
        )
        for verb, one in table.reads.items()
    }


def _look(where: str, operation: Operation, table: PreviewTable) -> Look:
    params = parameters(where, operation.params)
    return Look(operation, table, _endpoint(where, table, params | {"params"}))


def _exchange(name: str, verb: str, table: HttpOperation) -> Exchange:
    where = f"[adapters.{name}.operations.{verb}]"
    known = parameters(where, table.params) | {"params", "key"}
    with_receipt = known | ({"receipt"} if table.prepare else set())

    def endpoint(key: str, known: Collection[str] = known) -> Endpoint | None:
        one: EndpointTable | InquiryTable | None = getattr(table, key)
        return None if one is None else _endpoint(f"{where} {key}", one, known)

    operation = table.operation(
        f"{name}.{verb}",
        table.guarantee,
        facts=tuple(table.preview.facts) if table.preview else (),
        hold_seconds=table.hold_seconds,
        key_lifetime_seconds=table.key_lifetime_seconds,
        settle_seconds=table.settle_seconds,
        secret_fields=table.secret_fields,
    )
    return Exchange(
        operation=operation,
        table=table,
        commit=_endpoint(f"{where} commit", table.commit, with_receipt),
        look=None if table.preview is None else _look(f"{where} preview", operation, table.preview),
        prepare=endpoint("prepare"),
        abort=endpoint("abort"),
        compensate=endpoint("compensate", with_receipt | {"result"}),
        inquire=endpoint("inquire"),
        inquire_undo=endpoint("inquire_undo"),
    )


def _endpoint(where: str, table: EndpointTable | PreviewTable | InquiryTable, known: Collection[str]) -> Endpoint:
    return Endpoint(
        method=table.method,
        path=compile_path(where, table.path, known),
        body=None if table.body is None else compile_body(where, table.body, known),
        refused=frozenset(table.refused) if isinstance(table, EndpointTable) else frozenset(),
    )

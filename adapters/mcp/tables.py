"""What `intentledger.toml` says about an MCP server, and what becomes of it: compiled calls of its tools.

    [adapters.<name>.reads.<verb>]
    tool, pin, arguments, facts, before    a tool that only looks, and where in its answer things stand

    [adapters.<name>.operations.<verb>]
    guarantee          idempotent, verifiable or blind; a tool is one shot, so it is never atomic
    commit, compensate { tool, pin, arguments, meta, result, refused }
    preview            { tool, pin, arguments, facts, before }
    inquire, inquire_undo   { tool, pin, arguments, at, where, absent, applied, result }

What a guarantee needs must be there: `idempotent` sends the key, in an argument or in `_meta`; `verifiable` sends it
too, and asks for it. What a server says of its own tools promises nothing, and is not asked.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

import msgspec
from pydantic import Field, PositiveInt, field_validator, model_validator

from adapters.addresses import private_address
from adapters.contract import Operation
from adapters.mcp.conversation import HANDSHAKE, OWN_META
from adapters.references import Render, compile_body, parameters
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
from ledger.canonical import canonical
from ledger.intents import Guarantee, Undo

Pin = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
ToolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]{1,128}$")]
Header = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
_ALL_PARAMETERS: Final = "{params}"
_OUR_HEADERS: Final = (
    "accept accept-encoding connection content-length content-type cookie host te transfer-encoding upgrade user-agent "
    "mcp-session-id mcp-protocol-version mcp-method mcp-name last-event-id"
)


class ToolTable(Table):
    """A call of a tool."""

    tool: ToolName
    pin: Pin | None = None  # of the tool's definition; without it a change goes unnoticed
    arguments: dict[str, Any] | Literal["{params}"] = _ALL_PARAMETERS
    meta: dict[str, Any] = Field(default_factory=dict)  # `_meta` of the request

    @field_validator("meta")
    @classmethod
    def _free_names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if name.startswith(OWN_META) or name == "progressToken":
                raise ValueError(f"{name} belongs to the protocol")
        return value

    def sends_the_key(self) -> bool:
        """Tell whether the key stands in what is sent."""
        return b"{key}" in canonical([self.arguments, self.meta])


class ActTable(ToolTable):
    """A call that has an effect."""

    result: dict[str, Pointer] = Field(default_factory=dict)  # what is kept of the answer; all of it if nothing is said
    refused: tuple[int | Annotated[str, Field(min_length=4)], ...] = ()  # a certain no: codes, beginnings of errors


class LookTable(ToolTable):
    """A call that only looks."""

    facts: dict[str, Pointer] = Field(default_factory=dict)
    before: dict[str, Pointer] = Field(default_factory=dict)


class McpReading(LookTable, ReadingTable):
    """`[adapters.<name>.reads.<verb>]`."""


class InquiryTable(ToolTable):
    """A search: what stands `at` a place of the answer tells whether the effect is there.

    A list: something is in it, or nothing; `where` says which of its entries count, by a value inside each. A text: the
    key is in it, or it is the text `absent`, in which `{key}` stands for the key where the tool repeats what was asked.
    Anything else tells nothing.
    """

    at: Pointer
    where: dict[Pointer, str] = Field(default_factory=dict)
    absent: str | None = None
    applied: Literal["found", "missing"] = "found"  # "missing": the effect is that it is gone
    result: dict[str, Pointer] = Field(default_factory=dict)


class McpOperation(OperationTable):
    """`[adapters.<name>.operations.<verb>]`."""

    guarantee: Guarantee
    key_lifetime_seconds: PositiveInt | None = None
    settle_seconds: SettleSeconds | None = None
    secret_fields: tuple[str, ...] = ()
    preview: LookTable | None = None
    commit: ActTable
    compensate: ActTable | None = None
    inquire: InquiryTable | None = None
    inquire_undo: InquiryTable | None = None

    @model_validator(mode="after")
    def _keeps_its_promise(self) -> Self:
        verifiable = self.guarantee is Guarantee.VERIFIABLE
        if self.guarantee is Guarantee.ATOMIC:
            raise ValueError("a tool is one shot; its guarantee is idempotent, verifiable or blind")
        if (self.undo is Undo.NONE) is (self.compensate is not None):
            raise ValueError('undo = "exact" or "semantic" and compensate go together')
        if self.guarantee is not Guarantee.BLIND and not self.commit.sends_the_key():
            raise ValueError(f"a tool that is not told the key is blind, not {self.guarantee}; put {{key}} into commit")
        if self.guarantee is Guarantee.IDEMPOTENT and self.compensate and not self.compensate.sends_the_key():
            raise ValueError("an idempotent operation is undone under a key too; put {key} into compensate")
        if verifiable and (self.inquire is None or (self.compensate and self.inquire_undo is None)):
            raise ValueError("a verifiable operation has inquire; if it can be undone, inquire_undo too")
        if verifiable and self.inquire and not _names_the_key(self.inquire):
            raise ValueError("inquire asks for the key; put {key} into its arguments or where")
        return self


class McpTable(Table):
    """`[adapters.<name>]` with `type = "mcp"`: a `command`, or a `url`."""

    type: Literal["mcp"]
    command: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] | None = None
    environment: dict[Variable, str] = Field(default_factory=dict)
    secrets: dict[Variable, Secret] = Field(default_factory=dict)  # of its environment, by variable
    directory: Path = Path("/")
    log: Path | None = None  # where what it says on standard error goes; nowhere if nothing is said
    url: str | None = None
    credentials: dict[Header, Secret] = Field(default_factory=dict)  # by header
    allow_private: bool = False
    connections: Annotated[int, Field(ge=1, le=256)] = 16
    protocol: Literal["2025-11-25", "2026-07-28"] = HANDSHAKE
    timeout_seconds: TimeoutSeconds = TIMEOUT_SECONDS_DEFAULT
    operations: dict[str, McpOperation] = Field(default_factory=dict)
    reads: dict[str, McpReading] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.operations or self.reads:  # without any, an operator can ask what there is to configure
            offered_once(self.operations, self.reads)
        if (self.command is None) is (self.url is None):
            raise ValueError("a server has a command that starts it here, or a url; one of them")
        if self.command is None and (self.environment or self.secrets or self.log):
            raise ValueError("environment, secrets and log belong to a command")
        if self.url is None and (self.credentials or self.allow_private):
            raise ValueError("credentials and allow_private belong to a url")
        return self

    @field_validator("url")
    @classmethod
    def _plain_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("url is https://host/path, without a query")
        if parts.username is not None or parts.password is not None:
            raise ValueError("url carries no credentials; they stand under credentials, by reference")
        return value

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if self.url is None or self.allow_private:
            return self
        if self.url.startswith("http:") or private_address(self.url) is not None:
            raise ValueError("url is https and public, unless allow_private = true says that the network is yours")
        return self

    @field_validator("environment")
    @classmethod
    def _no_secrets(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if SECRET_SOUNDING(name):
                raise ValueError(f"{name} sounds like a secret; it stands under secrets, by reference")
        return value

    @field_validator("credentials")
    @classmethod
    def _free_headers(cls, value: dict[str, Secret]) -> dict[str, Secret]:
        for name in value:
            if name.lower() in _OUR_HEADERS.split():
                raise ValueError(f"{name} is not a header that can be set here")
        return value


class Step(msgspec.Struct, frozen=True):
    """A compiled call of a tool."""

    tool: str
    pin: str | None
    arguments: Render
    meta: Render


class Look(msgspec.Struct, frozen=True):
    """A compiled call that only looks, for an operation."""

    operation: Operation
    table: LookTable
    step: Step


class Inquiry(msgspec.Struct, frozen=True):
    """A compiled search, and what an entry must show to count."""

    table: InquiryTable
    step: Step
    where: Mapping[str, Render]


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """An operation with its compiled calls."""

    operation: Operation
    table: McpOperation
    commit: Step
    look: Look | None = None
    compensate: Step | None = None
    inquire: Inquiry | None = None
    inquire_undo: Inquiry | None = None

    def steps(self) -> tuple[Step, ...]:
        """Return every call that the operation may make: what must be there before it is promised."""
        others = (one.step for one in (self.inquire, self.inquire_undo, self.look) if one is not None)
        return (self.commit, *([self.compensate] if self.compensate else []), *others)


def uses(name: str, table: McpTable) -> dict[str, Use]:
    """Compile every operation of an adapter; raises `Misconfigured`, naming the place."""
    return {f"{name}.{verb}": _use(name, verb, operation) for verb, operation in table.operations.items()}


def looks(name: str, table: McpTable) -> dict[str, Look]:
    """Compile what only reads; raises `Misconfigured`, naming the place."""
    return {
        f"{name}.{verb}": _look(
            f"[adapters.{name}.reads.{verb}]", one.operation(f"{name}.{verb}", tuple(one.facts)), one
        )
        for verb, one in table.reads.items()
    }


def _use(name: str, verb: str, table: McpOperation) -> Use:
    where = f"[adapters.{name}.operations.{verb}]"
    known = parameters(where, table.params) | {"params", "key"}

    undo = table.compensate
    operation = table.operation(
        f"{name}.{verb}",
        table.guarantee,
        facts=tuple(table.preview.facts) if table.preview else (),
        key_lifetime_seconds=table.key_lifetime_seconds,
        settle_seconds=table.settle_seconds,
        secret_fields=table.secret_fields,
    )
    return Use(
        operation=operation,
        table=table,
        commit=_step(f"{where} commit", table.commit, known),
        look=None if table.preview is None else _look(f"{where} preview", operation, table.preview),
        compensate=None if undo is None else _step(f"{where} compensate", undo, known | {"result"}),
        inquire=_inquiry(f"{where} inquire", table.inquire, known),
        inquire_undo=_inquiry(f"{where} inquire_undo", table.inquire_undo, known),
    )


def _look(where: str, operation: Operation, table: LookTable) -> Look:
    return Look(operation, table, _step(where, table, parameters(where, operation.params) | {"params"}))


def _step(where: str, table: ToolTable, known: Collection[str]) -> Step:
    arguments, meta = compile_body(where, table.arguments, known), compile_body(where, table.meta, known)
    return Step(table.tool, table.pin, arguments, meta)


def _inquiry(where: str, table: InquiryTable | None, known: Collection[str]) -> Inquiry | None:
    if table is None:
        return None
    wanted = {pointer: compile_body(where, value, known) for pointer, value in table.where.items()}
    return Inquiry(table, _step(where, table, known), wanted)


def _names_the_key(table: InquiryTable) -> bool:
    return table.sends_the_key() or b"{key}" in canonical(list(table.where.values()))

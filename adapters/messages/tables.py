"""What `intentledger.toml` says about a stream of NATS JetStream, and what becomes of it: compiled subjects and bodies.

[adapters.<name>]
type, servers, stream                     the stream keeps what is published, on disk, until its own limits
token, or username and password           by reference
key_lifetime_seconds                      no more than the stream's duplicate_window, which is looked at

[adapters.<name>.operations.<verb>]
subject, body     what is published; {name} in a subject is a parameter, and a word of its own alphabet
follow_up         { subject, body }: the message that makes up for it; its body may say {result.sequence}
preview           { subject, facts, before }: where in the last message of a subject the facts stand

[adapters.<name>.reads.<verb>]
subject, facts, before                    the last message of a subject
"""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

import msgspec
from pydantic import Field, model_validator

from adapters.contract import Operation
from adapters.references import Render, Unrenderable, compile_body, parameters
from adapters.tables import (
    TIMEOUT_SECONDS_DEFAULT,
    OperationTable,
    Pointer,
    ReadingTable,
    Secret,
    Table,
    TimeoutSeconds,
    offered_once,
)
from ledger.errors import Misconfigured
from ledger.intents import Guarantee, Undo

SUBJECT_LENGTH: Final = 256  # of one that is published to; the server refuses lines of a few kilobytes

_REFERENCE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LITERAL: Final = re.compile(r"[A-Za-z0-9_.-]*").fullmatch
_WORD: Final = re.compile(r"[A-Za-z0-9_-]{1,128}").fullmatch


class MessageTable(Table):
    """A message: where it is published, and what it says."""

    subject: str
    body: Any = "{params}"


class LookTable(Table):
    """The last message of a subject, and where in it things stand; how many there are."""

    subject: str
    facts: dict[str, Pointer] = Field(default_factory=dict)
    before: dict[str, Pointer] = Field(default_factory=dict)
    count: str | None = None  # the fact that says how many messages of the subject the stream keeps

    @property
    def known(self) -> tuple[str, ...]:
        """Name the facts."""
        return (*self.facts, *([self.count] if self.count else []))

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if self.count in self.facts:
            raise ValueError(f"{self.count} is a fact of the last message already; count names another")
        return self


class MessagesReading(LookTable, ReadingTable):
    """`[adapters.<name>.reads.<verb>]`."""


class MessagesOperation(MessageTable, OperationTable):
    """`[adapters.<name>.operations.<verb>]`."""

    follow_up: MessageTable | None = None
    preview: LookTable | None = None

    @model_validator(mode="after")
    def _undone_by_its_follow_up(self) -> Self:
        if self.undo is Undo.EXACT or (self.undo is Undo.SEMANTIC) is not (self.follow_up is not None):
            raise ValueError('a message cannot be called back; undo = "semantic" and follow_up go together')
        return self


class MessagesTable(Table):
    """`[adapters.<name>]` with `type = "messages"`."""

    type: Literal["messages"]
    servers: Annotated[tuple[str, ...], Field(min_length=1, max_length=16)]
    stream: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    token: Secret | None = None
    username: str | None = None
    password: Secret | None = None
    ca_file: Path | None = None
    allow_private: bool = False  # plain nats://, in a network of one's own
    key_lifetime_seconds: Annotated[int, Field(ge=30, le=86_400)] = 120  # NATS's own duplicate_window by default
    timeout_seconds: TimeoutSeconds = TIMEOUT_SECONDS_DEFAULT
    operations: dict[str, MessagesOperation] = Field(default_factory=dict)
    reads: dict[str, MessagesReading] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _safe(self) -> Self:
        offered_once(self.operations, self.reads)
        for server in self.servers:
            parts = urlsplit(server)
            if parts.scheme not in {"nats", "tls"} or not parts.hostname or parts.path or parts.query:
                raise ValueError("each of servers is tls://host or tls://host:port")
            if parts.username is not None or parts.password is not None:
                raise ValueError("servers carry no credentials; they stand under token or password, by reference")
            if parts.scheme == "nats" and not self.allow_private:
                raise ValueError("servers are tls://, unless allow_private = true says the network between is yours")
        if (self.username is None) is not (self.password is None) or (self.token and self.username):
            raise ValueError("credentials are a token, or a username and a password")
        return self


Subject = Callable[[Mapping[str, Any]], str]


class Message(msgspec.Struct, frozen=True):
    """A compiled message."""

    subject: Subject
    body: Render


class Look(msgspec.Struct, frozen=True):
    """A compiled look at the last message of a subject."""

    operation: Operation
    subject: Subject
    table: LookTable


class Publication(msgspec.Struct, frozen=True):
    """An operation with its compiled messages."""

    operation: Operation
    message: Message
    follow_up: Message | None
    look: Look | None


def publications(name: str, table: MessagesTable) -> dict[str, Publication]:
    """Compile every operation of an adapter; raises `Misconfigured`, naming the place."""
    return {f"{name}.{verb}": _publication(name, verb, table, one) for verb, one in table.operations.items()}


def looks(name: str, table: MessagesTable) -> dict[str, Look]:
    """Compile what only reads; raises `Misconfigured`, naming the place."""
    return {
        f"{name}.{verb}": _look(f"[adapters.{name}.reads.{verb}]", one.operation(f"{name}.{verb}", one.known), one)
        for verb, one in table.reads.items()
    }


def _publication(name: str, verb: str, table: MessagesTable, one: MessagesOperation) -> Publication:
    where = f"[adapters.{name}.operations.{verb}]"
    operation = one.operation(
        f"{name}.{verb}",
        Guarantee.IDEMPOTENT,
        facts=one.preview.known if one.preview else (),
        key_lifetime_seconds=table.key_lifetime_seconds,
    )
    known = parameters(where, one.params) | {"params", "key"}
    follow_up = one.follow_up
    return Publication(
        operation=operation,
        message=_message(where, one, one.params, known),
        follow_up=_message(f"{where} follow_up", follow_up, one.params, known | {"result"}) if follow_up else None,
        look=_look(f"{where} preview", operation, one.preview) if one.preview else None,
    )


def _message(where: str, table: MessageTable, params: Mapping[str, Any], known: Collection[str]) -> Message:
    return Message(_subject(where, table.subject, params), compile_body(where, table.body, known))


def _look(where: str, operation: Operation, table: LookTable) -> Look:
    parameters(where, operation.params)
    return Look(operation, _subject(where, table.subject, operation.params), table)


def _subject(where: str, template: str, params: Mapping[str, Any]) -> Subject:
    """Return the function from values to a subject. No value can add a level to it, or a wildcard."""
    pieces = _REFERENCE.split(template)
    texts, names = pieces[::2], pieces[1::2]
    for name in names:
        if name not in params.get("properties", {}):
            raise Misconfigured(f"{where}: there is no {{{name}}} here.")
    if not all(_LITERAL(text) for text in texts) or not all("x".join(texts).split(".")):
        raise Misconfigured(f"{where}: a subject is words of letters, digits, _ and -, with points between them.")

    def render(values: Mapping[str, Any]) -> str:
        parts = [_word(name, values.get(name)) for name in names]
        subject = texts[0] + "".join(part + text for part, text in zip(parts, texts[1:], strict=True))
        if len(subject) > SUBJECT_LENGTH:
            raise Unrenderable(f"the subject is longer than {SUBJECT_LENGTH} characters")
        return subject

    return render


def _word(name: str, value: Any) -> str:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not _WORD(text):
        raise Unrenderable(f"{name} cannot stand in a subject: it is not a word of letters, digits, _ and -")
    return text

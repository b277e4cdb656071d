"""Mail over SMTP: `blind`, because nobody can be asked whether a message arrived, and a second one is a second one.

What each stage of the conversation means (RFC 5321):

    no connection, no greeting, TLS or login failed     Transient: nothing was sent
    sender or recipient refused for good (5xx)          Permanent
    the same for now (4xx)                              Transient
    the server answers no to the message itself         Permanent (5xx) or Transient (4xx): §4.2.5, it has not taken it
    the connection is lost after DATA was sent          InDoubt: it may have been taken, a person looks
    it was taken (250)                                  Result; whatever happens while saying goodbye changes nothing

The compensation is a second message, written by the operator, in the same thread. Addresses and subjects hold no line
breaks by their schema, and the message is built by the library's own policy, so no header can be smuggled in.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, parseaddr
from typing import Annotated, Any, Final, Literal, Self

import aiosmtplib
from pydantic import Field, model_validator

from adapters.contract import Call, Operation, Prepared, Preview, Refused, Result, Standing, Unknown, Vote
from adapters.credentials import Credential, Reveal
from adapters.kinds import Kind
from adapters.tables import TIMEOUT_SECONDS_DEFAULT, Secret, Table, TimeoutSeconds
from ledger import bounds
from ledger.errors import AdapterError, InDoubt, Permanent, Transient
from ledger.intents import JSON, Guarantee, Undo

_ADDRESS: Final = r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$"
_LINE: Final = r"^[^\x00-\x1f\x7f\u0085\u2028\u2029]*$"
_TEXT: Final = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
_PARAMS: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["to", "subject", "text"],
    "properties": {
        "to": {"type": "string", "pattern": _ADDRESS, "maxLength": 254},
        "subject": {"type": "string", "pattern": _LINE, "minLength": 1, "maxLength": 200},
        "text": {"type": "string", "pattern": _TEXT, "minLength": 1, "maxLength": 50_000},
    },
}
_PERSONAL_PARAMS: Final = _PARAMS | {
    "properties": {name: schema | {"personal": True} for name, schema in _PARAMS["properties"].items()}
}
_FIELD: Final = re.compile(r"\{(to|subject|text)\}")


class FollowUpTable(Table):
    """The message that makes up for another; {to}, {subject} and {text} are those of the first."""

    subject: Annotated[str, Field(min_length=1, max_length=150, pattern=_LINE)]
    text: Annotated[str, Field(min_length=1, max_length=20_000)]


class EmailTable(Table):
    """`[adapters.<name>]` with `type = "email"`."""

    type: Literal["email"]
    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: Secret | None = None
    sender: Annotated[str, Field(pattern=_LINE, max_length=320)]
    allowed_domains: list[Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")]] | None = None
    follow_up: FollowUpTable | None = None
    personal: bool = True
    """Whether address, subject and text are personal data of whoever has the address (`adapters/personal.py`)."""
    timeout_seconds: TimeoutSeconds = TIMEOUT_SECONDS_DEFAULT

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if not re.match(_ADDRESS, parseaddr(self.sender)[1]):
            raise ValueError("sender is an address, or a name and an address: Support <support@example.com>")
        if (self.username is None) is not (self.password is None):
            raise ValueError("username and password go together")
        if self.password is not None and self.security == "none":
            raise ValueError('a password is never sent in the clear; security is "starttls" or "tls"')
        return self


class EmailAdapter:
    """One SMTP server to which messages are submitted."""

    def __init__(self, name: str, table: EmailTable, password: Credential | None) -> None:
        """Offer `<name>.send`. Connects to nothing."""
        self.name = name
        self._table = table
        self._password = password
        display, address = parseaddr(table.sender)
        self._sender = Address(display, addr_spec=address)
        send = Operation(
            name=f"{name}.send",
            params=_PERSONAL_PARAMS if table.personal else _PARAMS,
            guarantee=Guarantee.BLIND,
            undo=Undo.SEMANTIC if table.follow_up else Undo.NONE,
            summary="mail {subject} to {to}",
            data_subject="/to" if table.personal else None,
            personal_fields=("to", "subject") if table.personal else (),
        )
        self.operations: Mapping[str, Operation] = {send.name: send}

    async def open(self) -> None:
        """There is nothing to keep open: each message has a conversation of its own."""

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def preview(self, call: Call) -> Preview:
        """Show what would be sent (law 11)."""
        return Preview(after={"from": str(self._sender), "to": call.params["to"], "subject": call.params["subject"]})

    async def prepare(self, call: Call) -> Vote:
        """Refuse what may not or cannot be sent; nothing leaves (law 4)."""
        domain = call.params["to"].rpartition("@")[2].lower()
        allowed = self._table.allowed_domains
        if allowed is not None and domain not in allowed:
            return Refused(f"Mail may not be sent to {domain}; allowed are {', '.join(allowed) or 'none'}.")
        try:
            self._message(call, call.params["subject"], call.params["text"]).as_bytes()
        except (ValueError, HeaderParseError) as error:
            return Refused(f"The message cannot be written: {type(error).__name__}.")
        return Prepared(None, await self.preview(call))

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        """Submit the message, once (law 10 is the table above)."""
        del receipt
        return await self._submit(self._message(call, call.params["subject"], call.params["text"]))

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        """There is nothing to release."""

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        """Submit the operator's follow-up, in the thread of the first message (law 8)."""
        del receipt
        follow_up = self._table.follow_up
        if follow_up is None:
            raise Permanent("A message cannot be called back, and no follow_up is configured. Nothing was sent.")
        subject = _fill(follow_up.subject, call.params)
        message = self._message(call, subject[:998], _fill(follow_up.text, call.params))
        first = result.get("message_id")
        if isinstance(first, str):
            message["In-Reply-To"] = message["References"] = first
        return await self._submit(message)

    async def inquire(self, call: Call) -> Standing:
        """Say that nobody can tell (law 9)."""
        del call
        return Unknown("SMTP cannot be asked what became of a message.")

    def _message(self, call: Call, subject: str, text: str) -> EmailMessage:
        message = EmailMessage(policy=SMTP_POLICY)
        message["From"] = self._sender
        message["To"] = Address(addr_spec=call.params["to"])
        message["Subject"] = subject
        message["Date"] = format_datetime(call.deadline)  # the only time an adapter is told, seconds from now
        message["Message-ID"] = f"<{call.key}@{self._sender.domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        return message

    async def _submit(self, message: EmailMessage) -> Result:
        table = self._table
        client = aiosmtplib.SMTP(
            hostname=table.host,
            port=table.port,
            timeout=table.timeout_seconds,
            use_tls=table.security == "tls",
            start_tls=table.security == "starttls",
            username=table.username,
            password=None if self._password is None else self._password(),
        )
        to = message["To"].addresses[0].addr_spec
        try:
            await _before_data(client, self._sender.addr_spec, to)
            reply = await _data(client, message.as_bytes())
        finally:
            with suppress(aiosmtplib.SMTPException, OSError):  # the answer is known by now
                await client.quit(timeout=1)
            client.close()
        return Result({"message_id": str(message["Message-ID"]), "to": to, "reply": reply})


async def _before_data(client: aiosmtplib.SMTP, sender: str, to: str) -> None:
    try:
        await client.connect()
        await client.mail(sender)
        await client.rcpt(to)
    except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPRecipientRefused) as error:
        raise _refusal(error.code, error.message) from error
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        raise Transient(
            f"The mail server did not take the conversation up ({type(error).__name__}); nothing was sent.",
            silent=not isinstance(error, aiosmtplib.SMTPResponseException),
        ) from error


async def _data(client: aiosmtplib.SMTP, message: bytes) -> str:
    try:
        code, reply = await client.data(message)
    except aiosmtplib.SMTPDataError as error:
        raise _refusal(error.code, error.message) from error
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        reason = f"The message was sent and no answer came ({type(error).__name__})."
        raise InDoubt(reason, silent=not isinstance(error, aiosmtplib.SMTPResponseException)) from error
    return _words(code, reply)


def _refusal(code: int, reply: str) -> AdapterError:
    if 400 <= code <= 499:
        return Transient(f"The mail server cannot take the message now: {_words(code, reply)}")
    if 500 <= code <= 599:
        return Permanent(f"The mail server refuses the message: {_words(code, reply)}")
    return InDoubt(f"The mail server answered what makes no sense: {_words(code, reply)}")


def _words(code: int, reply: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in reply)
    return f"{code} {' '.join(printable.split())}"[: bounds.ERROR_LENGTH // 2]


def _fill(template: str, params: JSON) -> str:
    return _FIELD.sub(lambda match: str(params[match[1]]), template)


def _build(name: str, table: EmailTable, reveal: Reveal) -> EmailAdapter:
    return EmailAdapter(name, table, reveal("password", table.password) if table.password else None)


KIND: Final = Kind(EmailTable, _build)

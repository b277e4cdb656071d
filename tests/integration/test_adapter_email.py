"""What is special about mail: nobody can be asked, so every stage of the conversation must be told apart."""

import email
import json
from collections.abc import AsyncIterator
from email import policy
from typing import Any

import pytest
from adapter_worlds import KEY, EmailOutside, call

from adapters.contract import Prepared, Refused, Unknown
from adapters.email import EmailAdapter, EmailTable
from adapters.registry import Registry
from ledger.errors import InDoubt, Permanent, Transient
from ledger.intents import Guarantee, Undo, Verb


@pytest.fixture
async def world() -> AsyncIterator[EmailOutside]:
    world = await EmailOutside().start()
    yield world
    await world.stop()


def kept(world: EmailOutside) -> list[Any]:
    return [email.message_from_bytes(content, policy=policy.SMTP) for _, _, content in world.mailbox.messages]


async def send(world: EmailOutside, **changed: Any) -> Any:
    return await world.adapter.commit(call(world, Verb.COMMIT, **changed), None)


# ── the conversation, stage by stage ─────────────────────────────────────────────────────────────────────────────


async def test_a_message_that_was_taken_has_a_result_that_names_it(world: EmailOutside) -> None:
    result = await send(world)
    assert result.data == {"message_id": f"<{KEY}@example.com>", "to": "ada@example.com", "reply": "250 OK: kept"}
    (message,) = kept(world)
    assert (message["Message-ID"], message["From"]) == (f"<{KEY}@example.com>", "Support <support@example.com>")
    assert message["Date"].datetime is not None
    assert message.get_content().strip() == "42.00 USD are on their way."


async def test_a_server_that_is_down_is_transient(world: EmailOutside) -> None:
    await world.break_down()
    with pytest.raises(Transient, match="nothing was sent"):
        await send(world)


@pytest.mark.parametrize(("reply", "error"), [("451 try later", Transient), ("550 no such person", Permanent)])
@pytest.mark.parametrize("stage", ["handle_MAIL", "handle_RCPT"])
async def test_who_is_refused_before_the_message_gets_none(
    world: EmailOutside, stage: str, reply: str, error: type[Exception]
) -> None:
    async def refuse(*_: Any) -> str:
        return reply

    setattr(world.mailbox, stage, refuse)
    with pytest.raises(error):
        await send(world)
    assert world.mailbox.messages == []


@pytest.mark.parametrize(("reply", "error"), [("452 full", Transient), ("554 not like that", Permanent)])
async def test_a_message_that_the_server_declines_was_not_taken(
    world: EmailOutside, reply: str, error: type[Exception]
) -> None:
    world.mailbox.reply = reply
    with pytest.raises(error):
        await send(world)
    assert world.mailbox.messages == []


async def test_a_connection_lost_after_the_message_is_in_doubt_and_cannot_be_asked_about(world: EmailOutside) -> None:
    world.mailbox.losing = True
    with pytest.raises(InDoubt):
        await send(world)
    assert len(world.mailbox.messages) == 1
    assert isinstance(await world.adapter.inquire(call(world, Verb.COMMIT)), Unknown)


async def test_a_server_that_cannot_say_goodbye_has_taken_the_message_all_the_same(world: EmailOutside) -> None:
    async def slam(server: Any, *_: Any) -> str:
        server.transport.abort()
        return "221 bye"

    world.mailbox.handle_QUIT = slam  # type: ignore[attr-defined]
    assert (await send(world)).data["reply"] == "250 OK: kept"


async def test_encryption_that_was_asked_for_is_not_done_without(world: EmailOutside) -> None:
    table = EmailTable.model_validate_json(json.dumps(world.table | {"security": "starttls"}))
    with pytest.raises(Transient):
        await EmailAdapter("email", table, None).commit(call(world, Verb.COMMIT), None)
    assert world.mailbox.messages == []


# ── what may be sent, and to whom ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("subject", "Hello\r\nBcc: eve@example.org"),
        ("subject", "Hello\nBcc: eve@example.org"),
        ("subject", "Hello\rBcc: eve@example.org"),
        ("subject", "Hello\u2028Bcc: eve@example.org"),
        ("subject", ""),
        ("to", "ada@example.com\r\nRCPT TO:<eve@example.org>"),
        ("to", "ada@example.com\n"),
        ("to", "ada@example.com, eve@example.org"),
        ("to", "Ada <ada@example.com>"),
        ("to", '"ada> SIZE=1"@example.com'),
        ("to", "ada@"),
        ("text", "a\0b"),
        ("text", "x" * 50_001),
    ],
)
def test_what_could_become_a_header_or_a_command_is_not_a_valid_parameter(
    world: EmailOutside, field: str, value: str
) -> None:
    registry = Registry([world.adapter])
    (fault,) = registry.validate("email.send", world.params | {field: value})
    assert fault["path"] == f"/{field}"
    assert value[:20] not in fault["message"] or not value


async def test_a_line_with_a_dot_does_not_end_the_message(world: EmailOutside) -> None:
    text = "before\n.\nRCPT TO:<eve@example.org>\n..\nafter"
    await send(world, text=text)
    (message,) = kept(world)
    assert message.get_content().replace("\r\n", "\n").strip() == text
    assert world.mailbox.messages[0][1] == ["ada@example.com"]


async def test_every_alphabet_arrives(world: EmailOutside) -> None:
    await send(world, subject="Ваш возврат 退款", text="42,00 € für Sie ✓")
    (message,) = kept(world)
    assert message["Subject"] == "Ваш возврат 退款"
    assert message.get_content().strip() == "42,00 € für Sie ✓"


async def test_only_allowed_domains_are_written_to(world: EmailOutside) -> None:
    vote = await world.adapter.prepare(call(world, Verb.PREPARE, to="eve@sub.example.com"))
    assert isinstance(vote, Refused)
    assert "sub.example.com" in vote.reason
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE, to="ada@EXAMPLE.com")), Prepared)


# ── making up for it ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_compensation_is_a_second_message_in_the_same_thread(world: EmailOutside) -> None:
    result = await send(world)
    await world.adapter.compensate(call(world, Verb.COMPENSATE), None, result.data)
    first, second = kept(world)
    assert second["Subject"] == "Correction: Your refund"
    assert second["In-Reply-To"] == second["References"] == first["Message-ID"]
    assert second["Message-ID"] != first["Message-ID"]


async def test_without_a_follow_up_a_message_cannot_be_undone(world: EmailOutside) -> None:
    table = EmailTable.model_validate_json(json.dumps(world.table | {"follow_up": None}))
    adapter = EmailAdapter("email", table, None)
    operation = adapter.operations["email.send"]
    assert (operation.guarantee, operation.undo) == (Guarantee.BLIND, Undo.NONE)
    with pytest.raises(Permanent):
        await adapter.compensate(call(world, Verb.COMPENSATE), None, {})

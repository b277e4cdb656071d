"""What is special about streams: when an id is remembered, what a server that is killed forgets, what errors mean."""

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from adapter_worlds import call
from messages_world import MessagesOutside
from pydantic import ValidationError
from servers.nats_server import NatsServer

from adapters.contract import Applied, Prepared, Refused, Unknown
from adapters.credentials import credential
from adapters.messages.adapter import KIND, _covers
from adapters.messages.server import _refusal
from adapters.messages.tables import MessagesTable
from ledger.errors import InDoubt, Misconfigured, Permanent, Transient
from ledger.intents import Verb


@pytest.fixture
async def begun():
    """`await begun(...)` makes a stream, which ends with the test."""
    made: list[MessagesOutside] = []

    async def begin(*args: Any, **config: Any) -> MessagesOutside:
        made.append(MessagesOutside(*args, **config))
        return await made[-1].start()

    yield begin
    for world in made:
        await world.stop()
        await world.stop()


@pytest.fixture
async def world(begun) -> MessagesOutside:
    return await begun()


@pytest.fixture
def server():
    """A server of one's own, to be killed."""
    own = NatsServer().start()
    yield own
    own.stop()


async def committed(world: MessagesOutside) -> dict[str, Any]:
    return (await world.adapter.commit(call(world, Verb.COMMIT), None)).data


async def test_a_server_that_is_killed_and_comes_back_still_knows_what_it_took(begun, server: NatsServer) -> None:
    world = await begun(server)
    await world.lose_answer(Verb.COMMIT)
    with pytest.raises(InDoubt):
        await committed(world)
    server.kill()
    with pytest.raises(Transient):
        await committed(world)
    server.start()
    await world.connect()
    first = await committed(world)
    assert (await world.effects(), first["sequence"]) == (1, 2)
    assert await committed(world) == first


async def test_the_answer_that_a_killed_server_never_gave_leaves_a_doubt(begun, server: NatsServer) -> None:
    world = await begun(server)
    await committed(world)
    server.pause()
    looked, published = await asyncio.gather(
        world.adapter.preview(call(world, Verb.PREVIEW)),
        world.adapter._server.publish(f"{world.stream}.ship.88", b"{}", {}),
        return_exceptions=True,
    )
    assert (type(looked), type(published)) == (Transient, InDoubt)
    assert looked.silent
    assert published.silent
    server.kill()


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"duplicate_window": 60}, "remembers ids for 60 seconds, and 120 are declared"),
        ({"storage": "memory"}, "is in memory"),
        ({"retention": "workqueue"}, "readers remove messages"),
        ({"max_msg_size": 150}, "longer than the 150 bytes"),
    ],
)
async def test_a_stream_that_does_not_keep_the_promise_is_given_nothing(
    begun, config: dict[str, Any], sentence: str
) -> None:
    world = await begun(**config)
    vote = await world.adapter.prepare(call(world, Verb.PREPARE))
    assert isinstance(vote, Refused)
    assert sentence in vote.reason
    with pytest.raises(Transient, match="is not published"):
        await committed(world)
    assert await world.effects() == 0


async def test_a_stream_that_forgets_sooner_since_the_vote_is_given_nothing(world: MessagesOutside) -> None:
    assert isinstance(await world.adapter.prepare(call(world, Verb.PREPARE)), Prepared)
    info = await world.jetstream.stream_info(world.stream)
    info.config.duplicate_window = 1
    await world.jetstream.update_stream(info.config)
    with pytest.raises(Transient, match="remembers ids for 1 seconds"):
        await committed(world)
    assert await world.effects() == 0


async def test_a_stream_that_is_not_there_is_named(world: MessagesOutside) -> None:
    await world.jetstream.delete_stream(world.stream)
    other = await world.another()
    vote = await other.prepare(call(world, Verb.PREPARE))
    assert vote == Refused(f"There is no message on {world.stream}.order.88.")
    with pytest.raises(Transient, match=f"there is no stream {world.stream}"):
        await committed(world)


async def test_a_full_stream_takes_the_message_when_there_is_room_again(begun) -> None:
    world = await begun(max_msgs=1, discard="new")
    with pytest.raises(Transient, match="does not take the message now: maximum messages"):
        await committed(world)
    await world.jetstream.purge_stream(world.stream)
    assert (await committed(world))["sequence"] == 2
    assert await world.effects() == 1


async def test_a_subject_to_which_nobody_listens_certainly_keeps_nothing(world: MessagesOutside) -> None:
    with pytest.raises(Transient, match="No stream listens"):
        await world.adapter._server.publish("nobody.listens.here", b"{}", {})


async def test_a_subject_of_another_stream_is_never_published_to(begun, world: MessagesOutside) -> None:
    other = await begun()
    headers = world.adapter._headers(call(world, Verb.COMMIT))
    with pytest.raises(Permanent, match="expected stream does not match"):
        await world.adapter._server.publish(f"{other.stream}.ship.88", b"{}", headers)
    assert await other.effects() == 0


async def test_what_is_published_and_its_follow_up_say_what_the_operator_wrote(world: MessagesOutside) -> None:
    result = await committed(world)
    await world.adapter.compensate(call(world, Verb.COMPENSATE), None, result)
    published = await world.jetstream.get_msg(world.stream, result["sequence"])
    assert json.loads(published.data) == world.params
    assert published.headers["Nats-Msg-Id"] == call(world, Verb.COMMIT).key
    recalled = await world.jetstream.get_msg(world.stream, result["sequence"] + 1)
    assert json.loads(recalled.data) == {"order": "88", "recalled": result["sequence"]}


@pytest.mark.parametrize("order", ["", "88.7", "*", ">", "88.>", "a b", "ä", "x" * 129])
async def test_no_parameter_becomes_another_level_or_a_wildcard(world: MessagesOutside, order: str) -> None:
    vote = await world.adapter.prepare(call(world, Verb.PREPARE, order=order))
    assert isinstance(vote, Refused)
    assert "cannot stand in a subject" in vote.reason
    with pytest.raises(Permanent):
        await world.adapter.commit(call(world, Verb.COMMIT, order=order), None)


async def test_what_was_published_is_found_and_what_may_have_been_removed_is_not_denied(world: MessagesOutside) -> None:
    result = await committed(world)
    asked = call(world, Verb.COMMIT)
    assert await world.adapter.inquire(asked) == Applied(await world.adapter.commit(asked, None))
    await world.jetstream.delete_msg(world.stream, result["sequence"])
    assert isinstance(await world.adapter.inquire(asked), Unknown)


async def test_the_last_message_of_a_subject_is_what_is_read(world: MessagesOutside) -> None:
    await world.say("paid")
    looked = call(world, Verb.PREVIEW)
    seen = await world.adapter.preview(
        type(looked)(**{n: getattr(looked, n) for n in looked.__struct_fields__} | {"operation": "events.order"})
    )
    assert seen.facts == {"state": "paid"}
    await world.jetstream.publish(f"{world.stream}.order.88", b'{"state": 1, "state": 2}')
    vote = await world.adapter.prepare(call(world, Verb.PREPARE))
    assert isinstance(vote, Refused)
    assert "has no meaning" in vote.reason


async def test_a_password_that_changes_is_used_from_the_next_connection_on(tmp_path: Path) -> None:
    own = NatsServer("--user", "ledger", "--pass", "first").start()
    secret = tmp_path / "password"
    secret.write_text("first\n")
    table = MessagesTable.model_validate_json(
        json.dumps(
            {
                "type": "messages",
                "servers": [f"nats://127.0.0.1:{own.port}"],
                "stream": "ORDERS",
                "username": "ledger",
                "password": {"file": str(secret)},
                "allow_private": True,
                "reads": {
                    "order": {"subject": "orders.1", "params": {"type": "object", "additionalProperties": False}}
                },
            }
        )
    )
    adapter = KIND.build("events", table, partial(credential, "here", {}))
    await adapter.open()
    assert await adapter._server.stream() is None
    own.kill()
    own.options = ("--user", "ledger", "--pass", "second")
    own.start()
    with pytest.raises(Transient) as refused:
        await adapter._server.stream()
    assert "first" not in refused.value.message
    secret.write_text("second\n")
    assert await adapter._server.stream() is None
    await adapter.close()
    own.stop()


@pytest.mark.parametrize(
    ("code", "description", "error"),
    [
        (10023, "insufficient resources", Transient),
        (10077, "maximum bytes exceeded", Transient),
        (10077, "write error: no space left on device", InDoubt),
        (10054, "message size exceeds maximum allowed", Permanent),
        (10060, "expected stream does not match", Permanent),
        (10158, "duplicate message id is in process", InDoubt),
        (None, None, InDoubt),
    ],
)
def test_what_a_stream_says_is_certain_only_where_it_is(code: int, description: str, error: type[Exception]) -> None:
    assert type(_refusal({"err_code": code, "description": description})) is error


@pytest.mark.parametrize(
    ("pattern", "subject", "covered"),
    [
        ("orders.>", "orders.1.ship", True),
        ("orders.>", "orders", False),
        (">", "orders", True),
        ("orders.*", "orders.1", True),
        ("orders.*", "orders.1.ship", False),
        ("*.ship.>", "orders.ship.1", True),
        ("orders.1", "orders.2", False),
    ],
)
def test_a_stream_covers_what_its_patterns_cover(pattern: str, subject: str, covered: bool) -> None:
    assert _covers(pattern, subject) is covered


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"allow_private": False}, "servers are tls://"),
        ({"servers": ["nats://me:secret@host"]}, "carry no credentials"),
        ({"token": {"env": "TOKEN"}}, "a token, or a username and a password"),
        ({"password": None}, "a token, or a username and a password"),
        ({"key_lifetime_seconds": 5}, "greater than or equal to 30"),
        ({"operations": {}, "reads": {}}, "there is no operation"),
    ],
)
async def test_what_cannot_be_meant_is_told(world: MessagesOutside, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        world.table(**changed)


@pytest.mark.parametrize("subject", ["", "a..b", "a.>", "a.*", "$JS.API.x", "a b", "a.{nothing}", ".a"])
async def test_a_subject_that_is_none_is_told(world: MessagesOutside, subject: str) -> None:
    params = {"type": "object", "additionalProperties": False}
    with pytest.raises(Misconfigured, match=r"\[adapters.events.operations.x\]"):
        await world.another(operations={"x": {"subject": subject, "params": params}}, reads={})

"""MCP over streamable HTTP: what comes back for a call, in a body or a stream, and what it means.

The notebook is a real server, of the package `mcp`, in both generations of the protocol; what it would never say is
said by a scripted one.
"""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from mcp_world import NOTES, NotesOutside, adapter, params
from servers.mcp_notes import serving

from adapters.contract import Applied, Call, Prepared
from adapters.mcp.tools import pin
from ledger.errors import InDoubt, Transient
from ledger.intents import Verb

GENERATIONS = ["2025-11-25", "2026-07-28"]


def call(operation="notes.add", verb=Verb.COMMIT, key="a" * 40, **given):
    return Call(
        verb=verb,
        ledger="main",
        intent="intent-1",
        action="one",
        operation=operation,
        params=given,
        key=key,
        epoch=1,
        deadline=datetime.now(UTC) + timedelta(seconds=10),
    )


# ── a real server, in both generations of the protocol ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("protocol", GENERATIONS)
async def test_a_keyed_tool_is_called_repeated_found_and_undone(protocol):
    notes = await NotesOutside(protocol).start()
    asked, undo = call(**notes.params), call(verb=Verb.COMPENSATE, key="b" * 40, **notes.params)
    vote = await notes.adapter.prepare(asked)
    assert isinstance(vote, Prepared)
    assert vote.preview.facts == {"notes": 0}
    first = await notes.adapter.commit(asked, None)
    assert await notes.adapter.commit(asked, None) == first
    assert await notes.adapter.inquire(asked) == Applied(first)
    for _ in range(2):
        await notes.adapter.compensate(undo, None, first.data)
    assert isinstance(await notes.adapter.inquire(undo), Applied)
    assert (await notes.effects(), await notes.undone(), await notes.shown()) == (1, 1, [])
    seen = await notes.adapter.preview(call("notes.book", Verb.PREVIEW, book=notes.book))
    assert (seen.facts, seen.before) == ({"notes": 0}, {"standing": []})
    await notes.stop()


def asking(protocol, tool, **commit):
    operation = {"guarantee": "blind", "commit": {"tool": tool, **commit}, "params": params(book={}, text={})}
    url = f"http://127.0.0.1:{serving().port}/mcp"
    return adapter("notes", {**NOTES, "protocol": protocol, "url": url, "operations": {"add": operation}, "reads": {}})


@pytest.mark.parametrize("protocol", GENERATIONS)
async def test_a_tool_that_asks_a_person_is_told_that_nobody_answers_and_does_nothing(protocol):
    made = asking(protocol, "ask")
    await made.open()
    with pytest.raises(InDoubt):
        await made.commit(call(book=f"asking-{protocol}", text="x"), None)
    assert serving().lines(f"asking-{protocol}") == []
    await made.close()


@pytest.mark.parametrize("protocol", GENERATIONS)
async def test_an_answer_beyond_all_bounds_leaves_a_doubt_and_a_long_one_is_left_out(protocol):
    for size, doubt in ((100_000, False), (2_000_000, True)):
        made = asking(protocol, "say", arguments={"size": size})
        await made.open()
        if doubt:
            with pytest.raises(InDoubt, match="longer than 1048576 bytes"):
                await made.commit(call(book="b", text="x"), None)
        else:
            assert (await made.commit(call(book="b", text="x"), None)).data.keys() == {"left_out"}
        await made.close()


@pytest.mark.parametrize("protocol", GENERATIONS)
async def test_a_pin_holds_for_as_long_as_nothing_changes(protocol):
    url = f"http://127.0.0.1:{serving().port}/mcp"
    look = adapter("notes", {**NOTES, "protocol": protocol, "url": url})
    await look.open()
    pins = [pin((await look.tools())["add"]) for _ in range(2)]
    assert pins[0] == pins[1]
    await look.close()


# ── a scripted server ────────────────────────────────────────────────────────────────────────────────────────────


class Script:
    """A server that says what a test wants in answer to `tools/call`."""

    def __init__(self) -> None:
        self.requests = []
        self.bodies = []
        self.answer = lambda number: web.json_response(reply(number))
        self.session = "s1"

    async def post(self, request):
        self.requests.append(request)
        message = await request.json()
        self.bodies.append(message)
        match message.get("method"):
            case "initialize":
                result = {"protocolVersion": "2025-06-18", "capabilities": {}}
                return web.json_response(reply(message["id"], result), headers={"Mcp-Session-Id": self.session})
            case "tools/list":
                tools = [{"name": "note", "inputSchema": {"type": "object"}}]
                return web.json_response(reply(message["id"], {"tools": tools}))
            case "tools/call":
                answer = self.answer(message["id"])
                return await answer(request) if callable(answer) else answer
        return web.Response(status=202)

    async def delete(self, request):
        self.requests.append(request)
        return web.Response(status=200)


def reply(number, result=None):
    return {"jsonrpc": "2.0", "id": number, "result": result or {"content": [{"type": "text", "text": "done"}]}}


@asynccontextmanager
async def playing(script, secret=lambda: "first-secret", **table):
    app = web.Application()
    app.add_routes([web.post("/mcp", script.post), web.delete("/mcp", script.delete)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    table = {
        "type": "mcp",
        "url": f"http://127.0.0.1:{runner.addresses[0][1]}/mcp",
        "allow_private": True,
        "timeout_seconds": 5,
        "credentials": {"Authorization": {"env": "TOKEN"}},
        "operations": {"note": {"guarantee": "blind", "commit": {"tool": "note"}, "params": params()}},
        **table,
    }
    made = adapter("it", table)
    made._server._credentials = {"Authorization": secret} if table.get("credentials") else {}
    await made.open()
    try:
        yield made
    finally:
        await made.close()
        await runner.cleanup()


async def commit(made):
    return await made.commit(call("it.note"), None)


def stream(*events, end=True):
    """Answer with a stream of events; without `end` it breaks."""

    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in events:
            await response.write(event.encode())
        if not end:
            request.transport.abort()
        return response

    return answer


def event(message, line="\n"):
    return f"event: message{line}data: {json.dumps(message)}{line}{line}"


async def test_a_call_is_a_conversation_of_its_own_that_is_ended():
    script = Script()
    async with playing(script) as made:
        assert (await commit(made)).data == {"text": "done"}
    assert [request.method for request in script.requests] == ["POST"] * 4 + ["DELETE"]
    methods = [body["method"] for body in script.bodies]
    assert methods == ["initialize", "notifications/initialized", "tools/list", "tools/call"]
    first, *others = script.requests
    assert "Mcp-Session-Id" not in first.headers
    assert {request.headers["Mcp-Session-Id"] for request in others} == {"s1"}
    assert {request.headers["MCP-Protocol-Version"] for request in others} == {"2025-06-18"}
    assert script.bodies[0]["params"]["capabilities"] == {}


async def test_without_a_handshake_a_request_says_who_asks_and_what():
    script = Script()
    async with playing(script, protocol="2026-07-28") as made:
        await commit(made)
    assert [body["method"] for body in script.bodies] == ["tools/list", "tools/call"]
    headers = script.requests[1].headers
    names = ("MCP-Protocol-Version", "Mcp-Method", "Mcp-Name")
    assert [headers[name] for name in names] == ["2026-07-28", "tools/call", "note"]
    meta = script.bodies[1]["params"]["_meta"]
    assert meta["io.modelcontextprotocol/clientCapabilities"] == {}


async def test_credentials_are_read_for_each_call_and_blotted_out_of_answers():
    script, secrets = Script(), ["first-secret", "second-secret"]
    script.answer = lambda number: web.json_response(
        reply(number, {"content": [{"type": "text", "text": "you are second-secret"}]})
    )
    async with playing(script, lambda: f"Bearer {secrets[0]}") as made:
        await commit(made)
        secrets.pop(0)
        assert (await commit(made)).data == {"text": "you are ***"}
    sent = [request.headers["Authorization"] for request in script.requests]
    assert sent == ["Bearer first-secret"] * 5 + ["Bearer second-secret"] * 5


@pytest.mark.parametrize("line", ["\n", "\r\n"])
async def test_a_reply_may_come_late_in_a_stream_and_what_the_server_asks_in_it_is_refused(line):
    script = Script()
    asked = {"jsonrpc": "2.0", "id": 7, "method": "elicitation/create", "params": {}}
    ping = {"jsonrpc": "2.0", "id": "p", "method": "ping"}
    script.answer = lambda number: stream(
        f": comment{line}{line}",
        event({"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}, line),
        event(asked, line),
        event(ping, line),
        event(reply(99), line),
        f"data: not json{line}{line}",
        event(reply(number), line),
        event(reply(number, {"isError": True}), line),
    )
    async with playing(script) as made:
        assert (await commit(made)).data == {"text": "done"}
    answers = [body for body in script.bodies if "method" not in body]
    assert [(body["id"], body.get("error", {}).get("code")) for body in answers] == [(7, -32601), ("p", None)]


async def hang(request):
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("answer", "error", "silent"),
    [
        (lambda _: web.Response(status=401), Transient, False),
        (lambda _: web.Response(status=429), Transient, False),
        (lambda _: web.Response(status=404), InDoubt, False),
        (lambda _: web.Response(status=500), InDoubt, False),
        (lambda _: web.Response(status=503), InDoubt, True),
        (lambda _: web.Response(status=307, headers={"Location": "/mcp"}), InDoubt, False),
        (lambda _: web.Response(status=202), InDoubt, False),
        (lambda number: web.json_response(reply(number), status=500), InDoubt, False),
        (lambda _: web.json_response(reply(1)), InDoubt, False),
        (lambda number: web.json_response([reply(number)]), InDoubt, False),
        (lambda _: web.Response(text='{"id":4,"id":5}', content_type="application/json"), InDoubt, False),
        (lambda _: stream(event(reply(99))), InDoubt, False),
        (lambda _: stream("data: {", end=False), InDoubt, True),
        (lambda _: stream("x" * 1_100_000), InDoubt, False),
        (lambda _: hang, InDoubt, True),
    ],
)
async def test_whatever_is_no_reply_leaves_a_doubt_unless_the_request_was_not_let_in(answer, error, silent):
    script = Script()
    script.answer = answer
    async with playing(script, timeout_seconds=0.5) as made:
        with pytest.raises(error) as caught:
            await commit(made)
    assert caught.value.silent is silent, caught.value.message
    assert "first-secret" not in caught.value.message
    assert sum(body["method"] == "tools/call" for body in script.bodies if "method" in body) == 1  # and not repeated


async def test_a_server_that_refuses_the_greeting_is_not_now():
    script = Script()
    async with playing(script) as made:
        script.post = None
        made._server._url = made._server._url.replace("/mcp", "/elsewhere")
        with pytest.raises(Transient, match="Nothing was called"):
            await commit(made)
    assert script.requests == []


async def test_a_server_that_is_down_is_not_now_and_silent():
    async with playing(Script()) as made:
        made._server._url = "http://127.0.0.1:9/mcp"
        with pytest.raises(Transient) as caught:
            await commit(made)
    assert caught.value.silent

"""The feed through the real door: pages, lines, and a live stream that resumes where it broke off."""

import asyncio
import json
import socket

import aiohttp
import pytest
from doorway import TOKEN, doorway, eventually, intent
from structlog.testing import capture_logs

from gateway.door import Limits
from ledger.errors import Unavailable

ONE = intent(("bank.post", "88", 1))


@pytest.fixture
async def door(dsn):
    async with doorway(dsn, Limits(followers=2, heartbeat_seconds=0.3, write_seconds=0.5)) as opened:
        yield opened


class Live:
    """A reader of the live stream."""

    def __init__(self, response):
        self._lines = response.content

    async def message(self):
        """Return the next message as its fields; a comment is under the empty name."""
        found = {}
        while line := (await asyncio.wait_for(self._lines.readline(), 10)).decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            found[name] = value
        return found

    async def events(self, count):
        found = []
        while len(found) < count:
            message = await self.message()
            if "data" in message:
                found.append(message)
        return found


def follow(door, path="/v1/events", **headers):
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream", **headers}
    return door.session.get(door.url + path, headers=headers)


async def everything(door):
    _, page, _ = await door.get("/v1/events?limit=500")
    return page["items"]


async def test_a_page_holds_what_was_recorded_in_order_and_names_the_next(door):
    for _ in range(3):
        await door.submit(ONE)
    head = await door.head()
    found, after = [], 0
    while after is not None:
        _, page, _ = await door.get(f"/v1/events?after={after}&limit=4")
        found += page["items"]
        after = page["next"]
    assert [event["position"] for event in found] == list(range(1, head + 1))
    assert found[0]["type"] == "GrantIssued"
    assert found[1].keys() == {"position", "version", "type", "at", "stream", "body", "custody"}
    assert {tuple(event["custody"]) for event in found} == {("grant-operator",)}


async def test_lines_are_all_of_it_up_to_now(door):
    for _ in range(3):
        await door.submit(ONE)
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/x-ndjson"}
    async with door.session.get(f"{door.url}/v1/events", headers=headers) as response:
        assert response.content_type == "application/x-ndjson"
        lines = [json.loads(line) for line in (await response.read()).splitlines()]
    assert lines == await everything(door)
    async with door.session.get(f"{door.url}/v1/events?after=2&limit=3", headers=headers) as response:
        assert [json.loads(line)["position"] for line in (await response.read()).splitlines()] == [3, 4, 5]


async def test_a_live_stream_brings_what_was_and_what_comes(door):
    await door.submit(ONE)
    before = await everything(door)
    async with follow(door) as response:
        assert response.content_type == "text/event-stream"
        live = Live(response)
        seen = await live.events(len(before))
        await door.submit(ONE)
        seen += await live.events(len(await everything(door)) - len(before))
    events = await everything(door)
    assert [int(message["id"]) for message in seen] == [event["position"] for event in events]
    assert [message["event"] for message in seen] == [event["type"] for event in events]
    assert [json.loads(message["data"]) for message in seen] == events


async def test_a_live_stream_resumes_after_the_last_event_id_even_beside_an_older_after(door):
    await door.submit(ONE)
    async with follow(door, "/v1/events?after=0", **{"Last-Event-ID": "3"}) as response:
        (first,) = await Live(response).events(1)
    assert first["id"] == "4"


async def test_a_quiet_live_stream_says_that_it_is_still_there(door):
    async with follow(door, f"/v1/events?after={await door.head()}") as response:
        live = Live(response)
        comments = [await live.message() for _ in range(3)]
    assert comments[0] == {"": "following"}
    assert comments[1:] == [{"": "still here"}] * 2


async def test_no_more_readers_follow_than_there_are_places(door):
    async with follow(door) as first, follow(door) as second:
        assert (first.status, second.status) == (200, 200)
        async with follow(door) as third:
            problem = await third.json(content_type=None)
            assert (third.status, problem["type"]) == (503, "urn:intent-ledger:problem:overloaded")
            assert third.headers["Retry-After"]

    async def free():
        return door.door.followers == 0

    await eventually(free)


async def test_a_reader_that_takes_nothing_is_cut_off_and_frees_its_place(door):
    for number in range(40):
        await door.submit(intent(("bank.post", "88", 1), context={"ballast": "x" * 100_000, "number": number}))
    host, port = door.url.removeprefix("http://").split(":")
    with socket.socket() as narrow:  # else the system may take all of it in the reader's name
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.setblocking(False)
        await asyncio.get_running_loop().sock_connect(narrow, (host, int(port)))
        request = ("GET /v1/events HTTP/1.1", "Host: x", f"Authorization: Bearer {TOKEN}", "Accept: text/event-stream")
        await asyncio.get_running_loop().sock_sendall(narrow, "\r\n".join((*request, "", "")).encode())
        assert await asyncio.get_running_loop().sock_recv(narrow, 12) == b"HTTP/1.1 200"

        async def cut_off():
            return door.door.followers == 0

        await eventually(cut_off)


async def test_a_reader_whose_token_dies_reads_no_further(door):
    reader = await door.grant("auditor", kind="person")
    async with follow(door, Authorization=f"Bearer {reader.token}") as response, asyncio.timeout(10):
        live = Live(response)
        await live.events(1)
        status, _, _ = await door.post(f"/v1/grants/{reader.id}/revoke", {"reason": "left the company"})
        assert status == 200
        with pytest.raises(aiohttp.ClientError):
            await live.events(1_000_000)


async def test_lines_that_break_inside_never_look_complete(door, monkeypatch):
    await door.submit(ONE)

    async def away(*_):
        raise Unavailable

    monkeypatch.setattr(door.service.store, "read_all", away)
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/x-ndjson"}
    with capture_logs() as logged, pytest.raises(aiohttp.ClientError):
        async with door.session.get(f"{door.url}/v1/events", headers=headers) as response:
            await response.read()
    # of this request: whoever else reads from the same store may say so too, at any time
    assert [line["event"] for line in logged if "request_id" in line] == ["stream_cut_off"]


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("*/*", "application/json"),
        ("text/html, application/x-ndjson;q=0.5", "application/x-ndjson"),
        ("application/json;q=0.1, application/x-ndjson;q=0.9", "application/x-ndjson"),
        ("application/x-ndjson;q=0", "application/json"),
    ],
)
async def test_the_form_is_what_the_reader_likes_best(door, accept, media):
    _, _, response = await door.get("/v1/events", Accept=accept)
    assert response.content_type == media

"""The door under pressure: it refuses before acceptance, is not held up by slow clients, and drains without loss."""

import asyncio
import json
import re
import time
from contextlib import suppress

import pytest
from doorway import TOKEN, doorway, eventually, intent
from structlog.testing import capture_logs

from gateway.door import Limits

ONE = intent(("bank.post", "88", 1))


def address(door):
    host, port = door.url.removeprefix("http://").split(":")
    return host, int(port)


async def test_too_many_requests_at_once_are_503_before_anything_is_recorded(dsn):
    async with doorway(dsn, Limits(requests=2)) as door:
        door.bank.gate.clear()
        waiting = [asyncio.create_task(door.submit(ONE)) for _ in range(2)]

        async def full():
            return door.door.in_progress == 2

        async def judged():  # the grant, and both intents with their verdicts: nothing more comes while they wait
            head = await door.head()
            return head if head == 5 else None

        await eventually(full)
        head = await eventually(judged)
        status, problem, response = await door.submit(ONE)
        assert (status, problem["type"]) == (503, "urn:intent-ledger:problem:overloaded")
        assert int(response.headers["Retry-After"]) >= 1
        assert "Nothing was recorded" in problem["detail"]
        assert await door.head() == head
        async with door.session.get(f"{door.url}/healthz") as health:
            assert health.status == 200
        door.bank.gate.set()
        assert [status for status, _, _ in await asyncio.gather(*waiting)] == [200, 200]
        status, _, _ = await door.submit(ONE)
        assert status == 200


async def test_too_many_intents_in_flight_are_503_before_anything_is_recorded(dsn, monkeypatch):
    monkeypatch.setattr("ledger.bounds.INTENTS_IN_FLIGHT", 3)
    async with doorway(dsn) as door:
        door.bank.gate.clear()
        for _ in range(3):
            await door.submit(ONE, wait=None)

        async def held_up():
            return await door.head() == 1 + 3 * 2  # the operator's grant; each submitted and allowed

        await eventually(held_up)
        head = await door.head()
        status, problem, _ = await door.submit(ONE)
        assert (status, problem["type"]) == (503, "urn:intent-ledger:problem:overloaded")
        assert await door.head() == head
        door.bank.gate.set()


async def test_too_many_connections_are_closed_and_the_others_go_on(dsn):
    async with doorway(dsn, Limits(connections=3)) as door:
        open_ones = [await asyncio.open_connection(*address(door)) for _ in range(3)]
        reader, writer = await asyncio.open_connection(*address(door))
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        for reader, writer in open_ones:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 200")
            writer.close()


@pytest.mark.parametrize("sent", [b"", b"POST /v1/inte", b"POST /v1/intents HTTP/1.1\r\nHost: x\r\nX-A: b"])
async def test_headers_that_do_not_come_are_not_waited_for(dsn, sent):
    async with doorway(dsn, Limits(header_seconds=0.2)) as door:
        reader, writer = await asyncio.open_connection(*address(door))
        writer.write(sent)
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_a_body_that_does_not_come_is_408_and_nothing_is_recorded(dsn):
    async with doorway(dsn, Limits(body_seconds=0.2)) as door:
        head = await door.head()
        reader, writer = await asyncio.open_connection(*address(door))
        writer.write(
            f"POST /v1/intents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nIdempotency-Key: k\r\n"
            "Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{".encode()
        )
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"urn:intent-ledger:problem:too-slow" in answer
        assert await door.head() == head
        writer.close()


@pytest.mark.parametrize("token", [TOKEN, "il_dead"])
async def test_a_client_that_asks_before_it_sends_its_body_is_answered(dsn, token):
    async with doorway(dsn) as door:
        reader, writer = await asyncio.open_connection(*address(door))
        body = json.dumps(ONE).encode()
        writer.write(
            f"POST /v1/intents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: k\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        if token == TOKEN:
            assert answer == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert answer.startswith(b"HTTP/1.1 202 " if token == TOKEN else b"HTTP/1.1 401 ")
        writer.close()


async def test_a_client_that_does_not_take_a_long_answer_is_cut_off(dsn):
    async with doorway(dsn, Limits(write_seconds=0.3)) as door:
        ballast = "x" * 200_000
        for number in range(30):
            await door.submit(intent(("bank.post", "88", 1), context={"ballast": ballast, "number": number}))
        reader, writer = await asyncio.open_connection(*address(door), limit=1024)
        request = ("GET /v1/events?limit=500 HTTP/1.1", "Host: x", f"Authorization: Bearer {TOKEN}", "", "")
        writer.write("\r\n".join(request).encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])
        assert length > 30 * len(ballast)
        await asyncio.sleep(1)  # what is tested is a client that does nothing
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asyncio.wait_for(reader.readexactly(length), 10)
        writer.close()


async def test_a_body_without_an_end_is_413_as_soon_as_it_is_too_large(dsn):
    async with doorway(dsn) as door:
        reader, writer = await asyncio.open_connection(*address(door))
        writer.write(
            f"POST /v1/intents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nIdempotency-Key: k\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        for _ in range(40):
            writer.write(b"2000\r\n" + b" " * 0x2000 + b"\r\n")
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert answer.startswith(b"HTTP/1.1 413 ")
        writer.close()


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_failure_of_ours(dsn):
    async with doorway(dsn) as door:
        head = await door.head()
        _, writer = await asyncio.open_connection(*address(door))
        writer.write(
            f"POST /v1/intents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nIdempotency-Key: k\r\n"
            "Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{".encode()
        )

        async def reading():
            return door.door.in_progress == 1

        async def over():
            return door.door.in_progress == 0

        await eventually(reading)
        with capture_logs() as logged:
            writer.transport.abort()
            await eventually(over)
        assert [line for line in logged if "request_id" in line] == []
        assert await door.head() == head


async def test_a_client_that_leaves_while_it_waits_leaves_its_intent_to_go_on(dsn):
    async with doorway(dsn) as door:
        door.bank.gate.clear()
        waiting = asyncio.create_task(door.submit(ONE, key="k-1"))

        async def running():
            return door.service.coordinator.in_flight == 1

        await eventually(running)
        waiting.cancel()
        door.bank.gate.set()
        status, body, response = await door.submit(ONE, key="k-1")
        assert (status, body["phase"]) == (200, "committed")
        assert response.headers["Idempotency-Hit"] == "true"


async def test_a_drain_lets_what_waits_be_answered_and_takes_nothing_new(dsn):
    async with doorway(dsn) as door:
        door.bank.gate.clear()
        waiting = asyncio.create_task(door.submit(ONE, wait=30))
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream"}
        following = await door.session.get(f"{door.url}/v1/events", headers=headers)
        assert (await following.content.readline()).startswith(b": following")

        async def both():
            return door.door.in_progress == 2 and door.bank.asked == 1

        await eventually(both)
        started = time.monotonic()
        door.door.drain()
        status, body, _ = await waiting
        assert (status, body["phase"]) == (202, "preparing")
        await asyncio.wait_for(following.read(), 5)  # to its proper end
        assert time.monotonic() - started < 5
        head = await door.head()
        status, problem, response = await door.submit(ONE)
        assert (status, problem["type"]) == (503, "urn:intent-ledger:problem:overloaded")
        assert response.headers["Retry-After"]
        assert await door.head() == head
        async with door.session.get(f"{door.url}/readyz") as ready:
            assert (ready.status, (await ready.json())["reasons"]) == (503, ["The service is shutting down."])
        await asyncio.wait_for(door.door.idle.wait(), 5)
        door.bank.gate.set()

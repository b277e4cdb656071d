"""PostgreSQL gone, at the start or in the middle: 503 before acceptance, and back to work without being asked."""

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
import pytest
from doorway import doorway, eventually, intent
from pydantic import SecretStr
from tcp_proxy import proxy_to

from gateway.app import serve
from gateway.settings import Settings
from ledger import bounds

ONE = intent(("bank.post", "88", 1))


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(bounds, "AWAY_SECONDS", 0.3)
    monkeypatch.setattr(bounds, "CONNECT_SECONDS", 1.0)


@asynccontextmanager
async def serving(dsn, data):
    """Run the composition root itself; yields its URL, a future of what it says once it is open, and how to stop it."""
    port = _free_port()
    settings = Settings(dsn=SecretStr(dsn), data=data, port=port)
    stop, opened = asyncio.Event(), asyncio.get_running_loop().create_future()
    running = asyncio.create_task(serve(settings, stop=stop, opened=opened.set_result))
    try:
        yield f"http://127.0.0.1:{port}", opened, running
    finally:
        stop.set()
        await asyncio.wait_for(running, 20)


def _free_port():
    import socket  # noqa: PLC0415

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_a_database_away_at_the_start_is_waited_for_at_the_open_door(empty_dsn, open_directory, impatient):
    async with proxy_to(empty_dsn) as (proxy, far_dsn), aiohttp.ClientSession() as client:
        proxy.is_closed = True
        async with serving(far_dsn, open_directory / "data") as (url, opened, running):

            async def answers():
                try:
                    async with client.get(f"{url}/healthz") as response:
                        return response.status == 200
                except aiohttp.ClientConnectionError:
                    return running.done() and running.result()

            await eventually(answers)
            async with client.get(f"{url}/readyz") as response:
                assert response.status == 503
                (reason,) = (await response.json())["reasons"]
                assert "database" in reason
                assert urlsplit(far_dsn).hostname not in reason
            async with client.post(f"{url}/v1/intents", headers={"Authorization": "Bearer x"}) as response:
                problem = await response.json(content_type=None)
                assert (response.status, problem["type"]) == (503, "urn:intent-ledger:problem:not-ready")
                assert response.headers["Retry-After"]
                assert "Nothing was recorded" in problem["detail"]
            assert not opened.done()
            proxy.is_closed = False
            process = await asyncio.wait_for(opened, 15)
            token = process.token_file.read_text().strip()
            async with client.get(f"{url}/readyz") as response:
                assert response.status == 200
            async with client.get(f"{url}/v1/intents", headers={"Authorization": f"Bearer {token}"}) as response:
                assert response.status == 200


async def test_a_service_whose_database_never_comes_can_be_stopped(empty_dsn, open_directory, impatient):
    async with proxy_to(empty_dsn) as (proxy, far_dsn):
        proxy.is_closed = True
        async with serving(far_dsn, open_directory / "data") as (_, opened, _):
            pass
        assert not opened.done()


async def test_a_database_gone_in_the_middle_is_503_and_work_resumes_by_itself(dsn, impatient):
    async with proxy_to(dsn) as (proxy, far_dsn), doorway(far_dsn) as door:
        door.bank.gate.clear()
        status, left, _ = await door.submit(ONE, wait=None)
        assert status == 202
        proxy.close_now()

        async def refused():
            status, problem, response = await door.submit(ONE, key="k-1", wait=None)
            assert status == 503
            assert response.headers["Retry-After"]
            return problem["type"] in {
                "urn:intent-ledger:problem:overloaded",
                "urn:intent-ledger:problem:unavailable",
            }

        assert await eventually(refused)
        async with door.session.get(f"{door.url}/readyz") as response:
            assert (response.status, (await response.json())["reasons"]) == (503, ["The database does not answer."])
        for path in ("/v1/intents", "/v1/events", f"/v1/intents/{left['id']}", "/v1/exposure"):
            status, problem, response = await door.get(path)
            assert (status, response.headers["Retry-After"]) == (503, "1"), path
            assert "127.0.0.1" not in problem["detail"]
        proxy.is_closed = False
        door.bank.gate.set()

        async def taken():
            status, body, _ = await door.submit(ONE, key="k-1")
            return status == 200 and body["phase"] == "committed"

        assert await eventually(taken, 30)

        async def ended():
            _, now, _ = await door.get(f"/v1/intents/{left['id']}")
            return now.get("phase") == "committed"

        assert await eventually(ended, 30)

        async def ready():  # what it found out about the database stands for a moment
            async with door.session.get(f"{door.url}/readyz") as response:
                return response.status == 200

        assert await eventually(ready, 10)
        assert door.bank.world.balances == {"88": 2}

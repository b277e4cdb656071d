"""The fence in real databases: those who come at the same time, those who look, what an error takes with it."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from intentledger_fence import Call, NoTransaction, Outcome, Refused, State
from intentledger_fence.mariadb import fence as mariadb_fence
from intentledger_fence.postgres import fence as postgres_fence
from servers.mariadb import mariadb

REPOSITORY = Path(__file__).parents[2]
CALL = Call("key", 1)


class Place:
    """A database with a fence and a table of notes."""

    def __init__(self, fence: Any, connect: Callable[[], Awaitable[Any]]) -> None:
        self.fence = fence
        self.connect = connect

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        connection = await self.connect()
        try:
            await self.run(connection, "begin")
            yield connection
            await self.run(connection, "commit")
        finally:
            if isinstance(connection, asyncpg.Connection):
                await connection.close()
            else:
                await connection.ensure_closed()

    async def run(self, connection: Any, sql: str) -> list[tuple[Any, ...]]:
        if isinstance(connection, asyncpg.Connection):
            return [tuple(row) for row in await connection.fetch(sql)]
        async with connection.cursor() as cursor:
            await cursor.execute(sql)
            return list(await cursor.fetchall()) if cursor.description else []

    async def ask(self, sql: str) -> list[tuple[Any, ...]]:
        async with self.transaction() as connection:
            return await self.run(connection, sql)

    async def once(self, gate: asyncio.Event | None = None, entered: asyncio.Event | None = None) -> Outcome:
        """Write a note under the key, after `gate` opens."""
        async with self.transaction() as connection:

            async def effect() -> dict[str, Any]:
                if entered is not None:
                    entered.set()
                if gate is not None:
                    await gate.wait()
                await self.run(connection, "insert into notes (text) values ('it''s \\\\ done')")
                return {"said": 'it\'s \\ "döne" 😀'}

            return await self.fence.once(connection, CALL, effect)

    async def look(self) -> Any:
        async with self.transaction() as connection:
            return await self.fence.look(connection, CALL.key)

    async def notes(self) -> int:
        return (await self.ask("select count(*) from notes"))[0][0]


@pytest.fixture(params=["postgres", "mariadb"])
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Name the kind of database; of PostgreSQL an empty one is there."""
    return request.param, request.getfixturevalue("empty_dsn") if request.param == "postgres" else ""


@pytest.fixture
async def place(kind: tuple[str, str]) -> AsyncIterator[Place]:
    name, dsn = kind
    if name == "postgres":
        place = Place(postgres_fence, lambda: asyncpg.connect(dsn, server_settings={"lock_timeout": "2s"}))
        notes = "create table notes (number serial primary key, text text)"
    else:
        server = await mariadb()
        database = await server.make_database()
        place = Place(mariadb_fence, lambda: server.connect(database))
        notes = "create table notes (number integer auto_increment primary key, text text)"
    async with place.transaction() as connection:
        await place.fence.create(connection)
        await place.fence.create(connection)
        await place.run(connection, notes)
    yield place
    if name == "mariadb":
        await server.drop_database(database)


async def test_many_at_the_same_time_under_one_key_have_one_effect_and_one_answer(place: Place) -> None:
    for _ in range(2):  # the second time there is an answer already
        outcomes = await asyncio.gather(*(place.once() for _ in range(8)))
        assert outcomes == [Outcome(True, {"said": 'it\'s \\ "döne" 😀'})] * 8
        assert await place.notes() == 1


async def test_who_looks_while_another_acts_is_not_told_that_there_is_nothing(place: Place) -> None:
    gate, entered = asyncio.Event(), asyncio.Event()
    acting = asyncio.create_task(place.once(gate, entered))
    await entered.wait()
    looking = asyncio.create_task(place.look())
    done, _ = await asyncio.wait([looking], timeout=0.1)
    assert not done, "it looked past who was acting"
    gate.set()
    outcome = await acting
    found = await looking
    assert (found.state, found.answer) == (State.APPLIED, outcome.answer)


async def test_looking_changes_nothing(place: Place) -> None:
    assert await place.look() is None
    assert await place.ask("select * from intent_fence") == []
    await place.once()
    before = await place.ask("select * from intent_fence")
    assert (await place.look()).state is State.APPLIED
    assert await place.ask("select * from intent_fence") == before


async def test_an_error_takes_the_effect_and_the_fence_with_it_and_the_call_can_be_repeated(place: Place) -> None:
    async def failing() -> dict[str, Any]:
        await place.run(connection, "insert into notes (text) values ('half')")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with place.transaction() as connection:
            await place.fence.once(connection, CALL, failing)
    assert (await place.notes(), await place.look()) == (0, None)
    assert (await place.once()).done
    assert await place.notes() == 1


async def test_what_a_refused_effect_had_done_is_taken_back_and_the_refusal_stays(place: Place) -> None:
    async def refusing() -> Refused:
        await place.run(connection, "insert into notes (text) values ('half')")
        return Refused("No.")

    async with place.transaction() as connection:
        outcome = await place.fence.once(connection, CALL, refusing)
    assert outcome == Outcome(False, {"error": "No."})
    assert await place.once() == outcome
    assert await place.notes() == 0


async def test_a_hold_that_arrives_after_its_release_is_refused_also_when_both_are_under_way(place: Place) -> None:
    async def effect(*_: Any) -> dict[str, Any]:
        return {}

    async def hold(number: int) -> Outcome:
        async with place.transaction() as connection:
            return await place.fence.hold(connection, Call(f"key-{number}"), effect)

    async def release(number: int) -> Outcome:
        async with place.transaction() as connection:
            return await place.fence.release(connection, Call(f"key-{number}"), effect)

    outcomes = await asyncio.gather(*(verb(number) for number in range(6) for verb in (hold, release)))
    assert all(outcome.done for outcome in outcomes[1::2])
    assert await place.ask("select distinct state from intent_fence") == [("aborted",)]
    assert not any([(await hold(number)).done for number in range(6)])


async def test_without_a_transaction_nothing_is_written(place: Place) -> None:
    async def effect() -> dict[str, Any]:
        raise AssertionError("it happened")

    connection = await place.connect()
    with pytest.raises(NoTransaction):
        await place.fence.once(connection, CALL, effect)
    await (connection.close() if isinstance(connection, asyncpg.Connection) else connection.ensure_closed())
    assert await place.ask("select * from intent_fence") == []


async def test_the_ten_lines_of_the_readme_pay_once(empty_dsn: str) -> None:
    readme = (REPOSITORY / "fence" / "README.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    space: dict[str, Any] = {"__name__": "readme"}
    exec(code, space)  # it is our own document
    async with asyncpg.create_pool(empty_dsn, min_size=1, max_size=2) as pool:
        await postgres_fence.create(pool)
        await pool.execute("create table accounts (balance integer)")
        await pool.execute("insert into accounts values (100)")
        app = web.Application()
        app[space["POOL"]] = pool
        app.add_routes([web.post("/refunds", space["refund"])])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            said = [
                (answer.status, await answer.json())
                for key, amount in (("a", 60), ("a", 60), ("b", 60), ("b", 60))
                for answer in [await client.post("/refunds", json={"amount": amount}, headers={"Idempotency-Key": key})]
            ]
        await runner.cleanup()
        refused = (422, {"error": "There is not enough money."})
        assert said == [(200, {"refunded": 60})] * 2 + [refused] * 2
        assert await pool.fetchval("select balance from accounts") == 40


async def test_a_hold_outlives_kill_9_of_the_service_that_gave_it(kind: tuple[str, str]) -> None:
    server = await mariadb()
    database = await server.make_database()
    dsn = kind[1] or server.dsn(database)
    path = {"PYTHONPATH": os.pathsep.join([str(REPOSITORY / "fence"), str(REPOSITORY)])}
    command = [sys.executable, "-m", "examples.inventory", "--dsn", dsn, "--goods", "bolt=100"]

    async def post(where: str, key: str, **body: Any) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as client:
            answer = await client.post(f"http://127.0.0.1:{port}{where}", json=body, headers={"Idempotency-Key": key})
            return answer.status, await answer.json()

    for life in ("first", "second"):
        with subprocess.Popen(command, env=os.environ | path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as service:  # noqa: ASYNC220
            assert service.stdout is not None
            port = json.loads(await asyncio.to_thread(service.stdout.readline))["port"]
            if life == "first":
                held = await post("/reservations", "k", sku="bolt", quantity=60)
                assert held == (200, {"id": "k", "fate": "held", "sku": "bolt", "quantity": 60})
            else:
                assert (await post("/reservations", "other", sku="bolt", quantity=60))[0] == 422
                confirmed = await post("/reservations/k/confirm", "k-commit")
                assert confirmed == await post("/reservations/k/confirm", "k-commit")
                assert confirmed[1]["fate"] == "applied"
                async with aiohttp.request("GET", f"http://127.0.0.1:{port}/items/bolt") as answer:
                    assert await answer.json() == {"sku": "bolt", "on_hand": 40, "reserved": 0, "movements": 1}
            service.kill()
    await server.drop_database(database)

"""A service of somebody's own with a fence in its database, behind the http adapter: the warehouse of the examples."""

import tomllib
from pathlib import Path
from typing import Any

import asyncpg
from aiohttp import web
from lossy_proxy import Proxy
from servers.mariadb import mariadb

from adapters.contract import Adapter
from adapters.http.adapter import HttpAdapter
from adapters.http.tables import HttpTable
from examples.inventory.on_mariadb import MariaWarehouse
from examples.inventory.on_postgres import PostgresWarehouse
from examples.inventory.service import app
from ledger.intents import Verb

CONFIGURATION = Path(__file__).parents[1] / "examples" / "inventory" / "intentledger.toml"
_EFFECT = {"reserve": "left", "deliver": "delivered"}
_UNDO = {"reserve": "returned", "deliver": "corrected"}


class InventoryOutside:
    """`dsn` is of an empty PostgreSQL database; None: MariaDB."""

    def __init__(self, verb: str, dsn: str | None) -> None:
        self.verb = verb
        self.dsn = dsn
        self.operation = f"inventory.{verb}"
        self.params = {"sku": "bolt", "quantity": 60}
        self.refusable = {"sku": "bolt", "quantity": 101} if verb == "reserve" else {"sku": "nut"}
        self.facts = {"on_hand": 100}
        self._adapters: list[Adapter] = []

    async def start(self) -> "InventoryOutside":
        if self.dsn is not None:
            self.system: Any = await asyncpg.connect(self.dsn)
            self.warehouse: Any = await PostgresWarehouse.open(self.dsn)
        else:
            self.server = await mariadb()
            self.database = await self.server.make_database()
            self.system = await self.server.connect(self.database)
            self.warehouse = await MariaWarehouse.open(self.server.dsn(self.database))
        await self.warehouse.stock("bolt", 100)
        self.runner = web.AppRunner(app(self.warehouse), access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.proxy = Proxy(self.runner.addresses[0])
        await self.proxy.start()
        self.adapter = await self.another()
        return self

    async def another(self) -> Adapter:
        table = tomllib.loads(CONFIGURATION.read_text())["adapters"]["inventory"]
        parsed = HttpTable.model_validate(table | {"url": f"http://127.0.0.1:{self.proxy.port}"}, strict=False)
        adapter = HttpAdapter("inventory", parsed, {})
        await adapter.open()
        self._adapters.append(adapter)
        return adapter

    async def query(self, sql: str) -> list[tuple[Any, ...]]:
        if self.dsn is not None:
            return [tuple(row) for row in await self.system.fetch(sql)]
        async with self.system.cursor() as cursor:
            await cursor.execute(sql)
            return list(await cursor.fetchall()) if cursor.description else []

    async def _count(self, what: str) -> int:
        return (await self.query(f"select count(*) from movements where what = '{what}'"))[0][0]

    async def effects(self) -> int:
        return await self._count(_EFFECT[self.verb])

    async def undone(self) -> int:
        return await self._count(_UNDO[self.verb])

    async def holds(self) -> int:
        (reserved,) = (await self.query("select coalesce(sum(reserved), 0) from items"))[0]
        ((held,),) = await self.query("select count(*) from intent_fence where state = 'held'")
        assert int(reserved) == 60 * held, "the fence and the shelf disagree"
        return held

    async def shown(self) -> Any:
        return await self.query("select sku, on_hand from items order by sku")

    async def change_a_fact(self) -> None:
        await self.query("update items set on_hand = on_hand + 1")

    async def lose_answer(self, verb: Verb) -> None:
        commit = b"/confirm HTTP" if self.verb == "reserve" else b"POST /deliveries "
        self.proxy.lose_after = {
            Verb.PREPARE: b"POST /reservations HTTP",
            Verb.COMMIT: commit,
            Verb.ABORT: b"/release HTTP",
            Verb.COMPENSATE: b"POST /returns " if self.verb == "reserve" else b"POST /corrections ",
        }[verb]

    async def break_down(self) -> None:
        await self.proxy.stop()

    async def stop(self) -> None:
        for adapter in self._adapters:
            await adapter.close()
        await self.proxy.stop()
        await self.runner.cleanup()
        await self.warehouse.close()
        if self.dsn is not None:
            await self.system.close()
        else:
            await self.system.ensure_closed()
            await self.server.drop_database(self.database)

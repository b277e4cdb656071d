"""An outside system in MariaDB: the CRM of the contract suite, with its own record, behind a proxy."""

import json
from copy import deepcopy
from typing import Any

from adapter_worlds import CRM
from lossy_proxy import Proxy
from servers.mariadb import MariaDB, mariadb

from adapters.contract import Adapter
from adapters.mysql.adapter import MysqlAdapter
from adapters.mysql.tables import MysqlTable
from ledger.intents import Verb

CUSTOMERS = (
    """
create table customers (
    id varchar(64) primary key,
    status varchar(16) not null check (status in ('active', 'refunded')),
    age integer not null default 100
)
""",
    "create table changes (number bigint auto_increment primary key, status varchar(16) not null)",
    """
create trigger keep after update on customers for each row
begin if new.status <> old.status then insert into changes (status) values (new.status); end if; end
""",
    "insert into customers (id, status) values ('88', 'active'), ('89', 'active')",
)


def crm(**operation: Any) -> dict[str, Any]:
    """Return the table of the CRM, with some keys of its operation changed."""
    table = deepcopy(CRM) | {"type": "mysql", "tls": "none", "lock_timeout_seconds": 0}
    table["operations"]["update"] |= {
        "statements": [
            {"sql": "update customers set status = :status where id = :customer", "expect_rows": 1},
            {"sql": "select id, status from customers where id = :customer"},
        ],
        **operation,
    }
    return table


class MysqlOutside:
    def __init__(self) -> None:
        self.table = crm()
        self.operation = "crm.update"
        self.params = {"customer": "88", "status": "refunded"}
        self.refusable = {"customer": "88", "status": "melted"}

    async def start(self) -> "MysqlOutside":
        self.server: MariaDB = await mariadb()
        self.database = await self.server.make_database()
        await self.server.execute(self.database, *CUSTOMERS)
        self.system = await self.server.connect(self.database)
        self.proxy = Proxy(("127.0.0.1", self.server.port))
        await self.proxy.start()
        self.adapter = await self.another()
        return self

    async def another(self, table: dict[str, Any] | None = None) -> Adapter:
        dsn = self.server.dsn(self.database).replace(f":{self.server.port}/", f":{self.proxy.port}/")
        parsed = MysqlTable.model_validate_json(json.dumps(table or self.table))
        adapter = MysqlAdapter("crm", parsed, lambda: dsn)
        await adapter.open()
        return adapter

    async def query(self, sql: str) -> list[tuple[Any, ...]]:
        async with self.system.cursor() as cursor:
            await cursor.execute(sql)
            return list(await cursor.fetchall()) if cursor.description else []

    async def _count(self, status: str) -> int:
        return (await self.query(f"select count(*) from changes where status = '{status}'"))[0][0]

    async def effects(self) -> int:
        return await self._count("refunded")

    async def undone(self) -> int:
        return await self._count("active")

    async def holds(self) -> int:
        return len(await self.query("xa recover"))

    async def shown(self) -> Any:
        return await self.query("select id, status from customers order by id")

    async def change_a_fact(self) -> None:
        await self.query("update customers set age = age + 1 where id = '88'")

    async def lose_answer(self, verb: Verb) -> None:
        self.proxy.lose_after = {
            Verb.PREPARE: b"xa prepare",
            Verb.COMMIT: b"xa commit",
            Verb.ABORT: b"xa rollback",
            Verb.COMPENSATE: b"\x03commit",
        }[verb]

    async def break_down(self) -> None:
        await self.proxy.stop()

    async def stop(self) -> None:
        await self.adapter.close()
        await self.proxy.stop()
        await self.system.ensure_closed()
        await self.server.drop_database(self.database)

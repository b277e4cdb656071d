"""The warehouse's tables in MariaDB."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

import asyncmy
from intentledger_fence.mariadb import fence

from examples.inventory.service import Goods, Shelf

TABLES: Final = (
    """
create table if not exists items (
    sku varchar(64) primary key,
    on_hand integer not null,
    reserved integer not null default 0 check (reserved >= 0),
    check (on_hand >= reserved)
) engine = innodb
""",
    """
create table if not exists movements (
    number bigint auto_increment primary key,
    what varchar(16) not null,
    sku varchar(64) not null references items (sku),
    quantity integer not null
) engine = innodb
""",
)


class MariaWarehouse:
    """A pool of connections to the warehouse's database."""

    fence = fence

    def __init__(self, pool: Any) -> None:
        """Use a pool that is open."""
        self._pool = pool

    @classmethod
    async def open(cls, dsn: str) -> Self:
        """Connect, and make the tables where there are none."""
        where = urlsplit(dsn)
        pool = await asyncmy.create_pool(
            minsize=1,
            maxsize=4,
            host=where.hostname,
            port=where.port or 3306,
            user=unquote(where.username or ""),
            password=unquote(where.password or ""),
            database=where.path.removeprefix("/"),
            autocommit=True,
            init_command="set session innodb_lock_wait_timeout = 1",
        )
        async with pool.acquire() as connection:
            for table in TABLES:
                await _run(connection, table)
            await fence.create(connection)
        return cls(pool)

    async def close(self) -> None:
        """Let go of the connections."""
        self._pool.close()
        await self._pool.wait_closed()

    async def stock(self, sku: str, on_hand: int) -> None:
        """Put an item on the shelf, if it is not there."""
        async with self._pool.acquire() as connection:
            await _run(connection, "insert ignore into items (sku, on_hand) values (%s, %s)", (sku, on_hand))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Shelf]:
        """Open a transaction: committed at the end, rolled back on an error."""
        async with self._pool.acquire() as connection:
            await connection.begin()
            try:
                yield _Shelf(connection)
                await connection.commit()
            except BaseException:
                connection.close()  # the server rolls back; what state the connection is in need not be known
                raise


class _Shelf:
    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def change(self, sku: str, *, on_hand: int = 0, reserved: int = 0) -> bool:
        changed, _ = await _run(
            self.connection,
            "update items set on_hand = on_hand + %s, reserved = reserved + %s "
            "where sku = %s and on_hand + %s >= reserved + %s",
            (on_hand, reserved, sku, on_hand, reserved),
        )
        return changed == 1

    async def note(self, what: str, sku: str, quantity: int) -> None:
        await _run(
            self.connection,
            "insert into movements (what, sku, quantity) values (%s, %s, %s)",
            (what, sku, quantity),
        )

    async def show(self, sku: str) -> Goods | None:
        _, items = await _run(
            self.connection,
            "select sku, on_hand, reserved, (select count(*) from movements where movements.sku = items.sku) "
            "from items where sku = %s",
            (sku,),
        )
        return dict(zip(("sku", "on_hand", "reserved", "movements"), items[0], strict=True)) if items else None


async def _run(connection: Any, sql: str, args: tuple[Any, ...] | None = None) -> tuple[int, list[Any]]:
    async with connection.cursor() as cursor:
        await cursor.execute(sql, args)
        return cursor.rowcount, list(await cursor.fetchall()) if cursor.description else []

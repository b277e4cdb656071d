"""The warehouse's tables in PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import asyncpg
from intentledger_fence.postgres import fence

from examples.inventory.service import Goods, Shelf

TABLES: Final = """
create table if not exists items (
    sku text primary key,
    on_hand integer not null check (on_hand >= reserved),
    reserved integer not null default 0 check (reserved >= 0)
);
create table if not exists movements (
    number bigserial primary key,
    what text not null,
    sku text not null references items,
    quantity integer not null
);
"""


class PostgresWarehouse:
    """A pool of connections to the warehouse's database."""

    fence = fence

    def __init__(self, pool: Any) -> None:
        """Use a pool that is open."""
        self._pool = pool

    @classmethod
    async def open(cls, dsn: str) -> Self:
        """Connect, and make the tables where there are none."""
        pool = await asyncpg.create_pool(dsn, min_size=1, max_size=4, server_settings={"lock_timeout": "1s"})
        async with pool.acquire() as connection:
            await connection.execute(TABLES)
            await fence.create(connection)
        return cls(pool)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._pool.close()

    async def stock(self, sku: str, on_hand: int) -> None:
        """Put an item on the shelf, if it is not there."""
        await self._pool.execute(
            "insert into items (sku, on_hand) values ($1, $2) on conflict (sku) do nothing", sku, on_hand
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Shelf]:
        """Open a transaction: committed at the end, rolled back on an error."""
        async with self._pool.acquire() as connection, connection.transaction():
            yield _Shelf(connection)


class _Shelf:
    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def change(self, sku: str, *, on_hand: int = 0, reserved: int = 0) -> bool:
        changed = await self.connection.execute(
            "update items set on_hand = on_hand + $2, reserved = reserved + $3 "
            "where sku = $1 and on_hand + $2 >= reserved + $3",
            sku,
            on_hand,
            reserved,
        )
        return bool(changed == "UPDATE 1")

    async def note(self, what: str, sku: str, quantity: int) -> None:
        await self.connection.execute(
            "insert into movements (what, sku, quantity) values ($1, $2, $3)", what, sku, quantity
        )

    async def show(self, sku: str) -> Goods | None:
        item = await self.connection.fetchrow("select sku, on_hand, reserved from items where sku = $1", sku)
        moved = await self.connection.fetchval("select count(*) from movements where sku = $1", sku)
        return None if item is None else {**item, "movements": moved}

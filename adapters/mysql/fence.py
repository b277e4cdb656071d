"""The fence (`adapters/fence.py`) in MariaDB and MySQL: the same rows under the same rules, in InnoDB's words.

A row that an open or prepared transaction has written makes every other writer of its key wait, at most
`innodb_lock_wait_timeout`, also after a restart of the server: it is among the locks that InnoDB brings back.
"""

import json
from typing import Any, Final

from asyncmy.constants import ER
from asyncmy.errors import MySQLError

from adapters.fence import Fence, State
from adapters.mysql.session import Session, number
from adapters.mysql.tables import literal
from ledger.canonical import canonical
from ledger.intents import JSON

CREATE: Final = """
create table if not exists intent_ledger_fence (
    `key` varchar(64) character set ascii collate ascii_bin primary key,
    state varchar(8) character set ascii collate ascii_bin not null check (state in ('applied', 'aborted')),
    epoch bigint not null check (epoch >= 0),
    result mediumtext character set utf8mb4 collate utf8mb4_bin,
    at timestamp(6) not null default current_timestamp(6)
) engine = innodb
comment = 'What became of each action of Intent Ledger here. A row may go once its intent can no longer be undone.'
"""
_ENGINE: Final = """
select engine
from information_schema.tables
where table_schema = database() and table_name = 'intent_ledger_fence'
"""


async def engine(session: Session) -> str | None:
    """Return the storage engine of the table, None where there is no table yet."""
    rows = await session.rows(_ENGINE)
    return str(next(iter(rows[0].values()))) if rows else None  # information_schema spells names as it likes


async def claim(session: Session, key: str, epoch: int) -> bool:
    """Write the row that will say `applied`, unless a visible one exists. Waits for a rival at most the lock time."""
    try:
        await session.execute(
            f"insert into intent_ledger_fence (`key`, state, epoch) values ({literal(key)}, 'applied', {int(epoch)})"  # noqa: S608
        )
    except MySQLError as error:
        if number(error) == ER.DUP_ENTRY:
            return False
        raise
    return True


async def note(session: Session, key: str, result: JSON) -> None:
    """Keep what a repeated call must answer, in the row just claimed."""
    kept = literal(canonical(result).decode())
    await session.execute(f"update intent_ledger_fence set result = {kept} where `key` = {literal(key)}")  # noqa: S608


async def read(session: Session, key: str) -> Fence | None:
    """Return the visible row of a key."""
    rows = await session.rows(f"select state, epoch, result from intent_ledger_fence where `key` = {literal(key)}")  # noqa: S608
    return _fence(rows[0]) if rows else None


async def bury(session: Session, key: str, epoch: int) -> Fence | None:
    """Leave a tombstone unless the key has a visible row already; return the row that stands now."""
    await session.execute(
        f"insert into intent_ledger_fence (`key`, state, epoch) values ({literal(key)}, 'aborted', {int(epoch)}) "  # noqa: S608
        "on duplicate key update epoch = greatest(epoch, values(epoch))"
    )
    return await read(session, key)


def _fence(row: dict[str, Any]) -> Fence:
    result = None if row["result"] is None else json.loads(row["result"])
    return Fence(State(row["state"]), row["epoch"], result)

"""The fence: one row for each key, in the participant's own database and written in the participant's own transactions.

Rules of this file:

1. A row that can be seen is final. An `applied` row is written inside the transaction of the effect itself and
   becomes visible with it, at one instant; an `aborted` row (a tombstone) is committed on its own.
2. The primary key is the whole of the mutual exclusion. Where a transaction that is open or prepared has written the
   row of a key, every other writer of that key waits for it, at most `lock_timeout`. So once a tombstone is
   committed, no hold of that key exists and none can come into being.
3. The row carries the epoch under which it was written, so that a process that was overtaken is recognised.

The functions take a connection and never begin or end a transaction. How an error is to be understood depends on where
in the protocol it happens, so it is left to the caller.
"""

from enum import StrEnum
from typing import Any, Final, TypeAlias

import msgspec
from asyncpg import Connection
from asyncpg.pool import PoolConnectionProxy

from ledger.intents import JSON

AnyConnection: TypeAlias = "Connection[Any] | PoolConnectionProxy[Any]"

CREATE: Final = """
create table if not exists public.intent_ledger_fence (
    key text primary key,
    state text not null check (state in ('applied', 'aborted')),
    epoch bigint not null check (epoch >= 0),
    result jsonb check (result is null or state = 'applied'),
    at timestamptz not null default now()
);
comment on table public.intent_ledger_fence is
    'What became of each action of Intent Ledger here. A row may go once its intent can no longer be undone.';
"""
_EXISTS: Final = "select to_regclass('public.intent_ledger_fence') is not null"
_ONE_CREATOR: Final = "select pg_advisory_xact_lock(hashtext('public.intent_ledger_fence'))"
_CLAIM: Final = """
insert into public.intent_ledger_fence (key, state, epoch)
values ($1, 'applied', $2)
on conflict (key) do nothing
returning true
"""
_NOTE: Final = "update public.intent_ledger_fence set result = $2 where key = $1"
_READ: Final = "select state, epoch, result from public.intent_ledger_fence where key = $1"
_BURY: Final = """
insert into public.intent_ledger_fence as fence (key, state, epoch)
values ($1, 'aborted', $2)
on conflict (key) do update set epoch = greatest(fence.epoch, excluded.epoch)
returning state, epoch, result
"""


class State(StrEnum):
    """What has become of a key, for good."""

    APPLIED = "applied"
    ABORTED = "aborted"


class Fence(msgspec.Struct, frozen=True):
    """The visible row of a key."""

    state: State
    epoch: int
    result: JSON | None


async def create(connection: AnyConnection) -> None:
    """Create the table where it does not exist yet. It needs the right to create in schema public only that once."""
    if await connection.fetchval(_EXISTS):
        return
    async with connection.transaction():
        await connection.execute(_ONE_CREATOR)  # `if not exists` alone lets two creators collide
        await connection.execute(CREATE)


async def claim(connection: AnyConnection, key: str, epoch: int) -> bool:
    """Write the row that will say `applied`, unless a visible one exists. Waits for a rival at most `lock_timeout`."""
    return await connection.fetchval(_CLAIM, key, epoch) is not None


async def note(connection: AnyConnection, key: str, result: JSON) -> None:
    """Keep what a repeated call must answer, in the row just claimed."""
    await connection.execute(_NOTE, key, result)


async def read(connection: AnyConnection, key: str) -> Fence | None:
    """Return the visible row of a key."""
    row = await connection.fetchrow(_READ, key)
    return None if row is None else _fence(row)


async def bury(connection: AnyConnection, key: str, epoch: int) -> Fence:
    """Leave a tombstone unless the key has a visible row already; return the row that stands now."""
    return _fence(await connection.fetchrow(_BURY, key, epoch))


def _fence(row: Any) -> Fence:
    return Fence(State(row["state"]), row["epoch"], row["result"])

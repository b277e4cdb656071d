"""Replay: making the views anew from the events, proving that the live ones are the same, and putting the new ones in
their place, here or on another server.

    fold all events into shadow tables (`projections/rebuild.py`), while the live views serve and go on
    then for each view:
    one snapshot: bring the shadow to exactly where the live view stands, and compare row by row
    if asked to swap: one transaction that takes the checkpoint, catches up and makes the live rows those of the shadow

A swap touches only rows that differ, so a view that was right is not written at all; readers see the rows before it or
after it, never between. What it puts there is of this release's revision.

`at` a position, the shadows are the views as they were then: there is nothing live to compare them with, and nothing is
swapped. `into` another server, the shadows are made there and become its views, at the position they were compared at.

Replay calls no adapter and appends nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec
from asyncpg import Record

import sql
from ledger.database import connection as borrowed
from ledger.errors import Conflict, Corrupt, NotFound, Unavailable
from ledger.progress import Progress, unseen
from projections.comparison import Compared, Difference, compare
from projections.digest import digest_of
from projections.feed import Shared
from projections.projection import Projection
from projections.rebuild import UNBOUNDED, Rebuild, checkpoint, fold_together, rebuilds

if TYPE_CHECKING:
    from ledger.database import Connection, Pool

Show = Callable[[str, Sequence[Record]], None]  # the name of a view, and some of its rows

_OPEN: Final = sql.query("views.open")
_HEAD: Final = sql.query("read.head")
_HOLD: Final = sql.query("views.hold")


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of rebuilding one view. Both digests are true at `position`."""

    name: str
    position: int
    events: int
    seconds: float
    rows: int
    digest: str
    live_digest: str | None  # None: there is no live view of that position
    difference: Difference | None
    swapped: bool  # or, on another server, in place there
    failure: str | None  # why the rebuild stopped before the position asked for, if it did
    stopped: str | None = None  # why the live view stands still at `position`, if it does
    behind: int = 0  # how many events of the ledger the live view had not read: nothing is said about those

    @property
    def equal(self) -> bool:
        """Tell whether the live view, if there is one, was byte for byte what the events say, and goes on being it."""
        return self.difference is None and self.failure is None and self.stopped is None


class _Folded(msgspec.Struct, frozen=True):
    """What the one reading of the events was."""

    events: int
    seconds: float


class _Live(msgspec.Struct, frozen=True):
    """The live view at the moment when it was compared."""

    compared: Compared
    stopped: str | None
    behind: int


class _Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done with the rebuilt rows beside comparing them."""

    swap: bool = False
    into: "Pool | None" = None
    at: int | None = None
    show: Show | None = None  # called with every row, in key order


async def replay(
    pool: "Pool",
    ledger: str,
    projections: Sequence[Projection[Any]],
    progress: Progress = unseen,
    *,
    swap: bool = False,
    into: "Pool | None" = None,
    at: int | None = None,
    show: Show | None = None,
) -> list[Replayed]:
    """Rebuild these views and compare them with the live ones; with `swap`, put the rebuilt rows in their place.

    Uses two connections of the pool, or one of it and one of `into`. What it finds are rows that were written by other
    ways than the follower. Raises `NotFound` for a position that does not exist yet, `Conflict` if the other server has
    such a ledger of its own: nothing was changed then. Raises `Unavailable`, and `Corrupt` if a view is ahead of its
    ledger: these name the views that are in place.
    """
    order, found = _Order(swap=swap and at is None, into=into, at=at, show=show), []
    try:
        async with AsyncExitStack() as parts:
            reader = await parts.enter_async_context(borrowed(pool))
            source = Shared(reader)
            await _open(reader, ledger, projections)
            if into is not None:
                async with borrowed(into) as there:
                    await _refuse_another(there, ledger)
                    await _open(there, ledger, projections)
            rebuilding = await parts.enter_async_context(rebuilds(source, into or pool, ledger, projections))
            await _aim(reader, ledger, rebuilding, at)
            folded = await _fold(source, ledger, rebuilding, progress)
            for rebuild in rebuilding:
                found.append(await _finish(reader, ledger, rebuild, order, folded))  # noqa: PERF401 - all before a fault
    except (Unavailable, Corrupt) as error:
        kind = Corrupt if isinstance(error, Corrupt) else Unavailable
        raise kind(f"{error.message} {_so_far(projections, found)}") from error
    return found


def _so_far(projections: Sequence[Projection[Any]], found: Sequence[Replayed]) -> str:
    """Say what stands where a replay was broken off."""
    done = [one.name for one in found if one.swapped]
    others = ", ".join(one.name for one in projections if one.name not in done)
    placed = f"In place are: {', '.join(done)}. " if done else ""
    return f"The replay was broken off. {placed}As before are: {others}."


async def _fold(source: Shared, ledger: str, rebuilding: Sequence[Rebuild[Any]], progress: Progress) -> _Folded:
    clock = asyncio.get_running_loop().time
    started = clock()
    return _Folded(await fold_together(source, ledger, rebuilding, progress), clock() - started)


async def _open(connection: "Connection", ledger: str, projections: Sequence[Projection[Any]]) -> None:
    await connection.execute(_OPEN, ledger, [p.name for p in projections], [p.revision for p in projections])


async def _refuse_another(there: "Connection", ledger: str) -> None:
    """Refuse a server that keeps the events of a ledger of this name: its views are of those."""
    if await there.fetchval(_HEAD, ledger):
        raise Conflict(
            f"The other database has events of a ledger {ledger!r} itself. Nothing was changed; name a database "
            "without them, or replay that one where it is."
        )


async def _aim(reader: "Connection", ledger: str, rebuilding: Sequence[Rebuild[Any]], at: int | None) -> None:
    """Tell each shadow how far to come: to the position asked for, or to where its live view stands now."""
    head = await reader.fetchval(_HEAD, ledger) or 0
    if at is not None and at > head:
        raise NotFound(f"The ledger {ledger!r} ends at position {head}; there is no state at {at} yet.")
    for rebuild in rebuilding:
        rebuild.until = (await checkpoint(reader, ledger, rebuild.projection)).position if at is None else at


async def _finish(reader: "Connection", ledger: str, rebuild: Rebuild[Any], order: _Order, folded: _Folded) -> Replayed:
    """Compare with the live view, show what is there, and put it where it was ordered."""
    live = None
    if order.at is None:
        live = await _compare(reader, ledger, rebuild)
    else:
        await rebuild.bring_to(order.at)
    if live is None or order.show is not None:
        digest, rows = await _read(ledger, rebuild, order.show)
    else:
        digest, rows = live.compared.digest, live.compared.rows
    position, failure = rebuild.reached.position, rebuild.reached.failure
    swapped = await _put(ledger, rebuild, order)  # which may bring the rebuild further
    return Replayed(
        name=rebuild.projection.name,
        position=position,
        events=folded.events,
        seconds=folded.seconds,
        rows=rows,
        digest=digest,
        live_digest=None if live is None else live.compared.live_digest,
        difference=None if live is None else live.compared.difference,
        swapped=swapped,
        failure=failure,
        stopped=None if live is None else live.stopped,
        behind=0 if live is None else live.behind,
    )


async def _compare(reader: "Connection", ledger: str, rebuild: Rebuild[Any]) -> _Live:
    """Bring the shadow to where the live view stands, and compare the two of one moment."""
    async with reader.transaction(isolation="repeatable_read"), rebuild.connection.transaction():
        for connection in (reader, rebuild.connection):
            await connection.execute(UNBOUNDED)
        reached = await checkpoint(reader, ledger, rebuild.projection)
        head = await reader.fetchval(_HEAD, ledger) or 0
        await rebuild.bring_to(reached.position)
        rows = rebuild.live.every(reader, ledger), rebuild.shadow.every(rebuild.connection, ledger)
        return _Live(await compare(*rows, rebuild.projection.key), reached.failure, head - reached.position)


async def _put(ledger: str, rebuild: Rebuild[Any], order: _Order) -> bool:
    """Put the rebuilt rows where it was ordered; tell whether they are there."""
    if order.into is not None:
        return rebuild.reached.failure is None and await _place(ledger, rebuild)
    return order.swap and await rebuild.swap()


async def _read(ledger: str, rebuild: Rebuild[Any], show: Show | None) -> tuple[str, int]:
    """Digest and count the rebuilt rows, and show them."""
    count = 0

    async def seen() -> AsyncIterator[list[Record]]:
        nonlocal count
        async for records in rebuild.shadow.every(rebuild.connection, ledger):
            count += len(records)
            if show is not None:
                show(rebuild.projection.name, records)
            yield records

    async with rebuild.connection.transaction():
        return await digest_of(seen()), count


async def _place(ledger: str, rebuild: Rebuild[Any]) -> bool:
    """Make the rebuilt rows the views of the other server, and read them back before it is done. Raises `Corrupt`."""
    connection, every = rebuild.connection, (rebuild.shadow.every, rebuild.live.every)
    async with connection.transaction():
        await connection.execute(UNBOUNDED)
        await checkpoint(connection, ledger, rebuild.projection, _HOLD)
        await rebuild.replace()
        made, placed = [await digest_of(rows(connection, ledger)) for rows in every]
        if made != placed:
            raise Corrupt(
                f"The other server does not give back the rows of {rebuild.projection.name} that it was given. "
                "Nothing was changed there."
            )
    return True

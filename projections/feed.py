"""From stored events to what projections read: decode what is read, pass over what is not, stop at what is unknown.

Reading here does not go through the store's `read_all`, because that understands a whole batch or nothing. A view has
to say at which position it stopped, and it does not pay for decoding events that nobody reads.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from asyncpg import Record

import sql
from ledger.bounds import VIEW_SLICE_EVENTS
from ledger.errors import Corrupt
from ledger.events import EVENT_TYPES, UPCAST, Event, Recorded, decode

if TYPE_CHECKING:
    from ledger.database import Connection

_READ: Final = sql.query("read.all")


class Batch(msgspec.Struct, frozen=True):
    """Some of the ledger's events: those that some view reads, and how far all of them were understood."""

    events: Mapping[str, list[Recorded]]  # by stream, each in order
    end: int  # every event up to this position was looked at
    count: int  # of events looked at, read by a view or not
    failure: str | None = None  # why it ends there, if the next one cannot be understood


class Source(Protocol):
    """Where events are read: a connection, or one that is shared."""

    async def fetch(self, query: str, /, *args: Any) -> list[Record]:
        """Run a query and return its rows."""


class Shared:
    """A connection on which several read, one after the other."""

    def __init__(self, connection: "Connection") -> None:
        """Share this connection among those who read through this object only."""
        self._connection = connection
        self._turn = asyncio.Lock()

    async def fetch(self, query: str, /, *args: Any) -> list[Record]:
        """Wait for a turn, run a query and return its rows."""
        async with self._turn:
            return await self._connection.fetch(query, *args)


async def read_batch(
    source: Source,
    ledger: str,
    reads: Collection[type[Event]],
    *,
    after: int,
    limit: int,
    until: int | None = None,
) -> Batch:
    """Read at most `limit` events after a position, and none after `until`; understand those that are read.

    A type that this release does not know ends the batch, whoever may read it: what it means is not known.
    """
    passed = EVENT_TYPES.keys() - {event.__name__ for event in reads} - UPCAST.keys()
    found: dict[str, list[Recorded]] = {}
    end = after
    records = await source.fetch(_READ, ledger, after, limit)
    for count, record in enumerate(records):
        position, stream, type_name = record["position"], record["stream"], record["type"]
        if until is not None and position > until:
            return Batch(found, end, count)
        if type_name not in passed:
            try:
                recorded = understand(ledger, record)
            except Corrupt as error:
                return Batch(found, end, count, stopped(position, error))
            found.setdefault(stream, []).append(recorded)
        end = position
        if count % VIEW_SLICE_EVENTS == 0:
            await asyncio.sleep(0)
    return Batch(found, end, len(records))


class ReadAhead:
    """Reads the next batch of events while the last one is folded."""

    def __init__(self, source: Source, ledger: str, reads: Collection[type[Event]], limit: int) -> None:
        """Read nothing yet; at most `limit` events at a time."""
        self._source = source
        self._ledger = ledger
        self._reads = reads
        self._limit = limit
        self._next: _Reading | None = None

    async def batch(self, after: int, until: int) -> Batch:
        """Return the events after a position, none after `until`, and begin to read those that follow."""
        reading = self._next
        if reading is None or (reading.after, reading.until) != (after, until):
            await self.end()
            reading = self._begin(after, until)
        batch = await reading.task
        more = batch.failure is None and after < batch.end < until
        self._next = self._begin(batch.end, until) if more else None
        return batch

    async def end(self) -> None:
        """Forget what was read ahead."""
        if self._next is not None:
            self._next.task.cancel()
            await asyncio.wait([self._next.task])
            self._next = None

    def _begin(self, after: int, until: int) -> "_Reading":
        batch = read_batch(self._source, self._ledger, self._reads, after=after, limit=self._limit, until=until)
        return _Reading(after, until, asyncio.create_task(batch))


class _Reading(msgspec.Struct, frozen=True):
    after: int
    until: int
    task: asyncio.Task[Batch]


def understand(ledger: str, record: Record) -> Recorded:
    """Turn a row of the events table into the event it is. Raises `Corrupt`."""
    position, stream, version, type_name, at, body = record
    return Recorded(
        ledger=ledger,
        position=position,
        stream=stream,
        version=version,
        at=at,
        event=decode(type_name, body),
        body=body,
    )


def stopped(position: int, error: Corrupt) -> str:
    """Say where a view stopped and why."""
    return f"Stopped before position {position}: {error.message}"

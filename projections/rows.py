"""Where the rows of a view are while events are folded into them: in its table, or in memory with the table behind.

`Stored` is the follower's: what a batch changed is written with the batch, in one transaction with the checkpoint.
`Kept` is the rebuild's, whose table nobody reads before it is finished: rows stay in memory until others push them out,
so that an intent which comes and goes within some thousands of others is written once, and never read back. What is
pushed out is written while the next events are folded. Its memory is bounded by REPLAY_ROWS_KEPT, however long the
ledger is.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias

from ledger.bounds import REPLAY_ROWS_KEPT
from projections.projection import Projection, R
from projections.table import Changes, Table, changes

if TYPE_CHECKING:
    from ledger.database import Connection

OfSubjects: TypeAlias = dict[str, tuple[R, ...]]  # rows by subject, each in key order


class Rows(Protocol[R]):
    """The rows of one view, as a fold needs them."""

    @property
    def projection(self) -> Projection[R]:
        """Return the view whose rows these are."""

    async def load(self, subjects: Sequence[str]) -> OfSubjects[R]:
        """Return the rows of these subjects, without those of which there are none."""

    async def save(self, before: Mapping[str, Sequence[R]], after: Mapping[str, tuple[R, ...]]) -> None:
        """Take the rows of some subjects as they are now; `before` is what `load` returned for them."""


class Stored(Generic[R]):
    """The rows in the table itself. The caller owns the transaction."""

    def __init__(self, connection: "Connection", ledger: str, table: Table[R]) -> None:
        """Use this connection, and nothing before the first call."""
        self.projection = table.projection
        self._connection = connection
        self._ledger = ledger
        self._table = table

    async def load(self, subjects: Sequence[str]) -> OfSubjects[R]:
        """Read the rows of these subjects."""
        return await self._table.load(self._connection, self._ledger, subjects)

    async def save(self, before: Mapping[str, Sequence[R]], after: Mapping[str, tuple[R, ...]]) -> None:
        """Write what changed."""
        await self._table.save(self._connection, self._ledger, changes(self.projection, before, after))


class Kept(Generic[R]):
    """The rows of the subjects that were touched last, in memory; the others in the table."""

    def __init__(self, connection: "Connection", turn: asyncio.Lock, ledger: str, table: Table[R]) -> None:
        """Use this connection whenever it has the `turn`, and nothing before the first call."""
        self.projection = table.projection
        self._connection = connection
        self._turn = turn
        self._ledger = ledger
        self._table = table
        self._kept: OfSubjects[R] = {}  # the subject that was touched longest ago comes first
        self._written: OfSubjects[R] = {}  # what the table has of them, where it has something
        self._count = 0  # of rows kept
        self._writing: asyncio.Task[None] | None = None

    async def load(self, subjects: Sequence[str]) -> OfSubjects[R]:
        """Return the rows of these subjects, from memory where they are there."""
        found = {subject: self._kept[subject] for subject in subjects if subject in self._kept}
        missing = [subject for subject in subjects if subject not in found]
        if missing:
            await self._wait()
            async with self._turn:
                stored = await self._table.load(self._connection, self._ledger, missing)
            self._written |= stored
            found |= stored
        return found

    async def save(self, before: Mapping[str, Sequence[R]], after: Mapping[str, tuple[R, ...]]) -> None:  # noqa: ARG002
        """Keep these rows, and let those that were touched longest ago be written if there are too many."""
        for subject, rows in after.items():
            self._count += len(rows) - len(self._kept.pop(subject, ()))
            self._kept[subject] = rows
        if self._count > REPLAY_ROWS_KEPT:
            await self._push_out(REPLAY_ROWS_KEPT // 2)

    async def flush(self) -> None:
        """Write everything, and keep nothing."""
        await self._push_out(0)
        await self._wait()

    async def stop(self) -> None:
        """Let what is being written end; harmless when nothing is."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _push_out(self, leave: int) -> None:
        await self._wait()
        after: OfSubjects[R] = {}
        for subject in list(self._kept):
            if self._count <= leave:
                break
            after[subject] = self._kept.pop(subject)
            self._count -= len(after[subject])
        before = {subject: self._written.pop(subject) for subject in after if subject in self._written}
        self._writing = asyncio.create_task(self._write(changes(self.projection, before, after)))

    async def _write(self, changed: Changes[R]) -> None:
        async with self._turn:
            await self._table.save(self._connection, self._ledger, changed)

    async def _wait(self) -> None:
        """Wait until what was pushed out is in the table. Raises what PostgreSQL said about it."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing

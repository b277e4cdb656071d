"""Where the rows of a view are while events are folded into them: in its table, or in memory with the table behind.

`Stored` is the follower's: what a batch changed is written with the batch, in one transaction with the checkpoint.
`Kept` is the rebuild's, whose table nobody reads before it is finished: rows stay in memory until others push them out,
so that an intent which comes and goes within some thousands of others is written once, and never read back. What is
pushed out is written while the next events are folded. Its memory is bounded by REPLAY_ROWS_KEPT and
REPLAY_SUBJECTS_OPEN, however long the ledger is.

A view that is folded across subjects works on what it makes of their rows (`Across.opened`). `Stored` opens and closes
that with each batch; `Kept` leaves it open, because opening and closing cost as much as the fold itself.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias

import msgspec

from ledger.bounds import REPLAY_ROWS_KEPT, REPLAY_SUBJECTS_OPEN
from ledger.errors import Corrupt, InvariantViolation
from projections.projection import Across, Projection, R
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

    async def opened(self, subjects: Sequence[str]) -> dict[str, Any]:
        """Return what was made of the rows of each of these (`Across.opened`), to be changed."""

    async def closed(self, known: Mapping[str, Any]) -> None:
        """Take back what `opened` gave, changed."""


class Stored(Generic[R]):
    """The rows in the table itself. The caller owns the transaction."""

    def __init__(self, connection: "Connection", ledger: str, table: Table[R]) -> None:
        """Use this connection, and nothing before the first call."""
        self.projection = table.projection
        self._connection = connection
        self._ledger = ledger
        self._table = table
        self._opened: OfSubjects[R] = {}  # as they were read

    async def load(self, subjects: Sequence[str]) -> OfSubjects[R]:
        """Read the rows of these subjects."""
        return await self._table.load(self._connection, self._ledger, subjects)

    async def save(self, before: Mapping[str, Sequence[R]], after: Mapping[str, tuple[R, ...]]) -> None:
        """Write what changed."""
        await self._table.save(self._connection, self._ledger, changes(self.projection, before, after))

    async def opened(self, subjects: Sequence[str]) -> dict[str, Any]:
        """Read the rows of these subjects and open them."""
        self._opened = await self.load(subjects)
        return {subject: _open(self.projection, subject, self._opened) for subject in subjects}

    async def closed(self, known: Mapping[str, Any]) -> None:
        """Write what changed."""
        across = _across(self.projection)
        await self.save(self._opened, {subject: across.closed(subject, state) for subject, state in known.items()})


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
        self._open: dict[str, Any] = {}  # whose rows are opened, and not in `_kept`; in the same order
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

    async def opened(self, subjects: Sequence[str]) -> dict[str, Any]:
        """Return what is open of these subjects, and open the others."""
        closed = await self.load([subject for subject in subjects if subject not in self._open])
        for subject in closed:
            self._count -= len(self._kept.pop(subject, ()))
        return {
            subject: self._open.pop(subject) if subject in self._open else _open(self.projection, subject, closed)
            for subject in subjects
        }

    async def closed(self, known: Mapping[str, Any]) -> None:
        """Leave these open, and close those that were touched longest ago if there are too many."""
        self._open |= known
        if len(self._open) > REPLAY_SUBJECTS_OPEN:
            await self._close(REPLAY_SUBJECTS_OPEN // 2)

    async def _close(self, leave: int) -> None:
        across, longest_ago = _across(self.projection), list(self._open)[: len(self._open) - leave]
        rows = {subject: across.closed(subject, self._open.pop(subject)) for subject in longest_ago}
        await self.save({}, rows)

    async def flush(self) -> None:
        """Write everything, and keep nothing."""
        if self._open:
            await self._close(0)
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


def _open(projection: Projection[R], subject: str, rows: OfSubjects[R]) -> Any:
    """Open the rows of a subject. Raises `Corrupt` if they cannot be: somebody else has written them."""
    try:
        return _across(projection).opened(rows.get(subject, ()))
    except msgspec.DecodeError as error:
        raise Corrupt(f"The rows of {subject} are none of ours: {error}.") from error


def _across(projection: Projection[R]) -> Across[R]:
    if projection.across is None:
        raise InvariantViolation(f"The view {projection.name} is not folded across subjects.")
    return projection.across

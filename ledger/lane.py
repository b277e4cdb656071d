"""A lane: one connection on which batches are sent until every item of them has a true answer.

What can go wrong, and what each waiter is then told:

  * The server refuses for its own reasons (disk full, time-out): nothing was written, every waiter gets `Overloaded`.
  * The server refuses the batch for one item's sake: nothing was written. Each item is sent again alone, so that only
    the bad one raises `InvariantViolation`.
  * The connection breaks: the batch may have been written, or may be written later by a server that still has it.
    It is sent again on a new connection. What had not been written is written now, and the late original meets a
    version conflict; what had been written conflicts now, before any other guard is judged, and is recognised by its
    bytes and by the item's own epoch. Where another worker could have written the same bytes, the answer is `Unknown`.
    It is `Unknown`, too, where a guard fails now that may hold when the late original arrives.
  * The database stays away for AWAY_SECONDS: what was sent is `Unknown`, and what was not raises `Overloaded`.

A waiter that was cancelled is skipped and changes nothing for the others.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

import sql
from ledger import bounds
from ledger.batch import Item, arguments, recorded, verdict_of
from ledger.database import DRIVER_ERRORS, Fate, describe, fate_of
from ledger.errors import InvariantViolation, LedgerError, Overloaded
from ledger.ids import flight_of
from ledger.store import (
    Appended,
    EpochCurrent,
    Finished,
    GuardFailed,
    PolicyActive,
    Take,
    Unknown,
    Unlike,
    Verdict,
    VersionConflict,
    WithinLimits,
)

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy
    from asyncpg.prepared_stmt import PreparedStatement

    from ledger.database import Pool

_RETRY_SECONDS: Final = 0.1
_PASSING: Final = (PolicyActive, Unlike, WithinLimits)
"""Guards that fail now and may hold later. The others, once they have failed, fail for ever."""

_BATCH = sql.query("append.batch")
_WRITTEN = sql.query("append.written")
_STANDING = sql.query("work.standing")

_log = structlog.get_logger(__name__)


class Lane:
    """One dedicated connection of the pool, replaced when it breaks."""

    def __init__(self, pool: "Pool", ledger: str, committed: Callable[[datetime], None]) -> None:
        """Connect to nothing yet; `committed` is called with the ledger's time after each commit."""
        self._pool = pool
        self._ledger = ledger
        self._committed = committed
        self._connection: PoolConnectionProxy[asyncpg.Record] | None = None
        self._statement: PreparedStatement[asyncpg.Record] | None = None

    async def carry(self, batch: Sequence[Item], *, sent: bool = False) -> bool:
        """Answer every item of a batch; `sent`: it was sent before, and what became of it is not known.

        Returns False if the database stayed away for AWAY_SECONDS.
        """
        give_up_at = None
        while batch := [item for item in batch if not item.answer.done()]:
            sent_before = sent
            try:
                statement = await self._open()
                sent = True
                rows = await statement.fetch(*arguments(self._ledger, batch))
                verdicts = [verdict_of(self._ledger, item, tuple(row)) for item, row in zip(batch, rows, strict=True)]
                if sent_before:
                    verdicts = [await self._recognise(*pair) for pair in zip(batch, verdicts, strict=True)]
                answer(batch, verdicts)
                self._committed(rows[0]["at"])
            except DRIVER_ERRORS as error:
                fate, why = fate_of(error), describe(error)
                if fate is Fate.NEVER:
                    return await self._blame(batch, why, sent=sent_before)
                if fate is Fate.NOT_NOW and not sent_before:
                    fail(batch, Overloaded, f"PostgreSQL refused: {why}. Nothing was recorded; retry later.")
                    return True
                if fate is Fate.UNKNOWN:
                    self.close()
                now = asyncio.get_running_loop().time()
                give_up_at = give_up_at or now + bounds.AWAY_SECONDS
                if now > give_up_at:
                    _give_up(batch, why, sent=sent)
                    return False
                await asyncio.sleep(_RETRY_SECONDS)
        return True

    async def reaches_the_database(self) -> bool:
        """Tell whether there is a connection, opening one if need be."""
        try:
            await self._open()
        except DRIVER_ERRORS:
            self.close()
            return False
        return True

    def close(self) -> None:
        """Break the connection; the pool takes its place back by itself."""
        connection, self._connection, self._statement = self._connection, None, None
        if connection is not None:
            with suppress(asyncpg.InterfaceError):  # the pool took it back when it broke
                connection.terminate()

    async def _open(self) -> "PreparedStatement[asyncpg.Record]":
        if self._connection is None or self._statement is None:
            self._connection = await self._pool.acquire(timeout=bounds.ACQUIRE_SECONDS)
            self._statement = await self._connection.prepare(_BATCH)
        return self._statement

    async def _blame(self, batch: Sequence[Item], why: str, *, sent: bool) -> bool:
        """Find the item that PostgreSQL can never take, by sending each alone."""
        if len(batch) == 1:
            fail(batch, InvariantViolation, f"PostgreSQL can never take this append: {why}. Nothing was written.")
            return True
        _log.warning("batch_isolated", items=len(batch), reason=why)
        for item in batch:
            if not await self.carry([item], sent=sent):
                _give_up(batch, why, sent=sent)
                return False
        return True

    async def _recognise(self, item: Item, verdict: Verdict) -> Verdict:
        """Correct the verdict on an item that was sent twice, whose conflict may be with itself."""
        if isinstance(verdict, GuardFailed) and isinstance(verdict.guard, _PASSING):
            return Unknown("The connection broke, and what was sent over it may still be written. Read its stream.")
        if not isinstance(verdict, VersionConflict) or not item.bodies or self._connection is None:
            return verdict
        stream, before = item.append.stream, item.append.expected_version
        rows = await self._connection.fetch(_WRITTEN, self._ledger, stream, before, before + len(item.bodies))
        meant = [(type(event).__name__, body) for event, body in zip(item.append.events, item.bodies, strict=True)]
        if [(row["type"], row["body"]) for row in rows] != meant:
            return verdict
        standing = await self._connection.fetchrow(_STANDING, self._ledger, flight_of(stream))
        epoch, worker = standing or (None, None)
        own_epoch = next((guard.epoch for guard in item.append.guards if isinstance(guard, EpochCurrent)), None)
        match item.append.work:
            case Take(own_name):
                is_own = worker == own_name
            case Finished() if own_epoch is not None:
                is_own = standing is None or epoch == own_epoch
            case _:
                is_own = own_epoch is None or epoch == own_epoch
        if not is_own:
            return Unknown("The connection broke, and the intent has been taken over since. Read its stream.")
        taken = epoch if isinstance(item.append.work, Take) else None
        return Appended(recorded(self._ledger, item, rows[0]["position"], rows[0]["at"]), taken)


def answer(batch: Iterable[Item], verdicts: Iterable[Verdict]) -> None:
    """Give each waiter its verdict."""
    for item, verdict in zip(batch, verdicts, strict=True):
        if not item.answer.done():
            item.answer.set_result(verdict)


def fail(batch: Iterable[Item], error: type[LedgerError], message: str) -> None:
    """Raise an error at each waiter."""
    for item in batch:
        if not item.answer.done():
            item.answer.set_exception(error(message))


def _give_up(batch: Sequence[Item], why: str, *, sent: bool) -> None:
    if sent:
        answer(batch, [Unknown(f"PostgreSQL does not answer: {why}.")] * len(batch))
    else:
        fail(batch, Overloaded, f"PostgreSQL does not answer: {why}. Nothing was recorded; retry later.")

"""The store on PostgreSQL: appends through the appender, reads through the pool, time carried from the database.

This is one of the two homes of the clock: `now` is the database's time, carried on by this machine's monotonic clock
and never going back, so that the clocks of several processes cannot disagree about a deadline.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sql
from ledger import bounds
from ledger.appender import Appender
from ledger.background import rest
from ledger.batch import ANY_VERSION
from ledger.database import connection
from ledger.errors import Corrupt, Unavailable
from ledger.events import GrantIssued, Recorded, decode
from ledger.ids import flight_stream
from ledger.store import (
    Append,
    Appended,
    Claimed,
    Due,
    EpochCurrent,
    GrantAlive,
    Guard,
    Parked,
    StandingGrant,
    Submission,
    Unknown,
    Verdict,
    too_long,
)
from ledger.tally import Tally

if TYPE_CHECKING:
    from ledger.database import Pool

_STREAM = sql.query("read.stream")
_ALL = sql.query("read.all")
_SUBMISSION = sql.query("read.submission")
_POLICY_SET = sql.query("read.policy_set")
_CHAIN_OF_GRANT = sql.query("grants.chain_of_grant")
_CHAIN_OF_TOKEN = sql.query("grants.chain_of_token")
_BELOW = sql.query("grants.below")
_IN_FLIGHT_UNDER = sql.query("grants.in_flight_under")
_HEAD = sql.query("read.head")
_TIME = sql.query("read.time")
_CLAIM = sql.query("work.claim")
_RENEW = sql.query("work.renew")
_OPEN_LEDGER = sql.query("database.open_ledger")


class PostgresStore:
    """One ledger in a migrated PostgreSQL; keeps to `ledger.store.Store`."""

    def __init__(self, pool: "Pool", ledger: str) -> None:
        """Use a pool of `ledger.database.open_pool`, two connections of which are the appender's while it runs."""
        self.ledger = ledger
        self._pool = pool
        self._appender = Appender(pool, ledger, self._committed)
        self._news: set[asyncio.Event] = set()  # one for each follower
        self._database_time = datetime.min.replace(tzinfo=UTC)
        self._read_at = 0.0  # on the monotonic clock
        self._latest = self._database_time
        self.took = Tally()  # until an append was durable
        self.appended: Counter[str] = Counter()  # events, by type

    async def start(self) -> None:
        """Open the ledger, making it if there is none of its name, and begin to take appends. Raises `Unavailable`."""
        async with connection(self._pool) as reader:
            await reader.execute(_OPEN_LEDGER, self.ledger)
            self._set_time(await reader.fetchval(_TIME))
        await self._appender.start()

    async def stop(self) -> None:
        """Answer the appends that were taken, then take no more."""
        await self._appender.stop()

    def now(self) -> datetime:
        """Return the database's time (UTC), carried on by the monotonic clock since it was last heard."""
        elapsed = timedelta(0, time.monotonic() - self._read_at)  # by position: the hottest call of all
        self._latest = max(self._latest, self._database_time + elapsed)
        return self._latest

    async def append(self, append: Append) -> Verdict:
        """Append durably together with whatever else is appended now. Raises `Overloaded`, `InvariantViolation`."""
        began = time.monotonic()
        verdict = await self._appender.append(append)
        if isinstance(verdict, Appended):
            self.took.add(time.monotonic() - began)
            for event in append.events:
                self.appended[type(event).__name__] += 1
        return verdict

    async def read(self, stream: str, after_version: int = 0) -> Sequence[Recorded]:
        """Return the events of one stream after a version, oldest first. Raises `Corrupt` beyond STREAM_EVENTS."""
        async with connection(self._pool) as reader:
            rows = await reader.fetch(_STREAM, self.ledger, stream, after_version, bounds.STREAM_EVENTS + 1)
        if len(rows) > bounds.STREAM_EVENTS:
            raise too_long(stream)
        return [self._recorded(row) for row in rows]

    async def submission(self, subject: str, key: str) -> Submission | None:
        """Return what this subject's idempotency key was used for; None while it is unused. Raises `Unavailable`."""
        async with connection(self._pool) as reader:
            row = await reader.fetchrow(_SUBMISSION, self.ledger, subject, key)
        return None if row is None else Submission(row["intent"], row["request_digest"])

    async def chain(self, *, grant: str | None = None, token_sha256: str | None = None) -> Sequence[StandingGrant]:
        """Return a grant, named by itself or by its token, and those above it, the first one first; empty if unknown.

        Raises `Unavailable`.
        """
        query, name = (_CHAIN_OF_TOKEN, token_sha256) if grant is None else (_CHAIN_OF_GRANT, grant)
        async with connection(self._pool) as reader:
            rows = await reader.fetch(query, self.ledger, name)
        return [_standing(row) for row in rows]

    async def below(self, grant: str, after: str | None, limit: int) -> Sequence[StandingGrant]:
        """Return a grant and all below it, by id, at most `limit` after the id `after`. Raises `Unavailable`."""
        async with connection(self._pool) as reader:
            rows = await reader.fetch(_BELOW, self.ledger, grant, after or "", limit)
        return [_standing(row) for row in rows]

    async def in_flight_under(self, grant: str) -> Sequence[str]:
        """Return the intents in flight submitted under a grant or any below it, by id. Raises `Unavailable`."""
        async with connection(self._pool) as reader:
            rows = await reader.fetch(_IN_FLIGHT_UNDER, self.ledger, grant)
        return [row["intent"] for row in rows]

    async def active_policy(self) -> str | None:
        """Return the digest of the active policy set; None while none is. Raises `Unavailable`."""
        async with connection(self._pool) as reader:
            policy_set: str | None = await reader.fetchval(_POLICY_SET, self.ledger)
        return policy_set

    async def read_all(self, after_position: int, limit: int) -> Sequence[Recorded]:
        """Return at most `limit` of the ledger's events after a position, oldest first."""
        async with connection(self._pool) as reader:
            rows = await reader.fetch(_ALL, self.ledger, after_position, limit)
        return [self._recorded(row) for row in rows]

    async def follow(self, after_position: int, batch: int) -> AsyncIterator[Sequence[Recorded]]:
        """Yield batches of events after a position for ever; an empty one at least every FOLLOW_SECONDS.

        Events of this process come at once, those of others within FOLLOW_SECONDS. Raises `Unavailable`.
        """
        news = asyncio.Event()
        self._news.add(news)
        try:
            while True:
                news.clear()  # before reading: what is appended while we read wakes us again
                events = await self.read_all(after_position, batch)
                yield events
                if events:
                    after_position = events[-1].position
                if len(events) < batch:
                    await rest(bounds.FOLLOW_SECONDS, news)
        finally:
            self._news.discard(news)

    async def head(self) -> int:
        """Return the position of the last event, 0 in an empty ledger."""
        async with connection(self._pool) as reader:
            position: int | None = await reader.fetchval(_HEAD, self.ledger)
        return position or 0

    async def claim(self, worker: str, limit: int, lease_seconds: float) -> Sequence[Claimed]:
        """Take over at most `limit` intents that are due, oldest first, under new epochs. Raises `Unavailable`."""
        async with connection(self._pool) as writer:
            rows = await writer.fetch(_CLAIM, self.ledger, worker, limit, lease_seconds)
        return [Claimed(row["intent"], row["epoch"], row["alive"]) for row in rows]

    async def reschedule(
        self, intent: str, epoch: int, work: Due | Parked, version: int | None = None, grant: str | None = None
    ) -> bool:
        """Change when an intent is due; False if its epoch, version or grant no longer stands. Raises `Unavailable`."""
        guards: tuple[Guard, ...] = (
            (EpochCurrent(epoch),) if grant is None else (EpochCurrent(epoch), GrantAlive(grant))
        )
        verdict = await self._appender.append(
            Append(
                stream=flight_stream(intent),
                expected_version=ANY_VERSION if version is None else version,
                events=(),
                guards=guards,
                work=work,
            )
        )
        if isinstance(verdict, Unknown):
            raise Unavailable(f"Whether the intent was rescheduled is not known: {verdict.reason}")
        return isinstance(verdict, Appended)

    async def renew(self, worker: str, intents: Sequence[Claimed], lease_seconds: float) -> Sequence[str]:
        """Extend the leases still held under these epochs; returns the ids of their intents. Raises `Unavailable`."""
        names, epochs = [claimed.intent for claimed in intents], [claimed.epoch for claimed in intents]
        async with connection(self._pool) as writer:
            rows = await writer.fetch(_RENEW, self.ledger, worker, names, epochs, lease_seconds)
        return [row["intent"] for row in rows]

    def _committed(self, at: datetime) -> None:
        self._set_time(at)
        for news in self._news:
            news.set()

    def _set_time(self, at: datetime) -> None:
        self._database_time, self._read_at = at, time.monotonic()

    def _recorded(self, row: Any) -> Recorded:
        position, stream, version, type_name, at, body = row
        return Recorded(
            ledger=self.ledger,
            position=position,
            stream=stream,
            version=version,
            at=at,
            event=decode(type_name, body),
            body=body,
        )


def _standing(row: Any) -> StandingGrant:
    issued = decode(GrantIssued.__name__, row["issued"])
    if not isinstance(issued, GrantIssued):
        raise Corrupt("A grant does not say how it was issued. Nothing was read; a person must look.")
    return StandingGrant(issued, row["revoked"], row["suspended"])

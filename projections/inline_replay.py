"""Replay of the inline tables: what the events say of them against what they hold, and, if asked, the one in the place
of the other.

What is rebuilt stands in tables of the same names in `pg_temp`, without the columns that events cannot tell; those are
neither compared nor changed where a row stays. An intent that has ended may still be in flight for a moment, until
whoever looks at it next takes it off; that is no difference. Of the outbox only what no event justifies can be told.

A swap holds the head from the last event it reads to its end, so that nothing is appended meanwhile: it takes as long
as reading the keys of all submissions. It changes what the service's own role may not, so it needs the tables' owner.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import msgspec

import sql
from ledger.bounds import REPLAY_BATCH_EVENTS, REPLAY_SWAP_SECONDS
from ledger.database import answering
from ledger.errors import Corrupt, Misconfigured
from ledger.progress import Progress, unseen
from projections.comparison import Difference, compare
from projections.digest import line_of, sha256_of
from projections.feed import read_batch
from projections.inline import FlightRow, GrantRow, Inline, LimitRow, SubmissionRow
from projections.projection import Row
from projections.rebuild import UNBOUNDED
from projections.replay import Replayed

if TYPE_CHECKING:
    from ledger.database import Connection

_HEAD: Final = sql.query("inline.head")
_HOLD: Final = sql.query("inline.hold_head")
_PUT_HEAD: Final = sql.query("inline.put_head")
_STRANGE_MESSAGES: Final = sql.query("inline.strange_messages")
_REMOVE_MESSAGES: Final = sql.query("inline.remove_outbox")
_PAGE_ROWS: Final = 1_000
_encode = msgspec.json.Encoder().encode

# Words in braces are replaced once for each table, all of them names in this file.

_SHADOW: Final = """
    create temporary table {name} as
    select ledger, {columns}
    from intent_ledger.{name}
    with no data
"""
_INDEX: Final = "alter table pg_temp.{name} add primary key (ledger, {key})"
_DROP: Final = "drop table if exists pg_temp.{name}"
_FILL: Final = """
    insert into pg_temp.{name} (ledger, {columns})
    select $1, {columns}
    from json_populate_recordset(null::intent_ledger.{name}, $2::text::json)
"""
_EVERY: Final = """
    select {columns}
    from {schema}.{name}
    where ledger = $1
    order by {key}
"""
_KNOWN_FLIGHTS: Final = """
    select flight.intent, flight.grant_id
    from intent_ledger.in_flight as flight
    where
        flight.ledger = $1
        and (
            exists (select from pg_temp.in_flight as told where told.ledger = $1 and told.intent = flight.intent)
            or not {of_an_event}
        )
    order by flight.intent
"""
_OF_AN_EVENT: Final = """
    exists (
        select
        from intent_ledger.events
        where
            events.ledger = $1
            and events.stream in (flight.intent, 'intent/' || flight.intent)
            and events.version = 1
    )
"""
_REMOVE: Final = """
    delete from intent_ledger.{name} as flight
    where
        flight.ledger = $1
        and not exists (select from pg_temp.{name} as told where told.ledger = $1 and ({told_key}) = ({own_key}))
        and {unless}
"""
_PUT: Final = """
    insert into intent_ledger.{name} as own (ledger, {columns}{more})
    select ledger, {columns}{values}
    from pg_temp.{name}
    where ledger = $1
    on conflict (ledger, {key}) do update
    set {news}
    where row ({own_told}) is distinct from row ({new_told})
"""


class _Inline(msgspec.Struct, frozen=True):
    """An inline table: what events tell of it, and what its new rows need besides."""

    name: str
    row: type[Row]
    key: tuple[str, ...]
    besides: dict[str, str] = {}  # columns that events cannot tell, and what they begin with

    def statement(self, template: str, schema: str = "pg_temp") -> str:
        """Write a statement about this table."""
        columns = [field.name for field in msgspec.structs.fields(self.row)]
        told = [column for column in columns if column not in self.key]
        return template.format(
            name=self.name,
            schema=schema,
            columns=", ".join(columns),
            key=", ".join(self.key),
            told_key=", ".join(f"told.{one}" for one in self.key),
            own_key=", ".join(f"flight.{one}" for one in self.key),
            own_told=", ".join(f"own.{one}" for one in told),
            new_told=", ".join(f"excluded.{one}" for one in told),
            news=", ".join(f"{one} = excluded.{one}" for one in told),
            more="".join(f", {one}" for one in self.besides),
            values="".join(f", {one}" for one in self.besides.values()),
            of_an_event=_OF_AN_EVENT,
            unless=f"not {_OF_AN_EVENT}" if self.name == _FLIGHTS else "true",
        )


_FLIGHTS: Final = "in_flight"
_TABLES: Final = (
    _Inline("grants", GrantRow, ("grant_id",)),
    _Inline("limits", LimitRow, ("counter",)),
    _Inline("submissions", SubmissionRow, ("subject", "key")),
    _Inline(
        _FLIGHTS,
        FlightRow,
        ("intent",),
        {"due_at": "clock_timestamp()", "epoch": "nextval('intent_ledger.epochs')"},
    ),
)
INLINE: Final = ("heads", *(table.name for table in _TABLES), "outbox")


async def replay_inline(
    connection: "Connection", ledger: str, progress: Progress = unseen, *, swap: bool = False
) -> list[Replayed]:
    """Rebuild what events tell of the inline tables and compare; with `swap`, make the tables what the events say.

    Needs the connection for itself, and for a swap one of the tables' owner. Raises `Unavailable`, `Corrupt`,
    `Misconfigured`.
    """
    rebuild = _Rebuild(connection, ledger)
    with answering():
        try:
            await rebuild.begin()
            await rebuild.fold(progress)
            async with connection.transaction(isolation="repeatable_read"):
                await connection.execute(UNBOUNDED)
                await rebuild.fold()
                found = await rebuild.compare()
            if swap:
                await _swap(connection, ledger, rebuild)
                found = [msgspec.structs.replace(one, swapped=True) for one in found]
        finally:
            await rebuild.end()
    return found


async def _swap(connection: "Connection", ledger: str, rebuild: "_Rebuild") -> None:
    """Make the tables what the events say, while nobody appends. Raises `Misconfigured` for whom may not."""
    try:
        async with connection.transaction():
            await connection.execute(UNBOUNDED)
            await connection.fetchval(_HOLD, ledger)
            await rebuild.fold()
            await rebuild.put()
    except asyncpg.InsufficientPrivilegeError as error:
        raise Misconfigured(
            "Inline tables are changed by their owner only, and INTENTLEDGER_DSN names another role. They were "
            "compared and not changed; use the DSN that migrated the database."
        ) from error


async def fill_inline(connection: "Connection", ledger: str) -> None:
    """Make the inline tables what the events say, inside the caller's transaction, as the tables' owner.

    For a ledger that has just been brought into this database. Raises `Corrupt`.
    """
    rebuild = _Rebuild(connection, ledger)
    await rebuild.begin()
    await rebuild.fold()
    await rebuild.put()
    await rebuild.end()


class _Rebuild:
    """The fold, and its shadows on one connection."""

    def __init__(self, connection: "Connection", ledger: str) -> None:
        self._connection = connection
        self._ledger = ledger
        self._inline = Inline()
        self._position = 0
        self._events = 0

    async def begin(self) -> None:
        """Make the shadows, empty."""
        for table in _TABLES:
            for template in (_DROP, _SHADOW, _INDEX):
                await self._connection.execute(table.statement(template))

    async def end(self) -> None:
        """Drop the shadows."""
        if not self._connection.is_closed():
            for table in _TABLES:
                await self._connection.execute(table.statement(_DROP))

    async def fold(self, progress: Progress = unseen) -> None:
        """Fold what there is now. Raises `Corrupt` at an event that cannot be understood."""
        while True:
            batch = await read_batch(
                self._connection, self._ledger, Inline.reads, after=self._position, limit=REPLAY_BATCH_EVENTS
            )
            if batch.failure is not None:
                raise Corrupt(f"{batch.failure} The inline tables were not compared, and nothing was changed.")
            if batch.end == self._position:
                return
            for recorded in sorted((one for of in batch.events.values() for one in of), key=lambda one: one.position):
                self._inline.take(recorded)
            await self._fill("submissions", self._inline.submissions)
            self._inline.submissions.clear()
            self._position, self._events = batch.end, self._events + batch.count
            progress(batch.end, max(batch.end, await self._connection.fetchval(_HEAD, self._ledger) or 0))

    async def compare(self) -> list[Replayed]:
        """Compare every inline table with what the events say, at the moment of the transaction around."""
        await self._fill_small()
        return [await self._head(), *[await self._table(table) for table in _TABLES], await self._outbox()]

    async def put(self) -> None:
        """Make the tables what the events say. The caller holds the head, or nobody else knows of the ledger."""
        await self._fill_small()
        await self._connection.execute(_PUT_HEAD, self._ledger, self._position, self._inline.policy_set)
        for table in _TABLES:
            for template in (_REMOVE, _PUT):
                await self._connection.execute(table.statement(template), self._ledger, timeout=REPLAY_SWAP_SECONDS)
        await self._connection.execute(_REMOVE_MESSAGES, self._ledger, timeout=REPLAY_SWAP_SECONDS)

    async def _fill_small(self) -> None:
        """Fill the shadows of what the fold keeps in memory."""
        inline = self._inline
        for name, rows in (("grants", inline.grants()), ("limits", inline.limits()), (_FLIGHTS, inline.flights())):
            await self._connection.execute(f"truncate pg_temp.{name}")
            await self._fill(name, rows)

    async def _fill(self, name: str, rows: Sequence[Row]) -> None:
        table = next(one for one in _TABLES if one.name == name)
        for place in range(0, len(rows), REPLAY_BATCH_EVENTS):
            document = _encode(rows[place : place + REPLAY_BATCH_EVENTS]).decode()
            await self._connection.execute(table.statement(_FILL), self._ledger, document)

    async def _table(self, table: _Inline) -> Replayed:
        query = _KNOWN_FLIGHTS if table.name == _FLIGHTS else _EVERY
        live = self._pages(table.statement(query, "intent_ledger"))
        compared = await compare(live, self._pages(table.statement(_EVERY)), table.key)
        return self._found(table.name, compared.rows, compared.digest, compared.live_digest, compared.difference)

    async def _pages(self, query: str) -> Any:
        cursor = await self._connection.cursor(query, self._ledger)
        while records := await cursor.fetch(_PAGE_ROWS):
            yield records

    async def _head(self) -> Replayed:
        live = await self._connection.fetchrow(_HEAD, self._ledger)
        told = {"position": self._position, "policy_set": self._inline.policy_set}
        same = self._position == 0 if live is None else dict(live) == told
        difference = None if same else Difference((self._ledger,), None if live is None else dict(live), told)
        digest, live_digest = [
            sha256_of(b"" if one is None else _encode([*one.values()]) + b"\n") for one in (told, live)
        ]
        return self._found("heads", 1, digest, live_digest, difference)

    async def _outbox(self) -> Replayed:
        strange = await self._connection.fetch(_STRANGE_MESSAGES, self._ledger)
        difference = Difference((strange[0]["position"],), dict(strange[0]), None) if strange else None
        return self._found("outbox", 0, sha256_of(b""), sha256_of(b"".join(map(line_of, strange))), difference)

    def _found(self, name: str, rows: int, digest: str, live_digest: str, difference: Difference | None) -> Replayed:
        return Replayed(
            name=name,
            position=self._position,
            events=self._events,
            seconds=0.0,
            rows=rows,
            digest=digest,
            live_digest=live_digest,
            difference=difference,
            swapped=False,
            failure=None,
        )

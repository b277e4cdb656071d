"""The table of a projection: load rows of some subjects, save what changed, read all rows in key order.

The statements are made once from the projection's row type, so a column is written down in two places only: in the
struct and in the migration. Names come from code, never from outside. The live table is in schema `intent_ledger`; a
shadow of the same shape is in the session's own `pg_temp`, where a rebuild takes place.

Rows are sent as one JSON document for each statement: `json_populate_recordset` gives PostgreSQL's own types to them,
arrays included (which `unnest` would flatten), and encoding is one call for a thousand rows.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Generic

import msgspec
from asyncpg import Record

from ledger.bounds import REPLAY_SWAP_SECONDS
from ledger.errors import Corrupt
from projections.projection import Projection, R

if TYPE_CHECKING:
    from ledger.database import Connection

LIVE: Final = "intent_ledger"
SHADOW: Final = "pg_temp"
_FETCH_ROWS: Final = 1_000  # of a cursor: a few milliseconds of work between two looks at the event loop

# Words in braces are replaced once for each projection: table, columns and key are its own, `own` and `sent` are the
# key of the one and the other side, `sent_rows` the rows in the parameter $2.

_LOAD: Final = """
    select {columns}
    from {table}
    where
        ledger = $1
        and {subject} = any($2::text[])
    order by {key}
"""
_ALL: Final = """
    select {columns}
    from {table}
    where ledger = $1
    order by {key}
"""
_WRITE: Final = """
    insert into {table} (ledger, {columns})
    select $1, {columns}
    from {sent_rows}
    on conflict (ledger, {key}) do update
    set {news}
"""
_DELETE: Final = """
    delete from {table} as own
    using {sent_rows} as sent
    where
        own.ledger = $1
        and ({own_key}) = ({sent_key})
"""
_DELETE_OTHER: Final = """
    delete from {table} as own
    where
        own.ledger = $1
        and not exists (
            select
            from {shadow} as sent
            where
                sent.ledger = $1
                and ({own_key}) = ({sent_key})
                and ({own_columns}) is not distinct from ({sent_columns})
        )
"""
_TAKE_OVER: Final = """
    insert into {table} (ledger, {columns})
    select ledger, {columns}
    from {shadow}
    where ledger = $1
    on conflict (ledger, {key}) do nothing
"""
_CREATE_SHADOW: Final = """
    create temporary table {name} (
        like {live} including defaults,
        primary key (ledger, {key})
    )
"""
_DROP_SHADOW: Final = "drop table if exists {shadow}"

_encode = msgspec.json.Encoder().encode


class Changes(msgspec.Struct, Generic[R], frozen=True):
    """What a batch does to a table."""

    written: list[R]  # new or changed
    gone: list[R]


class Table(Generic[R]):
    """The rows of one projection in one schema."""

    def __init__(self, projection: Projection[R], schema: str = LIVE) -> None:
        """Make the statements; nothing is sent."""
        self.projection = projection
        words = _words(projection, schema)
        self._load = _LOAD.format_map(words)
        self._all = _ALL.format_map(words)
        self._write = _WRITE.format_map(words)
        self._delete = _DELETE.format_map(words)
        self._delete_other = _DELETE_OTHER.format_map(words)
        self._take_over = _TAKE_OVER.format_map(words)
        self._create_shadow = _CREATE_SHADOW.format_map(words)
        self._drop_shadow = _DROP_SHADOW.format_map(words)

    async def load(self, connection: "Connection", ledger: str, subjects: Sequence[str]) -> dict[str, tuple[R, ...]]:
        """Return the stored rows of these subjects, by subject, each in key order."""
        records = await connection.fetch(self._load, ledger, subjects) if subjects else []
        rows = (as_row(self.projection.row, record) for record in records)
        grouped = groupby(rows, key=attrgetter(self.projection.key[0]))
        return {subject: tuple(of_subject) for subject, of_subject in grouped}

    async def save(self, connection: "Connection", ledger: str, changes: Changes[R]) -> None:
        """Write new and changed rows with one statement and delete the gone ones with another."""
        if changes.written:
            await connection.execute(self._write, ledger, _encode(changes.written).decode())
        if changes.gone:
            await connection.execute(self._delete, ledger, _encode(changes.gone).decode())

    async def every(self, connection: "Connection", ledger: str) -> AsyncIterator[list[Record]]:
        """Yield every row in key order, a page at a time; the transaction around is their snapshot."""
        cursor = await connection.cursor(self._all, ledger)
        while records := await cursor.fetch(_FETCH_ROWS):
            yield records

    async def create_shadow(self, connection: "Connection") -> None:
        """Create an empty table of this shape in `pg_temp`; it lives as long as the connection."""
        await connection.execute(self._drop_shadow)
        await connection.execute(self._create_shadow)

    async def drop_shadow(self, connection: "Connection") -> None:
        """Drop the table that `create_shadow` made."""
        await connection.execute(self._drop_shadow)

    async def take_over(self, connection: "Connection", ledger: str) -> None:
        """Make this table's rows of the ledger those of the shadow, touching only rows that differ."""
        await connection.execute(self._delete_other, ledger, timeout=REPLAY_SWAP_SECONDS)
        await connection.execute(self._take_over, ledger, timeout=REPLAY_SWAP_SECONDS)


def as_row(row: type[R], record: Record) -> R:
    """Build the typed row of a record. Raises `Corrupt` if it is none: somebody else has written it."""
    try:
        return msgspec.convert(dict(record), row)
    except msgspec.ValidationError as error:
        raise Corrupt(f"The row {next(iter(record.values()))} of a view is none of ours: {error}.") from error


def changes(
    projection: Projection[R], before: Mapping[str, Sequence[R]], after: Mapping[str, Sequence[R]]
) -> Changes[R]:
    """Compare the stored rows of some subjects with what they are to be."""
    written: list[R] = []
    gone: list[R] = []
    for subject, rows in after.items():
        keep = [row for row in rows if projection.stored(row)]
        old = before.get(subject, ())
        if not old:
            written += keep
            continue
        kept = {_key(projection, row) for row in keep}
        written += [row for row in keep if row not in old]
        gone += [row for row in old if _key(projection, row) not in kept]
    return Changes(written, gone)


def _key(projection: Projection[R], row: R) -> tuple[Any, ...]:
    return tuple(getattr(row, column) for column in projection.key)


def _words(projection: Projection[R], schema: str) -> dict[str, str]:
    columns = [field.name for field in msgspec.structs.fields(projection.row)]
    live = f"{LIVE}.{projection.name}"
    return {
        "name": projection.name,
        "table": f"{schema}.{projection.name}",
        "live": live,
        "shadow": f"{SHADOW}.{projection.name}",
        "columns": ", ".join(columns),
        "key": ", ".join(projection.key),
        "subject": projection.key[0],
        "news": ", ".join(f"{c} = excluded.{c}" for c in columns if c not in projection.key),
        "sent_rows": f"json_populate_recordset(null::{live}, $2::text::json)",
        "own_key": _of("own", projection.key),
        "sent_key": _of("sent", projection.key),
        "own_columns": _of("own", columns),
        "sent_columns": _of("sent", columns),
    }


def _of(table: str, columns: Iterable[str]) -> str:
    return ", ".join(f"{table}.{column}" for column in columns)

"""Moving a ledger: out of a database into a file, and from a file into a database that has none of it yet.

    out   newest checkpoint ─► header ─► every entry, each checkpoint behind what it covers ─► proved as it is written
    in    ┌─ prove a line, then copy its event ─► … ─► all of it proved ─► tiles, head, what stands beside ─┐
          └──────────────────────────── one transaction: all of it, or nothing ────────────────────────────┘

The same proof (`ledger/export_file.py`) judges both ways, so that no file is made which could not be read back. What
stands beside the events (grants, limits, work in flight) is made anew from them by whom the caller names.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import asyncpg
import msgspec

import sql
from ledger import bounds
from ledger.database import answering, connection, describe
from ledger.errors import Conflict, Corrupt, Malformed, NotFound, Tampered
from ledger.export_file import (
    Header,
    Proof,
    SignedAt,
    Subject,
    SubjectLine,
    checkpoint_line,
    line_of,
    parse_header,
)
from ledger.log.entry import Entry, entry
from ledger.log.signed_note import VerifierKey
from ledger.log.tree import Log, Signed
from ledger.progress import Progress, unseen

if TYPE_CHECKING:
    from ledger.database import Connection, Pool

_ENTRIES: Final = sql.query("log.entries")
_CHECKPOINTS: Final = sql.query("moving.checkpoints")
_SUBJECTS: Final = sql.query("moving.subjects")
_CLAIM: Final = sql.query("moving.claim")
_IS_EMPTY: Final = sql.query("moving.is_empty")
_TILES: Final = sql.query("moving.tiles")
_ADD_CHECKPOINTS: Final = sql.query("moving.add_checkpoints")
_ADD_SUBJECTS: Final = sql.query("moving.add_subjects")
_ERASED: Final = sql.query("moving.erased_all_the_same")
_MOVE_HEAD: Final = sql.query("moving.move_head")
_COLUMNS: Final = ("ledger", "position", "stream", "version", "type", "at", "body")

Beside = Callable[["Connection", str], Awaitable[object]]
"""Makes anew, inside the transaction, what stands beside the events of a ledger."""


class Moved(msgspec.Struct, frozen=True):
    """What a file holds: the events of a ledger up to a position, under the checkpoint that proves them."""

    ledger: str
    origin: str
    size: int
    note: str
    keys: tuple[str, ...]  # as the file names them
    subjects: int  # lines about the keys of data subjects


async def export(
    pool: "Pool",
    ledger: str,
    keys: Sequence[VerifierKey],
    write: Callable[[bytes], object],
    progress: Progress = unseen,
    *,
    subjects: bool = False,
) -> Moved:
    """Write the events that the newest checkpoint covers, line by line; `keys` are those that ever signed the log.

    `subjects`: also the wrapped keys of data subjects. Raises `NotFound` if nothing was ever signed, `Tampered` if what
    the database holds is not what was signed: the file is not complete then, and of no use.
    """
    newest = await Log(pool, ledger).newest()
    if newest is None:
        raise NotFound(
            f"The log of the ledger {ledger!r} has no checkpoint yet: there is nothing to prove an export by."
        )
    header = Header(ledger, newest.checkpoint.origin, newest.size, tuple(str(key) for key in keys))
    proof = Proof(header)
    write(line_of(header))
    async for lines in _lines(pool, ledger, newest):
        for line in lines:
            proof.take(line)
        proof.filled.clear()
        write(b"".join(lines))
        progress(proof.taken, newest.size)
    proof.end()
    count = 0
    if subjects:
        async with connection(pool) as reader:
            rows = await reader.fetch(_SUBJECTS, ledger)
        for count, row in enumerate(rows, 1):  # noqa: B007 - the last one is how many there were
            write(line_of({"subject": msgspec.json.decode(row["subject"])}))
    return Moved(ledger, header.origin, header.size, str(newest.note), header.keys, count)


async def _lines(pool: "Pool", ledger: str, newest: Signed) -> AsyncIterator[list[bytes]]:
    """Yield the lines of entries and checkpoints in their order; no connection is held while they are written.

    Meanwhile old checkpoints may be thinned, and the one that is the newest now may be old by the end.
    """
    notes: list[tuple[int, str]] = []
    after, noted, size = 0, 0, newest.size
    while after < size:
        async with connection(pool) as reader:
            rows = await reader.fetch(_ENTRIES, ledger, after, min(bounds.MOVE_EVENTS, size - after))
            if not rows:
                raise Corrupt(f"The ledger {ledger!r} ends at {after}, and its log covers {size}. Nothing was changed.")
            if not notes:
                found = await reader.fetch(_CHECKPOINTS, ledger, noted, size - 1, bounds.MOVE_EVENTS)
                notes = [(row["size"], row["note"]) for row in found]
        lines: list[bytes] = []
        for row in rows:
            lines.append(entry(ledger, *row) + b"\n")
            after = row["position"]
            if notes and notes[0][0] == after:
                noted, note = notes.pop(0)
                lines.append(checkpoint_line(note))
                if not notes:
                    break  # there may be more of them between here and the end of these rows
        yield lines
    yield [checkpoint_line(str(newest.note))]


def prove(lines: Iterable[bytes], keys: Iterable[VerifierKey], progress: Progress = unseen) -> Moved:
    """Prove a file as an import would, without a database. Raises as `import_lines` does."""
    incoming = iter(lines)
    header = parse_header(next(incoming, b""))
    proof = Proof(header, keys)
    subjects, note = 0, ""
    for line in incoming:
        match proof.take(line):
            case SignedAt(_, signed):
                note = str(signed)
                proof.filled.clear()
            case SubjectLine():
                subjects += 1
            case Entry(position=position) if position % bounds.MOVE_EVENTS == 0:
                progress(position, header.size)
            case _:
                pass
    proof.end()
    return Moved(header.ledger, header.origin, header.size, note, header.keys, subjects)


async def import_lines(
    writer: "Connection",
    lines: Iterable[bytes],
    ledger: str,
    *,
    keys: Iterable[VerifierKey],
    beside: Beside,
    progress: Progress = unseen,
) -> Moved:
    """Put the ledger of a file into a database, all of it or, where anything of it cannot be proved, nothing.

    `writer` is a connection of the owner of the tables (`ledger.database.connect`), with no transaction under way.

    Believes the file only if one of `keys` has signed its last checkpoint; where there are none, its own. Raises
    `Tampered`, `Malformed`, `UnknownEventType`, `Conflict` (there are events of that ledger already), `Unavailable`.
    """
    incoming = iter(lines)
    try:
        header = parse_header(next(incoming, b""))
        proof = Proof(header, keys)
        if header.ledger != ledger:
            raise Conflict(
                f"The file holds the ledger {header.ledger!r} and this would be {ledger!r}; a ledger keeps its name. "
                f"Nothing was imported; use --ledger {header.ledger}."
            )
        with answering():
            async with writer.transaction():
                await _claim(writer, ledger)
                importer = _Importer(writer, proof)
                for line in incoming:
                    if await importer.take(line):
                        progress(proof.taken, header.size)
                await importer.end()
                await beside(writer, ledger)
    except (Corrupt, Malformed) as error:
        raise type(error)(f"{error.message} Nothing was imported.") from error
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        raise Malformed(f"PostgreSQL refuses what the file holds ({describe(error)}). Nothing was imported.") from error
    return Moved(ledger, header.origin, header.size, importer.note, header.keys, importer.subjects)


async def _claim(writer: "Connection", ledger: str) -> None:
    """Hold the head of a ledger that has nothing yet. Raises `Conflict`."""
    await writer.execute(_CLAIM, ledger)
    if not await writer.fetchval(_IS_EMPTY, ledger):
        raise Conflict(
            f"This database has events of the ledger {ledger!r} already. Nothing was imported; a ledger is imported "
            "where it was never begun, neither by `init` nor by `serve`."
        )


class _Importer:
    """Copies what is proved, some thousand events at a time; the caller's transaction makes it all or nothing."""

    def __init__(self, writer: "Connection", proof: Proof) -> None:
        self.note = ""
        self.subjects = 0
        self._writer = writer
        self._proof = proof
        self._rows: list[tuple[str, int, str, int, str, datetime, bytes]] = []
        self._notes: list[tuple[int, str]] = []
        self._told: list[Subject] = []
        self._at: datetime | None = None

    async def take(self, line: bytes) -> bool:
        """Prove the next line, and keep what it says; tell whether it was written down, with those before it."""
        match self._proof.take(line):
            case Entry() as one:
                self._at = one.at
                self._rows.append(
                    (one.ledger, one.position, one.stream, one.version, one.type, one.at, bytes(one.body))
                )
            case SignedAt(size, note):
                self.note = str(note)
                self._notes.append((size, self.note))
            case SubjectLine(subject):
                self.subjects += 1
                self._told.append(subject)
        if len(self._rows) + len(self._notes) + len(self._told) < bounds.MOVE_EVENTS:
            return False
        await self._flush()
        return True

    async def end(self) -> None:
        """Write the rest, once the proof is complete."""
        self._proof.end()
        self._proof.filled += self._proof.tree.edge()
        await self._flush()
        erased = await self._writer.fetchval(_ERASED, self._proof.header.ledger)
        if erased is not None:
            raise Tampered(f"The file brings the key {erased} of a data subject, which the ledger says was erased.")
        await self._writer.execute(_MOVE_HEAD, self._proof.header.ledger, self._proof.header.size, self._at)

    async def _flush(self) -> None:
        ledger, tiles = self._proof.header.ledger, self._proof.filled
        await self._writer.copy_records_to_table(
            "events", schema_name="intent_ledger", columns=_COLUMNS, records=self._rows, timeout=bounds.MOVE_SECONDS
        )
        if tiles:
            levels, numbers, hashes = ([tile[place] for tile in tiles] for place in range(3))
            await self._writer.execute(_TILES, ledger, levels, numbers, hashes)
        if self._notes:
            sizes, notes = zip(*self._notes, strict=True)
            await self._writer.execute(_ADD_CHECKPOINTS, ledger, list(sizes), list(notes))
        if self._told:
            await self._writer.execute(_ADD_SUBJECTS, ledger, msgspec.json.encode(self._told).decode())
        for done in (self._rows, self._notes, self._told, tiles):
            done.clear()

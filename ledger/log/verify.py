"""Verifying a whole ledger: everything is read once, in one snapshot of the database, and nothing is believed.

What is held against it comes from outside the database: the keys of the log, and checkpoints that were signed with them
and kept elsewhere. `ledger/log/walk.py` says what is compared. This file reads what the walk looks at, a page ahead of
it, and compares the ends: how many events, tiles and checkpoints there are, and whether each stream counts from 1.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

import sql
from ledger.bounds import VERIFY_PAGE_EVENTS, VERIFY_SECONDS
from ledger.errors import InvariantViolation, Malformed, Tampered
from ledger.log import tree as log_tree
from ledger.log.checkpoint import parse_checkpoint
from ledger.log.merkle import TilePlace
from ledger.log.signed_note import Note, VerifierKey, parse_note, verify_note
from ledger.log.walk import Head, Walk, Wrong, places_over, tile_count
from ledger.progress import Progress, unseen

if TYPE_CHECKING:
    from ledger.database import Connection

_PATIENCE = sql.query("log_walk.patience")
_ENDS = sql.query("log_walk.ends")
_CHECKPOINTS = sql.query("log_walk.checkpoints")
_BROKEN_STREAM = sql.query("log_walk.broken_stream")
_FIRST_IN_A_BROKEN_STREAM = sql.query("log_walk.first_in_a_broken_stream")
_ENTRIES = sql.query("log.entries")


class Verified(msgspec.Struct, frozen=True):
    """What was looked at, what of it is proved, and what is wrong with it first, in order of position."""

    position: int  # of the last event
    proved: int  # events up to here are those that the log signed
    checkpoints: int  # whose signature is the log's
    outside: int  # the size of the largest checkpoint that does not come from this database; 0: there was none
    wrong: Wrong | None


class _Page(msgspec.Struct, frozen=True):
    rows: Sequence[Any]
    tiles: Mapping[TilePlace, bytes]
    notes: Sequence[Any]


async def verify_log(
    reader: "Connection",
    ledger: str,
    keys: Sequence[VerifierKey],
    outside: Mapping[str, Note],
    show: Progress = unseen,
) -> Verified:
    """Read and recompute the whole ledger; `outside` are checkpoints that are kept elsewhere, by the name of the place.

    `reader` is in a transaction that sees one moment. `show` is told how far it has come, and how far it goes.
    Raises `Tampered` if a checkpoint from outside is not signed by these keys.
    """
    elsewhere = [_outside(place, note, keys) for place, note in outside.items()]
    await reader.execute(_PATIENCE, f"{VERIFY_SECONDS}s")
    return await _Verification(reader, ledger, keys, elsewhere).run(show)


class _Verification:
    """One walk, in one snapshot."""

    def __init__(
        self, reader: "Connection", ledger: str, keys: Sequence[VerifierKey], elsewhere: Sequence[Head]
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._keys = keys
        self._elsewhere = elsewhere
        self._checkpoints = 0

    async def run(self, show: Progress) -> Verified:
        ends = await self._reader.fetchrow(_ENDS, self._ledger)
        if ends is None:
            raise InvariantViolation("A query without rows of its own had no answer. Nothing was verified.")
        walk = Walk(self._ledger, ends["signed"])
        if ends["first"] != 1:
            walk.found(ends["first"], f"The ledger begins with position {ends['first']:,}, and should with 1.")
        await self._walk(walk, ends["last"], show)
        self._compare_ends(walk, ends["last"], ends["head"], ends["signed"])
        if ends["tiles"] != tile_count(ends["signed"]):
            should = tile_count(ends["signed"])
            walk.found(max(1, ends["signed"]), f"The log has {ends['tiles']} tiles stored, and should have {should}.")
        if await self._reader.fetchval(_BROKEN_STREAM, self._ledger, timeout=VERIFY_SECONDS):
            position = await self._reader.fetchval(_FIRST_IN_A_BROKEN_STREAM, self._ledger, timeout=VERIFY_SECONDS)
            walk.found(position, f"The versions of the stream of the event at {position} are not 1, 2, 3 … in order.")
        largest = max((head.size for head in self._elsewhere), default=0)
        return Verified(ends["last"], walk.proved, self._checkpoints, largest, walk.wrong)

    async def _walk(self, walk: Walk, last: int, show: Progress) -> None:
        """Walk to the end, or to where it is no use to go on; the database reads a page while we look at another."""
        reading = asyncio.ensure_future(self._read(0))
        try:
            while walk.position < last:
                after, page = walk.position, await reading
                behind = after + len(page.rows)
                if behind < last:
                    reading = asyncio.ensure_future(self._read(behind))
                    await asyncio.sleep(0)  # so that it is asked before we begin
                heads = sorted([*self._signed(page, walk), *self._elsewhere_in(after, behind)], key=_size)
                if not walk.take(page.rows, page.tiles, heads):
                    return
                show(walk.position, last)
        finally:
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, after: int) -> _Page:
        rows = await self._reader.fetch(_ENTRIES, self._ledger, after, VERIFY_PAGE_EVENTS)
        behind = after + len(rows)
        tiles = await log_tree.tiles(self._reader, self._ledger, places_over(after, behind))
        return _Page(rows, tiles, await self._reader.fetch(_CHECKPOINTS, self._ledger, after, behind))

    def _signed(self, page: _Page, walk: Walk) -> Iterator[Head]:
        """Yield the checkpoints of the database that the log has signed; find those that it has not."""
        for row in page.notes:
            try:
                head = _head(parse_note(row["note"]), self._keys, f"the database's checkpoint of {row['size']:,}")
            except (Malformed, Tampered) as error:
                walk.found(row["size"], f"The database's checkpoint of {row['size']:,} is not one: {error.message}")
                continue
            if head.size == row["size"]:
                self._checkpoints += 1
                yield head
            else:
                walk.found(row["size"], f"The database's checkpoint of {row['size']:,} is one of {head.size:,}.")

    def _elsewhere_in(self, after: int, behind: int) -> Iterator[Head]:
        return (head for head in self._elsewhere if after < head.size <= behind)

    def _compare_ends(self, walk: Walk, last: int, head: int, signed: int) -> None:
        """Find what is missing at the end of the ledger, or of its checkpoints."""
        if head != last:
            walk.found(min(head, last) + 1, f"The ledger's head is at {head:,}, and its last event at {last:,}.")
        if signed > last:
            walk.found(last + 1, f"The ledger ends at {last:,}; its log covers {signed:,} events. The last are gone.")
        for known in self._elsewhere:
            if known.size > last:
                walk.found(
                    last + 1,
                    f"The ledger ends at {last:,}, and {known.where} covers {known.size:,} events: the last ones were "
                    "deleted, or an older copy of the database stands in its place.",
                )
            elif known.size > signed:
                walk.found(
                    known.size,
                    f"The log's checkpoints end at {signed:,}; {known.where} is newer.",
                )


def _outside(place: str, note: Note, keys: Sequence[VerifierKey]) -> Head:
    try:
        return _head(note, keys, f"the checkpoint in {place}")
    except (Malformed, Tampered) as error:
        raise Tampered(f"The checkpoint in {place} is not the log's: {error.message} Nothing was verified.") from None


def _head(note: Note, keys: Sequence[VerifierKey], where: str) -> Head:
    checkpoint = parse_checkpoint(note.text)
    verify_note(note, [key for key in keys if key.name == checkpoint.origin])  # a log's keys have its name
    return Head(checkpoint.size, checkpoint.root, where)


def _size(head: Head) -> int:
    return head.size

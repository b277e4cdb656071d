"""The Merkle log of a ledger as the database keeps it: its tiles, and the checkpoints that were signed.

Reading is for everybody: proofs are made from tiles alone. Only the keeper (`ledger/log/keeper.py`) adds to it. What
stands here can be rewritten by whoever owns the database, so nobody who must be sure believes it without a checkpoint
from outside.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

import sql
from ledger.bounds import RECEIPT_CHECKPOINTS
from ledger.database import connection
from ledger.errors import Corrupt, Malformed, Misconfigured, Tampered
from ledger.log import merkle
from ledger.log.checkpoint import Checkpoint, parse_checkpoint
from ledger.log.entry import entries
from ledger.log.merkle import Range, Tile, TilePlace, Tree
from ledger.log.signed_note import Note, Signature, parse_note

if TYPE_CHECKING:
    from ledger.database import Connection, Pool

_NEWEST = sql.query("log.newest")
_BEST_COVERING = sql.query("log.best_covering")
_TILES = sql.query("log.tiles")
_ENTRIES = sql.query("log.entries")
_EXTEND = sql.query("log.extend")
_COSIGN = sql.query("log.cosign")
_THIN = sql.query("log.thin")
_KEEP_AWAY = sql.query("log.keep_away")
_END_TILES = sql.query("log.end_tiles")
_END_CHECKPOINTS = sql.query("log.end_checkpoints")
_KEY_CHARACTERS = 5  # of a signature's base64, which are those of its key's id alone


class Signed(msgspec.Struct, frozen=True):
    """A checkpoint as it was published: what it says, the whole note, and when it was stored."""

    checkpoint: Checkpoint
    note: Note
    at: datetime

    @property
    def size(self) -> int:
        """Return the position up to which it covers the events."""
        return self.checkpoint.size


class Log:
    """The log of one ledger. Everything raises `Unavailable` while the database does not answer."""

    def __init__(self, pool: "Pool", ledger: str) -> None:
        """Use a pool of `ledger.database.open_pool`."""
        self._pool = pool
        self.ledger = ledger

    async def newest(self) -> Signed | None:
        """Return the newest checkpoint; None before the first."""
        async with connection(self._pool) as reader:
            return await newest(reader, self.ledger)

    async def best_covering(self, position: int) -> Signed | None:
        """Return the checkpoint with most signatures among the oldest that cover a position; None while there is none.

        Witnesses take only the newest, now and then, so the first one to cover it may never be cosigned.
        """
        async with connection(self._pool) as reader:
            return _signed(await reader.fetchrow(_BEST_COVERING, self.ledger, position, RECEIPT_CHECKPOINTS))

    async def tiles(self, places: Iterable[TilePlace]) -> Mapping[TilePlace, bytes]:
        """Return those of these tiles that there are."""
        async with connection(self._pool) as reader:
            return await tiles(reader, self.ledger, places)

    async def inclusion(self, position: int, size: int) -> list[bytes]:
        """Prove that the event at `position` is in the tree of `size`: 1 ≤ position ≤ size ≤ the newest's."""
        return await self._hashes(merkle.inclusion_ranges(position - 1, size))

    async def consistency(self, old: int, size: int) -> list[bytes]:
        """Prove that the tree of `old` is a prefix of the tree of `size`: 0 ≤ old ≤ size ≤ the newest's."""
        return await self._hashes(merkle.consistency_ranges(old, size))

    async def root(self, size: int) -> bytes:
        """Return the root hash at a size up to the newest checkpoint's."""
        return (await self._hashes([(0, size)]))[0]

    async def leaf(self, position: int) -> bytes:
        """Return the hash of the event at a position that the newest checkpoint covers."""
        return (await self._hashes([(position - 1, position)]))[0]

    async def cosigned(self, size: int, cosignature: Signature) -> Signed | None:
        """Add a witness's cosignature to a checkpoint that has none of it, and return the newest checkpoint."""
        line = f"{cosignature.line}\n"
        by_its_key = line[: line.index(" ", 2) + 1 + _KEY_CHARACTERS]
        async with connection(self._pool) as writer:
            await writer.execute(_COSIGN, self.ledger, size, line, by_its_key)
            return await newest(writer, self.ledger)

    async def _hashes(self, ranges: Sequence[Range]) -> list[bytes]:
        async with connection(self._pool) as reader:
            found = await tiles(reader, self.ledger, merkle.tiles_of(ranges))
        return [merkle.range_hash(leaves, found) for leaves in ranges]


# ── for the keeper, on its own connection ────────────────────────────────────────────────────────────────────────


async def newest(reader: "Connection", ledger: str) -> Signed | None:
    """Return the newest checkpoint; None before the first."""
    return _signed(await reader.fetchrow(_NEWEST, ledger))


async def end(owner: "Connection", ledger: str, origin: str) -> str | None:
    """Forget the log of this origin, so that another can begin, and return which log there was; None: none.

    Nothing is changed where it is another. On a connection of the tables' owner. Raises `Misconfigured` while a process
    keeps the log.
    """
    async with owner.transaction():
        if not await owner.fetchval(_KEEP_AWAY, ledger):
            raise Misconfigured(
                f"A process keeps the log of the ledger {ledger!r} now. Nothing was changed; stop every process that "
                "serves or works on this ledger first."
            )
        stored = await newest(owner, ledger)
        found = stored.checkpoint.origin if stored is not None else None
        if found == origin:
            await owner.execute(_END_TILES, ledger)
            await owner.execute(_END_CHECKPOINTS, ledger)
    return found


async def tiles(reader: "Connection", ledger: str, places: Iterable[TilePlace]) -> Mapping[TilePlace, bytes]:
    """Return those of these tiles that there are."""
    wanted = sorted(places)
    rows = await reader.fetch(_TILES, ledger, [level for level, _ in wanted], [number for _, number in wanted])
    return {(row["level"], row["number"]): row["hashes"] for row in rows}


async def tree(reader: "Connection", ledger: str, size: int) -> Tree:
    """Return the tree of a size that the tiles have. Raises `Corrupt` if they do not."""
    places = [(level, number) for level, number, width in merkle.edge_of(size) if width]
    found = await tiles(reader, ledger, places)
    return Tree(size, [Tile(*place, hashes) for place, hashes in found.items()])


async def leaves(reader: "Connection", ledger: str, after: int, limit: int) -> list[bytes]:
    """Hash at most `limit` events after a position, oldest first. Raises `Corrupt` where one is missing."""
    rows = await reader.fetch(_ENTRIES, ledger, after, limit)
    if rows and rows[-1]["position"] != after + len(rows):
        raise Corrupt(
            f"After position {after} of the ledger {ledger!r} there are {len(rows)} events up to position "
            f"{rows[-1]['position']}: some are missing. Nothing was added to the log; `intentledger verify` says which."
        )
    return merkle.leaf_hashes(entries(ledger, rows))


async def extend(writer: "Connection", ledger: str, changed: Sequence[Tile], size: int, note: Note) -> datetime:
    """Store what a step has changed together with the checkpoint that it led to, or nothing of it."""
    at: datetime = await writer.fetchval(
        _EXTEND,
        ledger,
        [tile.level for tile in changed],
        [tile.number for tile in changed],
        [tile.hashes for tile in changed],
        size,
        str(note),
    )
    return at


async def thin(writer: "Connection", ledger: str, after: int) -> int:
    """Thin old checkpoints after a size, a bounded number of them; return the size after which to go on."""
    reached: int | None = await writer.fetchval(_THIN, ledger, after)
    return after if reached is None else reached


def _signed(row: Any) -> Signed | None:
    if row is None:
        return None
    try:
        note = parse_note(row["note"])
        checkpoint = parse_checkpoint(note.text)
    except Malformed as error:
        raise Tampered(f"The stored checkpoint of size {row['size']} was changed: {error.message}") from error
    if checkpoint.size != row["size"]:
        raise Tampered(f"The stored checkpoint of size {row['size']} was changed: it is one of {checkpoint.size}.")
    return Signed(checkpoint, note, row["at"])

"""Comparing the ledger with what is known of it outside: at each start, before anything is served or added to the log.

It refuses a ledger that is shorter than a checkpoint outside, whose tree has another root at that size, whose newest
checkpoint was not signed by our keys as it stands, and whose newest events are not those that the tree has. That finds
a restored backup, a cut-off end, a rewritten log, and a change of recent events; an old event that was changed behind
an untouched tree is found by `intentledger verify`, which reads all of them.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import sql
from ledger import bounds
from ledger.errors import Corrupt, Malformed, Misconfigured, Tampered
from ledger.log import merkle
from ledger.log import tree as log_tree
from ledger.log.checkpoint import Checkpoint, parse_checkpoint
from ledger.log.keys import Keyring
from ledger.log.signed_note import Note, verify_note

if TYPE_CHECKING:
    from ledger.database import Connection

_HEAD = sql.query("read.head")


async def check(reader: "Connection", ledger: str, origin: str, keys: Keyring, known: Mapping[str, Note]) -> None:
    """Compare the ledger with the checkpoints that are `known` outside, by the name of the place.

    Raises `Corrupt` where they disagree, and `Misconfigured` where there is no key to know ours by.
    """
    head: int = await reader.fetchval(_HEAD, ledger) or 0
    stored = await log_tree.newest(reader, ledger)
    if stored is not None and signed_by(keys, stored.note):
        _expect_origin("The database", stored.checkpoint, origin)
        if head < stored.size:
            raise shorter(ledger, head, "the database", stored.size)
        await _expect_root(reader, ledger, "the database", stored.checkpoint, stored.size)
    size = 0 if stored is None else stored.size
    for place, note in known.items():
        checkpoint = _ours(keys, place, note)
        _expect_origin(place, checkpoint, origin)
        if head < checkpoint.size:
            raise shorter(ledger, head, place, checkpoint.size)
        await _expect_root(reader, ledger, place, checkpoint, size)
    await _expect_events(reader, ledger, size)


def signed_by(keys: Keyring, note: Note) -> bool:
    """Tell whether one of these keys has signed the note. Raises `Tampered` if one seems to have and has not."""
    if not any(key.signed(signature) for key in keys.verifiers for signature in note.signatures):
        return False
    verify_note(note, keys.verifiers)
    return True


def _ours(keys: Keyring, place: str, note: Note) -> Checkpoint:
    if not keys.verifiers:
        raise Misconfigured(
            f"There is a checkpoint of the log at {place}, and the keys that sign it are not here. Nothing was "
            "started; put the file of the keys back where it was."
        )
    try:
        verify_note(note, keys.verifiers)
        return parse_checkpoint(note.text)
    except (Tampered, Malformed) as error:
        raise Tampered(f"The checkpoint at {place} is not ours: {error.message} Nothing was started.") from error


def _expect_origin(place: str, checkpoint: Checkpoint, origin: str) -> None:
    if checkpoint.origin != origin:
        raise Misconfigured(
            f"{place} has a checkpoint of the log {checkpoint.origin!r}, and this one is {origin!r}. Nothing was "
            "started; give each log places of its own, and never another origin."
        )


def shorter(ledger: str, head: int, place: str, size: int) -> Corrupt:
    """Say that a ledger ends before what was signed of it."""
    return Corrupt(
        f"The ledger {ledger!r} ends at position {head}, and the checkpoint that was signed for {place} covers {size}: "
        "its end was deleted, or an older backup was restored. Nothing was started or changed; bring the newer "
        "database back (docs/log.md says what to do where there is none)."
    )


async def _expect_root(reader: "Connection", ledger: str, place: str, expected: Checkpoint, stored: int) -> None:
    """Compare the tree with a checkpoint; what the tiles do not have yet is hashed from the events."""
    if expected.size <= stored:
        whole = (0, expected.size)
        root = merkle.range_hash(whole, await log_tree.tiles(reader, ledger, merkle.tiles_of([whole])))
    else:
        tree = await log_tree.tree(reader, ledger, stored)
        while tree.size < expected.size:
            limit = min(bounds.LOG_SLICE_EVENTS, expected.size - tree.size)
            leaves = await log_tree.leaves(reader, ledger, tree.size, limit)
            if not leaves:  # whatever its head says
                raise shorter(ledger, tree.size, place, expected.size)
            tree.extend(leaves)
        root = tree.root()
    if root != expected.root:
        raise Corrupt(
            f"The log of the ledger {ledger!r} is not the one whose checkpoint of size {expected.size} was signed for "
            f"{place}: it was rewritten. Nothing was started or changed; `intentledger verify` says what differs."
        )


async def _expect_events(reader: "Connection", ledger: str, size: int) -> None:
    """Hash the newest events again and compare them with the tree."""
    after = max(0, size - bounds.LOG_REHASHED_EVENTS)
    while after < size:
        limit = min(bounds.LOG_SLICE_EVENTS, size - after)
        found = await log_tree.leaves(reader, ledger, after, limit)
        ranges = [(position, position + 1) for position in range(after, after + limit)]
        tiles = await log_tree.tiles(reader, ledger, merkle.tiles_of(ranges))
        for leaves, leaf in zip(ranges, [*found, *[b""] * (limit - len(found))], strict=True):
            if merkle.range_hash(leaves, tiles) != leaf:
                raise Corrupt(
                    f"The event at position {leaves[1]} of the ledger {ledger!r} is not the one that the log has: it "
                    "was changed or deleted. Nothing was started or changed; `intentledger verify` says what else is."
                )
        after += limit

"""A walk over a whole ledger, from its first event: what is recomputed from events, held against what was signed. Pure.

For every event its entry is written and hashed again and the tree is grown from those hashes alone. Then

  * positions must be 1, 2, 3 … without a gap;
  * each hash must be the one in the stored tiles, at every level;
  * at the size of each checkpoint the tree must have the root hash that the checkpoint's note says.

Only a checkpoint proves anything: tiles stand in the database beside the events, and whoever changes the one can change
the other. They tell *which* event is wrong, where a checkpoint alone tells that one of many is.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ledger.log.entry import entries
from ledger.log.merkle import HASH_BYTES, TILE_WIDTH, Tile, TilePlace, Tree, leaf_hashes

LEVELS: Final = 8  # of 256 hashes each: as many leaves as there are positions


class Wrong(msgspec.Struct, frozen=True):
    """What is not true, and the first position of which it is not."""

    position: int
    sentence: str


class Head(msgspec.Struct, frozen=True):
    """A checkpoint to be met: the tree of `size` must have this root."""

    size: int
    root: bytes
    where: str  # it was found, for people


class Walk:
    """How far a walk has come, and what it found."""

    def __init__(self, ledger: str, covered: int) -> None:
        """Begin before the first event. The stored tiles are those of a tree of `covered`."""
        self.proved = 0  # the events up to here are those that were signed
        self.wrong: Wrong | None = None  # the first
        self._ledger = ledger
        self._covered = covered
        self._tree = Tree()

    @property
    def position(self) -> int:
        """Return the position of the last event that was looked at."""
        return self._tree.size

    def take(self, rows: Sequence[Any], tiles: Mapping[TilePlace, bytes], heads: Iterable[Head]) -> bool:
        """Look at the next events, rows of the table of events; False if it is no use to go on.

        `tiles` are those stored of `places_over` these events; `heads` those that end within them, smallest first.
        """
        after = self.position
        positions = range(after + 1, after + len(rows) + 1)
        if [row[0] for row in rows] != list(positions):
            gap = next(position for position, row in zip(positions, rows, strict=True) if row[0] != position)
            self.found(gap, f"There is no event at position {gap}: it was deleted, or its position was changed.")
            return False
        leaves = leaf_hashes(entries(self._ledger, rows))
        self._compare_leaves(leaves, tiles)
        for head in heads:
            self._grow(leaves[self.position - after : head.size - after], tiles)
            if not self._meet(head):
                return False
        self._grow(leaves[self.position - after :], tiles)
        return True

    def found(self, position: int, sentence: str) -> None:
        """Take note of what is wrong, if it is the first in order of position."""
        if self.wrong is None or position < self.wrong.position:
            self.wrong = Wrong(position, sentence)

    def _meet(self, head: Head) -> bool:
        if self._tree.root() == head.root:
            self.proved = max(self.proved, head.size)
            return True
        first = self.proved + 1
        if self.wrong is None or self.wrong.position < first:
            events = f"the events from {first:,} to {head.size:,}" if first < head.size else f"the event at {first:,}"
            self.found(first, f"Of {events} at least one is not what was signed for {head.where}: the hash differs.")
        return False

    def _grow(self, leaves: Sequence[bytes], tiles: Mapping[TilePlace, bytes]) -> None:
        """Grow the tree, and compare what is filled on the way, and the edge where the stored tree ends."""
        room = max(self._covered - self.position, 0)
        if covered := leaves[:room]:
            self._compare(self._tree.extend(covered), tiles)
            if self.position == self._covered:
                self._compare(self._tree.edge(), tiles)
        self._tree.extend(leaves[room:])

    def _compare_leaves(self, leaves: Sequence[bytes], tiles: Mapping[TilePlace, bytes]) -> None:
        """Find the first event whose hash is not the one in the tiles of level 0."""
        after, behind = self.position, min(self.position + len(leaves), self._covered)
        for number in range(after // TILE_WIDTH, -(-behind // TILE_WIDTH)):
            first, end = max(number * TILE_WIDTH, after), min((number + 1) * TILE_WIDTH, behind)
            stored = tiles.get((0, number), b"")[(first - number * TILE_WIDTH) * HASH_BYTES :]
            own = b"".join(leaves[first - after : end - after])
            differs = _first_difference(stored[: len(own)], own)
            if differs is not None:
                at = first + differs + 1
                self.found(at, f"The event at position {at} is not the one whose hash stands in the log's tiles.")
                return

    def _compare(self, own: Iterable[Tile], tiles: Mapping[TilePlace, bytes]) -> None:
        for tile in own:
            differs = _first_difference(tiles.get((tile.level, tile.number), b""), tile.hashes)
            if differs is not None:
                first = (tile.number * TILE_WIDTH + differs) * TILE_WIDTH**tile.level + 1
                self.found(first, f"The log's tile {tile.level}/{tile.number} is missing, or not made from the events.")


def places_over(after: int, behind: int) -> list[TilePlace]:
    """Return the places of all tiles that hold a hash over the events after one position and up to another."""
    spans = [(level, TILE_WIDTH ** (level + 1)) for level in range(LEVELS) if TILE_WIDTH**level <= behind]
    return [(level, number) for level, span in spans for number in range(after // span, behind // span + 1)]


def tile_count(size: int) -> int:
    """Return how many tiles a tree of a size is stored in."""
    return sum(-(-(size // TILE_WIDTH**level) // TILE_WIDTH) for level in range(LEVELS))


def _first_difference(stored: bytes, own: bytes) -> int | None:
    """Return which hash is the first to differ; None if they are the same."""
    if stored == own:
        return None
    for nth, at in enumerate(range(0, len(own), HASH_BYTES)):
        if stored[at : at + HASH_BYTES] != own[at : at + HASH_BYTES]:
            return nth
    return len(own) // HASH_BYTES  # there is more than there should be

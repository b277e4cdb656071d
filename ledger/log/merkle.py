"""A Merkle tree as in RFC 6962 §2.1 (RFC 9162 §2.1), grown at its right edge and kept in tiles (C2SP tlog-tiles).

    tile (level, number)  256 hashes side by side; hash i of it is the root of the 256^level leaves that begin at
                          (number · 256 + i) · 256^level. At level 0 they are the hashes of the leaves themselves.

Only the last tile of each level is partial, and no hash of a partial tile is in the level above. A proof takes three
steps: which ranges of leaves it names (`inclusion_ranges`, `consistency_ranges`), which tiles those are made of
(`tiles_of`), and what their hashes are (`range_hash`).

Pure: knows neither events nor where tiles are kept. Leaves are counted from 0; a range is (first leaf, leaf behind).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from ledger.errors import Corrupt

HASH_BYTES: Final = 32
TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
EMPTY_ROOT: Final = sha256(b"").digest()

Range = tuple[int, int]
TilePlace = tuple[int, int]  # level and number of a tile


class Tile(NamedTuple):
    """A tile, or the part of it that there is."""

    level: int
    number: int  # counted from 0 in its level
    hashes: bytes


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf (RFC 6962 §2.1)."""
    return sha256(b"\x00" + entry).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """Return the hash of each of many leaves."""
    return [sha256(b"\x00" + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (RFC 6962 §2.1)."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """A growing tree, of which only the right edge is held: at most 256 hashes for each level."""

    def __init__(self, size: int = 0, edge: Iterable[Tile] = ()) -> None:
        """Go on from the partial tiles of a tree of `size` leaves. Raises `Corrupt` if one is missing or too short."""
        self.size = size
        stored = {(tile.level, tile.number): tile.hashes for tile in edge}
        self._edge: list[bytearray] = []
        for level, number, width in edge_of(size):
            hashes = stored.get((level, number), b"")[: width * HASH_BYTES]
            if len(hashes) != width * HASH_BYTES:
                raise Corrupt(
                    f"The log's tile {level}/{number} should hold {width} hashes of a tree of {size} and does not. "
                    "Nothing was added to the log; `intentledger verify` says what else is wrong."
                )
            self._edge.append(bytearray(hashes))

    def extend(self, leaves: Sequence[bytes]) -> list[Tile]:
        """Add the hashes of leaves; return the tiles that they filled, which never change again."""
        filled: list[Tile] = []
        room = TILE_WIDTH - self.size % TILE_WIDTH
        for start in (0, *range(room, len(leaves), TILE_WIDTH)):
            part = leaves[start : start + TILE_WIDTH] if start else leaves[:room]
            self.size += len(part)
            self._add(0, b"".join(part), filled)
        return filled

    def edge(self) -> list[Tile]:
        """Return the partial tiles, lowest level first: what a tree of this size needs to go on."""
        return [
            Tile(level, number, bytes(self._edge[level])) for level, number, width in edge_of(self.size) if width > 0
        ]

    def root(self) -> bytes:
        """Return the root hash of the leaves so far."""
        return range_hash((0, self.size), {(tile.level, tile.number): tile.hashes for tile in self.edge()})

    def _add(self, level: int, hashes: bytes, filled: list[Tile]) -> None:
        """Add at most as many hashes as the last tile of the level has room for."""
        if level == len(self._edge):
            self._edge.append(bytearray())
        tile = self._edge[level]
        tile += hashes
        if len(tile) == TILE_BYTES:
            number = self.size // TILE_WIDTH ** (level + 1) - 1
            filled.append(Tile(level, number, bytes(tile)))
            self._edge[level] = bytearray()
            self._add(level + 1, _perfect(filled[-1].hashes), filled)


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Return the ranges whose hashes prove that leaf `index` is in the tree of `size`, leaf's sibling first.

    RFC 6962 §2.1.1. The index must be below the size.
    """
    ranges: list[Range] = []
    first, behind = 0, size
    while behind - first > 1:
        middle = first + _split(behind - first)
        if index < middle:
            ranges.append((middle, behind))
            behind = middle
        else:
            ranges.append((first, middle))
            first = middle
    return ranges[::-1]


def consistency_ranges(old: int, size: int) -> list[Range]:
    """Return the ranges whose hashes prove that the tree of `old` is a prefix of the tree of `size`.

    RFC 6962 §2.1.2. 0 ≤ old ≤ size; nothing has to be proved for the empty tree and for the tree itself.
    """
    if old in {0, size}:
        return []
    ranges: list[Range] = []
    first, behind = 0, size
    while old != behind:
        middle = first + _split(behind - first)
        if old <= middle:
            ranges.append((middle, behind))
            behind = middle
        else:
            ranges.append((first, middle))
            first = middle
    if first > 0:  # otherwise the old tree is itself one of the nodes, and the verifier has its hash
        ranges.append((first, behind))
    return ranges[::-1]


def tiles_of(ranges: Iterable[Range]) -> set[TilePlace]:
    """Return the places of all tiles that the hashes of these ranges are made from."""
    return {
        (height // TILE_HEIGHT, (index << height % TILE_HEIGHT) // TILE_WIDTH)
        for leaves in ranges
        for height, index in _perfect_parts(leaves)
    }


def range_hash(leaves: Range, tiles: Mapping[TilePlace, bytes]) -> bytes:
    """Return the hash of the subtree over a range, which is the whole tree or one that `…_ranges` named.

    Raises `Corrupt` if a tile is missing or too short.
    """
    root = b""
    for height, index in reversed(list(_perfect_parts(leaves))):
        width = 1 << height % TILE_HEIGHT
        tile, offset = divmod(index * width, TILE_WIDTH)
        hashes = tiles.get((height // TILE_HEIGHT, tile), b"")[offset * HASH_BYTES : (offset + width) * HASH_BYTES]
        if len(hashes) != width * HASH_BYTES:
            raise Corrupt(
                f"The log's tile {height // TILE_HEIGHT}/{tile} is missing or too short. Nothing was changed; "
                "`intentledger verify` says what else is wrong."
            )
        root = node_hash(_perfect(hashes), root) if root else _perfect(hashes)
    return root or EMPTY_ROOT


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether the proof shows that the leaf with this hash stands at `index` under `root` (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, current = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            current = node_hash(sibling, current)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and current == root


def verify_consistency(old: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """Tell whether the proof shows that the tree of `old` leaves is a prefix of that of `size` (RFC 9162 §2.1.4.2)."""
    if not 0 <= old <= size:
        return False
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    if old == size:
        return not proof and old_root == root
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    node, last = old - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and before == old_root and after == root


def _split(width: int) -> int:
    """Return the largest power of two below a width of at least 2."""
    return 1 << (width - 1).bit_length() - 1


def _perfect(hashes: bytes) -> bytes:
    """Return the root over a power of two of hashes that stand side by side."""
    while len(hashes) > HASH_BYTES:
        hashes = b"".join(
            [
                sha256(b"\x01" + hashes[at : at + 2 * HASH_BYTES]).digest()
                for at in range(0, len(hashes), 2 * HASH_BYTES)
            ]
        )
    return hashes


def _perfect_parts(leaves: Range) -> Iterator[tuple[int, int]]:
    """Take a range apart into subtrees with a power of two of leaves, from the left: height, index at that height."""
    first, behind = leaves
    while first < behind:
        height = (behind - first).bit_length() - 1
        if first:
            height = min(height, (first & -first).bit_length() - 1)
        yield height, first >> height
        first += 1 << height


def edge_of(size: int) -> Iterator[tuple[int, int, int]]:
    """Name the last tile of each level of a tree: its level, number and how many hashes it has, which may be none."""
    level = 0
    while size:
        yield level, size // TILE_WIDTH, size % TILE_WIDTH
        level, size = level + 1, size // TILE_WIDTH

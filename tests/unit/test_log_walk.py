"""What a walk over the ledger asks for: every tile that there is, and no other."""

import pytest

from ledger.log.merkle import Tree, leaf_hash
from ledger.log.walk import places_over, tile_count

LEAF = leaf_hash(b"")
SIZES = (0, 1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 66_100)


def stored(size: int) -> set[tuple[int, int]]:
    tree = Tree()
    filled = tree.extend([LEAF] * size)
    return {(tile.level, tile.number) for tile in (*filled, *tree.edge())}


@pytest.mark.parametrize("size", SIZES)
def test_a_tree_is_stored_in_as_many_tiles_as_are_counted(size):
    assert tile_count(size) == len(stored(size))


@pytest.mark.parametrize("page", [100, 256, 1_000, 65_536])
def test_pages_ask_for_every_tile_of_the_tree(page):
    size = SIZES[-1]
    asked = {place for after in range(0, size, page) for place in places_over(after, min(after + page, size))}
    assert stored(size) <= asked
    assert len(asked - stored(size)) <= 1  # where a level ends exactly, one more is looked for

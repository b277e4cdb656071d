"""The Merkle tree gives the hashes of RFC 6962, kept in tiles or not, and its proofs prove nothing else."""

import random
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import Corrupt
from ledger.log import merkle
from ledger.log.merkle import Tree, leaf_hash, node_hash

# The reference tree of eight leaves of the Certificate Transparency project, and its roots at each size.
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PATHS = {  # by index and size
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCIES = {  # by old size and size
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def reference_root(hashes):
    """RFC 6962 §2.1, word for word."""
    if len(hashes) < 2:
        return hashes[0] if hashes else sha256(b"").digest()
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha256(b"\x01" + reference_root(hashes[:k]) + reference_root(hashes[k:])).digest()


def numbered(count):
    return [leaf_hash(b"%d" % number) for number in range(count)]


class Kept:
    """A tree and all the tiles it ever filled."""

    def __init__(self, hashes, steps=(1,)):
        tree, self.tiles, at, turn = Tree(), {}, 0, 0
        while at < len(hashes):
            step = steps[turn % len(steps)]
            for tile in (*tree.extend(hashes[at : at + step]), *tree.edge()):
                self.tiles[tile.level, tile.number] = tile.hashes
            at, turn = at + step, turn + 1
        self.tree = tree

    def hashes(self, ranges):
        assert merkle.tiles_of(ranges) <= set(self.tiles)
        return [merkle.range_hash(leaves, self.tiles) for leaves in ranges]


KEPT = Kept([leaf_hash(leaf) for leaf in LEAVES])
HASHES = numbered(1000)
LARGE = Kept(HASHES, steps=(1, 255, 256, 3, 300))


@pytest.mark.parametrize("size", range(9))
def test_the_reference_tree_has_the_known_root_at_each_size(size):
    tree = Tree()
    tree.extend([leaf_hash(leaf) for leaf in LEAVES[:size]])
    assert tree.root().hex() == ROOTS[size]
    assert merkle.range_hash((0, size), KEPT.tiles).hex() == ROOTS[size]


def test_leaves_and_nodes_have_the_known_hashes():
    assert leaf_hash(bytes(range(16, 32))).hex() == "3bfb960453ebaebf33727da7a1f4db38acc051d381b6da20d6d4e88f0eabfd7a"
    assert (
        node_hash(bytes(range(32)), bytes(range(32, 64))).hex()
        == "1a378704c17da31e2d05b6d121c2bb2c7d76f6ee6fa8f983e596c2d034963c57"
    )


@pytest.mark.parametrize(("index", "size"), PATHS)
def test_inclusion_proofs_are_the_known_ones(index, size):
    proof = KEPT.hashes(merkle.inclusion_ranges(index, size))
    assert [node.hex() for node in proof] == PATHS[index, size]
    root = bytes.fromhex(ROOTS[size])
    assert merkle.verify_inclusion(leaf_hash(LEAVES[index]), index, size, proof, root)


@pytest.mark.parametrize(("old", "size"), CONSISTENCIES)
def test_consistency_proofs_are_the_known_ones(old, size):
    proof = KEPT.hashes(merkle.consistency_ranges(old, size))
    assert [node.hex() for node in proof] == CONSISTENCIES[old, size]
    assert merkle.verify_consistency(old, size, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[size]), proof)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 512, 513, 999, 1000])
def test_tiles_give_the_root_of_every_size_however_they_were_filled(size):
    assert merkle.range_hash((0, size), LARGE.tiles) == reference_root(HASHES[:size])


def test_a_tree_of_more_than_two_levels_of_tiles_has_the_root_of_the_rfc():
    hashes = [b"%032d" % number for number in range(256 * 256 + 300)]
    kept = Kept(hashes, steps=(20_000,))
    assert (2, 0) in kept.tiles
    assert kept.tree.root() == reference_root(hashes)
    proof = kept.hashes(merkle.inclusion_ranges(65_000, len(hashes)))
    assert merkle.verify_inclusion(hashes[65_000], 65_000, len(hashes), proof, kept.tree.root())


def test_tiles_are_as_wide_as_tlog_tiles_says():
    tree = Tree()
    filled = tree.extend([b"%032d" % number for number in range(70_000)])
    assert sum(tile.level == 0 for tile in filled) == 273
    assert [(tile.level, tile.number, len(tile.hashes) // 32) for tile in tree.edge()] == [
        (0, 273, 112),
        (1, 1, 17),
        (2, 0, 1),
    ]
    assert [tile.number for tile in filled if tile.level == 1] == [0]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_proof_of_every_size_verifies(data):
    size = data.draw(st.integers(1, len(HASHES)))
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    root, old_root = reference_root(HASHES[:size]), reference_root(HASHES[:old])
    inclusion = LARGE.hashes(merkle.inclusion_ranges(index, size))
    assert merkle.verify_inclusion(HASHES[index], index, size, inclusion, root)
    consistency = LARGE.hashes(merkle.consistency_ranges(old, size))
    assert merkle.verify_consistency(old, size, old_root, root, consistency)


def test_small_trees_prove_everything_and_nothing_else():
    """Every index, size and old size up to 20, each with each way to be wrong."""
    chance = random.Random(6962)
    for size in range(1, 21):
        root = reference_root(HASHES[:size])
        for index in range(size):
            proof = LARGE.hashes(merkle.inclusion_ranges(index, size))
            assert merkle.verify_inclusion(HASHES[index], index, size, proof, root)
            for wrong in (*spoiled(proof, chance), proof[::-1] if proof != proof[::-1] else [*proof, root]):
                assert not merkle.verify_inclusion(HASHES[index], index, size, wrong, root)
            assert not merkle.verify_inclusion(HASHES[index + 1], index, size, proof, root)
            assert not merkle.verify_inclusion(HASHES[index], size, size, proof, root)
        for old in range(1, size):
            proof = LARGE.hashes(merkle.consistency_ranges(old, size))
            old_root = reference_root(HASHES[:old])
            assert merkle.verify_consistency(old, size, old_root, root, proof)
            for wrong in spoiled(proof, chance):
                assert not merkle.verify_consistency(old, size, old_root, root, wrong)
            assert not merkle.verify_consistency(old, size, reference_root(HASHES[1 : old + 1]), root, proof)
            assert not merkle.verify_consistency(old, size, old_root, reference_root(HASHES[: size + 1]), proof)
            assert not merkle.verify_consistency(size, old, root, old_root, proof)


def spoiled(proof, chance):
    yield [*proof, b"\x00" * 32]
    if proof:
        yield proof[1:]
        yield proof[:-1]
        at = chance.randrange(len(proof))
        yield [*proof[:at], sha256(proof[at]).digest(), *proof[at + 1 :]]


def test_nothing_is_proved_of_sizes_that_make_no_sense():
    empty = merkle.EMPTY_ROOT
    assert merkle.verify_consistency(0, 0, empty, empty, [])
    assert merkle.verify_consistency(0, 5, empty, reference_root(HASHES[:5]), [])
    assert not merkle.verify_consistency(0, 5, empty, reference_root(HASHES[:5]), [empty])
    assert not merkle.verify_consistency(0, 5, HASHES[0], reference_root(HASHES[:5]), [])
    assert not merkle.verify_consistency(5, 5, HASHES[0], HASHES[1], [])
    assert not merkle.verify_consistency(3, 5, HASHES[0], HASHES[1], [])
    assert not merkle.verify_inclusion(HASHES[0], 0, 2, [], HASHES[0]), "a proof that ends below the root"
    assert not merkle.verify_consistency(1, 2, HASHES[0], HASHES[0], []), "and one that ends where it begins"
    assert not merkle.verify_inclusion(HASHES[0], -1, 1, [], HASHES[0])
    assert not merkle.verify_inclusion(HASHES[0], 0, 0, [], HASHES[0])


def test_a_tree_goes_on_from_its_edge():
    for size in (0, 1, 255, 256, 300, 512, 700):
        first = Tree()
        first.extend(HASHES[:size])
        second = Tree(size, first.edge())
        second.extend(HASHES[size:])
        assert second.root() == LARGE.tree.root()


def test_an_edge_longer_than_the_tree_is_cut_to_it():
    longer = Tree()
    longer.extend(HASHES[:10])
    assert Tree(7, longer.edge()).root() == reference_root(HASHES[:7])


def test_a_tree_without_its_edge_is_corrupt():
    tree = Tree()
    tree.extend(HASHES[:300])
    with pytest.raises(Corrupt, match="tile 1/0"):
        Tree(300, tree.edge()[:1])
    with pytest.raises(Corrupt, match="tile 0/3"):
        merkle.range_hash((0, 800), {key: value for key, value in LARGE.tiles.items() if key != (0, 3)})

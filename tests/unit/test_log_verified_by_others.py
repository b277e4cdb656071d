"""Other people's code believes our log: sigstore's for Python, @sigstore/verify for JavaScript, and aics-tlog.

Each is shown what verifies and what does not, so that none of them can agree by not looking.
"""

import base64
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import aics_tlog
import pytest
from aics_tlog import MerkleTree
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from logged import KEY, ORIGIN, WITNESS
from paper import paper
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import SignedCheckpoint
from sigstore.errors import VerificationError

from ledger.log.merkle import consistency_ranges, inclusion_ranges, range_hash
from ledger.log.tlog_proof import TlogProof, parse_proofs

LOG = paper()
SIZE = len(LOG.events)
STREAMS = sorted({event.stream for event in LOG.events if event.stream.startswith("intent/")})
PROOFS = [proof for stream in STREAMS[::6] for proof in parse_proofs(LOG.receipt(stream, SIZE, KEY, WITNESS))]
SIZES = (1, 2, 3, 7, 8, 200, 255, 256, 257, 300, 511, 512, SIZE)


def spoilt(proof: TlogProof) -> list[TlogProof]:
    first, *rest = proof.hashes
    return [
        TlogProof(proof.index, (bytes([first[0] ^ 1]) + first[1:], *rest), proof.note, proof.extra),
        TlogProof(proof.index, proof.hashes[:-1], proof.note, proof.extra),
        TlogProof(proof.index ^ 1, proof.hashes, proof.note, proof.extra),
        TlogProof(proof.index, proof.hashes, proof.note, proof.extra + b" "),
    ]


def test_the_log_is_large_enough_to_mean_something():
    assert SIZE > 512
    assert len(PROOFS) > 50


# ── sigstore, in Python ──────────────────────────────────────────────────────────────────────────────────────────


def believed_by_sigstore(proof: TlogProof) -> bool:
    checkpoint = SignedCheckpoint.from_text(proof.note).checkpoint
    inclusion = SimpleNamespace(
        log_index=proof.index,
        tree_size=checkpoint.log_size,
        root_hash=bytes.fromhex(checkpoint.log_hash),
        hashes=list(proof.hashes),
    )
    try:
        verify_merkle_inclusion(
            SimpleNamespace(_inner=SimpleNamespace(inclusion_proof=inclusion, canonicalized_body=proof.extra))
        )
    except VerificationError:
        return False
    return True


def test_sigstore_believes_every_proof_of_a_receipt_and_no_spoilt_one():
    assert all(map(believed_by_sigstore, PROOFS))
    assert not any(believed_by_sigstore(wrong) for proof in PROOFS[:10] for wrong in spoilt(proof))


@pytest.mark.parametrize("size", SIZES)
def test_sigstore_believes_every_leaf_of_a_tree_of_any_size(size):
    note = LOG.note(size)
    for position in {1, min(2, size), size // 2 + 1, max(1, size - 1), size}:
        hashes = [range_hash(one, LOG.tiles) for one in inclusion_ranges(position - 1, size)]
        assert believed_by_sigstore(TlogProof(position - 1, tuple(hashes), note, LOG.entries[position]))


def test_sigstore_reads_our_checkpoints():
    read = SignedCheckpoint.from_text(LOG.note(SIZE, KEY, WITNESS))
    assert (read.checkpoint.origin, read.checkpoint.log_size) == (ORIGIN, SIZE)
    assert bytes.fromhex(read.checkpoint.log_hash) == LOG.root(SIZE)
    signature = read.signed_note.signatures[0]
    assert (signature.name, signature.sig_hash) == (ORIGIN, KEY.verifier.key_id)
    Ed25519PublicKey.from_public_bytes(KEY.verifier.public).verify(
        base64.b64decode(signature.signature), read.signed_note.note.encode()
    )


# ── @sigstore/verify, in JavaScript ──────────────────────────────────────────────────────────────────────────────


def said_by_sigstore_verify(proofs: list[TlogProof], note: str) -> list[bool | str]:
    key = Ed25519PublicKey.from_public_bytes(KEY.verifier.public)
    question = {
        "checkpoint": note,
        "origin": ORIGIN,
        "id": KEY.verifier.key_id.hex(),
        "key": key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        "proofs": [
            {
                "index": str(proof.index),
                "hashes": [base64.b64encode(one).decode() for one in proof.hashes],
                "entry": base64.b64encode(proof.extra).decode(),
            }
            for proof in proofs
        ],
    }
    script = Path(__file__).parents[1] / "verifiers" / "sigstore_verify.mjs"
    asked = json.dumps(question)
    try:
        done = subprocess.run(["node", script], input=asked, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        raise AssertionError("The tests need Node.js; install nodejs and npm.") from None
    assert done.returncode == 0, f"`make servers` installs @sigstore/verify: {done.stderr}"
    return json.loads(done.stdout)


def test_sigstore_verify_believes_checkpoint_and_proofs_and_no_spoilt_one():
    wrong = [one for proof in PROOFS[:10] for one in spoilt(proof)]
    said = said_by_sigstore_verify([*PROOFS, *wrong], PROOFS[0].note)
    assert said[: len(PROOFS)] == [True] * len(PROOFS)
    assert True not in said[len(PROOFS) :]
    other = PROOFS[0].note.replace(f"\n{SIZE}\n", f"\n{SIZE + 1}\n")
    assert said_by_sigstore_verify(PROOFS[:2], other) == ["invalid checkpoint signature"] * 2


# ── aics-tlog ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_aics_tlog_believes_signature_cosignature_and_proofs_and_no_spoilt_one():
    log, witness = aics_tlog.parse_vkey(str(KEY.verifier)), aics_tlog.parse_vkey(str(WITNESS.verifier))
    read = aics_tlog.verify_checkpoint(aics_tlog.parse_note(PROOFS[0].note.encode()), log, [witness], quorum=1)
    assert read.ok
    head = aics_tlog.parse_checkpoint(aics_tlog.parse_note(PROOFS[0].note.encode()).text)
    assert (head.origin, head.size, head.root) == (ORIGIN, SIZE, LOG.root(SIZE))

    def believed(proof: TlogProof) -> bool:
        return aics_tlog.verify_leaf_inclusion(proof.extra, proof.index, head.size, list(proof.hashes), head.root)

    assert all(map(believed, PROOFS))
    assert not any(believed(wrong) for proof in PROOFS[:10] for wrong in spoilt(proof))
    unsigned = LOG.note(SIZE).replace(f"\n{SIZE}\n", f"\n{SIZE + 1}\n")
    assert not aics_tlog.verify_checkpoint(aics_tlog.parse_note(unsigned.encode()), log).ok


def test_aics_tlog_makes_the_same_roots_proofs_and_tiles():
    tree = MerkleTree([LOG.entries[position] for position in range(1, SIZE + 1)])
    for size in SIZES:
        assert tree.root(size) == LOG.root(size)
        for old in (one for one in SIZES if one < size):
            hashes = [range_hash(one, LOG.tiles) for one in consistency_ranges(old, size)]
            assert hashes == tree.consistency_proof(old, size)
            assert aics_tlog.verify_consistency(old, size, LOG.root(old), LOG.root(size), hashes)
            assert not aics_tlog.verify_consistency(old, size, LOG.root(size), LOG.root(old), hashes)
        for index in {0, size // 3, size - 1}:
            assert [range_hash(one, LOG.tiles) for one in inclusion_ranges(index, size)] == tree.inclusion_proof(
                index, size
            )


class OurTiles:
    """Our tiles and entries as aics-tlog reads those of any log (C2SP tlog-tiles)."""

    def __init__(self, tiles) -> None:
        self.tiles = tiles

    def read_tile(self, level, index, width):
        hashes = self.tiles.get((level, index), b"")
        return hashes[: 32 * (width or 256)] if len(hashes) >= 32 * (width or 256) else None

    def read_entry_bundle(self, index, width):
        positions = range(256 * index + 1, 256 * index + 1 + (width or 256))
        return b"".join(len(LOG.entries[one]).to_bytes(2, "big") + LOG.entries[one] for one in positions)


def test_aics_tlog_audits_every_tile_as_we_store_them():
    aics_tlog.audit_tiles(OurTiles(LOG.tiles), SIZE, LOG.root(SIZE))
    for place in LOG.tiles:
        wrong = {**LOG.tiles, place: LOG.tiles[place][:-1] + bytes([LOG.tiles[place][-1] ^ 1])}
        with pytest.raises(aics_tlog.TileVerificationError):
            aics_tlog.audit_tiles(OurTiles(wrong), SIZE, LOG.root(SIZE))

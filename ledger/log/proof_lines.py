"""A Merkle proof as lines of text, as the C2SP specifications have it: one SHA-256 hash in base64 a line. Pure."""

import base64
from collections.abc import Iterable

from ledger.bounds import PROOF_HASHES
from ledger.errors import Malformed
from ledger.log.checkpoint import parse_hash


def proof_lines(hashes: Iterable[bytes]) -> list[str]:
    """Write hashes, each as its line."""
    return [base64.b64encode(one).decode() for one in hashes]


def parse_proof(lines: Iterable[str]) -> tuple[bytes, ...]:
    """Read lines, at most PROOF_HASHES. Raises `Malformed` if one is no hash, spelt in the one way that there is."""
    written = list(lines)
    hashes = tuple([parse_hash(line) for line in written[:PROOF_HASHES]])
    if proof_lines(hashes) != written:
        raise Malformed(f"A proof is at most {PROOF_HASHES} lines, each of them the base64 of 32 bytes; this is none.")
    return hashes

"""What a log sends to a witness (C2SP tlog-witness, add-checkpoint), as text. Pure, for both sides.

    old 20852014                        the size that the witness has cosigned last, 0 if none
    PlRNCrwHpqhGrupue0L7gxbjbMiK…       the consistency proof from there, one hash a line
                                        an empty line
    example.com/behind-the-sofa         the checkpoint, a signed note
    …

The note is read by nobody here.
"""

import re
from typing import Final

import msgspec

from ledger.errors import Malformed
from ledger.log.proof_lines import parse_proof, proof_lines

_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,18})").fullmatch


class WitnessRequest(msgspec.Struct, frozen=True):
    """A checkpoint to cosign, and the proof that it goes on from the one before."""

    old_size: int
    proof: tuple[bytes, ...]
    note: str  # the signed checkpoint, as the log wrote it


def write_request(request: WitnessRequest) -> str:
    """Write a request as its body."""
    return "\n".join([f"old {request.old_size}", *proof_lines(request.proof), "", request.note])


def parse_request(body: str) -> WitnessRequest:
    """Read a body. Raises `Malformed` if it is none."""
    head, separator, note = body.partition("\n\n")
    first, *proof = head.split("\n")
    old = _OLD(first)
    if not separator or old is None:
        raise Malformed("The body does not begin with `old SIZE`, hashes and an empty line. Nothing was cosigned.")
    return WitnessRequest(int(old[1]), parse_proof(proof), note)

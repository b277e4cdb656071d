"""An offline proof that an entry is in a log (C2SP tlog-proof), as text, and several of them in one file. Pure.

    c2sp.org/tlog-proof@v1
    extra eyJhdCI6IjIwMjYtMTEtMjNUMDA6NDk…   what goes with it; here the entry itself, in base64
    index 6                                  of the leaf, from 0
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveX…        the inclusion proof, one hash a line
                                             an empty line
    intent-ledger/main                       the checkpoint that it leads to, a signed note
    …

Several stand one behind the other with an empty line between them; each alone is a proof as the specification has it.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from ledger.errors import Malformed
from ledger.log.proof_lines import parse_proof, proof_lines

FIRST_LINE: Final = "c2sp.org/tlog-proof@v1\n"
_BEGINNING: Final = re.compile("^" + re.escape(FIRST_LINE), re.MULTILINE)
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,18})").fullmatch
_EXTRA: Final = "extra "


class TlogProof(msgspec.Struct, frozen=True):
    """That the leaf at `index` is in the tree of the checkpoint."""

    index: int
    hashes: tuple[bytes, ...]
    note: str  # the signed checkpoint, as the log wrote it
    extra: bytes = b""  # proved by nothing, until it is found to be what the leaf is the hash of


def write_proofs(proofs: Iterable[TlogProof]) -> str:
    """Write proofs into one text."""
    return "\n".join(map(_write, proofs))


def parse_proofs(text: str) -> tuple[TlogProof, ...]:
    """Read a text of one proof or more. Raises `Malformed` if it is none; no proof is verified yet."""
    places = [match.start() for match in _BEGINNING.finditer(text)]
    if "\r" in text:
        raise Malformed("Its lines end with a carriage return: something on its way has changed it. Fetch it again.")
    if not places or places[0] != 0:
        raise Malformed(f"It does not begin with the line {FIRST_LINE.strip()}.")
    *earlier, last = [text[begin:end] for begin, end in zip(places, [*places[1:], len(text)], strict=True)]
    return tuple([_parse(_without_gap(part)) for part in earlier] + [_parse(_at_the_end(last))])


def _write(proof: TlogProof) -> str:
    extra = [_EXTRA + base64.b64encode(proof.extra).decode()] if proof.extra else []
    return FIRST_LINE + "\n".join([*extra, f"index {proof.index}", *proof_lines(proof.hashes), "", proof.note])


def _parse(text: str) -> TlogProof:
    head, separator, note = text.removeprefix(FIRST_LINE).partition("\n\n")
    lines = head.split("\n")
    extra = _bytes(lines.pop(0).removeprefix(_EXTRA)) if lines[0].startswith(_EXTRA) else b""
    index = _INDEX(lines[0]) if lines else None
    if not separator or index is None:
        raise Malformed("A proof does not name its index, or ends before its checkpoint.")
    return TlogProof(int(index[1]), parse_proof(lines[1:]), note, extra)


def _without_gap(part: str) -> str:
    if not part.endswith("\n\n"):
        raise Malformed("There is no empty line between two proofs.")
    if part.endswith("\n\n\n"):
        raise Malformed("There is more than one empty line between two proofs.")
    return part[:-1]


def _at_the_end(part: str) -> str:
    if part.endswith("\n\n"):
        raise Malformed("There is an empty line behind its last proof, where it ends.")
    return part


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("What follows `extra` is not base64.") from None

"""What a log's checkpoint says: its origin, how many events it covers and their root hash (C2SP tlog-checkpoint).

    intent-ledger/main
    20852163
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

It is the text of a signed note (`ledger/log/signed_note.py`). Pure.
"""

import base64
import binascii
import re

import msgspec

from ledger.errors import Malformed
from ledger.log.merkle import HASH_BYTES

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class Checkpoint(msgspec.Struct, frozen=True):
    """The head of a log: the events up to position `size` have this root hash."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()  # further lines, whose meaning is their writer's

    @property
    def text(self) -> str:
        """Return the text that is signed."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint. Raises `Malformed` if it is none; whether it was signed is the note's matter."""
    origin, size, root, *extensions = [*text.removesuffix("\n").split("\n"), "", "", ""][: max(3, text.count("\n"))]
    root_hash = parse_hash(root)
    if not text.endswith("\n") or not origin or _SIZE.fullmatch(size) is None or not all(extensions):
        raise Malformed("This is not a checkpoint: three lines with origin, size and root hash, none of them empty.")
    return Checkpoint(origin, int(size), root_hash, tuple(extensions))


def parse_hash(line: str) -> bytes:
    """Read a SHA-256 in base64. Raises `Malformed` if it is none."""
    try:
        decoded = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) != HASH_BYTES:
        raise Malformed("A hash of the checkpoint or proof is not the base64 of 32 bytes.")
    return decoded

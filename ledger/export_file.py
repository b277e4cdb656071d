r"""A ledger as a file: every event as it is hashed, and the checkpoints that prove that these are all, and unchanged.

One JSON text (RFC 8785) a line, each line ended by a newline:

    {"format":"intent-ledger-export","keys":[…],"ledger":"main","origin":"intent-ledger/main","size":N,"version":1}
    {"at":…,"body":{…},"ledger":"main","position":1,"stream":…,"type":…,"version":1}      the entry of position 1
    …
    {"checkpoint":"intent-ledger/main\n1000\n…"}       a signed note, behind the last event that it covers
    …                                                 the last one covers all N
    {"subject":{…}}                                    only if they were asked for; no checkpoint covers these

An entry, without its newline, is a leaf of the log's Merkle tree: SHA-256 over a zero byte and the line is the hash of
the leaf (RFC 6962 §2.1). So whoever can hash can check the file, without this program.

`Proof` reads such a file a line at a time and holds what is needed to judge it: the right edge of the tree. It knows
neither files nor databases.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, BinaryIO, Final

import msgspec

from ledger.bounds import EXPORT_LINE_BYTES
from ledger.canonical import UNREADABLE, canonical
from ledger.errors import LedgerError, Malformed, Tampered, UnknownEventType
from ledger.events import EVENT_TYPES, UPCAST
from ledger.log.checkpoint import Checkpoint, parse_checkpoint
from ledger.log.entry import Entry, read_entry
from ledger.log.merkle import Tile, Tree, leaf_hash
from ledger.log.signed_note import Note, VerifierKey, parse_note, parse_verifier_key, verify_note

FORMAT: Final = "intent-ledger-export"
VERSION: Final = 1
_TOGETHER: Final = 2_048  # hashes between two extensions of the tree


class Header(msgspec.Struct, frozen=True):
    """The first line: whose ledger it is, how long, and by which keys its log is signed, as the file itself says."""

    ledger: str
    origin: str
    size: int
    keys: tuple[str, ...]
    format: str = FORMAT
    version: int = VERSION


class SignedAt(msgspec.Struct, frozen=True):
    """A checkpoint of the file that has been proved."""

    size: int
    note: Note


_KeyId = Annotated[str, msgspec.Meta(pattern=r"^k[0-9a-f]{20}\Z")]
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class WrappedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="key"):
    """The key of a data subject, wrapped under a master key."""

    key_id: _KeyId
    mark: _Sha256
    master: Annotated[str, msgspec.Meta(pattern=r"^[^\x00]{1,200}\Z")]
    wrapped: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2}){1,4096}\Z")]


class ErasedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="erased"):
    """That the key of a data subject is gone."""

    key_id: _KeyId
    mark: _Sha256


class BoundTo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="keyring"):
    """Which keyring wraps them."""

    sha256: _Sha256


Subject = WrappedKey | ErasedKey | BoundTo


class SubjectLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line about the keys of data subjects."""

    subject: Subject


class _CheckpointLine(msgspec.Struct, frozen=True):
    checkpoint: str


_CHECKPOINT: Final = b'{"checkpoint":'
_SUBJECT: Final = b'{"subject":'


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file, none longer than EXPORT_LINE_BYTES. Raises `Malformed` at one that is."""
    while line := file.readline(EXPORT_LINE_BYTES + 1):
        if len(line) > EXPORT_LINE_BYTES:
            raise Malformed(
                f"A line of the file is longer than {EXPORT_LINE_BYTES} bytes, and no line of an export is."
            )
        yield line


def line_of(value: Any) -> bytes:
    """Return a line of the file that is not an entry: a header, a checkpoint, a key."""
    return canonical(value) + b"\n"


def checkpoint_line(note: str) -> bytes:
    """Return the line of a signed checkpoint."""
    return line_of({"checkpoint": note})


def parse_header(line: bytes) -> Header:
    """Read the first line. Raises `Malformed` if the file is of another format, or of a newer version of it."""
    try:
        header = msgspec.json.decode(line, type=Header)
    except UNREADABLE as error:
        raise Malformed(f"This is not an export of a ledger: its first line is none ({error}).") from error
    if header.size < 1:
        raise Malformed(f"An export has one event at least; the first line promises {header.size}.")
    if header.format != FORMAT or header.version != VERSION:
        raise Malformed(
            f"This is {header.format} of version {header.version}; this release reads {FORMAT} of version {VERSION}."
        )
    return header


class Proof:
    """Takes the lines of a file after its header, and tells nothing of what it has not checked."""

    def __init__(self, header: Header, keys: Iterable[VerifierKey] = ()) -> None:
        """Believe the last checkpoint only if one of these keys has signed it; where there are none, the header's.

        Older ones may be signed by keys that were replaced since: for them those of the header will do, because the
        last one covers what they cover. Raises `Malformed`.
        """
        self.header = header
        self._trusted = tuple(keys)
        self._keys = (*self._trusted, *(parse_verifier_key(key) for key in header.keys))
        self._last: Note | None = None
        self.tree = Tree()
        self.filled: list[Tile] = []  # tiles that are full since they were last taken
        self.proved = 0  # every event up to here is under a checkpoint
        self._hashes: list[bytes] = []

    @property
    def taken(self) -> int:
        """Return the position of the last entry."""
        return self.tree.size + len(self._hashes)

    def take(self, line: bytes) -> Entry | SignedAt | SubjectLine:
        """Read the next line, with its newline.

        Raises `Tampered` if it cannot stand where it stands, `Malformed` if it is none, `UnknownEventType`.
        """
        if not line.endswith(b"\n"):
            raise Tampered(f"The file ends within the line after position {self.taken}: it was cut off.")
        if line.startswith(_CHECKPOINT):
            return self._checkpoint(line)
        if line.startswith(_SUBJECT):
            return self._subject(line)
        return self._entry(line[:-1])

    def end(self) -> None:
        """Say that the file ends here. Raises `Tampered` if not all that its header promises was proved."""
        if self.proved != self.header.size or self.taken != self.header.size:
            raise Tampered(
                f"The file promises {self.header.size} events, has {self.taken}, and proves the first {self.proved}."
            )
        if self._last is None:
            raise Tampered("The file has no checkpoint, so nothing of it is proved.")
        if self._trusted:
            verify_note(self._last, self._trusted)

    def _entry(self, line: bytes) -> Entry:
        try:
            event = read_entry(line)
        except Malformed as error:
            raise Malformed(f"What follows position {self.taken} is not an event: {error.message}") from error
        position = self.taken + 1
        if (event.position, event.ledger) != (position, self.header.ledger):
            raise Tampered(f"Where position {position} of {self.header.ledger} belongs stands {event.position}.")
        if event.written != line:
            raise Tampered(f"The event at position {position} is not written as it was hashed.")
        if event.type not in EVENT_TYPES and event.type not in UPCAST:
            raise UnknownEventType(
                f"Position {position} is a {event.type}, which a newer release wrote. Upgrade first."
            )
        self._hashes.append(leaf_hash(line))
        if len(self._hashes) >= _TOGETHER:
            self._grow()
        return event

    def _checkpoint(self, line: bytes) -> SignedAt:
        self._grow()
        try:
            note = parse_note(msgspec.json.decode(line, type=_CheckpointLine).checkpoint)
        except UNREADABLE as error:
            raise Malformed(f"The checkpoint after position {self.taken} is none: {error}.") from error
        self._judge(note, parse_checkpoint(note.text))
        self.proved, self._last = self.tree.size, note
        return SignedAt(self.tree.size, note)

    def _judge(self, note: Note, checkpoint: Checkpoint) -> None:
        """Compare a checkpoint with the entries before it. Raises `Tampered`."""
        try:
            verify_note(note, self._keys)
        except LedgerError as error:
            raise Tampered(f"The checkpoint at {checkpoint.size} cannot be believed: {error.message}") from error
        if (checkpoint.origin, checkpoint.size) != (self.header.origin, self.tree.size):
            raise Tampered(
                f"A checkpoint of {checkpoint.origin} at {checkpoint.size} stands after position {self.tree.size} "
                f"of {self.header.origin}."
            )
        if checkpoint.size == self.proved:
            raise Tampered(f"There are two checkpoints at {checkpoint.size}.")
        if checkpoint.root != self.tree.root():
            raise Tampered(
                f"The events from position {self.proved + 1} to {self.tree.size} are not those that were signed."
            )

    def _subject(self, line: bytes) -> SubjectLine:
        if self.proved != self.header.size:
            raise Tampered("A subject's key stands before the last checkpoint.")
        try:
            return msgspec.json.decode(line, type=SubjectLine)
        except UNREADABLE as error:
            raise Malformed(f"A subject's key cannot be read: {error}.") from error

    def _grow(self) -> None:
        self.filled += self.tree.extend(self._hashes)
        self._hashes = []

"""What a witness keeps in its directory: its key, and the checkpoint that it cosigned last for each log.

    witness.key                     the private key, mode 0600; made while there is no checkpoint
    <sha256 of origin>.checkpoint   a signed note, with the log's signatures and the witness's cosignature
    lock                            held by the one process that may write here

A checkpoint is on the disk, whole, before anybody is told of it. One that cannot be read or that the witness's own key
has not signed stops the witness: to go on as if there were none would let that log begin another history.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from gateway.data_directory import claim
from ledger.errors import Corrupt, Malformed, Misconfigured, Tampered
from ledger.log.checkpoint import Checkpoint, parse_checkpoint
from ledger.log.signed_note import (
    COSIGNATURE,
    NOTE_BYTES,
    Note,
    SigningKey,
    parse_note,
    parse_signing_key,
    verify_note,
)
from ledger.whole_file import write_whole

_KEY: Final = "witness.key"
_LOCK: Final = "lock"
_CHECKPOINT: Final = ".checkpoint"


def origin_hash(origin: str) -> str:
    """Return the name under which a log's checkpoint lies, and is fetched (C2SP tlog-witness)."""
    return sha256(origin.encode()).hexdigest()


class Shelf:
    """One witness's directory, while no other process may write to it."""

    def __init__(self, directory: Path, key: SigningKey) -> None:
        """Use a directory that `shelf` has opened."""
        self.key = key
        self._directory = directory

    def last(self, origin: str) -> tuple[Checkpoint, Note] | None:
        """Return what was cosigned last for a log.

        Raises `Corrupt` if it is there and cannot be believed, and `Misconfigured` if it cannot be read.
        """
        path = self._path(origin)
        try:
            with path.open(encoding="utf-8") as file:
                note = parse_note(file.read(NOTE_BYTES + 1))
            verify_note(note, [self.key.verifier])
            checkpoint = parse_checkpoint(note.text)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Misconfigured(
                f"The checkpoint in {path} cannot be read: {error.strerror}. Nothing was cosigned."
            ) from error
        except (Malformed, Tampered, UnicodeDecodeError) as error:
            raise Corrupt(
                f"The checkpoint in {path} is not one that this witness has cosigned ({error}). Nothing was cosigned; "
                "put the file back as it was. Without it this witness cannot tell whether the log goes on from it."
            ) from None
        if checkpoint.origin != origin:
            raise Corrupt(f"The checkpoint in {path} is of another log. Nothing was cosigned; put its own file back.")
        return checkpoint, note

    def keep(self, origin: str, note: Note) -> None:
        """Keep a cosigned checkpoint in the place of the one before; it is on the disk when this returns."""
        write_whole(self._path(origin), str(note), 0o644)

    def _path(self, origin: str) -> Path:
        return self._directory / (origin_hash(origin) + _CHECKPOINT)


@contextmanager
def shelf(directory: Path, name: str, random_bytes: Callable[[int], bytes]) -> Iterator[Shelf]:
    """Open a witness's directory, with a new key in a new one. Raises `Misconfigured` if it cannot be used."""
    directory = claim(directory)
    try:
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Misconfigured(f"{directory} cannot be used: {error.strerror}. Nothing was started.") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misconfigured(
                f"Another witness uses {directory}. Nothing was started: two of them could cosign two histories."
            ) from None
        yield Shelf(directory, _signing_key(directory, name, random_bytes))
    finally:
        os.close(lock)


def _signing_key(directory: Path, name: str, random_bytes: Callable[[int], bytes]) -> SigningKey:
    path = directory / _KEY
    try:
        if not path.exists() and not any(directory.glob("*" + _CHECKPOINT)):
            write_whole(path, SigningKey(name, random_bytes(32), COSIGNATURE).secret + "\n", 0o600)
        key = parse_signing_key(path.read_text().strip())
    except (OSError, UnicodeDecodeError, Malformed) as error:
        raise Misconfigured(
            f"The witness's key in {path} cannot be used: {error}. Nothing was started; put the file back. A new key "
            "is made only in a directory that holds no checkpoint."
        ) from None
    if (key.verifier.name, key.verifier.algorithm) != (name, COSIGNATURE):
        raise Misconfigured(f"The key in {path} is that of {key.verifier.name!r}, not {name!r}. Nothing was started.")
    return key

"""The newest checkpoint of a log as a file outside the database, replaced whole, and on disk before it counts.

It is never put in the place of a newer one: a process that no longer keeps the log may have an old one left to publish.

It is what start-up compares the database with, so it is as safe as the disk on which it lies: where that is the
database's own disk, a witness or a bucket elsewhere is what a restored machine cannot take back.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ledger.errors import Corrupt, Malformed, Misconfigured, Unavailable
from ledger.log.publisher import precedes
from ledger.log.signed_note import NOTE_BYTES, Note, Signature, parse_note
from ledger.log.tree import Log, Signed
from ledger.whole_file import make_directory, write_whole

CHECKPOINT: Final = "checkpoint"


class Directory:
    """A directory with the newest checkpoint of one log; keeps to `ledger.log.publisher.Place`."""

    cosigns = False
    pause_seconds = 0.0

    def __init__(self, directory: Path, log: Log | None = None) -> None:
        """Touch nothing yet. What is published is compared with what stands there, if the log is given."""
        self._directory = directory
        self._log = log
        self._written: Note | None = None  # by us, and what stands there unless somebody else has written
        self.file = directory / CHECKPOINT
        self.name = str(self.file)

    async def known(self) -> Note | None:
        """Return what stands there; None: nothing. Raises `Corrupt`, and `Misconfigured` if it cannot be read."""
        return await asyncio.to_thread(self.read)

    def read(self) -> Note | None:
        """Do what `known` does, while nothing else waits."""
        try:
            with self.file.open(encoding="utf-8", newline="") as opened:
                return parse_note(opened.read(NOTE_BYTES + 1))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Misconfigured(f"The log's checkpoint in {self.file} cannot be read: {error.strerror}.") from error
        except (Malformed, UnicodeDecodeError) as error:
            raise Corrupt(
                f"What stands in {self.file} is no checkpoint: it was changed or cut off. Nothing was started; find "
                "out by whom before you remove it."
            ) from error

    async def publish(self, signed: Signed) -> Sequence[Signature]:
        """Put a checkpoint there, unless a newer one is. Raises `Unavailable`, `Corrupt`."""
        standing = await self.known()
        if standing is not None and standing != self._written and not await self._precedes(standing, signed):
            return ()
        await asyncio.to_thread(self._write, str(signed.note))
        self._written = signed.note
        return ()

    async def _precedes(self, standing: Note, signed: Signed) -> bool:
        return self._log is None or await precedes(standing, signed, self._log, self.name)

    def _write(self, note: str) -> None:
        try:
            make_directory(self._directory, 0o755)
            write_whole(self.file, note, 0o644)
        except OSError as error:
            raise Unavailable(f"The checkpoint cannot be written to {self.file}: {error.strerror}.") from error

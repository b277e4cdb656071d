"""The newest checkpoint of a log as an object in a bucket that speaks S3, never put in the place of a newer one.

Each write names the object that it replaces (If-Match), so that two processes cannot take turns in going back. Whoever
wants the history of checkpoints lets the bucket keep versions; whoever wants nobody to delete them locks them there.
"""

import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from adapters.credentials import credential
from gateway.log_settings import ObjectsPlace
from ledger.errors import AdapterError, Corrupt, Malformed, Misconfigured, Unavailable
from ledger.log.publisher import precedes
from ledger.log.signed_note import Note, Signature, parse_note
from ledger.log.tree import Log, Signed

if TYPE_CHECKING:
    from adapters.objects.bucket import Bucket

OBJECT: Final = "checkpoint"
_WHERE: Final = "[log.objects]"


class Objects:
    """One object in one bucket; keeps to `ledger.log.publisher.Place`."""

    cosigns = False
    pause_seconds = 1.0

    def __init__(self, table: ObjectsPlace, bucket: "Bucket", log: Log) -> None:
        """Connect to nothing yet."""
        self.key = f"{table.prefix}{log.ledger}/{OBJECT}"
        self.name = f"the bucket {table.bucket}"
        self._bucket = bucket
        self._log = log
        self._etag: str | None = None  # of the object that we replace next

    async def known(self) -> Note | None:
        """Return what stands there; None: nothing. Raises `Unavailable`, and `Corrupt` for what is no checkpoint."""
        try:
            found = await self._bucket.read(self.key)
        except AdapterError as error:
            raise Unavailable(f"{self.name}: {error.message}") from error
        self._etag = None if found is None else found[1]
        if found is None:
            return None
        try:
            return parse_note(found[0].decode())
        except (Malformed, UnicodeDecodeError) as error:
            raise Corrupt(f"What stands in {self.name} at {self.key} is no checkpoint of this log.") from error

    async def publish(self, signed: Signed) -> Sequence[Signature]:
        """Put a checkpoint there, unless a newer one is. Raises `Unavailable`, `Corrupt`."""
        if await self._write(signed):
            return ()
        standing = await self.known()  # somebody else has written, or this is the first time
        older = standing is None or await precedes(standing, signed, self._log, self.name)
        if older and not await self._write(signed):
            raise Unavailable(f"Somebody else writes to {self.name} at the same moment.")
        return ()

    async def _write(self, signed: Signed) -> bool:
        try:
            etag = await self._bucket.write(self.key, str(signed.note).encode(), self._etag)
        except AdapterError as error:
            raise Unavailable(f"{self.name}: {error.message}") from error
        if etag is not None:
            self._etag = etag
        return etag is not None


def new_bucket(table: ObjectsPlace) -> "Bucket":
    """Make the bucket, not yet open. Raises `Misconfigured` where a secret or the library is missing."""
    try:
        from adapters.objects.bucket import Bucket  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise Misconfigured(f"{_WHERE} needs {error.name}: install intentledger[objects].") from error
    reveal = partial(credential, _WHERE, os.environ)
    given = table.credentials
    token = reveal("session_token", given.session_token) if given.session_token else None
    return Bucket(
        "log",
        table,
        reveal("access_key_id", given.access_key_id),
        reveal("secret_access_key", given.secret_access_key),
        token,
    )

"""What an adapter remembers about each key, as a small object beside the objects it writes: its fence in a bucket.

    nothing ──► begun ──► applied
       └──────────┴─────► ended

    begun      an upload stands that this key alone may complete, or a deletion or an undo was begun
    applied    it happened; the result is kept for whoever asks again
    ended      it was aborted, or its condition did not hold; a late prepare or commit runs into this

A record is only ever written over the one that was read (`If-Match`) or where there was none (`If-None-Match`), so that
of two processes one loses and reads again. A store that takes no notice of these conditions is found out by `proved`.
"""

from collections.abc import Awaitable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from adapters.objects.bucket import Bucket, StoreRefused
from ledger.errors import Transient
from ledger.intents import JSON

NO_ETAG: Final = f'"{"0" * 32}"'  # of nothing that anybody has
_PROOF: Final = "conditions"  # an object that is there to be tried


class State(StrEnum):
    """How far an action, or a compensation, has come."""

    BEGUN = "begun"
    APPLIED = "applied"
    ENDED = "ended"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one key."""

    state: State
    epoch: int
    object: str
    upload: str | None = None  # the upload that this key completes; None: it deletes, or undoes
    part: str | None = None  # ETag of the one part of the upload
    etag: str | None = None  # of what was the object when this was begun; None: there was none
    stood: str | None = None  # its version
    newest: str | None = None  # the newest entry of the object's history then: that version, or a delete marker
    target: str | None = None  # of an undo: the version, or the delete marker, that it takes out of the history
    result: JSON | None = None
    reason: str | None = None  # why it was ended


class Kept(msgspec.Struct, frozen=True):
    """A record and the ETag under which it was read."""

    record: Record
    etag: str


class Records:
    """The records of one adapter."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        """Keep them below `prefix`."""
        self._bucket = bucket
        self._prefix = prefix

    async def read(self, key: str) -> Kept | None:
        """Return what is known about a key. Raises `Transient`."""
        found = await self._bucket.read(self._prefix + key)
        if found is None:
            return None
        try:
            return Kept(msgspec.json.decode(found[0], type=Record), found[1])
        except msgspec.DecodeError as error:
            raise Transient(f"{self._prefix}{key} is not a record of this adapter; a person must look.") from error

    async def write(self, key: str, record: Record, over: Kept | None) -> Kept:
        """Write a record over another one, or where there was none; return what stands there afterwards.

        That may be somebody else's, who was faster. Raises `InDoubt` where it may or may not have been written.
        """
        data = msgspec.json.encode(record)
        etag = await self._bucket.write(self._prefix + key, data, over.etag if over else None)
        if etag is not None:
            return Kept(record, etag)
        faster = await self.read(key)
        if faster is None:
            raise Transient("The record of this key was removed while it was written; it is tried again.")
        return faster

    async def proved(self) -> bool:
        """Tell whether the store keeps to the conditions under which records are written."""
        key = self._prefix + _PROOF
        if await self._bucket.write(key, b"{}", None) is not None and await self._bucket.write(key, b"{}", None):
            return False
        return await self._bucket.write(key, b"{}", NO_ETAG) is None

    async def proved_of(self, condition: Mapping[str, str]) -> bool:
        """Tell whether it keeps to such a condition also where an upload is completed."""
        key = self._prefix + _PROOF
        upload = await self._bucket.begin(key, "application/json", "")
        try:
            part = await self._bucket.part(key, upload, 1, b"{}")
            return not await _met(self._bucket.complete(key, upload, (1, part), condition))
        finally:
            await self._bucket.drop(key, upload)

    async def proved_of_deletion(self) -> bool:
        """Tell whether it keeps to them also where an object is deleted."""
        return not await _met(self._bucket.delete(self._prefix + _PROOF, NO_ETAG))


async def _met(request: Awaitable[object]) -> bool:
    try:
        await request
    except StoreRefused as error:
        return not error.unmet
    return True

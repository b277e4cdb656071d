"""What became of something that was begun in a bucket and whose answer nobody has: read from the store, never guessed.

A version bears the key of the action that wrote it, so one that was written is found as long as its version is kept. A
delete marker bears nothing; but it can only be ours if it stands right above the version that was to be deleted, and
if somebody else's stands there, then that version is deleted all the same.

The history is read from the newest entry down to the one that was the newest when the action was begun.
"""

import msgspec

from adapters.objects.bucket import Bucket, Version
from adapters.objects.records import Record


class Fate(msgspec.Struct, frozen=True):
    """`etag` and `version` say what shows; where there is no `etag`, `certain` says that it never happened."""

    etag: str | None
    version: str | None
    certain: bool


async def written(bucket: Bucket, key: str, record: Record, *, versioned: bool) -> Fate:
    """Tell what became of an upload that is gone. Raises `Transient` where the store does not tell."""
    now = await bucket.seen(record.object)
    if now is not None and now.key == key:
        return Fate(now.etag, None if now.version == "null" else now.version, certain=True)  # "null": it has none
    if not versioned:
        return Fate(None, None, certain=False)
    for entry in await _since(bucket, record):
        one = await bucket.seen(record.object, entry.version) if entry.etag else None
        if one is not None and one.key == key:
            return Fate(one.etag, one.version, certain=True)
    return Fate(None, None, certain=True)


async def deleted(bucket: Bucket, record: Record) -> Fate:
    """Tell whether the version that was to be deleted was. Raises `Transient` where the store does not tell."""
    for entry in reversed(await _since(bucket, record)):
        if entry.etag is None:
            return Fate(record.etag, entry.version, certain=True)
        if entry.etag != record.etag:  # the same content may have been written once more before it was deleted
            break
    return Fate(None, None, certain=True)


async def _since(bucket: Bucket, record: Record) -> list[Version]:
    entries = []
    async for entry in bucket.history(record.object):
        if entry.version == record.newest:
            break
        entries.append(entry)
    return entries

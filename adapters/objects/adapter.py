"""Objects in a bucket that speaks S3: written through uploads that can be completed once, undone version by version.

A multipart upload is a hold that S3 itself offers: nobody sees it, it outlives everybody, and completing it is one
request that happens once or never, because it ends the upload. So every writing operation is one upload:

    operation   guarantee    the upload is begun at   it is completed
    put         atomic       prepare                  whatever stands there by then
    create      idempotent   commit                   if nothing stands there        (If-None-Match: *)
    replace     idempotent   commit                   if that ETag still stands      (If-Match)
    delete      idempotent   -                        a delete marker over that ETag (If-Match)

Why `create` and `replace` hold nothing: S3 lets nobody reserve a name. Between a prepare and its commit anybody with
access to the bucket may write the object, and then the condition fails, as it should. An `atomic` operation gives its
word that this cannot happen. So their conditions are looked at when they vote and decided when they commit, before
any hold of the intent is committed. `put` has no condition, so nobody can break its word.

Each key has a record in the bucket (`records.py`), which is what makes abort before prepare, repeated calls and
stale epochs harmless. Whether a key took effect is asked of the store: an upload that still stands was never
completed; one that is gone was completed if the object, or one of its versions since, bears the key.

Where a bucket keeps no versions, an effect that somebody overwrote before its answer was recorded leaves no trace.
Then the answer is InDoubt, as often as it is asked, and a person looks.

A deletion is not ended by anything, as an upload is: one that its process was stopped right before, and that leaves
after another process made it and somebody undid it, finds the same ETag and deletes again (`docs/guarantees.md`).

The undo is `exact` by version: the version that was written, or the delete marker, is taken out of the history, and
what stood there before is the object again. If others have written since, theirs stays.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import msgspec

from adapters.contract import (
    Absent,
    Applied,
    Call,
    Held,
    Operation,
    Prepared,
    Preview,
    Refused,
    Result,
    Standing,
    Unknown,
    Vote,
)
from adapters.credentials import Reveal
from adapters.kinds import Kind
from adapters.objects.bucket import Bucket, StoreRefused
from adapters.objects.fate import Fate, deleted, written
from adapters.objects.records import NO_ETAG, Kept, Record, Records, State
from adapters.objects.request import Request, request
from adapters.objects.tables import ObjectsTable, operations
from ledger.errors import AdapterError, InDoubt, Permanent, Transient
from ledger.intents import JSON

_WRITTEN: Final = "The object was written and can no longer be aborted."


class ObjectsAdapter:
    """One bucket, and what may be done in it."""

    def __init__(self, name: str, table: ObjectsTable, bucket: Bucket) -> None:
        """Offer the operations. Connects to nothing."""
        self.name = name
        self._table = table
        self._bucket = bucket
        self._records = Records(bucket, f"{table.records}{name}/")
        self.operations: Mapping[str, Operation] = operations(name, table)
        self._proved: set[str] = set()  # verbs of operations

    async def open(self) -> None:
        """Make the client; the store may be down."""
        await self._bucket.open()

    async def close(self) -> None:
        """Close the client. Uploads stay."""
        await self._bucket.close()

    async def preview(self, call: Call) -> Preview:
        """Look at the object (law 11)."""
        asked = request(self._table, call)
        if asked.wrong is not None:
            raise Permanent(asked.wrong)
        if asked.verb == "uploads":
            return Preview({"uploads": sum(map(bool, (await self._bucket.uploads(asked.object)).values()))})
        if asked.verb == "history":
            entries = [entry async for entry in self._bucket.history(asked.object)]
            versions = sum(entry.etag is not None for entry in entries)
            return Preview({"versions": versions, "markers": len(entries) - versions})
        return asked.preview(await self._bucket.seen(asked.object))

    async def prepare(self, call: Call) -> Vote:
        """Begin the upload of a `put`; of the others see whether they could happen now (laws 1 to 4, 7)."""
        asked = request(self._table, call)
        if asked.wrong is not None:
            return Refused(asked.wrong)
        await self._prove(asked)
        if not asked.holds:
            seen = await self._bucket.seen(asked.object)
            unmet = asked.unmet(seen)
            return Refused(unmet) if unmet else Prepared(None, asked.preview(seen))
        before = await self._records.read(call.key)
        record = (before or await self._begin(call, asked)).record
        if record.state is State.ENDED:
            return Refused(record.reason or "This action was aborted before it was prepared.")
        if call.epoch < record.epoch:
            return Refused("A newer process has taken this action over.")
        if before is not None and record.state is State.BEGUN and not await self._stands(record):
            return Refused("The upload that this action held was removed from outside.")
        return Prepared({"upload": record.upload}, await self._seen_while_held(asked))

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        """Complete the upload, or put the delete marker, once (law 5)."""
        del receipt  # the record knows the same, and more
        asked = request(self._table, call)
        kept = await self._records.read(call.key)
        if kept is None and asked.wrong is not None:
            raise Permanent(asked.wrong)
        if kept is None and asked.holds:
            kept = await self._end(call, asked, "There is no upload that this action holds.")
        elif kept is None:
            await self._prove(asked)
            kept = await self._begin(call, asked)
        match kept.record.state:
            case State.APPLIED:
                return Result(kept.record.result or {})
            case State.ENDED:
                raise Permanent(f"{kept.record.reason or 'This action was aborted.'} Nothing was written.")
            case State.BEGUN:
                return await self._carry_out(call, asked, kept)

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        """Leave a record that a late prepare runs into, then end the upload (law 6)."""
        del receipt  # it may be that of nobody; the record finds the upload that stands
        kept = await self._records.read(call.key)
        if kept is not None and "object" not in call.params:  # its name was erased; the record has it
            named = kept.record.object.removeprefix(self._table.prefix)
            call = msgspec.structs.replace(call, params={**call.params, "object": named})
        asked = request(self._table, call)
        kept = kept or await self._end(call, asked, None)
        if kept.record.state is State.BEGUN:
            kept = await self._records.write(call.key, msgspec.structs.replace(kept.record, state=State.ENDED), kept)
        if kept.record.state is State.APPLIED:
            raise Permanent(_WRITTEN)
        try:
            fate = await self._ended(call, asked, kept.record)
        except Transient as error:
            raise InDoubt(f"The upload may still stand: {error}", silent=error.silent) from error
        if fate is not None and fate.etag is not None:
            record = kept.record
            await self._note(call, kept, asked.done(record, fate.etag, fate.version))
            raise Permanent(_WRITTEN)

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        """Take the version, or the delete marker, out of the history (law 8)."""
        del receipt
        asked, target, stood = request(self._table, call), result.get("version"), result.get("stood")
        if not self._table.versioned or not isinstance(target, str):
            raise Permanent("What was done has no version of its own, so it cannot be undone. Nothing was changed.")
        kept = await self._records.read(call.key)
        if kept is None:
            begun = Record(state=State.BEGUN, epoch=call.epoch, object=asked.object, target=target)
            kept = await self._records.write(call.key, begun, None)
        if kept.record.state is State.APPLIED:
            return Result(kept.record.result or {})
        if isinstance(stood, str) and await self._bucket.seen(asked.object, stood) is None:
            raise Permanent("The version that stood there before is gone and cannot come back. Nothing was changed.")
        try:
            await self._bucket.remove(asked.object, target)
        except StoreRefused as error:
            raise InDoubt(f"The version may still stand: {error.words}") from error
        return await self._note(call, kept, asked.undone(target))

    async def inquire(self, call: Call) -> Standing:
        """Read the record, and where something was begun ask the store (law 9)."""
        asked = request(self._table, call)
        kept = await self._records.read(call.key)
        if kept is None or kept.record.state is State.ENDED:
            return Absent()
        record = kept.record
        if record.state is State.APPLIED:
            return Applied(Result(record.result or {}))
        if record.target is not None:
            history = [entry.version async for entry in self._bucket.history(record.object)]
            return Absent() if record.target in history else Applied(Result(asked.undone(record.target)))
        if record.upload is not None and await self._stands(record):
            return Held({"upload": record.upload}) if asked.holds else Absent()
        fate = await self._fate(call, record)
        if fate.etag is not None:
            return Applied(Result(asked.done(record, fate.etag, fate.version)))
        return Absent() if fate.certain else Unknown("The upload is gone, and nothing tells whether it was completed.")

    # ── beginning ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _prove(self, asked: Request) -> None:
        """Believe the store, once, what is needed of it; until it shows that, nothing is begun."""
        if asked.verb in self._proved:
            return
        if not await self._records.proved() or not await self._proved_of(asked):
            raise Transient("This store takes no notice of If-Match and If-None-Match; nothing was sent.")
        if self._table.versioned and not await self._bucket.keeps_versions():
            raise Transient(f"versioned = true, but the bucket {self._table.bucket} keeps none; nothing was sent.")
        self._proved.add(asked.verb)

    async def _proved_of(self, asked: Request) -> bool:
        match asked.verb:
            case "create":
                return await self._records.proved_of(asked.condition)
            case "replace":
                return await self._records.proved_of({"IfMatch": NO_ETAG})
            case "delete":
                return await self._records.proved_of_deletion()
            case _:
                return True

    async def _end(self, call: Call, asked: Request, reason: str | None) -> Kept:
        record = Record(state=State.ENDED, epoch=call.epoch, object=asked.object, reason=reason)
        return await self._records.write(call.key, record, None)

    async def _begin(self, call: Call, asked: Request) -> Kept:
        """Begin what the key is for, and record it; who records it first has begun it."""
        seen = await self._bucket.seen(asked.object)
        unmet = asked.unmet(seen)
        if unmet is not None:
            return await self._end(call, asked, unmet)
        record = Record(state=State.BEGUN, epoch=call.epoch, object=asked.object)
        if seen is not None:
            record = msgspec.structs.replace(record, etag=seen.etag, stood=seen.version, newest=seen.version)
        elif self._table.versioned:
            record = msgspec.structs.replace(record, newest=await self._newest(asked.object))
        if asked.content is None:
            return await self._records.write(call.key, record, None)
        try:
            upload = await self._bucket.begin(asked.object, asked.content_type, call.key)
        except StoreRefused as error:
            return await self._end(call, asked, error.words)
        try:
            part = await self._bucket.part(asked.object, upload, asked.part, asked.content)
            record = msgspec.structs.replace(record, upload=upload, part=part)
            kept = await self._records.write(call.key, record, None)
        except Transient as error:
            await self._drop(asked.object, upload)
            raise Transient(f"Nothing is held: {error}", silent=error.silent) from error
        except asyncio.CancelledError:  # nobody waits any more; who comes next finds the record, or begins anew
            with suppress(AdapterError):
                found = await self._records.read(call.key)
                if found is None or found.record.upload != upload:
                    await self._bucket.drop(asked.object, upload)
            raise
        if kept.record.upload != upload:
            await self._drop(asked.object, upload)
        return kept

    async def _newest(self, key: str) -> str | None:
        async for entry in self._bucket.history(key):
            return entry.version
        return None

    async def _drop(self, key: str, upload: str) -> None:
        with suppress(AdapterError):  # nobody else knows its id: it is never completed, only litter
            await self._bucket.drop(key, upload)

    async def _ended(self, call: Call, asked: Request, record: Record) -> Fate | None:
        """End the upload of an aborted action, recorded or not; tell what became of it if it was gone already."""
        if record.upload is not None:
            return None if await self._bucket.drop(record.object, record.upload) else await self._fate(call, record)
        for upload, parts in (await self._bucket.uploads(asked.object)).items():
            if asked.left(parts):  # by a prepare that stopped between its upload and the record of it
                await self._bucket.drop(asked.object, upload)
        return None

    async def _stands(self, record: Record) -> bool:
        return await self._bucket.parts(record.object, record.upload or "") is not None

    async def _seen_while_held(self, asked: Request) -> Preview:
        try:
            return asked.preview(await self._bucket.seen(asked.object))
        except Transient as error:
            raise InDoubt(
                f"The upload stands, and the object could not be seen then: {error}", silent=error.silent
            ) from error

    # ── carrying out ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _carry_out(self, call: Call, asked: Request, kept: Kept) -> Result:
        record = kept.record
        try:
            if record.upload is None:
                etag, version = record.etag, await self._bucket.delete(record.object, f'"{record.etag}"')
            else:
                part = (asked.part, record.part or "")
                etag, version = await self._bucket.complete(record.object, record.upload, part, asked.condition)
        except StoreRefused as error:
            return await self._refused(call, asked, kept, error)
        return await self._note(call, kept, asked.done(record, etag, version))

    async def _refused(self, call: Call, asked: Request, kept: Kept, refused: StoreRefused) -> Result:
        """Find out what a no means: that it never happens, or that it has happened before."""
        record, dropped = kept.record, False
        try:
            if record.upload is not None and refused.unmet:
                dropped = await self._bucket.drop(record.object, record.upload)  # now nobody can complete it
            elif record.upload is not None and await self._stands(record):
                raise InDoubt(f"The upload still stands and was not completed: {refused.words}")
            fate = await self._fate(call, record)
        except Transient as error:
            raise InDoubt(f"What became of it could not be seen: {error}", silent=error.silent) from error
        if fate.etag is not None:
            return await self._note(call, kept, asked.done(record, fate.etag, fate.version))
        if not (dropped or fate.certain):
            raise InDoubt(
                "The upload is gone, the object bears another key, and the bucket keeps no versions to look at."
            )
        reason = "Somebody else wrote the object first." if refused.unmet else "Its upload was removed from outside."
        ended = msgspec.structs.replace(record, state=State.ENDED, reason=reason)
        try:
            now = await self._records.write(call.key, ended, kept)
        except Transient as error:
            raise InDoubt(f"It did not happen, and that was not recorded: {error}", silent=error.silent) from error
        if now.record.state is State.APPLIED:
            return Result(now.record.result or {})
        raise Permanent(f"{reason} Nothing was written.")

    async def _fate(self, call: Call, record: Record) -> Fate:
        if record.upload is None:
            return await deleted(self._bucket, record)
        return await written(self._bucket, call.key, record, versioned=self._table.versioned)

    async def _note(self, call: Call, kept: Kept, done: JSON) -> Result:
        """Record what happened. It has happened, so whatever fails here is in doubt."""
        applied = msgspec.structs.replace(kept.record, state=State.APPLIED, result=done)
        try:
            now = await self._records.write(call.key, applied, kept)
        except Transient as error:
            raise InDoubt(f"It happened, and that was not recorded: {error}", silent=error.silent) from error
        if now.record.state is not State.APPLIED:
            raise InDoubt("It happened, and its record says otherwise; a person must look.")
        return Result(now.record.result or {})


def _build(name: str, table: ObjectsTable, reveal: Reveal) -> ObjectsAdapter:
    parts = table.credentials
    token = reveal("credentials.session_token", parts.session_token) if parts.session_token else None
    access = reveal("credentials.access_key_id", parts.access_key_id)
    secret = reveal("credentials.secret_access_key", parts.secret_access_key)
    return ObjectsAdapter(name, table, Bucket(name, table, access, secret, token))


KIND: Final = Kind(ObjectsTable, _build)

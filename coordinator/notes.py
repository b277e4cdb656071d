"""Notes: what agents and people say about an intent, kept beside it and shown in its timeline.

A note changes nothing and needs nobody's decision: whoever sees an intent may add one, in any phase, also when it has
ended. It goes to a stream of its own, so the run of the intent never notices.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from authority.grants import Principal
from authority.record import record
from ledger import bounds
from ledger.errors import Conflict, KeyReused
from ledger.events import NoteAdded, Recorded
from ledger.ids import notes_stream
from ledger.intent_seal import IntentSeal
from ledger.intents import JSON
from ledger.store import Append, Appended, GrantAlive, Store

_TRIES: Final = 5  # of one note against others that are added at the same time


class Note(msgspec.Struct, frozen=True):
    """What somebody says, in which span of theirs, and under which key they may say it again."""

    text: str
    data: JSON
    traceparent: str | None = None
    key: str | None = None


class Notes:
    """The notes of one ledger."""

    def __init__(self, store: Store) -> None:
        """Keep them in this store."""
        self._store = store

    async def of(self, intent: str) -> Sequence[Recorded]:
        """Return the notes about an intent, oldest first. Raises `Unavailable`."""
        return await self._store.read(notes_stream(intent))

    async def add(self, intent: str, principal: Principal, note: Note, seal: IntentSeal | None = None) -> Recorded:
        """Record a note; the same note under the same key is the one that is there.

        `seal`: what is personal in the intent, which is sealed here too.

        Raises `KeyReused`, `Conflict` beyond NOTES_PER_INTENT or where nothing could be sealed any more,
        `Unauthenticated`, `Unavailable`.
        """
        if seal is not None and seal.erased:
            raise Conflict(
                "Personal data of this intent were erased, and nothing is left by which they could be found in a note. "
                "Nothing was recorded."
            )
        added = NoteAdded(
            intent=intent,
            text=note.text,
            by=principal.subject,
            grant=principal.grant,
            custody=principal.custody,
            data=note.data,
            traceparent=note.traceparent,
            key=note.key,
        )
        if seal is not None:
            text, data = seal.texts((added.text, added.data))
            added = msgspec.structs.replace(added, text=text, data=data)
        for _ in range(_TRIES):
            known = await self.of(intent)
            before = _same_key(known, added)
            if before is not None:
                return before
            if len(known) >= bounds.NOTES_PER_INTENT:
                raise Conflict(
                    f"This intent has {len(known)} notes, which is all that it may have. Nothing was recorded."
                )
            append = Append(
                stream=notes_stream(intent),
                expected_version=len(known),
                events=(added,),
                guards=(GrantAlive(principal.grant),),
            )
            verdict = await record(self._store, append, "the note was recorded")
            if isinstance(verdict, Appended):
                return verdict.recorded[0]
        raise Conflict("Others kept adding notes at the same time. Nothing was recorded; try again.")


def _same_key(known: Sequence[Recorded], added: NoteAdded) -> Recorded | None:
    """Return the note that was sent under the same key by the same grant. Raises `KeyReused` if it says otherwise."""
    if added.key is None:
        return None
    for one in known:
        event = one.event
        if isinstance(event, NoteAdded) and (event.key, event.grant) == (added.key, added.grant):
            if (event.text, event.data) != (added.text, added.data):
                raise KeyReused(intent=added.intent)
            return one
    return None

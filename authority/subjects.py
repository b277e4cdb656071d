"""Data subjects: whose personal data are sealed here, and how they are erased.

Erasing destroys the one key under which everything personal of somebody is sealed, in the transaction of the event that
says so. What is left, in events, views, exports and receipts, opens no more; and the proofs of the log, which are over
what is sealed, hold as before.
"""

import re
from datetime import datetime

import msgspec

from authority.authority import Authority
from authority.grants import Principal
from authority.record import record
from ledger.echoes import Echoes
from ledger.errors import Corrupt, NotFound
from ledger.events import SubjectErased
from ledger.sealing import ERASED
from ledger.store import Append, Erase, GrantAlive, Store
from ledger.subject_keys import SubjectKeys, subject_stream


class Erasure(msgspec.Struct, frozen=True):
    """That the key of a subject was destroyed: which, where that is recorded, and by whom."""

    key: str
    position: int
    at: datetime
    by: str
    reason: str


class Subjects:
    """The data subjects of one ledger."""

    def __init__(self, store: Store, authority: Authority, keys: SubjectKeys | None) -> None:
        """Without `keys` there is nobody whose data could be erased."""
        self._store = store
        self._authority = authority
        self._keys = keys

    async def erase(self, principal: Principal, subject: str, reason: str) -> Erasure:
        """Destroy the key of a subject; doing it again is harmless, and answers with what was done.

        Raises `Forbidden`, `NotFound` for somebody of whom nothing was ever sealed, `Unauthenticated`; `Unavailable`
        if it is not known whether it was done: do it again.
        """
        self._authority.unbounded(principal, "Erasing takes from everybody what was known")
        living, gone = (None, ()) if self._keys is None else await self._keys.known(subject)
        if living is None and not gone:
            raise NotFound("Nothing in this ledger is sealed for such a data subject. Nothing was erased.")
        if living is not None:
            await self._destroy(living, principal, _without(subject, reason))
        return max([await self._erasure(key) for key in {*gone, *filter(None, [living])}], key=lambda one: one.position)

    async def _destroy(self, key: str, principal: Principal, reason: str) -> None:
        event = SubjectErased(
            key=key, reason=reason, by=principal.subject.name, grant=principal.grant, custody=principal.custody
        )
        append = Append(
            stream=subject_stream(key),
            expected_version=0,  # if it has moved on, somebody else has just destroyed it
            events=(event,),
            guards=(GrantAlive(principal.grant),),
            change=Erase(key),
        )
        await record(self._store, append, "the key was destroyed")

    async def _erasure(self, key: str) -> Erasure:
        recorded = await self._store.read(subject_stream(key))
        event = recorded[0].event if recorded else None
        if not isinstance(event, SubjectErased):
            raise Corrupt(f"The key {key} is gone, and no event says who destroyed it.")
        return Erasure(key, recorded[0].position, recorded[0].at, event.by, event.reason)


def _without(subject: str, reason: str) -> str:
    """Return a reason without the name of whom it is about, however it is spelled there: it is kept for ever."""
    reason = re.sub(rf"(?<!\w){re.escape(subject)}(?!\w)", ERASED, reason, flags=re.IGNORECASE)
    echoes = Echoes()
    echoes.learn(subject, ERASED)
    for start, end, _ in reversed(list(echoes.found(reason))):
        reason = reason[:start] + ERASED + reason[end:]
    return reason

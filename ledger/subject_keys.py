"""The keys of data subjects: made when somebody is first named, read when they are needed, destroyed on request.

Rules of this file:

1. A key is read anew each time and kept by nobody: once the transaction that destroys it has returned, no process opens
   anything with it.
2. In the database a key lies wrapped (`ledger/master_keys.py`), and whose it is stands there only as a mark.
3. The destruction itself is a change of the store (`ledger.store.Erase`), in the transaction of the event that says so.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final, Protocol

import sql
from ledger.database import connection
from ledger.errors import Misconfigured, NotReady
from ledger.master_keys import Entropy, Keyring, Wrapped
from ledger.sealing import KEY_BYTES, DataKey

if TYPE_CHECKING:
    from asyncpg import Record

    from ledger.database import Pool

_BIND: Final = sql.query("subjects.bind")
_BOUND: Final = sql.query("subjects.bound")
_BOUND_TO: Final = sql.query("subjects.bound_to")
_MAKE: Final = sql.query("subjects.make")
_OF_MARKS: Final = sql.query("subjects.of_marks")
_LIVING: Final = sql.query("subjects.living")
_ALL_LIVING: Final = sql.query("subjects.all_living")
_ERASED: Final = sql.query("subjects.erased")
_ERASE_AGAIN: Final = sql.query("subjects.erase_again")
_WRAPPED_OTHERWISE: Final = sql.query("subjects.wrapped_otherwise")
_REWRAP: Final = sql.query("subjects.rewrap")
_KEY_ID_BYTES: Final = 10
_REWRAPPED_AT_ONCE: Final = 500


class SubjectKeys(Protocol):
    """The keys of one ledger's data subjects. Everything raises `Unavailable` where they cannot be reached."""

    async def of(self, subjects: Collection[str]) -> Mapping[str, DataKey]:
        """Return the key of each subject, by its name; whoever has none is given one."""

    async def living(self, key_ids: Collection[str]) -> Mapping[str, DataKey]:
        """Return those of these keys that are left, by id."""

    async def known(self, subject: str) -> tuple[str | None, tuple[str, ...]]:
        """Return the id of a subject's key, if it has one, and those of the keys that it had."""


def subject_stream(key_id: str) -> str:
    """Name the stream of a data subject, by the id of its key."""
    return f"subject/{key_id}"


async def bound_ledgers(pool: "Pool", keyring: Keyring) -> list[str]:
    """Return the ledgers of a database that are bound to a keyring. Raises `Unavailable`."""
    async with connection(pool) as reader:
        return [row["ledger"] for row in await reader.fetch(_BOUND_TO, hashlib.sha256(keyring.index).digest())]


class StoredSubjectKeys:
    """The keys in PostgreSQL; keeps to `SubjectKeys`."""

    def __init__(self, pool: "Pool", ledger: str, keyring: Callable[[], Keyring], entropy: Entropy) -> None:
        """`keyring` is asked each time: the master keys may have been rotated by another process."""
        self._pool = pool
        self._ledger = ledger
        self._keyring = keyring
        self._entropy = entropy

    async def bound(self) -> bool:
        """Tell whether the ledger is bound to a keyring already, so that a new one would not do."""
        async with connection(self._pool) as reader:
            return await reader.fetchval(_BOUND, self._ledger) is not None

    async def start(self) -> None:
        """Bind the ledger to the keyring, and destroy again what its events say was destroyed.

        An old copy of the keys may have been restored. Raises `Misconfigured` if the ledger is bound to another one.
        """
        found = hashlib.sha256(self._keyring().index).digest()
        async with connection(self._pool) as writer:
            await writer.execute(_BIND, self._ledger, found)
            if await writer.fetchval(_BOUND, self._ledger) != found:
                raise Misconfigured(
                    f"The ledger {self._ledger} is bound to another keyring than this process has. Nothing was sealed "
                    "or opened; give every process of a ledger the same keyring file."
                )
            await writer.execute(_ERASE_AGAIN, self._ledger)

    async def of(self, subjects: Collection[str]) -> Mapping[str, DataKey]:
        """Return the key of each subject, by its name; whoever has none is given one."""
        keyring = self._keyring()
        marks = {keyring.mark(self._ledger, subject): subject for subject in subjects}
        async with connection(self._pool) as writer:
            rows = await writer.fetch(_OF_MARKS, self._ledger, list(marks))
            missing = marks.keys() - {row["mark"] for row in rows}
            for mark in missing:
                key_id = f"k{self._entropy(_KEY_ID_BYTES).hex()}"
                made = keyring.wrap(self._ledger, key_id, self._entropy(KEY_BYTES), self._entropy)
                await writer.execute(_MAKE, self._ledger, key_id, mark, made.master, made.wrapped)
            if missing:
                rows = await writer.fetch(_OF_MARKS, self._ledger, list(marks))  # somebody else may have been quicker
        if len(rows) < len(marks):
            raise NotReady("A data subject was erased while this was submitted. Nothing was recorded; retry.")
        return {marks[row["mark"]]: self._unwrapped(keyring, row) for row in rows}

    async def living(self, key_ids: Collection[str]) -> Mapping[str, DataKey]:
        """Return those of these keys that are left, by id."""
        async with connection(self._pool) as reader:
            rows = await reader.fetch(_LIVING, self._ledger, list(key_ids))
        keyring = self._keyring()
        return {row["key_id"]: self._unwrapped(keyring, row) for row in rows}

    async def all_living(self) -> Mapping[str, DataKey]:
        """Return every key that is left, by id: for who walks over the whole ledger."""
        async with connection(self._pool) as reader:
            rows = await reader.fetch(_ALL_LIVING, self._ledger)
        if not rows:
            return {}  # nobody needs the master keys then, and they may not be here
        keyring = self._keyring()
        return {row["key_id"]: self._unwrapped(keyring, row) for row in rows}

    async def known(self, subject: str) -> tuple[str | None, tuple[str, ...]]:
        """Return the id of a subject's key, if it has one, and those of the keys that it had."""
        mark = self._keyring().mark(self._ledger, subject)
        async with connection(self._pool) as reader:
            rows = await reader.fetch(_OF_MARKS, self._ledger, [mark])
            gone = await reader.fetch(_ERASED, self._ledger, mark)
        return rows[0]["key_id"] if rows else None, tuple(row["key_id"] for row in gone)

    async def rewrap(self) -> int:
        """Wrap every key under the newest master key; return how many were wrapped otherwise."""
        keyring, count = self._keyring(), 0
        while True:
            async with connection(self._pool) as writer:
                rows = await writer.fetch(_WRAPPED_OTHERWISE, self._ledger, keyring.newest, _REWRAPPED_AT_ONCE)
                for row in rows:
                    key = self._unwrapped(keyring, row)
                    new = keyring.wrap(self._ledger, key.id, key.secret, self._entropy)
                    await writer.execute(_REWRAP, self._ledger, key.id, row["master"], new.master, new.wrapped)
            count += len(rows)
            if len(rows) < _REWRAPPED_AT_ONCE:
                return count

    def _unwrapped(self, keyring: Keyring, row: "Record") -> DataKey:
        wrapped = Wrapped(row["master"], row["wrapped"])
        return DataKey(row["key_id"], keyring.unwrap(self._ledger, row["key_id"], wrapped))

"""A ledger whose log is kept in the process of the test, and what its owner can do to it from behind."""

import os
from itertools import count

import asyncpg
import pytest
from doorway import eventually

from ledger import events as e
from ledger.log.checkpoint import parse_checkpoint
from ledger.log.directory import Directory
from ledger.log.keeper import Keeper
from ledger.log.tree import Log
from ledger.store import Append, Appended

ORIGIN = "intent-ledger/main"
_streams = count(1)


class Kept:
    """A ledger whose log is kept in this process."""

    def __init__(self, dsn, pool, store, home, places=()):
        self.dsn, self.pool, self.store = dsn, pool, store
        self.keys, self.directory = home / "main.key", Directory(home / "main")
        self.places = (self.directory, *places)
        self.log = Log(pool, "main")
        self.keeper = self.new_keeper()

    def new_keeper(self):
        return Keeper(self.pool, "main", ORIGIN, self.keys, self.places)

    async def begin(self):
        await self.keeper.open(os.urandom)
        await self.keeper.start()

    async def again(self):
        """End the process and start another."""
        await self.keeper.stop()
        self.keeper = self.new_keeper()
        await self.begin()

    async def append(self, events=1):
        for start in range(0, events, 100):
            part = tuple(e.IntentAborted() for _ in range(min(100, events - start)))
            append = Append(stream=f"test/{next(_streams)}", expected_version=0, events=part)
            assert isinstance(await self.store.append(append), Appended)

    async def published(self, size):
        """Wait until the directory has the checkpoint of this size; return its note."""

        async def there():
            note = self.directory.read()
            return note if note is not None and parse_checkpoint(note.text).size == size else None

        return await eventually(there)

    async def as_owner(self, *statements):
        """Change the database as its owner can, behind every trigger."""
        owner = await asyncpg.connect(self.dsn)
        await owner.execute("set session_replication_role = replica")
        await owner.execute("alter table intent_ledger.events disable trigger all")
        for statement in statements:
            await owner.execute(statement)
        await owner.execute("alter table intent_ledger.events enable always trigger events_never_change")
        await owner.close()

    async def refused(self, error, match):
        """Expect that a new process does not start, and says why."""
        await self.keeper.stop()
        with pytest.raises(error, match=match):
            await self.new_keeper().open(os.urandom)

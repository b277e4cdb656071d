"""A replay of every view, with the swap, beside a service that works and is read: nothing served is wrong or missing.

Of thousands of older events every row of four views is made wrong, so that the swap writes all of them. Meanwhile
agents submit, and readers look: at what was just done, at what they have done since the beginning, and at what is old,
which is as it was or right, page for page, and never goes back.
"""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from doorway import TOKEN, doorway, intent

from authority.grants import operator_grant
from bench.record import ledger as big
from ledger.progress import unseen
from projections.catalogue import PROJECTIONS

COMMAND = Path(sys.executable).with_name("intentledger")
EVENTS = 6_000
FORGED = ("intents", "audit", "exposure", "timeline")
WRITERS = 4
LISTED = 500  # the longest page


@pytest.fixture
async def old(dsn, monkeypatch):
    """Write a ledger of thousands of events, whole, then make rows of its views wrong; return its last position."""
    monkeypatch.setattr(big, "BEGIN", datetime(2024, 5, 1, tzinfo=UTC))  # long ago, whatever clock this machine has
    monkeypatch.setattr(big, "operator_grant", lambda _token: operator_grant(TOKEN))
    written = await big.write(dsn, 7, EVENTS, unseen)
    await big.fill_inline_tables(dsn)
    await big.fill_views(dsn, unseen)
    owner = await asyncpg.connect(dsn)
    for view in FORGED:
        await owner.execute(f"update intent_ledger.{view} set agent = 'eve'")
    await owner.close()
    return written["events"]


class Readers:
    """Read what is old again and again: as it was, or right, the same rows always, and never back."""

    def __init__(self, door, connection, last):
        self.door = door
        self.connection = connection
        self.last = last
        self.seen = {}  # by what was read: the rows that were there first
        self.forged = dict.fromkeys(FORGED, True)
        self.reads = 0

    async def until(self, done):
        while not done.is_set():
            await self.audit()
            await self.intents()
            for view in ("exposure", "timeline"):
                await self.table(view)
            self.reads += 1

    async def audit(self):
        for back in (0, 400, self.last // 2):
            status, page, _ = await self.door.get(f"/v1/audit?limit=50&after={self.last - back}")
            assert status == 200, page
            self.same(f"audit, {back}", [entry["position"] for entry in page["items"]])
            agents = [entry["agent"]["name"] for entry in page["items"]]
            self.all_or_none("audit", sum(agent == "eve" for agent in agents), len(agents))

    async def intents(self):
        status, page, _ = await self.door.get("/v1/intents?agent=eve&limit=50")
        assert status == 200, page
        self.all_or_none("intents", len(page["items"]), 50)

    async def table(self, view):
        """Read a view as a report would, in one statement; what is new since has no forged agent, and comes on top."""
        counted = f"select count(*) filter (where agent = 'eve') as forged from intent_ledger.{view}"
        forged = await self.connection.fetchval(counted)
        self.seen.setdefault(view, forged)
        self.all_or_none(view, forged, self.seen[view])

    def same(self, what, rows):
        assert rows, what
        assert self.seen.setdefault(what, rows) == rows, f"{what}: rows are missing, or strange"

    def all_or_none(self, view, forged, whole):
        assert forged in {0, whole}, f"{view}: {forged} of {whole} rows are as they were, and the others right"
        assert self.forged[view] or not forged, f"{view}: it went back"
        self.forged[view] = forged > 0


async def writes(door, name, done):
    """Submit one intent after the other under a task of its own, and find every one of them in the views each time."""
    made = []
    while not done.is_set() and len(made) < LISTED:
        status, body, _ = await door.submit(intent(("bank.post", name, 1), task=name))
        assert status == 200, body
        made.insert(0, body["id"])
        since = f"task={name}&limit={LISTED}&min_position={body['position']}"
        for path in ("/v1/intents", "/v1/audit"):
            status, page, _ = await door.get(f"{path}?{since}")
            assert status == 200, page
            found = [item["id" if path == "/v1/intents" else "intent"] for item in page["items"]]
            assert found == made, f"{path}: what was acknowledged is missing"
    return made


async def test_nothing_that_is_served_is_wrong_or_missing_while_all_views_are_swapped(dsn, old):
    async with doorway(dsn) as door:
        connection, done = await asyncpg.connect(dsn), asyncio.Event()
        readers = Readers(door, connection, old)
        working = [asyncio.create_task(writes(door, f"load-{number}", done)) for number in range(WRITERS)]
        reading = asyncio.create_task(readers.until(done))
        environment = {**os.environ, "INTENTLEDGER_DSN": dsn}
        flags = [part for view in PROJECTIONS for part in ("--view", view.name)]
        replay = await asyncio.create_subprocess_exec(
            COMMAND, "replay", "--swap", "--json", *flags, env=environment, stdout=asyncio.subprocess.PIPE
        )
        answer, _ = await replay.communicate()
        found = {one["name"]: one for one in json.loads(answer)}
        before = readers.reads
        async with asyncio.timeout(20):
            while readers.reads < before + 2 and not reading.done():  # noqa: ASYNC110 - once more after it
                await asyncio.sleep(0.02)
        done.set()
        made = await asyncio.gather(*working)
        await reading
        await connection.close()
    assert readers.forged == dict.fromkeys(FORGED, False), "it was never put right"
    assert {name for name, one in found.items() if not one["equal"]} == set(FORGED)
    assert all(one["swapped"] for one in found.values())
    assert max(one["position"] for one in found.values()) > old, "nothing was written beside it"
    assert sum(map(len, made)) >= WRITERS
    code, words = await looked_at(dsn)
    assert code == 0, words


async def looked_at(dsn):
    environment = {**os.environ, "INTENTLEDGER_DSN": dsn}
    pipe = asyncio.subprocess.PIPE
    replay = await asyncio.create_subprocess_exec(COMMAND, "replay", env=environment, stdout=pipe)
    words, _ = await replay.communicate()
    return replay.returncode, words.decode()

"""The same events give the same rows on any PostgreSQL, in any locale and time zone, and under any hash seed."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import histories
import pytest
from views import everything, folded, make, stored, write

from gateway.postgres_binaries import wheel_directory
from ledger.database import open_pool
from ledger.migrations import migrate
from ledger.postgres_store import PostgresStore
from projections.catalogue import PROJECTIONS
from projections.replay import replay

COMMAND = Path(sys.executable).with_name("intentledger")

# Names that locales put in other orders: case, dots on i, hyphens, accents, numbers.
AGENTS = ("mail-room", "Zeta", "alpha", "İzmir", "ılgaz", "IZMIR", "a-b", "a_b", "ab", "Ähre", "agent-10", "agent-9")  # noqa: RUF001 - one i has no dot
PEOPLE = ("manager-y", "Manager-Y", "ümit", "Umit", "manager 10", "manager-9")

C = "template template0"
TURKISH = "template template0 locale_provider icu icu_locale 'tr-TR' locale 'C'"
NUMBERS = "template template0 locale_provider icu icu_locale 'en-US-u-kn-true' locale 'C'"
UTF8 = "template template0 locale 'C.utf8'"
SETTINGS = {
    "timezone": "Asia/Kathmandu",
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-4",
}
PLACES = (
    {"TZ": "America/St_Johns", "PYTHONHASHSEED": "1", "LC_ALL": "C"},
    {"TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "2", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"},
)


@pytest.fixture
def events(monkeypatch):
    monkeypatch.setattr(histories, "AGENTS", AGENTS)
    monkeypatch.setattr(histories, "PEOPLE", PEOPLE)
    return histories.ledger_of(91, 60)


async def digests_there(dsn, events):
    """Put events and views into a database; return the digest of each view, followed and rebuilt alike."""
    await migrate(dsn)
    pool = await open_pool(dsn, 4)
    store = PostgresStore(pool, "main")
    await store.start()
    await write(pool, events)
    await everything(await make(pool, store))
    assert await stored(pool) == folded(events), "in the order that Python has, too"
    found = await replay(pool, "main", PROJECTIONS)
    await store.stop()
    await pool.close()
    assert {one.name: one.difference for one in found if not one.equal} == {}
    return {one.name: one.digest for one in found}


async def said_from(place, dsn, views):
    environment = {**os.environ, "INTENTLEDGER_DSN": dsn, **place}
    command = [COMMAND, "replay", "--json", *(part for view in views for part in ("--view", view))]
    said = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, check=False)
    assert said.returncode == 0, said.stderr
    return {one["name"]: one["digest"] for one in json.loads(said.stdout)}


async def test_digests_are_the_same_on_every_server_in_every_locale_zone_and_hash_seed(make_postgres, binaries, events):
    server = make_postgres(binaries)
    url = await server.start()
    locales = {"c": C, "utf8": UTF8} if binaries == wheel_directory() else {"c": C, "tr": TURKISH, "numbers": NUMBERS}
    owner = await asyncpg.connect(url)
    digests = {}
    for name, options in locales.items():
        await owner.execute(f"create database {name} encoding 'UTF8' {options}")
        if name != "c":
            for setting, value in SETTINGS.items():
                await owner.execute(f"alter database {name} set {setting} = '{value}'")
        dsn = urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        digests[name] = await digests_there(dsn, events)
        if name in {"tr", "numbers"}:
            there = await asyncpg.connect(dsn)
            ordered = [one["name"] for one in await there.fetch("select unnest($1::text[]) as name order by 1", AGENTS)]
            await there.close()
            assert ordered != sorted(AGENTS), "this database orders as any other, so it would show nothing"
    await owner.close()
    last = urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    for place in PLACES:
        digests[place["TZ"]] = await said_from(place, last, list(digests["c"]))
    assert all(found == digests["c"] for found in digests.values()), digests


async def test_every_text_that_can_be_ordered_has_its_order_from_its_column(dsn):
    owner = await asyncpg.connect(dsn)
    found = await owner.fetch(
        "select format('%s.%s', attrelid::regclass, attname) as name from pg_attribute"
        " join pg_class on pg_class.oid = attrelid where relnamespace = 'intent_ledger'::regnamespace"
        " and relkind in ('r', 'p', 'v', 'm') and attcollation = 'default'::regcollation and attnum > 0"
    )
    await owner.close()
    never_ordered = {"in_flight.worker", "projections.failure", "log_checkpoints.note", "migrations.sha256"}
    assert {one["name"].removeprefix("intent_ledger.") for one in found} == never_ordered

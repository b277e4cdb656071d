"""Opening and migrating a database: what is refused, and with which sentence."""

import asyncio

import asyncpg
import pytest
from tcp_proxy import Cut, proxy_to

import sql
from ledger import bounds, migrations
from ledger.database import Fate, check_durable, connection, fate_of, open_pool
from ledger.errors import Corrupt, InvariantViolation, Misconfigured, Overloaded, Unavailable
from ledger.migrations import migrate


@pytest.mark.parametrize("name", sql.names())
async def test_every_named_query_prepares(dsn, name):
    checker = await asyncpg.connect(dsn)
    await checker.prepare(sql.query(name))
    await checker.close()


def test_a_query_that_does_not_exist_is_named():
    for name in ("append.nothing", "nothing.batch", "append"):
        with pytest.raises(LookupError, match=name):
            sql.query(name)


async def test_a_connection_runs_as_the_service_and_within_bounds(pool):
    async def settings():
        return await pool.fetchrow(
            "select current_user, current_setting('jit'), current_setting('statement_timeout'), "
            "current_setting('application_name'), current_setting('synchronous_commit')"
        )

    expected = ("intent_ledger_app", "off", f"{bounds.STATEMENT_SECONDS:.0f}s", "intentledger", "on")
    for _ in range(20):  # given back and taken again
        assert tuple(await settings()) == expected


async def test_a_database_that_was_not_migrated_is_refused(empty_dsn):
    with pytest.raises(Unavailable, match="intentledger migrate"):
        await open_pool(empty_dsn, 2)


async def test_a_database_that_does_not_answer_is_unavailable():
    with pytest.raises(Unavailable, match="does not answer"):
        await open_pool("postgresql://postgres@127.0.0.1:1/none", 2)


async def test_a_database_that_acknowledges_too_early_is_refused(dsn):
    owner = await asyncpg.connect(dsn)
    name = await owner.fetchval("select current_database()")
    await owner.execute(f"alter database {name} set synchronous_commit = off")
    await owner.close()
    with pytest.raises(InvariantViolation, match="synchronous_commit=off"):
        await open_pool(dsn, 2)


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
def test_settings_that_can_lose_a_commit_are_refused(setting):
    durable = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
    check_durable(durable)
    with pytest.raises(InvariantViolation, match=f"{setting}=off"):
        check_durable(durable | {setting: "off"})


async def test_waiting_for_a_connection_is_bounded(dsn, monkeypatch):
    monkeypatch.setattr(bounds, "ACQUIRE_SECONDS", 0.1)
    pool = await open_pool(dsn, 1)
    async with connection(pool):
        with pytest.raises(Overloaded):
            async with connection(pool):
                pass
    await pool.close()


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (OSError(), Fate.UNKNOWN),
        (TimeoutError(), Fate.UNKNOWN),
        (asyncpg.ConnectionDoesNotExistError(), Fate.UNKNOWN),
        (asyncpg.AdminShutdownError(), Fate.UNKNOWN),
        (asyncpg.InterfaceError("connection is closed"), Fate.UNKNOWN),
        (asyncpg.DiskFullError(), Fate.NOT_NOW),
        (asyncpg.QueryCanceledError(), Fate.NOT_NOW),
        (asyncpg.TooManyConnectionsError(), Fate.NOT_NOW),
        (asyncpg.ReadOnlySQLTransactionError(), Fate.NOT_NOW),
        (asyncpg.CheckViolationError(), Fate.NEVER),
        (asyncpg.CharacterNotInRepertoireError(), Fate.NEVER),
        (asyncpg.exceptions._base.DataError("cannot encode"), Fate.NEVER),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.name,
)
def test_the_fate_of_a_statement_follows_from_its_error(error, fate):
    assert fate_of(error) is fate


# ── migrations ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_migrating_twice_applies_nothing_the_second_time(empty_dsn):
    assert await migrate(empty_dsn) == list(sql.migrations())
    assert await migrate(empty_dsn) == []


async def test_several_processes_migrate_at_once_and_each_file_is_applied_once(empty_dsn):
    applied = await asyncio.gather(*(migrate(empty_dsn) for _ in range(4)))
    assert sorted(name for names in applied for name in names) == list(sql.migrations())


async def test_a_file_that_was_edited_after_it_was_applied_is_found(dsn):
    files = sql.migrations()
    edited = next(iter(files))
    with pytest.raises(Corrupt, match=edited):
        await migrate(dsn, files | {edited: files[edited] + "-- one more line\n"})


async def test_a_database_of_a_newer_release_is_refused(dsn):
    files = sql.migrations()
    newest = files.popitem()[0]
    with pytest.raises(Corrupt, match=newest):
        await migrate(dsn, files)


@pytest.mark.parametrize("statement", [b"pg_try_advisory_lock", b"intent_ledger.migrations"])
async def test_a_database_that_goes_away_in_a_migration_is_unavailable_and_can_be_migrated_later(empty_dsn, statement):
    async with proxy_to(empty_dsn) as (proxy, far_dsn):
        proxy.arm(statement, Cut.BEFORE_SERVER)
        with pytest.raises(Unavailable):
            await migrate(far_dsn)
        assert proxy.cuts == 1
    assert await migrate(empty_dsn) == list(sql.migrations())


async def test_a_file_that_fails_leaves_nothing_behind(dsn):
    files = sql.migrations() | {"999_broken.sql": "create table intent_ledger.half (n int); select 1 / 0;"}
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(dsn, files)
    owner = await asyncpg.connect(dsn)
    assert await owner.fetchval("select to_regclass('intent_ledger.half')") is None
    await owner.close()
    assert await migrate(dsn) == []


async def test_a_migration_that_does_not_end_is_not_waited_for_without_bound(dsn, monkeypatch):
    monkeypatch.setattr(bounds, "MIGRATION_LOCK_SECONDS", 0.2)
    other = await asyncpg.connect(dsn)
    await other.execute("select pg_advisory_lock($1)", migrations.LOCK)
    with pytest.raises(Unavailable, match="Another process"):
        await migrate(dsn)
    await other.close()


async def test_a_role_that_may_not_migrate_is_told_so(dsn):
    with pytest.raises(Misconfigured, match=r"may not migrate the database \(permission denied"):
        await migrate(f"{dsn}{'&' if '?' in dsn else '?'}role=intent_ledger_app")

"""Stored checkpoints are thinned: what is needed stays, everything still verifies, and nothing else can be deleted."""

import asyncpg
import pytest
from doorway import eventually
from logged import KEY, WITNESS, logged

from ledger import bounds
from ledger.errors import Corrupt
from ledger.log import tree as log_tree
from ledger.log.checkpoint import parse_checkpoint
from ledger.log.keys import Keyring, write_keys
from ledger.log.tree import Log
from ledger.log.verify import verify_log
from ledger.moving import export, prove

FAR = 65_536
"""After so many events another checkpoint is kept."""

OLD = "update intent_ledger.log_checkpoints set at = clock_timestamp() - interval '11 minutes' where size <= $1"
SIZES = "select array_agg(size order by size) from intent_ledger.log_checkpoints where ledger = $1"


@pytest.fixture
async def owner(dsn, store):
    """A connection of the tables' owner to a ledger."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest.fixture(autouse=True)
def thinned_at_once(monkeypatch):
    monkeypatch.setattr(bounds, "LOG_THIN_SECONDS", 0.02)


async def noted(owner, *checkpoints):
    """Write checkpoints, each a size and its number of signatures."""
    notes = [(size, f"text\n\n{'— somebody abcd' + chr(10)}" * signatures) for size, signatures in checkpoints]
    await owner.executemany(
        "insert into intent_ledger.log_checkpoints (ledger, size, note) values ('main', $1, $2)", notes
    )


async def test_of_65536_events_the_checkpoint_with_most_signatures_stays_and_of_those_the_newest(owner, pool):
    await noted(owner, (10, 1), (20, 3), (30, 3), (40, 2), (FAR, 1), (FAR + 1, 1), (FAR + 9, 1), (3 * FAR, 1))
    await owner.execute(OLD, 3 * FAR)
    async with pool.acquire() as service:
        assert await log_tree.thin(service, "main", 0) == FAR, "the last of them may yet give way to a better one"
    assert await owner.fetchval(SIZES, "main") == [30, FAR + 9, 3 * FAR]


async def test_the_newest_and_those_of_the_last_minutes_stay(owner, pool):
    await noted(owner, (10, 3), (20, 1), (30, 1), (40, 1))
    async with pool.acquire() as service:
        assert await log_tree.thin(service, "main", 0) == 0
        assert await owner.fetchval(SIZES, "main") == [10, 20, 30, 40]
        await owner.execute(OLD, 20)
        await log_tree.thin(service, "main", 0)
        assert await owner.fetchval(SIZES, "main") == [10, 30, 40]
        await owner.execute(OLD, 40)
        await log_tree.thin(service, "main", 0)
    assert await owner.fetchval(SIZES, "main") == [10, 40], "the newest stays, however old it is"


async def test_other_ledgers_keep_theirs(owner, pool):
    await noted(owner, (10, 1), (20, 1), (30, 1))
    await owner.execute("insert into intent_ledger.log_checkpoints (ledger, size, note) values ('other', 10, 'x')")
    await owner.execute("insert into intent_ledger.log_checkpoints (ledger, size, note) values ('other', 20, 'x')")
    await owner.execute(OLD, 30)
    async with pool.acquire() as service:
        await log_tree.thin(service, "main", 0)
    assert await owner.fetchval(SIZES, "other") == [10, 20]


async def test_a_long_neglected_log_is_thinned_a_bounded_number_at_a_time(owner, pool):
    await owner.execute(
        "insert into intent_ledger.log_checkpoints (ledger, size, note) "
        "select 'main', size * 7, 'text' from generate_series(1, 24000) as size"
    )
    await owner.execute(OLD, 7 * 24_000)
    sizes, after = [], 0
    async with pool.acquire() as service:
        for _ in range(4):
            after = await log_tree.thin(service, "main", after)
            sizes.append(len(await owner.fetchval(SIZES, "main")))
    assert sizes == [14_002, 4_004, 4, 4]
    assert await owner.fetchval(SIZES, "main") == [FAR // 7 * 7, 2 * FAR // 7 * 7, 7 * 23_999, 7 * 24_000]


async def test_the_service_itself_can_delete_none(owner, pool):
    await noted(owner, (10, 1), (20, 1))
    await owner.execute(OLD, 20)
    async with owner.transaction():
        await owner.execute("set local role intent_ledger_app")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with owner.transaction():
                await owner.execute("delete from intent_ledger.log_checkpoints where size = 10")
        assert await owner.fetchval("select intent_ledger.thin_log('main', 0)") == 0
    async with owner.transaction():
        await owner.execute("create role nobody_in_particular")
        await owner.execute("grant usage on schema intent_ledger to nobody_in_particular")
        await owner.execute("set local role nobody_in_particular")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with owner.transaction():
                await owner.execute("select intent_ledger.thin_log('main', 0)")
        await owner.execute("reset role")
        await owner.execute("drop owned by nobody_in_particular")
        await owner.execute("drop role nobody_in_particular")


async def test_a_thinned_log_goes_on_starts_again_verifies_and_proves(kept, owner):
    await kept.append(50)
    (kept.keys.parent).mkdir(parents=True, exist_ok=True)
    write_keys(kept.keys, Keyring((KEY,)))
    await logged(owner, [10, 20], KEY)
    await logged(owner, [30], KEY, WITNESS)
    await logged(owner, [40], KEY)
    await owner.execute(OLD, 40)
    await kept.begin()
    assert parse_checkpoint((await kept.published(50)).text).size == 50

    async def thinned():
        sizes = await owner.fetchval(SIZES, "main")
        return sizes if len(sizes) == 2 else None

    assert await eventually(thinned) == [30, 50]
    best = await kept.log.best_covering(5)
    assert (best.size, len(best.note.signatures)) == (30, 2), "receipts have the cosigned one"
    assert await kept.log.consistency(20, 50), "proofs need no stored checkpoint"
    async with owner.transaction(isolation="repeatable_read", readonly=True):
        found = await verify_log(owner, "main", [KEY.verifier], {})
    assert (found.wrong, found.checkpoints) == (None, 2)
    await kept.again()
    await kept.append(5)
    await kept.published(55)
    assert kept.keeper.failure is None


async def test_a_thinned_ledger_that_was_put_back_is_refused_all_the_same(kept, owner):
    await kept.begin()
    for size in (20, 40, 60):
        await kept.append(20)
        await kept.published(size)
    await kept.keeper.stop()
    await owner.execute(OLD, 60)
    async with kept.pool.acquire() as service:
        await log_tree.thin(service, "main", 0)
    assert await owner.fetchval(SIZES, "main") == [40, 60]
    await kept.as_owner(
        "delete from intent_ledger.events where position > 40",
        "update intent_ledger.heads set position = 40",
        "delete from intent_ledger.log_checkpoints where size > 40",
    )
    await kept.refused(Corrupt, "ends at position 40")


async def test_an_export_ends_with_its_checkpoint_although_that_was_thinned_meanwhile(kept, owner, monkeypatch):
    await kept.append(50)
    await logged(owner, [30], KEY, WITNESS)
    await logged(owner, [50], KEY)
    newest = Log.newest

    async def thinned_afterwards(log):
        found = await newest(log)
        await owner.execute("delete from intent_ledger.log_checkpoints where size = $1", found.size)
        return found

    monkeypatch.setattr(Log, "newest", thinned_afterwards)
    lines: list[bytes] = []
    keys = [KEY.verifier]
    moved = await export(kept.pool, "main", keys, lambda data: lines.extend(data.splitlines(keepends=True)))
    assert moved.size == 50
    assert prove(lines, keys) == moved

"""The log follows the ledger, is signed by our keys alone, and stops or refuses where it and the ledger disagree."""

import asyncio
import os
from shutil import copy

import asyncpg
import pytest
from doorway import eventually
from kept_log import ORIGIN, Kept

import sql
from ledger import bounds
from ledger.errors import Corrupt, Misconfigured, Tampered, Unavailable
from ledger.log import merkle
from ledger.log import tree as log_tree
from ledger.log.checkpoint import parse_checkpoint
from ledger.log.entry import entry
from ledger.log.keys import read_keys
from ledger.log.merkle import Tree, leaf_hash
from ledger.log.signed_note import verify_note


async def test_a_checkpoint_covers_what_was_appended_and_is_the_root_over_its_entries(kept):
    await kept.append(7)
    await kept.begin()
    newest = await kept.log.newest()
    assert newest.size == 7, "what is there when the process starts has its checkpoint at once"
    await kept.append(600)
    note = await kept.published(607)
    tree = Tree()
    rows = await kept.store.read_all(0, 1000)
    tree.extend([leaf_hash(entry("main", r.position, r.stream, r.version, r.type, r.at, r.body)) for r in rows])
    checkpoint = parse_checkpoint(note.text)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (ORIGIN, 607, tree.root())
    assert verify_note(note, read_keys(kept.keys).verifiers)
    assert (await kept.log.newest()).note == note
    for position in (1, 256, 257, 607):
        proof = await kept.log.inclusion(position, 607)
        assert merkle.verify_inclusion(await kept.log.leaf(position), position - 1, 607, proof, tree.root())
    proof = await kept.log.consistency(7, 607)
    assert merkle.verify_consistency(7, 607, newest.checkpoint.root, tree.root(), proof)
    assert kept.keys.stat().st_mode & 0o777 == 0o600


async def test_another_process_goes_on_where_the_first_let_go(kept):
    await kept.begin()
    await kept.append(300)
    await kept.published(300)
    second = kept.new_keeper()
    await second.open(os.urandom)
    await second.start()
    await kept.append(1)
    await kept.published(301)
    first, kept.keeper = kept.keeper, second
    await first.stop()
    await kept.append(250)
    await kept.published(551)
    assert second.failure is None


async def test_a_keeper_whose_connection_breaks_takes_over_again(kept):
    await kept.begin()
    await kept.append(3)
    await kept.published(3)
    owner = await asyncpg.connect(kept.dsn)
    await owner.execute("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'")
    await owner.close()
    await kept.append(3)
    await kept.published(6)


async def test_a_process_that_ends_in_order_covers_and_publishes_what_there_is(kept, monkeypatch):
    await kept.begin()
    monkeypatch.setattr(bounds, "LOG_SECONDS", 3600)
    await kept.append(3)
    await kept.keeper.stop()
    assert parse_checkpoint(kept.directory.read().text).size == 3


async def test_far_behind_it_signs_on_the_way(kept, monkeypatch):
    monkeypatch.setattr(bounds, "LOG_STEP_EVENTS", 500)
    await kept.append(1200)
    await kept.begin()
    await kept.published(1200)
    rows = await kept.pool.fetch("select size from intent_ledger.log_checkpoints order by size")
    assert [row["size"] for row in rows] == [500, 1000, 1200]


TILE_0 = "intent_ledger.log_tiles where level = 0"
SHORTEN = (
    "delete from intent_ledger.events where position > 40",
    "update intent_ledger.heads set position = 40",
)
WITHOUT_LOG = ("delete from intent_ledger.log_checkpoints", "delete from intent_ledger.log_tiles")


@pytest.mark.parametrize(
    ("statements", "error", "match"),
    [
        (SHORTEN, Corrupt, "ends at position 40"),
        ((*SHORTEN, "delete from intent_ledger.log_checkpoints where size > 40"), Corrupt, "ends at position 40"),
        ((*SHORTEN, *WITHOUT_LOG), Corrupt, "ends at position 40"),
        ((SHORTEN[0], *WITHOUT_LOG), Corrupt, "ends at position 40"),
        ((SHORTEN[0],), Corrupt, "position 41"),
        (("update intent_ledger.events set body = '{\"a\":1}' where position = 41",), Corrupt, "position 41"),
        (
            ("update intent_ledger.events set body = '{\"a\":1}' where position = 41", *WITHOUT_LOG),
            Corrupt,
            "rewritten",
        ),
        (("delete from intent_ledger.events where position = 41",), Corrupt, "missing|position"),
        ((f"delete from {TILE_0}",), Corrupt, "tile 0/0"),
        (("update intent_ledger.log_checkpoints set note = replace(note, '60', '59')",), Tampered, "changed"),
        (("update intent_ledger.log_checkpoints set note = 'x'",), Tampered, "changed"),
    ],
)
async def test_a_process_does_not_start_on_a_ledger_that_its_checkpoint_outside_denies(kept, statements, error, match):
    await kept.append(60)
    await kept.begin()
    await kept.published(60)
    await kept.as_owner(*statements)
    await kept.refused(error, match)


async def test_a_log_that_was_written_again_by_somebody_elses_key_is_refused(kept, tmp_path):
    await kept.append(60)
    await kept.begin()
    await kept.published(60)
    await kept.keeper.stop()
    await kept.as_owner("update intent_ledger.events set body = '{\"a\":1}' where position = 41", *WITHOUT_LOG)
    forger = Kept(kept.dsn, kept.pool, kept.store, tmp_path / "forger")
    await forger.begin()
    await forger.published(60)
    await forger.keeper.stop()
    await kept.refused(Corrupt, "rewritten")


async def test_an_older_backup_that_has_grown_again_is_refused(kept):
    await kept.append(60)
    await kept.begin()
    await kept.published(60)
    await kept.keeper.stop()
    await kept.as_owner(*SHORTEN, *WITHOUT_LOG)
    await kept.append(30)
    await kept.refused(Corrupt, "rewritten")


async def test_what_the_directory_holds_must_be_ours(kept):
    await kept.append(1)
    await kept.begin()
    await kept.published(1)
    text = kept.directory.file.read_text()
    kept.directory.file.write_text(text.replace("\n1\n", "\n2\n"))
    await kept.refused(Tampered, "not ours")
    kept.directory.file.write_text(text[:-1])
    await kept.refused(Corrupt, "cut off")
    kept.directory.file.write_text(text)
    kept.keys.rename(kept.keys.with_suffix(".gone"))
    await kept.refused(Misconfigured, "put the file of the keys back")
    assert not kept.keys.exists(), "no other key is made in its place"


async def test_a_log_that_is_kept_with_other_keys_is_only_watched(kept, tmp_path):
    await kept.append(1)
    await kept.begin()
    await kept.published(1)
    stranger = Kept(kept.dsn, kept.pool, kept.store, tmp_path / "elsewhere")
    await stranger.begin()
    assert not stranger.keys.exists()
    await kept.keeper.stop()
    await kept.append(1)

    async def late():
        return stranger.keeper.uncovered == 1 and stranger.keeper.behind_seconds > 0

    await eventually(late)
    assert stranger.directory.read() is None
    await stranger.keeper.stop()


async def test_a_keeper_stops_and_says_so_when_events_vanish_under_it(kept):
    await kept.begin()
    await kept.append(5)
    await kept.published(5)
    await kept.append(1)
    await kept.as_owner(
        "insert into intent_ledger.events select ledger, 8, 'x', 1, type, at, body from intent_ledger.events"
        " where position = 1",
        "update intent_ledger.heads set position = 8",
    )

    async def stopped():
        return kept.keeper.failure

    assert "missing" in await eventually(stopped)


async def test_a_keeper_stops_and_says_so_when_the_end_is_cut_off_under_it(kept):
    await kept.begin()
    await kept.append(5)
    await kept.published(5)
    await kept.as_owner(
        "delete from intent_ledger.events where position = 5", "update intent_ledger.heads set position = 4"
    )

    async def stopped():
        return kept.keeper.failure

    assert "ends at position 4" in await eventually(stopped)
    assert parse_checkpoint(kept.directory.read().text).size == 5


async def test_an_answer_that_is_lost_leaves_the_log_to_others(kept, monkeypatch, tmp_path):
    """The lock is a session's, and the session goes back to the pool: it must not hold the log for nobody."""
    await kept.append(1)
    await kept.keeper.open(os.urandom)
    other = Kept(kept.dsn, kept.pool, kept.store, tmp_path / "other")
    other.keys.parent.mkdir()
    copy(kept.keys, other.keys)
    real, asked = asyncpg.Connection.fetchval, asyncio.Event()

    async def late(self, query, *given, **more):
        found = await real(self, query, *given, **more)
        if query == sql.query("log.keep") and not asked.is_set():
            asked.set()
            kept.keys.unlink()  # so that it does not ask again
            raise TimeoutError
        return found

    monkeypatch.setattr(asyncpg.Connection, "fetchval", late)
    await kept.keeper.start()
    async with kept.pool.acquire() as one, kept.pool.acquire(), kept.pool.acquire():
        assert one  # so that the other process has a connection of its own
        await other.begin()
        await other.published(1)
        await other.keeper.stop()


async def test_only_a_disagreement_ends_the_log(kept, monkeypatch):
    await kept.begin()
    await kept.append(1)
    await kept.published(1)
    extend = log_tree.extend

    async def fails_once(*given):
        monkeypatch.setattr(log_tree, "extend", extend)
        raise asyncpg.InternalServerError("something that nobody has thought of")

    monkeypatch.setattr(bounds, "LOG_RETRY_CAP_SECONDS", 0.02)
    monkeypatch.setattr(log_tree, "extend", fails_once)
    await kept.append(1)
    await kept.published(2)


class Away:
    """A place that does not answer, until it does, and cosigns nothing."""

    name, cosigns, pause_seconds = "away", False, 0.0

    def __init__(self):
        self.here, self.sizes = False, []

    async def known(self):
        if not self.here:
            raise Unavailable("It is away.")

    async def publish(self, signed):
        if not self.here:
            await asyncio.sleep(3600)
        self.sizes.append(signed.size)
        return ()


@pytest.mark.usefixtures("impatient_log")
async def test_a_place_that_is_away_delays_nothing_and_gets_the_newest_later(dsn, pool, store, tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "LOG_PLACE_SECONDS", 0.05)
    away = Away()
    kept = Kept(dsn, pool, store, tmp_path / "log", (away,))
    await kept.begin()
    for size in (1, 2, 3):
        await kept.append(1)
        await kept.published(size)
    publisher = kept.keeper.publishers[1]
    assert isinstance(publisher.failure, str)
    away.here = True

    async def told():
        return away.sizes and publisher.failure is None

    await eventually(told)
    assert away.sizes[-1] == 3
    await kept.keeper.stop()

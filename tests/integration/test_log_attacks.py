"""Whoever owns the database changes the past in a thousand ways, and `verify` finds every one of them.

The attacker is a superuser whom no trigger, constraint or privilege stops, who knows how the log is made, and makes it
anew where that helps. What is out of reach is the log's key, and one checkpoint that is kept elsewhere.
"""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import asyncpg
import pytest
from histories import ledger_of
from logged import ATTACKER, KEY, forget_log, logged, signed
from views import write

from ledger.errors import Tampered
from ledger.log.signed_note import Note
from ledger.log.verify import Verified, verify_log

ALL = 1_000
EVENTS = 270  # a full tile, a partial one, and a level above
SIZES = (117, 256, EVENTS)

UNLOCK = """
    do $$
    declare
        made record;
    begin
        alter table intent_ledger.events disable trigger all;
        for made in
            select conname, conrelid::regclass as on_table
            from pg_constraint
            where
                (contype in ('p', 'u', 'c') and conrelid = 'intent_ledger.events'::regclass)
                or (contype = 'c' and conrelid = any (array['intent_ledger.log_tiles',
                    'intent_ledger.log_checkpoints', 'intent_ledger.heads']::regclass[]))
        loop
            execute format('alter table %s drop constraint %I cascade', made.on_table, made.conname);
        end loop;
    end
    $$
"""
EVENT = "update intent_ledger.events set "
HERE = " where position = $1"


class World(NamedTuple):
    connection: Any
    chance: random.Random
    outside: Note
    pool: Any

    async def run(self, statement: str, *values: object) -> None:
        done = await self.connection.execute(statement, *values)
        assert done.split()[-1] != "0", f"the attack changed nothing: {statement}"

    async def one(self, statement: str, *values: object) -> Any:
        return await self.connection.fetchval(statement, *values)

    def place(self, first: int = 1, last: int = EVENTS) -> int:
        return self.chance.randint(first, last)

    def two(self) -> tuple[int, int]:
        first, second = sorted(self.chance.sample(range(1, EVENTS + 1), 2))
        return first, second

    def garbled(self, value: bytes) -> bytes:
        nth = self.chance.randrange(len(value))
        return value[:nth] + bytes([value[nth] ^ 1 << self.chance.randrange(8)]) + value[nth + 1 :]

    async def set_head(self) -> None:
        """Let the head say what the events say, as somebody careful does."""
        await self.run("update intent_ledger.heads set position = (select max(position) from intent_ledger.events)")

    async def retree(self, *keys: Any) -> None:
        """Make tiles and checkpoints anew over whatever the events are now."""
        await forget_log(self.connection)
        last = await self.one("select max(position) from intent_ledger.events")
        await logged(self.connection, sorted({min(size, last) for size in SIZES}), *keys)


Attack = Callable[[World], Awaitable[int | None]]  # returns the position to be named, where it is one alone


async def change_a_body(w: World) -> int:
    at = w.place()
    body = w.garbled(await w.one("select body from intent_ledger.events" + HERE, at))
    await w.run(EVENT + "body = $2" + HERE, at, body)
    return at


async def change_a_type(w: World) -> int:
    at = w.place()
    await w.run(
        EVENT + "type = case type when 'ActionAborted' then 'ActionCommitted' else 'ActionAborted' end" + HERE, at
    )
    return at


async def change_a_time(w: World) -> int:
    at = w.place()
    await w.run(EVENT + "at = at + $2 * interval '1 microsecond'" + HERE, at, w.chance.choice((-1, 1, 10**6, 10**12)))
    return at


async def change_a_version(w: World) -> int:
    at = w.place()
    await w.run(EVENT + "version = version + $2" + HERE, at, w.chance.choice((-1, 1, 1000)))
    return at


async def move_to_another_stream(w: World) -> int:
    at, other = w.place(), w.place()
    await w.run(
        EVENT + "stream = $2 || (select stream from intent_ledger.events where position = $3)" + HERE, at, "x", other
    )
    return at


async def move_to_another_ledger(w: World) -> int:
    at = w.place()
    await w.run(EVENT + "ledger = 'other'" + HERE, at)
    return at


async def move_to_another_position(w: World) -> None:
    await w.run(EVENT + "position = $2" + HERE, w.place(), w.chance.choice((0, -7, EVENTS + 1, EVENTS + 99)))


async def stand_twice(w: World) -> None:
    at, other = w.two()
    await w.run(EVENT + "position = $2" + HERE, at, other)


async def swap_two(w: World) -> int:
    at, other = w.two()
    swap = "position = case position when $1 then $2::bigint else $1::bigint end where position in ($1, $2)"
    await w.run(EVENT + swap, at, other)
    return at


async def swap_two_bodies(w: World) -> int | None:
    at, other = w.two()
    bodies = [await w.one("select body from intent_ledger.events" + HERE, one) for one in (at, other)]
    await w.run(EVENT + "body = $2" + HERE, at, bodies[1])
    await w.run(EVENT + "body = $2" + HERE, other, bodies[0])
    return at if bodies[0] != bodies[1] else await change_a_body(w)


async def turn_a_stretch_around(w: World) -> int:
    at, other = w.two()
    await w.run(EVENT + "position = $1::bigint + $2 - position where position between $1 and $2", at, other)
    return at


async def delete_one(w: World) -> int:
    at = w.place()
    await w.run("delete from intent_ledger.events" + HERE, at)
    return at


async def delete_one_and_close_the_gap(w: World) -> int:
    at = await delete_one(w)
    await w.connection.execute(EVENT + "position = position - 1 where position > $1", at)
    await w.set_head()
    return at


async def delete_a_stream(w: World) -> None:
    of = "(select stream from intent_ledger.events where position = $1)"
    await w.run(f"delete from intent_ledger.events where stream = {of}", w.place())


async def insert_one(w: World) -> int:
    at = w.place()
    await w.run(EVENT + "position = position + 1 where position >= $1", at)
    await w.run(
        "insert into intent_ledger.events select ledger, $1, stream, version + 1, type, at, body "
        "from intent_ledger.events where position = $2",
        at,
        w.place(at + 1, EVENTS + 1),
    )
    if w.chance.random() < 0.5:
        await w.set_head()
    return at


async def insert_before_the_beginning(w: World) -> int:
    at = w.chance.choice((0, -7))
    await w.run(
        "insert into intent_ledger.events select ledger, $2, 'x' || stream, 1, type, at, body from intent_ledger.events"
        + HERE,
        w.place(),
        at,
    )
    return at


async def repeat_one(w: World) -> None:
    await w.run("insert into intent_ledger.events select * from intent_ledger.events" + HERE, w.place())


async def cut_off_the_end(w: World) -> int:
    at = w.place()
    await w.run("delete from intent_ledger.events where position >= $1", at)
    if at > 1 and w.chance.random() < 0.5:
        await w.set_head()
    return at


async def cut_off_the_end_and_retree(w: World) -> int:
    at = w.place(2)
    await w.run("delete from intent_ledger.events where position >= $1", at)
    await w.set_head()
    await w.retree(ATTACKER)
    return None  # what is left is signed by nobody we know


async def restore_an_older_backup(w: World) -> int:
    size = w.chance.choice(SIZES[:-1])
    await w.run("delete from intent_ledger.events where position > $1", size)
    await w.set_head()
    await forget_log(w.connection)
    await logged(w.connection, [one for one in SIZES if one <= size], KEY)  # byte for byte what stood there then
    return size + 1


async def move_the_head(w: World) -> None:
    await w.run("update intent_ledger.heads set position = position + $1", w.chance.choice((-1, 1, -EVENTS)))


async def change_a_tile(w: World) -> None:
    rows = await w.connection.fetch("select level, number, hashes from intent_ledger.log_tiles")
    row = w.chance.choice(rows)
    change = w.chance.choice((w.garbled, lambda hashes: hashes[:-32], lambda hashes: hashes + hashes[-32:]))
    update = "update intent_ledger.log_tiles set hashes = $3 where level = $1 and number = $2"
    await w.run(update, row["level"], row["number"], change(row["hashes"]))


async def move_a_tile(w: World) -> None:
    rows = await w.connection.fetch("select level, number from intent_ledger.log_tiles")
    change = w.chance.choice(("level = level + 4", "number = number + 4", "ledger = 'other'"))
    update = f"update intent_ledger.log_tiles set {change} where level = $1 and number = $2"
    await w.run(update, *w.chance.choice(rows))


async def delete_a_tile(w: World) -> None:
    rows = await w.connection.fetch("select level, number from intent_ledger.log_tiles")
    await w.run("delete from intent_ledger.log_tiles where level = $1 and number = $2", *w.chance.choice(rows))


async def add_a_tile(w: World) -> None:
    add = "insert into intent_ledger.log_tiles select ledger, level, number + $1, hashes from intent_ledger.log_tiles"
    await w.run(add + " where level = 0 and number = 0", w.chance.choice((2, 100)))


async def change_a_checkpoint(w: World) -> None:
    size = w.chance.choice(SIZES)
    note: str = await w.one("select note from intent_ledger.log_checkpoints where size = $1", size)
    nth = w.chance.randrange(len(note) - 4)  # the last bits of base64 may be unused
    changed = note[:nth] + ("B" if note[nth] != "B" else "C") + note[nth + 1 :]
    await w.run("update intent_ledger.log_checkpoints set note = $2 where size = $1", size, changed)


async def say_that_a_checkpoint_covers_more(w: World) -> None:
    move = "update intent_ledger.log_checkpoints set size = size + $2 where size = $1"
    await w.run(move, w.chance.choice(SIZES), w.chance.choice((-2, 2, 1000)))


async def delete_the_newest_checkpoints(w: World) -> None:
    await w.run("delete from intent_ledger.log_checkpoints where size >= $1", w.chance.choice(SIZES))


async def change_and_hash_again(w: World) -> None:
    await change_a_body(w)
    notes = await w.connection.fetch("select ledger, size, at, note from intent_ledger.log_checkpoints")
    await w.retree(ATTACKER)
    await w.connection.execute("delete from intent_ledger.log_checkpoints")
    await w.connection.copy_records_to_table("log_checkpoints", records=notes, schema_name="intent_ledger")


async def change_and_sign_with_another_key(w: World) -> None:
    await w.chance.choice((change_a_body, delete_one_and_close_the_gap, swap_two))(w)
    await w.retree(ATTACKER)


async def change_and_sign_with_the_stolen_key(w: World) -> None:
    await w.chance.choice((change_a_body, delete_one_and_close_the_gap, swap_two))(w)
    await w.retree(KEY)


async def append_out_of_turn(w: World) -> int:
    await w.run(
        "insert into intent_ledger.events select ledger, $2, stream, version + 1000, type, at, body "
        "from intent_ledger.events" + HERE,
        w.place(),
        EVENTS + 1,
    )
    await w.set_head()
    return EVENTS + 1


async def change_and_throw_the_log_away(w: World) -> None:
    await w.chance.choice((change_a_body, delete_one_and_close_the_gap, swap_two))(w)
    await forget_log(w.connection)


async def write_another_history(w: World) -> None:
    bodies = await w.connection.fetch("select body from intent_ledger.events order by position")
    w.chance.shuffle(bodies)
    rewrite = "body = given.body from unnest($1::bigint[], $2::bytea[]) as given (position, body)"
    records = list(range(1, EVENTS + 1)), [row["body"] for row in bodies]
    await w.run(EVENT + rewrite + " where events.position = given.position", *records)
    await w.retree(ATTACKER)


ATTACKS: tuple[Attack, ...] = (
    change_a_body, change_a_type, change_a_time, change_a_version, move_to_another_stream, move_to_another_ledger,
    move_to_another_position, stand_twice, swap_two, swap_two_bodies, turn_a_stretch_around, delete_one,
    delete_one_and_close_the_gap, delete_a_stream, insert_one, insert_before_the_beginning, repeat_one,
    cut_off_the_end, cut_off_the_end_and_retree, restore_an_older_backup, move_the_head, change_a_tile, move_a_tile,
    delete_a_tile, add_a_tile, change_a_checkpoint, say_that_a_checkpoint_covers_more, delete_the_newest_checkpoints,
    change_and_hash_again, change_and_sign_with_another_key, change_and_sign_with_the_stolen_key, append_out_of_turn,
    change_and_throw_the_log_away, write_another_history,
)  # fmt: skip


@pytest.fixture
async def world(dsn, pool, store):
    await write(pool, ledger_of(5, 90)[:EVENTS])
    owner = await asyncpg.connect(dsn)
    notes = await logged(owner, SIZES)
    chance = random.Random("a thousand attacks")
    yield World(owner, chance, notes[-1], pool)
    await owner.close()


async def verified(world: World) -> Verified:
    return await verify_log(world.connection, "main", [KEY.verifier], {"elsewhere": world.outside})


async def test_a_thousand_changes_by_the_databases_owner_are_all_found(world):
    async with world.connection.transaction():
        await world.connection.execute(UNLOCK)
        assert await verified(world) == Verified(EVENTS, EVENTS, len(SIZES), EVENTS, None)
        missed: Counter[str] = Counter()
        for nth in range(ALL):
            attack = ATTACKS[nth % len(ATTACKS)]
            undone = world.connection.transaction()
            await undone.start()
            expected = await attack(world)
            found = (await verified(world)).wrong
            await undone.rollback()
            if found is None or (expected is not None and found.position != expected):
                missed[f"{attack.__name__}: {found} instead of {expected}"] += 1
        assert missed == {}
        assert (await verified(world)).wrong is None  # it was they that were found, and nothing of the test's own


@pytest.mark.parametrize("page", [7, 100, 255, 256, 257])
async def test_it_does_not_matter_where_one_page_ends_and_the_next_begins(world, monkeypatch, page):
    monkeypatch.setattr("ledger.log.verify.VERIFY_PAGE_EVENTS", page)
    async with world.connection.transaction():
        await world.connection.execute(UNLOCK)
        assert await verified(world) == Verified(EVENTS, EVENTS, len(SIZES), EVENTS, None)
        for attack in (change_a_body, delete_one, swap_two, change_a_tile, restore_an_older_backup):
            undone = world.connection.transaction()
            await undone.start()
            expected = await attack(world)
            wrong = (await verified(world)).wrong
            assert wrong is not None
            assert expected is None or wrong.position == expected
            await undone.rollback()


async def test_what_has_no_checkpoint_yet_is_said_and_is_not_wrong(world):
    await write(world.pool, ledger_of(5, 90)[EVENTS : EVENTS + 20])
    assert await verified(world) == Verified(EVENTS + 20, EVENTS, len(SIZES), EVENTS, None)


async def test_a_checkpoint_of_another_log_is_not_this_ones(world):
    other = signed(EVENTS, bytes(32), KEY, origin="else/where")
    with pytest.raises(Tampered, match="in elsewhere is not the log's"):
        await verified(world._replace(outside=other))

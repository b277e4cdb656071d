"""A ledger moves in a file: what left arrives, and goes on from there; what cannot be proved does not arrive."""

import asyncio
import json
import os
import random
import re
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from commands import COMMAND, environment
from doorway import Doorway, doorway, intent

from ledger import events as e
from ledger import export_file
from ledger.database import connect, open_pool
from ledger.errors import Conflict, LedgerError, Malformed, Tampered
from ledger.export_file import Header, checkpoint_line, line_of
from ledger.log.keeper import Keeper
from ledger.log.keys import read_keys
from ledger.log.merkle import verify_consistency
from ledger.log.signed_note import Note, SigningKey, parse_note
from ledger.log.tree import Log
from ledger.moving import export, import_lines, prove
from ledger.postgres_store import PostgresStore
from ledger.store import Append, Appended
from projections.catalogue import PROJECTIONS
from projections.inline_replay import fill_inline, replay_inline
from projections.replay import replay

ROOT = Path(__file__).parents[2]
ORIGIN = "intent-ledger/main"
INLINE = {
    "heads": "position, policy_set",
    "grants": "grant_id, parent, token_sha256, expires_at, ended, suspensions, issued",
    "submissions": "subject, key, intent, request_digest",
    "in_flight": "intent, grant_id",
    "events": "position, stream, version, type, at, body",
    "log_tiles": "level, number, hashes",
    "log_checkpoints": "size, note",
}


async def live(door: Doorway) -> None:
    """Let a ledger have something of everything: effects, limits, a person's turn, a dead grant, work in flight."""
    limits = [{"operation": "bank.post", "measure": "count", "per": "day", "max": 9}]
    agent = await door.grant("payment-specialist", task="12A", limits=limits)
    for amount in range(3):
        await agent.submit(intent(("bank.post", "alice", amount), ("mail.post", "bob", 1)))
    revoked = await door.grant("mail-room")
    await door.post(f"/v1/grants/{revoked.id}/revoke", {"reason": "It is over"})
    door.bank.gate.clear()
    await agent.submit(intent(("bank.post", "carol", 7), deadline=300), wait=None)


async def keep(pool: asyncpg.Pool, key: Path) -> None:
    """Cover everything there is by a checkpoint."""
    keeper = Keeper(pool, "main", ORIGIN, key)
    await keeper.open(os.urandom)
    await keeper.start()
    await keeper.stop()


@pytest.fixture
async def left(dsn: str, tmp_path: Path) -> AsyncIterator[tuple[Doorway, list[bytes], Path]]:
    """A ledger that was worked with, its export, and the file of its log's keys."""
    key, lines = tmp_path / "main.key", []
    async with doorway(dsn) as door:
        await door.submit(intent(("bank.post", "alice", 1)))
        await keep(door.service.pool, key)
        await live(door)
        await keep(door.service.pool, key)
        await export(door.service.pool, "main", read_keys(key).verifiers, lines.append)
        yield door, b"".join(lines).splitlines(keepends=True), key
        door.bank.gate.set()


async def arrive(dsn: str, lines: list[bytes], keys: Any = ()) -> Any:
    writer = await connect(dsn)
    try:
        return await import_lines(writer, lines, "main", keys=keys, beside=fill_inline)
    finally:
        await writer.close()


async def contents(pool: asyncpg.Pool) -> dict[str, list[Any]]:
    found = {}
    for table, columns in INLINE.items():
        rows = await pool.fetch(f"select {columns} from intent_ledger.{table} where ledger = 'main' order by 1, 2")
        found[table] = [tuple(row) for row in rows]
    return found


async def test_what_arrives_is_what_left_and_goes_on_from_there(left, make_database, template, tmp_path) -> None:
    door, lines, key = left
    there = await make_database(template)
    moved = await arrive(there, lines, read_keys(key).verifiers)
    assert moved.size == await door.head()
    before = await door.service.pool.fetch("select name, position from intent_ledger.projections")
    assert before
    pool = await open_pool(there, 8)
    try:
        assert await contents(pool) == await contents(door.service.pool)
        async with pool.acquire() as reader:
            assert [one.name for one in await replay_inline(reader, "main") if not one.equal] == []
    finally:
        await pool.close()
    async with doorway(there) as arrived:
        status, page, _ = await arrived.get(f"/v1/intents?min_position={moved.size}")
        _, old, _ = await door.get(f"/v1/intents?min_position={moved.size}")
        assert (status, page) == (200, old), "the token that was good is good, and everything is there"
        status, shown, _ = await arrived.submit(intent(("bank.post", "dave", 1)))
        assert (status, shown["phase"]) == (200, "committed")
        await keep(arrived.service.pool, key)
        log = Log(arrived.service.pool, "main")
        newest = await log.newest()
        assert newest.size > moved.size
        proof = await log.consistency(moved.size, newest.size)
        old_root = await Log(door.service.pool, "main").root(moved.size)
        assert verify_consistency(moved.size, newest.size, old_root, newest.checkpoint.root, proof)
        assert all(one.equal for one in await replay(arrived.service.pool, "main", PROJECTIONS))


async def test_whoever_can_hash_can_check_the_file_as_the_documentation_shows(left, tmp_path, monkeypatch) -> None:
    _, lines, _ = left
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "moving.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "main.ledger").write_bytes(b"".join(lines))
    exec(code, {})
    place = next(place for place, line in enumerate(lines) if b'"IntentCommitted"' in line)
    forged = lines[place].replace(b'"version":', b'"version":1')
    (tmp_path / "main.ledger").write_bytes(b"".join([*lines[:place], forged, *lines[place + 1 :]]))
    with pytest.raises(AssertionError):
        exec(code, {})


async def test_what_is_proved_by_no_key_that_is_known_imports_nothing(left, make_database, template) -> None:
    _, lines, key = left
    there = await make_database(template)
    other = SigningKey(ORIGIN, os.urandom(32)).verifier
    with pytest.raises(Tampered, match="Nothing was imported"):
        await arrive(there, lines, [other])
    note = parse_note(json.loads(lines[-1])["checkpoint"])
    unsigned = Note(note.text, (SigningKey(ORIGIN, os.urandom(32)).sign(note.text),))
    with pytest.raises(Tampered, match="No key that is known here has signed this"):
        prove([*lines[:-1], checkpoint_line(str(unsigned))], ())
    forged = list(lines)
    place = next(place for place, line in enumerate(lines) if b'"IntentSubmitted"' in line)
    forged[place] = forged[place].replace(b'"again":true', b'"again":false', 1)
    with pytest.raises(Tampered, match=r"are not those that were signed\. Nothing was imported"):
        await arrive(there, forged)
    pool = await open_pool(there, 2)
    try:
        assert {table: rows for table, rows in (await contents(pool)).items() if rows} == {}
    finally:
        await pool.close()
    assert (await arrive(there, lines, read_keys(key).verifiers)).size
    with pytest.raises(Conflict, match="has events of the ledger 'main' already"):
        await arrive(there, lines)


async def test_keys_of_data_subjects_move_only_if_they_are_asked_for(left, make_database, template) -> None:
    door, lines, key = left
    source, kept = door.service.pool, "select key_id, mark, master, wrapped from intent_ledger.subject_keys"
    await source.execute(
        "insert into intent_ledger.subject_keys (ledger, key_id, mark, master, wrapped)"
        " values ('main', 'k' || repeat('a', 20), decode(repeat('0b', 32), 'hex'), 'm1', '\\xff00')"
    )
    assert not any(b"subject_key" in line or b"ff00" in line for line in lines)
    with_keys: list[bytes] = []
    moved = await export(source, "main", read_keys(key).verifiers, with_keys.append, subjects=True)
    assert moved.subjects == 1
    wrong = {
        b'"kind":"key"': (b'"kind":"ring"', "cannot be read"),
        b'"master":"m1"': (b'"master":"m\\u00001"', "cannot be read"),
        b'"wrapped":"ff00"': (b'"wrapped":"ff0"', "cannot be read"),
    }
    there = await make_database(template)
    for words, (instead, match) in wrong.items():
        assert words in with_keys[-1]
        with pytest.raises(Malformed, match=match):
            await arrive(there, [*lines, with_keys[-1].replace(words, instead)])
    with pytest.raises(Malformed, match=r"PostgreSQL refuses what the file holds .* Nothing was imported"):
        await arrive(there, [*lines, with_keys[-1], with_keys[-1]])
    await arrive(there, b"".join(with_keys).splitlines(keepends=True))
    pool = await open_pool(there, 2)
    try:
        assert await pool.fetch(kept) == await source.fetch(kept)
    finally:
        await pool.close()


async def test_a_key_that_the_ledger_says_was_erased_does_not_come_back_by_a_file(
    dsn, make_database, template, tmp_path
) -> None:
    """Lines of keys are proved by nothing, so one of an older export can stand behind a newer ledger."""
    key_id, pool, lines = "k" + "a" * 20, await open_pool(dsn, 4), []
    store = PostgresStore(pool, "main")
    await store.start()
    erased = e.SubjectErased(key=key_id, reason="They asked", by="operator", grant="g", custody=("g",))
    appended = await store.append(Append(stream=f"subject/{key_id}", expected_version=0, events=(erased,)))
    assert isinstance(appended, Appended)
    await store.stop()
    await keep(pool, tmp_path / "main.key")
    await export(pool, "main", read_keys(tmp_path / "main.key").verifiers, lines.append)
    await pool.close()
    older = line_of(
        {"subject": {"kind": "key", "key_id": key_id, "mark": "0b" * 32, "master": "m1", "wrapped": "ff00"}}
    )
    with pytest.raises(Tampered, match=rf"the key {key_id} .* was erased\. Nothing was imported"):
        await arrive(await make_database(template), [*b"".join(lines).splitlines(keepends=True), older])


def test_a_file_that_promises_nothing_is_proved_by_nothing_and_no_line_is_endless(monkeypatch) -> None:
    empty = line_of(Header("main", ORIGIN, 0, ()))
    with pytest.raises(Malformed, match="one event at least"):
        prove([empty], [SigningKey(ORIGIN, b"k" * 32).verifier])
    monkeypatch.setattr(export_file, "EXPORT_LINE_BYTES", 200)
    with pytest.raises(Malformed, match="longer than 200 bytes"):
        list(export_file.lines_of(BytesIO(empty + b"x" * 201)))


async def test_no_change_of_the_file_is_taken_for_the_ledger(left) -> None:
    _, lines, key = left
    keys = read_keys(key).verifiers
    assert prove(lines, keys).size
    chance = random.Random(7)
    tried = [_changed(chance, lines) for _ in range(300)]
    taken = [_entries(one) for one in tried if _is_taken(one, keys)]
    assert len(taken) < 10
    assert all(entries == _entries(lines) for entries in taken), (
        "but an older checkpoint less is no change of the ledger"
    )


def _entries(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if line.startswith(b'{"at":')]


def _is_taken(lines: list[bytes], keys: Any) -> bool:
    try:
        prove(lines, keys)
    except LedgerError:
        return False
    return True


def _changed(chance: random.Random, lines: list[bytes]) -> list[bytes]:
    """Return the lines with one change that a hand with an editor could make."""
    changed, place = list(lines), chance.randrange(len(lines))
    match chance.randrange(6):
        case 0:
            del changed[place]
        case 1:
            changed.insert(place, chance.choice(lines))
        case 2:
            other = (place + chance.randrange(1, len(lines))) % len(lines)
            changed[place], changed[other] = changed[other], changed[place]
        case 3:
            changed = changed[:place]
        case 4:
            changed[place] = changed[place][: chance.randrange(len(changed[place]))]
        case _:
            at = chance.randrange(len(changed[place]) - 1)
            bit = bytes([changed[place][at] ^ 1 << chance.randrange(7)])
            changed[place] = changed[place][:at] + bit + changed[place][at + 1 :]
    return changed


async def test_the_commands_move_a_ledger_to_another_server(dsn: str, make_database, tmp_path: Path) -> None:
    there, file, old, new = await make_database(), tmp_path / "main.ledger", tmp_path / "old", tmp_path / "new"

    async def command(dsn: str, data: Path, *arguments: Any) -> tuple[int, Any]:
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *map(str, arguments),
            env=environment({"INTENTLEDGER_DSN": dsn, "INTENTLEDGER_DATA": str(data)}),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 30)
        return process.returncode or 0, (json.loads(out) if out else err.decode())

    async with doorway(dsn) as door:
        await live(door)
        head = await door.head()
        code, moved = await command(dsn, old, "export", file, "--json")
        assert (code, moved["size"] >= head, oct(file.stat().st_mode & 0o777)) == (0, True, "0o600"), moved
        door.bank.gate.set()
        code, said = await command(dsn, old, "export", tmp_path / "no" / "where")
        assert (code, said.endswith("/no: No such file or directory. Nothing was exported.\n")) == (2, True), said
    (vkey,) = moved["keys"]
    other = str(SigningKey(ORIGIN, os.urandom(32)).verifier)
    code, said = await command(there, new, "import", file, "--key", other)
    assert (code, "Nothing of it can be believed. Nothing was imported." in said) == (1, True), said
    code, arrived = await command(there, new, "import", file, "--key", vkey, "--json")
    assert (code, arrived["size"], arrived["trusted"]) == (0, moved["size"], True), arrived
    pool = await open_pool(there, 2)
    views = await pool.fetch("select distinct position, failure from intent_ledger.projections")
    await pool.close()
    assert [tuple(view) for view in views] == [(moved["size"], None)]

"""A log whose database is lost for good ends, and another begins on what was restored."""

import os

import asyncpg
import pytest
from commands import Person
from logged import KEY, ORIGIN, logged

import sql
from ledger import events as e
from ledger.errors import Corrupt
from ledger.log.directory import Directory
from ledger.log.keeper import Keeper
from ledger.log.keys import read_keys, write_first_key
from ledger.store import Append

NEXT = "intent-ledger/main-after-the-fire"


async def test_a_ledger_restored_from_an_older_backup_goes_on_under_another_log(dsn, pool, store, tmp_path):
    keys, directory = tmp_path / "main.key", Directory(tmp_path / "main")
    config = tmp_path / "intentledger.toml"
    config.write_text(f'[log]\norigin = "{ORIGIN}"\nkeys = "{keys}"\ndirectory = "{tmp_path / "main"}"\n')
    person = Person(tmp_path, "http://127.0.0.1:1", "unused")
    settings = {"INTENTLEDGER_DSN": dsn, "INTENTLEDGER_CONFIG": str(config)}
    await store.append(Append(stream="test/1", expected_version=0, events=tuple(e.IntentAborted() for _ in range(3))))
    owner = await asyncpg.connect(dsn)
    (note,) = await logged(owner, [3])
    write_first_key(keys, KEY)
    directory.file.parent.mkdir()
    directory.file.write_text(str(note))
    await owner.execute("alter table intent_ledger.events disable trigger all")
    await owner.execute("delete from intent_ledger.events where position > 2")  # the backup is a little older
    await owner.execute("update intent_ledger.heads set position = 2")
    await owner.close()
    with pytest.raises(Corrupt):
        await Keeper(pool, "main", ORIGIN, keys, (directory,)).open(os.urandom)

    same = await person.run("log", "end", ORIGIN, **settings)
    assert (same.code, "another origin" in same.err) == (2, True), "it would pass for the one that ends"
    config.write_text(config.read_text().replace(ORIGIN, NEXT))
    other = await person.run("log", "end", "intent-ledger/other", **settings)
    assert (other.code, "Nothing was changed" in other.err) == (2, True)
    async with pool.acquire() as elsewhere:
        await elsewhere.fetchval(sql.query("log.keep"), "main")
        running = await person.run("log", "end", ORIGIN, **settings)
        await elsewhere.fetchval(sql.query("log.let_go"), "main")
    assert (running.code, "A process keeps the log" in running.err) == (2, True), "it would go on in the middle"
    assert read_keys(keys).signing, "what was refused has moved nothing"
    ended = await person.run("log", "end", ORIGIN, **settings)
    assert (ended.code, ended.err) == (0, "")

    again = Keeper(pool, "main", NEXT, keys, (directory,))
    await again.open(os.urandom)
    await again.start()
    await again.stop()  # which covers and publishes what there is
    assert directory.read().text.splitlines()[:2] == [NEXT, "2"]
    evidence = directory.file.with_name("checkpoint.ended-1").read_text()
    assert (evidence, read_keys(keys.with_name("main.key.ended-1")).signing[0].secret) == (str(note), KEY.secret)

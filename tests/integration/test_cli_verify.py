"""`intentledger verify`: the ledger as the log signed it, or the first position of which that is not true."""

import json

import asyncpg
import pytest
from commands import Person
from histories import ledger_of
from logged import KEY, logged
from views import write

from gateway.cli_verify import _outside, _trusted
from ledger.errors import Corrupt, Misconfigured
from ledger.log.keys import Keyring, write_keys


async def test_verify_believes_keys_and_checkpoints_that_are_not_in_the_database(dsn, pool, store, tmp_path):
    events = ledger_of(9, 30)
    await write(pool, events)
    owner = await asyncpg.connect(dsn)
    *_, newest = await logged(owner, (50, len(events) - 3))
    data = tmp_path / "data"
    write_keys(data / "log" / "main.key", Keyring((KEY,)))
    (data / "log" / "main").mkdir()
    (data / "log" / "main" / "checkpoint").write_text(str(newest))
    person = Person(tmp_path, "http://localhost", "none")
    here = {"INTENTLEDGER_DSN": dsn, "INTENTLEDGER_DATA": str(data)}

    answer = await person.run("verify", **here)
    assert answer.code == 0, answer.err
    signed = len(events) - 3
    first, second, third = answer.out.splitlines()
    assert first.startswith(
        f"All {signed:,} events up to position {signed:,} of the ledger 'main' are those that the log "
    )
    assert second == "The newest 3 have no checkpoint yet."
    assert third == f"A checkpoint from outside the database covers {signed:,} of them."

    await owner.execute("alter table intent_ledger.events disable trigger all")
    await owner.execute("update intent_ledger.events set at = at + interval '1 second' where position = 7")
    await owner.close()
    answer = await person.run("verify", "--key", KEY.verifier, "--json", **here)
    found = json.loads(answer.out)
    assert (answer.code, found["proved"], found["wrong"]["position"]) == (1, 0, 7)
    assert found["wrong"]["sentence"].startswith("The event at position 7 is not the one whose hash ")


def test_without_keys_nothing_is_believed(tmp_path):
    with pytest.raises(Misconfigured, match="name a verifier key with --key"):
        _trusted((), tmp_path / "none.key")
    with pytest.raises(Misconfigured, match="--key cannot be used"):
        _trusted((str(KEY.verifier)[:-3],), tmp_path / "none.key")
    assert _trusted((str(KEY.verifier),), tmp_path / "none.key") == (KEY.verifier,)


def test_a_checkpoint_that_cannot_be_read_is_said_and_not_passed_over(tmp_path):
    assert _outside(tmp_path, ()) == {}
    with pytest.raises(Misconfigured, match="cannot be read as a checkpoint"):
        _outside(tmp_path, (tmp_path / "none",))
    (tmp_path / "checkpoint").write_text("hello")
    with pytest.raises(Misconfigured, match="cannot be read as a checkpoint"):
        _outside(tmp_path / "elsewhere", (tmp_path / "checkpoint",))
    with pytest.raises(Corrupt):
        _outside(tmp_path, ())

"""`intentledger verify`: the ledger as the log signed it, or the first position of which that is not true."""

import json

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from commands import Person
from histories import ledger_of
from logged import KEY, WITNESS, logged, signed
from views import write

from gateway.cli_verify import _answers, _trusted
from ledger.errors import Misconfigured
from ledger.log.checkpoint import parse_checkpoint
from ledger.log.keys import Keyring, write_keys
from ledger.log.signed_note import Note


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
    file = data / "log" / "main" / "checkpoint"
    assert third == f"Compared with the checkpoints outside the database: {file} ({signed:,})."

    await owner.execute("alter table intent_ledger.events disable trigger all")
    await owner.execute("update intent_ledger.events set at = at + interval '1 second' where position = 7")
    await owner.close()
    answer = await person.run("verify", "--key", KEY.verifier, "--json", **here)
    found = json.loads(answer.out)
    assert (answer.code, found["proved"], found["wrong"]["position"]) == (1, 0, 7)
    assert found["wrong"]["sentence"].startswith("The event at position 7 is not the one whose hash ")


async def test_verify_asks_what_is_configured_and_says_what_it_could_not_ask(dsn, pool, store, tmp_path):
    events = ledger_of(9, 30)
    await write(pool, events)
    owner = await asyncpg.connect(dsn)
    (note,) = await logged(owner, (len(events),))
    await owner.close()
    write_keys(tmp_path / "data" / "log" / "main.key", Keyring((KEY,)))
    known = {"here": note}

    async def show(_):
        text = known["here"].text
        return web.Response(text=str(Note(text, (*known["here"].signatures, WITNESS.cosign(text, 1_800_000_000)))))

    application = web.Application()
    application.add_routes([web.get("/{origin}/checkpoint", show)])
    person = Person(tmp_path, "http://localhost", "none")
    config = tmp_path / "log.toml"
    here = {"INTENTLEDGER_DSN": dsn, "INTENTLEDGER_DATA": str(tmp_path / "data"), "INTENTLEDGER_CONFIG": str(config)}
    async with TestServer(application) as server:
        config.write_text(f'[[log.witnesses]]\nurl = "{server.make_url("")}"\nkey = "{WITNESS.verifier}"\n')
        answer = await person.run("verify", **here)
        compared = (
            f"Compared with the checkpoints outside the database: witness witness.example/w1 ({note_size(note):,})."
        )
        assert (answer.code, answer.out.splitlines()[-1]) == (0, compared)
        known["here"] = signed(len(events) + 1, b"x" * 32, KEY)
        answer = await person.run("verify", "--json", **here)
        found = json.loads(answer.out)
        assert (answer.code, found["wrong"]["position"]) == (1, len(events) + 1), (
            "the end was cut off, says the witness"
        )
    credentials = 'credentials = { access_key_id = { env = "NOT_HERE" }, secret_access_key = { env = "NOR_THIS" } }'
    with config.open("a") as more:
        more.write(f'[log.objects]\nbucket = "checkpoints"\nregion = "eu-central-1"\n{credentials}\n')
    answer = await person.run("verify", **here)
    assert answer.code == 3, "nothing is wrong, and not everything is known"
    assert "No checkpoint from outside was compared" in answer.out
    assert "Not known: what witness witness.example/w1 has." in answer.out
    assert "Not known: what [log.objects] has." in answer.out
    answer = await person.run("verify", "--json", **here)
    places = {one["place"]: (one["size"], one["failure"] is None) for one in json.loads(answer.out)["places"]}
    assert list(places.values()) == [(None, True), (None, False), (None, False)], "unknown is a value"


def note_size(note):
    return parse_checkpoint(note.text).size


def test_without_keys_nothing_is_believed(tmp_path):
    with pytest.raises(Misconfigured, match="name a verifier key with --key"):
        _trusted((), tmp_path / "none.key")
    with pytest.raises(Misconfigured, match="--key cannot be used"):
        _trusted((str(KEY.verifier)[:-3],), tmp_path / "none.key")
    assert _trusted((str(KEY.verifier),), tmp_path / "none.key") == (KEY.verifier,)


def test_a_checkpoint_that_cannot_be_read_is_said_and_not_passed_over(tmp_path):
    assert _answers(()) == []
    with pytest.raises(Misconfigured, match="cannot be read as a checkpoint"):
        _answers((tmp_path / "none",))
    (tmp_path / "checkpoint").write_text("hello")
    with pytest.raises(Misconfigured, match="cannot be read as a checkpoint"):
        _answers((tmp_path / "checkpoint",))

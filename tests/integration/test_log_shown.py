"""The door shows no checkpoint that the log's own keys have not signed, whatever stands in the database."""

import asyncpg
import msgspec
import pytest
from doorway import doorway, intent
from logged import ATTACKER, KEY, ORIGIN, logged, signed

from gateway.log_settings import LogSettings
from gateway.log_signed import SignedLog
from ledger.log.keys import Keyring, write_keys
from ledger.log.signed_note import SigningKey, VerifierKey


@pytest.fixture
async def door(dsn, tmp_path):
    write_keys(tmp_path / "log.key", Keyring((KEY,)))
    async with doorway(dsn) as opened:
        service = opened.service
        settings = LogSettings(origin=ORIGIN, keys=tmp_path / "log.key", directory=tmp_path)
        log = SignedLog(service.pool, service.store.ledger, settings)
        opened.door.service = msgspec.structs.replace(service, log=log)
        yield opened


async def shown(door, path="checkpoint"):
    """Return status and body of what the door shows."""
    headers = {"Authorization": f"Bearer {door.token}"}
    async with door.session.get(f"{door.url}/v1/log/{path}", headers=headers) as response:
        return response.status, await response.text()


async def begun(door, *keys):
    """Record an intent and sign the log; return the intent's id and the checkpoint."""
    _, said, _ = await door.submit(intent(("bank.post", "88", 1)))
    async with door.service.pool.acquire() as connection:
        (note,) = await logged(connection, [await door.head()], *keys)
    return said["id"], note


async def put(dsn, size, note):
    owner = await asyncpg.connect(dsn)
    await owner.execute(
        "insert into intent_ledger.log_checkpoints (ledger, size, note) values ('main', $1, $2)"
        " on conflict (ledger, size) do update set note = excluded.note",
        size,
        note,
    )
    await owner.close()


async def test_what_the_log_has_signed_is_verified_once_and_shown(door, monkeypatch):
    _, note = await begun(door)
    verified, verifies = [], VerifierKey.verifies

    def counted(key, text, signature):
        verified.append(key)
        return verifies(key, text, signature)

    monkeypatch.setattr(VerifierKey, "verifies", counted)
    for _ in range(5):
        assert await shown(door) == (200, str(note))
    assert len(verified) == 1, "a signature costs more than the rest of the answer"


async def test_a_checkpoint_that_somebody_else_put_there_is_not_shown(door, dsn):
    said, note = await begun(door)
    head = await door.head()
    forged = signed(head + 5, b"x" * 32, ATTACKER)
    await put(dsn, head + 5, str(forged))
    for path in ("checkpoint", "proofs/inclusion?position=1", "proofs/consistency?from=1"):
        status, text = await shown(door, path)
        assert (status, "No key of the log that is known here has signed" in text) == (503, True), path
    status, text = await shown(door, f"../intents/{said}/receipt")
    assert (status, "No key of the log" in text) == (503, True)
    for wrong in (
        str(note),  # an older one in the place of the newest
        str(forged).replace(forged.signatures[0].line, note.signatures[0].line),  # our signature over another text
        str(signed(head + 5, b"x" * 32, SigningKey("else/where", b"k" * 32), origin="else/where")),
        "nonsense",
    ):
        await put(dsn, head + 5, wrong)
        status, text = await shown(door)
        assert (status, '"type":"urn:' in text) == (500, True), wrong


async def test_keys_are_read_again_when_they_change_and_without_any_nobody_can_tell(door, tmp_path):
    _, note = await begun(door, ATTACKER)
    assert (await shown(door))[0] == 503
    write_keys(tmp_path / "log.key", Keyring((KEY, ATTACKER)))
    assert await shown(door) == (200, str(note))
    write_keys(tmp_path / "log.key", Keyring((KEY,)))
    assert (await shown(door))[0] == 503, "what was believed under other keys is not believed for ever"
    (tmp_path / "log.key").unlink()
    assert await shown(door) == (200, str(note)), "whoever asks verifies it; a process that only watches cannot"


async def test_keys_that_cannot_be_read_are_said_to_be_what_is_the_matter(door, tmp_path):
    _, note = await begun(door)
    (tmp_path / "log.key").write_text("nonsense")
    status, text = await shown(door)
    assert (status, "keys of the log cannot be used" in text, str(tmp_path) in text) == (503, True, False)
    write_keys(tmp_path / "log.key", Keyring((KEY,)))
    assert await shown(door) == (200, str(note))

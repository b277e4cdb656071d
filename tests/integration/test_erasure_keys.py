"""The keys behind erasure: rotated, restored, missing and of others; and the log, which still verifies without them."""

import base64
import json
import os

import pytest
from commands import Person
from doorway import doorway, eventually
from personal_world import CUSTOMER, MAIL, PLAIN, Customers, update

from gateway.keyring_file import KeyringFile
from ledger.errors import Misconfigured, NotReady
from ledger.log.keeper import Keeper
from ledger.log.keys import read_keys
from ledger.log.verify import verify_log
from ledger.moving import export
from ledger.sealing import ERASED, MARK
from ledger.subject_keys import StoredSubjectKeys
from projections.catalogue import PROJECTIONS
from projections.replay import replay

ASKS = '@id("P-1") permit(principal, action == Action::"crm.update#with_approval", resource);'


@pytest.fixture
def keyring(tmp_path):
    return KeyringFile(tmp_path / "personal.keyring", os.urandom)


@pytest.fixture
async def door(dsn, keyring):
    async with doorway(dsn, None, Customers(), keyring=keyring) as found:
        yield found


async def mail_of(door, intent):
    return (await door.get(f"/v1/intents/{intent}"))[1]["actions"][0]["params"]["mail"]


async def test_master_keys_rotate_while_it_runs_and_what_old_copies_hold_opens_no_more(door, keyring):
    _, shown, _ = await door.submit(update())
    old = keyring()
    async with door.service.pool.acquire() as connection:
        copy = await connection.fetchrow("select * from intent_ledger.subject_keys")
    KeyringFile(keyring.path, os.urandom).replace(old.rotated(os.urandom))
    assert await mail_of(door, shown["id"]) == MAIL
    keys = door.service.subject_keys
    assert await keys.rewrap() == 1
    assert await keys.rewrap() == 0
    KeyringFile(keyring.path, os.urandom).replace(keyring().without_old())
    assert await mail_of(door, shown["id"]) == MAIL
    _, again, _ = await door.submit(update())
    assert await mail_of(door, again["id"]) == MAIL
    with pytest.raises(NotReady):
        keyring().unwrap(
            "main", copy["key_id"], type("Copy", (), {"master": copy["master"], "wrapped": copy["wrapped"]})
        )


async def test_master_keys_are_destroyed_by_who_says_so_and_only_where_their_keys_were_wrapped_anew(
    door, dsn, make_database, template, keyring, tmp_path
):
    _, shown, _ = await door.submit(update())
    operator = Person(tmp_path, door.url, door.token)
    here = {"INTENTLEDGER_KEYRING": str(keyring.path), "INTENTLEDGER_DSN": dsn}
    assert (await operator.run("subjects", "rotate", **here)).code == 0
    asked = await operator.run("subjects", "retire", **here)
    assert (asked.code, "--yes" in asked.err, len(keyring().masters)) == (2, True, 2)
    elsewhere = here | {"INTENTLEDGER_DSN": await make_database(template)}
    refused = await operator.run("subjects", "retire", "--yes", **elsewhere)
    assert (refused.code, "No ledger of this database" in refused.err, len(keyring().masters)) == (2, True, 2)
    assert (await operator.run("subjects", "retire", "--yes", **here)).code == 0
    assert len(keyring().masters) == 1
    assert await mail_of(door, shown["id"]) == MAIL


def test_two_cannot_change_a_keyring_at_once(keyring):
    keyring.ensure(needed=False)
    with keyring.changing(), pytest.raises(NotReady, match="Somebody else"), keyring.changing():
        pass
    with keyring.changing():
        keyring.replace(keyring().rotated(os.urandom))
    assert len(keyring().masters) == 2


async def test_a_key_that_comes_back_with_an_old_copy_is_destroyed_again_at_the_start(door, keyring):
    _, shown, _ = await door.submit(update())
    async with door.service.pool.acquire() as connection:
        copy = await connection.fetchrow("select * from intent_ledger.subject_keys")
        await door.post(f"/v1/subjects/{CUSTOMER}/erase", {"reason": "asked"})
        await connection.execute(
            "insert into intent_ledger.subject_keys values ($1, $2, $3, $4, $5)",
            *copy.values(),
        )
    assert await mail_of(door, shown["id"]) == MAIL  # which is why a start looks
    await StoredSubjectKeys(door.service.pool, "main", keyring, os.urandom).start()
    assert await mail_of(door, shown["id"]) == ERASED


async def test_a_key_that_comes_back_with_an_old_copy_is_never_wrapped_anew(door, dsn, keyring, tmp_path):
    _, shown, _ = await door.submit(update())
    async with door.service.pool.acquire() as connection:
        copy = await connection.fetchrow("select * from intent_ledger.subject_keys")
        await door.post(f"/v1/subjects/{CUSTOMER}/erase", {"reason": "asked"})
        await connection.execute("insert into intent_ledger.subject_keys values ($1, $2, $3, $4, $5)", *copy.values())
    operator = Person(tmp_path, door.url, door.token)
    here = {"INTENTLEDGER_KEYRING": str(keyring.path), "INTENTLEDGER_DSN": dsn}
    rotated = await operator.run("subjects", "rotate", "--json", **here)
    assert (rotated.code, json.loads(rotated.out)["rewrapped"]) == (0, 0), rotated.err
    assert await mail_of(door, shown["id"]) == ERASED


async def test_a_ledger_is_bound_to_one_keyring_and_a_lost_one_is_not_replaced(door, tmp_path):
    other = KeyringFile(tmp_path / "other.keyring", os.urandom)
    other.ensure(needed=False)
    keys = StoredSubjectKeys(door.service.pool, "main", other, os.urandom)
    with pytest.raises(Misconfigured, match="another keyring"):
        await keys.start()
    assert await keys.bound()
    with pytest.raises(Misconfigured, match="restore it"):
        KeyringFile(tmp_path / "lost.keyring", os.urandom).ensure(needed=await keys.bound())


async def test_a_process_without_a_keyring_takes_nothing_personal(dsn):
    async with doorway(dsn, None, Customers()) as door:
        status, problem, _ = await door.submit(update())
        assert (status, problem["type"]) == (503, "urn:intent-ledger:problem:not-ready")
        assert (await door.get("/v1/intents"))[1]["items"] == []


async def test_the_log_verifies_and_receipts_hold_after_an_erasure(door, tmp_path):
    _, shown, _ = await door.submit(update())
    key = tmp_path / "main.key"
    before = await kept(door, key)
    await door.post(f"/v1/subjects/{CUSTOMER}/erase", {"reason": "asked"})
    after = await kept(door, key)
    assert (before.wrong, after.wrong) == (None, None)
    assert after.proved == before.proved + 1
    headers = {"Authorization": f"Bearer {door.token}"}
    async with door.session.get(f"{door.url}/v1/intents/{shown['id']}/receipt", headers=headers) as response:
        status, receipt = response.status, await response.text()
    entries = [base64.b64decode(line[6:]).decode() for line in receipt.splitlines() if line.startswith("extra ")]
    assert status == 200
    assert MARK in entries[0]
    assert [one for one in PLAIN if one in receipt + "".join(entries)] == []


async def test_views_rebuilt_and_a_ledger_exported_after_an_erasure_tell_nothing(door, tmp_path):
    _, shown, _ = await door.submit(update())
    await door.post(f"/v1/subjects/{CUSTOMER}/erase", {"reason": "asked"})
    key, pool = tmp_path / "main.key", door.service.pool
    await kept(door, key)
    assert all(one.equal for one in await replay(pool, "main", PROJECTIONS, swap=True))
    lines = []
    await export(pool, "main", read_keys(key).verifiers, lines.append, subjects=True)
    said = b"".join(lines).decode()
    assert shown["id"] in said
    _, again, _ = await door.get(f"/v1/intents/{shown['id']}")
    entries = (await door.get("/v1/audit"))[1]
    assert [one for one in PLAIN if one in said + json.dumps([again, entries])] == []


async def kept(door, key):
    """Cover everything by a checkpoint, and verify all of it."""
    keeper = Keeper(door.service.pool, "main", "intent-ledger/main", key)
    await keeper.open(os.urandom)
    await keeper.start()
    await keeper.stop()
    async with door.service.pool.acquire() as reader, reader.transaction():
        return await verify_log(reader, "main", read_keys(key).verifiers, {})


async def test_people_approve_what_they_can_read_and_erase_by_command(door, tmp_path):
    await door.post("/v1/policies", {"cedar": ASKS, "activate": True})
    agent = await door.grant("payment-specialist", "crm.*")
    _, waiting, _ = await agent.submit(update())
    assert waiting["phase"] == "awaiting_approval"
    dana = Person(tmp_path, door.url, (await door.grant("dana", kind="person")).token, "dana")
    approved = await dana.run("approve", waiting["id"], "--yes")
    assert approved.code == 0, approved.err
    assert f'"{MAIL}"' in approved.out
    assert f"of {CUSTOMER}" in approved.out
    assert MARK not in approved.out
    assert f"Digest       {waiting['approval']['digest']}" in approved.out
    await eventually(lambda: _committed(door, waiting["id"]))
    operator = Person(tmp_path, door.url, door.token, "operator")
    erased = await operator.run("subjects", "erase", CUSTOMER, "--reason", "asked", "--yes")
    assert erased.code == 0, erased.err
    assert CUSTOMER not in erased.out
    assert await mail_of(door, waiting["id"]) == ERASED


async def _committed(door, intent):
    return (await door.get(f"/v1/intents/{intent}"))[1]["phase"] == "committed"

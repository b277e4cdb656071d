"""Erasing while everything else goes on: whatever the order, nothing personal is recorded, shown or sent afterwards."""

import asyncio
import json
import os

import pytest
from doorway import doorway, eventually
from personal_world import MAIL, NAME, PHONE, Customers, update
from test_erasure import caught_up, dump, erase, told

from gateway.keyring_file import KeyringFile
from ledger.errors import Permanent
from ledger.intents import Guarantee
from ledger.sealing import ERASED

ENDED = {"committed", "aborted", "compensated", "mixed", "denied"}


@pytest.fixture
def keyring(tmp_path):
    return KeyringFile(tmp_path / "personal.keyring", os.urandom)


async def rested(door, intent):
    async def found():
        shown = (await door.get(f"/v1/intents/{intent}"))[1]
        return shown if shown["phase"] in ENDED or shown["attention"] else None

    return await eventually(found)


async def test_what_is_answered_after_its_subject_was_erased_is_sealed_all_the_same(dsn, keyring, monkeypatch):
    crm = Customers(Guarantee.IDEMPOTENT)
    async with doorway(dsn, None, crm, keyring=keyring) as door:
        commit = crm.commit

        async def committed(call, receipt):
            await erase(door)
            return await commit(call, receipt)

        monkeypatch.setattr(crm, "commit", committed)
        _, shown, _ = await door.submit(update(), wait=None)
        ended = await rested(door, shown["id"])
        assert (ended["phase"], ended["actions"][0]["step"]) == ("committed", "done")
        assert told(json.dumps(ended) + await dump(door)) == []
        assert ended["actions"][0]["result"]["said"] == f"Dear {ERASED}, it is done."


async def test_what_an_outside_system_says_when_it_lets_go_of_somebody_erased_is_not_kept(dsn, keyring, monkeypatch):
    crm = Customers()
    async with doorway(dsn, None, crm, keyring=keyring) as door:
        cedar = '@id("P-1") permit(principal, action == Action::"crm.update#with_approval", resource);'
        await door.post("/v1/policies", {"cedar": cedar, "activate": True})
        agent = await door.grant("payment-specialist", "crm.*")
        _, waiting, _ = await agent.submit(update())

        async def aborted(call, receipt):
            raise Permanent(f"What {NAME} <{MAIL}> holds cannot be let go.")

        monkeypatch.setattr(crm, "abort", aborted)
        await erase(door)
        asks = await rested(door, waiting["id"])
        assert asks["attention"]
        assert told(json.dumps(asks) + await dump(door)) == []


async def test_two_who_erase_at_once_are_told_the_same_and_one_event_says_so(dsn, keyring):
    async with doorway(dsn, None, Customers(), keyring=keyring) as door:
        await door.submit(update())
        answers = await asyncio.gather(*(erase(door) for _ in range(6)))
        assert {status for status, _, _ in answers} == {200}
        assert len({json.dumps(said) for _, said, _ in answers}) == 1
        count = "select count(*) from intent_ledger.events where type = 'SubjectErased'"
        assert await door.service.pool.fetchval(count) == 1


@pytest.mark.parametrize("guarantee", [Guarantee.ATOMIC, Guarantee.IDEMPOTENT, Guarantee.BLIND])
async def test_erasing_while_intents_of_theirs_come_in_are_worked_and_looked_at_leaves_nothing(dsn, keyring, guarantee):
    crm = Customers(guarantee, facts=guarantee is not Guarantee.BLIND)
    async with doorway(dsn, None, crm, keyring=keyring) as door:
        _, first, _ = await door.submit(update())
        taken = [first["id"]]

        async def comes_in(number):
            await asyncio.sleep(number * 0.004)  # spread over the erasures, not waited for
            status, said, _ = await door.submit(update(), wait=None)
            assert status in {200, 202, 503}, said
            if status != 503:
                taken.append(said["id"])
                await door.post(f"/v1/intents/{said['id']}/notes", {"text": f"{MAIL} wrote", "data": {MAIL: PHONE}})

        async def looks():
            for path in ("/v1/intents", "/v1/audit", f"/v1/intents/{first['id']}/timeline", "/v1/exposure"):
                assert (await door.get(path))[0] == 200

        erasures = [asyncio.create_task(_again(door)) for _ in range(3)]
        await asyncio.gather(*(comes_in(number) for number in range(25)), *(looks() for _ in range(4)), *erasures)
        for intent in taken:
            await rested(door, intent)
        status, _, _ = await erase(door)  # whoever came back in between is somebody new, and is erased as well
        assert status == 200
        for intent in taken:
            shown = await rested(door, intent)
            assert told(json.dumps(shown)) == [], shown["phase"]
        await eventually(lambda: caught_up(door))
        assert told(await dump(door)) == []


async def _again(door):
    for _ in range(8):
        status, _, _ = await erase(door)
        assert status in {200, 404, 503}


async def test_a_note_about_somebody_erased_is_refused_because_nothing_could_be_found_in_it(dsn, keyring):
    async with doorway(dsn, None, Customers(), keyring=keyring) as door:
        _, shown, _ = await door.submit(update())
        await erase(door)
        head = await door.head()
        status, problem, _ = await door.post(f"/v1/intents/{shown['id']}/notes", {"text": f"{MAIL} wrote again"})
        assert (status, problem["type"]) == (409, "urn:intent-ledger:problem:conflict")
        assert told(json.dumps(problem)) == []
        assert await door.head() == head

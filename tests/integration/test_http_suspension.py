"""Suspending a grant through the real door: nothing more is decided under it, until a person resumes it."""

import asyncio

import pytest
from doorway import doorway, eventually, intent
from views import inline_tables_are_what_events_say

ODD = {"reason": "It posts at night."}
FINE = {"reason": "It was the migration."}


@pytest.fixture
async def door(dsn):
    async with doorway(dsn) as opened:
        yield opened
        await inline_tables_are_what_events_say(dsn)


def one(number=1):
    return intent(("bank.post", "88", number))


async def test_a_suspended_agent_is_told_so_and_goes_on_once_it_is_resumed(door):
    agent = await door.grant("refunder", "bank.*", may_delegate=True)
    child = await agent.grant("helper", "bank.*")
    assert (await agent.submit(one()))[1]["phase"] == "committed"
    status, said, _ = await door.post(f"/v1/grants/{agent.id}/suspend", ODD)
    assert (status, set(said["suspended"])) == (200, {agent.id, child.id})
    for holder in (agent, child):
        status, problem, _ = await holder.submit(one(2))
        assert (status, problem["type"]) == (401, "urn:intent-ledger:problem:unauthenticated")
        assert f"Grant {agent.id} is suspended" in problem["detail"]
        assert "resumed" in problem["detail"]
    _, shown, _ = await door.get(f"/v1/grants/{child.id}")
    assert (shown["revoked"], shown["suspended"]) == (False, True)
    status, shown, _ = await door.post(f"/v1/grants/{agent.id}/resume", FINE)
    assert (status, shown["suspended"]) == (200, False)
    assert (await agent.submit(one(2)))[1]["phase"] == "committed"
    assert (await child.submit(one(3)))[1]["phase"] == "committed"


async def test_doing_it_again_is_harmless_and_recorded_once(door):
    agent = await door.grant("refunder", "bank.*")
    for verb, body in (("suspend", ODD), ("suspend", ODD), ("resume", FINE), ("resume", FINE)):
        assert (await door.post(f"/v1/grants/{agent.id}/{verb}", body))[0] == 200
    both = await asyncio.gather(*(door.post(f"/v1/grants/{agent.id}/suspend", ODD) for _ in range(4)))
    assert {status for status, _, _ in both} == {200}
    _, feed, _ = await door.get("/v1/events")
    types = [line["type"] for line in feed["items"] if line["stream"] == f"grant/{agent.id}"]
    assert types == ["GrantIssued", "GrantSuspended", "GrantResumed", "GrantSuspended"]


async def test_only_a_person_above_a_grant_suspends_or_resumes_it(door):
    manager = await door.grant("manager-x", kind="person", may_delegate=True)
    other = await door.grant("manager-y", kind="person", may_delegate=True)
    boss = await manager.grant("boss", "bank.*", may_delegate=True)
    agent = await boss.grant("refunder", "bank.*")
    for verb, body in (("suspend", ODD), ("resume", FINE)):
        for holder, status in ((boss, 403), (other, 403), (agent, 403 if verb == "suspend" else 401), (manager, 200)):
            answered, problem, _ = await holder.post(f"/v1/grants/{agent.id}/{verb}", body)
            assert answered == status, (verb, problem)
    assert (await manager.post(f"/v1/grants/{manager.id}/suspend", ODD))[0] == 403
    assert (await door.post("/v1/grants/grant-operator/suspend", ODD))[0] == 403
    assert (await door.post("/v1/grants/grant-nobody/resume", FINE))[0] == 404
    assert (await door.post(f"/v1/grants/{agent.id}/suspend", {}))[0] == 422


async def test_a_revoked_grant_is_not_resumed_and_a_suspended_one_can_be_revoked(door):
    agent = await door.grant("refunder", "bank.*")
    await door.post(f"/v1/grants/{agent.id}/suspend", ODD)
    assert (await door.post(f"/v1/grants/{agent.id}/revoke", ODD))[0] == 200
    status, problem, _ = await door.post(f"/v1/grants/{agent.id}/resume", FINE)
    assert status == 409
    assert "revoked for good" in problem["detail"]
    _, shown, _ = await door.get(f"/v1/grants/{agent.id}")
    assert shown["revoked"]
    assert (await agent.submit(one()))[1]["detail"].startswith("This token is not alive.")


async def test_an_undecided_intent_of_a_suspended_grant_aborts(door):
    agent = await door.grant("refunder", "bank.*")
    door.bank.gate.clear()
    _, body, _ = await agent.submit(one(), wait=None)
    await eventually(lambda: _asked(door))
    _, said, _ = await door.post(f"/v1/grants/{agent.id}/suspend", ODD)
    assert said["aborting"] == [body["id"]]
    door.bank.gate.set()

    async def aborted():
        _, shown, _ = await door.get(f"/v1/intents/{body['id']}")
        return shown["phase"] == "aborted"

    await eventually(aborted)


async def test_the_audit_tells_who_suspended_and_who_resumed(door):
    agent = await door.grant("payment-specialist", "bank.*")
    await door.post(f"/v1/grants/{agent.id}/suspend", ODD)
    await door.post(f"/v1/grants/{agent.id}/resume", FINE)
    position = await door.head()
    _, page, _ = await door.get(f"/v1/audit?agent=payment-specialist&min_position={position}")
    sentences = {entry["kind"]: entry["sentence"] for entry in page["items"]}
    assert sentences["suspend"] == f"Operator suspended {agent.id} and everything below it: It posts at night"
    assert sentences["resume"] == f"Operator resumed {agent.id}: It was the migration"
    _, page, _ = await door.get("/v1/audit?outcome=suspended")
    assert [entry["whom"] for entry in page["items"]] == [["Payment Specialist Agent"]]


async def _asked(door):
    return door.bank.asked

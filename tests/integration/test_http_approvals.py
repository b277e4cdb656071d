"""Approvals through the real door: who may answer, to what exactly, how often and how long."""

import asyncio

import pytest
from besieged import happened
from doorway import doorway, eventually, intent

POLICIES = (
    '@id("P-1") permit (principal, action, resource) when { context.params.amount < 50 };\n'
    '@id("P-2") permit (principal, action == Action::"bank.post#with_approval", resource);\n'
    '@id("P-3") @approvers("manager,dana") @quorum("2") '
    'permit (principal, action == Action::"mail.post#with_approval", resource);'
)
LARGE = intent(("bank.post", "88", 120))


@pytest.fixture
async def door(dsn):
    async with doorway(dsn) as opened:
        status, body, _ = await opened.post("/v1/policies", {"cedar": POLICIES, "activate": True})
        assert status == 201, body
        yield opened


@pytest.fixture
async def agent(door):
    manager = await door.grant("manager-x", kind="person", may_delegate=True)
    return await manager.grant("payments", may_delegate=True)


@pytest.fixture
async def approver(door):
    return await door.grant("dana", kind="person")


async def waiting(agent, body=LARGE):
    status, shown, _ = await agent.submit(body)
    assert (status, shown["phase"]) == (202, "awaiting_approval"), shown
    return shown


async def approve(holder, shown, **change):
    return await holder.post(
        f"/v1/intents/{shown['id']}/approve", {"digest": shown["digest"], "note": "seen", **change}
    )


async def reject(holder, shown, **change):
    return await holder.post(f"/v1/intents/{shown['id']}/reject", {"digest": shown["digest"], "reason": "no", **change})


async def ends(holder, shown, phase):
    async def ended():
        return (await holder.get(f"/v1/intents/{shown['id']}"))[1]["phase"] == phase

    assert await eventually(ended)


def refused(answer, status, slug):
    found, problem, _ = answer
    assert (found, problem["type"]) == (status, f"urn:intent-ledger:problem:{slug}"), problem


async def test_what_waits_for_a_person_is_prepared_shown_and_commits_when_it_is_approved(door, agent, approver):
    shown = await waiting(agent)
    assert (shown["decision"]["effect"], "P-2" in shown["decision"]["policies"]) == ("escalate", True)
    approval = shown["approval"]
    assert approval["digest"] == shown["digest"]
    assert (approval["quorum"], approval["approvers"], approval["given"], approval["by"]) == (1, [], [], None)
    assert shown["actions"][0]["step"] == "prepared"
    assert shown["actions"][0]["preview"]["after"] == {"balance": 120}
    assert door.bank.world.balances == {}
    status, said, _ = await approve(approver, shown)
    assert status == 200
    assert (said["approval"]["by"], said["approval"]["note"]) == ("dana", "seen")
    (given,) = said["approval"]["given"]
    assert (given["by"], given["note"], given["at"].endswith("Z")) == ("dana", "seen", True)
    await ends(agent, shown, "committed")
    assert door.bank.world.balances == {"88": 120}
    _, audit, _ = await door.get(f"/v1/audit?min_position={said['position']}&limit=10")
    assert any(entry["kind"] == "approve" and entry["actor"]["name"] == "dana" for entry in audit["items"])


async def test_what_is_rejected_is_aborted_and_nothing_is_held(door, agent, approver):
    shown = await waiting(agent)
    status, said, _ = await reject(approver, shown)
    assert status == 200
    assert (said["setback"]["cause"], said["setback"]["reason"], said["setback"]["by"]) == ("rejected", "no", "dana")
    await ends(agent, shown, "aborted")
    assert (door.bank.world.balances, door.bank.world.held) == ({}, {})


async def test_an_approval_is_of_exactly_what_is_waiting(door, agent, approver):
    one, other = await waiting(agent), await waiting(agent, intent(("bank.post", "88", 121)))
    head = await door.head()
    for digest in (other["digest"], one["digest"].upper(), one["digest"][:-1], "sha256:" + "0" * 64, "yes"):
        refused(await approve(approver, one, digest=digest), 409, "digest-mismatch")
        refused(await reject(approver, one, digest=digest), 409, "digest-mismatch")
    assert await door.head() == head
    await approve(approver, other)
    await ends(agent, other, "committed")
    assert (await agent.get(f"/v1/intents/{one['id']}"))[1]["phase"] == "awaiting_approval"
    assert door.bank.world.balances == {"88": 121}


async def test_nobody_in_the_custody_chain_and_no_agent_answers(door, agent):
    shown = await waiting(agent)
    manager_again = await door.grant("Manager-X", kind="person")
    child_person = await door.grant("payments", kind="person")
    stranger = await door.grant("stranger")
    head = await door.head()
    for holder in (agent, stranger, door, manager_again, child_person):
        refused(await approve(holder, shown), 403, "not-eligible")
        refused(await reject(holder, shown), 403, "not-eligible")
    assert await happened(door, head) == []


async def test_nobody_approves_what_their_own_grant_does_not_permit(door, agent):
    shown = await waiting(agent)
    for name, permission, more in (
        ("small", {"operation": "bank.post", "where": {"amount": {"max": 119}}}, {}),
        ("mailer", {"operation": "mail.*"}, {}),
        ("elsewhere", {"operation": "*"}, {"task": "13B"}),
    ):
        holder = await door.grant(name, permission, kind="person", **more)
        refused(await approve(holder, shown), 403, "not-eligible")
    enough = await door.grant("enough", {"operation": "bank.post", "where": {"amount": {"max": 120}}}, kind="person")
    assert (await approve(enough, shown))[0] == 200


async def test_a_quorum_is_of_different_people_whom_policy_names(door, agent, approver):
    shown = await waiting(agent, intent(("mail.post", "box", 60)))
    assert (shown["approval"]["quorum"], shown["approval"]["approvers"]) == (2, ["manager", "dana"])
    refused(await approve(await door.grant("somebody", kind="person"), shown), 403, "not-eligible")
    assert (await approve(approver, shown))[1]["phase"] == "awaiting_approval"
    again = await door.grant("Dana", kind="person")
    for holder in (approver, again):
        refused(await approve(holder, shown), 403, "not-eligible")
    status, second, _ = await door.post(
        "/v1/grants",
        {
            "subject": {"kind": "person", "name": "mia", "role": "manager"},
            "operations": [{"operation": "*"}],
        },
    )
    assert status == 201
    status, said, _ = await door.ask(
        "POST",
        f"/v1/intents/{shown['id']}/approve",
        json={"digest": shown["digest"], "note": None},
        headers={"Authorization": f"Bearer {second['token']}"},
    )
    assert status == 200
    assert [given["by"] for given in said["approval"]["given"]] == ["dana", "mia"]
    assert said["approval"]["by"] == "dana"
    await ends(agent, shown, "committed")


async def test_early_and_late_answers_are_answers_to_nothing(door, agent, approver):
    door.bank.gate.clear()
    _, early, _ = await agent.submit(intent(("bank.post", "88", 120), deadline=300), wait=None)
    refused(await approve(approver, early), 409, "not-waiting")
    door.bank.gate.set()
    await ends(agent, early, "awaiting_approval")
    _, shown, _ = await agent.get(f"/v1/intents/{early['id']}")
    assert (await approve(approver, shown))[0] == 200
    await ends(agent, shown, "committed")
    refused(await approve(approver, shown), 409, "not-waiting")
    refused(await reject(approver, shown), 409, "not-waiting")
    status, problem, _ = await approver.post(
        "/v1/intents/01930000-0000-7000-8000-000000000001/approve", {"digest": "x"}
    )
    assert (status, problem["type"]) == (404, "urn:intent-ledger:problem:not-found")


async def test_of_many_answers_at_once_one_counts(door, agent, approver):
    shown = await waiting(agent)
    others = [await door.grant(f"person-{number}", kind="person") for number in range(4)]
    answers = await asyncio.gather(*(approve(holder, shown) for holder in (approver, *others)))
    assert sorted(status for status, _, _ in answers) == [200, 409, 409, 409, 409]
    await ends(agent, shown, "committed")
    assert door.bank.world.balances == {"88": 120}


async def test_many_wait_and_each_is_answered_for_itself(door, agent, approver):
    many = [await waiting(agent, intent(("bank.post", str(number), 100))) for number in range(8)]
    _, page, _ = await door.get(f"/v1/intents?phase=awaiting_approval&min_position={many[-1]['position']}")
    assert {item["id"] for item in page["items"]} == {shown["id"] for shown in many}
    for number, shown in enumerate(many):
        await (approve if number % 2 else reject)(approver, shown)
    for number, shown in enumerate(many):
        await ends(agent, shown, "committed" if number % 2 else "aborted")
    assert set(door.bank.world.balances) == {"1", "3", "5", "7"}


async def test_what_waits_is_aborted_when_its_grant_is_revoked(door, agent, approver):
    shown = await waiting(agent)
    _, said, _ = await door.post(f"/v1/grants/{agent.id}/revoke", {"reason": "x"})
    assert said["aborting"] == [shown["id"]]
    await ends(door, shown, "aborted")
    status, _, _ = await approve(approver, shown)
    assert status == 409
    assert door.bank.world.held == {}


async def test_looking_never_decides_and_an_answer_follows_the_contract(door, agent, approver):
    shown = await waiting(agent)
    status, _, response = await approver.get(f"/v1/intents/{shown['id']}/approve")
    assert (status, response.headers["Allow"]) == (405, "POST")
    for word, body, place in (
        ("approve", {}, "/digest"),
        ("approve", {"digest": shown["digest"], "by": "me"}, "/by"),
        ("reject", {"digest": shown["digest"]}, "/reason"),
        ("reject", {"digest": 5, "reason": "x"}, "/digest"),
    ):
        status, problem, _ = await approver.post(f"/v1/intents/{shown['id']}/{word}", body)
        assert (status, [error["path"] for error in problem["errors"]]) == (422, [place])
    status, _, _ = await approver.post(f"/v1/intents/{shown['id']}/approve", {"digest": shown["digest"]})
    assert status == 200

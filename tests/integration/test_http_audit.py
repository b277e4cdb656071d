"""The audit of authority through the real door: a day of grants, policies, tasks and dead tokens, told in order."""

import pytest
from doorway import doorway, eventually, intent

CEDAR = """
@id("P-45") permit(principal, action, resource) when { context.amount <= 5000 };
@id("P-13") forbid(principal, action in Action::"mail.post", resource);
"""
CONTRACT = {"task": "12A", "owner": "dana", "scope": ["bank.*", "mail.*"]}


@pytest.fixture
async def door(dsn):
    async with doorway(dsn) as opened:
        yield opened


async def expect(answer, status):
    found, body, _ = answer
    assert found == status, body
    return body


async def everything(door, path):
    """Read all pages of a list, newest last."""
    found, after = [], ""
    while after is not None:
        _, page, _ = await door.get(f"{path}?limit=3&min_position={await door.head()}{after and '&after=' + after}")
        found += page["items"]
        after = page["next"]
    return found[::-1]


async def a_day(door):
    """Let people and an agent do what authority knows of; return who they were and what was asked."""
    manager = await door.grant("manager-x", kind="person", may_delegate=True)
    digest = (await expect(await manager.post("/v1/policies", {"cedar": CEDAR, "activate": True}), 201))["digest"]
    await expect(await manager.post("/v1/tasks", CONTRACT), 201)
    agent = await manager.grant("payment-specialist", "bank.post", "mail.post", task="12A")
    done = await expect(await agent.submit(intent(("bank.post", "88", 5))), 200)
    denied = await expect(await agent.submit(intent(("mail.post", "box", 1), follows=done["id"])), 200)
    await expect(await manager.post(f"/v1/grants/{agent.id}/revoke", {"reason": "It is done."}), 200)
    for _ in range(3):
        await expect(await agent.submit(intent(("bank.post", "88", 5))), 401)
    await expect(await door.holding("il_forged").get("/v1/operations"), 401)
    return manager, agent, digest, done, denied


async def test_a_day_of_authority_is_told_in_order_with_its_chains(door):
    manager, agent, digest, done, denied = await a_day(door)

    async def refused():
        entries = await everything(door, "/v1/audit")
        return entries if sum(entry["kind"] == "refuse_token" for entry in entries) == 2 else None

    entries = await eventually(refused)
    who = "Payment Specialist Agent, task 12A, commissioned by Manager X"
    told = [entry["sentence"] for entry in entries if entry["kind"] != "refuse_token"]
    assert told[1:5] == [
        f"Operator issued {manager.id} to Manager X: every operation",
        f"Manager X added policy set {digest[:19]}: P-45 and P-13",
        f"Manager X activated policy set {digest[:19]}",
        "Manager X defined task 12A, owned by Dana: bank.* and mail.*",
    ]
    assert told[5] == f"Manager X issued {agent.id} to Payment Specialist Agent for task 12A: bank.post and mail.post"
    assert told[6].startswith(f"{who}, under policy P-45: ")
    assert told[6].endswith(", committed")
    assert told[7].startswith(f"{who}, following {done['id']}, under policy P-13: ")
    assert ", denied: " in told[7]
    assert told[8] == f"Manager X revoked {agent.id} and everything below it: It is done"
    dead = {entry["outcome"]: entry for entry in entries if entry["kind"] == "refuse_token"}
    assert dead.keys() == {"token_revoked", "token_unknown"}
    assert dead["token_revoked"]["sentence"].startswith(f"A revoked token of {agent.id} was shown ")
    chain = ["grant-operator", manager.id, agent.id]
    assert dead["token_revoked"]["custody"] == chain
    assert [entry["custody"] for entry in entries if entry["intent"] in {done["id"], denied["id"]}] == [chain] * 2
    assert all(entry["custody"] for entry in entries if entry["outcome"] != "token_unknown")


async def test_every_line_of_the_feed_carries_the_chain_that_its_entry_has(door):
    await a_day(door)
    events = await everything(door, "/v1/audit")
    lines = {}
    for event in (await door.get("/v1/events?limit=500"))[1]["items"]:
        assert event["custody"] or event["type"] == "TokenRefused"
        lines[event["position"]] = event["custody"]
    assert len(events) > 8
    for entry in events:
        assert lines[entry["position"]] == entry["custody"], entry["sentence"]


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("outcome=issued", ["issue", "issue", "issue"]),
        ("outcome=issued&agent=payment-specialist", ["issue"]),
        ("outcome=revoked", ["revoke"]),
        ("policy=P-13", ["add_policy", "intent"]),
        ("task=12A&operation=mail.post", ["define_task", "issue", "intent", "revoke"]),
        ("commissioned_by=operator", ["issue"]),
    ],
)
async def test_the_audit_is_searched_for_acts_on_authority(door, query, kinds):
    await a_day(door)
    _, page, _ = await door.get(f"/v1/audit?{query}&min_position={await door.head()}")
    assert [entry["kind"] for entry in reversed(page["items"])] == kinds


async def test_an_escalation_is_listed_for_its_person_until_somebody_takes_it_over(door):
    modes = [{"name": "no cover", "contains": "has only", "escalate_to": "erin"}]
    await expect(await door.post("/v1/tasks", {**CONTRACT, "failure_modes": modes}), 201)
    failed = await expect(await door.submit(intent(("bank.post", "88", -5))), 200)
    assert failed["phase"] == "aborted"

    async def waiting():
        _, page, _ = await door.get(f"/v1/intents?escalated_to=erin&min_position={await door.head()}")
        return [item["id"] for item in page["items"]]

    assert await waiting() == [failed["id"]]
    (entry,) = (await door.get("/v1/audit?outcome=aborted"))[1]["items"]
    assert "aborted, escalated to Erin: no cover (" in entry["sentence"]
    assert (entry["escalated_to"], entry["failure_mode"]) == ("erin", "no cover")
    taken = await expect(await door.submit(intent(("bank.post", "88", 5), follows=failed["id"])), 200)

    async def taken_over():
        return not await waiting()

    await eventually(taken_over)
    _, page, _ = await door.get(f"/v1/intents?follows={failed['id']}")
    assert [item["id"] for item in page["items"]] == [taken["id"]]


async def test_whoever_asks_for_what_is_not_theirs_to_do_is_in_the_audit(door):
    agent = await door.grant("payer")
    clerk = await door.grant("clerk", "mail.*", kind="person")
    done = (await agent.submit(intent(("bank.post", "alice", 5))))[1]
    for _ in range(3):
        assert (await agent.post(f"/v1/intents/{done['id']}/undo", {"reason": "mine"}))[0] == 403
    assert (await clerk.post(f"/v1/intents/{done['id']}/undo", {"reason": "mine"}))[0] == 403
    assert (await agent.post("/v1/subjects/ann@example.com/erase", {"reason": "for fun"}))[0] == 403
    assert (await agent.get("/v1/audit"))[0] == 403
    wider = {"subject": {"kind": "agent", "name": "x"}, "operations": [{"operation": "*"}]}
    narrow = await door.grant("narrow", "bank.post", may_delegate=True)
    assert (await narrow.post("/v1/grants", wider))[0] == 422

    async def told():
        entries = [one for one in await everything(door, "/v1/audit") if one["kind"] == "refuse"]
        return entries if len(entries) == 5 else None

    entries = {one["sentence"]: one for one in await eventually(told)}
    assert entries.keys() == {
        f"Payer Agent was refused once: undo intent ({done['id']})",
        f"Clerk was refused once: undo intent ({done['id']})",
        "Payer Agent was refused once: erase subject",
        "Payer Agent was refused once: read audit",
        "Narrow Agent was refused once: issue grant",
    }
    for entry in entries.values():
        assert entry["outcome"] == "refused"
        assert entry["custody"][-1] in {agent.id, clerk.id, narrow.id}

"""Grants through the real door: what is delegated, to whom, how far, and what is left of it when it is revoked."""

import asyncio
from hashlib import sha256

import pytest
from besieged import happened
from doorway import Holder, doorway, eventually, intent
from views import inline_tables_are_what_events_say

from gateway.door import Caller
from gateway.routes import ROUTES

ONE = intent(("bank.post", "88", 1))
NOBODYS = "01930000-0000-7000-8000-000000000001"
PERMISSION = {"operation": "bank.post", "where": {"account": ["88", "77"], "amount": {"min": 1, "max": 500}}}
LIMIT = {"operation": "bank.*", "measure": "count", "per": "hour", "max": 5}


@pytest.fixture
async def door(dsn):
    async with doorway(dsn) as opened:
        yield opened
        await inline_tables_are_what_events_say(dsn)


async def phase(door, intent_id):
    _, body, _ = await door.get(f"/v1/intents/{intent_id}")
    return body["phase"]


# ── issue ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_grant_is_shown_with_its_token_once_and_then_never_again(door):
    subject = {"kind": "agent", "name": "payment-specialist", "version": "3.1", "role": "payments"}
    body = {
        "subject": subject,
        "task": "12A",
        "operations": [PERMISSION],
        "limits": [LIMIT],
        "expires_in": 3600,
        "may_delegate": True,
    }
    status, issued, response = await door.post("/v1/grants", body)
    assert status == 201
    assert response.headers["Location"] == f"/v1/grants/{issued['id']}"
    assert response.headers["Cache-Control"] == "no-store"
    token = issued.pop("token")
    assert len(token) > 40
    assert issued["subject"] == subject
    assert (issued["task"], issued["may_delegate"], issued["parent"]) == ("12A", True, "grant-operator")
    assert issued["custody"] == ["grant-operator", issued["id"]]
    assert (issued["commissioned_by"], issued["issued_by"]) == ("operator", "operator")
    assert issued["operations"][0]["where"] == PERMISSION["where"]
    assert issued["limits"] == [{**LIMIT, "currency": None, "each": "grant"}]
    assert issued["expires_at"].endswith("Z")
    _, shown, one = await door.get(f"/v1/grants/{issued['id']}")
    assert shown == {**issued, "revoked": False, "suspended": False}
    _, _, page = await door.get("/v1/grants")
    _, _, feed = await door.get("/v1/events")
    for answer in (one, page):
        text = await answer.text()
        assert token not in text
        assert sha256(token.encode()).hexdigest() not in text
    assert token not in await feed.text()


async def test_an_agent_acts_under_its_grant_and_everything_it_does_says_so(door):
    manager = await door.grant("manager-x", kind="person", may_delegate=True)
    agent = await manager.grant("payment-specialist", "bank.*")
    chain = ["grant-operator", manager.id, agent.id]
    status, body, _ = await agent.submit(ONE)
    assert (status, body["phase"]) == (200, "committed")
    assert (body["agent"]["name"], body["grant"], body["custody"]) == ("payment-specialist", agent.id, chain)
    assert body["commissioned_by"] == "manager-x"
    _, events, _ = await agent.get(f"/v1/intents/{body['id']}/events")
    assert all(event["custody"] == chain for event in events["items"])
    _, feed, _ = await door.get("/v1/events")
    lines = {(line["type"], line["stream"]): line["custody"] for line in feed["items"]}
    assert lines["GrantIssued", f"grant/{agent.id}"] == chain
    assert lines["CommitDecided", f"intent/{body['id']}"] == chain
    _, audit, _ = await door.get(f"/v1/audit?agent=payment-specialist&min_position={body['position']}")
    assert audit["items"][0]["custody"] == chain


async def test_what_a_grant_does_not_permit_is_recorded_as_denied_and_says_why(door):
    agent = await door.grant("payments", PERMISSION)
    for actions in ([("mail.post", "box", 1)], [("bank.post", "99", 1)], [("bank.post", "88", 501)]):
        status, body, _ = await agent.submit(intent(*actions))
        assert (status, body["phase"], body["decision"]["effect"]) == (200, "denied", "deny")
        assert agent.id in body["decision"]["reasons"][0]
    assert (door.bank.world.balances, door.mail.world.balances) == ({}, {})
    status, body, _ = await agent.submit(intent(("bank.post", "88", 500)))
    assert body["phase"] == "committed"


async def test_authority_is_the_intersection_along_the_chain(door):
    manager = await door.grant("manager-x", "bank.*", kind="person", may_delegate=True, task="12A")
    agent = await manager.grant("payments", "bank.post")
    assert agent.issued["task"] == "12A"
    _, body, _ = await agent.submit(intent(("bank.post", "88", 1), task="13B"))
    assert (body["phase"], body["decision"]["effect"]) == ("denied", "deny")
    _, body, _ = await agent.submit(ONE)
    assert body["phase"] == "committed"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"operations": [{"operation": "*"}]}, "/operations/0/operation"),
        ({"operations": [PERMISSION, {"operation": "mail.post"}]}, "/operations/1/operation"),
        ({"operations": [{"operation": "bank.post"}]}, "/operations/0/where/account"),
        ({"operations": [{**PERMISSION, "where": {"account": ["66"], "amount": {"min": 1, "max": 5}}}]}, "account"),
        ({"operations": [{**PERMISSION, "where": {"account": ["88"], "amount": {"min": 1}}}]}, "amount"),
        ({"limits": [{**LIMIT, "max": 6}]}, "/limits/0/max"),
        ({"expires_in": 7200}, "/expires_in"),
        ({"task": "13B"}, "/task"),
        ({"subject": {"kind": "person", "name": "accomplice"}}, "/subject/kind"),
    ],
)
async def test_a_grant_that_is_wider_than_its_issuers_names_the_part_that_is_and_is_not_issued(door, change, place):
    issuer = await door.grant("payments", PERMISSION, task="12A", limits=[LIMIT], expires_in=3600, may_delegate=True)
    head = await door.head()
    narrow = {"subject": {"kind": "agent", "name": "junior"}, "operations": [PERMISSION]}
    status, problem, _ = await issuer.post("/v1/grants", {**narrow, **change})
    assert (status, problem["type"]) == (422, "urn:intent-ledger:problem:wider-than-parent")
    assert any(place in error["path"] for error in problem["errors"])
    assert await happened(door, head) == []
    status, _, _ = await issuer.post("/v1/grants", narrow)
    assert status == 201


async def test_only_a_grant_that_may_delegate_has_children_and_a_chain_ends(door):
    agent = await door.grant("payments")
    status, problem, _ = await agent.post("/v1/grants", {"subject": {"kind": "agent", "name": "x"}, "operations": []})
    assert (status, problem["type"]) == (422, "urn:intent-ledger:problem:invalid-request")
    one = {"subject": {"kind": "agent", "name": "x"}, "operations": [{"operation": "*"}]}
    status, problem, _ = await agent.post("/v1/grants", one)
    assert (status, problem["type"]) == (422, "urn:intent-ledger:problem:wider-than-parent")
    holder = door
    for depth in range(2, 9):
        holder = await holder.grant(f"agent-{depth}", may_delegate=True)
    assert len(holder.issued["custody"]) == 8
    status, problem, _ = await holder.post("/v1/grants", one)
    assert (status, problem["type"]) == (422, "urn:intent-ledger:problem:wider-than-parent")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"subject": {"kind": "robot", "name": "x"}}, "/subject/kind"),
        ({"subject": {"kind": "agent", "name": ""}}, "/subject/name"),
        ({"subject": {"kind": "agent", "name": "x\u202ey"}}, "/subject/name"),
        ({"subject": {"kind": "agent", "name": "x", "grant": "y"}}, "/subject/grant"),
        ({"operations": ["bank.post"]}, "/operations/0"),
        ({"operations": [{"operation": "bank"}]}, "/operations/0/operation"),
        ({"operations": [{"operation": "bank.*.post"}]}, "/operations/0/operation"),
        ({"operations": [{"operation": "*", "where": {"currency": []}}]}, "/operations/0/where/currency"),
        ({"operations": [{"operation": "*", "where": {"currency": "USD"}}]}, "/operations/0/where/currency"),
        ({"operations": [{"operation": "*", "where": {"currency": [["USD"]]}}]}, "/operations/0/where/currency/0"),
        ({"operations": [{"operation": "*", "where": {"amount": {"max": "5"}}}]}, "/operations/0/where/amount/max"),
        ({"operations": [{"operation": "*", "where": {"amount": {"max": 5.5}}}]}, "/operations/0/where/amount/max"),
        ({"operations": [{"operation": "*", "where": {"amount": {"up": 5}}}]}, "/operations/0/where/amount/up"),
        ({"operations": [{"operation": "*"}] * 65}, "/operations"),
        ({"limits": [{**LIMIT, "max": -1}]}, "/limits/0/max"),
        ({"limits": [{**LIMIT, "max": True}]}, "/limits/0/max"),
        ({"limits": [{**LIMIT, "per": "minute"}]}, "/limits/0/per"),
        ({"limits": [{**LIMIT, "measure": "amount"}]}, "/limits/0/currency"),
        ({"limits": [{**LIMIT, "currency": "USD"}]}, "/limits/0/currency"),
        ({"expires_in": 0}, "/expires_in"),
        ({"expires_in": "3600"}, "/expires_in"),
        ({"may_delegate": 1}, "/may_delegate"),
        ({"token": "il_mine"}, "/token"),
    ],
)
async def test_a_grant_that_does_not_follow_the_contract_names_each_place(door, change, place):
    head = await door.head()
    body = {"subject": {"kind": "agent", "name": "x"}, "operations": [{"operation": "*"}], **change}
    status, problem, _ = await door.post("/v1/grants", body)
    assert (status, problem["type"]) == (422, "urn:intent-ledger:problem:invalid-request")
    assert [error["path"] for error in problem["errors"]] == [place]
    assert await door.head() == head


# ── who sees what ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_tree_is_shown_from_ones_own_grant_down_and_page_by_page(door):
    manager = await door.grant("manager-x", kind="person", may_delegate=True)
    below = {(await manager.grant(f"agent-{number}")).id for number in range(3)}
    stranger = await door.grant("stranger", may_delegate=True)
    seen, after = [], ""
    while after is not None:
        _, page, _ = await manager.get(f"/v1/grants?limit=2{after and f'&after={after}'}")
        seen.extend(item["id"] for item in page["items"])
        after = page["next"]
    assert len(seen) == len(set(seen))
    assert set(seen) == {manager.id, *below}
    _, everything, _ = await door.get("/v1/grants")
    assert {item["id"] for item in everything["items"]} == {"grant-operator", stranger.id, *seen}
    for hidden in ("grant-operator", stranger.id, "grant-unknown", "..%2Fgrants"):
        status, problem, _ = await manager.get(f"/v1/grants/{hidden}")
        assert (status, problem["type"]) == (404, "urn:intent-ledger:problem:not-found")


async def test_an_agent_sees_only_what_was_done_under_its_grant(door):
    parent = await door.grant("parent", may_delegate=True)
    child, stranger = await parent.grant("child"), await door.grant("stranger")
    done = {}
    for holder in (parent, child, stranger, door):
        _, done[holder], _ = await holder.submit(ONE)
    position = max(body["position"] for body in done.values())
    sees = {
        parent: {done[parent]["id"], done[child]["id"]},
        child: {done[child]["id"]},
        stranger: {done[stranger]["id"]},
        door: {body["id"] for body in done.values()},
    }
    for holder, own in sees.items():
        _, page, _ = await holder.get(f"/v1/intents?min_position={position}")
        assert {item["id"] for item in page["items"]} == own
        for body in done.values():
            for path in ("", "/events", f"?at={body['position']}", "?at=1"):
                status, problem, _ = await holder.get(f"/v1/intents/{body['id']}{path}")
                if body["id"] in own:
                    assert status == (404 if path == "?at=1" else 200)
                else:
                    _, nobodys, _ = await holder.get(f"/v1/intents/{NOBODYS}{path}")
                    assert status == 404
                    assert {**problem, "request_id": ""} == {**nobodys, "request_id": ""}
    status, _, _ = await stranger.post(f"/v1/intents/{done[child]['id']}/cancel", {"reason": "not mine"})
    assert status == 404
    status, _, _ = await parent.post(f"/v1/intents/{done[child]['id']}/cancel", {"reason": "too late"})
    assert status == 409


async def test_what_is_for_people_is_refused_to_agents_in_a_sentence(door):
    agent = await door.grant("payments", may_delegate=True)
    _, body, _ = await agent.submit(ONE)
    head = await door.head()
    for_people = [route for route in ROUTES if route.caller is Caller.PERSON]
    assert {"approve_intent", "reject_intent", "undo_intent", "resolve_intent", "activate_policy_set", "add_policy_set",
            "define_task", "read_audit", "get_events"} <= {route.name for route in for_people}  # fmt: skip
    for route in for_people:
        path = route.path.replace("{id}", body["id"]).replace("{digest}", "sha256:0")
        status, problem, _ = await agent.ask(route.method, path, **({"json": {}} if route.body else {}))
        slug = "not-eligible" if route.name in {"approve_intent", "reject_intent"} else "forbidden"
        assert (status, problem["type"]) == (403, f"urn:intent-ledger:problem:{slug}"), route.name
        assert "person" in problem["detail"]
    assert await happened(door, head) == []


async def test_a_token_in_an_address_is_refused_wherever_it_is_shown(door):
    for path in ("/v1/intents", "/v1/operations", "/v1/grants", "/healthz"):
        async with door.session.get(f"{door.url}{path}?access_token={door.token}") as response:
            assert response.status == (400 if path == "/healthz" else 401)
        status, problem, _ = await door.get(f"{path}?access_token={door.token}")
        assert (status, problem["type"]) == (400, "urn:intent-ledger:problem:malformed")
        assert door.token not in str(problem)


async def test_a_renewed_token_finds_the_keys_and_intents_of_its_agent_and_no_other_one_does(door):
    manager = await door.grant("manager-x", kind="person", may_delegate=True)
    first, renewed = await manager.grant("payments"), await manager.grant("payments")
    squatter = await door.grant("payments")
    _, squatted, _ = await squatter.submit(ONE, key="k-1")
    status, body, _ = await first.submit(ONE, key="k-1")
    assert (status, body["phase"]) == (200, "committed")
    assert body["id"] != squatted["id"]
    status, again, response = await renewed.submit(ONE, key="k-1")
    assert (status, again["id"], response.headers["Idempotency-Hit"]) == (200, body["id"], "true")
    assert (await renewed.get(f"/v1/intents/{body['id']}"))[0] == 200
    assert (await squatter.get(f"/v1/intents/{body['id']}"))[0] == 404


# ── revoke ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_revoking_stops_the_whole_subtree_at_once_and_touches_no_other(door):
    manager = await door.grant("manager-x", kind="person", may_delegate=True)
    agent, other = await manager.grant("payments", may_delegate=True), await manager.grant("other")
    child = await agent.grant("child")
    _, decided, _ = await child.submit(ONE)
    door.bank.gate.clear()
    _, undecided, _ = await child.submit(intent(("bank.post", "88", 1), deadline=300), wait=None)
    _, others, _ = await other.submit(intent(("bank.post", "77", 1), deadline=300), wait=None)
    status, said, _ = await manager.post(f"/v1/grants/{agent.id}/revoke", {"reason": "misbehaves"})
    assert status == 200
    assert sorted(said["revoked"]) == sorted([agent.id, child.id])
    assert said["aborting"] == [undecided["id"]]
    assert decided["id"] not in said["aborting"]
    door.bank.gate.set()

    async def ended():
        return await phase(door, undecided["id"]) == "aborted" and await phase(door, others["id"]) == "committed"

    assert await eventually(ended)
    _, body, _ = await door.get(f"/v1/intents/{undecided['id']}")
    assert body["setback"]["cause"] == "revoked"
    assert door.bank.world.held == {}
    assert await phase(door, decided["id"]) == "committed"
    for dead in (agent, child):
        status, _, _ = await dead.submit(ONE)
        assert status == 401
    assert (await other.submit(ONE))[1]["phase"] == "committed"
    _, shown, _ = await door.get(f"/v1/grants/{child.id}")
    assert shown["revoked"] is True
    status, again, _ = await manager.post(f"/v1/grants/{agent.id}/revoke", {"reason": "to be sure"})
    assert status == 200
    assert again["aborting"] == []


async def test_what_was_decided_before_the_revocation_is_reported_and_stands(door):
    agent = await door.grant("payments")
    door.mail.loses_answers = True
    _, body, _ = await agent.submit(intent(("mail.post", "box", 1)))
    assert (body["phase"], body["attention"]["action"]) == ("committing", "a1")
    _, said, _ = await door.post(f"/v1/grants/{agent.id}/revoke", {"reason": "enough"})
    assert (said["aborting"], said["already_decided"]) == ([], [body["id"]])
    _, shown, _ = await door.post(
        f"/v1/intents/{body['id']}/resolve", {"action": "a1", "outcome": "applied", "note": "seen"}
    )
    assert shown["actions"][0]["step"] == "done"


async def test_one_revokes_ones_own_grant_and_those_below_it_only(door):
    agent, other = await door.grant("payments", may_delegate=True), await door.grant("other", may_delegate=True)
    child = await agent.grant("child")
    for grant in (agent.id, child.id, "grant-operator", "grant-unknown"):
        status, problem, _ = await other.post(f"/v1/grants/{grant}/revoke", {"reason": "no"})
        assert (status, problem["type"]) == (404, "urn:intent-ledger:problem:not-found")
    assert (await child.submit(ONE))[1]["phase"] == "committed"
    assert (await agent.post(f"/v1/grants/{child.id}/revoke", {"reason": "done"}))[1]["revoked"] == [child.id]
    assert (await child.submit(ONE))[0] == 401
    assert (await agent.post(f"/v1/grants/{agent.id}/revoke", {"reason": "done"}))[0] == 200
    assert (await agent.submit(ONE))[0] == 401
    for body, place in (({}, "/reason"), ({"reason": "x", "by": "y"}, "/by"), ({"reason": ""}, "/reason")):
        status, problem, _ = await door.post(f"/v1/grants/{other.id}/revoke", body)
        assert (status, [error["path"] for error in problem["errors"]]) == (422, [place])
    assert (await other.submit(ONE))[1]["phase"] == "committed"


async def test_dead_and_unknown_tokens_are_told_alike(door):
    revoked, expired = await door.grant("revoked"), await door.grant("expired", expires_in=1)
    await door.post(f"/v1/grants/{revoked.id}/revoke", {"reason": "x"})

    async def dead():
        return (await expired.get("/v1/operations"))[0] == 401

    assert await eventually(dead)
    told = []
    for token in (revoked.token, expired.token, "il_" + "A" * 43, revoked.token[:-1], revoked.token.upper()):
        holder = Holder(door, {"token": token, "id": ""})
        answers = [await holder.get("/v1/operations"), await holder.submit(ONE)]
        told.append([(status, {**body, "request_id": ""}) for status, body, _ in answers])
        assert {response.headers["WWW-Authenticate"] for _, _, response in answers} == {'Bearer realm="intent-ledger"'}
    assert told[0][0][0] == 401
    assert all(one == told[0] for one in told)


# ── limits, repetitions, hand-over ───────────────────────────────────────────────────────────────────────────────


async def test_a_limit_is_not_exceeded_however_many_ask_at_once(door):
    agent = await door.grant("payments", limits=[{**LIMIT, "max": 3}])
    answers = await asyncio.gather(*(agent.submit(ONE) for _ in range(10)))
    phases = [body["phase"] for _, body, _ in answers]
    assert (phases.count("committed"), phases.count("aborted")) == (3, 7)
    assert {body["setback"]["cause"] for _, body, _ in answers if body["phase"] == "aborted"} == {"guard"}
    assert door.bank.world.balances == {"88": 3}


async def test_the_same_actions_under_the_same_task_are_a_possible_duplicate_whoever_asks(door):
    one, other = await door.grant("one"), await door.grant("other")
    unsaid = {**ONE, "again": False}
    _, first, _ = await one.submit(unsaid)
    assert (first["phase"], first["again"]) == ("committed", False)
    for holder in (one, other):
        head = await door.head()
        status, problem, _ = await holder.submit(unsaid)
        assert (status, problem["type"]) == (409, "urn:intent-ledger:problem:possible-duplicate")
        assert problem["intent"] == first["id"]
        assert await door.head() == head
    for changed in ({"again": True}, {"task": "13B"}, {"task": None}, {"mode": "dry_run"}):
        status, body, _ = await other.submit({**unsaid, **changed})
        assert (status, body["phase"] in {"committed", "simulated"}) == (200, True)
    status, body, _ = await other.submit({**unsaid, "again": "yes"})
    assert (status, body["errors"][0]["path"]) == (422, "/again")


async def test_an_intent_hands_over_to_one_that_sees_it_or_has_its_task(door):
    first, second = await door.grant("tier-1"), await door.grant("payments")
    _, before, _ = await first.submit(ONE)
    status, after, _ = await second.submit({**ONE, "follows": before["id"]})
    assert (status, after["follows"]) == (200, before["id"])
    head = await door.head()
    for follows, task in ((before["id"], "13B"), (before["id"], None), (NOBODYS, "12A")):
        status, problem, _ = await second.submit({**ONE, "follows": follows, "task": task})
        assert (status, problem["type"]) == (422, "urn:intent-ledger:problem:invalid-intent")
        assert problem["errors"][0]["path"] == "/follows"
    assert await door.head() == head
    status, _, _ = await door.submit({**ONE, "follows": before["id"], "task": None})
    assert status == 200

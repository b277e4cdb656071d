"""Attacks by those who may delegate, and on what belongs to others: wider children, cycles, people's routes, keys.

Each attack stands beside its honest twin, which must succeed.
"""

import itertools

import pytest
import pytest_asyncio
from besieged import happened, pay, problem, siege, till, wanting
from doorway import intent

from adapters.reference import World
from gateway.door import Caller
from gateway.routes import ROUTES

pytestmark = pytest.mark.asyncio(loop_scope="module")
ONE = intent(("bank.post", "88", 1))
PERMISSION = {"operation": "till.post", "where": {"account": ["a", "b"], "amount": {"min": 1, "max": 500}}}
LIMIT = {"operation": "till.*", "measure": "amount", "currency": "USD", "per": "day", "max": 900, "each": "agent"}
_names = (f"one {number}" for number in itertools.count(1))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(server, template):
    async with siege(server, template, till(World())) as (opened, _):
        yield opened


def where(**constraints):
    return {"operations": [{"operation": "till.post", "where": {**PERMISSION["where"], **constraints}}]}


# ── wider ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("wider", "narrow", "place"),
    [
        ({"operations": [{"operation": "*"}]}, {}, "/operations/0/operation"),
        ({"operations": [{"operation": "till.*"}]}, {}, "/operations/0/operation"),
        ({"operations": [{"operation": "bank.post"}]}, {}, "/operations/0/operation"),
        ({"operations": [PERMISSION, {"operation": "mail.post"}]}, {"operations": [PERMISSION, PERMISSION]}, "/1/"),
        ({"operations": [{"operation": "till.post"}]}, {}, "/where/account"),
        (where(account=["a", "c"]), where(account=["a"]), "/where/account"),
        (where(account=["a", "A"]), where(account=["b", "a"]), "/where/account"),
        (where(account={"min": 1}), where(account=["b"]), "/where/account"),
        (where(amount={"min": 1, "max": 501}), where(amount={"min": 1, "max": 499}), "/where/amount"),
        (where(amount={"min": 0, "max": 500}), where(amount={"min": 2, "max": 500}), "/where/amount"),
        (where(amount={"min": 1}), where(amount={"min": 1, "max": 1}), "/where/amount"),
        (where(amount={}), where(amount=[5]), "/where/amount"),
        (where(amount=[5, 501]), where(amount=[5, 500]), "/where/amount"),
        (where(amount=["5"]), where(amount=[5.0]), "/where/amount"),
        (where(amount=[True]), where(amount=[1]), "/where/amount"),
        (where(amount=[None]), where(amount=[2]), "/where/amount"),
        ({"limits": [{**LIMIT, "max": 901}]}, {"limits": [{**LIMIT, "max": 899}]}, "/limits/0/max"),
        ({"limits": [LIMIT, {**LIMIT, "max": 901}]}, {"limits": [LIMIT, LIMIT]}, "/limits/1/max"),
        ({"expires_in": 700}, {"expires_in": 500}, "/expires_in"),
        ({"task": "13B"}, {"task": "12A"}, "/task"),
        ({"subject": {"kind": "person", "name": "x"}}, {}, "/subject/kind"),
    ],
)
async def test_a_child_is_in_no_part_wider_than_its_parent(door, wider, narrow, place):
    parent = await door.grant(next(_names), PERMISSION, limits=[LIMIT], task="12A", expires_in=600, may_delegate=True)
    order = {"subject": {"kind": "agent", "name": "child"}, "operations": [PERMISSION]}
    before = await door.head()
    answer = await parent.post("/v1/grants", {**order, **wider})
    assert problem(answer) == (422, "wider-than-parent"), answer[1]
    assert any(place in error["path"] for error in answer[1]["errors"])
    assert "token" not in answer[1]
    assert await happened(door, before) == []
    status, child, _ = await parent.post("/v1/grants", {**order, **narrow})
    assert status == 201
    assert (await door.holding(child["token"]).submit(pay("b", 5, task="13B")))[1]["phase"] == "denied"


async def test_what_a_child_leaves_out_is_not_left_open(door):
    parent = await door.grant(next(_names), PERMISSION, limits=[LIMIT], task="12A", expires_in=600, may_delegate=True)
    child = await parent.grant("bare", PERMISSION)
    assert (child.issued["task"], child.issued["expires_at"]) == ("12A", parent.issued["expires_at"])
    assert child.issued["may_delegate"] is False
    assert (await child.submit(pay("a", 500)))[1]["phase"] == "committed"
    for body, phase in ((pay("a", 401), "aborted"), (pay("a", 5, task=None), "denied"), (pay("c", 5), "denied")):
        assert (await child.submit(body))[1]["phase"] == phase
    assert (await child.submit(pay("a", 400)))[1]["phase"] == "committed"


async def test_an_agent_makes_no_child_whom_policy_permits_more_than_itself(door):
    cedar = (
        '@id("remit") forbid (principal, action in Action::"till.*", resource) when { principal.role == "tier-1" };\n'
        '@id("small") permit (principal, action == Action::"till.post", resource) when { context.amount < 50 };\n'
        '@id("large") permit (principal, action == Action::"till.post", resource)\n'
        'when { principal.role == "specialist" || principal.name == "trusted" };\n'
        '@id("rest") permit (principal, action in Action::"bank.*", resource);'
    )
    await door.post("/v1/policies", {"cedar": cedar, "activate": True})

    async def made(issuer, name, role, **more):
        subject = {"kind": "agent", "name": name, "role": role}
        order = {"subject": subject, "operations": [{"operation": "*"}], **more}
        status, told, _ = await issuer.post("/v1/grants", order)
        assert status == 201
        return door.holding(told["token"])

    try:
        tier_1 = await made(door, "first line", "tier-1", may_delegate=True)
        plain = await made(door, "plain", None, may_delegate=True)
        specialist = await made(door, "a specialist", "specialist", may_delegate=True)
        for issuer, amount, effect in ((tier_1, 5, "deny"), (plain, 500, "deny"), (specialist, 500, "allow")):
            middle = await made(issuer, "trusted", "specialist", may_delegate=True)
            for acting in (middle, await made(middle, "trusted", "specialist"), await made(middle, "child", None)):
                _, shown, _ = await acting.submit(pay("a", amount))
                nobody = acting is not middle and shown["agent"]["name"] == "child"  # whom no policy permits so much
                assert shown["decision"]["effect"] == ("deny" if nobody else effect), shown["decision"]
        assert (await plain.submit(pay("a", 5)))[1]["decision"]["effect"] == "allow"
        child = await made(tier_1, "trusted", "specialist")
        assert (await child.submit(ONE))[1]["decision"]["effect"] == "allow"
    finally:
        await door.post("/v1/policies", {"cedar": '@id("all") permit (principal, action, resource);', "activate": True})


async def test_no_grant_stands_below_itself_and_no_chain_is_deeper_than_eight(door):
    top = await door.grant(next(_names), may_delegate=True)
    child = await top.grant(next(_names), may_delegate=True)
    order = {"subject": {"kind": "agent", "name": "x"}, "operations": [{"operation": "*"}]}
    before = await door.head()
    for chosen in (
        {"parent": child.id}, {"id": top.id}, {"grant": top.id}, {"custody": []}, {"issued_by": "operator"},
        {"token": top.token}, {"commissioned_by": "nobody"},
    ):  # fmt: skip
        answer = await child.post("/v1/grants", {**order, **chosen})
        assert problem(answer) == (422, "invalid-request")
        assert answer[1]["errors"][0]["path"] == "/" + next(iter(chosen))
    assert await happened(door, before) == []
    itself = await child.grant(child.issued["subject"]["name"], may_delegate=True)  # a new grant, below its own
    assert itself.issued["custody"] == [*child.issued["custody"], itself.id]
    assert (await itself.get(f"/v1/grants/{child.id}"))[0] == 404
    assert (await itself.post(f"/v1/grants/{top.id}/revoke", {"reason": "x"}))[0] == 404
    deepest = itself
    while len(deepest.issued["custody"]) < 8:
        deepest = await deepest.grant(next(_names), may_delegate=True)
    assert problem(await deepest.post("/v1/grants", order)) == (422, "wider-than-parent")
    assert (await deepest.submit(ONE))[1]["phase"] == "committed"
    assert (await top.post(f"/v1/grants/{child.id}/revoke", {"reason": "x"}))[0] == 200
    assert (await deepest.submit(ONE))[0] == 401


# ── what is not for agents ───────────────────────────────────────────────────────────────────────────────────────


async def test_no_agent_gets_through_a_route_for_people_whatever_its_name_and_role(door):
    subject = {"kind": "agent", "name": "operator", "role": "person"}
    order = {"subject": subject, "operations": [{"operation": "*"}], "may_delegate": True}
    _, told, _ = await door.post("/v1/grants", order)
    agent, person = door.holding(told["token"]), await door.grant("honest person", kind="person")
    _, done, _ = await agent.submit(ONE)
    before = await door.head()
    for route in (one for one in ROUTES if one.caller is Caller.PERSON):
        path = route.path.replace("{id}", done["id"]).replace("{digest}", "sha256:0")
        how = {"json": {}} if route.body else {}
        for headers in ({}, {"X-HTTP-Method-Override": "GET", "X-Original-URL": "/v1/operations"}):
            status, _, _ = await agent.ask(route.method, path, headers=headers, **how)
            assert status == 403, route.name
        if route.name != "get_events":  # which may follow for ever
            assert (await person.ask(route.method, path, **how))[0] != 403, route.name
    assert await happened(door, before) == []


async def test_an_agent_reads_and_stops_nothing_of_others_by_id_or_by_list(door):
    mine, other = await door.grant("mine"), await door.grant("other's", may_delegate=True)
    namesake = await (await door.grant("somebody", kind="person", may_delegate=True)).grant("other's")
    _, theirs, _ = await other.submit({**ONE, "reason": "a secret"}, "theirs")
    _, own, _ = await mine.submit(ONE)
    nobodys = "01930000-0000-7000-8000-000000000001"
    for holder in (mine, namesake):
        for path in ("", "/events", f"?at={theirs['position']}", f"?min_position={theirs['position']}"):
            answers = []
            for intent_id in (theirs["id"], nobodys):
                status, body, response = await holder.get(f"/v1/intents/{intent_id}{path}")
                own_id = response.headers["X-Request-Id"]
                answers.append((status, str(body).replace(own_id, "")))
            assert answers[0] == answers[1]
            assert answers[0][0] == 404
        assert problem(await holder.post(f"/v1/intents/{theirs['id']}/cancel", {"reason": "x"})) == (404, "not-found")
        answer = await holder.submit({**ONE, "task": None, "follows": theirs["id"]})
        assert problem(answer) == (422, "invalid-intent")
        for query in ("", "&agent=other's", "&task=12A", "&phase=committed", "&operation=bank.post"):
            _, page, _ = await holder.get(f"/v1/intents?min_position={own['position']}&limit=500{query}")
            assert theirs["id"] not in {item["id"] for item in page["items"]}
    _, page, _ = await other.get(f"/v1/intents?min_position={own['position']}")
    assert [item["id"] for item in page["items"]] == [theirs["id"]]
    assert (await other.get(f"/v1/intents/{theirs['id']}"))[1]["reason"] == "a secret"


async def test_a_cursor_of_somebody_else_shows_nothing_more(door):
    mine, other = await door.grant("turns pages"), await door.grant("has pages")
    for _ in range(3):
        await other.submit(ONE)
    _, own, _ = await mine.submit(ONE)
    _, page, _ = await other.get(f"/v1/intents?limit=1&min_position={own['position']}")
    cursor = page["next"]
    assert cursor is not None
    _, stolen, _ = await mine.get(f"/v1/intents?limit=500&after={cursor}")
    assert {item["id"] for item in stolen["items"]} <= {own["id"]}
    _, rest, _ = await other.get(f"/v1/intents?limit=500&after={cursor}")
    assert len(rest["items"]) == 2


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_nobody_occupies_or_reads_a_key_of_somebody_else(door):
    person = await door.grant("issuer of keys", kind="person", may_delegate=True)
    victim = await person.grant("keyholder", may_delegate=True)
    attackers = [
        await door.grant("keyholder"),  # the same name under another issuer
        await victim.grant("keyholder"),  # the same name below the victim
        await person.grant("Keyholder"),
        await person.grant("other"),  # another agent of the same issuer
        await door.grant(f"{person.id}/agent:keyholder"),  # a name that looks like where the victim's keys lie
        await door.grant("keyholder", kind="person"),
        person,
        door,
    ]
    squatted = [(await attacker.submit(wanting("bank.post", {"account": "squat", "amount": 1}), "k"))[1]["id"]
                for attacker in attackers]  # fmt: skip
    status, own, response = await victim.submit(ONE, "k")
    assert (status, own["phase"], "Idempotency-Hit" in response.headers) == (200, "committed", False)
    assert own["id"] not in squatted
    for attacker in attackers:
        _, told, _ = await attacker.submit(ONE, "k")
        assert own["id"] not in str(told)
    for spelt in ("k", '"k"'):
        _, again, response = await victim.submit(ONE, spelt)
        assert (again["id"], response.headers["Idempotency-Hit"]) == (own["id"], "true")
    assert problem(await victim.submit({**ONE, "reason": "other"}, "k")) == (422, "idempotency-key-reused")

"""Attacks on the question to people: answers replayed, borrowed, given to oneself, or given to something else.

Each attack stands beside its honest twin, which must succeed.
"""

import asyncio
import itertools

import pytest
import pytest_asyncio
from besieged import at_rest, happened, pay, problem, reached, siege, till, vault, wanting
from doorway import eventually

from adapters.reference import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
POLICIES = (
    '@id("P-1") permit (principal, action == Action::"bank.post#with_approval", resource);\n'
    '@id("P-2") @quorum("2") permit (principal, action == Action::"mail.post#with_approval", resource);\n'
    '@id("P-3") permit (principal, action == Action::"vault.post#with_approval", resource)\n'
    "when { context.facts.balance < 1000 };\n"
    '@id("P-4") @approvers("finance,erin") permit (principal, action == Action::"till.post#with_approval", resource);'
)
_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(server, template):
    world = World()
    async with siege(server, template, vault(world), till(World())) as (door, _):
        status, said, _ = await door.post("/v1/policies", {"cedar": POLICIES, "activate": True})
        assert status == 201, said
        yield door, world


@pytest.fixture
def door(opened):
    return opened[0]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(opened):
    return await (await opened[0].grant("manager-x", kind="person", may_delegate=True)).grant("bot", may_delegate=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def approver(opened):
    return await opened[0].grant("dana", kind="person", may_delegate=True)


async def waiting(agent, operation="bank.post", amount=120, account=None):
    account = account or f"account {next(_numbers)}"
    body = (
        pay(account, amount) if operation == "till.post" else wanting(operation, {"account": account, "amount": amount})
    )
    _, shown, _ = await agent.submit(body)
    assert shown["phase"] == "awaiting_approval", shown
    return shown


async def answer(holder, shown, word="approve", digest=None):
    said = {"note": "seen"} if word == "approve" else {"reason": "no"}
    return await holder.post(f"/v1/intents/{shown['id']}/{word}", {"digest": digest or shown["digest"], **said})


async def person(door, name, role=None, **more):
    subject = {"kind": "person", "name": name, "role": role}
    status, told, _ = await door.post("/v1/grants", {"subject": subject, "operations": [{"operation": "*"}], **more})
    assert status == 201, told
    return door.holding(told["token"])


async def refused(door, holders, shown, status, slug):
    await at_rest(door)
    before = await door.head()
    for holder in holders:
        for word in ("approve", "reject"):
            assert problem(await answer(holder, shown, word)) == (status, slug)
    assert await happened(door, before) == []


# ── replayed and borrowed ────────────────────────────────────────────────────────────────────────────────────────


async def test_the_same_answer_counts_once_however_often_it_is_sent(door, agent, approver):
    shown = await waiting(agent, "mail.post")
    answers = await asyncio.gather(*(answer(approver, shown) for _ in range(5)))
    assert sorted(status for status, *_ in answers) == [200, 403, 403, 403, 403]
    again = [await answer(approver, shown), await answer(await door.grant("dana", kind="person"), shown)]
    assert [problem(one) for one in again] == [(403, "not-eligible")] * 2
    assert (await agent.get(f"/v1/intents/{shown['id']}"))[1]["phase"] == "awaiting_approval"
    second = await door.grant("erin", kind="person")
    assert (await answer(second, shown))[0] == 200
    await reached(door, shown["id"], "committed")
    assert [problem(await answer(one, shown)) for one in (approver, second)] == [(409, "not-waiting")] * 2
    _, events, _ = await door.get(f"/v1/intents/{shown['id']}/events")
    assert [line["body"]["by"] for line in events["items"] if line["type"] == "ApprovalGiven"] == ["dana", "erin"]


async def test_an_answer_to_one_intent_is_none_to_another_even_if_they_are_alike(door, agent, approver):
    first, twin = [await waiting(agent, account="alike") for _ in range(2)]
    larger = await waiting(agent, account="alike", amount=121)
    assert first["digest"] == twin["digest"] != larger["digest"]
    for one, other in ((first, larger), (larger, first)):
        assert problem(await answer(approver, one, digest=other["digest"])) == (409, "digest-mismatch")
        assert problem(await answer(approver, one, "reject", digest=other["digest"])) == (409, "digest-mismatch")
    assert (await answer(approver, first))[0] == 200
    await reached(door, first["id"], "committed")
    for left in (twin, larger):
        assert (await door.get(f"/v1/intents/{left['id']}"))[1]["phase"] == "awaiting_approval"
    assert door.bank.world.balances["alike"] == 120
    assert (await answer(approver, twin))[0] == 200
    await reached(door, twin["id"], "committed")
    assert door.bank.world.balances["alike"] == 240


# ── approve A, execute B ─────────────────────────────────────────────────────────────────────────────────────────


async def let_go(opened, shown):
    """Wait until the hold of an intent, which does not last, has been let go."""
    _, world = opened
    account = shown["actions"][0]["params"]["account"]

    async def gone():
        return account not in {entry.account for entry in world.held.values()}

    await eventually(gone)
    return account


async def test_what_commits_is_what_was_approved_although_the_hold_was_taken_again(opened, agent, approver):
    door, world = opened
    shown = await waiting(agent, "vault.post")
    account = await let_go(opened, shown)
    assert (await answer(approver, shown))[0] == 200
    await reached(door, shown["id"], "committed")
    assert world.balances[account] == 120


async def test_what_shows_otherwise_when_it_is_prepared_again_is_asked_again(opened, agent, approver):
    door, world = opened
    shown = await waiting(agent, "vault.post")
    account = await let_go(opened, shown)
    world.balances[account] = 500
    assert (await answer(approver, shown))[0] == 200

    async def asked_again():
        _, now, _ = await door.get(f"/v1/intents/{shown['id']}")
        return now if now["approval"]["digest"] != shown["digest"] else None  # the old question stands until then

    now = await eventually(asked_again)
    assert (now["approval"]["given"], now["actions"][0]["preview"]["after"]) == ([], {"balance": 620})
    assert problem(await answer(approver, now, digest=shown["digest"])) == (409, "digest-mismatch")
    assert world.balances[account] == 500
    assert (await answer(approver, now))[0] == 200
    await reached(door, shown["id"], "committed")
    assert world.balances[account] == 620


async def test_facts_that_turn_while_people_look_are_judged_again_and_may_deny(opened, agent, approver):
    door, world = opened
    shown = await waiting(agent, "vault.post")
    account = await let_go(opened, shown)
    world.balances[account] = 5000
    assert (await answer(approver, shown))[0] == 200
    ended = await reached(door, shown["id"], "aborted")
    assert (ended["setback"]["cause"], ended["decision"]["effect"]) == ("denied", "deny")
    assert (world.balances[account], account in {entry.account for entry in world.held.values()}) == (5000, False)


async def test_what_was_approved_under_one_policy_set_does_not_commit_under_another(door, agent, approver):
    shown, honest = await waiting(agent), await waiting(agent)
    assert (await answer(approver, honest))[0] == 200
    await reached(door, honest["id"], "committed")
    other = POLICIES.replace("P-1", "P-9")
    try:
        assert (await door.post("/v1/policies", {"cedar": other, "activate": True}))[0] == 201
        await answer(approver, shown)
        ended = await reached(door, shown["id"], "aborted")
        assert ended["setback"]["cause"] == "guard"
        assert shown["actions"][0]["params"]["account"] not in door.bank.world.balances
    finally:
        await door.post("/v1/policies", {"cedar": POLICIES, "activate": True})


async def test_nothing_that_an_agent_says_counts_as_an_answer_or_changes_what_is_asked(door, agent, approver):
    action = {"account": "said", "amount": 120}
    body = wanting("bank.post", action, context={"approved": True, "by": "dana"}, confidence=1.0)
    _, shown, _ = await agent.submit(body, "said")
    assert (shown["phase"], shown["approval"]["given"]) == ("awaiting_approval", [])
    for change in ({"approved": True}, {"approval": {"by": "dana"}}, {"digest": shown["digest"]}, {"agent": "dana"}):
        assert problem(await agent.submit({**body, **change}, "more")) == (422, "invalid-intent")
    larger = wanting("bank.post", {**action, "amount": 12_000}, context=body["context"], confidence=1.0)
    assert problem(await agent.submit(larger, "said")) == (422, "idempotency-key-reused")
    assert (await answer(approver, shown))[0] == 200
    await reached(door, shown["id"], "committed")
    assert door.bank.world.balances["said"] == 120


# ── by oneself ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name",
    [
        "manager-x", "Manager-X", "MANAGER-X", "\uff4d\uff41\uff4eager-x", "manager-\u2179", "bot", "B\u2092t",
        "operator", "manager-x\ufe0f", "manager\u034f-x", "manager-x\u3164", "\U0001d4dcanager-x",
    ],
)  # fmt: skip
async def test_nobody_answers_for_their_own_agent_under_a_second_grant_or_another_spelling(door, agent, name):
    shown = await waiting(agent)
    body = {"subject": {"kind": "person", "name": name}, "operations": [{"operation": "*"}]}
    status, told, _ = await door.post("/v1/grants", body)
    if status == 201:
        await refused(door, [door.holding(told["token"])], shown, 403, "not-eligible")
    assert status == 201 or "/subject/name" in str(told)  # it looks like another name, and is none
    assert (await answer(await door.grant(f"another than {len(name)}", kind="person"), shown))[0] == 200


async def test_nobody_answers_for_their_own_agent_through_somebody_whom_they_made(door, agent, approver):
    manager = await door.grant("manager-x", kind="person", may_delegate=True)  # a second grant of the same
    puppet = await manager.grant("puppet", kind="person", may_delegate=True)
    shown = await waiting(agent)
    child = await agent.grant("child")
    await refused(
        door,
        [manager, puppet, await puppet.grant("dana", kind="person"), child, agent, door],
        shown,
        403,
        "not-eligible",
    )
    order = {"subject": {"kind": "person", "name": "x"}, "operations": [{"operation": "*"}]}
    assert problem(await agent.post("/v1/grants", order)) == (422, "wider-than-parent")
    assert (await answer(approver, shown))[0] == 200


async def test_a_quorum_is_never_one_person_and_those_whom_they_made(door, agent, approver):
    puppets = [await approver.grant(f"puppet of dana {number}", kind="person", may_delegate=True) for number in (1, 2)]
    below = await puppets[0].grant("below a puppet", kind="person")
    independent = await door.grant("independent", kind="person")
    crowd = [approver, *puppets, below]
    for first in crowd:
        shown = await waiting(agent, "mail.post")
        assert (await answer(first, shown))[0] == 200
        await refused(door, crowd, shown, 403, "not-eligible")
        assert (await door.get(f"/v1/intents/{shown['id']}"))[1]["phase"] == "awaiting_approval"
        assert (await answer(independent, shown))[0] == 200
        await reached(door, shown["id"], "committed")


async def test_nobody_appoints_an_approver_whom_policy_names_without_being_one(door, agent):
    mallory = await person(door, "mallory", "sales", may_delegate=True)
    forged = [
        await person(mallory, name, role) for name, role in (("erin", None), ("ida", "finance"), ("finance", None))
    ]
    head = await person(door, "ida", "finance", may_delegate=True)
    shown = await waiting(agent, "till.post")
    others = [
        await person(door, name, role) for name, role in (("Erin", None), ("zoe", "Finance"), ("finance ltd", None))
    ]
    await refused(door, [mallory, *forged, *others], shown, 403, "not-eligible")
    for honest in (await person(head, "zoe", "finance"), await person(door, "erin"), head):
        assert (await answer(honest, await waiting(agent, "till.post")))[0] == 200


async def test_nobody_answers_under_a_grant_that_has_died_or_that_is_too_narrow(door, agent, approver):
    shown = await waiting(agent)
    revoked, above = (
        await door.grant("once", kind="person"),
        await door.grant("above", kind="person", may_delegate=True),
    )
    below = await above.grant("below", kind="person")
    for one in (revoked, above):
        await door.post(f"/v1/grants/{one.id}/revoke", {"reason": "x"})
    await refused(door, [revoked, above, below], shown, 401, "unauthenticated")
    small = {"operation": "bank.post", "where": {"amount": {"max": 119}}}
    narrow = [await door.grant("narrow", small, kind="person"), await door.grant("mailer", "mail.*", kind="person"),
              await door.grant("of another task", kind="person", task="13B")]  # fmt: skip
    await refused(door, narrow, shown, 403, "not-eligible")
    assert (await answer(approver, shown))[0] == 200


# ── by looking ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_request_but_a_post_answers_and_looking_changes_nothing(door, agent, approver):
    shown = await waiting(agent)
    await at_rest(door)
    before = await door.head()
    said = {"digest": shown["digest"], "note": None}
    for word in ("approve", "reject", "cancel", "undo", "resolve"):
        path = f"/v1/intents/{shown['id']}/{word}"
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"):
            for more in ("", f"?digest={shown['digest']}&note=x&reason=x"):
                headers = {"X-HTTP-Method-Override": "POST", "X-Method-Override": "POST"}
                status, _, response = await approver.ask(method, path + more, json=said, headers=headers)
                assert (status, response.headers.get("Allow")) == (405, "POST"), (method, word)
    path = f"/v1/intents/{shown['id']}/approve"
    asked = await approver.ask("POST", f"{path}?digest={shown['digest']}", json=said)
    assert problem(asked) == (422, "invalid-request")
    form = {"data": {"digest": shown["digest"]}}  # what a page of somebody else's could send from a browser
    assert (await approver.ask("POST", path, **form))[0] == 415
    assert await happened(door, before) == []
    assert (await answer(approver, shown))[0] == 200
    await reached(door, shown["id"], "committed")

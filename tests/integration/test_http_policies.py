"""Policy sets through the real door: kept, activated, judged by, and tried on the past."""

import asyncio

import pytest
from doorway import doorway, intent

from ledger.canonical import digest

ONE = intent(("bank.post", "88", 10))
ALLOW = '@id("P-1") permit (principal, action, resource);'
SMALL = (
    '@id("P-45") permit (principal == Agent::"payments", action == Action::"bank.post", resource) '
    "when { context.params.amount < 50 };\n"
    '@id("P-46") @approvers("manager") permit (principal, action == Action::"bank.post#with_approval", resource);\n'
    '@id("P-47") forbid (principal, action in Action::"mail.*", resource);'
)
CONFIDENT = '@id("P-9") permit (principal, action, resource) when { context.confidence.greaterThan(decimal("0.9")) };'


async def kept(door, cedar, *, activate=True):
    status, body, response = await door.post("/v1/policies", {"cedar": cedar, "activate": activate})
    assert status == 201, body
    assert response.headers["Location"] == f"/v1/policies/{body['digest']}"
    return body


async def test_before_anything_is_activated_the_built_in_set_is_in_force(door):
    status, body, _ = await door.get("/v1/policies/active")
    assert (status, body["policies"], body["active"]) == (200, ["allow-all"], True)
    assert body["digest"] == digest(body["cedar"])
    assert (await door.get("/v1/policies"))[1] == {"items": [], "next": None}


async def test_a_policy_set_is_kept_under_its_digest_and_has_no_effect_until_it_is_activated(door):
    status, body, _ = await door.post("/v1/policies", {"cedar": SMALL})
    assert status == 201
    assert body == {"digest": digest(SMALL), "policies": ["P-45", "P-46", "P-47"], "active": False}
    assert (await door.submit(intent(("mail.post", "box", 1))))[1]["phase"] == "committed"
    _, page, _ = await door.get("/v1/policies")
    (listed,) = page["items"]
    assert (listed["digest"], listed["active"], listed["activated_at"]) == (digest(SMALL), False, None)
    assert listed["added_by"] == "operator"
    _, shown, _ = await door.get(f"/v1/policies/{body['digest']}")
    assert (shown["cedar"], shown["active"]) == (SMALL, False)
    status, activated, _ = await door.post(f"/v1/policies/{body['digest'].replace(':', '%3A')}/activate", None)
    assert (status, activated["digest"], activated["active"]) == (200, body["digest"], True)
    _, active, _ = await door.get("/v1/policies/active")
    assert (active["digest"], active["cedar"]) == (digest(SMALL), SMALL)
    _, denied, _ = await door.submit(intent(("mail.post", "box", 1)))
    assert (denied["phase"], denied["decision"]["policies"]) == ("denied", ["P-47"])
    assert denied["decision"]["policy_set"] == digest(SMALL)
    (listed,) = (await door.get("/v1/policies"))[1]["items"]
    assert (listed["active"], listed["activated_by"]) == (True, "operator")


async def test_a_verdict_allows_escalates_or_denies_and_says_by_which_policy_and_why(door):
    await kept(door, SMALL)
    agent = await door.grant("payments")
    _, small, _ = await agent.submit(ONE)
    assert (small["phase"], small["decision"]["effect"], small["decision"]["policies"]) == (
        "committed",
        "allow",
        ["P-45"],
    )
    _, large, _ = await agent.submit(intent(("bank.post", "88", 50)))
    assert (large["phase"], large["decision"]["effect"]) == ("awaiting_approval", "escalate")
    assert (large["decision"]["approvers"], large["decision"]["quorum"]) == (["manager"], 1)
    assert any("amount" in reason for reason in large["decision"]["reasons"])


async def test_absent_confidence_counts_as_none(door):
    await kept(door, CONFIDENT)
    for confidence, effect in ((None, "deny"), (0.9, "deny"), (0.95, "allow")):
        _, body, _ = await door.submit({**ONE, "confidence": confidence})
        assert body["decision"]["effect"] == effect
        assert effect == "allow" or any("confidence" in reason for reason in body["decision"]["reasons"])


@pytest.mark.parametrize(
    ("cedar", "line"),
    [
        ("permit (principal, action, resource)", 1),
        ('@id("P-1") permit (principal, action, resource);\n\n@id("P-2") permit (principal, actoin, resource);', 3),
        ("permit (principal, action, resource);", 1),  # has no id
        (ALLOW + "\n" + ALLOW, 2),  # the same id twice
        ('@id("P-1") permit (principal, action == Action::"bank.psot", resource);', 1),
        (
            '@id("P-1") permit (principal, action == Action::"bank.post", resource) when { context.amuont };',
            1,
        ),
        ("", None),
    ],
)
async def test_an_invalid_policy_set_never_becomes_active_and_says_where_it_is_wrong(door, cedar, line):
    head = await door.head()
    status, problem, _ = await door.post("/v1/policies", {"cedar": cedar, "activate": True})
    assert status == 422
    assert problem["errors"][0]["message"]
    if line is not None:
        assert problem["type"] == "urn:intent-ledger:problem:invalid-policy"
        assert problem["errors"][0]["line"] == line
        assert problem["errors"][0]["column"] >= 1
    assert await door.head() == head
    assert (await door.get("/v1/policies/active"))[1]["policies"] == ["allow-all"]


async def test_a_policy_set_that_nobody_kept_is_404(door):
    for method, path in (("GET", ""), ("POST", "/activate")):
        for name in ("sha256:" + "0" * 64, "nonsense"):
            status, problem, _ = await door.ask(method, f"/v1/policies/{name}{path}")
            assert (status, problem["type"]) == (404, "urn:intent-ledger:problem:not-found")


async def test_every_process_judges_by_what_was_activated_last(door, dsn):
    async with doorway(dsn) as other:
        assert (await other.submit(ONE))[1]["phase"] == "committed"
        await kept(door, SMALL)
        _, body, _ = await other.submit(intent(("mail.post", "box", 1)))
        assert (body["phase"], body["decision"]["policy_set"]) == ("denied", digest(SMALL))
        assert (await other.get("/v1/policies/active"))[1]["digest"] == digest(SMALL)


async def test_kept_policy_sets_are_listed_page_by_page(door):
    texts = [ALLOW.replace("P-1", f"P-{number}") for number in range(5)]
    await asyncio.gather(*(kept(door, text, activate=False) for text in texts))
    await kept(door, texts[0], activate=False)
    seen, after = [], ""
    while after is not None:
        _, page, _ = await door.get(f"/v1/policies?limit=2{after and f'&after={after}'}")
        seen.extend(item["digest"] for item in page["items"])
        after = page["next"]
    assert sorted(seen) == sorted(digest(text) for text in texts)


async def test_a_candidate_is_tried_on_the_past_and_shows_whose_decision_would_differ(door):
    agent = await door.grant("payments")
    bodies = [
        (await agent.submit(intent(actions)))[1]
        for actions in (("bank.post", "88", 10), ("bank.post", "88", 60), ("mail.post", "box", 1))
    ]
    small, large, mail = bodies
    head = await door.head()
    await door.get(f"/v1/intents?min_position={max(body['position'] for body in bodies)}")
    status, report, _ = await door.post("/v1/policies/test", {"cedar": SMALL})
    assert status == 200
    assert (report["digest"], report["policies"]) == (digest(SMALL), ["P-45", "P-46", "P-47"])
    assert (report["looked_at"], report["not_looked_at"], report["differing"], report["more"]) == (3, 0, 2, False)
    differences = {one["intent"]: one for one in report["differences"]}
    assert (differences[large["id"]]["was"], differences[large["id"]]["would_be"]) == ("allow", "escalate")
    assert differences[large["id"]]["approvers"] == ["manager"]
    assert differences[mail["id"]]["would_be"] == "deny"
    assert differences[mail["id"]]["agent"] == "payments"
    assert small["id"] not in differences
    assert report["approvals_added"] == 1
    assert await door.head() == head
    assert (await door.get("/v1/policies/active"))[1]["policies"] == ["allow-all"]
    _, newest, _ = await door.post("/v1/policies/test", {"cedar": SMALL, "limit": 1})
    assert (newest["looked_at"], newest["more"]) == (1, True)
    _, later, _ = await door.post("/v1/policies/test", {"cedar": SMALL, "since": "2999-01-01T00:00:00Z"})
    assert (later["looked_at"], later["more"]) == (0, False)


async def test_a_candidate_is_tried_on_no_more_of_the_past_than_memory_should_hold(door, monkeypatch):
    last = [(await door.submit(intent(("bank.post", "88", 1))))[1] for _ in range(3)][-1]
    await door.get(f"/v1/intents?min_position={last['position']}")
    candidate = {"cedar": '@id("P-1") permit (principal, action, resource);'}
    assert (await door.post("/v1/policies/test", candidate))[1]["looked_at"] == 3
    monkeypatch.setattr("ledger.bounds.REHEARSAL_BYTES", 1)
    _, report, _ = await door.post("/v1/policies/test", candidate)
    assert (report["looked_at"], report["more"]) == (1, True)


@pytest.mark.parametrize(
    ("change", "place", "slug"),
    [
        ({"since": "yesterday"}, "/since", "invalid-request"),
        ({"limit": 0}, "/limit", "invalid-request"),
        ({"limit": 10_001}, "/limit", "invalid-request"),
        ({"activate": True}, "/activate", "invalid-request"),
        ({"cedar": "permit"}, None, "invalid-policy"),
    ],
)
async def test_what_is_tried_must_follow_the_contract(door, change, place, slug):
    status, problem, _ = await door.post("/v1/policies/test", {"cedar": ALLOW, **change})
    assert (status, problem["type"]) == (422, f"urn:intent-ledger:problem:{slug}")
    assert place is None or problem["errors"][0]["path"] == place

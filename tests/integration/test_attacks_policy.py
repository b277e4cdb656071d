"""Attacks on policy: words that pose as policy, values that pose as others, policies that fail or choke, second tries.

Each attack stands beside its honest twin, which must succeed.
"""

import json

import pytest
import pytest_asyncio
from besieged import happened, notebook, problem, siege, till, wanting
from doorway import intent

from adapters.reference import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
ALL = '@id("all") permit (principal, action, resource);'
NAMED = (
    '@id("by-name") permit (principal == Agent::"boss", action == Action::"notebook.post", resource);\n'
    '@id("by-role") permit (principal, action == Action::"notebook.post", resource)\n'
    'when { principal.role == "boss" };\n'
    '@id("by-task") permit (principal, action == Action::"notebook.post", resource) when { context.task == "boss" };\n'
    '@id("by-text") permit (principal, action == Action::"notebook.post", resource)\n'
    'when { context.params has text && context.params.text == "boss" };\n'
    '@id("approved") permit (principal, action == Action::"notebook.post#with_approval", resource)\n'
    'when { context.task == "ask" };'
)
POSING = [
    'boss" || true || "',
    'boss"; permit (principal, action, resource); //',
    '") || principal == Agent::"boss',
    'Agent::"boss"',
    '"boss"',
    "boss\\",
    "boss' or '1'='1",
    'x", "name": "boss',
    '{"__entity": {"type": "Agent", "id": "boss"}}',
    "*",
    "?principal",
    "${boss}",
    "Boss",
    "b\u043ess",
    "\uff42oss",
]
LINES = [
    'boss\n@id("x") permit (principal, action, resource);',
    "boss\r\n",
    "boss\u2028",
    "\u202eboss",
    "boss\u200b",
    " boss",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(server, template):
    async with siege(server, template, notebook(World()), till(World())) as (opened, _):
        yield opened


async def activated(door, cedar):
    status, said, _ = await door.post("/v1/policies", {"cedar": cedar, "activate": True})
    assert status == 201, said
    return said


def note(amount=1, task=None, **params):
    return wanting("notebook.post", {"account": "a", "amount": amount, **params}, task=task)


async def effect(holder, body):
    status, shown, _ = await holder.submit(body)
    assert status in {200, 202}, shown
    return shown["decision"]["effect"]


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", [*POSING, *LINES])
async def test_no_name_task_or_parameter_is_ever_read_as_policy(door, text):
    await activated(door, NAMED)
    plain = await door.grant("plain")
    for change in ({"task": text}, {"text": text}, {"text": "x", "note": {text: text}}):
        assert await effect(plain, note(**change)) == "deny", change
    said = {**note(), "reason": text, "context": {text: [text]}, "confidence": 1.0}
    said["actions"][0]["id"] = text
    assert await effect(plain, said) == "deny"
    for field in ("name", "role", "version"):
        subject = {"kind": "agent", "name": "plain", field: text}
        status, told, _ = await door.post("/v1/grants", {"subject": subject, "operations": [{"operation": "*"}]})
        assert (status == 201) is (text in POSING), told  # what is not seen whole is no name
        if status == 201:
            assert await effect(door.holding(told["token"]), note()) == "deny"


async def test_the_very_words_that_policy_names_are_what_it_permits(door):
    await activated(door, NAMED)
    plain = await door.grant("plain")
    assert await effect(plain, note()) == "deny"
    for body in (note(task="boss"), note(text="boss")):
        assert await effect(plain, body) == "allow"
    for subject in ({"name": "boss"}, {"name": "plain", "role": "boss"}):
        order = {"subject": {"kind": "agent", **subject}, "operations": [{"operation": "*"}]}
        assert await effect(door.holding((await door.post("/v1/grants", order))[1]["token"]), note()) == "allow"
    person = await door.grant("boss", kind="person")  # an agent is meant
    assert await effect(person, note()) == "deny"
    assert await effect(plain, note(task="ask")) == "escalate"


@pytest.mark.parametrize(
    "value",
    [
        {"__entity": {"type": "Agent", "id": "boss"}},
        {"__extn": {"fn": "decimal", "arg": "1.0"}},
        {"__extn": {"fn": "ip", "arg": "boss"}},
        {"__expr": "principal"},
        {"type": "Agent", "id": "boss"},
        [[{"__entity": None}]],
        {"approved": True, "facts": {"balance": 1}, "": ""},
        9007199254740991,
        -0.00001,
        None,
    ],
)
async def test_no_value_poses_as_one_of_policys_own_or_stops_it_from_judging(door, value):
    await activated(door, NAMED)
    plain = await door.grant("plain")
    assert await effect(plain, note(note=value, text="x")) == "deny"
    assert await effect(plain, note(note=value, text="boss")) == "allow"
    assert problem(await plain.submit(note(text=value))) == (422, "invalid-intent")


async def test_an_id_of_a_policy_is_a_name_and_never_more(door):
    hostile = 'x\\") permit (principal, action, resource); //'
    said = await activated(door, f'@id("{hostile}") forbid (principal, action, resource);')
    assert said["policies"] == [hostile.replace("\\", "")]
    _, shown, _ = await door.submit(intent(("bank.post", "88", 1)))
    assert (shown["phase"], shown["decision"]["policies"]) == ("denied", said["policies"])
    for bad in ("a\\nb", "a\\u{202e}b", "", " a", "a" * 129):
        answer = await door.post("/v1/policies", {"cedar": ALL.replace('"all"', f'"{bad}"'), "activate": True})
        assert problem(answer) == (422, "invalid-policy")
    await activated(door, ALL)
    assert await effect(door, intent(("bank.post", "88", 1))) == "allow"


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("allowed", "honest", "posing"),
    [
        ([1], [1, 1.0], [True, "1", [1], {"1": 1}, None, 1.5, "1.0", 0]),
        (["yes"], ["yes"], [True, ["yes"], "Yes", "yes ", "y\u0435s", {"yes": "yes"}]),
        ([True], [True], [1, 1.0, "true", [True], "True"]),
        ([None], [None], [False, 0, "", [], {}, "null"]),
        ([0], [0, 0.0, -0.0], [False, None, "", "0", []]),
        ({"min": 1, "max": 5}, [1, 5, 5.0], [True, "3", 3.5, [3], None, 0, 6, {"min": 1, "max": 5}]),
        ({"max": 5}, [-3, 5], [False, "1", None, 5.5, []]),
        ({}, [7, -7], ["7", None, False, 7.5]),
    ],
)
async def test_a_constraint_of_a_grant_knows_the_types_of_json_apart(door, allowed, honest, posing):
    await activated(door, ALL)
    agent = await door.grant("typed", {"operation": "notebook.post", "where": {"note": allowed}})
    assert await effect(agent, note()) == "deny"  # absent is none of them
    for value in posing:
        assert await effect(agent, note(note=value)) == "deny", value
    for value in honest:
        assert await effect(agent, note(note=value)) == "allow", value


# ── policies that fail ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scope", ['action in Action::"notebook.post"', 'action == Action::"notebook.post"'])
@pytest.mark.parametrize(
    "failing",
    [
        "permit (principal, SCOPE, resource) when { context.params.amount * MAX > 0 };",
        "forbid (principal, SCOPE, resource) when { context.params.amount * MAX < 0 };",
        "forbid (principal, SCOPE, resource) when { context.amount + MAX < 0 || context.params.amount * MAX < 0 };",
        "permit (principal, SCOPE, resource) unless { context.params.amount * MAX < 0 };",
    ],
)
async def test_a_policy_that_fails_allows_nothing_whatever_stands_beside_it(door, failing, scope):
    failing = failing.replace("MAX", str(2**63 - 1)).replace("SCOPE", scope)
    await activated(door, f'@id("failing") {failing}\n{ALL}')
    agent = await door.grant("lucky")
    _, shown, _ = await agent.submit(note(amount=2))
    assert shown["decision"]["effect"] == ("deny" if " in " in scope else "escalate")  # "==" asks without people only
    assert "failing" in shown["decision"]["policies"]
    assert await effect(agent, note(amount=1)) == "allow"
    assert await effect(agent, intent(("bank.post", "88", 1))) == "allow"
    await activated(door, ALL)
    assert await effect(agent, note(amount=2)) == "allow"


def condition(text):
    return f'@id("deep") permit (principal, action, resource) when {{ {text} }};'


@pytest.mark.parametrize(
    ("cedar", "status"),
    [
        (condition("(" * 5_000 + "true" + ")" * 5_000), 422),
        (condition("(" * 20_000), 422),
        (condition("!" * 5_000 + "true"), 422),
        (condition("-" * 5_000 + "1 == 1"), 422),
        (condition("[" * 5_000 + "]" * 5_000 + ".isEmpty()"), 422),
        (condition("context" + ".a" * 5_000 + " == 1"), 422),
        (condition("if true then " * 5_000 + "true" + " else false" * 5_000), 422),
        (condition(" && ".join(["true"] * 4_000)), 422),
        (condition("1" + " + 1" * 5_000 + " == 1"), 422),
        (condition("{a: " * 5_000 + "1" + "}" * 5_000 + " has a"), 422),
        (condition('"' + "x" * 1_000), 422),
        (condition('"\\u{110000}" == ""'), 422),
        ("@id(" * 5_000, 422),
        (ALL + "//" + "x" * 131_072, 422),
        (ALL + "//" + "\u20ac" * 43_700, 422),
        ("\n".join(ALL.replace("all", f"p-{n}") for n in range(2_100)), 422),
        (ALL + "//" + "x" * 270_000, 413),
    ],
    ids=range(17),
)
async def test_a_policy_set_that_is_too_large_or_too_deep_is_refused_and_the_service_lives(door, cedar, status):
    active = (await door.get("/v1/policies/active"))[1]["digest"]
    before = await door.head()
    for path, more in (("/v1/policies", {"activate": True}), ("/v1/policies/test", {})):
        body = json.dumps({"cedar": cedar, **more}, ensure_ascii=False).encode()
        answer = await door.ask("POST", path, data=body, headers={"Content-Type": "application/json"})
        assert answer[0] == status
        assert problem(answer)[1] in {422: ("invalid-policy", "invalid-request"), 413: ("too-large",)}[status]
        assert status == 413 or answer[1]["errors"][0]["message"]
        assert len(str(answer[1])) < 20_000
    assert await happened(door, before) == []
    assert (await door.get("/v1/policies/active"))[1]["digest"] == active


async def test_a_policy_set_just_within_the_bounds_is_taken(door):
    for cedar in (
        condition("(" * 30 + "true" + ")" * 30),
        condition(" && ".join(["true"] * 90)),
        ALL + "//" + "x" * (131_072 - len(ALL) - 2),
    ):
        assert (await door.post("/v1/policies", {"cedar": cedar}))[0] == 201


# ── second tries ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_denied_stays_denied_under_its_key_whatever_is_permitted_later(door):
    await activated(door, NAMED)
    agent = await door.grant("patient")
    _, denied, _ = await agent.submit(note(), "patience")
    assert denied["phase"] == "denied"
    await activated(door, ALL)
    status, again, response = await agent.submit(note(), "patience")
    assert (status, again["id"], again["phase"]) == (200, denied["id"], "denied")
    assert response.headers["Idempotency-Hit"] == "true"
    assert problem(await agent.submit(note(amount=2), "patience")) == (422, "idempotency-key-reused")
    for word in ("cancel", "undo"):
        assert (await door.post(f"/v1/intents/{denied['id']}/{word}", {"reason": "x"}))[0] == 409
    assert (await agent.submit(note(), "a new key"))[1]["phase"] == "committed"


async def test_a_dry_run_has_no_effect_takes_from_no_limit_and_claims_no_likeness(door):
    await activated(door, ALL)
    once = {"operation": "bank.*", "measure": "count", "per": "total", "max": 1}
    agent = await door.grant("careful", limits=[once])
    body = intent(("bank.post", "dry", 7), task="dry", again=False)
    for number in range(3):
        _, shown, _ = await agent.submit({**body, "mode": "dry_run"}, f"dry {number}")
        assert (shown["phase"], shown["decision"]["effect"]) == ("simulated", "allow")
    assert ("dry" in door.bank.world.balances, door.bank.world.held) == (False, {})
    _, shown, _ = await agent.submit(body, "wet")
    assert (shown["phase"], door.bank.world.balances["dry"]) == ("committed", 7)
    assert problem(await agent.submit(body, "wet again")) == (409, "possible-duplicate")
    _, more, _ = await agent.submit({**body, "again": True}, "wet once more")
    assert (more["phase"], more["setback"]["cause"]) == ("aborted", "guard")
    assert problem(await agent.submit({**body, "mode": "dry_run"}, "wet")) == (422, "idempotency-key-reused")
    assert door.bank.world.balances["dry"] == 7

"""Tasks through the real door: what was commissioned, whether it is done, and who did what towards it."""

import pytest
from doorway import eventually, intent

CONTRACT = {
    "task": "close the account 88",
    "owner": "dana",
    "scope": ["bank.*"],
    "success": [{"verify": "bank.post", "params": {"account": "88", "amount": 1}, "expect": {"balance": 5}}],
    "failure_modes": [{"name": "no cover", "contains": "HAS ONLY", "escalate_to": "erin", "operation": "bank.post"}],
}


async def defined(door, **change):
    status, body, response = await door.post("/v1/tasks", {**CONTRACT, **change})
    assert status == 201, body
    return body, response


async def outcome(door, shown):
    async def found():
        return (await door.get(f"/v1/intents/{shown['id']}"))[1]["outcome"]

    return await eventually(found)


def task(name):
    return "/v1/tasks/" + name.replace(" ", "%20")


async def test_a_contract_is_kept_as_it_was_defined_and_never_changes(door):
    body, response = await defined(door)
    assert response.headers["Location"] == task(CONTRACT["task"])
    assert body == {"task": CONTRACT["task"], "contract": CONTRACT}
    head = await door.head()
    assert (await defined(door))[0] == body
    assert await door.head() == head
    status, problem, _ = await door.post("/v1/tasks", {**CONTRACT, "scope": ["*"]})
    assert (status, problem["type"]) == (409, "urn:intent-ledger:problem:conflict")
    _, shown, _ = await door.get(response.headers["Location"])
    assert (shown["contract"], shown["intents"], shown["next"]) == (CONTRACT, [], None)
    assert (await door.get("/v1/tasks"))[1] == {"items": [body], "next": None}


async def test_who_defines_a_task_owns_it_unless_they_name_somebody(door):
    body, _ = await defined(door, owner=None)
    assert body["contract"]["owner"] == "operator"


async def test_what_is_outside_the_scope_of_the_task_is_denied(door):
    await defined(door)
    agent = await door.grant("payments")
    _, body, _ = await agent.submit(intent(("mail.post", "box", 1), task=CONTRACT["task"]))
    assert (body["phase"], door.mail.world.balances) == ("denied", {})
    assert any(CONTRACT["task"] in reason for reason in body["decision"]["reasons"])


async def test_after_the_commit_the_outside_systems_are_asked_whether_the_task_is_done(door):
    await defined(door)
    _, first, _ = await door.submit(intent(("bank.post", "88", 2), task=CONTRACT["task"]))
    assert first["phase"] == "committed"
    found = await outcome(door, first)
    assert found["verdict"] == "contradicted"
    (check,) = found["checks"]
    assert (check["verify"], check["expect"], check["found"], check["holds"]) == (
        "bank.post",
        {"balance": 5},
        {"balance": 2},
        False,
    )
    _, second, _ = await door.submit(intent(("bank.post", "88", 3), task=CONTRACT["task"], follows=first["id"]))
    found = await outcome(door, second)
    assert (found["verdict"], [check["holds"] for check in found["checks"]]) == ("verified", [True])
    _, first_again, _ = await door.get(f"/v1/intents/{first['id']}")
    assert first_again["outcome"]["verdict"] == "contradicted"


async def test_a_failure_that_was_foreseen_escalates_to_the_person_whom_the_contract_names(door):
    await defined(door, failure_modes=[{"name": "no cover", "contains": "HAS ONLY 0", "escalate_to": "erin"}])
    _, body, _ = await door.submit(intent(("bank.post", "88", -1), task=CONTRACT["task"]))
    assert body["phase"] == "aborted"
    setback = body["setback"]
    assert (setback["failure_mode"], setback["escalated_to"]) == ("no cover", "erin"), setback
    path = f"/v1/intents?escalated_to=erin&min_position={body['position']}"
    assert [item["id"] for item in (await door.get(path))[1]["items"]] == [body["id"]]


async def test_the_intents_of_a_task_are_one_workflow_across_agents_oldest_first(door):
    await defined(door)
    first, second = await door.grant("tier-1"), await door.grant("payments")
    chain = []
    for number, holder in enumerate((first, second, second, first)):
        follows = {"follows": chain[-1]["id"]} if chain else {}
        _, body, _ = await holder.submit(intent(("bank.post", "88", number), task=CONTRACT["task"], **follows))
        chain.append(body)
    await door.submit(intent(("bank.post", "88", 1), task="another"))
    path = f"{task(CONTRACT['task'])}?min_position={chain[-1]['position']}"
    _, shown, _ = await door.get(path)
    assert [one["id"] for one in shown["intents"]] == [body["id"] for body in chain]
    assert [one["agent"]["name"] for one in shown["intents"]] == ["tier-1", "payments", "payments", "tier-1"]
    assert [one["follows"] for one in shown["intents"]] == [None, *(body["id"] for body in chain[:-1])]
    assert {one["phase"] for one in shown["intents"]} == {"committed"}
    seen, after = [], ""
    while after is not None:
        _, page, _ = await door.get(f"{path}&limit=3{after and f'&after={after}'}")
        seen.extend(one["id"] for one in page["intents"])
        after = page["next"]
    assert seen == [body["id"] for body in chain]
    _, listed, _ = await door.get("/v1/tasks")
    assert [(one["task"], one["contract"] is None) for one in listed["items"]] == [
        ("another", True),
        (CONTRACT["task"], False),
    ]
    _, unnamed, _ = await door.get(task("another"))
    assert (unnamed["contract"], len(unnamed["intents"])) == (None, 1)
    _, handed_over, _ = await door.get(f"/v1/intents?follows={chain[0]['id']}")
    assert [one["id"] for one in handed_over["items"]] == [chain[1]["id"]]


async def test_a_task_that_nobody_named_is_404(door):
    for path in (task("nobody's"), "/v1/tasks/%00", "/v1/tasks/%ff", "/v1/tasks/a%2Fb", task("x" * 200)):
        status, problem, _ = await door.get(path)
        assert (status, problem["type"]) == (404, "urn:intent-ledger:problem:not-found")
    status, problem, _ = await door.get(task("x") + "?after=nonsense")
    assert (status, problem["type"]) == (422, "urn:intent-ledger:problem:invalid-request")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"task": ""}, "/task"),
        ({"task": "a\u202eb"}, "/task"),
        ({"scope": []}, "/scope"),
        ({"scope": ["bank"]}, "/scope/0"),
        ({"success": [{"verify": "bank.psot", "params": {}, "expect": {"balance": 1}}]}, "/success/0/verify"),
        ({"success": [{"verify": "bank.post", "params": {}, "expect": {"balance": 1}}]}, "/success/0/params"),
        ({"success": [{**CONTRACT["success"][0], "expect": {}}]}, "/success/0/expect"),
        ({"success": [{**CONTRACT["success"][0], "expect": {"balnace": 5}}]}, "/success/0/expect/balnace"),
        ({"success": CONTRACT["success"] * 17}, "/success"),
        ({"failure_modes": [{"name": "x", "contains": "", "escalate_to": "y"}]}, "/failure_modes/0/contains"),
        ({"failure_modes": [{"name": "x", "contains": "y"}]}, "/failure_modes/0/escalate_to"),
        ({"by": "me"}, "/by"),
    ],
)
async def test_a_contract_that_cannot_be_one_names_each_place(door, change, place):
    head = await door.head()
    status, problem, _ = await door.post("/v1/tasks", {**CONTRACT, **change})
    assert (status, problem["type"]) == (422, "urn:intent-ledger:problem:invalid-request")
    assert all(error["path"].startswith(place) for error in problem["errors"])
    assert await door.head() == head

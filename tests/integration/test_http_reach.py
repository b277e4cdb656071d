"""How far a person reaches: their own custody, what their grants permit, and policy only if that is everything."""

import pytest
from doorway import intent

ALLOW = '@id("open") permit (principal, action, resource);'
URN = "urn:intent-ledger:problem:"


@pytest.mark.parametrize(
    ("operations", "more"),
    [
        (["mail.*"], {}),
        (["bank.*", "mail.*"], {}),
        ([{"operation": "*", "where": {"account": ["88"]}}], {}),
        (["*"], {"task": "12A"}),
    ],
    ids=["one system", "every system by name", "everything with a condition", "everything of a task"],
)
async def test_policy_is_changed_only_by_somebody_who_may_do_everything(door, operations, more):
    narrow = await door.grant("narrow", *operations, kind="person", **more)
    broad = await door.grant("broad", "*", kind="person")
    before = (await door.get("/v1/policies/active"))[1]["digest"]
    status, problem, _ = await narrow.post("/v1/policies", {"cedar": ALLOW, "activate": True})
    assert (status, problem["type"]) == (403, f"{URN}forbidden")
    status, kept, _ = await broad.post("/v1/policies", {"cedar": ALLOW, "activate": False})
    assert status == 201, kept
    status, problem, _ = await narrow.post(f"/v1/policies/{kept['digest']}/activate", {})
    assert (status, problem["type"]) == (403, f"{URN}forbidden")
    assert (await door.get("/v1/policies/active"))[1]["digest"] == before
    status, _, _ = await broad.post(f"/v1/policies/{kept['digest']}/activate", {})
    assert status == 200
    assert (await door.get("/v1/policies/active"))[1]["digest"] == kept["digest"]


async def test_an_intent_is_undone_by_whoever_is_in_its_custody_or_may_do_what_it_does(door):
    manager = await door.grant("manager-x", "bank.*", kind="person", may_delegate=True)
    agent = await manager.grant("payments", "bank.*")
    stranger = await door.grant("stranger", "mail.*", kind="person")
    colleague = await door.grant("colleague", "bank.*", kind="person")
    for person in (manager, colleague):
        _, shown, _ = await agent.submit(intent(("bank.post", "88", 1)))
        assert shown["phase"] == "committed"
        undo = f"/v1/intents/{shown['id']}/undo", {"reason": "a mistake"}
        status, problem, _ = await stranger.post(*undo)
        assert (status, problem["type"]) == (403, f"{URN}forbidden")
        assert (await door.get(f"/v1/intents/{shown['id']}"))[1]["phase"] == "committed"
        status, said, _ = await person.post(*undo)
        assert status == 200, said
        status, problem, _ = await stranger.post(
            f"/v1/intents/{shown['id']}/resolve", {"action": None, "outcome": "applied", "note": ""}
        )
        assert (status, problem["type"]) == (403, f"{URN}forbidden")

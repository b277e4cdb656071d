"""Odd behaviour through the real door: it is found, told once, and answered as configuration says."""

import asyncio

import pytest
from doorway import doorway, eventually, intent
from habitual import a_moment_ago, past
from views import write

from adapters.reference import ReferenceAdapter, World
from bench.behaviour.traffic import Agent
from gateway.behaviour_settings import BehaviourSettings
from gateway.watch import Watch
from projections.catalogue import PROJECTIONS
from projections.replay import replay

REFUNDER = Agent("refunder", None, "bank.post", 4)
STRICT = BehaviourSettings(count="suspend", amount="escalate")


def post(number):
    return intent(("bank.post", "88", number))


@pytest.fixture
async def door(dsn, pool, store):
    await write(pool, past(REFUNDER, days=9, per_hour=4, until=a_moment_ago()))
    async with doorway(dsn, behaviour=STRICT) as opened:
        yield opened


async def standing(door, count=1):
    async def found():
        _, page, _ = await door.get("/v1/anomalies?standing=true")
        return page["items"] if len(page["items"]) >= count and door.service.watch.standing >= count else None

    return await eventually(found)


async def burst(agent):
    return await asyncio.gather(*(agent.submit(post(number), wait=None) for number in range(30)))


async def test_an_agent_that_suddenly_does_far_more_is_suspended_until_a_person_resumes_it(door, pool):
    agent = await door.grant("refunder", "bank.*")
    other = await door.grant("someone-else", "bank.*")
    taken = sum(status == 202 for status, _, _ in await burst(agent))  # who is quick is suspended in the middle of it
    (anomaly,) = await standing(door)
    assert (anomaly["kind"], anomaly["response"], anomaly["suspended"]) == ("count", "suspend", [agent.id])
    assert (
        anomaly["evidence"]["count"] > anomaly["evidence"]["limit"] > anomaly["evidence"]["expected_thousandths"] / 1000
    )
    assert anomaly["sentence"].startswith("Refunder Agent asked for bank.post ")
    status, problem, _ = await agent.submit(post(99))
    assert (status, "is suspended" in problem["detail"]) == (401, True)
    assert (await other.submit(post(99)))[0] == 200
    await door.post(f"/v1/grants/{agent.id}/resume", {"reason": "It was the sale."})
    assert (await agent.submit(post(100)))[0] == 200, "what was looked at is not found again at once"
    _, cleared, _ = await door.post(f"/v1/anomalies/{anomaly['id']}/clear", {"note": "It was the sale."})
    assert (cleared["standing"], cleared["cleared_by"]) == (False, "operator")
    again = await door.post(f"/v1/anomalies/{anomaly['id']}/clear", {"note": "Again."})
    assert again[1]["note"] == "It was the sale."
    position = await door.head()
    _, audit, _ = await door.get(f"/v1/audit?agent=refunder&min_position={position}")
    told = [entry["sentence"] for entry in audit["items"] if entry["kind"] in {"anomaly", "suspend", "clear_anomaly"}]
    assert told[-1].startswith("The watch over behaviour suspended ")
    assert told[-2].startswith("Odd: Refunder Agent asked for bank.post ")
    assert told[-3].startswith("Operator cleared anomaly ")
    _, page, _ = await door.get("/v1/behaviour?agent=refunder")
    (habit,) = page["items"]
    uses = 9 * 24 * 4 + taken + 1
    assert (habit["operation"], habit["judged_by"], habit["uses"]) == ("bank.post", "itself", uses)
    assert [window["minutes"] for window in habit["windows"]] == [1, 5, 15, 60]
    rebuilt = {one.name: one for one in await replay(pool, "main", [p for p in PROJECTIONS if p.name in NAMES])}
    assert all(one.equal for one in rebuilt.values())


NAMES = ("behaviour", "anomalies")


async def test_an_anomaly_is_told_once_however_many_watch(door, pool, store):
    service = door.service
    agent = await door.grant("refunder", "bank.*")
    more = [Watch(pool, store, service.authority, service.follower, STRICT) for _ in range(3)]
    await burst(agent)
    await standing(door)
    await asyncio.gather(*(watch.look() for watch in more))
    late = Watch(pool, store, service.authority, service.follower, STRICT)
    await pool.execute("delete from intent_ledger.anomalies")  # it knows nothing of what was told before
    await late.look()
    _, feed, _ = await door.get("/v1/events?after=860&limit=500")
    types = [line["type"] for line in feed["items"]]
    assert (types.count("AnomalyDetected"), types.count("GrantSuspended")) == (1, 1)


async def test_a_rebuild_tells_nothing_again_and_suspends_nobody_again(door, pool, store):
    service = door.service
    agent = await door.grant("refunder", "bank.*")
    await burst(agent)
    (anomaly,) = await standing(door)
    await door.post(f"/v1/grants/{agent.id}/resume", {"reason": "It was the sale."})
    position = await door.head()
    await door.get(f"/v1/anomalies?min_position={position}")
    before = {name: await rows_of(pool, name) for name in NAMES}
    assert all(before.values())
    rebuilt = await replay(pool, "main", [one for one in PROJECTIONS if one.name in NAMES])
    assert [one.equal for one in rebuilt] == [True, True]
    await Watch(pool, store, service.authority, service.follower, STRICT).look()  # which knows of nothing it has told
    await service.watch.look()
    assert {name: await rows_of(pool, name) for name in NAMES} == before
    assert await door.head() == position, "nothing was appended"
    _, shown, _ = await door.get(f"/v1/grants/{agent.id}")
    assert (shown["suspended"], anomaly["suspended"]) == (False, [agent.id])


async def rows_of(pool, name):
    return [tuple(row) for row in await pool.fetch(f"select * from intent_ledger.{name} order by 1, 2, 3")]


async def test_refunds_ten_times_as_large_are_escalated_within_ten_of_them(dsn, pool, store):
    usual = Agent("refunder", None, "till.post", 4, amount_minor=4_000)
    await write(pool, past(usual, days=2, per_hour=4, until=a_moment_ago()))
    till = ReferenceAdapter("till", World(), money=True)
    async with doorway(dsn, None, till, behaviour=STRICT) as door:
        agent = await door.grant("refunder", "till.*")
        phases = []
        for number in range(10):
            action = intent(("till.post", "88", 40_000 + number))
            action["actions"][0]["params"]["currency"] = "USD"
            _, body, _ = await agent.submit(action)
            phases.append(body["phase"])
            if body["phase"] == "awaiting_approval":
                break
            await door.get(f"/v1/anomalies?min_position={body['position']}")
            await door.service.watch.look()
            await door.get(f"/v1/anomalies?min_position={await door.head()}")
            await door.service.watch.look()
        assert phases[-1] == "awaiting_approval", phases
        assert set(phases[:-1]) == {"committed"}
        (reason,) = body["decision"]["reasons"]
        assert reason.startswith("refunder does something odd: amount (anomaly ")
        _, feed, _ = await door.get(f"/v1/events?after={body['position'] - 3}&limit=500")
        (verdict,) = (one["body"] for one in feed["items"] if one["type"] == "PolicyEvaluated")
        assert [(one["kind"], one["escalates"]) for one in verdict["anomalies"]] == [("amount", True)]
        _, anomalies, _ = await door.get("/v1/anomalies?kind=amount&agent=refunder")
        (anomaly,) = anomalies["items"]
        await door.post(f"/v1/anomalies/{anomaly['id']}/clear", {"note": "The prices were raised."})
        await door.get(f"/v1/anomalies?min_position={await door.head()}")
        await door.service.watch.look()
        action["actions"][0]["params"]["amount"] = 4_001
        assert (await agent.submit(action))[1]["phase"] == "committed"


async def test_a_watch_that_dies_between_doing_and_telling_does_it_once(door, pool, store, monkeypatch):
    service = door.service
    await service.watch.stop()
    agent = await door.grant("refunder", "bank.*")
    await burst(agent)
    loud = STRICT.model_copy(update={"webhook": True})
    dying = Watch(pool, store, service.authority, service.follower, STRICT)

    async def dies(_append):
        raise asyncio.CancelledError

    async def found():
        return await pool.fetch("select from intent_ledger.behaviour where found > 0")

    await eventually(found)
    with monkeypatch.context() as patch:
        patch.setattr(store, "append", dies)
        with pytest.raises(asyncio.CancelledError):
            await dying.look()
    await door.post(f"/v1/grants/{agent.id}/resume", {"reason": "A person was faster."})
    await Watch(pool, store, service.authority, service.follower, loud, notify=True).look()
    assert len(await pool.fetch("select from intent_ledger.outbox")) == 1
    _, feed, _ = await door.get(f"/v1/events?after={9 * 24 * 4}&limit=500")
    types = [line["type"] for line in feed["items"] if line["type"] in {"GrantSuspended", "AnomalyDetected"}]
    assert types == ["GrantSuspended", "AnomalyDetected"]
    _, shown, _ = await door.get(f"/v1/grants/{agent.id}")
    assert not shown["suspended"], "what a person has lifted is not suspended again for the same anomaly"


async def test_who_looks_for_what_is_not_there_is_told_so(door):
    assert (await door.get("/v1/anomalies/7-0"))[0] == 404
    assert (await door.post("/v1/anomalies/7-0/clear", {"note": "x"}))[0] == 404
    for wrong in ("after=x", "kind=odd", "standing=perhaps", "since=2030-01-02T00:00:00Z&until=2030-01-01T00:00:00Z"):
        status, problem, _ = await door.get(f"/v1/anomalies?{wrong}")
        assert (status, bool(problem["errors"])) == (422, True), wrong
    assert (await door.get("/v1/behaviour?after=x"))[0] == 422
    agent = await door.grant("refunder", "bank.*")
    assert (await agent.get("/v1/anomalies"))[0] == (await agent.get("/v1/behaviour"))[0] == 403

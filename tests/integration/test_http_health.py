"""What /readyz says: 503 only for what keeps intents from being accepted, the rest beside a 200."""

import asyncpg
from doorway import eventually, intent

from projections.catalogue import PROJECTIONS


async def readiness(door):
    """Return the status and what was said; how far the views are behind changes from one moment to the next."""
    status, said = await ready(door)
    del said["lag"]
    return status, said


async def ready(door):
    async with door.session.get(f"{door.url}/readyz") as response:
        return response.status, await response.json()


async def test_the_lag_of_each_view_is_told_and_a_view_that_stopped_makes_nobody_wait_but_its_readers(door, dsn):
    before = await door.head()
    owner = await asyncpg.connect(dsn)
    await owner.execute("alter table intent_ledger.exposure add constraint refuses check (ledger = '') not valid")
    status, shown, _ = await door.submit(intent(("bank.post", "88", 1)))
    assert (status, shown["phase"]) == (200, "committed")
    door.bank.gate.clear()
    status, held, _ = await door.submit(intent(("bank.post", "88", 1)), wait=None)

    async def told():
        lag = (await ready(door))[1]["lag"]
        return lag["exposure"] > 0 == lag["audit"] and lag

    assert set(await eventually(told)) == {projection.name for projection in PROJECTIONS}
    for path in ("intents", "audit"):
        status, page, _ = await door.get(f"/v1/{path}?min_position={held['position']}")
        assert (status, bool(page["items"])) == (200, True)
    status, problem, _ = await door.get(f"/v1/exposure?min_position={await door.head()}")
    assert (status, problem["type"]) == (503, "urn:intent-ledger:problem:not-ready")
    assert "exposure: Stopped after position" in problem["detail"]
    assert "refuses" in problem["detail"]
    assert await door.head() > before
    door.bank.gate.set()
    await owner.close()


async def test_a_view_that_stopped_takes_no_intake_away_and_says_why(door, dsn):
    connection = await asyncpg.connect(dsn)
    await connection.execute("alter table intent_ledger.audit add constraint broken check (kind <> 'intent') not valid")
    await connection.close()
    status, shown, _ = await door.submit(intent(("bank.post", "a-secret-account", 1)))
    assert (status, shown["phase"]) == (200, "committed")

    async def noticed():
        return door.service.follower.failure

    assert "a-secret-account" in await eventually(noticed), "PostgreSQL shows the row that it refuses"
    status, ready = await readiness(door)
    assert (status, ready["ready"]) == (200, True)
    (reason,) = ready["reasons"]
    assert "view" in reason
    assert "a-secret-account" not in reason, "nobody has shown a token here"
    _, views, _ = await door.get("/v1/projections")
    assert [view["name"] for view in views["items"] if view["failure"]] == ["audit"]
    status, shown, _ = await door.submit(intent(("bank.post", "88", 1)))
    assert (status, shown["phase"]) == (200, "committed")


async def test_views_of_an_older_release_are_rebuilt_while_the_service_serves_and_says_so(door, dsn):
    elsewhere = await asyncpg.connect(dsn)  # as if another process were rebuilding them
    await elsewhere.execute("select pg_advisory_lock(hashtextextended('views of main', 0))")
    await elsewhere.execute("update intent_ledger.projections set revision = 1 where name = 'audit'")
    status, shown, _ = await door.submit(intent(("bank.post", "88", 1)))
    assert (status, shown["phase"]) == (200, "committed")

    async def said():
        _, ready = await readiness(door)
        return ready["ready"] and ready["reasons"]

    (reason,) = await eventually(said)
    assert "being rebuilt" in reason
    _, views, _ = await door.get("/v1/projections")
    (failure,) = [view["failure"] for view in views["items"] if view["failure"]]
    assert "being rebuilt" in failure
    await elsewhere.close()

    async def rebuilt():
        return await readiness(door) == (200, {"ready": True, "reasons": []})

    await eventually(rebuilt)
    _, page, _ = await door.get(f"/v1/audit?min_position={shown['position']}")
    assert page["items"][0]["intent"] == shown["id"]


async def test_a_service_that_is_shutting_down_is_not_ready(door):
    assert await readiness(door) == (200, {"ready": True, "reasons": []})
    door.door.draining = True
    assert await readiness(door) == (503, {"ready": False, "reasons": ["The service is shutting down."]})
    door.door.draining = False

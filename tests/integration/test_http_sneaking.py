"""What nobody gets by a side door: facts of what is denied, answers that hide a revoke, holds that outlive a grant."""

import pytest
from doorway import doorway, eventually, intent

from adapters.contract import Call, Preview
from adapters.reference import ReferenceAdapter, World


class Shop(ReferenceAdapter):
    """A system of record that counts how often it was looked at."""

    looks = 0

    async def preview(self, call: Call) -> Preview:
        self.looks += 1
        return await super().preview(call)


@pytest.fixture
def shop():
    return Shop("shop", World(), facts=True)


@pytest.fixture
async def door(dsn, shop):
    async with doorway(dsn, None, shop) as opened:
        yield opened


@pytest.mark.parametrize("mode", ["execute", "dry_run"])
async def test_nothing_is_looked_up_for_an_intent_that_is_denied_whatever_the_facts_are(door, shop, mode):
    allowed = {"operation": "shop.post", "where": {"account": ["88"]}}
    no_more = {"operation": "shop.*", "measure": "count", "per": "total", "max": 0}
    await door.post("/v1/tasks", {"task": "scoped", "scope": ["mail.*"]})
    wrong = [
        (await door.grant("elsewhere", "mail.*"), "99", "12A"),
        (await door.grant("other-account", allowed), "99", "12A"),
        (await door.grant("no-allowance", allowed, limits=[no_more]), "88", "12A"),
        (await door.grant("out-of-scope", allowed), "88", "scoped"),
    ]
    for agent, account, task in wrong:
        status, shown, _ = await agent.submit(intent(("shop.post", account, 1), mode=mode, task=task))
        assert (status, shown["phase"], shop.looks) == (200, "denied", 0), agent.issued["subject"]
        _, stream, _ = await agent.get(f"/v1/intents/{shown['id']}/events")
        assert [line["type"] for line in stream["items"]] == ["IntentSubmitted", "PolicyEvaluated"]
        assert stream["items"][1]["body"]["facts"] == {}
    status, shown, _ = await (await door.grant("own-account", allowed)).submit(intent(("shop.post", "88", 1)))
    assert (status, shown["phase"], shop.looks > 0) == (200, "committed", True)


async def test_an_intent_that_cannot_be_read_hides_no_revocation(door):
    """A person who is answered 500 would believe that the grant is still alive, or not know what it stopped."""
    cedar = '@id("P-1") permit (principal, action == Action::"bank.post#with_approval", resource);'
    assert (await door.post("/v1/policies", {"cedar": cedar, "activate": True}))[0] == 201
    agent = await door.grant("payments")
    ids = [(await agent.submit(intent(("bank.post", str(n), 1))))[1]["id"] for n in range(2)]
    async with door.service.pool.acquire() as connection:
        await connection.execute(
            "insert into intent_ledger.events (ledger, position, stream, version, type, at, body) "
            "select ledger, position + 1, 'intent/' || $1, 99, 'FromTheFuture', at, '{}' from intent_ledger.heads",
            ids[0],
        )
        await connection.execute("update intent_ledger.heads set position = position + 1")
    status, said, _ = await door.post(f"/v1/grants/{agent.id}/revoke", {"reason": "stolen"})
    assert (status, said["revoked"], said["aborting"], said["already_decided"]) == (200, [agent.id], [ids[1]], [])

    async def aborted():
        return (await door.get(f"/v1/intents/{ids[1]}"))[1]["phase"] == "aborted"

    assert await eventually(aborted)


async def test_nothing_is_held_any_longer_than_its_grant_lives(door):
    """People have a day to answer; a grant that dies in that time must not keep what it can no longer decide about."""
    cedar = '@id("P-1") permit (principal, action == Action::"bank.post#with_approval", resource);'
    assert (await door.post("/v1/policies", {"cedar": cedar, "activate": True}))[0] == 201
    _, shown, _ = await (await door.grant("brief", expires_in=2)).submit(intent(("bank.post", "88", 1)))
    assert (shown["phase"], len(door.bank.world.held)) == ("awaiting_approval", 1)

    async def aborted():
        _, now, _ = await door.get(f"/v1/intents/{shown['id']}")
        return now["phase"] == "aborted" and now["setback"]["cause"] == "revoked"

    assert await eventually(aborted)
    assert door.bank.world.held == {}

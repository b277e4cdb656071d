"""What nobody gets by a side door: facts of what is denied, words under a dead grant, an answer that hides a revoke."""

import pytest
from doorway import doorway, intent

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

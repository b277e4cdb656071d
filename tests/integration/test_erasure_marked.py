"""Personal data of adapters whose parameters are their own: marked by the operator, sealed, and gone once erased.

What is held at the outside system then is let go by what was not erased, or a person is asked. Nothing is sent again.
"""

import json
import os

import pytest
from adapter_worlds import call
from doorway import doorway, eventually
from objects_world import ObjectsOutside
from stripe_world import StripeOutside

from adapters.contract import Prepared
from adapters.stripe.adapter import StripeAdapter, StripeTable
from adapters.tables import MarksTable
from gateway.keyring_file import KeyringFile
from ledger.intents import Verb
from ledger.sealing import MARK

PAY = MarksTable(data_subject="/customer", personal=("customer", "payment_method"), personal_fields=("card",))
ASKS = '@id("P-1") permit(principal, action == Action::"stripe.pay#with_approval", resource);'
PAYMENTS = "POST /v1/payment_intents"


@pytest.fixture
async def world():
    world = await StripeOutside("pay").start()
    yield world
    await world.stop()


@pytest.fixture
async def door(dsn, tmp_path, world):
    keyring = KeyringFile(tmp_path / "personal.keyring", os.urandom)
    told = {"url": f"http://127.0.0.1:{world.port}", **world.table}
    adapter = StripeAdapter("stripe", StripeTable.model_validate_json(json.dumps(told)), lambda: world.account)
    async with doorway(dsn, None, adapter, keyring=keyring, marks={"stripe": {"pay": PAY}}) as found:
        yield found


def paying(world):
    action = {"id": "a", "operation": "stripe.pay", "params": world.params}
    return {"reason": f"for {world.params['customer']}", "again": True, "actions": [action]}


async def erase(door, world):
    return (await door.post(f"/v1/subjects/{world.params['customer']}/erase", {"reason": "asked"}))[0]


async def stored(door):
    rows = await door.service.pool.fetch("select encode(body, 'escape') as body from intent_ledger.events")
    return "".join(row["body"] for row in rows)


async def one(door, intent, check):
    async def found():
        shown = (await door.get(f"/v1/intents/{intent}"))[1]
        return shown if check(shown) else None

    return await eventually(found)


async def test_what_is_marked_is_sent_as_it_is_sealed_here_and_the_same_again_until_it_is_erased(door, world):
    world.arm(PAYMENTS, "lose")  # the hold is taken again, by the same request under the same key
    _, shown, _ = await door.submit(paying(world), "k-1")
    shown = await one(door, shown["id"], lambda now: now["phase"] == "committed")
    assert await world.effects() == 1
    assert shown["actions"][0]["params"] == world.params
    assert "card" in json.dumps(shown["actions"][0]["preview"])
    held = await stored(door)
    assert MARK in held
    assert [word for word in ("cus_88", "pm_works", "last4") if word in held] == []
    _, again, response = await door.submit(paying(world), "k-1")
    assert (again["id"], response.headers["Idempotency-Hit"]) == (shown["id"], "true")
    assert await erase(door, world) == 200
    assert (await door.submit(paying(world), "k-1"))[0] == 422
    assert "cus_88" not in json.dumps((await door.get(f"/v1/intents/{shown['id']}"))[1])
    assert await world.effects() == 1


async def test_a_hold_of_somebody_erased_is_let_go_by_its_receipt(door, world):
    await door.post("/v1/policies", {"cedar": ASKS, "activate": True})
    agent = await door.grant("payer", "stripe.*")
    _, waiting, _ = await agent.submit(paying(world))
    assert (waiting["phase"], await world.holds()) == ("awaiting_approval", 1)
    await erase(door, world)
    await one(door, waiting["id"], lambda now: now["phase"] == "aborted")
    assert (await world.holds(), await world.effects()) == (0, 0)


async def test_a_hold_whose_answer_was_lost_cannot_be_found_without_its_customer_and_asks_for_a_person(
    door, world, monkeypatch
):
    adapter = door.service.registry.adapter("stripe.pay")
    prepare = adapter.prepare

    async def prepared(call):
        try:
            return await prepare(call)
        finally:
            await erase(door, world)

    monkeypatch.setattr(adapter, "prepare", prepared)
    world.arm(PAYMENTS, "lose")
    _, shown, _ = await door.submit(paying(world), wait=None)
    asks = await one(door, shown["id"], lambda now: now["attention"])
    assert (asks["phase"], await world.effects()) == ("aborting", 0)
    assert world.happened("held") == 1  # the request was not sent once more
    status, _, _ = await door.post(
        f"/v1/intents/{shown['id']}/resolve", {"action": "a", "outcome": "applied", "note": "let go by hand"}
    )
    assert status == 200
    await one(door, shown["id"], lambda now: now["phase"] == "aborted")


async def test_an_upload_of_somebody_erased_is_ended_by_its_key():
    world = await ObjectsOutside("put").start()
    try:
        vote = await world.adapter.prepare(call(world, Verb.PREPARE))
        assert isinstance(vote, Prepared)
        assert await world.holds() == 1
        await world.adapter.abort(call(world, Verb.ABORT, params={}), None)
        assert await world.holds() == 0
    finally:
        await world.stop()

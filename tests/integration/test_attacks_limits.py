"""Attacks on limits: one large effect split into actions, intents, children, names, agents and processes.

Each attack stands beside its honest twin, which must succeed.
"""

import asyncio
import itertools

import pytest
import pytest_asyncio
from besieged import pay, reached, siege, till, wanting
from doorway import doorway

from adapters.reference import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
LIMIT = {"operation": "till.*", "measure": "amount", "currency": "USD", "per": "total", "max": 1_000}
_names = (f"spender {number}" for number in itertools.count(1))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(server, template):
    world = World()
    async with siege(server, template, till(world)) as (door, dsn):
        yield door, dsn, world


@pytest.fixture
def door(opened):
    return opened[0]


async def spent(world, holders, *bodies):
    """Submit one body after the other through the holders in turn; return how each ended, and what was spent."""
    account = bodies[0]["actions"][0]["params"]["account"]
    ended = [
        (await holder.submit(body))[1]["phase"] for holder, body in zip(itertools.cycle(holders), bodies, strict=False)
    ]
    return ended, world.balances.get(account, 0)


async def test_one_effect_in_several_actions_counts_as_one(opened, door):
    *_, world = opened
    agent = await door.grant(next(_names), limits=[LIMIT])
    for amounts in ((1_001,), (600, 600), (500, 500, 1), tuple([63] * 16)):
        _, shown, _ = await agent.submit(pay("actions", *amounts))
        assert shown["phase"] == "denied"
        assert "limit" in shown["decision"]["reasons"][0]
    assert "actions" not in world.balances
    assert await spent(world, [agent], pay("actions", 600, 400)) == (["committed"], 1_000)


async def test_one_effect_in_several_intents_counts_as_one(opened, door):
    *_, world = opened
    agent = await door.grant(next(_names), limits=[LIMIT])
    bodies = [pay("intents", amount, task=f"task {amount}") for amount in (600, 500, 401, 400, 1)]
    ended, total = await spent(world, [agent], *bodies)
    assert (ended, total) == (["committed", "aborted", "aborted", "committed", "aborted"], 1_000)


@pytest.mark.parametrize("each", ["grant", "agent"])
async def test_one_effect_through_several_children_counts_as_one(opened, door, each):
    *_, world = opened
    manager = await door.grant(next(_names), kind="person", may_delegate=True, limits=[{**LIMIT, "each": each}])
    agent = await manager.grant(next(_names), may_delegate=True)
    children = [await agent.grant(f"child {number}", may_delegate=True) for number in range(3)]
    children += [await children[0].grant("grandchild"), await agent.grant(agent.issued["subject"]["name"])]
    account = f"children, each {each}"
    ended, total = await spent(world, children, *(pay(account, 300) for _ in children))
    assert (ended.count("committed"), total) == (3, 900)
    assert await spent(world, [agent], pay(account, 101), pay(account, 100)) == (["aborted", "committed"], 1_000)
    sibling = await manager.grant(next(_names))  # another agent of the manager's has an allowance of its own, or not
    ended, _ = await spent(world, [sibling], pay(f"sibling, each {each}", 1))
    assert ended == (["committed"] if each == "agent" else ["aborted"])


async def test_a_limit_that_a_child_writes_itself_counts_beside_those_above_and_never_instead(opened, door):
    *_, world = opened
    agent = await door.grant(next(_names), limits=[LIMIT], may_delegate=True)
    own = [{**LIMIT, "per": "hour"}, {**LIMIT, "operation": "till.post", "max": 900}]
    children = [await agent.grant(next(_names), limits=own) for _ in range(2)]
    ended, total = await spent(world, children, pay("own", 900), pay("own", 900), pay("own", 10), pay("own", 100))
    assert (ended, total) == (["committed", "aborted", "aborted", "committed"], 1_000)


async def test_a_new_token_or_a_new_grant_of_the_same_agent_brings_no_new_allowance(opened, door):
    *_, world = opened
    manager = await door.grant(next(_names), kind="person", may_delegate=True, limits=[{**LIMIT, "each": "agent"}])
    name = next(_names)
    tokens = [await manager.grant(name) for _ in range(3)]
    ended, total = await spent(world, tokens, *(pay("renewed", 400) for _ in range(6)))
    assert (ended.count("committed"), total) == (2, 800)
    await manager.post(f"/v1/grants/{tokens[0].id}/revoke", {"reason": "renewed"})
    ended, total = await spent(world, [await manager.grant(name)], pay("renewed", 201), pay("renewed", 200))
    assert (ended, total) == (["aborted", "committed"], 1_000)


async def test_one_effect_through_several_processes_at_once_counts_as_one(opened):
    door, dsn, world = opened
    async with doorway(dsn, None, till(world)) as other:
        agent = await door.grant(next(_names), limits=[LIMIT], may_delegate=True)
        child = await agent.grant(next(_names))
        holders = [agent, other.holding(agent.token), child, other.holding(child.token)]
        answers = await asyncio.gather(
            *(holder.submit(pay("processes", 300)) for holder in itertools.islice(itertools.cycle(holders), 24))
        )
        phases = [shown["phase"] for _, shown, _ in answers]
        assert (phases.count("committed"), phases.count("aborted")) == (3, 21)
        assert world.balances["processes"] == 900
        ended, total = await spent(world, [other.holding(child.token)], pay("processes", 100))
        assert (ended, total) == (["committed"], 1_000)


async def test_no_other_currency_or_operation_gets_around_a_limit(opened, door):
    *_, world = opened
    agent = await door.grant(next(_names), limits=[LIMIT])
    euros = wanting("till.post", {"account": "around", "amount": 1, "currency": "EUR"})
    mixed = pay("around", 1)
    mixed["actions"].append({**euros["actions"][0], "id": "euros"})
    for body in (euros, mixed):
        _, shown, _ = await agent.submit(body)
        assert (shown["phase"], "EUR" in shown["decision"]["reasons"][0]) == ("denied", True)
    counted = {"operation": "*", "measure": "count", "per": "total", "max": 2}
    agent = await door.grant(next(_names), limits=[counted])
    three = [("bank.post", {"account": "around", "amount": 1}), ("mail.post", {"account": "around", "amount": 1})]
    ended, _ = await spent(world, [agent], *(wanting(operation, params) for operation, params in (*three, *three)))
    assert ended == ["committed", "committed", "aborted", "aborted"]


async def test_what_is_in_doubt_or_undone_is_not_spent_a_second_time(opened, door):
    *_, world = opened
    limits = [{"operation": "mail.*", "measure": "count", "per": "total", "max": 1}, LIMIT]
    agent = await door.grant(next(_names), limits=limits)
    door.mail.loses_answers = True
    _, stuck, _ = await agent.submit(wanting("mail.post", {"account": "doubt", "amount": 1}))
    door.mail.loses_answers = False
    assert stuck["attention"]["action"] == "a1"
    _, more, _ = await agent.submit(wanting("mail.post", {"account": "doubt", "amount": 1}))
    assert more["phase"] == "aborted"
    _, done, _ = await agent.submit(pay("undone", 1_000))
    await door.post(f"/v1/intents/{done['id']}/undo", {"reason": "x"})
    await reached(door, done["id"], "compensated")
    _, more, _ = await agent.submit(pay("undone", 1))
    assert more["phase"] == "aborted"
    free = await door.grant(next(_names))
    assert (await free.submit(pay("undone", 1)))[1]["phase"] == "committed"
    assert world.balances["undone"] <= 1

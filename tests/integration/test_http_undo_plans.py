"""Undo plans through the real door: what can be undone and what not, approved by digest, carried out, and told."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from doorway import doorway, eventually, intent
from views import inline_tables_are_what_events_say

from adapters.reference import ReferenceAdapter, World
from ledger.errors import Corrupt, Unauthenticated
from ledger.ids import intent_stream
from ledger.intents import Guarantee, Undo

URN = "urn:intent-ledger:problem:"
REASON = "The agent was steered by a forged mail"


class Shop(ReferenceAdapter):
    """A participant that offers every way to undo, or not to."""

    def __init__(self) -> None:
        super().__init__("shop", World(), Guarantee.IDEMPOTENT, facts=False)
        (post,) = self.operations.values()
        ways = {
            "refund": {"undo": Undo.SEMANTIC},
            "burn": {"undo": Undo.NONE},
            "lend": {"undo": Undo.EXACT, "undo_window_seconds": 3600},
            "flash": {"undo": Undo.EXACT, "undo_window_seconds": 0},
        }
        self.operations = {
            f"shop.{verb}": msgspec.structs.replace(post, name=f"shop.{verb}", **way) for verb, way in ways.items()
        }


@pytest.fixture
async def door(dsn):
    async with doorway(dsn, None, Shop()) as opened:
        yield opened
        await inline_tables_are_what_events_say(dsn)


async def committed(holder, *actions, **more) -> str:
    status, shown, _ = await holder.submit(intent(*actions, **more))
    assert (status, shown["phase"]) == (200, "committed"), shown
    return shown["id"]


async def planned(door, **selection: Any) -> dict[str, Any]:
    status, plan, answer = await door.post("/v1/undo-plans", {"reason": REASON, **selection})
    assert status == 201, plan
    assert answer.headers["Location"] == f"/v1/undo-plans/{plan['id']}"
    return plan


async def approve(door, plan) -> tuple[int, dict[str, Any]]:
    status, said, _ = await door.post(f"/v1/undo-plans/{plan['id']}/approve", {"digest": plan["digest"]})
    return status, said


async def look(door, plan) -> dict[str, Any]:
    return (await door.get(f"/v1/undo-plans/{plan['id']}"))[1]


async def carried_out(door, plan) -> dict[str, Any]:
    status, said = await approve(door, plan)
    assert (status, said["phase"]) == (202, "undoing"), said

    async def done() -> dict[str, Any] | None:
        shown = await look(door, plan)
        return shown if shown["phase"] == "done" else None

    return await eventually(done)


def extents(plan) -> dict[str, tuple[str, str | None]]:
    return {one["intent"]: (one["undo"], one["why"]) for one in plan["intents"]}


async def test_a_plan_says_what_can_be_undone_and_undoing_it_does_just_that(door):
    agent = await door.grant("refunder", task="12A")
    exact = await committed(agent, ("bank.post", "alice", 50))
    semantic = await committed(agent, ("bank.post", "alice", 7), ("shop.refund", "bob", 3))
    burnt = await committed(agent, ("bank.post", "carol", 1), ("shop.burn", "carol", 1))
    closed = await committed(agent, ("shop.flash", "dave", 1))
    lent = await committed(agent, ("shop.lend", "dave", 1))
    other = await committed(door, ("bank.post", "alice", 1000))

    plan = await planned(door, agent="refunder")
    assert extents(plan) == {
        lent: ("exact", None),
        closed: ("none", "window_passed"),
        burnt: ("none", "undo_none"),
        semantic: ("semantic", None),
        exact: ("exact", None),
    }
    assert [one["intent"] for one in plan["intents"]] == [lent, closed, burnt, semantic, exact]
    assert plan["counts"] == {"exact": 2, "semantic": 1, "partial": 0, "none": 2}
    assert plan["progress"]["waiting"] == 3
    assert door.bank.world.balances["alice"] == 1057, "planning undoes nothing"
    (restored,) = plan["intents"][-1]["actions"]
    assert (restored["stands"], restored["restores"]) == ({"balance": 50}, {"balance": 0})
    assert restored["summary"] == "post 50 to account alice"

    done = await carried_out(door, plan)
    assert {one["intent"]: one["outcome"] for one in done["intents"]} == {
        lent: "undone",
        closed: None,
        burnt: None,
        semantic: "undone",
        exact: "undone",
    }
    assert done["progress"] == {"waiting": 0, "undone": 3, "mixed": 0, "attention": 0, "moved": 0, "not_undone": 0}
    assert door.bank.world.balances == {"alice": 1000, "carol": 1}
    assert (await door.get(f"/v1/intents/{other}"))[1]["phase"] == "committed"
    assert (await door.get(f"/v1/intents/{exact}"))[1]["phase"] == "compensated"


async def rests(door, intent_id: str, phase: str) -> bool:
    return bool((await door.get(f"/v1/intents/{intent_id}"))[1]["phase"] == phase)


async def test_what_is_exact_at_one_system_is_undone_in_reverse_and_one_after_another(door):
    ids = [await committed(door, ("bank.post", "alice", 1)) for _ in range(20)]
    plan = await planned(door, operation="bank.post")
    await carried_out(door, plan)
    _, feed, _ = await door.get("/v1/events?limit=500")
    ends = [
        (one["type"], one["stream"].removeprefix("intent/"))
        for one in feed["items"]
        if one["type"] in {"CompensateDecided", "IntentCompensated"}
    ]
    kinds = ("CompensateDecided", "IntentCompensated")
    assert ends == [(kind, one) for one in reversed(ids) for kind in kinds]


async def test_selections_combine_and_reach_what_was_done_below_a_grant(door):
    boss = await door.grant("boss", kind="person", may_delegate=True)
    helper = await boss.grant("helper", task="12A")
    early = await committed(helper, ("bank.post", "alice", 1))
    between = (await door.get(f"/v1/intents/{early}"))[1]["updated_at"]
    moment = datetime.fromisoformat(between) + timedelta(milliseconds=1)
    await asyncio.sleep(0.01)
    late = await committed(helper, ("shop.refund", "alice", 1))
    elsewhere = await committed(boss, ("bank.post", "alice", 1), task="12B")

    async def chosen(**selection: Any) -> set[str]:
        return set(extents(await planned(door, **selection)))

    since, until = {"since": moment.isoformat()}, {"until": moment.isoformat()}
    assert await chosen(grant=boss.id) == {early, late, elsewhere}
    assert await chosen(grant=helper.id) == {early, late}
    assert await chosen(task="12A") == {early, late}
    assert await chosen(grant=boss.id, operation="bank.post") == {early, elsewhere}
    assert await chosen(agent="helper", **since) == {late}
    assert await chosen(agent="helper", **until) == {early}
    assert await chosen(agent="helper", operation="bank.post", **since) == set()
    assert await chosen(agent="nobody") == set()
    assert (await door.post(f"/v1/intents/{early}/undo", {"reason": "it is touched, not decided again"}))[0] == 200
    await eventually(lambda: rests(door, early, "compensated"))
    assert await chosen(agent="helper", **since) == {late}


async def test_what_a_revoked_agent_did_is_undone_and_what_it_left_undecided_is_not_listed(door):
    agent = await door.grant("thief", task="12A")
    ids = [await committed(agent, ("bank.post", "mallory", 10)) for _ in range(3)]
    door.bank.gate.clear()
    _, waiting, _ = await agent.submit(intent(("bank.post", "mallory", 99)), wait=None)
    moving = await planned(door, grant=agent.id)
    assert extents(moving)[waiting["id"]] == ("none", "not_at_rest")
    assert (await door.post(f"/v1/grants/{agent.id}/revoke", {"reason": "It was steered"}))[0] == 200
    door.bank.gate.set()

    async def aborted() -> bool:
        return (await door.get(f"/v1/intents/{waiting['id']}"))[1]["phase"] == "aborted"

    await eventually(aborted)
    plan = await planned(door, grant=agent.id)
    assert set(extents(plan)) == set(ids)
    await carried_out(door, plan)
    assert door.bank.world.balances == {"mallory": 0}


async def test_partial_undoes_what_it_can_and_the_intent_says_that_the_rest_stands(door):
    await committed(door, ("bank.post", "alice", 5), ("shop.burn", "alice", 5))
    plan = await planned(door, task="12A")
    assert plan["counts"]["none"] == 1
    assert plan["intents"][0]["reason"] == (
        'The operation shop.burn cannot be undone. The others are undone only with "partial": true.'
    )
    plan = await planned(door, task="12A", partial=True)
    assert plan["counts"]["partial"] == 1
    done = await carried_out(door, plan)
    assert [one["outcome"] for one in done["intents"]] == ["mixed"]
    assert "shop.burn" in done["intents"][0]["outcome_reason"]
    assert door.bank.world.balances == {"alice": 0}


async def test_what_was_moved_since_the_plan_is_left_alone_and_said(door):
    first, second = [await committed(door, ("bank.post", "alice", 1)) for _ in range(2)]
    plan, same = await planned(door, task="12A"), await planned(door, task="12A")
    assert plan["digest"] == same["digest"], "the same content, planned twice"
    assert (await door.post(f"/v1/intents/{first}/undo", {"reason": "I was quicker"}))[0] == 200

    async def undone() -> bool:
        return (await door.get(f"/v1/intents/{first}"))[1]["phase"] == "compensated"

    await eventually(undone)
    assert (await planned(door, task="12A"))["digest"] != plan["digest"]
    done = await carried_out(door, plan)
    told = {one["intent"]: (one["outcome"], one["outcome_reason"]) for one in done["intents"]}
    assert told == {
        second: ("undone", None),
        first: ("moved", "It is compensated: operator decided to undo it."),
    }
    again = await carried_out(door, same)
    assert again["progress"]["moved"] == 2
    assert door.bank.world.balances == {"alice": 0}
    assert {why for _, why in extents(await planned(door, task="12A")).values()} == {"already_undone"}


async def test_only_exactly_what_was_planned_is_approved_and_only_once(door):
    await committed(door, ("bank.post", "alice", 1))
    plan = await planned(door, task="12A")
    status, problem, _ = await door.post(f"/v1/undo-plans/{plan['id']}/approve", {"digest": "sha256:0"})
    assert (status, problem["type"], problem["digest"]) == (409, URN + "digest-mismatch", plan["digest"])
    await carried_out(door, plan)
    status, problem = await approve(door, plan)
    assert (status, problem["type"]) == (409, URN + "not-waiting")
    nothing = await planned(door, agent="nobody")
    status, problem = await approve(door, nothing)
    assert (status, problem["type"]) == (409, URN + "not-waiting")
    for name in ("00000000-0000-7000-8000-000000000000", "nonsense"):
        assert (await door.get(f"/v1/undo-plans/{name}"))[0] == 404
        assert (await door.post(f"/v1/undo-plans/{name}/approve", {"digest": "x"}))[0] == 404


async def test_people_undo_what_their_own_grants_permit_and_agents_nothing(door):
    mine = await committed(door, ("bank.post", "alice", 1))
    clerk = await door.grant("clerk", "shop.*", kind="person")
    theirs = await committed(clerk, ("shop.refund", "bob", 1))
    agent = await door.grant("agent")
    for path in ("", "/00000000-0000-7000-8000-000000000000"):
        body = {"reason": REASON, "task": "12A"}
        status, problem, _ = await (agent.get("/v1/undo-plans" + path) if path else agent.post("/v1/undo-plans", body))
        assert (status, problem["type"]) == (403, URN + "forbidden")
    plan = await planned(clerk, task="12A")
    assert extents(plan) == {mine: ("none", "out_of_reach"), theirs: ("semantic", None)}
    everything = await planned(door, task="12A")
    status, problem = await approve(clerk, everything)
    assert (status, problem["type"]) == (403, URN + "forbidden")
    assert (await look(door, everything))["phase"] == "planned"
    done = await carried_out(door, plan)
    assert done["approval"]["by"] == "operator"
    assert (await door.get(f"/v1/intents/{mine}"))[1]["phase"] == "committed"


async def test_a_plan_whose_approver_is_revoked_halts_and_somebody_else_goes_on(door):
    ids = [await committed(door, ("bank.post", "alice", 1)) for _ in range(3)]
    dana = await door.grant("dana", kind="person")
    plan = await planned(dana, task="12A")
    turns = asyncio.Event()
    compensate = door.bank.compensate

    async def slowly(*args: Any) -> Any:
        await turns.wait()
        return await compensate(*args)

    door.bank.compensate = slowly
    assert (await approve(dana, plan))[0] == 202

    async def begun() -> bool:
        return (await door.get(f"/v1/intents/{ids[-1]}"))[1]["phase"] == "compensating"

    await eventually(begun)
    status, revoked, _ = await door.post(f"/v1/grants/{dana.id}/revoke", {"reason": "left"})
    assert (status, revoked["already_decided"]) == (200, [ids[-1]]), "what was decided under it goes on"
    turns.set()

    async def halted() -> dict[str, Any] | None:
        shown = await look(door, plan)
        return shown if shown["phase"] == "halted" else None

    shown = await eventually(halted)
    assert "revoked or suspended" in shown["halted"]
    assert door.bank.world.balances == {"alice": 2}, "what was begun is undone, nothing else"
    done = await carried_out(door, plan)
    assert done["progress"]["undone"] == 3
    assert door.bank.world.balances == {"alice": 0}


async def test_a_person_halts_a_plan_and_it_can_be_taken_up_again(door):
    ids = [await committed(door, ("bank.post", "alice", 1)) for _ in range(3)]
    plan = await planned(door, task="12A")
    path = f"/v1/undo-plans/{plan['id']}/halt"
    status, problem, _ = await door.post(path, {"reason": "wait"})
    assert (status, problem["type"]) == (409, URN + "not-waiting")
    turns = asyncio.Event()
    compensate = door.bank.compensate

    async def slowly(*args: Any) -> Any:
        await turns.wait()
        return await compensate(*args)

    door.bank.compensate = slowly
    assert (await approve(door, plan))[0] == 202

    async def begun() -> bool:
        return (await door.get(f"/v1/intents/{ids[-1]}"))[1]["phase"] == "compensating"

    await eventually(begun)
    clerk = await door.grant("clerk", "mail.nothing", kind="person")
    status, problem, _ = await clerk.post(path, {"reason": "wait"})
    assert (status, problem["type"]) == (403, URN + "forbidden")
    status, halted, _ = await door.post(path, {"reason": "wait"})
    assert (status, halted["phase"], halted["halted"]) == (200, "halted", "wait")

    async def let_go() -> bool:
        return door.service.coordinator.in_flight == 1  # the intent that was begun, and not the plan

    await eventually(let_go)
    turns.set()

    async def undone() -> bool:
        return door.bank.world.balances == {"alice": 2}

    await eventually(undone)
    shown = await look(door, plan)
    assert (shown["phase"], shown["progress"]["waiting"]) == ("halted", 3)
    done = await carried_out(door, plan)
    assert done["progress"]["undone"] == 3
    _, audit, _ = await door.get(f"/v1/audit?outcome=undo_halted&min_position={done['position']}")
    assert audit["items"][0]["sentence"] == "Operator halted the plan to undo what was done for task 12A: wait"


async def test_a_process_that_closes_begins_nothing_more_of_a_plan_and_another_goes_on(dsn):
    async with doorway(dsn) as door:
        ids = [await committed(door, ("bank.post", "alice", 1)) for _ in range(3)]
        plan = await planned(door, task="12A")
        turns = asyncio.Event()
        compensate = door.bank.compensate

        async def slowly(*args: Any) -> Any:
            await turns.wait()
            return await compensate(*args)

        door.bank.compensate = slowly
        assert (await approve(door, plan))[0] == 202
        await eventually(lambda: rests(door, ids[-1], "compensating"))
        draining = asyncio.create_task(door.service.coordinator.drain(10))
        await asyncio.sleep(0)  # it has begun to close
        turns.set()
        await draining
        assert door.bank.world.balances == {"alice": 2}, "what was begun is undone, nothing else"
        assert (await look(door, plan))["phase"] == "undoing"
    async with doorway(dsn) as another:
        await eventually(lambda: rests(another, ids[0], "compensated"))


async def test_who_dies_between_asking_and_the_append_approves_nothing(door):
    await committed(door, ("bank.post", "alice", 1))
    plan = await planned(door, task="12A")
    dana = await door.grant("dana", kind="person")
    asked = await door.service.authority.authenticate(dana.token)
    assert (await door.post(f"/v1/grants/{dana.id}/revoke", {"reason": "left"}))[0] == 200
    with pytest.raises(Unauthenticated):
        await door.service.coordinator.undo_plans.approve(plan["id"], asked, plan["digest"])
    assert (await look(door, plan))["phase"] == "planned"


async def test_an_intent_that_nobody_can_read_holds_up_no_other(door, monkeypatch):
    first, second = [await committed(door, ("bank.post", "alice", 1)) for _ in range(2)]
    plan = await planned(door, task="12A")
    read = door.service.store.read

    async def broken(stream: str, *after: int) -> Any:
        if stream == intent_stream(second):
            raise Corrupt("Its second event is not what was written.")
        return await read(stream, *after)

    with monkeypatch.context() as patch:
        patch.setattr(door.service.store, "read", broken)
        done = await carried_out(door, plan)
    told = {one["intent"]: (one["outcome"], one["outcome_reason"]) for one in done["intents"]}
    assert told == {second: ("not_undone", "Its second event is not what was written."), first: ("undone", None)}
    assert door.bank.world.balances == {"alice": 1}


async def test_the_audit_tells_who_planned_what_who_approved_it_and_how_it_ended(door):
    agent = await door.grant("refunder", task="12A")
    await committed(agent, ("bank.post", "alice", 1))
    plan = await planned(door, agent="refunder", since="2026-01-01T00:00:00Z")
    done = await carried_out(door, plan)
    _, audit, _ = await door.get(f"/v1/audit?agent=refunder&min_position={done['position']}")
    told = {one["outcome"]: one["sentence"] for one in audit["items"]}
    short = plan["digest"][:19]
    whose = "undo what was done by Refunder Agent since 2026-01-01 00:00:00 UTC"
    assert told["undo_planned"] == f"Operator planned to {whose}: 1 exactly ({short}): {REASON}"
    assert told["undo_approved"] == f"Operator approved to {whose} ({short}): {REASON}"
    assert told["undo_finished"] == f"The plan to {whose} has ended: 1 undone"
    assert told["undo_decided"].startswith("Operator decided to undo: post 1 to account alice")


WRONG = [
    ({"reason": REASON}, ""),
    ({"agent": "a"}, "/reason"),
    ({"reason": REASON, "agent": ""}, "/agent"),
    ({"reason": REASON, "operation": "bank.*"}, "/operation"),
    ({"reason": REASON, "since": "14:00"}, "/since"),
    ({"reason": REASON, "agent": "a", "everything": True}, "/everything"),
]


async def test_a_selection_that_cannot_be_one_is_refused_and_nothing_recorded(door):
    head = await door.head()
    for body, place in WRONG:
        status, problem, _ = await door.post("/v1/undo-plans", body)
        assert (status, problem["type"]) == (422, URN + "invalid-request")
        assert [error["path"] for error in problem["errors"]] == [place]
    assert await door.head() == head


async def test_a_plan_that_waited_too_long_is_not_carried_out(door, monkeypatch):
    monkeypatch.setattr("ledger.bounds.APPROVAL_SECONDS", -1.0)
    await committed(door, ("bank.post", "alice", 1))
    plan = await planned(door, task="12A")
    assert datetime.fromisoformat(plan["expires_at"]) < datetime.now(UTC)
    status, problem = await approve(door, plan)
    assert (status, problem["type"]) == (409, URN + "not-waiting")
    assert door.bank.world.balances == {"alice": 1}


async def test_a_selection_that_reaches_too_many_is_refused(door, monkeypatch):
    for _ in range(2):
        await committed(door, ("bank.post", "alice", 1))
    head = await door.head()
    for bound in ("UNDO_PLAN_INTENTS", "UNDO_PLAN_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(f"ledger.bounds.{bound}", 1)
            status, problem, _ = await door.post("/v1/undo-plans", {"reason": REASON, "task": "12A"})
        assert (status, problem["type"]) == (422, URN + "invalid-request")
    assert await door.head() == head

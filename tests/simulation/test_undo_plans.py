"""An undo plan, with a crash or a pause before and after every append and every call, and a revoke at every point.

Whatever happens, the plan comes to an end, each of its intents is undone exactly once, and what is exact at one system
in reverse.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from simulation.cast import principal, token
from simulation.chance import Scripted
from simulation.checker import check
from simulation.network import Network
from simulation.scenes import insist, people
from simulation.shapes import LOST_ANSWER, revoked, shape
from simulation.world import REST_SECONDS, Door, Gone, World, request

from authority.grants import Principal
from coordinator.undo_plans import Wanted
from ledger import events as e
from ledger.errors import NotWaiting, Unauthenticated, Unavailable
from ledger.phases import Phase
from ledger.state import IntentState
from ledger.undo_plans import Ending, Selection
from ledger.undo_state import PlanPhase, PlanState, fold_plan

INTENTS = [shape("idempotent.exact"), shape("idempotent.exact"), shape("verifiable.semantic"), shape("atomic.exact")]
WANTED = Wanted(Selection(agent="alpha"), "it was wrong")


def play(crashes=(), pauses=(), happenings=None, *, lost: bool = False) -> World:
    """Submit some intents; then plan to undo them, approve that, and wait for its end. Points count from the plan."""
    network = Network()
    loses = {"compensate": LOST_ANSWER} if lost else {}
    chance = Scripted(lambda verb, _, number: loses.get(verb) if number == 1 else None, workers=2 if pauses else 1)
    world = World(chance, network, shuffled=False)

    def beginning() -> None:
        network.count_from_here(frozenset(crashes), frozenset(pauses))
        network.happenings = {point: partial(happens, world) for point, happens in (happenings or {}).items()}

    world.run(partial(undoing, beginning=beginning))
    broken = [*check(world), *undone_once_in_order(world)]
    assert not broken, f"crashes {[*crashes]}, pauses {[*pauses]}, happenings {[*(happenings or ())]}: {broken}"
    return world


async def undoing(world: World, beginning: Callable[[], None]) -> None:
    slots = [world.loop.create_task(world.keep_running(n)) for n in range(world.chance.workers)]
    for number, actions in enumerate(INTENTS):
        await insist(world, request(f"key-{number}", actions, again=True), token("alpha"))
    await world.settle(people)
    beginning()
    plan = await plan_it(world)
    while plan.phase is not PlanPhase.DONE:
        await approve_it(world, plan, "dana" if plan.phase is PlanPhase.PLANNED else "operator")
        plan = await ended(world, plan)
    await world.settle(people)
    for slot in slots:
        slot.cancel()


async def plan_it(world: World) -> PlanState:
    """Plan until there is a plan; the operator does if dana was revoked before she could."""
    states = list(world.states().values())
    assert {state.phase for state in states} == {Phase.COMMITTED}
    plan = partial(_plan, states=states)
    found = await _heard(world, plan, "dana") or await _heard(world, plan, "operator")
    assert found is not None
    return found


async def approve_it(world: World, plan: PlanState, name: str) -> None:
    """Approve until it is known to be approved."""
    while now(world, plan).version == plan.version:
        if await _heard(world, partial(_approve, plan=plan), name) is None:
            name = "operator"


async def _heard(world: World, say: Callable[[Door, Principal], Awaitable[Any]], name: str) -> Any:
    """Say something as somebody until it is answered; None if they may not."""
    for _ in range(100):
        try:
            return await world.ask(lambda door: say(door, principal(name)))
        except Unauthenticated:
            return None
        except NotWaiting as error:  # it was approved, and nobody heard that
            return error
        except (Gone, Unavailable):
            await asyncio.sleep(1.0)
    raise AssertionError("Nobody answered.")


async def _plan(door: Door, who: Principal, states: list[IntentState]) -> Any:
    async def found() -> AsyncIterator[list[IntentState]]:
        yield states

    return await door.coordinator.undo_plans.plan(who, WANTED, found(), 1)


async def _approve(door: Door, who: Principal, plan: PlanState) -> Any:
    return await door.coordinator.undo_plans.approve(plan.id, who, plan.planned.digest)


def now(world: World, plan: PlanState) -> PlanState:
    """Fold a plan as the ledger has it."""
    found = fold_plan(world.database.streams[f"undo-plan/{plan.id}"])
    assert found is not None
    return found


async def ended(world: World, plan: PlanState) -> PlanState:
    """Wait until a plan has ended or halted."""
    for _ in range(4 * REST_SECONDS):
        found = now(world, plan)
        if found.phase is not PlanPhase.UNDOING:
            return found
        await asyncio.sleep(1.0)
    raise AssertionError(f"The plan is still {found.phase}: {found.outcomes}")


def undone_once_in_order(world: World) -> list[str]:
    """Judge from the outside's record and the log."""
    broken = []
    for state in world.states().values():
        stream = [one.event for one in world.database.streams[f"intent/{state.id}"]]
        decided = [event for event in stream if isinstance(event, e.CompensateDecided)]
        if len(decided) != 1 or decided[0].plan is None:
            broken.append(f"{state.id} was decided to be undone {len(decided)} times")
        if state.phase is not Phase.COMPENSATED:
            broken.append(f"{state.id} is {state.phase}")
    plans = [fold_plan(recorded) for stream, recorded in world.database.streams.items() if stream[:5] == "undo-"]
    carried_out = [plan for plan in plans if plan.phase is PlanPhase.DONE]
    if len(carried_out) != 1:
        return [*broken, f"{len(carried_out)} plans were carried out"]
    endings = {outcome.outcome for outcome in carried_out[0].outcomes.values()}
    if not endings <= {Ending.UNDONE, Ending.ATTENTION}:
        broken.append(f"the plan tells of {endings}")
    keys = {
        state.actions[0].plan.undo_key: state.decision_position
        for state in world.states().values()
        if state.actions[0].plan.operation == "idempotent.exact"
    }
    undone = [keys[effect.key] for effect in world.outside.history if effect.key in keys]
    if undone != sorted(undone, reverse=True):
        broken.append(f"what is exact was undone in the order {undone}")
    return broken


@pytest.mark.parametrize("lost", [False, True], ids=["smooth", "answers lost"])
def test_a_crash_at_any_point_of_a_plan_undoes_each_intent_once(lost):
    points = play(lost=lost).network.points
    assert points > 20
    assert sum(play({point}, lost=lost).crashed for point in range(points)) > points / 2


def test_a_pause_past_the_lease_at_any_point_of_a_plan_undoes_each_intent_once():
    points = play().network.points
    assert sum(play(pauses={point}).network.paused for point in range(points)) > points / 2


def test_a_second_crash_soon_after_the_first_undoes_each_intent_once():
    firsts = range(0, play().network.points, 3)
    assert sum(play({first, first + gap}).crashed == 2 for first in firsts for gap in (1, 2, 4, 8)) > len(firsts)


def test_whoever_approved_is_revoked_at_any_point_and_somebody_else_goes_on():
    halts = 0
    happens: Callable[[World], None] = revoked("dana")
    for point in range(play().network.points):
        world = play(happenings={point: happens})
        halts += any(isinstance(one.event, e.UndoPlanHalted) for one in world.database.log)
    assert halts > 5

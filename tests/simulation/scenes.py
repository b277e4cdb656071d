"""Who acts in a simulated world: clients that insist on an answer, operators, and people who tell what is true."""

import asyncio
from contextlib import suppress
from typing import Any

from simulation.outside import Effect
from simulation.world import Gone, World, request

from adapters.contract import Call
from coordinator.intake import RequestedAction
from ledger.errors import Conflict, Invalid, KeyReused, LedgerError, NotFound, Overloaded, Unavailable
from ledger.intents import Guarantee, Mode, Undo, Verb
from ledger.phases import TERMINAL, Phase, Step
from ledger.state import ActionState, IntentState, fold


def drawn_actions(world: World) -> tuple[RequestedAction, ...]:
    random = world.random
    names = ("a", "b", "c")[: random.choice((1, 2, 2, 3, 3))]
    found = []
    for place, name in enumerate(names):
        guarantee = random.choice((*Guarantee, Guarantee.ATOMIC, Guarantee.IDEMPOTENT)).value
        undo = random.choice((Undo.EXACT, Undo.EXACT, Undo.SEMANTIC, Undo.NONE)).value
        facts = "_facts" if random.random() < 0.1 else ""
        after = tuple(earlier for earlier in names[:place] if random.random() < 0.15)
        found.append(RequestedAction(name, f"{guarantee}.{undo}{facts}", {"n": random.randrange(9)}, after))
    return tuple(found)


def drawn_request(world: World, key: str) -> Any:
    random = world.random
    effect = random.choices(("allow", "deny", "escalate"), (30, 1, 1))[0]
    return request(
        key,
        drawn_actions(world),
        mode=Mode.DRY_RUN if random.random() < 0.06 else Mode.EXECUTE,
        deadline_seconds=random.choice((5, 30)),
        context={"effect": effect},
    )


async def client(world: World, number: int) -> None:
    """Submit one intent, and the same again until an answer comes."""
    key = f"key-{number}"
    await asyncio.sleep(world.random.uniform(0, 10))
    wanted = drawn_request(world, key)
    if world.random.random() < 0.05:
        await refused(world, f"{key}-refused")
    if not await insist(world, wanted):
        return
    people = world.chance.people
    if "replay" in people:
        await insist(world, wanted)
    if "reuse" in people:
        with suppress(Gone, Unavailable, KeyReused):
            await world.ask(lambda door: door.submit("alpha", request(key, wanted.actions, context={"other": 1})))
            world.crimes.append(f"I14: {key} was accepted with another body")


async def insist(world: World, wanted: Any) -> bool:
    """Submit until acknowledged, or give up now and then; the ids told go on record."""
    while True:
        try:
            accepted = await world.ask(lambda door: door.submit("alpha", wanted))
        except Overloaded:
            world.counters["submission refused as overload"] += 1
        except (Gone, Unavailable):
            world.counters["submission not answered"] += 1
            if world.random.random() < 0.05:
                return False
        else:
            world.acknowledged.setdefault(wanted.idempotency_key, set()).add(accepted.state.id)
            world.counters["idempotency hit"] += accepted.hit
            return True
        await asyncio.sleep(world.random.uniform(0.2, 3))


async def refused(world: World, key: str) -> None:
    world.refused.add(key)
    with suppress(Gone, Invalid, Unavailable):
        unknown = (RequestedAction("a", "nobody.knows", {}),)
        await world.ask(lambda door: door.submit("alpha", request(key, unknown)))
        world.crimes.append(f"I13: {key} names an unknown operation and was accepted")


async def operators(world: World) -> None:
    """Cancel, undo and look, at random."""
    random = world.random
    while not world.chance.healed:
        await asyncio.sleep(random.uniform(0.2, 4))
        states = list(world.states().values())
        if not states:
            continue
        state = random.choice(states)
        with suppress(Gone, Unavailable, Conflict, NotFound):
            await looked_back(world, state)
            if "cancel" in world.chance.people and state.phase not in TERMINAL:
                await cancel(world, state)
                world.counters["cancelled"] += 1
            elif "undo" in world.chance.people and state.phase is Phase.COMMITTED:
                await undo(world, state, partial=random.random() < 0.5)
                world.counters["undo asked for"] += 1


async def cancel(world: World, state: IntentState) -> None:
    await world.ask(lambda door: door.coordinator.cancel(state.id, "changed my mind", "operator"))


async def undo(world: World, state: IntentState, *, partial: bool) -> None:
    await world.ask(lambda door: door.coordinator.undo(state.id, "it was wrong", "operator", partial=partial))


async def resolve(world: World, state: IntentState, action: str | None) -> None:
    asked = (state.id, state.attention)
    if asked not in world.said:  # who has spoken once stands by it: an unanswered word may arrive late
        world.said[asked] = truth(world, state, state.action(action)) if action else "applied"
    outcome = world.said[asked]
    await world.ask(lambda door: door.coordinator.resolve(state.id, action, outcome, "I looked", "operator"))


async def looked_back(world: World, state: IntentState) -> None:
    """I17: the state at a position is the fold of the stream up to it."""
    recorded = world.database.streams[f"intent/{state.id}"]
    position = world.random.choice(recorded).position
    seen = await world.ask(lambda door: door.coordinator.get(state.id, position))
    if seen != fold([one for one in recorded if one.position <= position]):
        world.crimes.append(f"I17: {state.id} at position {position} is not the fold of its events")


async def people(world: World, *, hurry: bool = True) -> None:
    """Answer every call for attention with what is true outside, and cancel what would wait for an approval."""
    for state in list(world.states().values()):
        if not world.waits(state) or (not hurry and world.random.random() < 0.7):
            continue
        if state.attention is None:
            with suppress(Gone, Unavailable, Conflict):
                await cancel(world, state)
            continue
        with suppress(Gone, Unavailable, Conflict):
            await resolve(world, state, state.attention.action)
            world.counters["attention resolved"] += 1


def truth(world: World, state: IntentState, action: ActionState) -> Any:
    """Look at the outside system, or put right by hand what is stuck there, and say what is true."""
    outside, plan = world.outside, action.plan
    by_hand = world.random.random() < 0.5
    match action.step:
        case Step.COMMIT_IN_DOUBT:
            key, happened = plan.key, bool(outside.effects[plan.key])
        case Step.ABORT_STUCK:
            if by_hand:
                outside.release(plan.key)
            return "applied" if by_hand else "not_applied"
        case _:
            if action.step is Step.UNDO_STUCK and by_hand and not outside.undone[plan.undo_key]:
                outside.undone[plan.undo_key].append(by_hand_effect(world, state, action))
            key, happened = plan.undo_key, bool(outside.undone[plan.undo_key])
    if not happened:
        outside.seal(key)  # somebody who says that it did not happen has made sure that it will not
    return "applied" if happened else "not_applied"


def by_hand_effect(world: World, state: IntentState, action: ActionState) -> Effect:
    plan = action.plan
    call = Call(
        verb=Verb.COMPENSATE,
        ledger=state.ledger,
        intent=state.id,
        action=plan.id,
        operation=plan.operation,
        params=plan.params,
        key=plan.undo_key,
        epoch=0,
        deadline=state.updated_at,
    )
    return world.outside._remember(call)


async def life(world: World) -> None:
    """The whole of a seeded run: trouble, then healing."""
    chance = world.chance
    slots = [world.loop.create_task(world.keep_running(n)) for n in range(chance.workers)]
    clients = [world.loop.create_task(client(world, n)) for n in range(chance.intents)]
    operator = world.loop.create_task(operators(world))
    while world.loop.time() < chance.ends_at():
        await asyncio.sleep(2.0)
        await people(world, hurry=False)
        if all(c.done() for c in clients) and not world.moving() and world.loop.time() > chance.safety_seconds / 2:
            break
    chance.healed = True
    for task in (*clients, operator):
        await task
    await asyncio.sleep(3.0 if chance.troubles else 0.1)  # whoever is restarting or paused comes back
    await world.all_awake()
    await world.settle(people)
    for task in slots:
        task.cancel()


async def one_intent(
    world: World, actions: tuple[RequestedAction, ...], *, undone: bool, mode: Mode = Mode.EXECUTE
) -> None:
    """The whole of a scripted run: one intent, workers that may die or pause, an operator who may undo it."""
    slots = [world.loop.create_task(world.keep_running(n)) for n in range(world.chance.workers)]
    await insist(world, request("key-0", actions, mode=mode))
    await world.settle(people)
    asked = False
    while undone and not asked:
        state = next(iter(world.states().values()))
        if state.phase is not Phase.COMMITTED:
            break
        try:
            await undo(world, state, partial=True)
        except (Gone, Unavailable):
            await asyncio.sleep(1.0)
        except LedgerError:
            asked = True
    await world.settle(people)
    for slot in slots:
        slot.cancel()

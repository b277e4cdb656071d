"""Who acts in a simulated world: clients that insist on an answer, operators, and people who tell what is true."""

import asyncio
from contextlib import suppress
from typing import Any

from simulation.approvers import answer, too_late
from simulation.cast import AGENTS, OPERATOR, TASK, token
from simulation.outside import Effect
from simulation.rulers import rulers
from simulation.world import Gone, World, request

from adapters.contract import Call
from coordinator.intake import RequestedAction
from ledger.errors import (
    Conflict,
    Invalid,
    KeyReused,
    LedgerError,
    NotFound,
    Overloaded,
    PossibleDuplicate,
    Unauthenticated,
    Unavailable,
)
from ledger.intents import Guarantee, Mode, Undo, Verb
from ledger.phases import TERMINAL, Phase, Step
from ledger.state import ActionState, IntentState, fold


def drawn_actions(world: World) -> tuple[RequestedAction, ...]:
    random = world.random
    names = ("a", "b", "c")[: random.choice((1, 2, 2, 3, 3))]
    found = []
    for place, name in enumerate(names):
        operation, params = drawn_operation(world)
        after = tuple(earlier for earlier in names[:place] if random.random() < 0.15)
        found.append(RequestedAction(name, operation, params, after))
    return tuple(found)


def drawn_operation(world: World) -> tuple[str, dict[str, Any]]:
    """Draw an operation, its parameters, and what policies look at: `n`, seldom a large one."""
    random, authority = world.random, world.chance.authority
    guarantee = random.choice((*Guarantee, Guarantee.ATOMIC, Guarantee.IDEMPOTENT)).value
    asks = 15 if world.chance.patience else 3  # how often it is a number of which policies ask people
    params: dict[str, Any] = {"n": random.choices(range(10), (20, 20, 20, 20, 20, 20, asks, asks, asks, 1))[0]}
    if "limits" in authority and random.random() < 0.5:
        return f"{guarantee}.pay", {**params, "amount": 60_00, "currency": "USD"}
    if "brief" in authority and random.random() < 0.5:
        return "atomic.brief", params
    undo = random.choice((Undo.EXACT, Undo.EXACT, Undo.SEMANTIC, Undo.NONE)).value
    facts = "_facts" if random.random() < (0.5 if "facts" in authority else 0.1) else ""
    return f"{guarantee}.{undo}{facts}", params


def drawn_request(world: World, key: str) -> Any:
    random, authority = world.random, world.chance.authority
    task = TASK if "tasks" in authority else "loose" if "repeat" in authority else None
    return request(
        key,
        drawn_actions(world),
        mode=Mode.DRY_RUN if random.random() < 0.06 else Mode.EXECUTE,
        deadline_seconds=random.choice((5, 30)),
        task=task if random.random() < 0.7 else None,
    )


async def client(world: World, number: int) -> None:
    """Submit one intent, and the same again until an answer comes."""
    await asyncio.sleep(world.random.uniform(0, 10))
    await acts(world, f"key-{number}", token(world.random.choice(AGENTS)))


async def acts(world: World, key: str, secret: str) -> None:
    """Submit one intent under a token, and whatever its agent does besides."""
    wanted = drawn_request(world, key)
    if world.random.random() < 0.05:
        await refused(world, f"{key}-refused")
    if not await insist(world, wanted, secret):
        return
    people = world.chance.people
    if "replay" in people:
        await insist(world, wanted, secret)
    if "reuse" in people:
        with suppress(Gone, Unavailable, KeyReused, Unauthenticated):
            await world.ask(lambda door: door.submit(secret, request(key, wanted.actions, context={"other": 1})))
            world.crimes.append(f"I14: {key} was accepted with another body")
    if "repeat" in world.chance.authority:
        await repeats(world, wanted)


async def repeats(world: World, wanted: Any) -> None:
    """Ask for the same under another key, as language models do; sometimes it is meant, or another agent does it."""
    random = world.random
    for number in range(2):
        await asyncio.sleep(random.choice((0.1, 5, 30)))
        fields = {name: getattr(wanted, name) for name in ("mode", "deadline_seconds", "task")}
        again = request(f"{wanted.idempotency_key}-{number}", wanted.actions, again=random.random() < 0.2, **fields)
        await insist(world, again, token(random.choice(AGENTS)))


async def insist(world: World, wanted: Any, secret: str) -> bool:
    """Submit until acknowledged, or give up now and then; the ids told go on record."""
    while True:
        try:
            accepted = await world.ask(lambda door: door.submit(secret, wanted))
        except Overloaded:
            world.counters["submission refused as overload"] += 1
        except (Gone, Unavailable):
            world.counters["submission not answered"] += 1
            if world.random.random() < 0.05:
                return False
        except (Unauthenticated, PossibleDuplicate) as error:
            world.counters[f"submission refused: {type(error).__name__}"] += 1
            return False
        else:
            world.acknowledged.setdefault(wanted.idempotency_key, set()).add(accepted.state.id)
            world.counters["idempotency hit"] += accepted.hit
            return True
        await asyncio.sleep(world.random.uniform(0.2, 3))


async def refused(world: World, key: str) -> None:
    world.refused.add(key)
    with suppress(Gone, Invalid, Unavailable, Unauthenticated):
        unknown = (RequestedAction("a", "nobody.knows", {}),)
        await world.ask(lambda door: door.submit(token("alpha"), request(key, unknown)))
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
            await too_late(world, state)
            if "cancel" in world.chance.people and state.phase not in TERMINAL:
                await cancel(world, state)
                world.counters["cancelled"] += 1
            elif "undo" in world.chance.people and state.phase is Phase.COMMITTED:
                await undo(world, state, partial=random.random() < 0.5)
                world.counters["undo asked for"] += 1


async def cancel(world: World, state: IntentState) -> None:
    name, pause = world.random.choice(("operator", "manager")), world.random.choice((0.0, 0.0, 2.0))
    with suppress(Unauthenticated):
        await world.ask(lambda door: door.cancel(token(name), state.id, pause))


async def undo(world: World, state: IntentState, *, partial: bool) -> None:
    await world.ask(lambda door: door.coordinator.undo(state.id, OPERATOR, "it was wrong", partial=partial))


async def resolve(world: World, state: IntentState, action: str | None) -> None:
    asked = (state.id, state.attention)
    if asked not in world.said:  # who has spoken once stands by it: an unanswered word may arrive late
        world.said[asked] = truth(world, state, state.action(action)) if action else "applied"
    outcome = world.said[asked]
    await world.ask(lambda door: door.coordinator.resolve(state.id, OPERATOR, action, outcome, "I looked"))


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
            await answer(world, state, hurry=hurry)
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
            key, happened = action.key, bool(outside.effects[action.key])
        case Step.ABORT_STUCK:
            if by_hand:
                outside.release(action.key)
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

    def newcomer(name: str, secret: str) -> None:
        clients.append(world.loop.create_task(acts(world, name, secret)))

    ruler = world.loop.create_task(rulers(world, newcomer))
    while world.loop.time() < chance.ends_at():
        await asyncio.sleep(2.0)
        await people(world, hurry=False)
        if all(c.done() for c in clients) and not world.moving() and world.loop.time() > chance.safety_seconds / 2:
            break
    chance.healed = True
    await ruler
    for task in (*clients, operator):
        await task
    await asyncio.sleep(3.0 if chance.troubles else 0.1)  # whoever is restarting or paused comes back
    await world.all_awake()
    world.healed_at = world.loop.time()
    await world.settle(people)
    for task in slots:
        task.cancel()


async def one_intent(
    world: World, actions: tuple[RequestedAction, ...], *, undone: bool, mode: Mode = Mode.EXECUTE
) -> None:
    """The whole of a scripted run: one intent, workers that may die or pause, an operator who may undo it."""
    slots = [world.loop.create_task(world.keep_running(n)) for n in range(world.chance.workers)]
    await insist(world, request("key-0", actions, mode=mode), token("alpha"))
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

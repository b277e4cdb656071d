"""Who changes authority while intents are under way: grants revoked and issued, policy sets activated, facts moved."""

import asyncio
from contextlib import suppress
from typing import Any

from simulation.cast import MORTAL, grant_of, token
from simulation.rules import RULEBOOK
from simulation.world import Gone, World

from authority.grants import GrantOrder
from authority.policy import DEFAULT
from ledger.errors import Conflict, NotFound, Unauthenticated, Unavailable, WiderThanParent
from ledger.grants import Permission
from ledger.intents import Guarantee, Subject
from ledger.phases import UNDECIDED, Phase

SYSTEMS = [guarantee.value for guarantee in Guarantee]
REVOKES = 2  # at most, so that somebody is left who acts
CHILDREN = 3  # at most
SEVERAL = 20  # attempts of somebody who insists


async def rulers(world: World, newcomer: Any) -> None:
    """Do what the seed wants done, at random moments; `newcomer(name, token)` lets somebody new act."""
    doings = {
        "activate": activate,
        "revoke": revoke,
        "delegate": lambda w: delegate(w, newcomer),
        "facts": move_facts,
        "tasks": take_away,
    }
    wanted = sorted(doings.keys() & world.chance.authority)
    while wanted and not world.chance.healed:
        await asyncio.sleep(world.random.expovariate(1 / 4))
        await doings[world.random.choice(wanted)](world)


async def activate(world: World) -> None:
    digest = world.random.choice([DEFAULT.digest, *(rules.digest for rules in RULEBOOK.values())])
    with suppress(Gone, Unavailable, Conflict):
        await world.ask(lambda door: door.activate(token("operator"), digest))
        world.counters["policy set activated"] += 1


async def revoke(world: World) -> None:
    """Revoke a grant, half of the time just when something is under way below it, until that was answered."""
    random = world.random
    victim = random.choice(MORTAL)
    above = {"manager": "operator", "alpha": "manager", "beta": "manager", "delta": "alpha"}[victim]
    grant, by = grant_of(victim), token(random.choice(("operator", above, victim)))
    if grant in world.obeyed or len(world.obeyed) >= REVOKES:
        return
    if random.random() < 0.7:
        await something_under_way(world, grant)
    for _ in range(SEVERAL):
        try:
            await world.ask(lambda door: door.revoke(by, grant))
        except (Unauthenticated, NotFound):
            return  # who asked has lost their own grant, or lost this very race
        except (Gone, Unavailable):
            await asyncio.sleep(random.uniform(0.1, 1))
        else:
            world.obeyed[grant] = len(world.database.log)
            return


async def something_under_way(world: World, grant: str) -> None:
    """Wait until an intent below this grant is somewhere before its decision, and then a moment longer."""
    wanted = world.random.choice((Phase.SUBMITTED, Phase.PREPARING, Phase.PREPARING, Phase.AWAITING_APPROVAL))
    for _ in range(40):
        if world.chance.healed or any(
            s.phase in UNDECIDED and s.phase is wanted and grant in s.submitted.custody for s in world.states().values()
        ):
            break
        await asyncio.sleep(0.25)
    await asyncio.sleep(world.random.choice((0.0, 0.01, 0.05, 0.2, 1.0)))


async def delegate(world: World, newcomer: Any) -> None:
    """Let alpha issue a grant to somebody new, who then acts."""
    if world.counters["born"] == CHILDREN:
        return
    world.counters["born"] += 1
    name = f"child-{world.counters['born']}"
    order = GrantOrder(subject=Subject("agent", name), operations=(Permission("*"),))
    with suppress(Gone, Unavailable, Unauthenticated, WiderThanParent):
        _, secret = await world.ask(lambda door: door.issue(token("alpha"), order, world.random.randbytes))
        newcomer(name, secret)


async def move_facts(world: World) -> None:
    """Change what systems report; half of the time when somebody may already have looked."""
    if world.random.random() < 0.5:
        await something_under_way(world, "grant-operator")
    for system in SYSTEMS:
        world.outside.risk[system] = world.random.choice((0, 3, 5, 6, 7, 9))
    world.counters["facts moved"] += 1


async def take_away(world: World) -> None:
    """Somebody else undoes what an intent has done or will do."""
    states = list(world.states().values())
    if states:
        world.outside.vanished.add(world.random.choice(states).id)

"""What an open circuit does to the intents behind it, and what it does not: it delays them and decides nothing."""

import asyncio

from simulation.cast import token
from simulation.chance import Scripted
from simulation.checker import check, count
from simulation.network import Fate
from simulation.systems import Luck
from simulation.world import World, request

from coordinator.intake import RequestedAction
from ledger import bounds

AWAY = Luck(transient=True)
LOST = Luck(fate=Fate(answer_lost=True))
BACK = 25.0  # when the silent system answers again, in seconds; keys live for 60


class Outage(Scripted):
    """One system is silent until it is back: for the verb `silent_to`, or for all."""

    def __init__(self, system, luck, silent_to=None, back=BACK):
        super().__init__()
        self.back = back
        self._outage = system, luck, silent_to

    def luck(self, guarantee, verb, action, time):
        system, luck, silent_to = self._outage
        if guarantee == system and time < self.back and verb in (silent_to, verb if silent_to is None else None):
            self.fired += 1
            return luck
        return super().luck(guarantee, verb, action, time)


def played(chance, *operations, intents, every=0.0, until=None):
    """Submit the same intent so many times, and return the world at a time in which everything must have ended."""
    actions = tuple(RequestedAction(f"a{place}", operation, {"n": 1}) for place, operation in enumerate(operations))

    async def scenario(world):
        world.boot(0)
        for number in range(intents):
            wanted = request(f"key-{number}", actions, deadline_seconds=300)
            await world.ask(lambda door, wanted=wanted: door.submit(token("alpha"), wanted))
            await asyncio.sleep(every)
        await asyncio.sleep((until or chance.back + bounds.RETRY_CAP_SECONDS) - world.loop.time())

    world = World(chance, shuffled=False).run(scenario)
    assert check(world) == []
    return world


def ends(world):
    return {str(state.phase) for state in world.states().values()}


def test_what_is_held_back_is_neither_tried_nor_given_up():
    """Many share the few calls that try; each of them alone would have been given up long before."""
    world = played(Outage("idempotent", AWAY, "commit", back=200.0), "idempotent.exact", intents=20)
    assert ends(world) == {"committed"}, "given up: what did not leave was counted as an attempt"
    tries = sum(world.outside.asked.values()) - 2 * 20  # without one prepare and one commit for each
    assert tries < 20 * bounds.ONE_SHOT_ATTEMPTS / 2, "a silent system was called again and again"
    assert count(world)["call held back"] > 20


def test_what_is_only_validated_is_no_sign_of_life():
    """The prepare of a one-shot need not ask anybody: it must not open the way to a system that is silent."""
    world = played(Outage("idempotent", AWAY, "commit"), "idempotent.exact", intents=20, every=1.0)
    assert ends(world) == {"committed"}
    assert world.counters["circuit closed"] == 1


def test_what_is_in_doubt_stays_so_while_it_is_held_back():
    world = played(Outage("idempotent", LOST, "commit"), "idempotent.exact", intents=5)
    assert ends(world) == {"committed"}
    assert count(world)["call held back"]


def test_a_promised_hold_is_committed_within_the_retry_cap_after_its_system_is_back():
    world = played(Outage("atomic", LOST, "commit"), "atomic.exact", intents=20)
    assert ends(world) == {"committed"}
    assert world.counters["circuit closed"] == 1


def test_one_silent_system_does_not_delay_what_does_not_use_it():
    world = played(Outage("atomic", LOST), "blind.exact", intents=20, until=1.0)
    assert ends(world) == {"committed"}

"""The shapes of intents that the exhaustive runs go through, and what may go wrong in each besides the crash."""

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

from simulation.chance import Scripted
from simulation.checker import check
from simulation.network import Fate, Network
from simulation.scenes import one_intent
from simulation.systems import Luck
from simulation.world import World

from coordinator.intake import RequestedAction
from ledger.intents import Guarantee, Mode, Verb

LOST_ANSWER = Luck(fate=Fate(answer_lost=True))
LOST_REQUEST = Luck(fate=Fate(request_lost=True))
LATE = Luck(fate=Fate(request_delay=15.0))  # it arrives when nobody waits for it any more
NO = Luck(refuses=True)
CLUELESS = Luck(clueless=True)


class Course(NamedTuple):
    """What is scripted for one intent: which calls go wrong, and whether an operator undoes it in the end."""

    wrong: Callable[[Verb, str, int, str], Luck | None]  # verb, action, how many times called, the last action
    undo: bool = False
    mode: Mode = Mode.EXECUTE


COURSES = {
    "smooth": Course(lambda *_: None),
    "dry run": Course(lambda *_: None, mode=Mode.DRY_RUN),
    "last one refuses": Course(lambda verb, action, _, last: NO if verb == "prepare" and action == last else None),
    "last one fails": Course(lambda verb, action, _, last: NO if verb == "commit" and action == last else None),
    "first one fails": Course(lambda verb, action, _, last: NO if verb == "commit" and action == "a" else None),
    "answers lost": Course(lambda verb, _, number, last: LOST_ANSWER if verb == "commit" and number == 1 else None),
    "answers lost, inquiries vain": Course(
        lambda verb, _, number, last: {"commit": LOST_ANSWER, "inquire": CLUELESS}.get(verb) if number == 1 else None
    ),
    "requests lost": Course(lambda verb, _, number, last: LOST_REQUEST if verb == "commit" and number == 1 else None),
    "commits late": Course(lambda verb, _, number, last: LATE if verb == "commit" and number == 1 else None),
    "votes lost": Course(lambda verb, _, number, last: LOST_ANSWER if verb == "prepare" and number == 1 else None),
    "a late vote, then no": Course(
        lambda verb, action, number, last: (
            (LATE if number == 1 else NO) if verb == "prepare" and action == last else None
        )
    ),
    "undone": Course(lambda *_: None, undo=True),
    "undo lost": Course(
        lambda verb, _, number, last: LOST_ANSWER if verb == "compensate" and number == 1 else None, undo=True
    ),
    "abort stuck": Course(
        lambda verb, action, number, last: (
            NO if (verb == "prepare" and action == last) or (verb == "abort" and number == 1) else None
        )
    ),
}

Shape = tuple[RequestedAction, ...]


def shape(*operations: str, chain: bool = False) -> Shape:
    """Name the actions a, b, c; in a chain each comes after the one before it."""
    names = "abc"
    return tuple(
        RequestedAction(name, operation, {"n": 1}, (names[place - 1],) if chain and place else ())
        for place, (name, operation) in enumerate(zip(names, operations, strict=False))
    )


SHAPES: dict[str, Shape] = {
    "+".join(kinds): shape(*(f"{kind}.exact" for kind in kinds))
    for size in (1, 2, 3)
    for kinds in itertools.combinations_with_replacement([g.value for g in Guarantee], size)
} | {
    "hold, then blind": shape("atomic.exact", "blind.none", chain=True),
    "idempotent, then hold, then verifiable": shape(
        "idempotent.exact", "atomic.semantic", "verifiable.none", chain=True
    ),
    "with facts": shape("atomic.exact_facts", "idempotent.none"),
}


def play(actions: Shape, course: Course, crashes: Iterable[int] = (), pauses: Iterable[int] = ()) -> World:
    """Run one scripted intent with crashes and pauses at these points; raise `AssertionError` if a law was broken.

    Where there are pauses there are two workers, so that one can take over what the other has.
    """
    last = actions[-1].id
    network = Network(frozenset(crashes), frozenset(pauses))
    chance = Scripted(lambda verb, action, number: course.wrong(verb, action, number, last), workers=2 if pauses else 1)
    world = World(chance, network, shuffled=False)
    world.run(lambda w: one_intent(w, actions, undone=course.undo, mode=course.mode))
    broken = check(world)
    assert not broken, f"crashes {[*crashes]}, pauses {[*pauses]}: {broken}"
    return world

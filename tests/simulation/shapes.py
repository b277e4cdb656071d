"""The shapes of intents that the exhaustive runs go through, and what may go wrong in each besides the crash."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

from simulation.cast import activate, grant_of, record
from simulation.chance import Scripted
from simulation.checker import check
from simulation.network import Fate, Network
from simulation.scenes import one_intent
from simulation.systems import Luck
from simulation.world import World

from coordinator.intake import RequestedAction
from ledger.events import GrantRevoked
from ledger.intents import Guarantee, Mode, Verb
from ledger.store import Revoke

LOST_ANSWER = Luck(fate=Fate(answer_lost=True))
LOST_REQUEST = Luck(fate=Fate(request_lost=True))
LATE = Luck(fate=Fate(request_delay=15.0))  # it arrives when nobody waits for it any more
NO = Luck(refuses=True)
CLUELESS = Luck(clueless=True)
NONSENSE = Luck(nonsense=True)


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
    "requests lost, the circuit opens": Course(
        lambda verb, _, number, last: LOST_REQUEST if verb == "commit" and number <= 2 else None
    ),
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


AUTHORITY_COURSES = {
    "smooth": COURSES["smooth"],
    "votes lost": COURSES["votes lost"],
    "our own code fails": Course(lambda verb, _, number, last: NONSENSE if verb == "prepare" and number == 1 else None),
}
Happening = Callable[[World], None]


def revoked(name: str) -> Happening:
    """Revoke somebody's grant, undivided."""

    def happens(world: World) -> None:
        grant, stream = grant_of(name), f"grant/{grant_of(name)}"
        if len(world.database.streams[stream]) == 1:
            record(world.database, stream, GrantRevoked(grant, "a test", by="operator"), Revoke(grant))

    return happens


def risky(risk: int) -> Happening:
    """Let every system report another risk from now on."""
    return lambda world: world.outside.risk.update({guarantee.value: risk for guarantee in Guarantee})


HAPPENINGS: dict[str, Happening] = {
    "its agent is revoked": revoked("alpha"),
    "its manager is revoked": revoked("manager"),
    "policy becomes strict": lambda world: activate(world.database, "strict"),
    "policy errs": lambda world: activate(world.database, "erring"),
    "facts ask for a person": risky(6),
    "facts forbid it": risky(9),
}


def ruled(*operations: str, n: int) -> Shape:
    """Name the actions a, b; `n` is what the policies look at: below 6 they allow, from 6 on they ask people."""
    return tuple(RequestedAction("ab"[place], operation, {"n": n}) for place, operation in enumerate(operations))


RULED: dict[str, tuple[Shape, float]] = {  # under policy, each with the seconds that people wait before they answer
    "approved late, the hold let go": (ruled("atomic.brief", n=6), 14.0),
    "approved by two": (ruled("verifiable.exact_facts", n=8), 0.0),
    "allowed": (ruled("atomic.exact", "idempotent.exact", n=1), 0.0),
    "allowed, with facts": (ruled("atomic.exact_facts", "blind.none", n=1), 0.0),
    "approved": (ruled("atomic.exact", "idempotent.exact_facts", n=6), 0.0),
}


def play(
    actions: Shape,
    course: Course,
    crashes: Iterable[int] = (),
    pauses: Iterable[int] = (),
    happenings: Mapping[int, Happening] = {},
    patience: float | None = None,
) -> World:
    """Run one scripted intent with crashes and pauses at these points; raise `AssertionError` if a law was broken.

    Where there are pauses there are two workers, so that one can take over what the other has. With `patience` it is
    under policy, and people wait so many seconds before they answer.
    """
    last = actions[-1].id
    network = Network(frozenset(crashes), frozenset(pauses))
    chance = Scripted(
        lambda verb, action, number: course.wrong(verb, action, number, last),
        workers=2 if pauses else 1,
        rules=None if patience is None else "usual",
        patience=patience or 0.0,
    )
    world = World(chance, network, shuffled=False)
    network.happenings = {point: partial(happens, world) for point, happens in happenings.items()}
    world.run(lambda w: one_intent(w, actions, undone=course.undo, mode=course.mode))
    broken = check(world)
    assert not broken, f"crashes {[*crashes]}, pauses {[*pauses]}, happenings {[*happenings]}: {broken}"
    return world

"""The proof of the proof: every planted bug is found, within bounded seeds, by the check that is meant to find it."""

import itertools
import re

import pytest
from simulation import test_circuits, test_races
from simulation.chance import Swarm
from simulation.checker import check
from simulation.mutants import MUTANTS, Mutant
from simulation.scenes import life
from simulation.shapes import COURSES, HAPPENINGS, RULED, SHAPES, play
from simulation.world import World
from unit import walk as the_walk
from unit.given import plan

from ledger import bounds

SEEDS = 600  # in which a planted bug must be found
PLANS = [
    [plan("a", "idempotent")],
    [plan("a", "idempotent", key_lifetime_seconds=3600)],
    [plan("a", "atomic"), plan("b", "blind")],
    [plan("a", "atomic"), plan("b", "blind", after=("a",))],
    [plan("a", "atomic"), plan("b", "atomic")],
]


def found_by_simulation(caught_by: str) -> str | None:
    for seed in range(SEEDS):
        world = World(Swarm(seed))
        for law in check(world.run(life)):
            if re.match(caught_by, law):
                return f"seed {seed}: {law}"
    return None


def found_by_walk(caught_by: str) -> str | None:
    for plans in PLANS:
        try:
            the_walk.walk(*plans)
        except the_walk.Violation as violation:
            if re.search(caught_by, str(violation)):
                return str(violation)
    return None


def found_by_pauses(caught_by: str) -> str | None:
    for name, actions in SHAPES.items():
        for point in range(play(actions, COURSES["smooth"]).network.points):
            try:
                play(actions, COURSES["smooth"], pauses={point})
            except AssertionError as found:
                if re.search(caught_by, str(found)):
                    return f"{name}, {found}"
    return None


def found_by_courses(caught_by: str) -> str | None:
    for (name, actions), (title, course) in itertools.product(SHAPES.items(), COURSES.items()):
        try:
            play(actions, course)
        except AssertionError as found:
            if re.search(caught_by, str(found)):
                return f"{name}, {title}: {found}"
    return None


def found_by_happenings(caught_by: str) -> str | None:
    for (name, (actions, patience)), (title, happens) in itertools.product(RULED.items(), HAPPENINGS.items()):
        try:
            points = play(actions, COURSES["smooth"], patience=patience).network.points
            for point, pauses in itertools.product(range(points), (False, True)):
                paused = {point} if pauses else ()
                play(actions, COURSES["smooth"], pauses=paused, happenings={point: happens}, patience=patience)
        except AssertionError as found:
            if re.search(caught_by, str(found)):
                return f"{name}, {title}: {found}"
    return None


def found_by_races(caught_by: str) -> str | None:
    for race in (
        test_races.test_an_approval_that_comes_after_its_time_does_not_count,
        test_races.test_a_person_whose_grant_dies_while_they_speak_is_not_heard,
        test_circuits.test_what_is_held_back_is_neither_tried_nor_given_up,
        test_circuits.test_what_is_in_doubt_stays_so_while_it_is_held_back,
    ):
        try:
            race()
        except AssertionError as found:
            if re.search(caught_by, str(found)):
                return str(found)
    return None


FINDERS = {
    "happenings": found_by_happenings,
    "races": found_by_races,
    "courses": found_by_courses,
    "simulation": found_by_simulation,
    "walk": found_by_walk,
    "pauses": found_by_pauses,
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.plant.__name__)
def test_a_planted_bug_is_found(mutant: Mutant, monkeypatch, record_property):
    monkeypatch.setattr(bounds, "ONE_SHOT_ATTEMPTS", 3 if mutant.finder == "walk" else bounds.ONE_SHOT_ATTEMPTS)
    mutant.plant(monkeypatch)
    found = FINDERS[mutant.finder](mutant.caught_by)
    assert found, "nobody found it"
    record_property("found", found)


def test_there_are_enough_of_them_and_none_is_found_where_nothing_is_planted():
    assert len(MUTANTS) >= 40
    assert found_by_walk("") is None

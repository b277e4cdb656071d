"""A crash, or a pause past the lease, before and after every append and every call; then pairs of crashes.

Points are numbered in the order in which requests leave and arrive. A run without crashes tells how many there are.
The second crash of a pair may hit the process that took over after the first, so a run with one crash tells how many
points there are for a second.
"""

import itertools
from collections import Counter

import pytest
from simulation.shapes import AUTHORITY_COURSES, COURSES, HAPPENINGS, RULED, SHAPES, play

PAIRS = [
    ("atomic+atomic", "smooth"),
    ("atomic+idempotent", "smooth"),
    ("atomic+blind", "last one refuses"),
    ("idempotent+verifiable", "answers lost"),
    ("idempotent+verifiable", "undone"),
    ("atomic+atomic", "votes lost"),
    ("idempotent+idempotent", "last one fails"),
    ("atomic+verifiable", "last one fails"),
]


@pytest.mark.parametrize("course", COURSES)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_crash_at_any_point_changes_nothing_that_must_hold(size, course):
    shapes = {name: actions for name, actions in SHAPES.items() if len(actions) == size}
    for name, actions in shapes.items():
        points = play(actions, COURSES[course]).network.points
        assert points >= 4, name
        crashed = 0
        for point in range(points):
            crashed += play(actions, COURSES[course], {point}).crashed
        assert crashed > points / 2, name


@pytest.mark.parametrize("course", COURSES)
@pytest.mark.parametrize("size", [1, 2])
def test_a_pause_past_the_lease_at_any_point_changes_nothing_that_must_hold(size, course):
    """The other worker finishes the intent; then the one that was paused goes on where it was."""
    for name, actions in SHAPES.items():
        if len(actions) == size:
            points = play(actions, COURSES[course]).network.points
            paused = sum(play(actions, COURSES[course], pauses={point}).network.paused for point in range(points))
            assert paused > points / 2, name


@pytest.mark.parametrize(("name", "course"), PAIRS)
def test_two_crashes_at_any_two_points_change_nothing_that_must_hold(name, course):
    actions = SHAPES[name]
    both = 0
    for first in range(play(actions, COURSES[course]).network.points):
        points = play(actions, COURSES[course], {first}).network.points
        for second in range(first + 1, points):
            both += play(actions, COURSES[course], {first, second}).crashed == 2
    assert both > 50


@pytest.mark.parametrize("course", AUTHORITY_COURSES)
@pytest.mark.parametrize("happening", HAPPENINGS)
def test_whatever_happens_to_authority_at_any_point_no_law_is_broken(happening, course):
    """And with two workers, one of which pauses just then."""
    for name, (actions, patience) in RULED.items():
        ends = Counter[str]()
        points = play(actions, AUTHORITY_COURSES[course], patience=patience).network.points
        for point, pauses in itertools.product(range(points), (False, True)):
            world = play(
                actions,
                AUTHORITY_COURSES[course],
                pauses={point} if pauses else (),
                happenings={point: HAPPENINGS[happening]},
                patience=patience,
            )
            ends.update(state.phase for state in world.states().values())
        assert ends["committed"], f"{name}: nothing was ever committed, {ends}"
        if happening.endswith("revoked"):
            assert ends["aborted"], f"{name}: nothing was ever aborted, {ends}"

"""The exhaustive walk of the state machine, for every shape of intent up to three actions."""

import itertools
from datetime import timedelta

import pytest
from unit import answers as the_answers
from unit import walk as the_walk
from unit.given import T0, plan
from unit.walk import Violation, walk

from coordinator.moves import Invocation, Invoke
from ledger import bounds
from ledger.intents import Mode, Verb
from ledger.phases import Phase, Step
from ledger.tasks import Criterion, TaskContract

GUARANTEES = ("atomic", "idempotent", "verifiable", "blind")
KINDS = tuple(itertools.product(GUARANTEES, ("exact", "none")))
ENDS_OF_ANYTHING = {Phase.COMMITTED, Phase.ABORTED, Phase.COMPENSATED}


def named(kinds):
    return "+".join(f"{guarantee}-{undo}" for guarantee, undo in kinds)


@pytest.fixture(autouse=True)
def few_attempts(monkeypatch):
    monkeypatch.setattr(bounds, "ONE_SHOT_ATTEMPTS", the_walk.ATTEMPTS)
    monkeypatch.setattr(bounds, "INQUIRY_ATTEMPTS", the_walk.ATTEMPTS)
    monkeypatch.setattr(bounds, "OUTCOME_ATTEMPTS", the_walk.ATTEMPTS)


@pytest.mark.parametrize(
    "kind", [*KINDS, ("atomic", "semantic"), ("blind", "semantic")], ids=lambda kind: named([kind])
)
def test_one_action_with_facts_approval_and_a_forgetful_key(kind, monkeypatch):
    monkeypatch.setattr(bounds, "ANSWERS_IN_VAIN", the_walk.ATTEMPTS)
    report = walk(
        plan("a", *kind, facts=True, key_lifetime_seconds=3600, undo_window_seconds=60),
        effects=("allow", "escalate", "deny"),
    )
    assert report.ends >= ENDS_OF_ANYTHING | {Phase.DENIED}
    assert report.nodes > 100


SHORT = (T0 + timedelta(seconds=1), T0 + timedelta(hours=2), T0 + timedelta(days=30))  # between them a hold is let go


@pytest.fixture
def short_holds(monkeypatch):
    monkeypatch.setattr(the_walk, "MOMENTS", SHORT)
    monkeypatch.setattr(the_answers, "MOMENTS", SHORT)


@pytest.mark.parametrize(
    ("other", "quorum"),
    [(None, 1), (None, 2), (("atomic", "exact"), 1), (("blind", "none"), 1), (("blind", "none"), 2)],
    ids=["alone", "alone, two people", "atomic", "blind", "blind, two people"],
)
def test_a_hold_that_is_let_go_while_people_look(short_holds, other, quorum):
    plans = [plan("a", "atomic", facts=True, hold_seconds=600)]
    plans += [plan("b", *other)] if other else []
    report = walk(*plans, effects=("allow", "escalate", "deny"), quorum=quorum, breaks_promises=False)
    assert report.ends >= {Phase.COMMITTED, Phase.ABORTED, Phase.DENIED}
    assert (Step.RELEASE_ATTEMPTED, "HoldReleased") in report.steps
    assert (Phase.AWAITING_APPROVAL, "ApprovalRequested") in report.phases, "nobody was asked again"


@pytest.mark.parametrize("criteria", [1, 2])
def test_a_task_whose_outcome_is_verified(criteria):
    success = tuple(Criterion("sim.look", {"n": n}, {"v": 1}) for n in range(criteria))
    report = walk(plan("a", "idempotent"), contract=TaskContract("12A", "dana", ("sim.*",), success))
    for outcome in ("OutcomeVerified", "OutcomeContradicted", "OutcomeUnknown", "OutcomeDeferred"):
        assert (Phase.COMMITTED, outcome) in report.phases


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: named([kind]))
def test_a_dry_run_of_one_action_ends_simulated_or_aborted(kind):
    assert walk(plan("a", *kind), mode=Mode.DRY_RUN).ends == {Phase.SIMULATED, Phase.ABORTED}


@pytest.mark.parametrize("kinds", list(itertools.combinations_with_replacement(KINDS, 2)), ids=named)
def test_two_actions(kinds):
    first, second = kinds
    assert walk(plan("a", *first), plan("b", *second)).ends >= ENDS_OF_ANYTHING


@pytest.mark.parametrize("kinds", list(itertools.product(KINDS, repeat=2)), ids=named)
def test_two_actions_one_after_the_other(kinds):
    first, second = kinds
    report = walk(plan("a", *first), plan("b", *second, after=("a",)), breaks_promises=False)
    assert report.ends >= {Phase.COMMITTED, Phase.ABORTED}


THREE = [
    ((first, "exact"), (second, "exact"), (third, undo))
    for first, second, third in itertools.combinations_with_replacement(GUARANTEES, 3)
    for undo in ("exact", "none")
    if undo == "exact" or third == "blind"  # three holds keep their promises, so whether one can be undone is for two
]


@pytest.mark.parametrize("kinds", THREE, ids=named)
def test_three_actions(kinds):
    holds = sum(guarantee == "atomic" for guarantee, _ in kinds)
    report = walk(*(plan(name, *kind) for name, kind in zip("abc", kinds, strict=True)), breaks_promises=holds < 2)
    assert report.ends >= {Phase.COMMITTED, Phase.ABORTED}


@pytest.mark.parametrize(
    "kinds", [("atomic", "blind", "atomic"), ("blind", "atomic", "idempotent"), ("atomic", "atomic", "verifiable")]
)
def test_three_actions_in_a_chain(kinds):
    first, second, third = kinds
    report = walk(
        plan("a", first), plan("b", second, after=("a",)), plan("c", third, after=("b",)), breaks_promises=False
    )
    assert report.ends >= ENDS_OF_ANYTHING


def test_a_broken_rule_is_found_and_the_way_to_it_is_told(monkeypatch):
    """The walk can fail: forget that a blind commit in doubt must not be repeated."""
    real = the_walk.the_decide

    def forgetful(state, now, **_):
        if any(a.step == "commit_in_doubt" for a in state.actions) and state.attention is None:
            return Invoke((Invocation(Verb.COMMIT, "a"),))
        return real(state, now, **_)

    monkeypatch.setattr(the_walk, "the_decide", forgetful)
    with pytest.raises(Violation, match="is sent again although it happened"):
        walk(plan("a", "blind"))

"""The tables of the state machine say no more and no less than what happens."""

import itertools
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from unit import answers as the_answers
from unit import walk as the_walk
from unit.given import (
    T0,
    aborted,
    at,
    attention,
    committing,
    decided,
    done,
    given,
    moment,
    plan,
    prepared,
    recorded,
    resolution,
    submitted,
    verdict,
)
from unit.walk import walk

from ledger import bounds
from ledger import events as e
from ledger.errors import IllegalTransition
from ledger.intents import Mode
from ledger.phases import TERMINAL, UNDECIDED, Phase
from ledger.state import evolve, fold
from ledger.tasks import Criterion, TaskContract
from ledger.transitions import PHASES, STEPS, SWEEPS
from ledger.undo_state import PLANS

DOCS = Path(__file__).parents[2] / "docs"
GUARANTEES = ("atomic", "idempotent", "verifiable", "blind")

OTHER_STREAMS = {
    "GrantIssued", "GrantRevoked", "GrantSuspended", "GrantResumed", "TokenRefused", "ActRefused", "PolicySetAdded",
    "PolicySetActivated", "TaskDefined", "AnomalyDetected", "AnomalyCleared", "NoteAdded", "ConfigurationChanged",
    "DivergenceFound", "DivergenceGone",
    "SubjectErased",
    "UndoPlanned", "UndoListed", "UndoPlanApproved", "UndoPlanAdvanced", "UndoPlanHalted", "UndoPlanFinished",
}  # fmt: skip
BEGINNING = {"IntentSubmitted"}
ACTIONS_UNDONE = {"UndoAttempted", "UndoInDoubt", "UndoFoundAbsent", "UndoFailed"}

# Entries that the walk does not take, each with the reason why the table has them all the same.
POISON = "an intent that our own code could not work asks for a person in any phase (coordinator/worker.py)"
UNREACHED_PHASES = {
    (phase, symbol): POISON
    for phase in UNDECIDED
    for symbol in ("AttentionRaised", "AttentionResolved:applied", "AttentionResolved:not_applied")
}


@pytest.fixture(scope="module")
def walked():
    """Walk enough shapes to take every way that the tables allow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "ONE_SHOT_ATTEMPTS", the_walk.ATTEMPTS)
        patch.setattr(bounds, "INQUIRY_ATTEMPTS", the_walk.ATTEMPTS)
        reports = [
            walk(plan("a", *kind, facts=True, key_lifetime_seconds=3600), effects=("allow", "escalate", "deny"))
            for kind in itertools.product(GUARANTEES, ("exact", "none"))
        ]
        patch.setattr(bounds, "OUTCOME_ATTEMPTS", the_walk.ATTEMPTS)
        contract = TaskContract("12A", "dana", ("sim.*",), (Criterion("sim.look", {}, {"v": 1}),))
        reports.append(walk(plan("a", "idempotent"), contract=contract))
        short = (T0 + timedelta(seconds=1), T0 + timedelta(hours=2), T0 + timedelta(days=30))
        with pytest.MonkeyPatch.context() as moments:
            moments.setattr(the_walk, "MOMENTS", short)
            moments.setattr(the_answers, "MOMENTS", short)
            effects = ("allow", "escalate", "deny")
            reports.append(walk(plan("a", facts=True, hold_seconds=600), effects=effects, quorum=2))
        reports.append(walk(plan("a"), mode=Mode.DRY_RUN))
        reports += [walk(plan("a"), plan("b", guarantee)) for guarantee in GUARANTEES]
        reports.append(walk(plan("a", "idempotent"), plan("b", "idempotent")))
        reports += [
            walk(plan("a", "blind", "none"), plan("b", "blind", "none"), plan("c", third, "none"))
            for third in ("blind", "atomic")
        ]
    return {
        "phases": set().union(*(r.phases for r in reports)),
        "steps": set().union(*(r.steps for r in reports)),
        "sweeps": set().union(*(r.sweeps for r in reports)),
    }


@pytest.mark.parametrize(
    ("table", "name", "justified"),
    [(PHASES, "phases", UNREACHED_PHASES), (STEPS, "steps", {}), (SWEEPS, "sweeps", {})],
    ids=["phases", "steps", "sweeps"],
)
def test_every_entry_is_taken_or_justified(walked, table, name, justified):
    taken = {key for key in walked[name] if key in table}
    assert set(table) - taken == set(justified)


def test_every_kind_of_event_has_its_place_in_the_tables():
    in_tables = {event.partition(":")[0] for _, event in PHASES}
    assert in_tables == set(e.EVENT_TYPES) - OTHER_STREAMS - BEGINNING


def test_every_kind_of_event_of_an_undo_plan_has_its_place_in_its_table():
    in_table = {event for _, event in PLANS}
    assert in_table == {name for name in e.EVENT_TYPES if name.startswith("Undo")} - ACTIONS_UNDONE - {"UndoPlanned"}


def test_every_event_about_an_action_moves_its_step():
    about_actions = {name for name, cls in e.EVENT_TYPES.items() if "action" in cls.__struct_fields__} - {
        "AttentionRaised",
        *OTHER_STREAMS,
    }
    assert {event.partition(":")[0] for _, event in STEPS} == about_actions


def test_nothing_leaves_the_end_of_an_intent_but_an_undo():
    outcomes = {"OutcomeVerified", "OutcomeContradicted", "OutcomeUnknown", "OutcomeDeferred"}  # they stay committed
    leaving = {key for key, following in PHASES.items() if key[0] in TERMINAL and following is not key[0]}
    assert leaving == {(Phase.COMMITTED, "CompensateDecided")}
    assert {name for phase, name in PHASES if phase in TERMINAL} == {*outcomes, "CompensateDecided"}


def test_nothing_turns_a_commit_into_an_abort():
    assert Phase.ABORTING not in {PHASES[key] for key in PHASES if key[0] in {Phase.COMMITTING, Phase.COMPENSATING}}


def test_every_target_is_a_source_or_an_end():
    assert set(PHASES.values()) <= {phase for phase, _ in PHASES} | TERMINAL
    at_rest = {step for step, _ in SWEEPS}
    assert set(STEPS.values()) <= {step for step, _ in STEPS} | at_rest


ILLEGAL = [
    ((plan("a"), verdict()), e.ApprovalGiven(digest="d", by="p")),
    ((plan("a"), verdict(), aborted()), decided()),
    ((*committing(plan("a")),), aborted()),
    ((*committing(plan("a")), done("a")), done("a")),
    ((*committing(plan("a")),), prepared("a")),
    ((*committing(plan("a")),), e.IntentCommitted()),
    ((plan("a"), verdict("deny")), prepared("a")),
    ((plan("a"),), submitted(plan("a"))),
    ((plan("a"), verdict()), prepared("nobody")),
    ((plan("a"), verdict(), prepared("a")), resolution("a", "applied")),
]


@pytest.mark.parametrize(("history", "event"), ILLEGAL)
def test_an_illegal_move_raises(history, event):
    state = given(*history)
    with pytest.raises(IllegalTransition):
        evolve(state, recorded(event, state.version + 1, moment(100)))


def test_a_gap_in_the_versions_raises():
    state = given(plan("a"))
    with pytest.raises(IllegalTransition):
        evolve(state, recorded(verdict(), state.version + 2, moment(1)))


def test_a_stream_begins_with_the_submission():
    with pytest.raises(IllegalTransition):
        evolve(None, recorded(verdict(), 1, T0))
    assert fold([]) is None


def test_every_event_that_is_not_in_the_table_is_illegal_in_its_phase():
    """The missing key is the illegal move: every phase refuses every event that its row does not have."""
    samples = {"CommitDecided": decided(), "AbortDecided": aborted(), "IntentCommitted": e.IntentCommitted()}
    for history in ((plan("a"),), (plan("a"), verdict()), committing(plan("a")), (plan("a"), verdict(), aborted())):
        state = given(*history)
        for name, event in samples.items():
            if (state.phase, name) not in PHASES:
                with pytest.raises(IllegalTransition):
                    evolve(state, recorded(event, state.version + 1, moment(100)))


def test_attention_ends_with_its_resolution_and_with_an_abort():
    asked = (plan("a"), verdict(), attention(None))
    assert given(*asked).attention is not None
    assert given(*asked, resolution(None, "applied")).attention is None
    assert given(*asked, aborted()).attention is None


def test_what_is_done_is_remembered_in_the_order_in_which_it_became_known():
    state = given(*committing(plan("a"), plan("b")), done("b"), done("a"))
    assert state.done_order == ("b", "a")


def test_attempts_count_until_the_call_is_settled():
    later = moment(50)
    deferred = e.CallDeferred(action="a", verb="prepare", reason="busy", retry_at=later)  # type: ignore[arg-type]
    state = given(plan("a"), verdict(), deferred, deferred)
    assert (state.action("a").attempts, state.action("a").retry_at) == (2, later)
    settled = given(plan("a"), verdict(), deferred, at(60), prepared("a")).action("a")
    assert (settled.attempts, settled.retry_at, settled.error) == (0, None, None)


def test_the_diagrams_are_drawn_from_the_tables():
    sys.path.insert(0, str(DOCS))
    try:
        from draw_states import draw  # noqa: PLC0415
    finally:
        sys.path.remove(str(DOCS))
    assert (DOCS / "states.md").read_text() == draw(), "run: python docs/draw_states.py"

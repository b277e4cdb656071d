"""What can be undone of an intent, which intents are next, and what has come of one: given states, then answers."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from unit.given import T0, attention, committing, compensate, done, given, moment, plan, recorded, verdict

from authority.grants import operator_grant, principal_of
from coordinator.undo_plan import ahead, begin_or_end, planned
from ledger import bounds
from ledger import events as e
from ledger.errors import IllegalTransition
from ledger.grants import Permission
from ledger.intents import Undo
from ledger.state import IntentState, evolve
from ledger.undo_plans import (
    Ending,
    Extent,
    PlannedUndo,
    Selection,
    UndoOutcome,
    WhyNot,
    content_digest,
    count,
    in_order,
)
from ledger.undo_state import PLANS, PlanPhase, PlanState, fold_plan

DOCS = Path(__file__).parents[2] / "docs"
PLAN = "01930000-0000-7000-8000-0000000000aa"
OPERATOR = principal_of([operator_grant("il_x")])
OFFERED = {f"sim.{name}" for name in "abc"}
SOON = moment(20.0)
UNDONE = (e.ActionUndone("a", {}), e.IntentCompensated())


def committed(*plans, previews=None) -> IntentState:
    state = given(*committing(*plans), *(done(p.id) for p in plans), e.IntentCommitted())
    shown = tuple(msgspec.structs.replace(a, preview=(previews or {}).get(a.plan.id)) for a in state.actions)
    return msgspec.structs.replace(state, actions=shown)


STATE = committed(plan("a", undo_window_seconds=100))


def look(state: IntentState, *, partial=False, now=SOON, offered=OFFERED) -> PlannedUndo:
    return planned(state, OPERATOR, offered.__contains__, now, partial=partial)


def after(state: IntentState, *events: e.Event) -> IntentState:
    for event in events:
        state = evolve(state, recorded(event, state.version + 1, SOON))
    return state


def plan_of(*items: PlannedUndo, halted=False) -> PlanState:
    """Return an approved plan of these intents."""
    first = e.UndoPlanned(
        plan=PLAN,
        selection=Selection(task="12A"),
        partial=False,
        reason="a mistake",
        digest=content_digest(items),
        intents=len(items),
        counts=count(items),
        as_of=1,
        expires_at=moment(1000),
        by="dana",
        grant="grant-dana",
        custody=("grant-dana",),
    )
    approved = e.UndoPlanApproved(first.digest, "erin", "grant-erin", ("grant-erin",))
    return folded(first, e.UndoListed(items), approved, *([e.UndoPlanHalted("revoked")] if halted else []))


def folded(*events: e.Event) -> PlanState:
    found = fold_plan(recorded(event, version, T0) for version, event in enumerate(events, 1))
    assert found is not None
    return found


# ── what can be undone ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("undos", "partial", "extent", "why"),
    [
        (("exact",), False, "exact", None),
        (("exact", "exact"), False, "exact", None),
        (("semantic",), False, "semantic", None),
        (("exact", "semantic"), False, "semantic", None),
        (("none",), False, "none", "undo_none"),
        (("none",), True, "none", "undo_none"),
        (("exact", "none"), False, "none", "undo_none"),
        (("exact", "none"), True, "partial", None),
        (("semantic", "none"), True, "partial", None),
        (("exact", "exact"), True, "exact", None),
    ],
)
def test_how_far_an_intent_can_be_undone_is_told_by_its_weakest_effect(undos, partial, extent, why):
    plans = [plan(name, "idempotent", undo) for name, undo in zip("abc", undos, strict=False)]
    item = look(committed(*plans), partial=partial)
    assert (item.extent, item.why) == (extent, why)
    assert (item.reason is None) == (why is None)


def test_a_window_that_has_closed_is_told_apart_from_what_can_never_be_undone():
    state = committed(plan("a", undo_window_seconds=100))
    assert look(state).extent is Extent.EXACT
    late = look(state, now=moment(1000))
    assert (late.extent, late.why) == (Extent.NONE, WhyNot.WINDOW_PASSED)
    assert late.reason == "The operation sim.a could be undone until its window closed."


def test_what_no_configured_adapter_offers_any_more_cannot_be_undone():
    item = look(committed(plan("a"), plan("b")), offered={"sim.a"})
    assert (item.extent, item.why) == (Extent.NONE, WhyNot.ADAPTER_GONE)
    assert item.reason == (
        "The operation sim.b is offered by no configured adapter any more. "
        'The others are undone only with "partial": true.'
    )
    assert [action.undo for action in item.actions] == [Undo.EXACT, Undo.NONE]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (given(plan("a"), verdict()), "not_at_rest"),
        (given(*committing(plan("a"))), "not_at_rest"),
        (after(committed(plan("a")), compensate("undo")), "not_at_rest"),
        (after(committed(plan("a")), compensate("undo"), *UNDONE), "already_undone"),
        (after(committed(plan("a", undo="none")), compensate("undo"), e.IntentMixed("a stands")), "ended_mixed"),
    ],
)
def test_an_intent_that_is_not_committed_is_not_undone(state, why):
    item = look(state)
    assert (item.extent, item.why, item.actions) == (Extent.NONE, why, ())
    assert item.reason


def test_what_the_planner_may_not_do_is_out_of_their_reach():
    narrow = msgspec.structs.replace(
        operator_grant("il_y"), grant="grant-clerk", operations=(Permission("mail.*"),), parent="grant-operator"
    )
    clerk = principal_of([operator_grant("il_x"), narrow])
    item = planned(committed(plan("a")), clerk, OFFERED.__contains__, SOON, partial=False)
    assert (item.extent, item.why) == (Extent.NONE, WhyNot.OUT_OF_REACH)
    assert "sim.a is outside grant grant-clerk" in (item.reason or "")


def test_an_exact_undo_shows_what_it_restores_and_a_follow_up_does_not_pretend_to():
    preview = {"a": {"facts": {}, "before": {"v": 1}, "after": {"v": 2}}}
    (exact,) = look(committed(plan("a"), previews=preview)).actions
    assert (exact.stands, exact.restores) == ({"v": 2}, {"v": 1})
    (semantic,) = look(committed(plan("a", undo="semantic"), previews=preview)).actions
    assert (semantic.stands, semantic.restores) == ({"v": 2}, None)


def test_what_is_too_long_for_a_plan_says_so():
    long = {"a": {"facts": {}, "before": {"v": "x" * bounds.UNDO_PREVIEW_BYTES}, "after": None}}
    (action,) = look(committed(plan("a"), previews=long)).actions
    assert (action.stands, action.restores, action.cut) == (None, None, True)


def test_the_intent_decided_last_comes_first_and_what_is_not_decided_last():
    items = [msgspec.structs.replace(look(STATE), decision_position=position) for position in (7, 900, None, 30)]
    assert [one.decision_position for one in in_order(items)] == [900, 30, 7, None]


# ── which are next ───────────────────────────────────────────────────────────────────────────────────────────────


def item(name: str, *adapters: str, in_turn: Sequence[str] = ()) -> PlannedUndo:
    extent = Extent.EXACT if in_turn else Extent.SEMANTIC
    return PlannedUndo(name, T0, 7, "agent", extent, adapters=(*adapters, *in_turn), in_turn=tuple(in_turn))


def names(items: Sequence[PlannedUndo]) -> list[str]:
    return [one.intent for one in items]


def test_exact_undos_at_one_system_go_one_after_another():
    pending = [item("3", in_turn="x"), item("2", in_turn="x"), item("1", in_turn="x")]
    assert names(ahead(pending)) == ["3"]
    assert names(ahead(pending[1:])) == ["2"]


def test_exact_undos_at_two_systems_do_not_wait_for_each_other_but_for_one_that_needs_both():
    assert names(ahead([item("3", in_turn="x"), item("2", in_turn="y"), item("1", in_turn="x")])) == ["3", "2"]
    waiting = [item("4", in_turn="x"), item("3", in_turn="xy"), item("2", in_turn="y"), item("1", in_turn="z")]
    assert names(ahead(waiting)) == ["4", "1"], "2 may not overtake 3"


def test_follow_ups_go_side_by_side_as_many_at_an_adapter_as_may():
    many = [item(str(number), "x") for number in range(100)]
    assert len(ahead(many)) == bounds.UNDO_AT_ONCE
    assert names(ahead([*many, item("other", "y")]))[-1] == "other", "one that hangs holds up no other"
    mixed = [item("exact", in_turn="x"), item("follow-up", "x"), item("next", in_turn="x")]
    assert names(ahead(mixed)) == ["exact", "follow-up"]


# ── what comes of one ────────────────────────────────────────────────────────────────────────────────────────────


def move(state: IntentState, was: IntentState | None = None, *, now=SOON, offered=OFFERED):
    found = look(was or committed(plan("a", undo_window_seconds=100)))
    return begin_or_end(plan_of(found), found, state, offered.__contains__, now)


def ours() -> e.CompensateDecided:
    return e.CompensateDecided(cause="undo", reason="a mistake", by="erin", plan=PLAN)


NOT_UNDONE = (
    e.UndoFailed("a", "no"),
    attention("a"),
    e.AttentionResolved("a", "not_applied", "", "x"),
    e.IntentMixed("no"),
)


def test_an_intent_that_is_as_it_was_planned_is_undone_in_the_name_of_who_approved_it():
    assert move(STATE) == ours()


def test_what_was_looked_at_outside_meanwhile_does_not_matter():
    assert move(after(STATE, e.OutcomeVerified(checks=()))) == ours()


@pytest.mark.parametrize(
    ("events", "ending"),
    [
        ((), None),
        ((attention("a"),), Ending.ATTENTION),
        (UNDONE, Ending.UNDONE),
        (NOT_UNDONE, Ending.MIXED),
    ],
)
def test_one_that_was_begun_is_never_begun_again_and_its_end_is_told(events, ending):
    answer = move(after(STATE, ours(), *events))
    assert (answer.outcome if answer else None) is ending


@pytest.mark.parametrize("events", [(compensate("undo"),), (compensate("undo"), *UNDONE)])
def test_one_that_somebody_else_undoes_is_left_alone(events):
    answer = move(after(STATE, *events))
    assert answer.outcome is Ending.MOVED


def test_one_of_another_plan_is_left_alone():
    other = e.CompensateDecided(cause="undo", reason="", by="dana", plan="another")
    answer = move(after(STATE, other, *UNDONE))
    assert (answer.outcome, answer.reason) == (
        Ending.MOVED,
        "It is compensated: dana decided to undo it, in plan another.",
    )


@pytest.mark.parametrize("how", [{"now": moment(1000)}, {"offered": set()}])
def test_one_that_can_no_longer_be_undone_as_planned_is_not_begun(how):
    answer = move(STATE, **how)
    assert isinstance(answer, UndoOutcome)
    assert answer.outcome is Ending.NOT_UNDONE
    assert answer.reason.startswith("No longer as it was planned.")


# ── the state of a plan ──────────────────────────────────────────────────────────────────────────────────────────


def test_every_move_that_is_not_in_the_table_is_illegal():
    events = {
        "UndoListed": e.UndoListed(()),
        "UndoPlanApproved": e.UndoPlanApproved("", "a", "g", ()),
        "UndoPlanAdvanced": e.UndoPlanAdvanced(()),
        "UndoPlanHalted": e.UndoPlanHalted(""),
        "UndoPlanFinished": e.UndoPlanFinished({}),
        "IntentAborted": e.IntentAborted(),
    }
    plan_in = {
        PlanPhase.PLANNED: plan_of().planned,
        PlanPhase.UNDOING: plan_of(),
        PlanPhase.HALTED: plan_of(halted=True),
    }
    started = {phase: folded(one) if isinstance(one, e.Event) else one for phase, one in plan_in.items()}
    started[PlanPhase.DONE] = fold_plan([recorded(events["UndoPlanFinished"], 4, T0)], plan_of())
    assert started.keys() == set(PlanPhase)
    legal = set()
    for (phase, state), (name, event) in itertools.product(started.items(), events.items()):
        try:
            moved = fold_plan([recorded(event, state.version + 1, T0)], state)
        except IllegalTransition:
            continue
        assert PLANS[phase, name] is moved.phase
        legal.add((phase, name))
    assert legal == set(PLANS)


@pytest.mark.parametrize("told", [["stranger"], ["impossible"], ["1", "1"], ["2"]])
def test_a_plan_tells_of_each_of_its_intents_once_and_of_no_other(told):
    listed_ones = (item("1", "x"), item("2", "x"), PlannedUndo("impossible", T0, 7, "agent", Extent.NONE))
    before = e.UndoPlanAdvanced((UndoOutcome("2", Ending.UNDONE),))
    state = fold_plan([recorded(before, 4, T0)], plan_of(*listed_ones))
    outcomes = tuple(UndoOutcome(one, Ending.UNDONE) for one in told)
    with pytest.raises(IllegalTransition):
        fold_plan([recorded(e.UndoPlanAdvanced(outcomes), 5, T0)], state)


def test_a_plan_does_not_end_before_its_intents_rest_nor_begin_before_they_are_listed():
    with pytest.raises(IllegalTransition, match="not come to rest"):
        fold_plan([recorded(e.UndoPlanFinished({}), 4, T0)], plan_of(item("1", "x")))
    first = msgspec.structs.replace(plan_of().planned, intents=1)
    with pytest.raises(IllegalTransition, match="not all of its intents"):
        folded(first, e.UndoPlanApproved("", "a", "g", ()))
    with pytest.raises(IllegalTransition, match="begins with"):
        folded(e.UndoListed(()))


def test_a_digest_is_of_what_is_listed_in_its_order_and_of_nothing_else():
    one, two = item("1", "x"), item("2", "x")
    assert content_digest([one, two]) == content_digest((one, two))
    assert content_digest([one, two]) != content_digest([two, one])
    assert content_digest([one]) != content_digest([msgspec.structs.replace(one, extent=Extent.PARTIAL)])


def test_every_word_of_a_plan_is_explained():
    text = (DOCS / "undo.md").read_text()
    for word in (*Extent, *WhyNot, *Ending, *PlanPhase):
        assert f"`{word}`" in text, word

"""What is asked of the outside about an intent at rest, and what an answer says. Given, asked, answered."""

from typing import Any

import msgspec
import pytest
from given import at, decided, given, moment, plan, prepared, verdict

from adapters.contract import Absent, Applied, Held, Operation, Preview, Result, Unknown
from coordinator.agreement import Inquiry, Look, Recheck, is_over, observations, questions
from coordinator.outcome import NotSent
from coordinator.touches import Touches
from ledger import events as e
from ledger.errors import Erased, InDoubt, Permanent, Transient
from ledger.intents import Guarantee, Undo, Verb
from ledger.state import IntentState
from ledger.tasks import Check, Criterion, TaskContract

LATER = moment(100)
CRITERION = Criterion(verify="sim.look", params={"n": 1}, expect={"status": "closed"})


def operation(name: str, **more: Any) -> Operation:
    return Operation(name=f"sim.{name}", params={}, guarantee=Guarantee.ATOMIC, undo=Undo.EXACT, **more)


OFFERED = {f"sim.{name}": operation(name, shown_by=("n",)) for name in ("pay", "tell")} | {
    "sim.look": operation("look", reads=True)
}


def seen(before: Any, after: Any) -> e.ActionPrepared:
    return e.ActionPrepared(action="pay", receipt={}, preview={"facts": {}, "before": before, "after": after})


def done(result: Any = None, vote: e.Event | None = None, **how: Any) -> IntentState:
    """An intent that has paid and committed."""
    return given(
        plan("pay", **how.pop("plan", {})),
        verdict(),
        vote or prepared("pay"),
        decided(),
        e.ActionDone(action="pay", result=result or {}),
        e.IntentCommitted(),
        **how,
    )


def asked(state: IntentState, when: Any = LATER) -> tuple[Any, ...]:
    return questions(state, OFFERED, when)


def said(state: IntentState, answer: Any) -> list[tuple[str, str]]:
    (question, *_) = asked(state)
    return [(one.aspect, one.verdict) for one in observations(state, question, answer)]


# ── what is asked ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_effect_is_asked_for_by_its_key_and_an_undone_one_by_that_of_its_undo():
    assert asked(done()) == (Inquiry("pay", Verb.COMMIT, applied=True, repeated={}),)
    undone = given(
        *(plan("pay"), verdict(), prepared("pay"), decided()),
        *(e.ActionDone(action="pay", result={}), e.IntentCommitted(), e.CompensateDecided(cause="undo", reason="r")),
        *(e.ActionUndone(action="pay", result={}), e.IntentCompensated()),
    )
    assert asked(undone) == (Inquiry("pay", Verb.COMPENSATE, applied=True, repeated={}),)


def test_what_was_aborted_is_expected_not_to_be_there():
    aborted = given(
        *(plan("pay"), verdict(), prepared("pay"), e.AbortDecided(cause="cancelled", reason="r")),
        *(e.ActionAborted(action="pay"), e.IntentAborted()),
    )
    assert asked(aborted) == (Inquiry("pay", Verb.COMMIT, applied=False, repeated={}),)
    assert said(aborted, Absent()) == [("standing", "agrees")]
    assert said(aborted, Held({})) == [("standing", "diverges")]
    assert said(aborted, Applied(Result())) == [("standing", "diverges")]


@pytest.mark.parametrize(
    ("how", "seconds"),
    [
        ({"guarantee": "blind"}, 100),
        ({"guarantee": "verifiable", "settle_seconds": 60}, 50),
        ({"guarantee": "idempotent", "key_lifetime_seconds": 60}, 100),
    ],
)
def test_nothing_is_asked_whose_answer_would_mean_nothing(how, seconds):
    assert asked(done(plan=how), moment(seconds)) == ()


def test_nothing_is_asked_about_what_moves_or_is_not_offered_any_more():
    moving = given(plan("pay"), verdict(), prepared("pay"), decided(), e.ActionDone(action="pay", result={}))
    assert asked(moving) == ()
    assert questions(done(), {}, LATER) == ()


def test_of_what_an_action_showed_only_the_fields_that_it_changed_are_looked_at():
    state = done(vote=seen({"id": 88, "status": "active"}, {"id": 88, "status": "refunded", "by": "us"}))
    look = Look("pay", {"status": "refunded", "by": "us"}, (b"1",))
    assert asked(state)[1:] == (look,)
    assert asked(done(vote=seen({"id": 88}, {"id": 88})))[1:] == (), "it changed nothing that is shown"
    assert asked(done(vote=seen({"id": 88}, None)))[1:] == (), "what is gone shows nothing"


def test_values_that_are_sealed_are_not_looked_at():
    token = "sealed.v1.k0.i.AAAA"
    state = done({"n": 1, "name": token}, seen({}, {"name": token, "deep": {"name": token}, "status": "sent"}))
    inquiry, look = asked(state)
    assert (inquiry.repeated, look.expected) == ({"n": 1}, {"status": "sent"})


def test_what_a_task_calls_success_is_looked_at_again_once_it_was_verified():
    contract = TaskContract(task="12A", owner="manager-x", scope=("sim.*",), success=(CRITERION,))
    state = done(contract=contract)
    assert [one for one in asked(state) if isinstance(one, Recheck)] == []
    check = Check("sim.look", {"status": "closed"}, {"status": "closed"}, holds=True)
    verified = given(
        *(plan("pay"), verdict(), prepared("pay"), decided(), e.ActionDone(action="pay", result={})),
        *(e.IntentCommitted(), e.OutcomeVerified(checks=(check,))),
        contract=contract,
    )
    again = asked(verified)[-1]
    assert again == Recheck(1, CRITERION, (b"1",))
    (observation,) = observations(verified, again, Preview(facts={"status": "open", "other": 1}))
    assert (observation.action, observation.aspect, observation.verdict, observation.found) == (
        None,
        "criterion-1",
        "diverges",
        {"status": "open"},
    )


# ── what an answer says ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "answer", [Unknown(), InDoubt("x"), Transient("x"), Permanent("x"), NotSent("x", LATER), Preview(), None]
)
def test_doubt_is_no_divergence(answer):
    assert said(done(), answer) == [("standing", "untold")]


def test_an_effect_that_is_not_there_diverges_and_so_does_one_that_says_something_else():
    state = done({"n": 1, "at": "noon"})
    assert said(state, Applied(Result({"n": 1, "at": "one"}))) == [("standing", "agrees"), ("result", "agrees")]
    assert said(state, Applied(Result({"n": 2}))) == [("standing", "agrees"), ("result", "diverges")]
    assert said(state, Applied(Result({}))) == [("standing", "agrees")], "not mentioned is not contradicted"
    assert said(state, Absent()) == [("standing", "diverges")]
    assert said(state, Held({})) == [("standing", "diverges")]


@pytest.mark.parametrize(
    ("answer", "verdict_", "found"),
    [
        (Preview(before={"status": "refunded", "id": 89}), "agrees", {"status": "refunded"}),
        (Preview(before={"status": "active"}), "diverges", {"status": "active"}),
        (Preview(before={}), "diverges", {}),
        (Preview(before=None), "diverges", None),
        (Permanent("There is no such row."), "diverges", None),
        (Transient("away"), "untold", None),
        (Erased("What it needs is gone."), "untold", None),
    ],
)
def test_what_is_shown_now_is_compared_field_by_field(answer, verdict_, found):
    state = done(vote=seen({"status": "active"}, {"status": "refunded"}))
    (observation,) = observations(state, asked(state)[1], answer)
    assert (observation.aspect, observation.verdict, observation.found) == ("shown", verdict_, found)


def test_a_divergence_is_over_once_the_ledger_has_undone_the_action():
    undone = given(
        *(plan("pay"), verdict(), prepared("pay"), decided()),
        *(e.ActionDone(action="pay", result={}), e.IntentCommitted(), e.CompensateDecided(cause="undo", reason="r")),
        *(e.ActionUndone(action="pay", result={}), e.IntentCompensated()),
    )
    over = [is_over(undone, name) for name in (("pay", "shown"), ("pay", "standing"), (None, "criterion-1"))]
    assert over == [True, False, True]
    assert not is_over(done(), ("pay", "shown"))


# ── who else may have touched it ─────────────────────────────────────────────────────────────────────────────────


def another(state: IntentState, intent: str, params: Any) -> IntentState:
    action = state.actions[0]
    plan_ = msgspec.structs.replace(action.plan, params=params)
    submitted = msgspec.structs.replace(state.submitted, intent=intent)
    return msgspec.structs.replace(state, submitted=submitted, actions=(msgspec.structs.replace(action, plan=plan_),))


@pytest.mark.parametrize(
    ("params", "touched"),
    [({"n": 1}, True), ({"called": {"otherwise": [1]}}, True), ({"n": "1"}, False), ({"n": 2}, False)],
)
def test_whoever_has_the_same_values_among_its_parameters_may_have_touched_the_same_thing(params, touched):
    state = done()
    touches = Touches()
    touches.add(state)
    assert touches.since(state, "pay", "sim", (b"1",)) is None, "an action does not overtake itself"
    touches.add(another(state, "other", params))
    assert (touches.since(state, "pay", "sim", (b"1",)) == "other") is touched
    assert touches.since(state, "pay", "elsewhere", (b"1",)) is None


def test_what_ended_before_an_intent_began_has_not_touched_what_it_left():
    state, touches = done(), Touches()
    earlier = msgspec.structs.replace(another(state, "earlier", {"n": 1}), updated_at=moment(-1))
    touches.add(earlier)
    assert touches.since(state, "pay", "sim", (b"1",)) is None
    never = given(plan("pay"), verdict("deny"))
    touches.add(another(never, "denied", {"n": 1}))
    assert touches.since(state, "pay", "sim", (b"1",)) is None
    moving = given(plan("pay"), at(-50), verdict(), prepared("pay"), decided())
    touches.add(another(moving, "moving", {"n": 1}))
    assert touches.since(state, "pay", "sim", (b"1",)) == "moving", "it may change it at any moment"

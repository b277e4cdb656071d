"""decide, up to the decision: given what has happened, when it is this late, then this comes next."""

from datetime import timedelta

import msgspec
import pytest
from unit.given import aborted, at, attention, committing, given, moment, plan, prepared, resolution, verdict

from coordinator.decide import decide, forbidden
from coordinator.moves import Evaluate, Invocation, Invoke, Record, Rest, Wait
from ledger import bounds
from ledger import events as e
from ledger.grants import Charge
from ledger.ids import retaken_key
from ledger.intents import Mode, Verb
from ledger.state import content_digest
from ledger.store import GrantAlive, GuardFailed, PolicyActive, WithinLimits
from ledger.tasks import FailureMode, TaskContract


def prepare(*names):
    return Invoke(tuple(Invocation(Verb.PREPARE, name) for name in names))


def abort(*names):
    return Invoke(tuple(Invocation(Verb.ABORT, name) for name in names))


def deferred(name, retry_at, verb=Verb.PREPARE):
    return e.CallDeferred(action=name, verb=verb, reason="busy", retry_at=moment(retry_at))


def refused(name):
    return e.ActionRefused(action=name, reason="not enough")


def in_doubt(name, retry_at):
    return e.PrepareInDoubt(action=name, reason="no answer", retry_at=moment(retry_at))


def the_event(move):
    assert isinstance(move, Record)
    (event,) = move.events
    return event


# ── submitted ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_intent_is_evaluated_without_previews():
    assert decide(given(plan("a"), plan("b")), moment(1)) == Evaluate(())


def test_actions_whose_policy_needs_facts_are_previewed_first():
    assert decide(given(plan("a", facts=True), plan("b")), moment(1)) == Evaluate(("a",))


def test_a_dry_run_previews_everything():
    assert decide(given(plan("a"), plan("b"), mode=Mode.DRY_RUN), moment(1)) == Evaluate(("a", "b"))


def test_a_deferred_preview_waits_for_its_time():
    state = given(plan("a", facts=True), deferred("a", 5, Verb.PREVIEW))
    assert decide(state, moment(2)) == Wait(moment(5))
    assert decide(state, moment(5)) == Evaluate(("a",))


def test_a_deferred_preview_never_waits_past_the_deadline():
    assert decide(given(plan("a", facts=True), deferred("a", 99, Verb.PREVIEW)), moment(2)) == Wait(moment(30))


def test_without_a_verdict_in_time_the_intent_is_aborted():
    assert the_event(decide(given(plan("a")), moment(30))).cause == "deadline"


def test_a_denied_intent_rests():
    assert decide(given(plan("a"), verdict("deny")), moment(1)) == Rest()


# ── preparing ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_actions_are_prepared_at_the_same_time():
    assert decide(given(plan("a"), plan("b", "blind", after=("a",)), verdict()), moment(2)) == prepare("a", "b")


def test_only_what_is_not_prepared_yet_is_asked_again():
    assert decide(given(plan("a"), plan("b"), verdict(), prepared("a")), moment(3)) == prepare("b")


def test_a_refusal_aborts_whatever_the_others_say():
    event = the_event(decide(given(plan("a"), plan("b"), verdict(), prepared("a"), refused("b")), moment(4)))
    assert (event.cause, "sim.b refused: not enough" in event.reason) == ("refused", True)


def test_the_deadline_aborts_and_names_what_is_missing():
    event = the_event(decide(given(plan("a"), plan("b"), verdict(), prepared("a")), moment(30)))
    assert (event.cause, event.reason.endswith("not prepared by then: b.")) == ("deadline", True)


def test_votes_that_came_too_late_do_not_commit():
    assert the_event(decide(given(plan("a"), verdict(), prepared("a")), moment(31))).cause == "deadline"


def test_a_deferred_prepare_waits_for_its_time_but_not_past_the_deadline():
    assert decide(given(plan("a"), verdict(), deferred("a", 9)), moment(3)) == Wait(moment(9))
    assert decide(given(plan("a"), verdict(), deferred("a", 99)), moment(3)) == Wait(moment(30))


def test_a_prepare_in_doubt_is_repeated():
    assert decide(given(plan("a"), verdict(), in_doubt("a", 4)), moment(4)) == prepare("a")


def test_what_is_due_does_not_wait_for_what_is_not():
    assert decide(given(plan("a"), plan("b"), verdict(), deferred("a", 9)), moment(3)) == prepare("b")


def test_when_everything_is_prepared_the_commit_names_its_authority():
    event = the_event(decide(given(plan("a"), verdict(), prepared("a")), moment(3)))
    assert event == e.CommitDecided(grant="grant-7", policies=("P-1",), policy_set="sha256:p")


# ── approval ─────────────────────────────────────────────────────────────────────────────────────────────────────


def escalated(**more):
    return given(plan("a", **more), verdict("escalate"), prepared("a"))


def requested(state, expires_at):
    return e.ApprovalRequested(digest=content_digest(state), expires_at=moment(expires_at))


def test_an_escalation_asks_for_approval_of_exactly_what_is_prepared():
    state = escalated()
    event = the_event(decide(state, moment(3)))
    assert event.digest == content_digest(state)
    assert event.expires_at == moment(3) + timedelta(seconds=bounds.APPROVAL_SECONDS)


def test_a_hold_that_would_not_last_is_announced_let_go_and_taken_again():
    request = e.ApprovalRequested(digest=content_digest(escalated(hold_seconds=60)), expires_at=moment(1000))
    waiting_state = given(plan("a", hold_seconds=60), verdict("escalate"), prepared("a"), request)
    assert decide(waiting_state, moment(10)) == Wait(moment(2 + 30))  # the hold was taken at 2
    move = decide(waiting_state, moment(32))
    next_key = retaken_key("key-a")
    announced = e.ReleaseAttempted(action="a")
    assert move == Invoke((Invocation(Verb.ABORT, "a", announced, next_key=next_key),))
    history = (plan("a", hold_seconds=60), verdict("escalate"), prepared("a"), request, at(32), announced)
    let_go = (*history, e.HoldReleased(action="a", key=next_key))
    assert decide(given(*let_go), moment(40)) == Wait(moment(1000))
    approved = (*let_go, e.ApprovalGiven(digest=request.digest, by="dana"))
    assert decide(given(*approved), moment(41)) == Invoke((Invocation(Verb.PREPARE, "a"),))
    assert isinstance(the_event(decide(given(*approved, prepared("a")), moment(42))), e.CommitDecided)


def test_what_is_prepared_again_and_is_something_else_asks_again():
    request = e.ApprovalRequested(digest=content_digest(escalated(hold_seconds=60)), expires_at=moment(1000))
    other = e.ActionPrepared(action="a", receipt={}, preview={"facts": {}, "before": {"n": 2}, "after": None})
    state = given(
        *(plan("a", hold_seconds=60), verdict("escalate"), prepared("a"), request),
        *(at(32), e.ReleaseAttempted(action="a"), e.HoldReleased(action="a", key="k2")),
        *(e.ApprovalGiven(digest=request.digest, by="dana"), other),
    )
    event = the_event(decide(state, moment(40)))
    assert isinstance(event, e.ApprovalRequested)
    assert event.digest == content_digest(state) != request.digest


def test_an_approved_hold_that_has_grown_too_old_is_not_committed():
    request = e.ApprovalRequested(digest=content_digest(escalated(hold_seconds=60)), expires_at=moment(1000))
    approval = e.ApprovalGiven(digest=request.digest, by="dana")
    state = given(plan("a", hold_seconds=60), verdict("escalate"), prepared("a"), request, approval)
    assert isinstance(the_event(decide(state, moment(20))), e.CommitDecided)
    assert isinstance(decide(state, moment(33)), Invoke), "the worker came late: the hold may be gone"


def test_two_of_two_people_must_approve():
    need_two = msgspec.structs.replace(verdict("escalate"), quorum=2)
    state = given(plan("a"), need_two, prepared("a"))
    request = the_event(decide(state, moment(3)))
    assert request.quorum == 2
    once = (plan("a"), need_two, prepared("a"), request, e.ApprovalGiven(digest=request.digest, by="dana"))
    assert isinstance(decide(given(*once), moment(9)), Wait)
    same = e.ApprovalGiven(digest=request.digest, by="dana")
    assert isinstance(decide(given(*once, same), moment(9)), Wait), "one person counts once"
    other = e.ApprovalGiven(digest=request.digest, by="erin")
    assert the_event(decide(given(*once, other), moment(9))).approved_by == ("dana", "erin")


# ── authority while it is under way ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("history", [(), (verdict(),), (verdict(), prepared("a"))], ids=["new", "judged", "prepared"])
def test_a_dead_grant_aborts_whatever_is_undecided(history):
    assert the_event(decide(given(plan("a"), *history), moment(5), alive=False)).cause == "revoked"


def test_a_dead_grant_does_not_touch_what_is_decided():
    state = given(*committing(plan("a")))
    assert decide(state, moment(9), alive=False) == decide(state, moment(9))


def test_facts_that_the_votes_saw_otherwise_are_judged_again():
    seen = e.ActionPrepared(action="a", receipt={}, preview={"facts": {"age": 91}, "before": None, "after": None})
    judged = msgspec.structs.replace(verdict(), facts={"a": {"age": 89}})
    history = (plan("a", facts=True), judged, seen)
    assert decide(given(*history), moment(5)) == Evaluate((), {"a": {"age": 91}})
    again = msgspec.structs.replace(verdict("deny"), facts={"a": {"age": 91}}, reasons=("too old",))
    event = the_event(decide(given(*history, again), moment(6)))
    assert (event.cause, event.reason) == ("denied", "too old")


@pytest.mark.parametrize(
    ("guard", "cause"),
    [
        (GrantAlive("grant-7"), "revoked"),
        (PolicyActive("sha256:p"), "guard"),
        (WithinLimits((Charge("grant-7/0", "day", 2, 10),)), "guard"),
    ],
)
def test_a_guard_that_does_not_hold_decides_against_it_and_says_why(guard, cause):
    event = forbidden(given(plan("a"), verdict(), prepared("a")), GuardFailed(guard, limit="grant-7/0", used=9))
    assert event.cause == cause
    if isinstance(guard, WithinLimits):
        assert event.reason == "The limit grant-7/0 has no room: 9 of 10 are used (day), and this would take 2."


def test_a_refusal_that_the_task_foresaw_escalates_to_the_person_it_names():
    mode = FailureMode("account-not-found", "Account Not Found", "dana")
    contract = TaskContract("12A", "erin", ("sim.*",), failure_modes=(mode,))
    refusal = e.ActionRefused(action="a", reason="the account not found here")
    event = the_event(decide(given(plan("a"), verdict(), refusal, contract=contract), moment(5)))
    assert (event.cause, event.failure_mode, event.escalated_to) == ("refused", "account-not-found", "dana")


@pytest.mark.parametrize("guarantee", ["idempotent", "verifiable", "blind"])
def test_what_holds_nothing_does_not_shorten_the_approval(guarantee):
    state = given(plan("a", guarantee), verdict("escalate"), prepared("a"))
    assert the_event(decide(state, moment(3))).expires_at == moment(3) + timedelta(seconds=bounds.APPROVAL_SECONDS)


def waiting(*more):
    request = requested(escalated(), 100)
    return given(plan("a"), verdict("escalate"), prepared("a"), request, *more), request


def test_nothing_happens_until_a_person_has_spoken_or_the_time_is_over():
    state, _ = waiting()
    assert decide(state, moment(4)) == Wait(moment(100))


def test_an_approval_of_the_right_digest_commits():
    _, request = waiting()
    state, _ = waiting(e.ApprovalGiven(digest=request.digest, by="manager"))
    assert isinstance(the_event(decide(state, moment(50))), e.CommitDecided)  # in time, however late it is found


def test_an_approval_of_something_else_changes_nothing():
    state, _ = waiting(e.ApprovalGiven(digest="sha256:other", by="manager"))
    assert decide(state, moment(50)) == Wait(moment(100))


def test_without_an_approval_in_time_the_intent_is_aborted():
    state, _ = waiting()
    assert the_event(decide(state, moment(100))).cause == "expired"


def test_an_approval_that_came_too_late_counts_nothing():
    _, request = waiting()
    state, _ = waiting(at(100), e.ApprovalGiven(digest=request.digest, by="manager"))
    assert the_event(decide(state, moment(102))).cause == "expired"


# ── aborting ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_abort_releases_whatever_may_be_held():
    plans = plan("a"), plan("b"), plan("c")
    assert decide(given(*plans, verdict(), prepared("a"), in_doubt("b", 9), aborted()), moment(10)) == abort(
        "a", "b", "c"
    )


def test_an_abort_asks_nothing_of_what_holds_nothing():
    state = given(plan("a", "idempotent"), plan("b", "blind"), verdict(), prepared("a"), aborted())
    assert the_event(decide(state, moment(9))) == e.IntentAborted()


def test_an_abort_before_the_verdict_has_nothing_to_release():
    assert the_event(decide(given(plan("a", facts=True), aborted()), moment(2))) == e.IntentAborted()


def test_an_abort_that_was_deferred_is_repeated():
    state = given(plan("a"), verdict(), aborted(), deferred("a", 9, Verb.ABORT))
    assert decide(state, moment(5)) == Wait(moment(9))
    assert decide(state, moment(9)) == abort("a")


def test_what_refuses_to_be_released_is_shown_to_a_person():
    stuck = plan("a"), verdict(), prepared("a"), aborted(), e.AbortFailed(action="a", reason="locked")
    assert the_event(decide(given(*stuck), moment(9))).action == "a"
    assert decide(given(*stuck, attention("a")), moment(9)) == Rest()


def test_a_person_may_have_it_released_once_more():
    stuck = plan("a"), verdict(), prepared("a"), aborted(), e.AbortFailed(action="a", reason="locked"), attention("a")
    assert decide(given(*stuck, resolution("a", "not_applied")), moment(9)) == abort("a")
    assert the_event(decide(given(*stuck, resolution("a", "applied")), moment(9))) == e.IntentAborted()


def test_when_everything_is_released_the_intent_is_aborted():
    state = given(plan("a"), verdict(), at(5), aborted(), e.ActionAborted(action="a"))
    assert the_event(decide(state, moment(9))) == e.IntentAborted()


def test_whoever_waits_for_a_person_rests():
    assert decide(given(plan("a"), verdict(), attention(None)), moment(9)) == Rest()


def test_a_release_does_not_wait_for_what_the_prepare_waited_for():
    state = given(plan("a"), verdict(), deferred("a", 25, Verb.PREPARE), aborted())
    assert decide(state, moment(9)) == abort("a")

"""decide, up to the decision: given what has happened, when it is this late, then this comes next."""

from datetime import timedelta

import pytest
from unit.given import aborted, at, attention, given, moment, plan, prepared, resolution, verdict

from coordinator.decide import Evaluate, Invocation, Invoke, Record, Rest, Wait, decide
from ledger import bounds
from ledger import events as e
from ledger.intents import Mode, Verb
from ledger.state import content_digest


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


def test_no_hold_waits_longer_for_a_person_than_it_lives():
    event = the_event(decide(escalated(hold_seconds=60), moment(10)))
    assert event.expires_at == moment(2 + 60)  # the hold was taken at 2


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
    assert isinstance(the_event(decide(state, moment(50))), e.CommitDecided)


def test_an_approval_of_something_else_changes_nothing():
    state, _ = waiting(e.ApprovalGiven(digest="sha256:other", by="manager"))
    assert decide(state, moment(50)) == Wait(moment(100))


def test_without_an_approval_in_time_the_intent_is_aborted():
    state, _ = waiting()
    assert the_event(decide(state, moment(100))).cause == "expired"


def test_an_approval_that_is_found_too_late_is_not_used():
    _, request = waiting()
    state, _ = waiting(e.ApprovalGiven(digest=request.digest, by="manager"))
    assert the_event(decide(state, moment(100))).cause == "expired"


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

"""decide, after the decision: in which order things happen, what doubt leads to, and the way back."""

import pytest
from unit.given import at, attention, committing, compensate, done, given, moment, plan, resolution

from coordinator.decide import decide
from coordinator.moves import Invocation, Invoke, Record, Rest, Wait
from ledger import bounds
from ledger import events as e
from ledger.intents import Verb

LATE = 10_000


def commit(*names, announced=False):
    return Invoke(tuple(Invocation(Verb.COMMIT, n, e.CommitAttempted(action=n) if announced else None) for n in names))


def undo(name, *, announced=False):
    return Invoke((Invocation(Verb.COMPENSATE, name, e.UndoAttempted(action=name) if announced else None),))


def attempted(name):
    return e.CommitAttempted(action=name)


def doubtful(name, retry_at=0.0):
    return e.CommitInDoubt(action=name, reason="no answer", retry_at=moment(retry_at))


def deferred(name, verb, retry_at=0.0):
    return e.CallDeferred(action=name, verb=verb, reason="busy", retry_at=moment(retry_at))


def failed(name):
    return e.ActionFailed(action=name, reason="closed account")


def undo_doubtful(name, retry_at=0.0):
    return e.UndoInDoubt(action=name, reason="no answer", retry_at=moment(retry_at))


def the_event(move):
    assert isinstance(move, Record)
    (event,) = move.events
    return event


# ── the order of commits ─────────────────────────────────────────────────────────────────────────────────────────


def test_holds_are_committed_together_and_unannounced():
    assert decide(given(*committing(plan("a"), plan("b"))), moment(9)) == commit("a", "b")


def test_one_shots_go_before_holds():
    state = given(*committing(plan("hold"), plan("shot", "idempotent")))
    assert decide(state, moment(9)) == commit("shot", announced=True)


def test_what_can_be_undone_goes_before_what_cannot():
    state = given(*committing(plan("mail", "blind", "none"), plan("refund", "idempotent")))
    assert decide(state, moment(9)) == commit("refund", announced=True)


def test_idempotent_one_shots_go_together():
    state = given(*committing(plan("a", "idempotent"), plan("b", "idempotent")))
    assert decide(state, moment(9)) == commit("a", "b", announced=True)


@pytest.mark.parametrize("guarantee", ["verifiable", "blind"])
def test_what_must_not_be_repeated_goes_alone(guarantee):
    state = given(*committing(plan("a", guarantee), plan("b", guarantee)))
    assert decide(state, moment(9)) == commit("a", announced=True)


def test_what_cannot_be_undone_goes_alone():
    state = given(*committing(plan("a", "idempotent", "none"), plan("b", "idempotent", "none")))
    assert decide(state, moment(9)) == commit("a", announced=True)


def test_an_action_goes_after_those_that_it_names():
    plans = plan("mail", "blind", after=("hold",)), plan("hold")
    assert decide(given(*committing(*plans)), moment(9)) == commit("hold")
    assert decide(given(*committing(*plans), done("hold")), moment(9)) == commit("mail", announced=True)


def test_a_hold_that_a_one_shot_waits_for_goes_before_other_holds():
    plans = plan("other"), plan("hold"), plan("middle", after=("hold",)), plan("mail", "blind", after=("middle",))
    assert decide(given(*committing(*plans)), moment(9)) == commit("hold")


def test_when_everything_is_done_the_intent_is_committed():
    assert the_event(decide(given(*committing(plan("a")), done("a")), moment(9))) == e.IntentCommitted()


# ── retries and doubt ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_deferred_commit_waits_for_its_time():
    state = given(*committing(plan("a")), deferred("a", Verb.COMMIT, 20))
    assert decide(state, moment(9)) == Wait(moment(20))
    assert decide(state, moment(20)) == commit("a")


@pytest.mark.parametrize("guarantee", ["atomic", "idempotent"])
def test_what_may_be_repeated_is_repeated_when_in_doubt(guarantee):
    doubt = [doubtful("a")] if guarantee == "atomic" else [attempted("a"), doubtful("a")]
    assert decide(given(*committing(plan("a", guarantee)), *doubt), moment(LATE)) == commit("a")


def test_a_hold_is_retried_for_ever():
    doubts = [doubtful("a") for _ in range(500)]
    assert decide(given(*committing(plan("a")), *doubts), moment(LATE)) == commit("a")


@pytest.mark.parametrize("guarantee", ["atomic", "idempotent"])
def test_what_is_answered_again_and_again_without_being_settled_is_shown_to_a_person(guarantee):
    answered = e.CommitInDoubt(action="a", reason="The system answered 409.", retry_at=moment(0), answered=True)
    almost = [*committing(plan("a", guarantee)), doubtful("a"), *[answered] * (bounds.ANSWERS_IN_VAIN - 1)]
    assert decide(given(*almost), moment(LATE)) == commit("a")
    question = the_event(decide(given(*almost, answered), moment(LATE)))
    assert isinstance(question, e.AttentionRaised)
    assert f"was answered {bounds.ANSWERS_IN_VAIN} times" in question.reason
    assert "409" in question.reason


def test_an_undo_that_is_answered_again_and_again_without_being_settled_is_shown_to_a_person():
    answered = e.UndoInDoubt(action="a", reason="The system answered 409.", retry_at=moment(0), answered=True)
    turned = [*committing(plan("a")), done("a"), e.IntentCommitted(), compensate("undo")]
    turned += [answered] * bounds.ANSWERS_IN_VAIN
    assert decide(given(*turned[:-1]), moment(LATE)) == undo("a")
    assert isinstance(the_event(decide(given(*turned), moment(LATE))), e.AttentionRaised)


def test_silence_is_repeated_for_as_long_as_it_lasts():
    silent = [doubtful("a")] * (2 * bounds.ANSWERS_IN_VAIN)
    assert decide(given(*committing(plan("a", "idempotent")), *silent), moment(LATE)) == commit("a")


def test_what_a_commit_had_cost_is_not_counted_against_its_undo():
    tried = [doubtful("a")] * (bounds.INQUIRY_ATTEMPTS - 1)
    turned = [*committing(plan("a", "verifiable")), attempted("a"), *tried, done("a"), e.IntentCommitted()]
    state = given(*turned, compensate("undo"), e.UndoAttempted(action="a"), undo_doubtful("a"))
    assert state.action("a").attempts == 1
    assert decide(state, moment(LATE)) == Invoke((Invocation(Verb.INQUIRE, "a", about=Verb.COMPENSATE),))


def test_an_idempotent_commit_is_never_repeated_close_to_the_end_of_its_keys_life():
    forgetful = plan("a", "idempotent", key_lifetime_seconds=100)
    state = given(*committing(forgetful), attempted("a"), doubtful("a"))  # decided at 3
    last = 3 + 100 - bounds.CALL_SECONDS
    assert decide(state, moment(last - 1)) == commit("a")
    assert the_event(decide(state, moment(last))).action == "a"
    assert isinstance(the_event(decide(state, moment(last))), e.AttentionRaised)


def test_what_was_never_sent_does_not_fear_the_end_of_its_key():
    state = given(*committing(plan("a", "idempotent", key_lifetime_seconds=100)))
    assert decide(state, moment(LATE)) == commit("a", announced=True)


def test_what_is_verifiable_is_asked_about():
    state = given(*committing(plan("a", "verifiable")), attempted("a"), doubtful("a", 20))
    assert decide(state, moment(9)) == Wait(moment(20))
    assert decide(state, moment(20)) == Invoke((Invocation(Verb.INQUIRE, "a", about=Verb.COMMIT),))


def test_what_is_found_absent_is_sent_again():
    state = given(*committing(plan("a", "verifiable")), attempted("a"), doubtful("a"), e.CommitFoundAbsent(action="a"))
    assert decide(state, moment(9)) == commit("a", announced=True)


def test_inquiries_in_vain_end_with_a_person():
    unknown = [deferred("a", Verb.INQUIRE) for _ in range(bounds.INQUIRY_ATTEMPTS - 1)]
    state = given(*committing(plan("a", "verifiable")), attempted("a"), doubtful("a"), *unknown)
    assert isinstance(the_event(decide(state, moment(LATE))), e.AttentionRaised)


def test_a_blind_commit_in_doubt_is_never_repeated_and_shown_at_once():
    state = given(*committing(plan("a", "blind")), attempted("a"), doubtful("a"))
    assert isinstance(the_event(decide(state, moment(9))), e.AttentionRaised)


@pytest.mark.parametrize("guarantee", ["idempotent", "verifiable", "blind"])
def test_an_attempt_without_an_answer_is_in_doubt_for_whoever_finds_it(guarantee):
    state = given(*committing(plan("a", guarantee)), attempted("a"))
    assert isinstance(the_event(decide(state, moment(9))), e.CommitInDoubt)


def test_an_attempt_that_certainly_had_no_effect_is_made_again():
    state = given(*committing(plan("a", "blind")), attempted("a"), deferred("a", Verb.COMMIT, 9))
    assert decide(state, moment(9)) == commit("a", announced=True)


def test_doubt_is_settled_before_anything_new_is_sent():
    state = given(*committing(plan("a", "idempotent"), plan("b")), attempted("a"), doubtful("a", 50))
    assert decide(state, moment(9)) == Wait(moment(50))


def test_a_person_who_says_that_it_happened_lets_the_intent_go_on():
    asked = *committing(plan("a", "blind"), plan("b")), attempted("a"), doubtful("a"), attention("a")
    assert decide(given(*asked), moment(9)) == Rest()
    assert decide(given(*asked, resolution("a", "applied")), moment(9)) == commit("b")


def test_a_person_who_says_that_it_did_not_happen_turns_the_intent_back():
    asked = *committing(plan("a", "blind"), plan("b")), attempted("a"), doubtful("a"), attention("a")
    event = the_event(decide(given(*asked, resolution("a", "not_applied")), moment(9)))
    assert (type(event), event.cause) == (e.CompensateDecided, "failed")


# ── the way back ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failure_for_good_turns_the_intent_back_and_says_why():
    event = the_event(decide(given(*committing(plan("a", "idempotent")), attempted("a"), failed("a")), moment(9)))
    assert (event.cause, event.reason) == ("failed", "sim.a failed: closed account")


def test_nothing_is_compensated_while_anything_is_in_doubt():
    plans = plan("a", "idempotent"), plan("b", "idempotent")
    state = given(*committing(*plans), attempted("a"), attempted("b"), failed("a"), doubtful("b"))
    assert decide(state, moment(9)) == commit("b")


def test_a_hold_that_was_sent_together_with_one_that_failed_is_driven_to_its_answer():
    state = given(*committing(plan("a"), plan("b")), failed("a"))
    assert decide(state, moment(9)) == commit("b")


def test_a_hold_whose_turn_had_not_come_is_aborted():
    turned = *committing(plan("a", "idempotent"), plan("b")), attempted("a"), failed("a")
    assert isinstance(the_event(decide(given(*turned), moment(9))), e.CompensateDecided)
    assert decide(given(*turned, compensate()), moment(9)) == Invoke((Invocation(Verb.ABORT, "b"),))


def test_effects_are_undone_one_by_one_in_reverse():
    turned = *committing(plan("a"), plan("b")), done("b"), done("a"), e.IntentCommitted(), compensate("undo")
    assert decide(given(*turned), moment(9)) == undo("a")
    undone = e.ActionUndone(action="a", result={})
    assert decide(given(*turned, undone), moment(9)) == undo("b")


@pytest.mark.parametrize("guarantee", ["verifiable", "blind"])
def test_a_compensation_that_must_not_be_repeated_is_announced(guarantee):
    state = given(*committing(plan("a", guarantee)), attempted("a"), done("a"), e.IntentCommitted(), compensate("undo"))
    assert decide(state, moment(9)) == undo("a", announced=True)


def turned_back(*more, **how):
    shot = plan("a", **({"guarantee": "idempotent"} | how))
    announced = [] if shot.guarantee == "atomic" else [attempted("a")]
    return given(*committing(shot), *announced, done("a"), e.IntentCommitted(), compensate("undo"), *more)


def test_a_compensation_in_doubt_is_repeated_where_it_may_be():
    assert decide(turned_back(undo_doubtful("a")), moment(LATE)) == undo("a")
    assert decide(turned_back(undo_doubtful("a"), guarantee="atomic"), moment(LATE)) == undo("a")


def test_a_compensation_in_doubt_is_asked_about_where_it_may_not():
    state = turned_back(e.UndoAttempted(action="a"), undo_doubtful("a"), guarantee="verifiable")
    assert decide(state, moment(LATE)) == Invoke((Invocation(Verb.INQUIRE, "a", about=Verb.COMPENSATE),))


@pytest.mark.parametrize("guarantee", ["blind", "verifiable"])
def test_a_compensation_without_an_answer_is_in_doubt_for_whoever_finds_it(guarantee):
    state = turned_back(e.UndoAttempted(action="a"), guarantee=guarantee)
    assert isinstance(the_event(decide(state, moment(LATE))), e.UndoInDoubt)


def test_a_blind_compensation_in_doubt_is_shown_to_a_person():
    state = turned_back(e.UndoAttempted(action="a"), undo_doubtful("a"), guarantee="blind")
    assert isinstance(the_event(decide(state, moment(LATE))), e.AttentionRaised)


def test_no_compensation_is_sent_when_its_key_may_be_forgotten():
    state = turned_back(key_lifetime_seconds=100)
    assert decide(state, moment(20)) == undo("a")
    assert isinstance(the_event(decide(state, moment(LATE))), e.UndoInDoubt)


def test_a_compensation_in_doubt_beyond_its_key_is_shown_to_a_person():
    state = turned_back(undo_doubtful("a"), key_lifetime_seconds=100)
    assert isinstance(the_event(decide(state, moment(LATE))), e.AttentionRaised)


def test_what_refuses_to_be_undone_is_shown_to_a_person():
    state = turned_back(e.UndoFailed(action="a", reason="too late"))
    assert isinstance(the_event(decide(state, moment(LATE))), e.AttentionRaised)


def test_what_cannot_be_undone_makes_the_end_mixed_and_is_named():
    state = turned_back(undo="none")
    assert the_event(decide(state, moment(LATE))) == e.IntentMixed(reason="Not undone: sim.a.")


def test_what_a_person_says_to_stand_makes_the_end_mixed():
    stuck = e.UndoFailed(action="a", reason="too late"), attention("a")
    state = turned_back(*stuck, resolution("a", "not_applied"))
    assert isinstance(the_event(decide(state, moment(LATE))), e.IntentMixed)
    state = turned_back(*stuck, resolution("a", "applied"))
    assert the_event(decide(state, moment(LATE))) == e.IntentCompensated()


def test_a_deferred_compensation_waits_for_its_time():
    state = turned_back(deferred("a", Verb.COMPENSATE, 50))
    assert decide(state, moment(20)) == Wait(moment(50))
    assert decide(state, moment(50)) == undo("a")


def test_when_everything_is_undone_the_intent_is_compensated():
    state = turned_back(at(9), e.ActionUndone(action="a", result={}))
    assert the_event(decide(state, moment(20))) == e.IntentCompensated()


@pytest.mark.parametrize("ending", [e.IntentCompensated(), e.IntentMixed(reason="x")])
def test_an_ended_intent_rests(ending):
    assert decide(turned_back(e.ActionUndone(action="a", result={}), ending), moment(20)) == Rest()


# ── what may still land ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("guarantee", "seconds"), [("verifiable", bounds.CALL_SECONDS + 60), ("idempotent", 0)])
def test_what_a_lost_worker_sent_is_asked_about_only_when_it_can_no_longer_land(guarantee, seconds):
    state = given(*committing(plan("a", guarantee, settle_seconds=60)), attempted("a"))
    assert the_event(decide(state, moment(99))).retry_at == moment(99 + seconds)


def test_a_hold_that_broke_its_word_is_released_all_the_same():
    state = given(*committing(plan("a")), failed("a"), compensate())
    assert decide(state, moment(9)) == Invoke((Invocation(Verb.ABORT, "a"),))

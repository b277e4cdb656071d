"""What an answer means: every verb with every answer that a contract allows, and with every one that it does not."""

from datetime import timedelta

import pytest
from unit.given import attention, committing, compensate, done, given, moment, plan, prepared, resolution, verdict

from adapters.contract import Absent, Applied, Held, Prepared, Preview, Refused, Result, Unknown
from coordinator.backoff import retry_at
from coordinator.moves import Invocation
from coordinator.outcome import NotSent, event_of
from ledger import bounds
from ledger import events as e
from ledger.errors import InDoubt, InvariantViolation, Permanent, Transient
from ledger.intents import Verb

NOW = moment(60)
GUARANTEES = ("atomic", "idempotent", "verifiable", "blind")
ONE_SHOTS = GUARANTEES[1:]


def outcome(verb, answer, *history, about=None, guarantee="atomic"):
    state = given(*(history or (plan("a", guarantee), verdict())))
    return event_of(Invocation(verb, "a", about=about), state.action("a"), answer, NOW)


def attempted(guarantee, *more):
    announced = () if guarantee == "atomic" else (e.CommitAttempted(action="a"),)
    return (*committing(plan("a", guarantee)), *announced, *more)


def doubt():
    return e.CommitInDoubt(action="a", reason="?", retry_at=NOW)


# ── prepare ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_vote_is_recorded_with_what_it_showed():
    event = outcome(Verb.PREPARE, Prepared({"hold": 1}, Preview(before={"n": 0})))
    assert event == e.ActionPrepared(
        action="a", receipt={"hold": 1}, preview={"facts": {}, "before": {"n": 0}, "after": None}
    )


@pytest.mark.parametrize("answer", [Refused("no"), Permanent("no")])
def test_a_refusal_and_a_permanent_error_are_votes_against(answer):
    assert outcome(Verb.PREPARE, answer) == e.ActionRefused(action="a", reason="no")


def test_a_hold_may_exist_when_its_prepare_is_in_doubt():
    assert isinstance(outcome(Verb.PREPARE, InDoubt("?")), e.PrepareInDoubt)


@pytest.mark.parametrize("guarantee", ONE_SHOTS)
def test_a_validation_without_an_answer_is_only_asked_again(guarantee):
    assert isinstance(outcome(Verb.PREPARE, InDoubt("?"), guarantee=guarantee), e.CallDeferred)


# ── commit ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_result_is_an_effect(guarantee):
    event = outcome(Verb.COMMIT, Result({"id": "re_1"}), *attempted(guarantee))
    assert event == e.ActionDone(action="a", result={"id": "re_1"})


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_doubt_is_never_a_failure(guarantee):
    assert isinstance(outcome(Verb.COMMIT, InDoubt("?"), *attempted(guarantee)), e.CommitInDoubt)


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_permanent_error_is_a_failure(guarantee):
    assert isinstance(outcome(Verb.COMMIT, Permanent("no"), *attempted(guarantee)), e.ActionFailed)


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_transient_error_is_tried_again_later_and_later(guarantee):
    event = outcome(Verb.COMMIT, Transient("busy"), *attempted(guarantee))
    assert (type(event), event.retry_at) == (e.CallDeferred, retry_at(NOW, 0, "key-a"))


def tried(guarantee, times):
    attempt = () if guarantee == "atomic" else (e.CommitAttempted(action="a"),)
    again = e.CallDeferred(action="a", verb=Verb.COMMIT, reason="busy", retry_at=NOW)
    return (*committing(plan("a", guarantee)), *((*attempt, again) * times), *attempt)


@pytest.mark.parametrize("guarantee", ONE_SHOTS)
def test_a_one_shot_that_certainly_failed_often_enough_has_failed_for_good(guarantee):
    almost = tried(guarantee, bounds.ONE_SHOT_ATTEMPTS - 2)
    enough = tried(guarantee, bounds.ONE_SHOT_ATTEMPTS - 1)
    assert isinstance(outcome(Verb.COMMIT, Transient("busy"), *almost), e.CallDeferred)
    assert isinstance(outcome(Verb.COMMIT, Transient("busy"), *enough), e.ActionFailed)


def test_a_hold_is_never_given_up():
    assert isinstance(outcome(Verb.COMMIT, Transient("busy"), *tried("atomic", 100)), e.CallDeferred)


def test_what_was_in_doubt_is_not_given_up_because_a_repeat_had_no_effect():
    many = [doubt() for _ in range(bounds.ONE_SHOT_ATTEMPTS)]
    event = outcome(Verb.COMMIT, Transient("busy"), *attempted("idempotent"), *many)
    assert isinstance(event, e.CallDeferred)


# ── inquire ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "about_commit", "about_undo"),
    [
        (Applied(Result()), e.ActionDone, e.ActionUndone),
        (Absent(), e.CommitFoundAbsent, e.UndoFoundAbsent),
        (Held({}), e.CommitFoundAbsent, e.UndoFoundAbsent),
        (Unknown("?"), e.CallDeferred, e.CallDeferred),
        (Transient("busy"), e.CallDeferred, e.CallDeferred),
        (InDoubt("?"), e.CallDeferred, e.CallDeferred),
        (Permanent("no"), e.CallDeferred, e.CallDeferred),
    ],
)
def test_an_inquiry_settles_doubt_only_by_a_clear_answer(answer, about_commit, about_undo):
    asked = attempted("verifiable", doubt())
    assert type(outcome(Verb.INQUIRE, answer, *asked, about=Verb.COMMIT)) is about_commit
    assert type(outcome(Verb.INQUIRE, answer, *asked, about=Verb.COMPENSATE)) is about_undo


# ── abort and compensate ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "event"),
    [
        (None, e.ActionAborted),
        (Permanent("no"), e.AbortFailed),
        (Transient(), e.CallDeferred),
        (InDoubt(), e.CallDeferred),
    ],
)
def test_an_abort_is_repeated_until_it_is_done_or_refused(answer, event):
    held = plan("a"), verdict(), prepared("a")
    assert type(outcome(Verb.ABORT, answer, *held)) is event


@pytest.mark.parametrize(
    ("answer", "event"),
    [
        (Result({"id": 1}), e.ActionUndone),
        (Permanent("no"), e.UndoFailed),
        (Transient(), e.CallDeferred),
        (InDoubt(), e.UndoInDoubt),
    ],
)
def test_a_compensation_is_done_refused_repeated_or_in_doubt(answer, event):
    turned = *committing(plan("a")), done("a"), e.IntentCommitted(), compensate("undo")
    assert type(outcome(Verb.COMPENSATE, answer, *turned)) is event


# ── what did not leave ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("verb", [Verb.PREPARE, Verb.COMMIT, Verb.ABORT, Verb.COMPENSATE, Verb.INQUIRE])
def test_a_call_that_did_not_leave_is_due_again_when_it_may_and_is_no_attempt(verb):
    event = outcome(verb, NotSent("The bank was busy.", moment(70)))
    deferred = e.CallDeferred(action="a", verb=verb, reason="The bank was busy.", retry_at=moment(70), sent=False)
    assert event == deferred


@pytest.mark.parametrize("guarantee", ONE_SHOTS)
def test_a_one_shot_is_not_given_up_for_calls_that_did_not_leave(guarantee):
    held = e.CallDeferred(action="a", verb=Verb.COMMIT, reason="busy", retry_at=NOW, sent=False)
    history = (*committing(plan("a", guarantee)), *[held] * 100, e.CommitAttempted(action="a"))
    assert given(*history).action("a").attempts == 0
    assert isinstance(outcome(Verb.COMMIT, Transient("busy"), *history), e.CallDeferred)


@pytest.mark.parametrize(("silent", "answered"), [(True, False), (False, True)])
def test_doubt_says_whether_the_system_was_heard(silent, answered):
    assert outcome(Verb.COMMIT, InDoubt("?", silent=silent), *attempted("idempotent")).answered is answered
    turned = *committing(plan("a")), done("a"), e.IntentCommitted(), compensate("undo")
    assert outcome(Verb.COMPENSATE, InDoubt("?", silent=silent), *turned).answered is answered


# ── what no contract allows ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("verb", "answer"),
    [
        (Verb.PREPARE, Result()),
        (Verb.PREPARE, None),
        (Verb.COMMIT, Prepared()),
        (Verb.COMMIT, None),
        (Verb.COMMIT, Absent()),
        (Verb.ABORT, Result()),
        (Verb.COMPENSATE, None),
        (Verb.INQUIRE, Result()),
        (Verb.PREVIEW, Result()),
    ],
)
def test_an_answer_to_another_question_is_a_broken_law(verb, answer):
    with pytest.raises(InvariantViolation):
        outcome(verb, answer)


def test_we_stop_listening_to_long_words():
    event = outcome(Verb.COMMIT, Permanent("x" * 9_999), *attempted("idempotent"))
    assert len(event.reason) == bounds.ERROR_LENGTH


def test_a_person_gives_the_attempts_back():
    asked = attempted("atomic", doubt(), doubt()), attention("a"), resolution("a", "applied")
    assert given(*asked[0], *asked[1:]).action("a").attempts == 0


@pytest.mark.parametrize("verb", [Verb.COMMIT, Verb.COMPENSATE])
def test_what_may_still_land_is_not_asked_about_before_it_has(verb):
    history = (plan("a", "verifiable", settle_seconds=60), verdict())
    event = outcome(verb, InDoubt("no answer"), *history)
    assert event.retry_at == NOW + timedelta(seconds=60)

"""What people may say about an intent, and when it is too late to say it."""

import pytest
from unit.given import aborted, attention, committing, compensate, done, given, moment, plan, verdict

from coordinator import people
from ledger import events as e
from ledger.errors import AlreadyDecided, NotUndoable, NotWaiting

WINDOW = 100


def committed(*plans):
    return given(*committing(*plans), *(done(p.id) for p in plans), e.IntentCommitted())


def undo(state, *, partial=False, seconds=20.0):
    return people.undo(state, "wrong", "operator", partial=partial, now=moment(seconds))


@pytest.mark.parametrize("history", [(plan("a"),), (plan("a"), verdict())])
def test_an_undecided_intent_can_be_cancelled(history):
    event = people.cancel(given(*history), "changed my mind", "operator")
    assert (event.cause, event.reason, event.by) == ("cancelled", "changed my mind", "operator")


@pytest.mark.parametrize(
    "state",
    [
        given(*committing(plan("a"))),
        given(plan("a"), verdict(), aborted()),
        committed(plan("a")),
        given(plan("a"), verdict("deny")),
    ],
    ids=["committing", "aborting", "committed", "denied"],
)
def test_a_decided_intent_cannot_be_cancelled(state):
    with pytest.raises(AlreadyDecided):
        people.cancel(state, "changed my mind", "operator")


def test_a_committed_intent_can_be_undone():
    assert undo(committed(plan("a"))).cause == "undo"


def test_what_cannot_be_undone_is_named():
    with pytest.raises(NotUndoable) as refused:
        undo(committed(plan("a"), plan("mail", undo="none")))
    assert refused.value.extras["actions"] == ["mail"]


def test_the_rest_can_be_undone_if_that_is_asked_for():
    assert undo(committed(plan("a"), plan("mail", undo="none")), partial=True).cause == "undo"


def test_nothing_is_undone_where_nothing_can_be():
    with pytest.raises(NotUndoable):
        undo(committed(plan("mail", undo="none")), partial=True)


def test_an_undo_window_counts_from_the_effect():
    state = committed(plan("a", undo_window_seconds=WINDOW))  # done at 4
    assert undo(state, seconds=4 + WINDOW - 1)
    with pytest.raises(NotUndoable):
        undo(state, seconds=4 + WINDOW)


def test_only_a_committed_intent_is_undone():
    for state in (
        given(*committing(plan("a"))),
        given(*committing(plan("a")), done("a"), e.IntentCommitted(), compensate()),
    ):
        with pytest.raises(NotUndoable):
            undo(state)


def test_attention_is_answered_for_the_action_that_asked():
    state = given(plan("a"), plan("b"), verdict(), attention("a"))
    assert people.resolve(state, "a", "applied", "", "operator").action == "a"
    for other in ("b", None):
        with pytest.raises(NotWaiting):
            people.resolve(state, other, "applied", "", "operator")


def test_nothing_is_answered_where_nobody_asked():
    with pytest.raises(NotWaiting):
        people.resolve(given(plan("a"), verdict()), "a", "applied", "", "operator")

"""What must still hold when an append of the coordinator becomes durable, by what it says."""

import pytest
from given import given, plan, verdict

from coordinator.guards import guards_of
from ledger import events as e
from ledger.store import GrantAlive, PolicyActive

STATE = given(plan("a"))
ABORT = e.AbortDecided(cause="deadline", reason="late")
DEFERRED = e.CallDeferred(action="a", verb="preview", reason="busy", retry_at=STATE.submitted_at)


def classes(*events):
    return {type(guard) for guard in guards_of(STATE, events)}


def test_nobodys_authority_is_needed_to_abort():
    assert classes(ABORT) == classes(DEFERRED, ABORT) == set()


@pytest.mark.parametrize("effect", ["allow", "escalate", "deny"])
@pytest.mark.parametrize("after", [(), (ABORT,)])
def test_a_verdict_needs_it_whatever_follows_in_the_same_append(effect, after):
    """Or else it would stand in the ledger under a dead grant, or of a policy set that was in force no more."""
    assert classes(verdict(effect), *after) == {GrantAlive, PolicyActive}


def test_whatever_else_happens_before_the_decision_needs_a_living_grant():
    assert classes(DEFERRED) == {GrantAlive}

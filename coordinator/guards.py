"""What must hold when an append of the coordinator becomes durable, from what it says. Pure.

Every guard is judged under the ledger's head lock in the transaction of the append itself, so nothing can come between
the look and the decision (design page 1, section 3.2):

  * while an intent is undecided, its grant and every grant above it are alive;
  * a verdict, and a decision that rests on one, are of the policy set that is active;
  * a decision to commit finds room in every limit, and charges them all in the same transaction.

What a decision had charged is given back when the intent is compensated because an action failed.
"""

from collections.abc import Sequence

from authority.policy import DEFAULT
from ledger import events as e
from ledger.phases import UNDECIDED
from ledger.state import IntentState
from ledger.store import GrantAlive, Guard, PolicyActive, Restore, WithinLimits


def guards_of(state: IntentState, events: Sequence[e.Event]) -> tuple[Guard, ...]:
    """Return the guards of authority for events that are to be appended to an intent in this state."""
    judged = any(isinstance(event, e.PolicyEvaluated | e.CommitDecided) for event in events)
    if state.phase not in UNDECIDED or (not judged and any(isinstance(event, e.AbortDecided) for event in events)):
        return ()  # nobody's authority is needed to abort; for a verdict it is, whatever follows it in the same append
    found: list[Guard] = [GrantAlive(state.submitted.grant)]
    for event in events:
        if isinstance(event, e.PolicyEvaluated | e.CommitDecided):
            policy = policy_active(event.policy_set)
            if policy not in found:
                found.append(policy)
        if isinstance(event, e.CommitDecided) and event.charges:
            found.append(WithinLimits(event.charges))
    return tuple(found)


def restore_of(state: IntentState, events: Sequence[e.Event]) -> Restore | None:
    """Return what these events give back to the limits."""
    decided, compensate = state.committed, state.compensate
    failed = any(isinstance(event, e.CompensateDecided) and event.cause == "failed" for event in events) or (
        compensate is not None and compensate.cause == "failed"
    )
    ended = any(isinstance(event, e.IntentCompensated) for event in events)
    if not failed or not ended or decided is None or not decided.charges or state.commit_decided_at is None:
        return None
    return Restore(decided.charges, state.commit_decided_at)


def notable(events: Sequence[e.Event]) -> int | None:
    """Return the place of the event of which people want to be told: a question to them, or how it was answered."""
    for place, event in enumerate(events):
        if isinstance(event, e.ApprovalRequested | e.ApprovalGiven) or (
            isinstance(event, e.AbortDecided) and event.cause in {"rejected", "expired"}
        ):
            return place
    return None


def policy_active(policy_set: str) -> PolicyActive:
    """Return the guard for what rests on a policy set; the built-in one is in force while none is active."""
    return PolicyActive(None if policy_set == DEFAULT.digest else policy_set)

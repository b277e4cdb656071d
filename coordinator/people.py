"""What people may say about an intent: approve it, reject it, cancel it, undo it, state what is true.

Pure: from state and words to an event.

Each function returns the event to append at the state's version, or raises the refusal. Nothing else changes: the
worker finds the new event like any other and goes on from there.
"""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from authority.approvals import Involved, eligible
from authority.grants import Principal, beyond
from ledger import events as e
from ledger.errors import AlreadyDecided, DigestMismatch, Forbidden, NotEligible, NotUndoable, NotWaiting
from ledger.intents import Undo
from ledger.phases import UNDECIDED, Phase
from ledger.state import ActionState, IntentState
from ledger.undo_plans import WhyNot


class Answer(msgspec.Struct, frozen=True):
    """Who answers a question to people, and about what exactly."""

    principal: Principal
    digest: str
    now: datetime


def approve(state: IntentState, involved: Involved, answer: Answer, note: str | None) -> e.ApprovalGiven:
    """Approve exactly what the digest names; `involved` are the grants behind this question.

    Raises `NotWaiting` (too early, too late, answered already), `NotEligible`, `DigestMismatch`.
    """
    _may_answer(state, involved, answer)
    principal = answer.principal
    return e.ApprovalGiven(digest=answer.digest, by=principal.subject.name, note=note, grant=principal.grant)


def reject(state: IntentState, involved: Involved, answer: Answer, reason: str) -> e.AbortDecided:
    """Decide against an intent that waits for approval. Raises as `approve` does."""
    _may_answer(state, involved, answer)
    return e.AbortDecided(cause="rejected", reason=reason, by=answer.principal.subject.name)


def _may_answer(state: IntentState, involved: Involved, answer: Answer) -> None:
    asked, principal = state.approval_requested, answer.principal
    if state.phase is not Phase.AWAITING_APPROVAL or asked is None:
        raise NotWaiting(f"The intent is {state.phase} and waits for nobody's approval. Nothing was changed.")
    if answer.now >= asked.expires_at:
        raise NotWaiting("The time to approve is over. Nothing was changed; the intent is being aborted.")
    why_not = eligible(principal, state, involved)
    if why_not is not None:
        raise NotEligible(f"{why_not} Nothing was changed.")
    if len(state.approvals) >= asked.quorum:  # who has answered already is not eligible
        raise NotWaiting("The intent does not wait for your approval any more. Nothing was changed.")
    if answer.digest != asked.digest:
        raise DigestMismatch(digest=asked.digest)


def permitted(state: IntentState, principal: Principal) -> None:
    """Let pass whoever stands in the intent's custody, or whose own grants permit its actions. Raises `Forbidden`."""
    if principal.grant in state.submitted.custody:
        return
    why_not = next(iter(beyond(principal.chain, state.submitted)), None)
    if why_not is not None:
        raise Forbidden(f"Your grant does not reach this intent: {why_not}. Nothing was changed.")


def cancel(state: IntentState, reason: str, by: str) -> e.AbortDecided:
    """Decide against an undecided intent. Raises `AlreadyDecided`."""
    if state.phase not in UNDECIDED:
        raise AlreadyDecided(
            f"The intent is {state.phase}; it is decided and can no longer be cancelled. Nothing was changed."
        )
    return e.AbortDecided(cause="cancelled", reason=reason, by=by)


def undo(state: IntentState, reason: str, by: str, *, partial: bool, now: datetime) -> e.CompensateDecided:
    """Decide to undo a committed intent. Raises `NotUndoable`, naming the actions that stand in the way."""
    if state.phase is not Phase.COMMITTED:
        raise NotUndoable(f"Only a committed intent can be undone; this one is {state.phase}. Nothing was changed.")
    lasting = [action.plan.id for action in state.actions if why_lasting(action, now) is not None]
    if lasting and (not partial or len(lasting) == len(state.actions)):
        raise NotUndoable(
            f"These actions cannot be undone: {', '.join(lasting)}. Nothing was changed.", actions=lasting
        )
    return e.CompensateDecided(cause="undo", reason=reason, by=by)


def resolve(
    state: IntentState, action: str | None, outcome: Literal["applied", "not_applied"], note: str, by: str
) -> e.AttentionResolved:
    """State what is true in the world about the action that raised attention. Raises `NotWaiting`."""
    if state.attention is None:
        raise NotWaiting("The intent asks for nobody's attention. Nothing was changed.")
    if state.attention.action != action:
        raise NotWaiting(
            f"The intent asks about action {state.attention.action!r}, not {action!r}. Nothing was changed."
        )
    return e.AttentionResolved(action=action, outcome=outcome, note=note, by=by)


def why_lasting(action: ActionState, now: datetime) -> WhyNot | None:
    """Tell why a done action cannot be undone by what its operation promised; None if it can."""
    plan = action.plan
    if plan.undo is Undo.NONE:
        return WhyNot.UNDO_NONE
    if plan.undo_window_seconds is None or action.touched_at is None:
        return None
    closes_at = action.touched_at + timedelta(seconds=plan.undo_window_seconds)
    return WhyNot.WINDOW_PASSED if now >= closes_at else None

"""What happens next to an intent that is decided: it is driven to its effects, back from them, or to a person.

Part of `coordinator/decide.py`, whose rules hold here. Nothing in this file turns a decision into another one; only a
one-shot that failed for good leads from committing to compensating.
"""

from datetime import datetime, timedelta

from coordinator.moves import (
    Invocation,
    Invoke,
    Move,
    Record,
    Rest,
    Verify,
    Wait,
    invoke_due,
    is_due,
    repeatable,
    wait_for,
)
from coordinator.undecided import foreseen
from ledger import bounds
from ledger import events as e
from ledger.intents import ActionPlan, Guarantee, Undo, Verb, has_hold, undo_guarantee
from ledger.phases import Step
from ledger.state import ActionState, IntentState


def committing(state: IntentState, now: datetime) -> Move:
    """Bring every effect into the world, or find out that one failed for good."""
    for action in state.actions:
        settled = _settle_commit(state, action, now)
        if settled is not None:
            return settled
    doubtful = [a for a in state.actions if a.step is Step.COMMIT_IN_DOUBT]
    if doubtful:
        return _ask_or_repeat(doubtful, now)
    candidates = _next_commits(state)
    failed = [a for a in state.actions if a.step is Step.FAILED]
    if failed:
        promised = [a for a in candidates if a.step is Step.PREPARED and has_hold(a.plan)]
        if promised:  # sent together with what failed, perhaps by somebody who crashed: only an answer tells
            return invoke_due(promised, now, Verb.COMMIT)
        mode = foreseen(state.submitted.contract, [(a.plan.operation, a.error or "") for a in failed])
        return Record(
            (
                e.CompensateDecided(
                    cause="failed",
                    reason="; ".join(f"{a.plan.operation} failed: {a.error}" for a in failed),
                    failure_mode=mode.name if mode else None,
                    escalated_to=mode.escalate_to if mode else None,
                ),
            )
        )
    if not candidates:
        return Record((e.IntentCommitted(),))
    return invoke_due(candidates, now, Verb.COMMIT)


def _settle_commit(state: IntentState, action: ActionState, now: datetime) -> Move | None:
    """Name the doubt about one action, or show it to a person, where no call can take it away."""
    plan = action.plan
    if action.step is Step.COMMIT_ATTEMPTED:  # whoever sent it is gone, or it would be recorded
        return _in_doubt(plan, "The process that sent it stopped before an answer was recorded.", now)
    if action.step is not Step.COMMIT_IN_DOUBT:
        return None
    match plan.guarantee:
        case Guarantee.BLIND:
            return _attention(
                plan, f"Whether {plan.operation} happened is not known and cannot be asked: {action.error}", _EFFECT
            )
        case Guarantee.VERIFIABLE if action.attempts >= bounds.INQUIRY_ATTEMPTS:
            return _attention(plan, f"{plan.operation} was asked about in vain: {action.error}", _EFFECT)
        case Guarantee.ATOMIC | Guarantee.IDEMPOTENT if action.answers >= bounds.ANSWERS_IN_VAIN:
            return _attention(
                plan, f"{plan.operation} was answered {action.answers} times and is in doubt: {action.error}", _EFFECT
            )
        case Guarantee.IDEMPOTENT if _key_expired(plan, state, now):
            return _attention(
                plan, f"{plan.operation} is in doubt beyond the lifetime of its key: {action.error}", _EFFECT
            )
        case _:
            return None


def _ask_or_repeat(doubtful: list[ActionState], now: datetime) -> Move:
    due = [a for a in doubtful if is_due(a, now)]
    if not due:
        return wait_for(doubtful)
    return Invoke(
        tuple(
            Invocation(Verb.INQUIRE, a.plan.id, about=Verb.COMMIT)
            if a.plan.guarantee is Guarantee.VERIFIABLE
            else Invocation(Verb.COMMIT, a.plan.id)
            for a in due
        )
    )


def _next_commits(state: IntentState) -> list[ActionState]:
    """Choose the actions whose turn it is, all at once; empty when every action is done.

    What has failed keeps its turn, so that the answer also tells what may have been sent together with it.
    """
    ranks = _effective_ranks(state)
    done = {a.plan.id for a in state.actions if a.step is Step.DONE}
    open_actions = [a for a in state.actions if a.step in {Step.PREPARED, Step.FAILED}]
    ready = [a for a in open_actions if done.issuperset(a.plan.after)]
    if not ready:
        return []
    first = min(ranks[a.plan.id] for a in ready)
    chosen = [a for a in ready if ranks[a.plan.id] == first]
    alone = [a for a in chosen if not has_hold(a.plan) and (a.plan.undo is Undo.NONE or not repeatable(a.plan))]
    return alone[:1] or chosen


def _rank(plan: ActionPlan) -> int:
    if has_hold(plan):
        return 2
    return 1 if plan.undo is Undo.NONE else 0


def _effective_ranks(state: IntentState) -> dict[str, int]:
    """Give each action the lowest rank among itself and everything that waits for it, directly or not."""
    ranks = {a.plan.id: _rank(a.plan) for a in state.actions}
    for _ in state.actions:  # at most as many rounds as the longest chain
        before = dict(ranks)
        for action in state.actions:
            for earlier in action.plan.after:
                ranks[earlier] = min(ranks[earlier], ranks[action.plan.id])
        if ranks == before:
            break
    return ranks


def committed(state: IntentState, now: datetime) -> Move:
    """Ask, where the task says what success is, whether the outside shows it."""
    contract = state.submitted.contract
    if contract is None or not contract.success or state.outcome is not None:
        return Rest()
    if state.outcome_retry_at is not None and now < state.outcome_retry_at:
        return Wait(state.outcome_retry_at)
    return Verify(contract.success, last=state.outcome_attempts + 1 >= bounds.OUTCOME_ATTEMPTS)


# ── the two ways back ────────────────────────────────────────────────────────────────────────────────────────────


def aborting(state: IntentState, now: datetime) -> Move:
    """Release every hold that may exist."""
    stuck = _stuck_abort(state)
    if stuck is not None:
        return stuck
    if state.policy is not None:  # otherwise no prepare was ever sent
        held = [a for a in state.actions if a.step in _MAY_HOLD and has_hold(a.plan)]
        if held:
            return invoke_due(held, now, Verb.ABORT)
    return Record((e.IntentAborted(),))


_MAY_HOLD = frozenset({Step.PLANNED, Step.PREPARE_IN_DOUBT, Step.PREPARED, Step.RELEASE_ATTEMPTED, Step.REFUSED})


def _stuck_abort(state: IntentState) -> Move | None:
    for action in state.actions:
        if action.step is Step.ABORT_STUCK:
            return _attention(
                action.plan,
                f"{action.plan.operation} refuses to release its hold: {action.error}",
                "nothing is held there any more",
            )
    return None


def compensating(state: IntentState, now: datetime) -> Move:
    """Release what is held and undo what is done, in reverse."""
    stuck = _stuck_abort(state)
    if stuck is not None:
        return stuck
    held = [a for a in state.actions if a.step in _MAY_STILL_HOLD and has_hold(a.plan)]
    if held:
        return invoke_due(held, now, Verb.ABORT)
    for action_id in reversed(state.done_order):
        action = state.action(action_id)
        if action.step in _TO_UNDO and action.plan.undo is not Undo.NONE:
            return _undo(state, action, now)
    standing = [a.plan.operation for a in state.actions if a.step in {Step.DONE, Step.UNDO_FAILED}]
    if standing:
        return Record((e.IntentMixed(reason=f"Not undone: {', '.join(standing)}."),))
    return Record((e.IntentCompensated(),))


_MAY_STILL_HOLD = frozenset({Step.PREPARED, Step.FAILED})  # one that failed has broken its word, perhaps this one too
_TO_UNDO = frozenset({Step.DONE, Step.UNDO_ATTEMPTED, Step.UNDO_IN_DOUBT, Step.UNDO_STUCK})


def _undo(state: IntentState, action: ActionState, now: datetime) -> Move:
    plan = action.plan
    promise = undo_guarantee(plan)
    expired = promise is Guarantee.IDEMPOTENT and _key_expired(plan, state, now)
    match action.step:
        case Step.UNDO_STUCK:
            return _attention(plan, f"{plan.operation} could not be undone: {action.error}", _UNDONE)
        case Step.UNDO_ATTEMPTED:
            reason = "The process that sent the compensation stopped before an answer was recorded."
            return Record((e.UndoInDoubt(action=plan.id, reason=reason, retry_at=_settled(plan, now)),))
        case Step.DONE if expired:
            reason = "The compensation may have been sent before, and its key is no longer remembered there."
            return Record((e.UndoInDoubt(action=plan.id, reason=reason, retry_at=now),))
        case Step.UNDO_IN_DOUBT if promise is Guarantee.BLIND:
            return _attention(
                plan, f"Whether {plan.operation} was undone is not known and cannot be asked: {action.error}", _UNDONE
            )
        case Step.UNDO_IN_DOUBT if (
            expired
            or action.answers >= bounds.ANSWERS_IN_VAIN
            or (promise is Guarantee.VERIFIABLE and action.attempts >= bounds.INQUIRY_ATTEMPTS)
        ):
            return _attention(plan, f"Whether {plan.operation} was undone is not known: {action.error}", _UNDONE)
        case Step.UNDO_IN_DOUBT if promise is Guarantee.VERIFIABLE:
            if not is_due(action, now):
                return wait_for([action])
            return Invoke((Invocation(Verb.INQUIRE, plan.id, about=Verb.COMPENSATE),))
        case _:
            return invoke_due([action], now, Verb.COMPENSATE)


# ── small words ────────────────────────────────────────────────────────────────────────────────────────────────────


def _key_expired(plan: ActionPlan, state: IntentState, now: datetime) -> bool:
    """Tell whether a call that leaves now could arrive when its key is no longer remembered."""
    if plan.key_lifetime_seconds is None or state.decided_at is None:
        return False
    return now >= state.decided_at + timedelta(seconds=plan.key_lifetime_seconds - bounds.CALL_SECONDS)


def _in_doubt(plan: ActionPlan, reason: str, now: datetime) -> Move:
    return Record((e.CommitInDoubt(action=plan.id, reason=reason, retry_at=_settled(plan, now)),))


def _settled(plan: ActionPlan, now: datetime) -> datetime:
    """Return when nothing that a lost worker has sent can land any more; what can be repeated need not wait for it."""
    return now if repeatable(plan) else now + timedelta(seconds=bounds.CALL_SECONDS + plan.settle_seconds)


_EFFECT = "its effect is in the world"
_UNDONE = "its effect is undone"


def _attention(plan: ActionPlan, reason: str, applied: str) -> Move:
    """Ask a person, and say what `applied` would state."""
    question = f'{reason.rstrip(". ")}. Look there, then resolve: "applied" if {applied}, "not_applied" if not.'
    return Record((e.AttentionRaised(action=plan.id, reason=question),))

"""What happens next to an intent that is not decided: facts, verdict, votes, people, and then the one decision.

Part of `coordinator/decide.py`, whose rules hold here. Every way out of this file is `CommitDecided` or
`AbortDecided`, or a denial before anything was prepared.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from coordinator.moves import Evaluate, Invocation, Invoke, Move, Record, Wait, invoke_due, is_due, wait_for
from ledger import bounds
from ledger import events as e
from ledger.grants import covers
from ledger.ids import retaken_key
from ledger.intents import JSON, Mode, Verb, has_hold
from ledger.phases import Phase, Step
from ledger.state import ActionState, IntentState, content_digest
from ledger.tasks import FailureMode, TaskContract


def deadline(state: IntentState) -> datetime:
    """Return when an undecided intent ends as it stands: not prepared in time, or not approved."""
    if state.phase is Phase.AWAITING_APPROVAL and state.approval_requested is not None:
        if not _is_approved(state) or state.approved_at is None:
            return state.approval_requested.expires_at
        return state.approved_at + timedelta(seconds=state.submitted.deadline_seconds)
    return state.submitted_at + timedelta(seconds=state.submitted.deadline_seconds)


def submitted(state: IntentState, now: datetime) -> Move:
    """See what policy must know, then let authority speak."""
    if now >= deadline(state):
        return abort("deadline", "The deadline passed before authority could give its verdict.")
    waiting = [a for a in state.actions if not is_due(a, now)]
    if waiting:
        return wait_for(waiting, deadline(state))
    dry_run = state.submitted.mode is Mode.DRY_RUN
    return Evaluate(tuple(a.plan.id for a in state.actions if dry_run or a.plan.facts))


def preparing(state: IntentState, now: datetime) -> Move:
    """Collect the votes."""
    refused = _refused(state)
    if refused is not None:
        return refused
    open_actions = [a for a in state.actions if a.step is not Step.PREPARED]
    if now >= deadline(state):
        names = ", ".join(a.plan.id for a in open_actions) or "none"
        return abort("deadline", f"The deadline passed before the decision; not prepared by then: {names}.")
    if open_actions:
        return invoke_due(open_actions, now, Verb.PREPARE, latest=deadline(state))
    return _prepared(state, now)


def _prepared(state: IntentState, now: datetime) -> Move:
    """Decide, everything being prepared: unless the facts have changed, or people must look first."""
    facts = _changed_facts(state)
    if facts is not None:
        return Evaluate((), facts)
    policy = state.policy
    if policy is not None and policy.effect == "deny":
        return abort("denied", "; ".join(policy.reasons) or "The facts have changed, and policy denies it.")
    if policy is None or policy.effect == "allow":
        return _commit(state)
    digest = content_digest(state)
    if _is_approved(state) and state.approvals[0].digest == digest:
        return _commit(state)
    expires_at = now + timedelta(seconds=bounds.APPROVAL_SECONDS)
    return Record((e.ApprovalRequested(digest, expires_at, policy.approvers, policy.quorum),))


def _changed_facts(state: IntentState) -> dict[str, JSON] | None:
    """Return the facts that the votes saw, if they are others than those that policy saw.

    A vote that could not see them any more (contract, law 11) leaves policy to judge without them.
    """
    if state.policy is None:
        return None
    known = state.policy.facts
    seen: dict[str, JSON] = {a.plan.id: (a.preview or {}).get("facts") or {} for a in state.actions if a.plan.facts}
    return {**known, **seen} if any(known.get(action, {}) != facts for action, facts in seen.items()) else None


def _refused(state: IntentState) -> Move | None:
    for action in state.actions:
        if action.step is Step.REFUSED:
            return Record((refusal(state, action, "refused", action.error or ""),))
    return None


def refusal(state: IntentState, action: ActionState, verb: str, error: str) -> e.AbortDecided:
    """Decide against an intent whose `action` cannot be; a failure that its task foresaw escalates to a person."""
    operation = action.plan.operation
    mode = foreseen(state.submitted.contract, [(operation, error)])
    return e.AbortDecided(
        cause="refused",
        reason=f"{operation} {verb}: {error}",
        failure_mode=mode.name if mode else None,
        escalated_to=mode.escalate_to if mode else None,
    )


def foreseen(contract: TaskContract | None, failed: Iterable[tuple[str, str]]) -> FailureMode | None:
    """Return the first failure mode of the task that knows why one of these (operation, error) did not happen."""
    for operation, error in failed:
        for mode in contract.failure_modes if contract else ():
            if covers(mode.operation, operation) and mode.contains.lower() in error.lower():
                return mode
    return None


def awaiting_approval(state: IntentState, now: datetime) -> Move:
    """Wait for people; once they have approved, make sure that what they approved is still what would happen.

    A hold that would not last until they answer and the commit arrives is let go, and taken again afterwards.
    """
    refused = _refused(state)
    if refused is not None:
        return refused
    if any(a.step is Step.ABORT_STUCK for a in state.actions):
        return abort("refused", "A hold that was to be let go while people look could not be released.")
    until = {a.plan.id: at for a in state.actions if (at := _let_go_at(a)) is not None}
    open_actions = [a for a in state.actions if a.step is not Step.PREPARED]
    if now >= deadline(state) and (open_actions or not _is_approved(state)):
        if _is_approved(state):
            return abort("deadline", "It was approved, and could not be prepared again in time.")
        return abort("expired", "Nobody approved in time.")
    due = [a for a in state.actions if a.plan.id in until and until[a.plan.id] <= now]
    if due:
        return _let_go(due)
    if not _is_approved(state) or any(a.step is Step.RELEASE_ATTEMPTED for a in open_actions):
        return Wait(min([deadline(state), *until.values()]))
    if open_actions:
        return invoke_due(open_actions, now, Verb.PREPARE, latest=deadline(state))
    return _prepared(state, now)


def _let_go(actions: list[ActionState]) -> Move:
    """Release these holds. It is announced first: from then on nobody commits what may be gone."""
    return Invoke(
        tuple(
            Invocation(
                Verb.ABORT,
                a.plan.id,
                announce=e.ReleaseAttempted(action=a.plan.id) if a.step is Step.PREPARED else None,
                next_key=retaken_key(a.key),
            )
            for a in actions
        )
    )


def _let_go_at(action: ActionState) -> datetime | None:
    """Return when a hold is let go, or the letting go is tried again; None where nothing needs to be."""
    if action.step is Step.RELEASE_ATTEMPTED:
        return action.retry_at or action.touched_at
    seconds = action.plan.hold_seconds
    if action.step is not Step.PREPARED or seconds is None or action.touched_at is None or not has_hold(action.plan):
        return None
    return action.touched_at + timedelta(seconds=max(seconds / 2, seconds - 3 * bounds.CALL_SECONDS))


def _is_approved(state: IntentState) -> bool:
    requested = state.approval_requested
    return requested is not None and len(state.approvals) >= requested.quorum


def _commit(state: IntentState) -> Move:
    policy = state.policy
    return Record(
        (
            e.CommitDecided(
                grant=state.submitted.grant,
                policies=policy.policies if policy else (),
                policy_set=policy.policy_set if policy else "",
                charges=policy.charges if policy else (),
                approved_by=tuple(given.by for given in state.approvals),
            ),
        )
    )


def abort(cause: str, reason: str) -> Move:
    """Decide against the intent."""
    return Record((e.AbortDecided(cause=cause, reason=reason),))  # type: ignore[arg-type]

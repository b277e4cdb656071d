"""What happens next: `decide(state, now)` answers with one of five moves, and nothing else in the project decides.

Rules of this file:

1. Pure. It sees the state of one intent and the time, both as values. It performs nothing and remembers nothing; a
   worker that crashed is replaced by another that asks the same question of the same state.
2. It never guesses about the outside. What is in doubt is repeated, asked about or shown to a person, by what its
   operation promised; it never counts as failed (design I9).
3. `CommitDecided` is the one commit point: before it every way leads to abort, after it none does.
4. Every one-shot commit is announced before it leaves. So a one-shot that is `prepared` has certainly not happened,
   and one that is `commit_attempted` in the eyes of a new worker may have: nothing is ever swept away as "not sent".
   A hold needs no announcement, because it is repeated until it answers.

The order of commits: one-shot actions first (those that can be undone, then the others, one by one), holds last,
because a hold has promised and a one-shot may still fail. An explicit `after` overrides: an action goes as early as
the earliest action that waits for it.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import msgspec

from ledger import bounds
from ledger import events as e
from ledger.intents import ActionPlan, Guarantee, Mode, Undo, Verb, has_hold, undo_guarantee
from ledger.phases import TERMINAL, Phase, Step
from ledger.state import ActionState, IntentState, content_digest


class Invocation(msgspec.Struct, frozen=True):
    """One call to make: a verb on an action, and the event that must be durable before the call leaves, if any."""

    verb: Verb
    action: str
    announce: e.Event | None = None
    about: Verb | None = None  # for inquire: the call whose outcome is asked


class Evaluate(msgspec.Struct, frozen=True):
    """Preview these actions, then let authority give its verdict."""

    preview: tuple[str, ...]


class Invoke(msgspec.Struct, frozen=True):
    """Make these calls, all at the same time."""

    calls: tuple[Invocation, ...]


class Record(msgspec.Struct, frozen=True):
    """Record these events; there is nothing to ask outside first."""

    events: tuple[e.Event, ...]


class Wait(msgspec.Struct, frozen=True):
    """Nothing to do before then."""

    until: datetime


class Rest(msgspec.Struct, frozen=True):
    """Nothing to do at all: the intent has ended, or only a person can move it on."""


Move = Evaluate | Invoke | Record | Wait | Rest


def decide(state: IntentState, now: datetime) -> Move:
    """Answer what is to be done next for this intent at this time."""
    if state.attention is not None or state.phase in TERMINAL:
        return Rest()
    match state.phase:
        case Phase.SUBMITTED:
            return _submitted(state, now)
        case Phase.PREPARING:
            return _preparing(state, now)
        case Phase.AWAITING_APPROVAL:
            return _awaiting_approval(state, now)
        case Phase.COMMITTING:
            return _committing(state, now)
        case Phase.ABORTING:
            return _aborting(state, now)
        case Phase.COMPENSATING:
            return _compensating(state, now)
        case _:
            return Rest()


def deadline(state: IntentState) -> datetime:
    """Return when the preparing phase ends, decided or not."""
    return state.submitted_at + timedelta(seconds=state.submitted.deadline_seconds)


# ── before the decision ──────────────────────────────────────────────────────────────────────────────────────────


def _submitted(state: IntentState, now: datetime) -> Move:
    if now >= deadline(state):
        return _abort("deadline", "The deadline passed before authority could give its verdict.")
    waiting = [a for a in state.actions if not _due(a, now)]
    if waiting:
        return _wait(waiting, deadline(state))
    dry_run = state.submitted.mode is Mode.DRY_RUN
    return Evaluate(tuple(a.plan.id for a in state.actions if dry_run or a.plan.facts))


def _preparing(state: IntentState, now: datetime) -> Move:
    for action in state.actions:
        if action.step is Step.REFUSED:
            return _abort("refused", f"{action.plan.operation} refused: {action.error}")
    open_actions = [a for a in state.actions if a.step is not Step.PREPARED]
    if now >= deadline(state):
        names = ", ".join(a.plan.id for a in open_actions) or "none"
        return _abort("deadline", f"The deadline passed before the decision; not prepared by then: {names}.")
    if open_actions:
        return _invoke_due(open_actions, now, Verb.PREPARE, latest=deadline(state))
    if state.policy is not None and state.policy.effect == "escalate":
        return Record((e.ApprovalRequested(digest=content_digest(state), expires_at=_approval_expiry(state, now)),))
    return _commit(state)


def _awaiting_approval(state: IntentState, now: datetime) -> Move:
    requested = state.approval_requested
    if requested is None or now >= requested.expires_at:
        return _abort("expired", "Nobody approved in time.")
    if state.approval is not None and state.approval.digest == requested.digest:
        return _commit(state)
    return Wait(requested.expires_at)


def _approval_expiry(state: IntentState, now: datetime) -> datetime:
    holds = [
        a.touched_at + timedelta(seconds=a.plan.hold_seconds)
        for a in state.actions
        if a.plan.hold_seconds is not None and a.touched_at is not None and has_hold(a.plan)
    ]
    return min([now + timedelta(seconds=bounds.APPROVAL_SECONDS), *holds])


def _commit(state: IntentState) -> Move:
    policies = state.policy.policies if state.policy else ()
    policy_set = state.policy.policy_set if state.policy else ""
    return Record((e.CommitDecided(grant=state.submitted.grant, policies=policies, policy_set=policy_set),))


def _abort(cause: str, reason: str) -> Move:
    return Record((e.AbortDecided(cause=cause, reason=reason),))  # type: ignore[arg-type]


# ── after the decision ───────────────────────────────────────────────────────────────────────────────────────────


def _committing(state: IntentState, now: datetime) -> Move:
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
            return _invoke_due(promised, now, Verb.COMMIT)
        reasons = "; ".join(f"{a.plan.operation} failed: {a.error}" for a in failed)
        return Record((e.CompensateDecided(cause="failed", reason=reasons),))
    if not candidates:
        return Record((e.IntentCommitted(),))
    return _invoke_due(candidates, now, Verb.COMMIT)


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
        case Guarantee.IDEMPOTENT if _key_expired(plan, state, now):
            return _attention(
                plan, f"{plan.operation} is in doubt beyond the lifetime of its key: {action.error}", _EFFECT
            )
        case _:
            return None


def _ask_or_repeat(doubtful: list[ActionState], now: datetime) -> Move:
    due = [a for a in doubtful if _due(a, now)]
    if not due:
        return _wait(doubtful)
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
    alone = [a for a in chosen if not has_hold(a.plan) and (a.plan.undo is Undo.NONE or not _repeatable(a.plan))]
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


# ── the two ways back ────────────────────────────────────────────────────────────────────────────────────────────


def _aborting(state: IntentState, now: datetime) -> Move:
    stuck = _stuck_abort(state)
    if stuck is not None:
        return stuck
    if state.policy is not None:  # otherwise no prepare was ever sent
        held = [a for a in state.actions if a.step in _MAY_HOLD and has_hold(a.plan)]
        if held:
            return _invoke_due(held, now, Verb.ABORT)
    return Record((e.IntentAborted(),))


_MAY_HOLD = frozenset({Step.PLANNED, Step.PREPARE_IN_DOUBT, Step.PREPARED, Step.REFUSED})


def _stuck_abort(state: IntentState) -> Move | None:
    for action in state.actions:
        if action.step is Step.ABORT_STUCK:
            return _attention(
                action.plan,
                f"{action.plan.operation} refuses to release its hold: {action.error}",
                "nothing is held there any more",
            )
    return None


def _compensating(state: IntentState, now: datetime) -> Move:
    stuck = _stuck_abort(state)
    if stuck is not None:
        return stuck
    held = [a for a in state.actions if a.step in _MAY_STILL_HOLD and has_hold(a.plan)]
    if held:
        return _invoke_due(held, now, Verb.ABORT)
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
        case Step.UNDO_IN_DOUBT if expired or (
            promise is Guarantee.VERIFIABLE and action.attempts >= bounds.INQUIRY_ATTEMPTS
        ):
            return _attention(plan, f"Whether {plan.operation} was undone is not known: {action.error}", _UNDONE)
        case Step.UNDO_IN_DOUBT if promise is Guarantee.VERIFIABLE:
            if not _due(action, now):
                return _wait([action])
            return Invoke((Invocation(Verb.INQUIRE, plan.id, about=Verb.COMPENSATE),))
        case _:
            return _invoke_due([action], now, Verb.COMPENSATE)


# ── small words ──────────────────────────────────────────────────────────────────────────────────────────────────


def _repeatable(plan: ActionPlan) -> bool:
    """Tell whether a call may be sent again while its outcome is not known."""
    return plan.guarantee in {Guarantee.ATOMIC, Guarantee.IDEMPOTENT}


def _due(action: ActionState, now: datetime) -> bool:
    return action.retry_at is None or action.retry_at <= now


def _key_expired(plan: ActionPlan, state: IntentState, now: datetime) -> bool:
    """Tell whether a call that leaves now could arrive when its key is no longer remembered."""
    if plan.key_lifetime_seconds is None or state.decided_at is None:
        return False
    return now >= state.decided_at + timedelta(seconds=plan.key_lifetime_seconds - bounds.CALL_SECONDS)


def _in_doubt(plan: ActionPlan, reason: str, now: datetime) -> Move:
    return Record((e.CommitInDoubt(action=plan.id, reason=reason, retry_at=_settled(plan, now)),))


def _settled(plan: ActionPlan, now: datetime) -> datetime:
    """Return when nothing that a lost worker has sent can land any more; what can be repeated need not wait for it."""
    return now if _repeatable(plan) else now + timedelta(seconds=bounds.CALL_SECONDS + plan.settle_seconds)


_EFFECT = "its effect is in the world"
_UNDONE = "its effect is undone"


def _attention(plan: ActionPlan, reason: str, applied: str) -> Move:
    """Ask a person, and say what `applied` would state."""
    question = f'{reason.rstrip(". ")}. Look there, then resolve: "applied" if {applied}, "not_applied" if not.'
    return Record((e.AttentionRaised(action=plan.id, reason=question),))


def _wait(actions: Iterable[ActionState], latest: datetime | None = None) -> Wait:
    times = [a.retry_at for a in actions if a.retry_at is not None]
    return Wait(min([*times, latest] if latest is not None else times))


def _invoke_due(actions: list[ActionState], now: datetime, verb: Verb, latest: datetime | None = None) -> Move:
    calls = tuple(_invocations(actions, now, verb))
    return Invoke(calls) if calls else _wait(actions, latest)


def _invocations(actions: list[ActionState], now: datetime, verb: Verb) -> Iterator[Invocation]:
    for action in actions:
        if not _due(action, now):
            continue
        announce: e.Event | None = None
        if verb is Verb.COMMIT and not has_hold(action.plan):
            announce = e.CommitAttempted(action=action.plan.id)
        elif verb is Verb.COMPENSATE and not _repeatable(action.plan):
            announce = e.UndoAttempted(action=action.plan.id)
        yield Invocation(verb, action.plan.id, announce)

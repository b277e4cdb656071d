"""The two tables of the protocol: what moves an intent, and what moves its actions.

A missing key *is* the illegal move: there is no other check and no default.

How to read them. An intent has one phase and each of its actions one step. Most events move a single action (`STEPS`)
and leave the phase alone; such an event must still be allowed in the phase, so it stands in `PHASES` too, leading back
to the same phase. The events that end an intent also sweep over its actions (`SWEEPS`): what was planned or prepared
and never happened becomes `aborted`. Where one class of event has outcomes that lead to different places, the outcome
is part of its symbol: `PolicyEvaluated:deny`.

`docs/states.md` is drawn from these tables by `docs/draw_states.py`, and a test keeps it so.
"""

from collections.abc import Mapping
from typing import Final

from ledger import events as e
from ledger.phases import Phase, Step

P, S = Phase, Step

PHASES: Final[Mapping[tuple[Phase, str], Phase]] = {
    # submitted: previews, then the verdict of authority
    (P.SUBMITTED, "CallDeferred"): P.SUBMITTED,
    (P.SUBMITTED, "PolicyEvaluated:allow"): P.PREPARING,
    (P.SUBMITTED, "PolicyEvaluated:escalate"): P.PREPARING,
    (P.SUBMITTED, "PolicyEvaluated:deny"): P.DENIED,
    (P.SUBMITTED, "AbortDecided"): P.ABORTING,
    # preparing: the adapters vote
    (P.PREPARING, "IntentSimulated"): P.SIMULATED,
    (P.PREPARING, "CallDeferred"): P.PREPARING,
    (P.PREPARING, "PrepareInDoubt"): P.PREPARING,
    (P.PREPARING, "ActionPrepared"): P.PREPARING,
    (P.PREPARING, "ActionRefused"): P.PREPARING,
    (P.PREPARING, "PolicyEvaluated:allow"): P.PREPARING,  # again: the facts are others than those it had seen
    (P.PREPARING, "PolicyEvaluated:escalate"): P.PREPARING,
    (P.PREPARING, "PolicyEvaluated:deny"): P.PREPARING,  # holds must be released first, so this leads to aborting
    (P.PREPARING, "ApprovalRequested"): P.AWAITING_APPROVAL,
    (P.PREPARING, "CommitDecided"): P.COMMITTING,
    (P.PREPARING, "AbortDecided"): P.ABORTING,
    # awaiting_approval: everything is prepared and people look at it; a hold that would not last is let go meanwhile
    # and taken again once they have approved, and if that shows them something else they are asked again
    (P.AWAITING_APPROVAL, "ApprovalGiven"): P.AWAITING_APPROVAL,
    (P.AWAITING_APPROVAL, "ReleaseAttempted"): P.AWAITING_APPROVAL,
    (P.AWAITING_APPROVAL, "HoldReleased"): P.AWAITING_APPROVAL,
    (P.AWAITING_APPROVAL, "AbortFailed"): P.AWAITING_APPROVAL,
    (P.AWAITING_APPROVAL, "CallDeferred"): P.AWAITING_APPROVAL,
    (P.AWAITING_APPROVAL, "PrepareInDoubt"): P.AWAITING_APPROVAL,
    (P.AWAITING_APPROVAL, "ActionPrepared"): P.AWAITING_APPROVAL,
    (P.AWAITING_APPROVAL, "ActionRefused"): P.AWAITING_APPROVAL,
    (P.AWAITING_APPROVAL, "PolicyEvaluated:allow"): P.AWAITING_APPROVAL,
    (P.AWAITING_APPROVAL, "PolicyEvaluated:escalate"): P.AWAITING_APPROVAL,
    (P.AWAITING_APPROVAL, "PolicyEvaluated:deny"): P.AWAITING_APPROVAL,
    (P.AWAITING_APPROVAL, "ApprovalRequested"): P.AWAITING_APPROVAL,
    (P.AWAITING_APPROVAL, "CommitDecided"): P.COMMITTING,
    (P.AWAITING_APPROVAL, "AbortDecided"): P.ABORTING,
    # committing: the decision is final; it leads to committed, or through compensating to an honest end
    (P.COMMITTING, "CallDeferred"): P.COMMITTING,
    (P.COMMITTING, "CommitAttempted"): P.COMMITTING,
    (P.COMMITTING, "CommitInDoubt"): P.COMMITTING,
    (P.COMMITTING, "CommitFoundAbsent"): P.COMMITTING,
    (P.COMMITTING, "ActionDone"): P.COMMITTING,
    (P.COMMITTING, "ActionFailed"): P.COMMITTING,
    (P.COMMITTING, "IntentCommitted"): P.COMMITTED,
    (P.COMMITTING, "CompensateDecided"): P.COMPENSATING,
    # aborting: release every hold that may exist
    (P.ABORTING, "CallDeferred"): P.ABORTING,
    (P.ABORTING, "ActionAborted"): P.ABORTING,
    (P.ABORTING, "AbortFailed"): P.ABORTING,
    (P.ABORTING, "IntentAborted"): P.ABORTED,
    # committed: whether the outside shows what the task calls success
    (P.COMMITTED, "OutcomeDeferred"): P.COMMITTED,
    (P.COMMITTED, "OutcomeVerified"): P.COMMITTED,
    (P.COMMITTED, "OutcomeContradicted"): P.COMMITTED,
    (P.COMMITTED, "OutcomeUnknown"): P.COMMITTED,
    # compensating: release what is held, undo what is done, in reverse
    (P.COMMITTED, "CompensateDecided"): P.COMPENSATING,
    (P.COMPENSATING, "CallDeferred"): P.COMPENSATING,
    (P.COMPENSATING, "ActionAborted"): P.COMPENSATING,
    (P.COMPENSATING, "AbortFailed"): P.COMPENSATING,
    (P.COMPENSATING, "UndoAttempted"): P.COMPENSATING,
    (P.COMPENSATING, "UndoInDoubt"): P.COMPENSATING,
    (P.COMPENSATING, "UndoFoundAbsent"): P.COMPENSATING,
    (P.COMPENSATING, "ActionUndone"): P.COMPENSATING,
    (P.COMPENSATING, "UndoFailed"): P.COMPENSATING,
    (P.COMPENSATING, "IntentCompensated"): P.COMPENSATED,
    (P.COMPENSATING, "IntentMixed"): P.MIXED,
    # people may be needed wherever something moves
    **{
        (phase, symbol): phase
        for phase in (P.SUBMITTED, P.PREPARING, P.AWAITING_APPROVAL, P.COMMITTING, P.ABORTING, P.COMPENSATING)
        for symbol in ("AttentionRaised", "AttentionResolved:applied", "AttentionResolved:not_applied")
    },
}

STEPS: Final[Mapping[tuple[Step, str], Step]] = {
    # prepare
    (S.PLANNED, "CallDeferred"): S.PLANNED,
    (S.PLANNED, "PrepareInDoubt"): S.PREPARE_IN_DOUBT,
    (S.PLANNED, "ActionPrepared"): S.PREPARED,
    (S.PLANNED, "ActionRefused"): S.REFUSED,
    (S.PREPARE_IN_DOUBT, "CallDeferred"): S.PREPARE_IN_DOUBT,
    (S.PREPARE_IN_DOUBT, "PrepareInDoubt"): S.PREPARE_IN_DOUBT,
    (S.PREPARE_IN_DOUBT, "ActionPrepared"): S.PREPARED,
    (S.PREPARE_IN_DOUBT, "ActionRefused"): S.REFUSED,
    # a hold let go while people look; the action is prepared again, under another key
    (S.PREPARED, "ReleaseAttempted"): S.RELEASE_ATTEMPTED,
    (S.RELEASE_ATTEMPTED, "CallDeferred"): S.RELEASE_ATTEMPTED,
    (S.RELEASE_ATTEMPTED, "HoldReleased"): S.PLANNED,
    (S.RELEASE_ATTEMPTED, "ActionAborted"): S.ABORTED,
    (S.RELEASE_ATTEMPTED, "AbortFailed"): S.ABORT_STUCK,
    # abort
    (S.PLANNED, "ActionAborted"): S.ABORTED,
    (S.PLANNED, "AbortFailed"): S.ABORT_STUCK,
    (S.PREPARE_IN_DOUBT, "ActionAborted"): S.ABORTED,
    (S.PREPARE_IN_DOUBT, "AbortFailed"): S.ABORT_STUCK,
    (S.PREPARED, "ActionAborted"): S.ABORTED,
    (S.PREPARED, "AbortFailed"): S.ABORT_STUCK,
    (S.REFUSED, "CallDeferred"): S.REFUSED,
    (S.REFUSED, "ActionAborted"): S.REFUSED_FOR_GOOD,
    (S.REFUSED, "AbortFailed"): S.ABORT_STUCK,
    (S.FAILED, "CallDeferred"): S.FAILED,
    (S.FAILED, "ActionAborted"): S.ABORTED,  # a hold that broke its word may still be held
    (S.FAILED, "AbortFailed"): S.ABORT_STUCK,
    (S.ABORT_STUCK, "AttentionResolved:applied"): S.ABORTED,
    (S.ABORT_STUCK, "AttentionResolved:not_applied"): S.PREPARED,  # asked to release once more
    # commit
    (S.PREPARED, "CallDeferred"): S.PREPARED,
    (S.PREPARED, "CommitAttempted"): S.COMMIT_ATTEMPTED,
    (S.PREPARED, "CommitInDoubt"): S.COMMIT_IN_DOUBT,
    (S.PREPARED, "ActionDone"): S.DONE,
    (S.PREPARED, "ActionFailed"): S.FAILED,
    (S.COMMIT_ATTEMPTED, "CallDeferred"): S.PREPARED,  # the attempt certainly had no effect
    (S.COMMIT_ATTEMPTED, "CommitInDoubt"): S.COMMIT_IN_DOUBT,
    (S.COMMIT_ATTEMPTED, "ActionDone"): S.DONE,
    (S.COMMIT_ATTEMPTED, "ActionFailed"): S.FAILED,
    (S.COMMIT_IN_DOUBT, "CallDeferred"): S.COMMIT_IN_DOUBT,
    (S.COMMIT_IN_DOUBT, "CommitInDoubt"): S.COMMIT_IN_DOUBT,
    (S.COMMIT_IN_DOUBT, "CommitFoundAbsent"): S.PREPARED,
    (S.COMMIT_IN_DOUBT, "ActionDone"): S.DONE,
    (S.COMMIT_IN_DOUBT, "ActionFailed"): S.FAILED,
    (S.COMMIT_IN_DOUBT, "AttentionResolved:applied"): S.DONE,
    (S.COMMIT_IN_DOUBT, "AttentionResolved:not_applied"): S.FAILED,
    # undo
    (S.DONE, "CallDeferred"): S.DONE,
    (S.DONE, "UndoAttempted"): S.UNDO_ATTEMPTED,
    (S.DONE, "UndoInDoubt"): S.UNDO_IN_DOUBT,
    (S.DONE, "ActionUndone"): S.UNDONE,
    (S.DONE, "UndoFailed"): S.UNDO_STUCK,
    (S.UNDO_ATTEMPTED, "CallDeferred"): S.DONE,
    (S.UNDO_ATTEMPTED, "UndoInDoubt"): S.UNDO_IN_DOUBT,
    (S.UNDO_ATTEMPTED, "ActionUndone"): S.UNDONE,
    (S.UNDO_ATTEMPTED, "UndoFailed"): S.UNDO_STUCK,
    (S.UNDO_IN_DOUBT, "CallDeferred"): S.UNDO_IN_DOUBT,
    (S.UNDO_IN_DOUBT, "UndoInDoubt"): S.UNDO_IN_DOUBT,
    (S.UNDO_IN_DOUBT, "UndoFoundAbsent"): S.DONE,
    (S.UNDO_IN_DOUBT, "ActionUndone"): S.UNDONE,
    (S.UNDO_IN_DOUBT, "UndoFailed"): S.UNDO_STUCK,
    (S.UNDO_IN_DOUBT, "AttentionResolved:applied"): S.UNDONE,
    (S.UNDO_IN_DOUBT, "AttentionResolved:not_applied"): S.UNDO_FAILED,
    (S.UNDO_STUCK, "AttentionResolved:applied"): S.UNDONE,
    (S.UNDO_STUCK, "AttentionResolved:not_applied"): S.UNDO_FAILED,
}

SWEEPS: Final[Mapping[tuple[Step, str], Step]] = {
    # the end of an intent, for every action at once: what never happened is aborted, the rest must be at rest
    (S.PLANNED, "IntentAborted"): S.ABORTED,
    (S.PREPARED, "IntentAborted"): S.ABORTED,
    (S.REFUSED, "IntentAborted"): S.REFUSED,
    (S.REFUSED_FOR_GOOD, "IntentAborted"): S.REFUSED_FOR_GOOD,
    (S.ABORTED, "IntentAborted"): S.ABORTED,
    (S.DONE, "IntentCommitted"): S.DONE,
    (S.PREPARED, "IntentCompensated"): S.ABORTED,
    (S.ABORTED, "IntentCompensated"): S.ABORTED,
    (S.FAILED, "IntentCompensated"): S.FAILED,
    (S.UNDONE, "IntentCompensated"): S.UNDONE,
    (S.PREPARED, "IntentMixed"): S.ABORTED,
    (S.ABORTED, "IntentMixed"): S.ABORTED,
    (S.FAILED, "IntentMixed"): S.FAILED,
    (S.UNDONE, "IntentMixed"): S.UNDONE,
    (S.DONE, "IntentMixed"): S.DONE,
    (S.UNDO_FAILED, "IntentMixed"): S.UNDO_FAILED,
}
del P, S


_OUTCOMES: Final[Mapping[type[e.Event], str]] = {e.PolicyEvaluated: "effect", e.AttentionResolved: "outcome"}


def symbol(event: e.Event) -> str:
    """Return the name under which the tables know this event."""
    cls = type(event)
    outcome = _OUTCOMES.get(cls)
    return cls.__name__ if outcome is None else f"{cls.__name__}:{getattr(event, outcome)}"

"""The state of one intent: a fold over its events, by the tables of `ledger/transitions.py`.

It looks back: it knows what has happened, never what should happen next (`coordinator/decide.py`), and nothing of
stores, clocks or adapters. Time is what the events say. Whether an event is allowed, the tables say and nobody else;
what a state keeps of an event stands at the end of this file.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from ledger import events as e
from ledger.canonical import digest
from ledger.errors import IllegalTransition
from ledger.intents import JSON, ActionPlan
from ledger.phases import Phase, Step
from ledger.transitions import PHASES, STEPS, SWEEPS, symbol

_SWEEPING: Final = frozenset(symbol for _, symbol in SWEEPS)
_TURNING_BACK: Final = (e.AbortDecided, e.CompensateDecided)
_SETTLED_NO: Final = frozenset({Step.REFUSED, Step.FAILED})


class Attention(msgspec.Struct, frozen=True):
    """Why only a person can move the intent on."""

    reason: str
    action: str | None
    since: datetime


class ActionState(msgspec.Struct, frozen=True):
    """What has happened to one action so far."""

    plan: ActionPlan
    key: str  # names (intent, action) at the adapter now: the plan's, until a hold is let go to be taken again
    step: Step = Step.PLANNED
    receipt: JSON | None = None
    preview: JSON | None = None
    result: JSON | None = None  # of the commit, then of the compensation
    error: str | None = None  # the last thing that went wrong, in the outside system's words
    attempts: int = 0  # calls in a row that left and did not settle it, since the last decision
    answers: int = 0  # of them, those whose answer told nothing about what was asked
    retry_at: datetime | None = None  # not before then
    touched_at: datetime | None = None  # when the last event about it was recorded


Outcome = e.OutcomeVerified | e.OutcomeContradicted | e.OutcomeUnknown


class IntentState(msgspec.Struct, frozen=True):
    """Everything the events of one stream say, folded."""

    ledger: str
    submitted: e.IntentSubmitted
    phase: Phase
    actions: tuple[ActionState, ...]
    done_order: tuple[str, ...]  # ids of actions, in the order in which their effects became known
    policy: e.PolicyEvaluated | None
    approval_requested: e.ApprovalRequested | None
    approvals: tuple[e.ApprovalGiven, ...]  # of what was last requested, in time, each by another person
    approval_requested_at: datetime | None
    approval_times: tuple[datetime, ...]  # when each of them was given
    abort: e.AbortDecided | None
    compensate: e.CompensateDecided | None
    decision_position: int | None  # of CommitDecided
    committed: e.CommitDecided | None
    commit_decided_at: datetime | None
    decided_at: datetime | None  # of CommitDecided, then of CompensateDecided: the decision in force
    attention: Attention | None
    outcome: Outcome | None  # whether the task is done, once that was asked
    outcome_attempts: int
    outcome_retry_at: datetime | None
    mixed_reason: str | None
    version: int
    position: int
    submitted_at: datetime
    updated_at: datetime

    @property
    def id(self) -> str:
        """Return the intent's id."""
        return self.submitted.intent

    @property
    def approved_at(self) -> datetime | None:
        """Return when the last approval was given."""
        return self.approval_times[-1] if self.approval_times else None

    def action(self, action_id: str) -> ActionState:
        """Return one action's state; raises `IllegalTransition` for an id the intent does not have."""
        for action in self.actions:
            if action.plan.id == action_id:
                return action
        raise IllegalTransition(f"Intent {self.id} has no action {action_id!r}.")


def evolve(state: IntentState | None, recorded: e.Recorded) -> IntentState:
    """Fold one more event of an intent's stream into its state. Pure; raises `IllegalTransition`."""
    event = recorded.event
    if state is None:
        return _begin(recorded)
    name = symbol(event)
    phase = PHASES.get((state.phase, name))
    if phase is None or recorded.version != state.version + 1:
        raise IllegalTransition(
            f"Intent {state.id} is {state.phase} at version {state.version}; "
            f"{name} at version {recorded.version} is not allowed there."
        )
    keeps = _INTENT_KEEPS.get(type(event))
    changed = {} if keeps is None else keeps(event, recorded, state)
    action_id: str | None = getattr(event, "action", None)
    if name in _SWEEPING:
        changed["actions"] = tuple([_sweep(state, action, name) for action in state.actions])
    elif isinstance(event, _TURNING_BACK):  # what a prepare or commit waited for is past
        changed["actions"] = tuple([_turned(action) for action in state.actions])
    elif isinstance(event, e.IntentSimulated):
        changed["actions"] = tuple(
            msgspec.structs.replace(a, preview=event.previews.get(a.plan.id)) for a in state.actions
        )
    elif action_id is not None and name != "AttentionRaised":
        moved = _move(state, state.action(action_id), event, name, recorded.at)
        changed["actions"] = tuple([moved if a.plan.id == action_id else a for a in state.actions])
        if moved.step is Step.DONE and action_id not in state.done_order:
            changed["done_order"] = (*state.done_order, action_id)
    return msgspec.structs.replace(
        state, phase=phase, version=recorded.version, position=recorded.position, updated_at=recorded.at, **changed
    )


def content_digest(state: IntentState) -> str:
    """Digest exactly what a person would approve: the actions with their parameters, their previews, the policy set."""
    return digest(
        {
            "actions": [
                {
                    "id": a.plan.id,
                    "operation": a.plan.operation,
                    "params": a.plan.params,
                    "preview": a.preview,
                }
                for a in state.actions
            ],
            "policy_set": state.policy.policy_set if state.policy else None,
        }
    )


def fold(recorded: Iterable[e.Recorded], state: IntentState | None = None) -> IntentState | None:
    """Fold a whole stream, or the rest of one; None where there is no event at all."""
    for one in recorded:
        state = evolve(state, one)
    return state


def _begin(recorded: e.Recorded) -> IntentState:
    event = recorded.event
    if not isinstance(event, e.IntentSubmitted) or recorded.version != 1:
        raise IllegalTransition(f"Stream {recorded.stream} does not begin with IntentSubmitted.")
    return IntentState(
        ledger=recorded.ledger,
        submitted=event,
        phase=Phase.SUBMITTED,
        actions=tuple(ActionState(plan, plan.key) for plan in event.actions),
        done_order=(),
        policy=None,
        approval_requested=None,
        approvals=(),
        approval_requested_at=None,
        approval_times=(),
        abort=None,
        compensate=None,
        decision_position=None,
        committed=None,
        commit_decided_at=None,
        decided_at=None,
        attention=None,
        outcome=None,
        outcome_attempts=0,
        outcome_retry_at=None,
        mixed_reason=None,
        version=1,
        position=recorded.position,
        submitted_at=recorded.at,
        updated_at=recorded.at,
    )


def _sweep(state: IntentState, action: ActionState, name: str) -> ActionState:
    step = SWEEPS.get((action.step, name))
    if step is None:
        raise IllegalTransition(f"Intent {state.id}: {name} while action {action.plan.id!r} is {action.step}.")
    return action if step is action.step else msgspec.structs.replace(action, step=step)


def _turned(action: ActionState) -> ActionState:
    """Return an action that is called for another purpose from now on; what has failed keeps how often it was tried."""
    if action.step in _SETTLED_NO:
        return msgspec.structs.replace(action, retry_at=None)
    return msgspec.structs.replace(action, retry_at=None, attempts=0, answers=0)


def _move(state: IntentState, action: ActionState, event: e.Event, name: str, at: datetime) -> ActionState:
    step = STEPS.get((action.step, name))
    if step is None:
        raise IllegalTransition(f"Intent {state.id}: {name} while action {action.plan.id!r} is {action.step}.")
    keeps = _ACTION_KEEPS.get(type(event))
    changed = {} if keeps is None else keeps(event, action)
    return msgspec.structs.replace(action, step=step, touched_at=at, **changed)


def _settled(_event: e.Event, _action: ActionState) -> JSON:
    return {"retry_at": None}


def _went_wrong(event: Any, _action: ActionState) -> JSON:
    return {"error": event.reason, "retry_at": None}


def _deferred(event: Any, action: ActionState) -> JSON:
    return {"error": event.reason, "attempts": action.attempts + event.sent, "retry_at": event.retry_at}


def _not_settled(event: Any, action: ActionState) -> JSON:
    return {"error": event.reason, "attempts": action.attempts + 1, "retry_at": event.retry_at}


def _in_doubt(event: Any, action: ActionState) -> JSON:
    return {**_not_settled(event, action), "answers": action.answers + event.answered}


def _took_effect(event: Any, action: ActionState) -> JSON:
    return {"result": event.result, "error": None, "attempts": action.attempts + 1, "retry_at": None}


_ACTION_KEEPS: Final[Mapping[type[e.Event], Callable[[Any, ActionState], JSON]]] = {
    # what an action keeps of an event, beside the step to which it leads
    e.ActionPrepared: lambda event, _: {
        "receipt": event.receipt,
        "preview": event.preview,
        "error": None,
        "attempts": 0,
        "retry_at": None,
    },
    e.HoldReleased: lambda event, _: {"key": event.key, "receipt": None, "attempts": 0, "retry_at": None},
    e.ActionDone: _took_effect,
    e.ActionUndone: _took_effect,
    e.CallDeferred: _deferred,
    e.PrepareInDoubt: _not_settled,
    e.CommitInDoubt: _in_doubt,
    e.UndoInDoubt: _in_doubt,
    e.ActionRefused: _went_wrong,
    e.ActionFailed: _went_wrong,
    e.AbortFailed: _went_wrong,
    e.UndoFailed: _went_wrong,
    e.ActionAborted: _settled,
    e.CommitFoundAbsent: _settled,
    e.UndoFoundAbsent: _settled,
    e.AttentionResolved: lambda *_: {"attempts": 0, "answers": 0, "retry_at": None},
}


def _approved(event: Any, recorded: e.Recorded, state: IntentState) -> JSON:
    """Count an approval of what is asked for now, given in time, and one for a person; no other counts."""
    asked = state.approval_requested
    counts = (
        asked is not None
        and event.digest == asked.digest
        and recorded.at < asked.expires_at
        and all(given.by != event.by for given in state.approvals)
    )
    if not counts:
        return {}
    return {"approvals": (*state.approvals, event), "approval_times": (*state.approval_times, recorded.at)}


def _outcome(event: Any, *_: object) -> JSON:
    return {"outcome": event, "outcome_retry_at": None}


_INTENT_KEEPS: Final[Mapping[type[e.Event], Callable[[Any, e.Recorded, IntentState], JSON]]] = {
    # what the intent keeps of an event, beside the phase to which it leads
    e.PolicyEvaluated: lambda event, *_: {"policy": event},
    e.ApprovalRequested: lambda event, recorded, _: {
        "approval_requested": event,
        "approval_requested_at": recorded.at,
        "approvals": (),
        "approval_times": (),
    },
    e.ApprovalGiven: _approved,
    e.CommitDecided: lambda event, recorded, _: {
        "committed": event,
        "decision_position": recorded.position,
        "commit_decided_at": recorded.at,
        "decided_at": recorded.at,
    },
    e.AbortDecided: lambda event, *_: {"abort": event, "attention": None},
    e.CompensateDecided: lambda event, recorded, _: {"compensate": event, "decided_at": recorded.at},
    e.AttentionRaised: lambda event, recorded, _: {"attention": Attention(event.reason, event.action, recorded.at)},
    e.AttentionResolved: lambda *_: {"attention": None},
    e.IntentMixed: lambda event, *_: {"mixed_reason": event.reason},
    e.OutcomeDeferred: lambda event, _, state: {
        "outcome_attempts": state.outcome_attempts + 1,
        "outcome_retry_at": event.retry_at,
    },
    e.OutcomeVerified: _outcome,
    e.OutcomeContradicted: _outcome,
    e.OutcomeUnknown: _outcome,
}

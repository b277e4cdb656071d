"""A span: how long one thing took that happened to an intent; and the span around everything of one action."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from ledger.phases import TERMINAL, Step
from ledger.state import ActionState, IntentState
from ledger.traces import UNDOING, span_of


class Kind(StrEnum):
    """What a span is the time of."""

    INTENT = "intent"
    POLICY = "policy"
    ACTION = "action"
    UNDO = "undo"
    CALL = "call"
    WAIT = "wait"
    HOLD = "hold"
    APPROVAL = "approval"
    ATTENTION = "attention"
    VERIFY = "verify"
    COMPENSATION = "compensation"


class Moment(msgspec.Struct, frozen=True):
    """Something that happened within a span and took no time."""

    name: str
    at: datetime
    by: str | None = None
    detail: str | None = None


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """How long something took, or has taken so far (`ended_at` is None)."""

    id: str
    parent: str | None
    kind: Kind
    name: str
    action: str | None = None
    operation: str | None = None
    verb: str | None = None
    attempt: int | None = None  # of this verb at this action, counting what was sent; None: it did not leave
    outcome: str | None = None
    detail: str | None = None
    moments: tuple[Moment, ...] = ()
    started_at: datetime
    ended_at: datetime | None = None
    position: int  # of the event that ended it; of the one that began it while it is open


_UNDOING: Final = frozenset({Step.UNDO_ATTEMPTED, Step.UNDO_IN_DOUBT, Step.UNDO_STUCK})
_UNDOING_OR_UNDONE: Final = frozenset({*_UNDOING, Step.UNDONE, Step.UNDO_FAILED})
_ON_ITS_WAY: Final = frozenset(
    {
        Step.PLANNED,
        Step.PREPARE_IN_DOUBT,
        Step.PREPARED,
        Step.RELEASE_ATTEMPTED,
        Step.COMMIT_ATTEMPTED,
        Step.COMMIT_IN_DOUBT,
        Step.ABORT_STUCK,
    }
)


def around(state: IntentState, action: ActionState, part: str, parent: str, told: Sequence[Span]) -> Span | None:
    """Return the span around what was told of an action, on its way to its effect or back from it; None for nothing."""
    plan = action.plan
    own = span_of(state.id, part, plan.id)
    inside = [span for span in told if span.parent == own]
    if not inside:
        return None
    undoing = part == UNDOING
    moving = state.phase not in TERMINAL and action.step in (_UNDOING if undoing else _ON_ITS_WAY)
    open_still = moving or any(span.ended_at is None for span in inside)
    calls = [span for span in inside if span.kind is Kind.CALL]
    if undoing:
        outcome = calls[-1].outcome if calls else None
    else:
        outcome = Step.DONE.shown if action.step in _UNDOING_OR_UNDONE else action.step.shown
    return Span(
        id=own,
        parent=parent,
        kind=Kind.UNDO if undoing else Kind.ACTION,
        name=f"undo {plan.operation}" if undoing else plan.operation,
        action=plan.id,
        operation=plan.operation,
        attempt=sum(call.attempt is not None for call in calls),
        outcome=None if open_still else outcome,
        started_at=min(span.started_at for span in inside),
        ended_at=None if open_still else max(span.ended_at for span in inside if span.ended_at is not None),
        position=max(span.position for span in inside),
    )

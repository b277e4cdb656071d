"""What is shown: the shapes of the outside contract and how a state of the ledger becomes one.

The structs are both what is written to the wire and what `/openapi.json` describes, so the two cannot differ. A field
whose name the code cannot have as its own is renamed here and nowhere else. Pure; what is secret never comes near it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, assert_never

import msgspec

from adapters.contract import Operation
from coordinator.circuit import CircuitState
from coordinator.places import AdapterStatus
from ledger.events import OutcomeContradicted, OutcomeUnknown, OutcomeVerified
from ledger.intents import JSON, ActionPlan, Guarantee, Mode, Undo
from ledger.phases import Phase
from ledger.state import ActionState, IntentState, content_digest
from ledger.tasks import Check


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A shape of the outside contract."""


class ShownAgent(Shown, frozen=True):
    """Who acts."""

    name: str
    version: str | None


class ShownDecision(Shown, frozen=True):
    """The verdict of authority. Where it escalates: how many people must approve, and which ones may (empty: any)."""

    effect: str
    policies: tuple[str, ...]
    policy_set: str
    reasons: tuple[str, ...]
    approvers: tuple[str, ...]
    quorum: int


class ShownAnswer(Shown, frozen=True):
    """One person's approval."""

    by: str
    note: str | None
    at: datetime


class ShownApproval(Shown, frozen=True):
    """What people are asked to approve, until when, and who did. `by` and `note` are those of the first."""

    digest: str
    requested_at: datetime
    expires_at: datetime
    approvers: tuple[str, ...]
    quorum: int
    given: tuple[ShownAnswer, ...]
    by: str | None
    note: str | None


class ShownOutcome(Shown, frozen=True):
    """Whether the outside systems show what the task calls success: verified, contradicted or unknown."""

    verdict: str
    checks: tuple[Check, ...]
    reason: str | None


class ShownAttention(Shown, frozen=True):
    """Why only a person can move the intent on."""

    reason: str
    action: str | None
    since: datetime


class ShownSetback(Shown, frozen=True):
    """What turned the intent away from being committed, or back from it."""

    cause: str
    reason: str
    by: str | None
    failure_mode: str | None
    escalated_to: str | None


class ShownMoney(Shown, frozen=True):
    """Money in minor units of its currency."""

    amount: int
    currency: str


class ShownAction(Shown, frozen=True):
    """One action and how far it is."""

    id: str
    operation: str
    step: str
    guarantee: Guarantee
    undo: Undo
    summary: str
    money: ShownMoney | None
    params: JSON
    preview: JSON | None
    result: JSON | None
    error: str | None
    attempts: int
    after: tuple[str, ...]


class ShownIntent(Shown, frozen=True):
    """The intent, everywhere it is shown."""

    id: str
    ledger: str
    phase: Phase
    mode: Mode
    version: int
    position: int
    task: str | None
    reason: str
    confidence: float | None
    context: JSON
    agent: ShownAgent
    commissioned_by: str | None
    custody: tuple[str, ...]
    grant: str
    follows: str | None
    again: bool
    decision: ShownDecision | None
    approval: ShownApproval | None
    attention: ShownAttention | None
    setback: ShownSetback | None
    outcome: ShownOutcome | None
    digest: str
    actions: tuple[ShownAction, ...]
    submitted_at: datetime
    updated_at: datetime


class ShownEvent(Shown, frozen=True):
    """A recorded event, as the feed shows it."""

    position: int
    version: int
    type: str
    at: datetime
    stream: str
    body: JSON
    custody: tuple[str, ...]


class EventPage(Shown, frozen=True):
    """Events, oldest first. `next` is the `after` of the next page, null where there is none yet."""

    items: tuple[ShownEvent, ...]
    next: int | None


class ShownCircuit(Shown, frozen=True):
    """Whether this process sends calls to an adapter: `open` holds them back, because the last ones were not answered.

    `since`: when it opened first after the last answer. `until`: nothing is sent before then.
    """

    state: CircuitState
    since: datetime | None
    until: datetime | None


class ShownOperation(Shown, frozen=True):
    """What an adapter offers, and what it promises about it. `circuit` is null where no service runs."""

    operation: str
    guarantee: Guarantee
    undo: Undo
    undo_window: int | None
    hold_seconds: int | None
    settle_seconds: int
    key_lifetime_seconds: int | None
    facts: tuple[str, ...]
    fact_types: Mapping[str, str]
    money: str | None
    reads: bool
    params: Mapping[str, Any]
    circuit: ShownCircuit | None


class OperationPage(Shown, frozen=True):
    """The whole catalogue."""

    items: tuple[ShownOperation, ...]
    next: None


class IntentPage(Shown, frozen=True):
    """Intents, newest first. `next` is the `after` of the next page."""

    items: tuple[ShownIntent, ...]
    next: str | None


class Readiness(Shown, frozen=True):
    """Whether a process should be sent work, and what is wrong with it."""

    ready: bool
    reasons: tuple[str, ...]
    lag: dict[str, int] = {}  # of each view: events that it has not reached


class Problem(Shown, frozen=True):
    """What went wrong (RFC 9457); some types add fields of their own."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str


class OAuthProblem(Shown, frozen=True):
    """What went wrong, as OAuth clients read it (RFC 6749 §5.2)."""

    error: str
    error_description: str
    request_id: str


encode: Final = msgspec.json.Encoder().encode
"""Write a value as JSON; times as RFC 3339 with a Z."""


def show_intent(state: IntentState) -> ShownIntent:
    """Show an intent as the outside contract says."""
    submitted = state.submitted
    return ShownIntent(
        id=submitted.intent,
        ledger=state.ledger,
        phase=state.phase,
        mode=submitted.mode,
        version=state.version,
        position=state.position,
        task=submitted.task,
        reason=submitted.reason,
        confidence=submitted.confidence,
        context=submitted.context,
        agent=ShownAgent(name=submitted.agent.name, version=submitted.agent.version),
        commissioned_by=submitted.commissioned_by,
        custody=submitted.custody,
        grant=submitted.grant,
        follows=submitted.follows,
        again=submitted.again,
        decision=_decision(state),
        approval=_approval(state),
        attention=_attention(state),
        setback=_setback(state),
        outcome=_outcome(state),
        digest=content_digest(state),
        actions=tuple([_action(action) for action in state.actions]),
        submitted_at=state.submitted_at,
        updated_at=state.updated_at,
    )


def show_operation(operation: Operation, status: AdapterStatus | None = None) -> ShownOperation:
    """Show an operation as the catalogue does, and how a running service finds its adapter."""
    return ShownOperation(
        operation=operation.name,
        guarantee=operation.guarantee,
        undo=operation.undo,
        undo_window=operation.undo_window_seconds,
        hold_seconds=operation.hold_seconds,
        settle_seconds=operation.settle_seconds,
        key_lifetime_seconds=operation.key_lifetime_seconds,
        facts=operation.facts,
        fact_types=operation.fact_types,
        money=operation.money or None,
        reads=operation.reads,
        params=operation.params,
        circuit=None if status is None else ShownCircuit(status.state, status.since, status.until),
    )


def _action(action: ActionState) -> ShownAction:
    plan = action.plan
    return ShownAction(
        id=plan.id,
        operation=plan.operation,
        step=action.step.shown,
        guarantee=plan.guarantee,
        undo=plan.undo,
        summary=plan.summary,
        money=_money(plan),
        params=plan.params,
        preview=action.preview,
        result=action.result,
        error=action.error,
        attempts=action.attempts,
        after=plan.after,
    )


def _decision(state: IntentState) -> ShownDecision | None:
    policy = state.policy
    if policy is None:
        return None
    return ShownDecision(
        effect=policy.effect,
        policies=policy.policies,
        policy_set=policy.policy_set,
        reasons=policy.reasons,
        approvers=policy.approvers,
        quorum=policy.quorum,
    )


def _approval(state: IntentState) -> ShownApproval | None:
    requested = state.approval_requested
    if requested is None or state.approval_requested_at is None:
        return None
    given = tuple(
        [
            ShownAnswer(by=one.by, note=one.note, at=at)
            for one, at in zip(state.approvals, state.approval_times, strict=True)
        ]
    )
    return ShownApproval(
        digest=requested.digest,
        requested_at=state.approval_requested_at,
        expires_at=requested.expires_at,
        approvers=requested.approvers,
        quorum=requested.quorum,
        given=given,
        by=given[0].by if given else None,
        note=given[0].note if given else None,
    )


def _outcome(state: IntentState) -> ShownOutcome | None:
    match state.outcome:
        case None:
            return None
        case OutcomeVerified(checks):
            return ShownOutcome(verdict="verified", checks=checks, reason=None)
        case OutcomeContradicted(checks):
            return ShownOutcome(verdict="contradicted", checks=checks, reason=None)
        case OutcomeUnknown(checks, reason):
            return ShownOutcome(verdict="unknown", checks=checks, reason=reason)
        case _:
            assert_never(state.outcome)


def _money(plan: ActionPlan) -> ShownMoney | None:
    if plan.amount_minor is None or plan.currency is None:
        return None
    return ShownMoney(amount=plan.amount_minor, currency=plan.currency)


def _attention(state: IntentState) -> ShownAttention | None:
    attention = state.attention
    if attention is None:
        return None
    return ShownAttention(reason=attention.reason, action=attention.action, since=attention.since)


def _setback(state: IntentState) -> ShownSetback | None:
    turned = state.abort or state.compensate
    if turned is None:
        return None
    reason = f"{turned.reason} {state.mixed_reason}" if state.mixed_reason else turned.reason
    return ShownSetback(
        cause=turned.cause,
        reason=reason,
        by=turned.by,
        failure_mode=turned.failure_mode,
        escalated_to=turned.escalated_to,
    )

"""What is shown: the shapes of the outside contract and how a state of the ledger becomes one.

The structs are both what is written to the wire and what `/openapi.json` describes, so the two cannot differ. A field
whose name the code cannot have as its own is renamed here and nowhere else. Pure; what is secret never comes near it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from adapters.contract import Operation
from ledger.intents import JSON, Guarantee, Mode, Undo
from ledger.phases import Phase
from ledger.state import ActionState, IntentState, content_digest


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A shape of the outside contract."""


class ShownAgent(Shown, frozen=True):
    """Who acts."""

    name: str
    version: str | None


class ShownDecision(Shown, frozen=True):
    """The verdict of authority."""

    effect: str
    policies: tuple[str, ...]
    policy_set: str
    reasons: tuple[str, ...]


class ShownApproval(Shown, frozen=True):
    """What a person was asked to approve, and who did."""

    digest: str
    expires_at: datetime
    by: str | None
    note: str | None


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


class ShownAction(Shown, frozen=True):
    """One action and how far it is."""

    id: str
    operation: str
    step: str
    guarantee: Guarantee
    undo: Undo
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
    decision: ShownDecision | None
    approval: ShownApproval | None
    attention: ShownAttention | None
    setback: ShownSetback | None
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


class EventPage(Shown, frozen=True):
    """Events, oldest first. `next` is the `after` of the next page, null where there is none yet."""

    items: tuple[ShownEvent, ...]
    next: int | None


class ShownOperation(Shown, frozen=True):
    """What an adapter offers, and what it promises about it."""

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
    params: Mapping[str, Any]


class OperationPage(Shown, frozen=True):
    """The whole catalogue."""

    items: tuple[ShownOperation, ...]
    next: None


class IntentPage(Shown, frozen=True):
    """Intents, newest first. `next` is the `after` of the next page."""

    items: tuple[ShownIntent, ...]
    next: str | None


class ShownActor(Shown, frozen=True):
    """Who did it: an agent, or a person."""

    kind: str
    name: str


class ShownAuthority(Shown, frozen=True):
    """By what right."""

    grant: str
    policies: tuple[str, ...]
    policy_set: str | None


class ShownDeed(Shown, frozen=True):
    """What was to be done, in words."""

    action: str
    operation: str
    summary: str


class ShownEntry(Shown, frozen=True):
    """One entry of the audit: an intent, or what a person did to one."""

    position: int
    at: datetime
    kind: str
    sentence: str
    intent: str
    actor: ShownActor
    agent: ShownAgent
    task: str | None
    commissioned_by: str | None
    custody: tuple[str, ...]
    authority: ShownAuthority
    what: tuple[ShownDeed, ...]
    whom: tuple[str, ...]
    outcome: str
    outcome_position: int
    outcome_at: datetime
    reason: str | None
    attention: str | None


class AuditPage(Shown, frozen=True):
    """Entries of the audit, newest first. `next` is the `after` of the next page."""

    items: tuple[ShownEntry, ...]
    next: str | None


class ShownExposure(Shown, frozen=True):
    """How much of one agent's work is open at one outside system."""

    agent: str
    adapter: str
    held: int
    promised: int
    in_doubt: int
    oldest: datetime


class ShownOpenAction(Shown, frozen=True):
    """One action that is held, promised or in doubt."""

    intent: str
    action: str
    agent: str
    adapter: str
    operation: str
    exposure: str
    since: datetime


class ExposurePage(Shown, frozen=True):
    """What is open in the outside systems at a position; `more`: not every open action is listed."""

    position: int
    groups: tuple[ShownExposure, ...]
    actions: tuple[ShownOpenAction, ...]
    more: bool


class ShownProjection(Shown, frozen=True):
    """How far a view has come. `lag` counts events; `digest` is true at `digest_position`."""

    name: str
    position: int
    lag: int
    digest: str
    digest_position: int
    failure: str | None


class ProjectionPage(Shown, frozen=True):
    """All views."""

    items: tuple[ShownProjection, ...]
    next: None


class Readiness(Shown, frozen=True):
    """Whether a process should be sent work, and what is wrong with it."""

    ready: bool
    reasons: tuple[str, ...]


class Problem(Shown, frozen=True):
    """What went wrong (RFC 9457); some types add fields of their own."""

    type: str
    title: str
    status: int
    detail: str
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
        decision=_decision(state),
        approval=_approval(state),
        attention=_attention(state),
        setback=_setback(state),
        digest=content_digest(state),
        actions=tuple([_action(action) for action in state.actions]),
        submitted_at=state.submitted_at,
        updated_at=state.updated_at,
    )


def show_operation(operation: Operation) -> ShownOperation:
    """Show an operation as the catalogue does."""
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
        params=operation.params,
    )


def _action(action: ActionState) -> ShownAction:
    plan = action.plan
    return ShownAction(
        id=plan.id,
        operation=plan.operation,
        step=action.step.shown,
        guarantee=plan.guarantee,
        undo=plan.undo,
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
        effect=policy.effect, policies=policy.policies, policy_set=policy.policy_set, reasons=policy.reasons
    )


def _approval(state: IntentState) -> ShownApproval | None:
    requested = state.approval_requested
    if requested is None:
        return None
    given = state.approval
    return ShownApproval(
        digest=requested.digest,
        expires_at=requested.expires_at,
        by=given.by if given else None,
        note=given.note if given else None,
    )


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
    return ShownSetback(cause=turned.cause, reason=reason, by=turned.by)

"""The spans of an intent, from submission to its last effect: computed from its stream, and from nothing else.

    intent                      the whole: from submission to its end
    ├─ policy                   authority's verdict, previews included
    ├─ action                   one for each action: from its first call to its last
    │  ├─ call                  one for each call to its adapter, with what came of it
    │  ├─ wait                  between two calls, where the next one was not due yet
    │  └─ hold                  what the outside system kept reserved
    ├─ approval, attention      waits for people
    ├─ verify                   asking the outside whether the task is done
    └─ compensation             from the decision to go back to its end, with an `undo` for each action undone

What a time means. A call begins at the last moment at which everything that justifies it was durable (or at which it
was due again), and ends when its answer was. So a span is never too short, and is too long by the time between that
moment and the call. A call whose process died before its answer was recorded is inside the next one's span.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from ledger import events as e
from ledger.intents import Guarantee, Verb, has_hold, undo_guarantee
from ledger.phases import TERMINAL, Phase, Step
from ledger.state import ActionState, IntentState, evolve
from ledger.traces import ACTING, UNDOING, span_of
from projections.timeline.span import Kind, Moment, Span, around

_CALLS: Final[dict[type[e.Event], tuple[Verb, str]]] = {
    # the call that an event answers, and what came of it
    e.ActionPrepared: (Verb.PREPARE, "prepared"),
    e.ActionRefused: (Verb.PREPARE, "refused"),
    e.PrepareInDoubt: (Verb.PREPARE, "in_doubt"),
    e.CommitInDoubt: (Verb.COMMIT, "in_doubt"),
    e.CommitFoundAbsent: (Verb.INQUIRE, "absent"),
    e.ActionDone: (Verb.COMMIT, "done"),
    e.ActionFailed: (Verb.COMMIT, "failed"),
    e.HoldReleased: (Verb.ABORT, "released"),
    e.ActionAborted: (Verb.ABORT, "aborted"),
    e.AbortFailed: (Verb.ABORT, "failed"),
    e.UndoInDoubt: (Verb.COMPENSATE, "in_doubt"),
    e.UndoFoundAbsent: (Verb.INQUIRE, "absent"),
    e.ActionUndone: (Verb.COMPENSATE, "undone"),
    e.UndoFailed: (Verb.COMPENSATE, "failed"),
}
_OUTCOMES: Final[dict[type[e.Event], str]] = {
    e.OutcomeDeferred: "deferred",
    e.OutcomeVerified: "verified",
    e.OutcomeContradicted: "contradicted",
    e.OutcomeUnknown: "unknown",
}
_LETS_GO: Final = (e.ActionDone, e.ActionFailed, e.HoldReleased, e.ActionAborted, e.AbortFailed)
_UNDOING_STEPS: Final = frozenset({Step.DONE, Step.UNDO_ATTEMPTED, Step.UNDO_IN_DOUBT, Step.UNDO_STUCK})


def spans_of(stream: Iterable[e.Recorded]) -> tuple[Span, ...]:
    """Return the spans of an intent, in the order in which they began; empty for an empty stream.

    Raises `IllegalTransition` for a stream that is none of an intent.
    """
    telling = _Telling()
    for recorded in stream:
        telling.tell(recorded)
    return telling.spans()


class _Telling:
    """A stream as far as it has been told."""

    def __init__(self) -> None:
        self._state: IntentState | None = None
        self._spans: list[Span] = []
        self._open: dict[tuple[Kind, str], Span] = {}
        self._calls: Counter[tuple[str, Verb]] = Counter()
        self._before: datetime | None = None  # the append before the one that is told
        self._now: datetime | None = None

    def tell(self, recorded: e.Recorded) -> None:
        """Add what one more event says."""
        before, event = self._state, recorded.event
        self._state = state = evolve(before, recorded)
        if self._now is None or recorded.at > self._now:
            self._before, self._now = self._now or recorded.at, recorded.at
        if before is None:
            self._begin(Kind.INTENT, "", recorded, name=state.submitted.task or "intent")
            return
        action_id: str | None = getattr(event, "action", None)
        if type(event) in _CALLS or isinstance(event, e.CallDeferred):
            self._call(before.action(str(action_id)), recorded)
        self._hold(state, recorded)
        self._people(recorded)
        self._intent_itself(before, state, recorded)

    def _people(self, recorded: e.Recorded) -> None:
        """Tell of waits for people."""
        at = recorded.at
        match recorded.event:
            case e.ApprovalRequested():
                self._end(Kind.APPROVAL, "", recorded, "asked_again")
                self._begin(Kind.APPROVAL, "", recorded, name="approval")
            case e.ApprovalGiven(by=by, note=note) if (asked := self._open.get((Kind.APPROVAL, ""))) is not None:
                moments = (*asked.moments, Moment("approved", at, by, note))
                self._open[Kind.APPROVAL, ""] = msgspec.structs.replace(asked, moments=moments)
            case e.CommitDecided():
                self._end(Kind.APPROVAL, "", recorded, "approved")
            case e.AbortDecided(cause=cause, reason=reason, by=by):
                self._end(Kind.APPROVAL, "", recorded, cause, Moment(cause, at, by, reason))
                self._end(Kind.ATTENTION, "", recorded, "aborted")
            case e.AttentionRaised(action=action, reason=reason):
                self._begin(Kind.ATTENTION, "", recorded, name="attention", action=action, detail=reason)
            case e.AttentionResolved(outcome=outcome, note=note, by=by):
                self._end(Kind.ATTENTION, "", recorded, outcome, Moment(outcome, at, by, note))
            case _:
                pass

    def _intent_itself(self, before: IntentState, state: IntentState, recorded: e.Recorded) -> None:
        event = recorded.event
        if isinstance(event, e.PolicyEvaluated):
            self._policy(before, recorded)
        elif isinstance(event, e.CompensateDecided):
            self._begin(Kind.COMPENSATION, "", recorded, name="compensation", detail=event.reason)
        elif type(event) in _OUTCOMES:
            self._verify(before, recorded)
        elif state.phase in TERMINAL:
            for kind, name in [key for key in self._open if key[0] is Kind.HOLD]:
                self._end(kind, name, recorded, "aborted")
        if state.phase in TERMINAL and before.phase not in TERMINAL:
            self._end(Kind.COMPENSATION, "", recorded, state.phase)
            self._end(Kind.INTENT, "", recorded, state.phase)

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _call(self, action: ActionState, recorded: e.Recorded) -> None:
        event: Any = recorded.event
        verb, outcome = _answered(action, event)
        undoing = verb is Verb.COMPENSATE or (verb is Verb.INQUIRE and action.step in _UNDOING_STEPS)
        parent = span_of(self._intent, UNDOING if undoing else ACTING, action.plan.id)
        started = self._since(action.retry_at)
        if action.retry_at is not None and action.touched_at is not None and action.touched_at < started:
            self._add(
                recorded,
                Kind.WAIT,
                "wait",
                parent,
                key=(action.plan.id, str(recorded.version)),
                action=action.plan.id,
                operation=action.plan.operation,
                verb=verb.value,
                started_at=action.touched_at,
                ended_at=started,
            )
        sent = getattr(event, "sent", True)
        if sent:
            self._calls[action.plan.id, verb] += 1
        self._add(
            recorded,
            Kind.CALL,
            f"{verb} {action.plan.operation}",
            parent,
            key=(action.plan.id, str(recorded.version)),
            action=action.plan.id,
            operation=action.plan.operation,
            verb=verb.value,
            attempt=self._calls[action.plan.id, verb] if sent else None,
            outcome=outcome,
            detail=getattr(event, "reason", None),
            started_at=started,
            ended_at=recorded.at,
        )

    def _policy(self, before: IntentState, recorded: e.Recorded) -> None:
        event: Any = recorded.event
        started = self._since(max((a.retry_at for a in before.actions if a.retry_at), default=None))
        self._add(
            recorded,
            Kind.POLICY,
            "policy",
            span_of(self._intent),
            key=(str(recorded.version),),
            outcome=event.effect,
            detail="; ".join((*event.policies, *event.reasons)) or None,
            started_at=started,
            ended_at=recorded.at,
        )
        if before.phase is not Phase.SUBMITTED:
            return
        for action in before.actions:
            if action.plan.facts and action.plan.id in event.facts:
                self._add(
                    recorded,
                    Kind.CALL,
                    f"{Verb.PREVIEW} {action.plan.operation}",
                    span_of(self._intent, ACTING, action.plan.id),
                    key=(action.plan.id, str(recorded.version)),
                    action=action.plan.id,
                    operation=action.plan.operation,
                    verb=Verb.PREVIEW.value,
                    attempt=self._calls[action.plan.id, Verb.PREVIEW] + 1,
                    outcome="shown",
                    started_at=started,
                    ended_at=recorded.at,
                )

    def _verify(self, before: IntentState, recorded: e.Recorded) -> None:
        self._add(
            recorded,
            Kind.VERIFY,
            "verify",
            span_of(self._intent),
            key=(str(recorded.version),),
            attempt=before.outcome_attempts + 1,
            outcome=_OUTCOMES[type(recorded.event)],
            detail=getattr(recorded.event, "reason", None),
            started_at=self._since(before.outcome_retry_at),
            ended_at=recorded.at,
        )

    def _hold(self, state: IntentState, recorded: e.Recorded) -> None:
        event: Any = recorded.event
        if isinstance(event, e.ActionPrepared) and has_hold(state.action(event.action).plan):
            operation = state.action(event.action).plan.operation
            parent = span_of(self._intent, ACTING, event.action)
            self._end(Kind.HOLD, event.action, recorded, "taken_again")
            self._begin(
                Kind.HOLD,
                event.action,
                recorded,
                name=f"hold {operation}",
                parent=parent,
                action=event.action,
                operation=operation,
            )
        elif isinstance(event, _LETS_GO):
            self._end(Kind.HOLD, event.action, recorded, _CALLS[type(event)][1])

    # ── words ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _intent(self) -> str:
        return self._state.id if self._state is not None else ""

    def _since(self, due: datetime | None) -> datetime:
        """Return when something that ends now can have begun at the earliest."""
        times = [at for at in (self._before, due) if at is not None]
        return min(max(times), self._now or times[0])

    def _begin(self, kind: Kind, key: str, recorded: e.Recorded, **what: Any) -> None:
        own = () if kind is Kind.INTENT else (kind.value, key, str(recorded.version))
        what.setdefault("parent", None if kind is Kind.INTENT else span_of(self._intent))
        self._open[kind, key] = Span(
            id=span_of(self._intent, *own), kind=kind, started_at=recorded.at, position=recorded.position, **what
        )

    def _end(self, kind: Kind, key: str, recorded: e.Recorded, outcome: str, last: Moment | None = None) -> None:
        span = self._open.pop((kind, key), None)
        if span is not None:
            moments = span.moments if last is None else (*span.moments, last)
            at, position = recorded.at, recorded.position
            self._spans.append(
                msgspec.structs.replace(span, outcome=str(outcome), moments=moments, ended_at=at, position=position)
            )

    def _add(
        self, recorded: e.Recorded, kind: Kind, name: str, parent: str, *, key: Sequence[str], **what: Any
    ) -> None:
        own = span_of(self._intent, kind.value, *key)
        self._spans.append(Span(id=own, kind=kind, name=name, parent=parent, position=recorded.position, **what))

    def spans(self) -> tuple[Span, ...]:
        """Return everything told so far: what ended, what is open, and around the calls of an action the action."""
        state = self._state
        if state is None:
            return ()
        told = [*self._spans, *self._open.values()]
        back = next((span.id for span in told if span.kind is Kind.COMPENSATION), None)
        told += [
            made
            for action in state.actions
            for part, parent in ((ACTING, span_of(state.id)), (UNDOING, back or span_of(state.id)))
            if (made := around(state, action, part, parent, told)) is not None
        ]
        return tuple(sorted(told, key=lambda span: (span.started_at, _ORDER[span.kind], span.position)))


_ORDER: Final = {kind: place for place, kind in enumerate(Kind)}


def _answered(action: ActionState, event: Any) -> tuple[Verb, str]:
    """Return the verb of the call that an event answers, and what came of it."""
    if isinstance(event, e.CallDeferred):
        return event.verb, "deferred" if event.sent else "not_sent"
    verb, outcome = _CALLS[type(event)]
    asked = (action.step is Step.COMMIT_IN_DOUBT and action.plan.guarantee is Guarantee.VERIFIABLE) or (
        action.step is Step.UNDO_IN_DOUBT and undo_guarantee(action.plan) is Guarantee.VERIFIABLE
    )
    return (Verb.INQUIRE if asked and verb in {Verb.COMMIT, Verb.COMPENSATE} else verb), outcome

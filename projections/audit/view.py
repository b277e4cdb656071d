"""The audit: who did what to whom, with what authority, and what came of it.

One entry for each intent, opened by `IntentSubmitted` and kept up to date with its outcome, one for each act of a
person on it (approve, reject, cancel, undo, resolve), and one for each act on authority itself
(`projections/audit/authority.py`) or on an undo plan (`projections/audit/undo.py`); acts never change again. An entry
holds facts; the sentence is made of them when it is read (`projections/audit/sentence.py`), so that better wording
needs no rebuild.

An intent's own entry also says what policy saw and said, and what the outside systems confirmed
(`projections/audit/confirmed.py`). Entries are found by `projections/audit/search.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ledger import events as e
from ledger.canonical import canonical_text
from ledger.errors import IllegalTransition
from ledger.ids import intent_of
from ledger.intents import JSON
from ledger.phases import Phase
from ledger.tasks import Check
from ledger.transitions import PHASES, symbol
from projections.audit.authority import opened
from projections.audit.behaviour import watched
from projections.audit.configuration import configured
from projections.audit.confirmed import CONFIRMING, confirmed
from projections.audit.entry import Act, AuditRow, Kind, Verification, entry_after, plain
from projections.audit.reconcile import reconciled
from projections.audit.undo import TOLD, told
from projections.projection import (
    EVENTS_OF_AUTHORITY,
    EVENTS_OF_BEHAVIOUR,
    EVENTS_OF_RECONCILIATION,
    Projection,
    next_phase,
)

OUTCOMES: Final = frozenset((*Phase, *Act, *Verification))
_MOVES: Final[frozenset[type[e.Event]]] = frozenset(
    e.EVENT_TYPES[name.partition(":")[0]] for (phase, name), following in PHASES.items() if following is not phase
)


_OPENS: Final[Mapping[type[e.Event], Callable[[tuple[AuditRow, ...], e.Recorded], AuditRow]]] = {
    # outside of an intent's stream each event opens an entry, which never changes again
    **dict.fromkeys(EVENTS_OF_AUTHORITY, opened),
    **dict.fromkeys(TOLD, told),
    **dict.fromkeys(EVENTS_OF_RECONCILIATION, reconciled),
    **dict.fromkeys(EVENTS_OF_BEHAVIOUR, watched),
    e.ConfigurationChanged: configured,
}


def apply(rows: tuple[AuditRow, ...], recorded: e.Recorded) -> tuple[AuditRow, ...]:
    """Fold one event into the entries of its stream. Raises `IllegalTransition`."""
    if intent_of(recorded.stream) is None:
        opens = _OPENS.get(type(recorded.event), opened)
        return (*rows, opens(rows, recorded))
    if not rows:
        return (_begin(recorded),)
    entry, *acts = rows
    act = _act(entry, recorded)
    return (_updated(entry, recorded), *acts, *((act,) if act else ()))


def _updated(entry: AuditRow, recorded: e.Recorded) -> AuditRow:
    """Bring the intent's own entry up to date."""
    keeps = _KEEPS.get(type(recorded.event))
    changed = {} if keeps is None else keeps(recorded.event)
    if type(recorded.event) in CONFIRMING:
        changed["confirmed"] = confirmed(entry.confirmed, recorded.event)
    elif type(recorded.event) in _DECISIONS:
        changed["decision_position"] = recorded.position
    phase = next_phase(Phase(entry.outcome), symbol(recorded.event), recorded)
    return msgspec.structs.replace(
        entry, **changed, outcome=phase.value, outcome_position=recorded.position, outcome_at=recorded.at
    )


def _judged(verdict: e.PolicyEvaluated) -> dict[str, Any]:
    known: dict[str, Any] = {
        "policies": verdict.policies,
        "policy_set": verdict.policy_set,
        "effect": verdict.effect,
        "facts": canonical_text(verdict.facts) if verdict.facts else None,
    }
    return known | {"reason": plain("; ".join(verdict.reasons)) or None} if verdict.effect == "deny" else known


def _setback(decision: e.AbortDecided | e.CompensateDecided) -> dict[str, Any]:
    return {
        "reason": plain(decision.reason),
        "failure_mode": decision.failure_mode,
        "escalated_to": decision.escalated_to,
    }


def _contradicted(outcome: e.OutcomeContradicted) -> dict[str, Any]:
    missed = "; ".join([_missed(check) for check in outcome.checks if not check.holds])
    return _verified(Verification.CONTRADICTED, outcome.checks) | {"reason": plain(missed) or None}


def _verified(verification: Verification, checks: tuple[Check, ...]) -> dict[str, Any]:
    return {"verification": verification, "detail": canonical_text({"checks": checks})}


def _missed(check: Check) -> str:
    """Say what a criterion expected and what was found instead."""
    if check.found is None:
        return f"{check.verify}: {check.reason or 'nobody could tell'}"
    wrong = [name for name, expected in check.expect.items() if check.found.get(name) != expected]
    shown = " and ".join(f"{name} {_value(check.found, name)}, not {_value(check.expect, name)}" for name in wrong)
    return f"{check.verify} shows {shown}"


def _value(fields: JSON, name: str) -> str:
    value = fields.get(name)
    return "nothing" if value is None else str(value)


_KEEPS: Final[Mapping[type[e.Event], Callable[[Any], dict[str, Any]]]] = {
    # what an intent's entry keeps of an event, beside the phase to which it leads
    e.PolicyEvaluated: _judged,
    e.ApprovalRequested: lambda event: {"digest": event.digest},
    e.CommitDecided: lambda event: {
        "policies": event.policies,
        "policy_set": event.policy_set,
        "grant_id": event.grant,
        "approved_by": event.approved_by,
    },
    e.AbortDecided: lambda event: _setback(event) | {"attention": None},
    e.CompensateDecided: _setback,
    e.IntentMixed: lambda event: {"reason": plain(event.reason)},
    e.AttentionRaised: lambda event: {"attention": plain(event.reason)},
    e.AttentionResolved: lambda _: {"attention": None},
    e.OutcomeVerified: lambda event: _verified(Verification.VERIFIED, event.checks),
    e.OutcomeContradicted: _contradicted,
    e.OutcomeUnknown: lambda event: _verified(Verification.UNKNOWN, event.checks) | {"reason": plain(event.reason)},
}

_DECISIONS: Final[frozenset[type[e.Event]]] = frozenset({e.CommitDecided, e.AbortDecided, e.CompensateDecided})
_OTHERS: Final[frozenset[type[e.Event]]] = frozenset({*_KEEPS, *CONFIRMING, e.IntentSubmitted, e.ApprovalGiven})


def _act(entry: AuditRow, recorded: e.Recorded) -> AuditRow | None:
    """Open an entry for what a person did, if a person did something."""
    match recorded.event:
        case e.ApprovalGiven(by=by, note=note):
            return _acted(entry, recorded, Act.APPROVED, by, note)
        case e.AbortDecided(cause="rejected", by=str(by), reason=reason):
            return _acted(entry, recorded, Act.REJECTED, by, reason)
        case e.AbortDecided(by=str(by), reason=reason):
            return _acted(entry, recorded, Act.CANCELLED, by, reason)
        case e.CompensateDecided(by=str(by), reason=reason):
            return _acted(entry, recorded, Act.UNDO_DECIDED, by, reason)
        case e.AttentionResolved(action=action, outcome=outcome, note=note, by=by):
            act = _acted(entry, recorded, Act(outcome), by, note)
            return act if action is None else _about(act, action, recorded)
        case _:
            return None


def _acted(entry: AuditRow, recorded: e.Recorded, act: Act, by: str, note: str | None) -> AuditRow:
    return entry_after(
        entry,
        recorded,
        act,
        by=by,
        reason=(plain(note) or None) if note is not None else None,
        attention=None,
        digest=getattr(recorded.event, "digest", entry.digest if act is Act.REJECTED else None),
        verification=None,
        failure_mode=None,
        escalated_to=None,
        detail=None,
        effect=None,
        facts=None,
        confirmed=None,
        approved_by=(),
        decision_position=None,
    )


def _about(act: AuditRow, action: str, recorded: e.Recorded) -> AuditRow:
    """Narrow an act to the one action it is about."""
    if action not in act.actions:
        raise IllegalTransition(f"A person's answer in {recorded.stream} names {action!r}, which it has not.")
    place = act.actions.index(action)
    return msgspec.structs.replace(
        act, actions=(action,), operations=(act.operations[place],), summaries=(act.summaries[place],)
    )


def _begin(recorded: e.Recorded) -> AuditRow:
    event = recorded.event
    if not isinstance(event, e.IntentSubmitted) or intent_of(recorded.stream) is None or recorded.version != 1:
        raise IllegalTransition(f"Stream {recorded.stream} does not begin with IntentSubmitted.")
    return AuditRow(
        stream=recorded.stream,
        version=1,
        position=recorded.position,
        at=recorded.at,
        kind=Kind.INTENT,
        agent_kind=event.agent.kind,
        agent=event.agent.name,
        agent_version=event.agent.version,
        by=None,
        task=event.task,
        commissioned_by=event.commissioned_by,
        grant_id=event.grant,
        custody=event.custody,
        policies=(),
        policy_set=None,
        actions=tuple(plan.id for plan in event.actions),
        operations=tuple(plan.operation for plan in event.actions),
        summaries=tuple(plain(plan.summary) for plan in event.actions),
        outcome=Phase.SUBMITTED.value,
        reason=None,
        attention=None,
        outcome_position=recorded.position,
        outcome_at=recorded.at,
        follows=event.follows,
    )


def _stream(stream: str) -> str:
    """Read every stream: somebody may act in each."""
    return stream


AUDIT: Final = Projection(
    name="audit",
    row=AuditRow,
    key=("stream", "version"),
    reads=_MOVES | _OTHERS | _OPENS.keys(),
    apply=apply,
    revision=3,  # 1 knew intents only; 2 neither facts nor what was confirmed
    subject=_stream,
)

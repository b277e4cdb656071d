"""The audit: who did what to whom, with what authority, and what came of it.

One entry for each intent, opened by `IntentSubmitted` and kept up to date with its outcome, and one for each act of a
person on it (approve, reject, cancel, undo, resolve), which never changes again. An entry holds facts; the sentence is
made of them when it is read (`projections/sentence.py`), so that better wording needs no rebuild.

Order: newest first, by the position of the event that opened the entry; that position is also the cursor.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

import sql
from ledger import events as e
from ledger.bounds import ERROR_LENGTH
from ledger.errors import IllegalTransition
from ledger.ids import intent_of
from ledger.phases import Phase
from ledger.transitions import PHASES, symbol
from projections.projection import Projection, Row, next_phase
from projections.table import as_row

if TYPE_CHECKING:
    from ledger.database import Connection

_PAGE: Final = sql.query("views.audit")
_FRESH_PLAN: Final = sql.query("views.fresh_plan")


class Kind(StrEnum):
    """What an entry is about: an intent, or what a person did to one."""

    INTENT = "intent"
    APPROVE = "approve"
    REJECT = "reject"
    CANCEL = "cancel"
    UNDO = "undo"
    RESOLVE = "resolve"


class Act(StrEnum):
    """The outcome of an act of a person. The outcome of an intent is its phase."""

    APPROVED = "approved"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    UNDO_DECIDED = "undo_decided"
    APPLIED = "applied"
    NOT_APPLIED = "not_applied"


class AuditRow(Row, frozen=True):
    """One entry."""

    version: int  # of the event that opened it
    position: int
    at: datetime
    kind: Kind
    agent_kind: str
    agent: str
    agent_version: str | None
    by: str | None  # the person of an act
    task: str | None
    commissioned_by: str | None
    grant_id: str
    custody: tuple[str, ...]
    policies: tuple[str, ...]
    policy_set: str | None
    actions: tuple[str, ...]
    operations: tuple[str, ...]  # one for each action, like summaries
    summaries: tuple[str, ...]
    outcome: str  # a Phase or an Act
    reason: str | None  # why it came out like that
    attention: str | None  # why only a person can move the intent on
    outcome_position: int
    outcome_at: datetime


class AuditFilter(msgspec.Struct, frozen=True):
    """Which entries to read; None does not ask. `since` is included, `until` is not."""

    agent: str | None = None
    commissioned_by: str | None = None
    task: str | None = None
    operation: str | None = None
    policy: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class AuditPage(msgspec.Struct, frozen=True):
    """Some entries, newest first, and the cursor of the next page; None where there is none."""

    items: tuple[AuditRow, ...]
    next: int | None


_KINDS: Final[Mapping[Act, Kind]] = {
    Act.APPROVED: Kind.APPROVE,
    Act.REJECTED: Kind.REJECT,
    Act.CANCELLED: Kind.CANCEL,
    Act.UNDO_DECIDED: Kind.UNDO,
    Act.APPLIED: Kind.RESOLVE,
    Act.NOT_APPLIED: Kind.RESOLVE,
}
OUTCOMES: Final = frozenset((*Phase, *Act))
_MOVES: Final[frozenset[type[e.Event]]] = frozenset(
    e.EVENT_TYPES[name.partition(":")[0]] for (phase, name), following in PHASES.items() if following is not phase
)
_WORDS: Final[frozenset[type[e.Event]]] = frozenset(
    {e.IntentSubmitted, e.ApprovalGiven, e.AttentionRaised, e.AttentionResolved}
)


def plain(text: str) -> str:
    """Return outside words as one bounded line: no line breaks, control characters or NUL."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())[:ERROR_LENGTH]


def apply(rows: tuple[AuditRow, ...], recorded: e.Recorded) -> tuple[AuditRow, ...]:
    """Fold one event into the entries of its intent. Raises `IllegalTransition`."""
    if not rows:
        return (_begin(recorded),)
    entry, *acts = rows
    act = _act(entry, recorded)
    return (_updated(entry, recorded), *acts, *((act,) if act else ()))


def _updated(entry: AuditRow, recorded: e.Recorded) -> AuditRow:
    """Bring the intent's own entry up to date."""
    changed: dict[str, object] = {}
    match recorded.event:
        case e.PolicyEvaluated() as verdict:
            changed |= {"policies": verdict.policies, "policy_set": verdict.policy_set}
            if verdict.effect == "deny":
                changed["reason"] = plain("; ".join(verdict.reasons)) or None
        case e.CommitDecided() as decision:
            changed |= {"policies": decision.policies, "policy_set": decision.policy_set, "grant_id": decision.grant}
        case e.AbortDecided() as decision:
            changed |= {"reason": plain(decision.reason), "attention": None}
        case e.CompensateDecided() | e.IntentMixed() as decision:
            changed["reason"] = plain(decision.reason)
        case e.AttentionRaised() as raised:
            changed["attention"] = plain(raised.reason)
        case e.AttentionResolved():
            changed["attention"] = None
        case _:
            pass
    phase = next_phase(Phase(entry.outcome), symbol(recorded.event), recorded)
    return msgspec.structs.replace(
        entry, **changed, outcome=phase.value, outcome_position=recorded.position, outcome_at=recorded.at
    )


def _act(entry: AuditRow, recorded: e.Recorded) -> AuditRow | None:
    """Open an entry for what a person did, if a person did something."""
    match recorded.event:
        case e.ApprovalGiven(by=by, note=note):
            return _opened(entry, recorded, Act.APPROVED, by, note)
        case e.AbortDecided(cause="rejected", by=str(by), reason=reason):
            return _opened(entry, recorded, Act.REJECTED, by, reason)
        case e.AbortDecided(by=str(by), reason=reason):
            return _opened(entry, recorded, Act.CANCELLED, by, reason)
        case e.CompensateDecided(by=str(by), reason=reason):
            return _opened(entry, recorded, Act.UNDO_DECIDED, by, reason)
        case e.AttentionResolved(action=action, outcome=outcome, note=note, by=by):
            act = _opened(entry, recorded, Act(outcome), by, note)
            return act if action is None else _about(act, action, recorded)
        case _:
            return None


def _opened(entry: AuditRow, recorded: e.Recorded, act: Act, by: str, note: str | None) -> AuditRow:
    return msgspec.structs.replace(
        entry,
        version=recorded.version,
        position=recorded.position,
        at=recorded.at,
        kind=_KINDS[act],
        by=by,
        outcome=act.value,
        reason=(plain(note) or None) if note is not None else None,
        attention=None,
        outcome_position=recorded.position,
        outcome_at=recorded.at,
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
    intent = intent_of(recorded.stream)
    if not isinstance(event, e.IntentSubmitted) or intent is None or recorded.version != 1:
        raise IllegalTransition(f"Stream {recorded.stream} does not begin with IntentSubmitted.")
    return AuditRow(
        intent=intent,
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
    )


AUDIT: Final = Projection(name="audit", row=AuditRow, key=("intent", "version"), reads=_MOVES | _WORDS, apply=apply)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def list_audit(
    connection: "Connection", ledger: str, wanted: AuditFilter, after: int | None, limit: int
) -> AuditPage:
    """Return one page of entries, at most `limit`; `after` is the `next` of the page before."""
    async with connection.transaction(readonly=True):
        await connection.execute(_FRESH_PLAN)
        records = await connection.fetch(_PAGE, ledger, *msgspec.structs.astuple(wanted), after, limit + 1)
    items = tuple(as_row(AuditRow, record) for record in records[:limit])
    return AuditPage(items, items[-1].position if len(records) > limit else None)

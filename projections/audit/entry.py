"""An entry of the audit: one row, how that of an act is opened, and the words for what it is about and came to.

An entry holds facts, never a sentence (`projections/audit/sentence.py`). Outside words come in as one bounded line.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from ledger.bounds import ERROR_LENGTH
from ledger.events import Recorded
from ledger.sealing import shortened
from projections.projection import Row


class Kind(StrEnum):
    """What an entry is about: an intent, what somebody did to one or to many, or to authority itself."""

    INTENT = "intent"
    APPROVE = "approve"
    REJECT = "reject"
    CANCEL = "cancel"
    UNDO = "undo"
    RESOLVE = "resolve"
    ISSUE = "issue"
    REVOKE = "revoke"
    SUSPEND = "suspend"
    RESUME = "resume"
    ANOMALY = "anomaly"
    CLEAR_ANOMALY = "clear_anomaly"
    ADD_POLICY = "add_policy"
    ACTIVATE_POLICY = "activate_policy"
    DEFINE_TASK = "define_task"
    REFUSE = "refuse"
    REFUSE_TOKEN = "refuse_token"  # noqa: S105  not one
    PLAN_UNDO = "plan_undo"
    APPROVE_UNDO = "approve_undo"
    HALT_UNDO = "halt_undo"
    FINISH_UNDO = "finish_undo"
    RECONCILE = "reconcile"
    CONFIGURE = "configure"
    ERASE = "erase"


class Act(StrEnum):
    """The outcome of an act. The outcome of an intent is its phase."""

    APPROVED = "approved"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    UNDO_DECIDED = "undo_decided"
    APPLIED = "applied"
    NOT_APPLIED = "not_applied"
    ISSUED = "issued"
    REVOKED = "revoked"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    ANOMALY_DETECTED = "anomaly_detected"
    ANOMALY_CLEARED = "anomaly_cleared"
    POLICY_ADDED = "policy_added"
    POLICY_ACTIVATED = "policy_activated"
    TASK_DEFINED = "task_defined"
    REFUSED = "refused"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    TOKEN_REVOKED = "token_revoked"  # noqa: S105
    TOKEN_UNKNOWN = "token_unknown"  # noqa: S105
    TOKEN_SUSPENDED = "token_suspended"  # noqa: S105
    UNDO_PLANNED = "undo_planned"
    UNDO_APPROVED = "undo_approved"
    UNDO_HALTED = "undo_halted"
    UNDO_FINISHED = "undo_finished"
    DIVERGENCE_FOUND = "divergence_found"
    DIVERGENCE_GONE = "divergence_gone"
    CONFIGURED = "configured"
    ERASED = "erased"


class Verification(StrEnum):
    """What the outside systems showed after the commit, where a task says what success is."""

    VERIFIED = "verified"
    CONTRADICTED = "contradicted"
    UNKNOWN = "unknown"


KIND_OF: Final[Mapping[Act, Kind]] = {
    Act.APPROVED: Kind.APPROVE,
    Act.REJECTED: Kind.REJECT,
    Act.CANCELLED: Kind.CANCEL,
    Act.UNDO_DECIDED: Kind.UNDO,
    Act.APPLIED: Kind.RESOLVE,
    Act.NOT_APPLIED: Kind.RESOLVE,
    Act.ISSUED: Kind.ISSUE,
    Act.REVOKED: Kind.REVOKE,
    Act.SUSPENDED: Kind.SUSPEND,
    Act.RESUMED: Kind.RESUME,
    Act.ANOMALY_DETECTED: Kind.ANOMALY,
    Act.ANOMALY_CLEARED: Kind.CLEAR_ANOMALY,
    Act.POLICY_ADDED: Kind.ADD_POLICY,
    Act.POLICY_ACTIVATED: Kind.ACTIVATE_POLICY,
    Act.TASK_DEFINED: Kind.DEFINE_TASK,
    Act.REFUSED: Kind.REFUSE,
    Act.TOKEN_EXPIRED: Kind.REFUSE_TOKEN,
    Act.TOKEN_REVOKED: Kind.REFUSE_TOKEN,
    Act.TOKEN_UNKNOWN: Kind.REFUSE_TOKEN,
    Act.TOKEN_SUSPENDED: Kind.REFUSE_TOKEN,
    Act.UNDO_PLANNED: Kind.PLAN_UNDO,
    Act.UNDO_APPROVED: Kind.APPROVE_UNDO,
    Act.UNDO_HALTED: Kind.HALT_UNDO,
    Act.UNDO_FINISHED: Kind.FINISH_UNDO,
    Act.DIVERGENCE_FOUND: Kind.RECONCILE,
    Act.DIVERGENCE_GONE: Kind.RECONCILE,
    Act.CONFIGURED: Kind.CONFIGURE,
    Act.ERASED: Kind.ERASE,
}


UNDO_PLAN: Final = frozenset({Kind.PLAN_UNDO, Kind.APPROVE_UNDO, Kind.HALT_UNDO, Kind.FINISH_UNDO})


class AuditRow(Row, frozen=True):
    """One entry."""

    stream: str
    version: int  # of the event that opened it
    position: int
    at: datetime
    kind: Kind
    agent_kind: str | None  # of the agent: whose intent it is, or to whom a grant was issued; None where there is none
    agent: str | None
    agent_version: str | None
    by: str | None  # who did it; None in the entry of the intent itself, and where nobody is known
    task: str | None
    commissioned_by: str | None
    grant_id: str | None
    custody: tuple[str, ...]  # of the agent, or of who did it
    policies: tuple[str, ...]
    policy_set: str | None
    actions: tuple[str, ...]
    operations: tuple[str, ...]  # of an intent one for each action, like summaries; else patterns
    summaries: tuple[str, ...]
    outcome: str  # a Phase or an Act
    reason: str | None  # why it came out like that
    attention: str | None  # why only a person can move the intent on
    outcome_position: int
    outcome_at: datetime
    digest: str | None = None  # of what people were asked to approve
    follows: str | None = None  # the intent that handed over to this one
    verification: Verification | None = None
    failure_mode: str | None = None  # which foreseen failure it was
    escalated_to: str | None = None  # and the person it went to
    detail: str | None = None  # canonical JSON: a grant's terms, a task's contract, a refusal's count, a plan's counts
    effect: str | None = None  # of an intent: what policy said
    facts: str | None = None  # and what it saw, by action, as canonical JSON
    confirmed: str | None = None  # what the outside systems said of each, likewise
    approved_by: tuple[str, ...] = ()  # on whose word it was decided to commit
    decision_position: int | None = None  # of the last decision


def entry_of(recorded: Recorded, act: Act, **facts: Any) -> AuditRow:
    """Open the entry of an act; of what `facts` do not name it says nothing."""
    entry = AuditRow(
        stream=recorded.stream,
        version=recorded.version,
        position=recorded.position,
        at=recorded.at,
        kind=KIND_OF[act],
        agent_kind=None,
        agent=None,
        agent_version=None,
        by=None,
        task=None,
        commissioned_by=None,
        grant_id=None,
        custody=(),
        policies=(),
        policy_set=None,
        actions=(),
        operations=(),
        summaries=(),
        outcome=act.value,
        reason=None,
        attention=None,
        outcome_position=recorded.position,
        outcome_at=recorded.at,
    )
    return msgspec.structs.replace(entry, **facts)


def entry_after(before: AuditRow, recorded: Recorded, act: Act, **facts: Any) -> AuditRow:
    """Open the entry of an act in the stream of an earlier entry; what `facts` do not name is as it was there."""
    return msgspec.structs.replace(
        before,
        version=recorded.version,
        position=recorded.position,
        at=recorded.at,
        kind=KIND_OF[act],
        outcome=act.value,
        outcome_position=recorded.position,
        outcome_at=recorded.at,
        **facts,
    )


def under(custody: tuple[str, ...]) -> dict[str, Any]:
    """Return the facts of a chain: it, and the grant at its end."""
    return {"custody": custody, "grant_id": custody[-1] if custody else None}


def plain(text: str) -> str:
    """Return outside words as one bounded line: no line breaks, control characters or NUL."""
    return shortened(one_line(text), ERROR_LENGTH)


def one_line(text: str) -> str:
    """Return words without line breaks, control characters or NUL."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())

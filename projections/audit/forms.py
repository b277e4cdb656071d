"""An audit entry in the forms in which it leaves: the JSON object, the CSV line. Pure."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from ledger.ids import intent_of
from projections.audit.entry import UNDO_PLAN, AuditRow, Kind
from projections.audit.sentence import actor_kind, sentence, subject

COLUMNS: Final = (
    "position",
    "at",
    "kind",
    "sentence",
    "actor",
    "agent",
    "agent_version",
    "task",
    "commissioned_by",
    "grant",
    "custody",
    "policies",
    "operations",
    "what",
    "whom",
    "outcome",
    "reason",
    "intent",
    "follows",
    "digest",
    "verification",
    "escalated_to",
    "policy_set",
    "effect",
    "facts",
    "approved_by",
    "confirmed",
    "decision_position",
    "outcome_position",
    "outcome_at",
    "attention",
    "failure_mode",
    "detail",
)
_FORMULA: Final = tuple("=+-@\uff1d\uff0b\uff0d\uff20\t\r\n")  # what spreadsheets take for the start of a formula
_NO_MARK: Final = " \u00a0\u3000\ufeff\u200b"  # what some of them pass over before one


def whom(entry: AuditRow) -> tuple[str, ...]:
    """Name whom it reaches.

    With an intent, for each action what its summary says after the last " to ", or else the outside system; with a
    grant, whose it is.
    """
    if entry.kind in {Kind.ISSUE, Kind.REVOKE, Kind.SUSPEND, Kind.RESUME} and entry.agent is not None:
        return (subject(entry),)
    return tuple(
        summary.rpartition(" to ")[2] if " to " in summary else operation.partition(".")[0]
        for summary, operation in zip(entry.summaries, entry.operations, strict=False)
    )


def entry_json(entry: AuditRow) -> dict[str, Any]:
    """Return an entry as the outside contract shows it."""
    return {
        "position": entry.position,
        "at": entry.at,
        "kind": entry.kind,
        "sentence": sentence(entry),
        "intent": intent_of(entry.stream),
        "actor": _actor(entry),
        "agent": {"name": entry.agent, "version": entry.agent_version} if entry.agent is not None else None,
        "task": entry.task,
        "commissioned_by": entry.commissioned_by,
        "custody": entry.custody,
        "authority": {"grant": entry.grant_id, "policies": entry.policies, "policy_set": entry.policy_set},
        "effect": entry.effect,
        "approved_by": entry.approved_by,
        "facts": _raw(entry.facts),
        "what": _what(entry),
        "whom": whom(entry),
        "outcome": entry.outcome,
        "outcome_position": entry.outcome_position,
        "outcome_at": entry.outcome_at,
        "decision_position": entry.decision_position,
        "confirmed": _raw(entry.confirmed),
        "reason": entry.reason,
        "attention": entry.attention,
        "digest": entry.digest,
        "follows": entry.follows,
        "verification": entry.verification,
        "failure_mode": entry.failure_mode,
        "escalated_to": entry.escalated_to,
        "detail": _raw(entry.detail),
    }


def _raw(canonical: str | None) -> msgspec.Raw | None:
    return None if canonical is None else msgspec.Raw(canonical.encode())


def _actor(entry: AuditRow) -> dict[str, Any] | None:
    """Return who did it; None for a token that nobody alive may show."""
    if entry.by is not None:
        return {"kind": actor_kind(entry), "name": entry.by, "version": None}  # which version acted is not on record
    if entry.agent is None or entry.kind in {*UNDO_PLAN, Kind.SUSPEND, Kind.RECONCILE}:
        return None  # nobody, the watch over behaviour, or a look outside
    return {"kind": entry.agent_kind, "name": entry.agent, "version": entry.agent_version}


def _what(entry: AuditRow) -> list[dict[str, str | None]]:
    """Return the actions of an intent, or the patterns that a grant or a task names."""
    if not entry.actions:
        return [{"action": None, "operation": pattern, "summary": pattern} for pattern in entry.operations]
    return [
        {"action": action, "operation": operation, "summary": summary}
        for action, operation, summary in zip(entry.actions, entry.operations, entry.summaries, strict=True)
    ]


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Write rows as CSV (RFC 4180). A cell that a spreadsheet would run as a formula gets an apostrophe in front."""
    text = io.StringIO()
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def csv_row(entry: AuditRow) -> tuple[object, ...]:
    """Return the cells of an entry, in the order of `COLUMNS`."""
    return (
        entry.position,
        _time(entry.at),
        entry.kind.value,
        sentence(entry),
        entry.by if entry.by is not None else entry.agent,
        entry.agent,
        entry.agent_version,
        entry.task,
        entry.commissioned_by,
        entry.grant_id,
        " > ".join(entry.custody),
        " ".join(entry.policies),
        " ".join(entry.operations),
        "; ".join(entry.summaries),
        "; ".join(whom(entry)),
        entry.outcome,
        entry.reason,
        intent_of(entry.stream),
        entry.follows,
        entry.digest,
        entry.verification,
        entry.escalated_to,
        entry.policy_set,
        entry.effect,
        entry.facts,
        " ".join(entry.approved_by),
        entry.confirmed,
        entry.decision_position,
        entry.outcome_position,
        _time(entry.outcome_at),
        entry.attention,
        entry.failure_mode,
        entry.detail,
    )


def _time(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")  # as JSON has it


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return "'" + text if text.lstrip(_NO_MARK).startswith(_FORMULA) else text

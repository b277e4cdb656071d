"""An audit entry in words and in forms: the sentence, the JSON object, the CSV line. Pure.

The sentence is made so that it can be read aloud:

    Payment Specialist Agent v3.1, task 12A, commissioned by Manager X, under policy P-45: refund 42.00 USD to
    customer 88, committed

Outside words came in as one bounded line each (`projections/audit.py`), so a sentence cannot be broken into two.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from ledger.phases import TERMINAL, Phase
from projections.audit import AuditRow, Kind

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
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")  # what spreadsheets take for the start of a formula


def sentence(entry: AuditRow) -> str:
    """Say an entry in one sentence."""
    return _of_intent(entry) if entry.kind is Kind.INTENT else _of_act(entry)


def person(name: str) -> str:
    """Write the name of a person for people: `manager-x` is Manager X. An address stays as it is."""
    return name if "@" in name else " ".join(word[:1].upper() + word[1:] for word in re.split(r"[-_\s]+", name) if word)


def agent(kind: str, name: str, version: str | None) -> str:
    """Write the name of who acts: the agent `payment-specialist` 3.1 is Payment Specialist Agent v3.1."""
    words = person(name)
    if kind == "agent" and not words.lower().endswith("agent"):
        words += " Agent"
    return f"{words} v{version.removeprefix('v')}" if version else words


def whom(entry: AuditRow) -> tuple[str, ...]:
    """Name whom each action reaches: what its summary says after the last " to ", or else the outside system."""
    return tuple(
        summary.rpartition(" to ")[2] if " to " in summary else operation.partition(".")[0]
        for summary, operation in zip(entry.summaries, entry.operations, strict=True)
    )


def entry_json(entry: AuditRow) -> dict[str, Any]:
    """Return an entry as the outside contract shows it."""
    by_person = entry.by is not None
    return {
        "position": entry.position,
        "at": entry.at,
        "kind": entry.kind,
        "sentence": sentence(entry),
        "intent": entry.intent,
        "actor": {"kind": "person", "name": entry.by}
        if by_person
        else {"kind": entry.agent_kind, "name": entry.agent, "version": entry.agent_version},
        "agent": {"name": entry.agent, "version": entry.agent_version},
        "task": entry.task,
        "commissioned_by": entry.commissioned_by,
        "custody": entry.custody,
        "authority": {"grant": entry.grant_id, "policies": entry.policies, "policy_set": entry.policy_set},
        "what": [
            {"action": action, "operation": operation, "summary": summary}
            for action, operation, summary in zip(entry.actions, entry.operations, entry.summaries, strict=True)
        ],
        "whom": whom(entry),
        "outcome": entry.outcome,
        "outcome_position": entry.outcome_position,
        "outcome_at": entry.outcome_at,
        "reason": entry.reason,
        "attention": entry.attention,
    }


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Write rows as CSV (RFC 4180). A cell that a spreadsheet would run as a formula gets an apostrophe in front."""
    text = io.StringIO()
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def csv_row(entry: AuditRow) -> tuple[object, ...]:
    """Return the cells of an entry, in the order of `COLUMNS`."""
    return (
        entry.position,
        entry.at.isoformat(),
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
        entry.intent,
    )


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return "'" + text if text.lstrip(" ").startswith(_FORMULA) else text


def _of_intent(entry: AuditRow) -> str:
    who = ", ".join(
        part
        for part in (
            agent(entry.agent_kind, entry.agent, entry.agent_version),
            entry.task is not None and f"task {entry.task}",
            entry.commissioned_by is not None and f"commissioned by {person(entry.commissioned_by)}",
            bool(entry.policies)
            and f"under {'policy' if len(entry.policies) == 1 else 'policies'} {_list(entry.policies)}",
        )
        if part
    )
    return f"{who}: {_list(entry.summaries)}, {_outcome(entry)}"


def _outcome(entry: AuditRow) -> str:
    words = entry.outcome.replace("_", " ")
    if entry.attention is not None and Phase(entry.outcome) not in TERMINAL:
        return f"{words}, waiting for a person: {_clause(entry.attention)}"
    if entry.reason is not None:
        return f"{words}: {_clause(entry.reason)}"
    return words


def _of_act(entry: AuditRow) -> str:
    who = person(entry.by or "")
    whose = f"asked for by {agent(entry.agent_kind, entry.agent, entry.agent_version)}"
    what = _list(entry.summaries)
    note = f": {_clause(entry.reason)}" if entry.reason else ""
    match entry.kind:
        case Kind.APPROVE:
            return f"{who} approved: {what}, {whose}{note}"
        case Kind.REJECT:
            return f"{who} rejected: {what}, {whose}{note}"
        case Kind.CANCEL:
            return f"{who} cancelled: {what}, {whose}{note}"
        case Kind.UNDO:
            return f"{who} decided to undo: {what}, {whose}{note}"
        case _:  # whether the question was about an effect, a release or an undo, the event does not say
            return f"{who} answered “{entry.outcome.replace('_', ' ')}” about: {what}, {whose}{note}"


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1] if words else "nothing"


def _clause(text: str) -> str:
    return text.rstrip(". ")

"""The entries of the watch over behaviour: that something was odd, and that a person has looked at it."""

from typing import Any, Final

import msgspec

from ledger import events as e
from ledger.canonical import canonical
from ledger.errors import IllegalTransition
from projections.audit.entry import KIND_OF, Act, AuditRow, plain

WATCHED: Final[frozenset[type[e.Event]]] = frozenset({e.AnomalyDetected, e.AnomalyCleared})


def watched(rows: tuple[AuditRow, ...], recorded: e.Recorded) -> AuditRow:
    """Open the entry of an event of the watch; `rows` are the earlier ones. Raises `IllegalTransition`."""
    match recorded.event:
        case e.AnomalyDetected() as found if not rows:
            return _detected(recorded, found)
        case e.AnomalyCleared(note=note, by=by, custody=custody) if rows:
            grant = custody[-1] if custody else None
            return _after(rows[0], recorded, reason=plain(note), by=by, custody=custody, grant_id=grant)
        case _:
            raise IllegalTransition(f"{recorded.type} cannot stand at version {recorded.version} of {recorded.stream}.")


def _detected(recorded: e.Recorded, found: e.AnomalyDetected) -> AuditRow:
    detail = {
        "anomaly": found.anomaly,
        "kind": found.kind,
        "response": found.response,
        "suspended": found.suspended,
        "evidence": found.evidence,
        "intent": found.intent,
    }
    return AuditRow(
        stream=recorded.stream,
        version=recorded.version,
        position=recorded.position,
        at=recorded.at,
        kind=KIND_OF[Act.ANOMALY_DETECTED],
        agent_kind="agent" if found.whose == "agent" else "person",
        agent=found.name,
        agent_version=None,
        by=None,
        task=None,
        commissioned_by=None,
        grant_id=found.grants[-1] if found.grants else None,
        custody=(),
        policies=(),
        policy_set=None,
        actions=(),
        operations=() if found.operation is None else (found.operation,),
        summaries=(),
        outcome=Act.ANOMALY_DETECTED.value,
        reason=plain(found.sentence),
        attention=None,
        outcome_position=recorded.position,
        outcome_at=recorded.at,
        detail=canonical(detail).decode(),
    )


def _after(before: AuditRow, recorded: e.Recorded, **changed: Any) -> AuditRow:
    return msgspec.structs.replace(
        before,
        version=recorded.version,
        position=recorded.position,
        at=recorded.at,
        kind=KIND_OF[Act.ANOMALY_CLEARED],
        outcome=Act.ANOMALY_CLEARED.value,
        outcome_position=recorded.position,
        outcome_at=recorded.at,
        **changed,
    )

"""The entries of the watch over behaviour: that something was odd, and that a person has looked at it."""

from ledger import events as e
from ledger.canonical import canonical_text
from ledger.errors import IllegalTransition
from projections.audit.entry import Act, AuditRow, entry_after, entry_of, plain, under


def watched(rows: tuple[AuditRow, ...], recorded: e.Recorded) -> AuditRow:
    """Open the entry of an event of the watch; `rows` are the earlier ones. Raises `IllegalTransition`."""
    match recorded.event:
        case e.AnomalyDetected() as found if not rows:
            return _detected(recorded, found)
        case e.AnomalyCleared(note=note, by=by, custody=custody) if rows:
            return entry_after(rows[0], recorded, Act.ANOMALY_CLEARED, reason=plain(note), by=by, **under(custody))
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
    return entry_of(
        recorded,
        Act.ANOMALY_DETECTED,
        agent_kind="agent" if found.whose == "agent" else "person",
        agent=found.name,
        grant_id=found.grants[-1] if found.grants else None,
        operations=() if found.operation is None else (found.operation,),
        reason=plain(found.sentence),
        detail=canonical_text(detail),
    )

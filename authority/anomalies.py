"""Clearing an anomaly: a person has looked at it, and it stands no longer."""

from authority.approvals import folded
from authority.grants import Principal
from authority.record import record
from ledger.behaviour_events import anomaly_stream
from ledger.errors import Forbidden, NotFound
from ledger.events import AnomalyCleared, AnomalyDetected, Recorded
from ledger.store import Append, GrantAlive, Store


async def clear(store: Store, principal: Principal, anomaly: str, note: str) -> list[Recorded]:
    """Record that a person has looked at an anomaly, and return its stream. Doing it again is harmless.

    Raises `NotFound`, `Forbidden` for an agent or for the person whose it is; `Unavailable` if it is not known whether
    it was recorded.
    """
    if principal.subject.kind != "person":
        raise Forbidden("Only a person may do this. Nothing was done.")
    stream = anomaly_stream(anomaly)
    past = list(await store.read(stream))
    if not past or not isinstance(found := past[0].event, AnomalyDetected):
        raise NotFound(f"There is no anomaly {anomaly} in this ledger.")
    if found.whose != "agent" and folded(found.name) == folded(principal.subject.name):
        raise Forbidden("Nobody clears an anomaly of their own. Nothing was done; ask somebody else.")
    if len(past) == 1:
        event = AnomalyCleared(
            anomaly=anomaly,
            whose=found.whose,
            name=found.name,
            note=note,
            by=principal.subject.name,
            custody=principal.custody,
        )
        append = Append(stream=stream, expected_version=1, events=(event,), guards=(GrantAlive(principal.grant),))
        await record(store, append, f"anomaly {anomaly} was cleared")
    return list(await store.read(stream))

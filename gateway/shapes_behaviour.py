"""What the watch over behaviour shows: habits, as their view says them, and anomalies."""

from datetime import datetime

import msgspec

from gateway.render import Shown
from ledger.intents import JSON
from projections.behaviour.anomalies import AnomalyRow
from projections.behaviour.page import Behaviour


class BehaviourPage(Shown, frozen=True):
    """Habits by name. `next` is the `after` of the next page."""

    items: tuple[Behaviour, ...]
    next: str | None


class ShownAnomaly(Shown, frozen=True):
    """Something odd, its evidence, and what was done about it."""

    id: str
    position: int
    at: datetime
    kind: str
    whose: str
    name: str
    operation: str | None
    sentence: str
    evidence: JSON
    found_position: int
    found_at: datetime
    intent: str | None
    grants: tuple[str, ...]
    response: str
    suspended: tuple[str, ...]
    stands_until: datetime
    standing: bool
    cleared_at: datetime | None
    cleared_by: str | None
    note: str | None


class AnomalyPage(Shown, frozen=True):
    """Anomalies, newest first. `next` is the `after` of the next page."""

    items: tuple[ShownAnomaly, ...]
    next: str | None


def show_anomaly(row: AnomalyRow, now: datetime) -> ShownAnomaly:
    """Show an anomaly."""
    known = msgspec.structs.asdict(row)
    return ShownAnomaly(
        id=known.pop("anomaly"),
        evidence=msgspec.json.decode(known.pop("evidence")),
        standing=row.cleared_at is None and row.stands_until > now,
        **known,
    )

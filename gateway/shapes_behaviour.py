"""What the watch over behaviour shows: habits, and anomalies."""

from datetime import datetime
from typing import Any

import msgspec

from gateway.render import Shown
from ledger.intents import JSON
from projections.behaviour.anomalies import AnomalyRow
from projections.behaviour.page import Behaviour


class ShownWindow(Shown, frozen=True):
    """How much there was in the last minutes, how much is usual at this hour of the week, and how much is not odd."""

    minutes: int
    count: int
    expected: float | None
    limit: int | None


class ShownMoney(Shown, frozen=True):
    """The usual amount in one currency, and how far the last ones were above it; beyond 8 it is an anomaly."""

    currency: str
    amounts: int
    typical_minor: int | None
    excess: float


class ShownBehaviour(Shown, frozen=True):
    """What one agent habitually does with one operation and what it does now, or how a person answers."""

    kind: str
    name: str
    operation: str | None
    uses: int
    since: datetime | None
    last: datetime | None
    judged_by: str
    windows: tuple[ShownWindow, ...]
    amounts: tuple[ShownMoney, ...]
    targets: int | None
    approvals_in_a_row: int | None
    fast_answers: int | None


class BehaviourPage(Shown, frozen=True):
    """Habits by name. `next` is the `after` of the next page."""

    items: tuple[ShownBehaviour, ...]
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


def show_behaviour(one: Behaviour) -> ShownBehaviour:
    """Show a habit."""
    known: dict[str, Any] = {name: getattr(one, name) for name in one.__struct_fields__}
    known["windows"] = tuple([ShownWindow(**msgspec.structs.asdict(each)) for each in one.windows])
    known["amounts"] = tuple([ShownMoney(**msgspec.structs.asdict(each)) for each in one.amounts])
    return ShownBehaviour(**known)


def show_anomaly(row: AnomalyRow, now: datetime) -> ShownAnomaly:
    """Show an anomaly."""
    known = msgspec.structs.asdict(row)
    return ShownAnomaly(
        id=known.pop("anomaly"),
        evidence=msgspec.json.decode(known.pop("evidence")),
        standing=row.cleared_at is None and row.stands_until > now,
        **known,
    )

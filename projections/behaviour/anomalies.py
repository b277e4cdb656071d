"""The view of anomalies: what was odd, what was done about it, and who has looked at it. One row for each."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

import sql
from ledger.bounds import BEHAVIOUR_STANDING
from ledger.canonical import canonical_text
from ledger.errors import IllegalTransition
from ledger.events import AnomalyCleared, AnomalyDetected, Recorded, StandingAnomaly
from projections.audit.entry import plain
from projections.page import Page
from projections.projection import EVENTS_OF_BEHAVIOUR, Projection, Row
from projections.table import as_row

if TYPE_CHECKING:
    from ledger.database import Connection

_PAGE: Final = sql.query("behaviour.anomalies")
_STANDING: Final = sql.query("behaviour.standing")
_STREAM: Final = "anomaly/"


class AnomalyRow(Row, frozen=True):
    """An anomaly."""

    anomaly: str
    position: int
    at: datetime
    kind: str
    whose: str
    name: str
    operation: str | None
    found_position: int
    found_at: datetime
    intent: str | None
    grants: tuple[str, ...]
    evidence: str  # canonical JSON
    sentence: str
    response: str
    suspended: tuple[str, ...]
    stands_until: datetime
    cleared_at: datetime | None = None
    cleared_by: str | None = None
    note: str | None = None


class AnomalyFilter(msgspec.Struct, frozen=True):
    """Which anomalies to read; None does not ask. `since` is included, `until` is not; `now` decides what stands."""

    now: datetime
    agent: str | None = None
    operation: str | None = None
    kind: str | None = None
    response: str | None = None
    standing: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


def apply(rows: tuple[AnomalyRow, ...], recorded: Recorded) -> tuple[AnomalyRow, ...]:
    """Fold an event into the row of its anomaly. Raises `IllegalTransition`."""
    match rows, recorded.event:
        case (), AnomalyDetected() as found:
            return (_opened(recorded, found),)
        case (row,), AnomalyCleared(note=note, by=by):
            return (msgspec.structs.replace(row, cleared_at=recorded.at, cleared_by=by, note=plain(note)),)
        case _:
            raise IllegalTransition(f"{recorded.type} cannot stand at version {recorded.version} of {recorded.stream}.")


def _opened(recorded: Recorded, found: AnomalyDetected) -> AnomalyRow:
    return AnomalyRow(
        anomaly=found.anomaly,
        position=recorded.position,
        at=recorded.at,
        kind=found.kind,
        whose=found.whose,
        name=found.name,
        operation=found.operation,
        found_position=found.position,
        found_at=found.found_at,
        intent=found.intent,
        grants=found.grants,
        evidence=canonical_text(found.evidence),
        sentence=plain(found.sentence),
        response=found.response,
        suspended=found.suspended,
        stands_until=found.stands_until,
    )


def _subject(stream: str) -> str | None:
    return stream.removeprefix(_STREAM) if stream.startswith(_STREAM) else None


ANOMALIES: Final = Projection(
    name="anomalies",
    row=AnomalyRow,
    key=("anomaly",),
    reads=EVENTS_OF_BEHAVIOUR,
    apply=apply,
    subject=_subject,
)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def list_anomalies(
    connection: "Connection", ledger: str, wanted: AnomalyFilter, after: int | None, limit: int
) -> Page[AnomalyRow, int]:
    """Return one page of anomalies, at most `limit`; `after` is the `next` of the page before."""
    asked = (wanted.agent, wanted.operation, wanted.kind, wanted.response, wanted.standing, wanted.now)
    records = await connection.fetch(_PAGE, ledger, *asked, wanted.since, wanted.until, after, limit + 1)
    items = tuple(as_row(AnomalyRow, record) for record in records[:limit])
    return Page(items, items[-1].position if len(records) > limit else None)


async def standing_anomalies(
    connection: "Connection", ledger: str, now: datetime
) -> Sequence[tuple[str, StandingAnomaly]]:
    """Return what policy sees now and whose name it has, newest first, at most BEHAVIOUR_STANDING of them."""
    return [
        (one["whose"], StandingAnomaly(one["anomaly"], one["kind"], one["name"], one["response"] == "escalate"))
        for one in await connection.fetch(_STANDING, ledger, now, BEHAVIOUR_STANDING)
    ]

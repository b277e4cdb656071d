"""Reading the view of behaviour: what is normal and what is now, for each agent and operation, and what was found."""

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

import sql
from projections.behaviour.counts import WINDOWS, week_hour
from projections.behaviour.habits import Answers, Finding, Habit
from projections.behaviour.view import BehaviourRow, opened
from projections.page import Page
from projections.table import as_row

if TYPE_CHECKING:
    from ledger.database import Connection

_PAGE: Final = sql.query("behaviour.page")
_FOUND: Final = sql.query("behaviour.found")


class Window(msgspec.Struct, frozen=True):
    """How much there was in the last minutes, how much is usual at this hour of the week, and how much is not odd."""

    minutes: int
    count: int
    expected: float | None  # None: nobody knows yet
    limit: int | None


class Money(msgspec.Struct, frozen=True):
    """The usual amount in one currency, and how far the last ones were above it: beyond 8 it is an anomaly."""

    currency: str
    amounts: int
    typical_minor: int | None  # None: too few of them to say
    excess: float


class Behaviour(msgspec.Struct, frozen=True):
    """What one agent habitually does with one operation, and what it does now; or how a person answers."""

    kind: str  # "agent" | "person" | "approver"
    name: str
    operation: str | None
    uses: int
    since: datetime | None
    last: datetime | None
    judged_by: str  # "itself" | "its role, or caps" | "answers"
    windows: tuple[Window, ...]
    amounts: tuple[Money, ...]
    targets: int | None  # how many it reaches; None: too many to tell
    approvals_in_a_row: int | None
    fast_answers: int | None


class BehaviourFilter(msgspec.Struct, frozen=True):
    """Which habits to read; None does not ask. The last minutes are those before `now`."""

    now: datetime
    agent: str | None = None
    operation: str | None = None


class FoundRow(msgspec.Struct, frozen=True):
    """A finding, whose it is, and with which operation."""

    whose: str
    name: str
    operation: str | None
    finding: Finding
    shown_at: int  # the position of the event that showed it
    found: int  # that of the last finding of the same habit


async def list_behaviour(
    connection: "Connection", ledger: str, wanted: BehaviourFilter, after: str | None, limit: int
) -> Page[Behaviour, str]:
    """Return one page, at most `limit`; `after` is the `next` of the page before."""
    place = None if after is None else read_cursor(after)
    records = await connection.fetch(_PAGE, ledger, wanted.agent, wanted.operation, *(place or (None, None)), limit + 1)
    rows = [as_row(BehaviourRow, record) for record in records]
    following = _cursor(rows[limit - 1]) if len(rows) > limit else None
    return Page(tuple(shown(row, wanted.now) for row in rows[:limit]), following)


async def found_after(connection: "Connection", ledger: str, position: int, limit: int) -> Sequence[FoundRow]:
    """Return what was found of the habits whose last finding is after a position, oldest first; of at most `limit`."""
    found: list[FoundRow] = []
    for record in await connection.fetch(_FOUND, ledger, position, limit):
        row = as_row(BehaviourRow, record)
        whose, _, name = row.subject.partition("/")
        (habit,) = opened([row]).values()
        operation = row.operation if "." in row.operation else None
        found += [FoundRow(whose, name, operation, one, shown_at(one), row.found) for one in habit.findings]
    return sorted(found, key=lambda one: (one.shown_at, one.finding.id))


def shown_at(finding: Finding) -> int:
    """Return the position of the event that showed a finding."""
    return int(finding.id.partition("-")[0])


def shown(row: BehaviourRow, now: datetime) -> Behaviour:
    """Show a habit as it is now."""
    (habit,) = opened([row]).values()
    kind, _, name = row.subject.partition("/")
    operation = row.operation if "." in row.operation else None
    if isinstance(habit, Answers):
        return Behaviour(
            kind=kind,
            name=name,
            operation=None,
            uses=len(habit.fast),
            since=None,
            last=None,
            judged_by="answers",
            windows=(),
            amounts=(),
            targets=None,
            approvals_in_a_row=habit.approvals,
            fast_answers=sum(habit.fast),
        )
    counter = habit.series.counter
    last, minute = _time(counter.minute), int(now.timestamp()) // 60
    counter.pass_to(minute)
    return Behaviour(
        kind=kind,
        name=name,
        operation=operation or row.operation,
        uses=habit.uses,
        since=_time(habit.series.since),
        last=last,
        judged_by="itself" if habit.series.knows else "its role, or caps",
        windows=_windows(habit),
        amounts=tuple(_money(currency, one) for currency, one in sorted(habit.amounts.items())),
        targets=None if habit.open else len(habit.targets),
        approvals_in_a_row=None,
        fast_answers=None,
    )


def read_cursor(text: str) -> tuple[str, str] | None:
    """Return the place that a cursor names; None for what is no cursor of ours."""
    try:
        subject, operation = base64.urlsafe_b64decode(text.encode()).decode().split("\n")
    except (ValueError, binascii.Error):
        return None
    return (subject, operation) if "\0" not in subject + operation else None


def _cursor(row: BehaviourRow) -> str:
    return base64.urlsafe_b64encode(f"{row.subject}\n{row.operation}".encode()).decode()


def _windows(habit: Habit) -> tuple[Window, ...]:
    series = habit.series
    limits, expected = series.limits, series.expected
    if series.knows and not limits:  # nothing came near them, so nobody has asked
        hour = week_hour(series.counter.minute)
        limits, expected = series.normal.limits(hour), series.normal.mean(hour)
    return tuple(
        Window(
            minutes=minutes,
            count=series.counter.within(minutes),
            expected=expected * minutes / 60_000 if expected else None,
            limit=limits[place] if limits else None,
        )
        for place, minutes in enumerate(WINDOWS)
    )


def _money(currency: str, amounts: Any) -> Money:
    usual = amounts.usual
    typical = usual.typical if usual.knows else None
    return Money(currency, usual.count, typical, amounts.excess / 1_000_000)


def _time(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)

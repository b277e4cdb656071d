"""What a person is asked to undo, as a table, computed here from the plan's events, byte for byte as stored.

As with an approval (`gateway/approval_sheet.py`), nothing is believed: the events are folded, the digest of what they
list is computed, and nobody is asked if the service asks for another one. What is cut says so, and nothing in it can
hide or pose as something else. Pure.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, time, timedelta
from typing import Any, Final

import msgspec

from gateway.approval_sheet import events_of
from ledger.errors import Corrupt, Misconfigured
from ledger.sealing import veiled
from ledger.undo_plans import Extent, PlannedAction, PlannedUndo, content_digest, count
from ledger.undo_state import PlanState, fold_plan
from ledger.visible_text import cut, visible, visible_json

HEADINGS: Final = ("decided", "intent", "agent", "what was done", "undo", "what that leaves")
ROWS: Final = 40  # shown unless all are asked for
_VALUE: Final = 60  # characters of what is restored
_TIME: Final = "%Y-%m-%d %H:%M:%S"
_EXTENT: Final = {Extent.EXACT: "exactly", Extent.SEMANTIC: "by a follow-up", Extent.PARTIAL: "in part"}


class UndoAsked(msgspec.Struct, frozen=True):
    """A plan, and the digest of what it lists, computed here."""

    state: PlanState
    digest: str

    @property
    def short(self) -> str:
        """Return the beginning of the digest, for a person to compare."""
        return self.digest.partition(":")[2][:8]


def undo_asked(ledger: str, shown: dict[str, Any], events: bytes) -> UndoAsked:
    """Fold a plan's events and check that the service asks for what they list. Raises `Corrupt`."""
    state = fold_plan(events_of(ledger, events))
    if state is None or state.id != shown.get("id"):
        raise Corrupt("The service answered with the events of another plan. Nothing was approved.")
    computed = content_digest(state.items)
    if not computed == state.planned.digest == shown.get("digest") or len(state.items) != state.planned.intents:
        raise Corrupt(
            f"What the events list has the digest {computed}, they name {state.planned.digest}, and the service shows "
            f"{shown.get('digest')}. They must be one. Nothing was approved; tell whoever runs the service."
        )
    return UndoAsked(state, computed)


def summary(question: UndoAsked) -> str:
    """Say in a few lines how much can be undone, and how."""
    counts = count(question.state.items)
    words = [f"{counts[extent]} {_EXTENT.get(extent, 'not at all')}" for extent in Extent if counts[extent]]
    planned, listed = question.state.planned, len(question.state.items)
    return "\n".join(
        [
            f"Plan    {visible(planned.plan)}, by {visible(planned.by)}: {visible(planned.reason)}",
            f"Intents {listed}: {', '.join(words) or 'nothing to undo'}",
            f"Digest  {question.digest}",
        ]
    )


def rows(items: Sequence[PlannedUndo], *, whole: bool) -> Iterator[tuple[str, ...]]:
    """Write intents as rows of a table, in the order in which they are undone."""
    for item in items if whole else items[:ROWS]:
        yield (
            item.decided_at.strftime(_TIME) if item.decided_at else "",
            visible(item.intent),
            visible(item.agent),
            "\n".join(visible(veiled(action.summary)) for action in item.actions),
            _EXTENT.get(item.extent) or f"no: {(item.why or 'unknown').replace('_', ' ')}",
            "\n".join(_left(action) for action in item.actions) or visible(item.reason or ""),
        )


def _left(action: PlannedAction) -> str:
    """Say what is there once an effect is undone."""
    if action.why is not None:
        return f"stands: {action.why.replace('_', ' ')}"
    if action.cut:
        return "as before; too long to show here"
    if action.restores is None:
        return "a follow-up" if action.undo != "exact" else "as before"
    return cut(veiled(visible_json(action.restores)), _VALUE)


def moment(words: str, now: datetime) -> datetime:
    """Read a time in flags: 14:00 (the last time that it was), 2h ago, or RFC 3339; without a zone it is that of `now`.

    Raises `Misconfigured`.
    """
    try:
        if _AGO(words):
            return now - timedelta(seconds=int(words[:-1]) * _UNITS[words[-1]])
        if _CLOCK(words):
            at = datetime.combine(now.date(), time.fromisoformat(words), now.tzinfo)
            return at if at <= now else at - timedelta(days=1)
        named = datetime.fromisoformat(words)
    except (ValueError, OverflowError):
        raise Misconfigured(
            f"{visible(words)!r} is no time. Nothing was done; write 14:00, 2h, 2026-01-31 or 2026-01-31T12:00:00Z."
        ) from None
    return named if named.tzinfo else named.replace(tzinfo=now.tzinfo)


_CLOCK: Final = re.compile(r"[0-9]{2}:[0-9]{2}(:[0-9]{2})?").fullmatch
_AGO: Final = re.compile(r"[0-9]{1,6}[smhd]").fullmatch
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

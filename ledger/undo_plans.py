"""The words of an undo plan: which intents somebody wants undone, what can be undone of each, and what came of it.

Frozen values that stand in events. A plan lists intents in the order in which they are undone: the one decided last
comes first. What it lists is what its digest covers, so that a person approves exactly what they have looked at.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import msgspec

from ledger.canonical import digest
from ledger.intents import JSON, Undo, Value


class Selection(Value, frozen=True):
    """Whose deeds: intents to which all of this applies; None does not ask. Times are those of the decision."""

    agent: str | None = None
    grant: str | None = None  # submitted under it, or under a grant below it
    task: str | None = None
    operation: str | None = None
    since: datetime | None = None  # included
    until: datetime | None = None  # not included


class Extent(StrEnum):
    """How far an intent can be undone."""

    EXACT = "exact"  # the state before is restored
    SEMANTIC = "semantic"  # with a follow-up for at least one of its effects
    PARTIAL = "partial"  # some of its effects stand, and somebody wants the others undone all the same
    NONE = "none"


class WhyNot(StrEnum):
    """Why an intent, or one of its actions, is not undone."""

    UNDO_NONE = "undo_none"  # its operation cannot be undone
    WINDOW_PASSED = "window_passed"
    ADAPTER_GONE = "adapter_gone"  # no configured adapter offers its operation any more
    NOT_AT_REST = "not_at_rest"  # it may still have effects, or is being undone
    ALREADY_UNDONE = "already_undone"
    ENDED_MIXED = "ended_mixed"  # undone as far as it could be
    OUT_OF_REACH = "out_of_reach"  # the grant of whoever plans does not permit what it does


class PlannedAction(Value, frozen=True):
    """What is to become of one effect. `stands` is what its vote said would be there, `restores` what was before it."""

    action: str
    operation: str
    summary: str
    undo: Undo
    why: WhyNot | None = None
    stands: JSON | None = None
    restores: JSON | None = None  # only where its undo is exact
    cut: bool = False  # they are too long to be shown; the intent has them


class PlannedUndo(Value, frozen=True):
    """What is to become of one intent."""

    intent: str
    decided_at: datetime | None  # None: it is not decided
    decision_position: int | None
    agent: str
    extent: Extent
    why: WhyNot | None = None
    reason: str | None = None  # the same as a sentence
    actions: tuple[PlannedAction, ...] = ()
    adapters: tuple[str, ...] = ()  # of what is undone
    in_turn: tuple[str, ...] = ()  # of these, where its undo is exact: it waits there for those of later intents


class Ending(StrEnum):
    """What became of an intent of an approved plan."""

    UNDONE = "undone"
    MIXED = "mixed"  # some of its effects are undone, others stand
    ATTENTION = "attention"  # only a person can move it on
    MOVED = "moved"  # it was no longer as it had been planned: somebody else had spoken
    NOT_UNDONE = "not_undone"  # it can no longer be undone


class UndoOutcome(Value, frozen=True):
    """What came of one intent of an approved plan."""

    intent: str
    outcome: Ending
    reason: str | None = None


def in_order(items: Iterable[PlannedUndo]) -> list[PlannedUndo]:
    """Put intents in the order in which they are undone: the one decided last comes first."""
    return sorted(items, key=lambda item: (item.decision_position or 0, item.intent), reverse=True)


def content_digest(items: Iterable[PlannedUndo]) -> str:
    """Digest exactly what a person would approve: which intents, what is to become of each effect, in which order.

    The same content has the same digest, whenever and however it was selected.
    """
    return digest(msgspec.to_builtins(list(items)))


def count(items: Iterable[PlannedUndo]) -> dict[str, int]:
    """Count intents by how far they can be undone."""
    counts = {extent.value: 0 for extent in Extent}
    for item in items:
        counts[item.extent] += 1
    return counts


def count_endings(outcomes: Iterable[UndoOutcome]) -> dict[str, int]:
    """Count intents by what came of them."""
    counts = {ending.value: 0 for ending in Ending}
    for one in outcomes:
        counts[one.outcome] += 1
    return counts

"""The events of undo plans. The rules of `ledger/events.py` hold here.

A plan has a stream of its own. What becomes of an intent stands in the intent's stream as ever (`CompensateDecided`
names the plan); the plan's stream keeps who wanted what, who approved it, and what came of each intent.
"""

from datetime import datetime

from ledger.event import Event
from ledger.undo_plans import PlannedUndo, Selection, UndoOutcome


class UndoPlanned(Event, frozen=True):
    """Somebody asked what undoing these intents would do. What was found follows in `UndoListed`."""

    plan: str
    selection: Selection
    partial: bool  # intents of which only some effects can be undone are undone so far
    reason: str
    digest: str
    intents: int  # listed in all
    counts: dict[str, int]  # by extent
    as_of: int  # the position of the ledger up to which intents were looked for
    expires_at: datetime  # it can be approved until then
    by: str
    grant: str
    custody: tuple[str, ...]


class UndoListed(Event, frozen=True):
    """Some of the intents of the plan, in the order in which they would be undone."""

    items: tuple[PlannedUndo, ...]


class UndoPlanApproved(Event, frozen=True):
    """A person approved exactly what `digest` names; from here it is carried out."""

    digest: str
    by: str
    grant: str  # under which every one of the undos is decided
    custody: tuple[str, ...]


class UndoPlanAdvanced(Event, frozen=True):
    """These intents of the plan have come to rest."""

    outcomes: tuple[UndoOutcome, ...]


class UndoPlanHalted(Event, frozen=True):
    """No further undo is decided under this approval; the rest can be approved again."""

    reason: str
    by: str | None = None  # the person who halted it; None: their approval had lost its authority, or our code failed
    custody: tuple[str, ...] = ()  # of that person


class UndoPlanFinished(Event, frozen=True):
    """Every intent of the plan has come to rest."""

    counts: dict[str, int]  # by ending

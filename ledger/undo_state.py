"""The state of one undo plan: a fold over its events, by a table of its own.

    (nothing) ─► planned ─► undoing ─► done
                               │ ▲
                               ▼ │ approved again
                             halted

It looks back like `ledger/state.py`; what is to happen next is decided in `coordinator/undo_plan.py`. A missing key of
the table *is* the illegal move.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from ledger import events as e
from ledger.errors import IllegalTransition
from ledger.undo_plans import Extent, PlannedUndo, UndoOutcome


class PlanPhase(StrEnum):
    """Where an undo plan stands."""

    PLANNED = "planned"
    UNDOING = "undoing"
    HALTED = "halted"
    DONE = "done"


P = PlanPhase
PLANS: Final[Mapping[tuple[PlanPhase, str], PlanPhase]] = {
    (P.PLANNED, "UndoListed"): P.PLANNED,
    (P.PLANNED, "UndoPlanApproved"): P.UNDOING,
    (P.UNDOING, "UndoPlanAdvanced"): P.UNDOING,
    (P.UNDOING, "UndoPlanFinished"): P.DONE,
    # whoever approved it has lost their authority meanwhile, or a person said so; what is not yet begun waits
    (P.UNDOING, "UndoPlanHalted"): P.HALTED,
    (P.HALTED, "UndoPlanApproved"): P.UNDOING,
}
del P


class PlanState(msgspec.Struct, frozen=True):
    """Everything the events of one plan's stream say, folded."""

    planned: e.UndoPlanned
    phase: PlanPhase
    items: tuple[PlannedUndo, ...]
    outcomes: Mapping[str, UndoOutcome]  # by intent
    approved: e.UndoPlanApproved | None
    halted: e.UndoPlanHalted | None
    planned_at: datetime
    approved_at: datetime | None
    updated_at: datetime
    version: int
    position: int

    @property
    def id(self) -> str:
        """Return the plan's id."""
        return self.planned.plan

    @property
    def to_undo(self) -> tuple[PlannedUndo, ...]:
        """Return the intents that are undone if it is approved, in that order."""
        return tuple([item for item in self.items if item.extent is not Extent.NONE])


def evolve_plan(state: PlanState | None, recorded: e.Recorded) -> PlanState:
    """Fold one more event of a plan's stream into its state. Pure; raises `IllegalTransition`."""
    event = recorded.event
    if state is None:
        return _begin(recorded)
    phase = PLANS.get((state.phase, recorded.type))
    if phase is None or recorded.version != state.version + 1:
        raise _illegal(recorded, f"the plan is {state.phase} at version {state.version}")
    changed = _kept(state, recorded)
    if isinstance(event, e.UndoPlanFinished) and any(one.intent not in state.outcomes for one in state.to_undo):
        raise _illegal(recorded, "some of its intents have not come to rest")
    return msgspec.structs.replace(
        state, phase=phase, version=recorded.version, position=recorded.position, updated_at=recorded.at, **changed
    )


def fold_plan(recorded: Iterable[e.Recorded], state: PlanState | None = None) -> PlanState | None:
    """Fold a whole stream, or the rest of one; None where there is no event at all."""
    for one in recorded:
        state = evolve_plan(state, one)
    return state


def _begin(recorded: e.Recorded) -> PlanState:
    event = recorded.event
    if not isinstance(event, e.UndoPlanned) or recorded.version != 1:
        raise _illegal(recorded, "the stream of a plan begins with UndoPlanned")
    return PlanState(
        planned=event,
        phase=PlanPhase.PLANNED,
        items=(),
        outcomes={},
        approved=None,
        halted=None,
        planned_at=recorded.at,
        approved_at=None,
        updated_at=recorded.at,
        version=1,
        position=recorded.position,
    )


def _kept(state: PlanState, recorded: e.Recorded) -> dict[str, object]:
    """Return what the state keeps of an event, beside the phase to which it leads."""
    match recorded.event:
        case e.UndoListed(items=items):
            return {"items": (*state.items, *items)}
        case e.UndoPlanApproved() as approved:
            if len(state.items) != state.planned.intents:
                raise _illegal(recorded, "not all of its intents are listed")
            return {"approved": approved, "approved_at": recorded.at, "halted": None}
        case e.UndoPlanAdvanced(outcomes=outcomes):
            waiting = {item.intent for item in state.to_undo} - state.outcomes.keys()
            told = {one.intent for one in outcomes}
            if len(told) < len(outcomes) or not told <= waiting:
                raise _illegal(recorded, "it tells of an intent that is not in the plan, or a second time of one")
            return {"outcomes": {**state.outcomes, **{one.intent: one for one in outcomes}}}
        case e.UndoPlanHalted() as halted:
            return {"halted": halted}
        case _:
            return {}


def _illegal(recorded: e.Recorded, why: str) -> IllegalTransition:
    return IllegalTransition(
        f"{recorded.type} at version {recorded.version} of {recorded.stream} is not allowed: {why}."
    )

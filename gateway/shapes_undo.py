"""Undo plans as they are shown: what was asked for, what can be undone of each intent, how far it has come."""

from datetime import datetime

from gateway.render import Shown
from ledger.intents import JSON, Undo
from ledger.undo_plans import Ending, Extent, PlannedUndo, Selection, WhyNot, count_endings
from ledger.undo_state import PlanPhase, PlanState


class ShownUndoneAction(Shown, frozen=True):
    """What is to become of one effect: what its vote said would be there, and what an exact undo restores."""

    action: str
    operation: str
    summary: str
    undo: Undo
    why: WhyNot | None
    stands: JSON | None
    restores: JSON | None
    cut: bool  # both are too long for a plan; the intent shows them


class ShownUndo(Shown, frozen=True):
    """What is to become of one intent, and once it is approved, what came of it."""

    intent: str
    decided_at: datetime | None
    agent: str
    undo: Extent
    why: WhyNot | None
    reason: str | None
    actions: tuple[ShownUndoneAction, ...]
    outcome: Ending | None
    outcome_reason: str | None


class ShownUndoApproval(Shown, frozen=True):
    """Who approved the plan, and by which authority."""

    by: str
    grant: str
    at: datetime | None


class ShownSelection(Shown, frozen=True):
    """Whose deeds."""

    agent: str | None
    grant: str | None
    task: str | None
    operation: str | None
    since: datetime | None
    until: datetime | None


class ShownUndoPlan(Shown, frozen=True):
    """An undo plan. `intents` are in the order in which they are undone; approve it by its digest."""

    id: str
    phase: PlanPhase
    selection: ShownSelection
    partial: bool
    reason: str
    digest: str
    counts: dict[str, int]  # intents by how far they can be undone
    progress: dict[str, int]  # intents by what came of them; `waiting`: not begun, or under way
    as_of: int
    planned_by: str
    planned_at: datetime
    expires_at: datetime
    approval: ShownUndoApproval | None
    halted: str | None
    version: int
    position: int
    updated_at: datetime
    intents: tuple[ShownUndo, ...]


def show_undo_plan(plan: PlanState) -> ShownUndoPlan:
    """Show a plan as it is."""
    planned, approved = plan.planned, plan.approved
    return ShownUndoPlan(
        id=plan.id,
        phase=plan.phase,
        selection=_selection(planned.selection),
        partial=planned.partial,
        reason=planned.reason,
        digest=planned.digest,
        counts=planned.counts,
        progress=_progress(plan),
        as_of=planned.as_of,
        planned_by=planned.by,
        planned_at=plan.planned_at,
        expires_at=planned.expires_at,
        approval=ShownUndoApproval(by=approved.by, grant=approved.grant, at=plan.approved_at) if approved else None,
        halted=plan.halted.reason if plan.halted else None,
        version=plan.version,
        position=plan.position,
        updated_at=plan.updated_at,
        intents=tuple([_shown(item, plan) for item in plan.items]),
    )


def _selection(wanted: Selection) -> ShownSelection:
    return ShownSelection(**{name: getattr(wanted, name) for name in ShownSelection.__struct_fields__})


def _progress(plan: PlanState) -> dict[str, int]:
    return {"waiting": len(plan.to_undo) - len(plan.outcomes)} | count_endings(plan.outcomes.values())


def _shown(item: PlannedUndo, plan: PlanState) -> ShownUndo:
    outcome = plan.outcomes.get(item.intent)
    return ShownUndo(
        intent=item.intent,
        decided_at=item.decided_at,
        agent=item.agent,
        undo=item.extent,
        why=item.why,
        reason=item.reason,
        actions=tuple(
            [
                ShownUndoneAction(**{name: getattr(action, name) for name in ShownUndoneAction.__struct_fields__})
                for action in item.actions
            ]
        ),
        outcome=outcome.outcome if outcome else None,
        outcome_reason=outcome.reason if outcome else None,
    )

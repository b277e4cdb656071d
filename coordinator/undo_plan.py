"""What can be undone of an intent, which intents of a plan are next, and what has come of one. Pure.

Rules of this file:

1. What is planned rests on what the ledger says: promises of operations, effects, previews of the votes. What can be
   undone exactly, only by a follow-up, or not at all is said before anybody approves it.
2. The intent decided last is undone first. An exact undo restores what was before it, so at one outside system exact
   undos go one after another; a follow-up restores nothing and waits for nobody. An intent that waits for a person
   holds up no other: it may wait for days, and undo windows close meanwhile.
3. An intent is undone by one `CompensateDecided` that names the plan, at the version that was looked at. Its stream
   knows for ever whether that has happened, so whoever takes the plan over asks the same question of the same streams.
4. What is no longer as it was planned is left alone, and the plan says so.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from authority.grants import Principal
from coordinator.people import permitted, why_lasting
from ledger import bounds
from ledger import events as e
from ledger.canonical import canonical
from ledger.errors import Forbidden
from ledger.intents import JSON, Undo
from ledger.phases import Phase
from ledger.state import ActionState, IntentState
from ledger.undo_plans import Ending, Extent, PlannedAction, PlannedUndo, UndoOutcome, WhyNot
from ledger.undo_state import PlanState

Configured = Callable[[str], bool]  # whether an operation is offered, or will be once its adapter is mended


def planned(
    state: IntentState, principal: Principal, configured: Configured, now: datetime, *, partial: bool
) -> PlannedUndo:
    """Tell what can be undone of an intent, exactly or by a follow-up, and why not."""
    why, reason = _resting(state)
    if why is None:
        try:
            permitted(state, principal)
        except Forbidden as error:
            why, reason = WhyNot.OUT_OF_REACH, error.message
    actions = tuple([_action(action, configured, now) for action in state.actions]) if why is None else ()
    extent = Extent.NONE if why is not None else extent_of(actions, partial=partial)
    if why is None and extent is Extent.NONE:
        lasting = [action for action in actions if action.why is not None]
        why, reason = lasting[0].why, _sentence(lasting, among=len(actions))
    undone = [action for action in actions if action.why is None] if extent is not Extent.NONE else []
    return PlannedUndo(
        intent=state.id,
        decided_at=state.commit_decided_at,
        decision_position=state.decision_position,
        agent=state.submitted.agent.name,
        extent=extent,
        why=why,
        reason=reason,
        actions=actions,
        adapters=_adapters(undone),
        in_turn=_adapters([action for action in undone if action.undo is Undo.EXACT]),
    )


def extent_of(actions: Sequence[PlannedAction], *, partial: bool) -> Extent:
    """Return how far effects can be undone together."""
    undoable = [action for action in actions if action.why is None]
    if len(undoable) < len(actions):
        return Extent.PARTIAL if partial and undoable else Extent.NONE
    return Extent.EXACT if all(action.undo is Undo.EXACT for action in undoable) else Extent.SEMANTIC


def ahead(pending: Iterable[PlannedUndo]) -> list[PlannedUndo]:
    """Return the intents that are, or may now be, under way, of those that have not come to rest, in their order.

    At each adapter there are at most UNDO_AT_ONCE, so that one that hangs delays only what needs it.
    """
    chosen: list[PlannedUndo] = []
    taken: set[str] = set()  # adapters at which it is the turn of an earlier one
    places = Counter[str]()
    for item in pending:
        if taken.isdisjoint(item.in_turn) and all(places[one] < bounds.UNDO_AT_ONCE for one in item.adapters):
            chosen.append(item)
            places.update(item.adapters)
        taken.update(item.in_turn)
    return chosen


def begin_or_end(
    plan: PlanState, item: PlannedUndo, state: IntentState, configured: Configured, now: datetime
) -> e.CompensateDecided | UndoOutcome | None:
    """Decide to undo an intent as planned, or tell what has come of it; None while it is on its way."""
    ours = state.compensate is not None and state.compensate.plan == plan.id
    match state.phase:
        case Phase.COMMITTED:
            return _begin(plan, item, state, configured, now)
        case Phase.COMPENSATING if ours and state.attention is not None:
            return UndoOutcome(item.intent, Ending.ATTENTION, state.attention.reason)
        case Phase.COMPENSATING if ours:
            return None
        case Phase.COMPENSATED if ours:
            return UndoOutcome(item.intent, Ending.UNDONE)
        case Phase.MIXED if ours:
            return UndoOutcome(item.intent, Ending.MIXED, state.mixed_reason)
        case _:
            return UndoOutcome(item.intent, Ending.MOVED, _moved(state))


def _begin(
    plan: PlanState, item: PlannedUndo, state: IntentState, configured: Configured, now: datetime
) -> e.CompensateDecided | UndoOutcome:
    actions = [_action(action, configured, now) for action in state.actions]
    lasting = [action for action in actions if action.why is not None]
    as_planned = [(action.action, action.why) for action in item.actions]
    if [(action.action, action.why) for action in actions] != as_planned:
        reason = f"No longer as it was planned. {_sentence(lasting, among=len(actions))}"
        return UndoOutcome(item.intent, Ending.NOT_UNDONE, reason[: bounds.REASON_LENGTH])
    by = plan.approved.by if plan.approved is not None else plan.planned.by
    return e.CompensateDecided(cause="undo", reason=plan.planned.reason, by=by, plan=plan.id)


def _resting(state: IntentState) -> tuple[WhyNot | None, str | None]:
    """Tell why an intent is in no phase to be undone."""
    match state.phase:
        case Phase.COMMITTED:
            return None, None
        case Phase.COMPENSATED:
            return WhyNot.ALREADY_UNDONE, _moved(state)
        case Phase.MIXED:
            return WhyNot.ENDED_MIXED, f"It ended mixed. {state.mixed_reason or ''}".strip()
        case _:
            waits = " and waits for a person" if state.attention is not None else ""
            return WhyNot.NOT_AT_REST, f"It is {state.phase}{waits}; plan again when it has come to rest."


def _moved(state: IntentState) -> str:
    undo = state.compensate
    if undo is None or undo.by is None:
        return f"It is {state.phase}."
    return f"It is {state.phase}: {undo.by} decided to undo it{f', in plan {undo.plan}' if undo.plan else ''}."


def _action(action: ActionState, configured: Configured, now: datetime) -> PlannedAction:
    plan = action.plan
    why = why_lasting(action, now) or (None if configured(plan.operation) else WhyNot.ADAPTER_GONE)
    preview = action.preview or {}
    stands: JSON | None = preview.get("after")
    restores: JSON | None = preview.get("before") if plan.undo is Undo.EXACT and why is None else None
    cut = len(canonical([stands, restores])) > bounds.UNDO_PREVIEW_BYTES
    return PlannedAction(
        action=plan.id,
        operation=plan.operation,
        summary=plan.summary,
        undo=Undo.NONE if why is not None else plan.undo,
        why=why,
        stands=None if cut else stands,
        restores=None if cut else restores,
        cut=cut,
    )


_WORDS = {
    WhyNot.UNDO_NONE: "cannot be undone",
    WhyNot.WINDOW_PASSED: "could be undone until its window closed",
    WhyNot.ADAPTER_GONE: "is offered by no configured adapter any more",
}


def _adapters(actions: Sequence[PlannedAction]) -> tuple[str, ...]:
    return tuple(sorted({action.operation.partition(".")[0] for action in actions}))


def _sentence(lasting: Sequence[PlannedAction], among: int) -> str:
    """Say which effects stay, and why."""
    words = ", ".join(f"the operation {one.operation} {_WORDS[one.why]}" for one in lasting if one.why is not None)
    if not words:
        return "All of it could be undone now."
    others = "" if len(lasting) == among else ' The others are undone only with "partial": true.'
    return f"{words[:1].upper()}{words[1:]}.{others}"

"""What is held, promised and in doubt in the outside systems right now: one row for each action of a moving intent.

    held       a hold is reserved there and nothing is decided (people may be looking at it), or it is being released
    promised   it is decided and not yet done: a commit to come, or an effect to undo
    in doubt   a call was made and its outcome is not known

An action that none of this is true of (planned, done, refused …) has a row without an exposure while its intent moves,
because the next event may expose it. Rows of an intent that has ended are not stored. Only an undo wakes such an
intent again; its rows are then folded anew from its stream, which is rare and costs one read.

The tables of `ledger/state.py` move phases and steps here too; this file only says what a step means for exposure.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

import sql
from ledger.bounds import PAGE_LIMIT_MAX
from ledger.errors import IllegalTransition
from ledger.events import (
    IntentSubmitted,
    OutcomeContradicted,
    OutcomeDeferred,
    OutcomeUnknown,
    OutcomeVerified,
    Recorded,
)
from ledger.ids import intent_of
from ledger.intents import JSON, Guarantee, Undo
from ledger.phases import TERMINAL, Phase, Step
from ledger.transitions import STEPS, SWEEPS, symbol
from projections.projection import EVERY_EVENT_OF_AN_INTENT, Projection, Row, next_phase

if TYPE_CHECKING:
    from ledger.database import Connection

_GROUPS: Final = sql.query("views.exposure_groups")
_ACTIONS: Final = sql.query("views.exposure_actions")


class Exposure(StrEnum):
    """How an action is exposed at the outside system."""

    HELD = "held"
    PROMISED = "promised"
    IN_DOUBT = "in_doubt"


class ExposureRow(Row, frozen=True):
    """One action of an intent that has not ended."""

    intent: str
    action: str
    agent: str
    adapter: str
    operation: str
    guarantee: Guarantee
    undo: Undo
    phase: Phase
    step: Step
    exposure: Exposure | None
    since: datetime  # when this exposure began


_IN_DOUBT: Final = frozenset(
    {
        Step.PREPARE_IN_DOUBT,
        Step.COMMIT_ATTEMPTED,
        Step.COMMIT_IN_DOUBT,
        Step.UNDO_ATTEMPTED,
        Step.UNDO_IN_DOUBT,
        Step.ABORT_STUCK,  # what is held there is not known
    }
)
_HELD: Final = frozenset({Step.PREPARED, Step.RELEASE_ATTEMPTED})
_SWEEPING: Final = frozenset(name for _, name in SWEEPS)


def exposure_of(phase: Phase, step: Step, guarantee: Guarantee, undo: Undo) -> Exposure | None:
    """Say how an action is exposed; None where nothing of it is open outside."""
    if phase in TERMINAL:
        return None
    if step in _IN_DOUBT:
        return Exposure.IN_DOUBT
    match phase:
        case Phase.COMMITTING if step is Step.PREPARED:
            return Exposure.PROMISED
        case Phase.COMPENSATING if step is Step.UNDO_STUCK or (step is Step.DONE and undo is not Undo.NONE):
            return Exposure.PROMISED
        case _:
            return Exposure.HELD if step in _HELD and guarantee is Guarantee.ATOMIC else None


def apply(rows: tuple[ExposureRow, ...], recorded: Recorded) -> tuple[ExposureRow, ...]:
    """Fold one event into the rows of its intent's actions. Raises `IllegalTransition`.

    An event moves the intent, and then every row, or it moves one action, and then its row alone.
    """
    if not rows:
        return _begin(recorded)
    name = symbol(recorded.event)
    phase = next_phase(rows[0].phase, name, recorded)
    if name in _SWEEPING:
        return tuple([_moved(row, phase, _following(SWEEPS, row, name, recorded), recorded.at) for row in rows])
    if phase is not rows[0].phase:
        return tuple([_moved(row, phase, row.step, recorded.at) for row in rows])
    action = None if name == "AttentionRaised" else getattr(recorded.event, "action", None)
    if action is None:
        return rows
    place = _place(rows, action, recorded)
    moved = _moved(rows[place], phase, _following(STEPS, rows[place], name, recorded), recorded.at)
    return (*rows[:place], moved, *rows[place + 1 :])


def _moved(row: ExposureRow, phase: Phase, step: Step, at: datetime) -> ExposureRow:
    exposure = exposure_of(phase, step, row.guarantee, row.undo)
    since = row.since if exposure is row.exposure else at
    return msgspec.structs.replace(row, phase=phase, step=step, exposure=exposure, since=since)


def _following(table: Mapping[tuple[Step, str], Step], row: ExposureRow, name: str, recorded: Recorded) -> Step:
    step = table.get((row.step, name))
    if step is None:
        raise IllegalTransition(f"{name} in stream {recorded.stream} while action {row.action!r} is {row.step}.")
    return step


def _place(rows: tuple[ExposureRow, ...], action: str, recorded: Recorded) -> int:
    for place, row in enumerate(rows):
        if row.action == action:
            return place
    raise IllegalTransition(f"An event in stream {recorded.stream} names the action {action!r}, which it has not.")


def _begin(recorded: Recorded) -> tuple[ExposureRow, ...]:
    event = recorded.event
    intent = intent_of(recorded.stream)
    if not isinstance(event, IntentSubmitted) or intent is None or recorded.version != 1:
        raise IllegalTransition(f"Stream {recorded.stream} does not begin with IntentSubmitted.")
    rows = (
        ExposureRow(
            intent=intent,
            action=plan.id,
            agent=event.agent.name,
            adapter=plan.adapter,
            operation=plan.operation,
            guarantee=plan.guarantee,
            undo=plan.undo,
            phase=Phase.SUBMITTED,
            step=Step.PLANNED,
            exposure=None,
            since=recorded.at,
        )
        for plan in event.actions
    )
    return tuple(sorted(rows, key=lambda row: row.action))


_AFTERWARDS: Final = frozenset({OutcomeDeferred, OutcomeVerified, OutcomeContradicted, OutcomeUnknown})


def moving(row: ExposureRow) -> bool:
    """Tell whether the row's intent has not ended."""
    return row.phase not in TERMINAL


EXPOSURE: Final = Projection(
    name="exposure",
    row=ExposureRow,
    key=("intent", "action"),
    reads=EVERY_EVENT_OF_AN_INTENT - _AFTERWARDS,
    apply=apply,
    stored=moving,
)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def read_exposure(connection: "Connection", ledger: str) -> JSON:
    """Return what is held, promised and in doubt: counts by agent and adapter, and the oldest actions, at most 500.

    `{position, groups: [{agent, adapter, held, promised, in_doubt, oldest}], actions: [{intent, action, agent, adapter,
    operation, exposure, since}], more}`; `more` says that not every exposed action is listed. All of it is true at
    `position`.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        position = await connection.fetchval(sql.query("views.position"), ledger, EXPOSURE.name)
        groups = await connection.fetch(_GROUPS, ledger)
        actions = await connection.fetch(_ACTIONS, ledger, PAGE_LIMIT_MAX + 1)
    return {
        "position": position or 0,
        "groups": [dict(group) for group in groups],
        "actions": [dict(action) for action in actions[:PAGE_LIMIT_MAX]],
        "more": len(actions) > PAGE_LIMIT_MAX,
    }

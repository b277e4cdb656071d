"""The moves among which `coordinator/decide.py` chooses, and the few words in which its parts make them. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import msgspec

from ledger import events as e
from ledger.intents import JSON, ActionPlan, Guarantee, Verb, has_hold
from ledger.state import ActionState
from ledger.tasks import Criterion


class Invocation(msgspec.Struct, frozen=True):
    """One call to make: a verb on an action, and the event that must be durable before the call leaves, if any."""

    verb: Verb
    action: str
    announce: e.Event | None = None
    about: Verb | None = None  # for inquire: the call whose outcome is asked
    next_key: str | None = None  # for abort: the hold is only let go, and will be taken again under this key


class Evaluate(msgspec.Struct, frozen=True):
    """Preview these actions, then let authority give its verdict on what they show and on these facts."""

    preview: tuple[str, ...]
    facts: Mapping[str, JSON] = {}  # by action


class Verify(msgspec.Struct, frozen=True):
    """Ask the outside systems whether the task is done."""

    criteria: tuple[Criterion, ...]
    last: bool  # after this time nobody asks again


class Invoke(msgspec.Struct, frozen=True):
    """Make these calls, all at the same time."""

    calls: tuple[Invocation, ...]


class Record(msgspec.Struct, frozen=True):
    """Record these events; there is nothing to ask outside first."""

    events: tuple[e.Event, ...]


class Wait(msgspec.Struct, frozen=True):
    """Nothing to do before then."""

    until: datetime


class Rest(msgspec.Struct, frozen=True):
    """Nothing to do at all: the intent has ended, or only a person can move it on."""


Move = Evaluate | Invoke | Record | Verify | Wait | Rest


def repeatable(plan: ActionPlan) -> bool:
    """Tell whether a call may be sent again while its outcome is not known."""
    return plan.guarantee in {Guarantee.ATOMIC, Guarantee.IDEMPOTENT}


def is_due(action: ActionState, now: datetime) -> bool:
    """Tell whether nothing more needs to be waited for before a call about this action."""
    return action.retry_at is None or action.retry_at <= now


def wait_for(actions: Iterable[ActionState], latest: datetime | None = None) -> Wait:
    """Wait until the first of these actions is due again, but not beyond `latest`."""
    times = [a.retry_at for a in actions if a.retry_at is not None]
    return Wait(min([*times, latest] if latest is not None else times))


def invoke_due(actions: list[ActionState], now: datetime, verb: Verb, latest: datetime | None = None) -> Move:
    """Make the call for those actions that are due, or wait until one is."""
    calls = tuple(_invocations(actions, now, verb))
    return Invoke(calls) if calls else wait_for(actions, latest)


def _invocations(actions: list[ActionState], now: datetime, verb: Verb) -> Iterator[Invocation]:
    for action in actions:
        if not is_due(action, now):
            continue
        announce: e.Event | None = None
        if verb is Verb.COMMIT and not has_hold(action.plan):
            announce = e.CommitAttempted(action=action.plan.id)
        elif verb is Verb.COMPENSATE and not repeatable(action.plan):
            announce = e.UndoAttempted(action=action.plan.id)
        yield Invocation(verb, action.plan.id, announce)

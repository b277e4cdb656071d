"""The path of an intent: its milestones in words, without times, values and repetitions.

Two intents of a task that went the same way have the same path, on whatever day and for whichever customer; where they
went different ways, the first word that differs says where. What is left out, because it comes from the weather and not
from a choice: attempts, doubts that were settled, waiting. Votes, and releases, come in any order, so they stand in the
order of the actions; effects stand in the order in which they became known.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, TypeVar

from ledger import events as e
from ledger.bounds import PATH_STEPS
from ledger.intents import Mode

MORE: Final = "…"
_IN_ANY_ORDER: Final = frozenset({"prepare", "release", "abort"})

T = TypeVar("T")


def began(submitted: e.IntentSubmitted) -> str:
    """Return the first milestone: what was asked for."""
    operations = ", ".join(plan.operation for plan in submitted.actions)
    return f"submit {operations}" if submitted.mode is Mode.EXECUTE else f"submit {operations} (dry run)"


def milestone(event: e.Event, operation: str | None) -> str | None:
    """Return what an event adds to the path; None for nothing. `operation` is that of the action it names."""
    words = _WORDS.get(type(event))
    return None if words is None else words(event, operation)


def extended(path: tuple[str, ...], step: str, operations: Sequence[str]) -> tuple[str, ...]:
    """Return the path with one more milestone; `operations` are those of the intent's actions, in their order."""
    if len(path) >= PATH_STEPS:
        return path if path[-1] == MORE else (*path, MORE)
    verb = _verb(step)
    if verb not in _IN_ANY_ORDER:
        return (*path, step)
    begin = len(path)
    while begin and _verb(path[begin - 1]) == verb:
        begin -= 1
    return (*path[:begin], *sorted((*path[begin:], step), key=lambda one: _place(one, operations)))


def arranged(steps: Iterable[tuple[str, T]], operations: Sequence[str]) -> list[tuple[str, T]]:
    """Put milestones, each with what belongs to it, into the order of the path; at most PATH_STEPS."""
    found: list[tuple[str, T]] = []
    for verb, group in groupby(steps, key=lambda step: _verb(step[0])):
        together = list(group)
        if verb in _IN_ANY_ORDER:
            together.sort(key=lambda step: _place(step[0], operations))
        found += together
    return found[:PATH_STEPS]


def _verb(step: str) -> str:
    return step.partition(" ")[0]


def _place(step: str, operations: Sequence[str]) -> int:
    return operations.index(step.split(" ", 2)[1])


def _policy(event: Any, _: str | None) -> str:
    return " ".join(["policy", event.effect, *event.policies])


def _said(words: str) -> Callable[[Any, str | None], str]:
    return lambda _event, _operation: words


def _of(words: str) -> Callable[[Any, str | None], str]:
    return lambda _event, operation: words.format(operation)


_WORDS: Final[Mapping[type[e.Event], Callable[[Any, str | None], str]]] = {
    e.PolicyEvaluated: _policy,
    e.ActionPrepared: _of("prepare {} prepared"),
    e.ActionRefused: _of("prepare {} refused"),
    e.ApprovalRequested: _said("approval requested"),
    e.ApprovalGiven: _said("approval given"),
    e.HoldReleased: _of("release {} released"),
    e.CommitDecided: _said("decide commit"),
    e.AbortDecided: lambda event, _: f"decide abort {event.cause}",
    e.CompensateDecided: lambda event, _: f"decide compensate {event.cause}",
    e.ActionDone: _of("commit {} done"),
    e.ActionFailed: _of("commit {} failed"),
    e.ActionAborted: _of("abort {} aborted"),
    e.AbortFailed: _of("abort {} failed"),
    e.ActionUndone: _of("undo {} undone"),
    e.UndoFailed: _of("undo {} failed"),
    e.AttentionRaised: lambda _, operation: f"attention raised {operation}" if operation else "attention raised",
    e.AttentionResolved: lambda event, _: f"attention resolved {event.outcome}",
    e.IntentCommitted: _said("end committed"),
    e.IntentAborted: _said("end aborted"),
    e.IntentCompensated: _said("end compensated"),
    e.IntentMixed: _said("end mixed"),
    e.IntentSimulated: _said("end simulated"),
    e.OutcomeVerified: _said("outcome verified"),
    e.OutcomeContradicted: _said("outcome contradicted"),
    e.OutcomeUnknown: _said("outcome unknown"),
}

MILESTONES: Final[frozenset[type[e.Event]]] = frozenset({e.IntentSubmitted, *_WORDS})

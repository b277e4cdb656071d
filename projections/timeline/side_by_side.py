"""Two runs side by side: where their paths part, what they were asked, and what each step of theirs took.

Pure. A run comes as the streams of its intents, oldest first. Steps are those of `projections/timeline/path.py`, each
with its moment and its words; they are aligned so that as many as possible stand beside their like.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, Final

import msgspec

from ledger import events as e
from ledger.bounds import COMPARED_VALUES
from ledger.ids import intent_of
from projections.timeline.path import arranged, began, milestone


class Milestone(msgspec.Struct, frozen=True):
    """One milestone of a run: after how many seconds of the run, and how long after the one before."""

    words: str
    intent: str
    position: int
    at: datetime
    after_seconds: float
    took_seconds: float
    detail: str | None


class Pair(msgspec.Struct, frozen=True):
    """Two steps beside each other; one of them may be missing."""

    same: bool
    left: Milestone | None
    right: Milestone | None


class Parting(msgspec.Struct, frozen=True):
    """Where two paths part: the place among the pairs, what each run did there, and both in a sentence."""

    place: int
    left: str | None
    right: str | None
    sentence: str


class ValueDifference(msgspec.Struct, frozen=True):
    """A value that differs in what was asked for: a JSON pointer into `IntentSubmitted` of the run's n-th intent."""

    path: str
    left: Any
    right: Any


class Comparison(msgspec.Struct, frozen=True):
    """Two runs. `parts_at` is None where they went the same way; `differences` are in what was asked for."""

    same_path: bool
    parts_at: Parting | None
    steps: tuple[Pair, ...]
    differences: tuple[ValueDifference, ...]
    more_differences: bool


Run = Sequence[Sequence[e.Recorded]]


def compare(left: Run, right: Run) -> Comparison:
    """Put two runs side by side. Raises `IllegalTransition` for a stream that is none of an intent."""
    pairs = tuple(_aligned(steps_of(left), steps_of(right)))
    parting = next((place for place, pair in enumerate(pairs) if not pair.same), None)
    differences = list(_differences(_asked(left), _asked(right), ""))
    return Comparison(
        same_path=parting is None,
        parts_at=None if parting is None else _parting(parting, pairs),
        steps=pairs,
        differences=tuple(differences[:COMPARED_VALUES]),
        more_differences=len(differences) > COMPARED_VALUES,
    )


def steps_of(run: Run) -> list[Milestone]:
    """Return the milestones of a run, as its path has them."""
    found: list[tuple[str, e.Recorded]] = []
    for stream in run:
        found += _milestones(stream)
    if not found:
        return []
    steps, begun = [], found[0][1].at
    before = begun
    for words, one in found:
        steps.append(
            Milestone(
                words=words,
                intent=intent_of(one.stream) or "",
                position=one.position,
                at=one.at,
                after_seconds=(one.at - begun).total_seconds(),
                took_seconds=max(0.0, (one.at - before).total_seconds()),
                detail=_detail(one.event),
            )
        )
        before = max(before, one.at)
    return steps


def _milestones(stream: Sequence[e.Recorded]) -> list[tuple[str, e.Recorded]]:
    """Return the milestones of one intent in the order of its path, each with the event that it is."""
    first = stream[0].event
    if not isinstance(first, e.IntentSubmitted):
        return []
    by_action = {plan.id: plan.operation for plan in first.actions}
    steps = [(began(first), stream[0])]
    for one in stream[1:]:
        words = milestone(one.event, by_action.get(getattr(one.event, "action", None) or ""))
        if words is not None:
            steps.append((words, one))
    return arranged(steps, [plan.operation for plan in first.actions])


def _detail(event: e.Event) -> str | None:
    match event:
        case e.PolicyEvaluated(reasons=reasons):
            return "; ".join(reasons) or None
        case e.ApprovalGiven(by=by):
            return by
        case _:
            return getattr(event, "reason", None)


def _aligned(left: Sequence[Milestone], right: Sequence[Milestone]) -> Iterator[Pair]:
    matcher = SequenceMatcher(None, [one.words for one in left], [one.words for one in right], autojunk=False)
    for tag, i, to_i, j, to_j in matcher.get_opcodes():
        for one, other in zip_longest(left[i:to_i], right[j:to_j]):
            yield Pair(tag == "equal", one, other)


def _parting(place: int, pairs: Sequence[Pair]) -> Parting:
    pair = pairs[place]
    left, right = pair.left, pair.right
    before = next((one.left.words for one in reversed(pairs[:place]) if one.left is not None), None)
    since = "From the first step on" if before is None else f"After {before!r}"
    sentence = f"{since}, {_said('the left run', left)} and {_said('the right run', right)}."
    return Parting(place, left.words if left else None, right.words if right else None, sentence)


def _said(run: str, step: Milestone | None) -> str:
    if step is None:
        return f"{run} has no such step"
    return f"{run} went on with {step.words!r}" + (f" ({step.detail.rstrip('.')})" if step.detail else "")


_ASKED: Final = ("task", "agent", "grant", "commissioned_by", "confidence", "mode", "context", "follows", "again")


def _asked(run: Run) -> list[Any]:
    """Return what was asked for, as it can be compared: who asked, under which task, and the parameters by action."""
    asked = []
    for stream in run:
        event: Any = stream[0].event
        what = {name: msgspec.to_builtins(getattr(event, name)) for name in _ASKED}
        what["actions"] = {plan.id: {"operation": plan.operation, "params": plan.params} for plan in event.actions}
        asked.append(what)
    return asked


_MISSING: Final = object()


def _differences(left: Any, right: Any, path: str) -> Iterator[ValueDifference]:
    if isinstance(left, dict) and isinstance(right, dict):
        for name in sorted({*left, *right}):
            pointer = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
            yield from _differences(left.get(name, _MISSING), right.get(name, _MISSING), pointer)
    elif isinstance(left, list) and isinstance(right, list):
        for place, (one, other) in enumerate(zip_longest(left, right, fillvalue=_MISSING)):
            yield from _differences(one, other, f"{path}/{place}")
    elif left != right or type(left) is not type(right):
        yield ValueDifference(path, None if left is _MISSING else left, None if right is _MISSING else right)

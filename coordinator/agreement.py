"""What the outside must show if the ledger is right, and what an answer says about it. Pure.

Of an intent at rest, reconciliation asks what can be asked without any effect:

    standing     `inquire` by the key of each call that settled an action: its effect is there (done, undone), or is not
                 and nothing is held (aborted, failed)
    result       what that answer repeats of the action's parameters (an amount, a name) is as it was recorded
    shown        the fields that the action changed, which its preview had shown before and after, are as it left them
    criterion-n  what its task calls success, once verified, still holds

Rules of this file:

1. Doubt is no divergence. What cannot be asked or told (a blind call, a key that the outside system may have forgotten,
   an adapter that is away) leaves things as they were known.
2. Only the last word counts. What another action of the ledger may have changed since, or at the same time
   (`coordinator/touches.py`), is not compared: `shown` and `criterion-n` are about the state of a thing, which is
   nobody's for ever. `standing` and `result` are about one call, which stays what it was.
3. Values that are sealed or erased are not compared: what is found would have to be written down beside them.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from adapters.contract import Absent, Applied, Held, Operation, Preview
from coordinator.moves import Invocation
from coordinator.outcome import Answer, NotSent
from ledger import bounds
from ledger import events as e
from ledger.canonical import canonical
from ledger.errors import AdapterError, Erased, Permanent
from ledger.intents import JSON, Guarantee, Verb
from ledger.phases import Phase, Step
from ledger.sealing import MARK
from ledger.state import ActionState, IntentState
from ledger.tasks import Criterion

STANDING: Final = "standing"
RESULT: Final = "result"
SHOWN: Final = "shown"
_SEALED: Final = MARK.encode()  # begins what stands in the place of a personal value

_THERE: Final = frozenset({Step.DONE, Step.UNDO_FAILED})
_NOT_THERE: Final = frozenset({Step.ABORTED, Step.FAILED})
AT_REST: Final = frozenset({Phase.COMMITTED, Phase.COMPENSATED, Phase.MIXED, Phase.ABORTED})


class Inquiry(msgspec.Struct, frozen=True):
    """Ask an adapter what became of a call that the ledger has settled."""

    action: str
    about: Verb
    applied: bool  # what the ledger says
    repeated: JSON  # of the parameters, by the result


class Look(msgspec.Struct, frozen=True):
    """Preview an action's operation once more, to see what it changed."""

    action: str
    expected: JSON
    thing: tuple[bytes, ...]  # the values that name what is looked at


class Recheck(msgspec.Struct, frozen=True):
    """Look again at what the task of an intent calls success."""

    number: int
    criterion: Criterion
    thing: tuple[bytes, ...]


Question = Inquiry | Look | Recheck


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer says about one aspect of one action, or of the intent."""

    action: str | None
    aspect: str
    operation: str
    verdict: Literal["agrees", "diverges", "untold"]
    expected: JSON
    found: JSON | None
    reason: str


def questions(state: IntentState, operations: Mapping[str, Operation], now: datetime) -> tuple[Question, ...]:
    """Return what can be asked about an intent now; nothing while it moves."""
    if state.phase not in AT_REST:
        return ()
    asked: list[Question] = []
    for action in state.actions:
        operation = operations.get(action.plan.operation)
        if operation is not None and not operation.reads:
            asked += _inquiries(action, now)
            asked += _looks(action, operation)
    if isinstance(state.outcome, e.OutcomeVerified) and state.phase is Phase.COMMITTED and state.submitted.contract:
        for number, criterion in enumerate(state.submitted.contract.success, 1):
            if criterion.verify in operations:
                asked.append(Recheck(number, criterion, tuple(sorted(set(scalars(criterion.params))))))
    return tuple(asked)


def names(question: Question) -> Sequence[tuple[str | None, str]]:
    """Return the names of the divergences that a question can find: action and aspect."""
    match question:
        case Inquiry(action=action, repeated=repeated):
            return [(action, STANDING), (action, RESULT)] if repeated else [(action, STANDING)]
        case Look(action=action):
            return [(action, SHOWN)]
        case Recheck(number=number):
            return [(None, f"criterion-{number}")]


def is_over(state: IntentState, name: tuple[str | None, str]) -> bool:
    """Tell whether the ledger has moved on from what a divergence of this name was about: it was undone since."""
    action, aspect = name
    if state.phase not in AT_REST or aspect == STANDING:
        return False
    return state.phase is not Phase.COMMITTED if action is None else state.action(action).step is not Step.DONE


def scalars(value: Any) -> Iterator[bytes]:
    """Yield the canonical bytes of every text, number and truth inside a JSON value."""
    if isinstance(value, dict):
        for one in value.values():
            yield from scalars(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from scalars(one)
    elif value is not None:
        yield canonical(value)


def invocation(question: Inquiry | Look) -> Invocation:
    """Return the call that asks a question."""
    if isinstance(question, Inquiry):
        return Invocation(Verb.INQUIRE, question.action, about=question.about)
    return Invocation(Verb.PREVIEW, question.action)


def observations(state: IntentState, question: Question, answer: Answer | Preview) -> Sequence[Observation]:
    """Say what an answer tells, one observation for each name of its question that it tells anything about."""
    match question:
        case Inquiry():
            return list(_inquired(state.action(question.action), question, answer))
        case Look(action=action, expected=expected):
            operation = state.action(action).plan.operation
            shown = answer.before if isinstance(answer, Preview) else None
            return [_looked(answer, shown, action=action, aspect=SHOWN, operation=operation, expected=expected)]
        case Recheck(number=number, criterion=criterion):
            about = {"action": None, "aspect": f"criterion-{number}", "operation": criterion.verify}
            shown = answer.facts if isinstance(answer, Preview) else None
            return [_looked(answer, shown, expected=criterion.expect, **about)]


# ── what is asked ────────────────────────────────────────────────────────────────────────────────────────────────


def _inquiries(action: ActionState, now: datetime) -> Iterator[Inquiry]:
    plan = action.plan
    if plan.guarantee is Guarantee.BLIND or action.touched_at is None or _too_soon_or_too_late(action, now):
        return
    if action.step in _THERE:
        params, result = plan.params, action.result or {}
        repeated = {
            name: value
            for name, value in result.items()
            if name in params and not _is_sealed(value) and canonical(value) == canonical(params[name])
        }
        yield Inquiry(plan.id, Verb.COMMIT, applied=True, repeated=repeated if action.step is Step.DONE else {})
    elif action.step is Step.UNDONE:
        yield Inquiry(plan.id, Verb.COMPENSATE, applied=True, repeated={})
    elif action.step in _NOT_THERE:
        yield Inquiry(plan.id, Verb.COMMIT, applied=False, repeated={})


def _too_soon_or_too_late(action: ActionState, now: datetime) -> bool:
    """Tell whether the last call may still land, or its key may be forgotten: an answer would mean nothing."""
    touched, plan = action.touched_at or now, action.plan
    if now < touched + timedelta(seconds=plan.settle_seconds):
        return True
    lifetime = plan.key_lifetime_seconds
    return lifetime is not None and now >= touched + timedelta(seconds=lifetime)


def _looks(action: ActionState, operation: Operation) -> Iterator[Look]:
    """Ask for what the preview had shown before and after, where that differs and the operation says whose state it is.

    What an action has deleted shows nothing afterwards, and is only inquired about.
    """
    preview = action.preview or {}
    before, after = preview.get("before") or {}, preview.get("after")
    if action.step is not Step.DONE or not operation.shown_by or not after:
        return
    changed = {
        name: value
        for name, value in after.items()
        if not _is_sealed(value) and (name not in before or canonical(before[name]) != canonical(value))
    }
    thing = {name: action.plan.params.get(name) for name in operation.shown_by}
    if changed and not any(_is_sealed(value) for value in thing.values()):
        yield Look(action.plan.id, changed, tuple(sorted(set(scalars(thing)))))


def _is_sealed(value: object) -> bool:
    return _SEALED in canonical(value)


# ── what an answer says ──────────────────────────────────────────────────────────────────────────────────────────


def _inquired(action: ActionState, asked: Inquiry, answer: Answer | Preview) -> Iterator[Observation]:
    plan = action.plan
    about = {"action": plan.id, "operation": plan.operation}
    expected = {"effect": _effect(asked.about, there=asked.applied)}
    match answer:
        case Applied():
            found, agrees = {"effect": _effect(asked.about, there=True)}, asked.applied
        case Absent():
            found, agrees = {"effect": _effect(asked.about, there=False)}, not asked.applied
        case Held():
            found, agrees = {"effect": "held"}, False
        case _:
            yield _untold(answer, aspect=STANDING, expected=expected, **about)
            return
    yield Observation(
        aspect=STANDING,
        verdict="agrees" if agrees else "diverges",
        expected=expected,
        found=found,
        reason=f"The ledger says {expected['effect']}, {plan.adapter} says {found['effect']}.",
        **about,
    )
    if isinstance(answer, Applied) and asked.repeated:
        yield from _repeated(asked.repeated, answer.result.data, about)


def _repeated(recorded: JSON, answered: JSON, about: dict[str, str]) -> Iterator[Observation]:
    """Compare what the result repeated of the parameters; what the answer no longer mentions says nothing."""
    expected = {name: value for name, value in recorded.items() if name in answered}
    found = {name: answered[name] for name in expected}
    if expected:
        yield Observation(
            action=about["action"],
            aspect=RESULT,
            operation=about["operation"],
            verdict="agrees" if canonical(found) == canonical(expected) else "diverges",
            expected=expected,
            found=found,
            reason=_differences(expected, found),
        )


def _looked(answer: Answer | Preview, shown: JSON | None, *, expected: JSON, **about: Any) -> Observation:
    if isinstance(answer, Erased):
        return _untold(answer, expected=expected, **about)
    if isinstance(answer, Permanent):  # it could be seen once, and certainly cannot now
        return Observation(verdict="diverges", expected=expected, found=None, reason=_words(answer), **about)
    if not isinstance(answer, Preview):
        return _untold(answer, expected=expected, **about)
    found = None if shown is None else {name: shown[name] for name in expected if name in shown}
    agrees = found is not None and canonical(found) == canonical(expected)
    return Observation(
        verdict="agrees" if agrees else "diverges",
        expected=expected,
        found=found,
        reason=_differences(expected, found),
        **about,
    )


def _untold(answer: Answer | Preview, **about: Any) -> Observation:
    match answer:
        case AdapterError():
            reason = _words(answer)
        case NotSent(reason=reason):
            pass
        case _:
            reason = getattr(answer, "reason", "The adapter answered something else than was asked.")
    return Observation(verdict="untold", found=None, reason=reason[: bounds.ERROR_LENGTH], **about)


def _words(error: AdapterError) -> str:
    return error.message[: bounds.ERROR_LENGTH]


def _effect(about: Verb, *, there: bool) -> str:
    if about is Verb.COMPENSATE:
        return "undone" if there else "not undone"
    return "applied" if there else "absent"


def _differences(expected: JSON, found: JSON | None) -> str:
    """Name the fields that differ; what they hold stands beside, as data."""
    if found is None:
        return "Nothing of it is there any more."
    wrong = [name for name in expected if name not in found or canonical(found[name]) != canonical(expected[name])]
    return f"It differs in {', '.join(wrong)}."[: bounds.ERROR_LENGTH] if wrong else "It is as it was left."

"""What an adapter's answer means: one total function from (call, answer) to the event that records it.

Pure. The answer is a value of `adapters/contract.py` or one of its three errors; everything else an adapter may have
raised was turned into `InDoubt` before it came here. Nothing that is in doubt leaves here as a failure.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from adapters.contract import (
    Absent,
    Applied,
    Held,
    Prepared,
    Preview,
    Refused,
    Result,
    Standing,
    Unknown,
    Vote,
)
from coordinator.backoff import retry_at
from coordinator.moves import Invocation
from ledger import bounds
from ledger import events as e
from ledger.canonical import canonical
from ledger.errors import AdapterError, Erased, InDoubt, InvariantViolation, Permanent, Transient
from ledger.intents import JSON, Verb, has_hold
from ledger.phases import Step
from ledger.state import ActionState, IntentState
from ledger.tasks import Check, Criterion


class NotSent(msgspec.Struct, frozen=True):
    """The call did not leave: nothing was asked, so nothing happened and it is no attempt."""

    reason: str
    again_at: datetime  # when it is worth another look


Answer = Vote | Result | Standing | AdapterError | NotSent | None  # None: an abort that succeeded


def event_of(call: Invocation, action: ActionState, answer: Answer, now: datetime) -> e.Event:
    """Return the event that records `answer` to `call` on `action`."""
    if isinstance(answer, NotSent):
        return not_sent(action, call.verb, answer)
    match call.verb:
        case Verb.PREPARE:
            return _prepared(action, answer, now)
        case Verb.COMMIT:
            return _committed(action, answer, now)
        case Verb.ABORT:
            return _aborted(call, action, answer, now)
        case Verb.COMPENSATE:
            return _compensated(action, answer, now)
        case Verb.INQUIRE:
            return _inquired(call, action, answer, now)
        case Verb.PREVIEW:
            raise InvariantViolation("Previews are recorded with the verdict of authority, not one by one.")


def preview_json(preview: Preview) -> JSON:
    """Return a preview as it is recorded and shown."""
    return {"facts": preview.facts, "before": preview.before, "after": preview.after}


def deferred(action: ActionState, verb: Verb, reason: str, now: datetime) -> e.CallDeferred:
    """Record that a call certainly had no effect and when it is due again."""
    return e.CallDeferred(
        action=action.plan.id, verb=verb, reason=reason[: bounds.ERROR_LENGTH], retry_at=_again(action, now)
    )


def not_sent(action: ActionState, verb: Verb, answer: NotSent) -> e.CallDeferred:
    """Record that a call did not leave, whatever it was to do."""
    return e.CallDeferred(
        action=action.plan.id,
        verb=verb,
        reason=answer.reason[: bounds.ERROR_LENGTH],
        retry_at=answer.again_at,
        sent=False,
    )


def verified(
    state: IntentState,
    criteria: Sequence[Criterion],
    answers: Sequence[Preview | AdapterError | NotSent],
    now: datetime,
    *,
    last: bool,
) -> e.Event:
    """Return the event that records whether the outside shows what the task calls success.

    What does not show yet may still come, so until the `last` time it is asked again.
    """
    checks = tuple(_checked(criterion, answer) for criterion, answer in zip(criteria, answers, strict=True))
    if all(check.holds for check in checks):
        return e.OutcomeVerified(checks=checks)
    if not last:
        missing = ", ".join(check.verify for check in checks if not check.holds)
        waits = [answer.again_at for answer in answers if isinstance(answer, NotSent)]
        again = max([retry_at(now, state.outcome_attempts, state.id), *waits])
        return e.OutcomeDeferred(reason=f"Not shown yet: {missing}.", retry_at=again)
    unknown = [check for check in checks if check.found is None]
    if any(not check.holds and check.found is not None for check in checks):
        return e.OutcomeContradicted(checks=checks)
    return e.OutcomeUnknown(checks=checks, reason="; ".join(check.reason or "" for check in unknown))


def _checked(criterion: Criterion, answer: Preview | AdapterError | NotSent) -> Check:
    if isinstance(answer, NotSent):
        return Check(criterion.verify, criterion.expect, None, holds=False, reason=answer.reason)
    if isinstance(answer, AdapterError):
        return Check(criterion.verify, criterion.expect, None, holds=False, reason=_words(answer))
    found = {name: answer.facts[name] for name in criterion.expect if name in answer.facts}
    return Check(criterion.verify, criterion.expect, found, holds=canonical(found) == canonical(criterion.expect))


def _prepared(action: ActionState, answer: Answer, now: datetime) -> e.Event:
    plan = action.plan
    match answer:
        case Prepared(receipt, preview):
            return e.ActionPrepared(action=plan.id, receipt=receipt, preview=preview_json(preview))
        case Refused(reason):
            return e.ActionRefused(action=plan.id, reason=reason[: bounds.ERROR_LENGTH])
        case Permanent():
            return e.ActionRefused(action=plan.id, reason=_words(answer))
        case InDoubt() if has_hold(plan):
            return e.PrepareInDoubt(action=plan.id, reason=_words(answer), retry_at=_again(action, now))
        case InDoubt() | Transient():  # a one-shot's prepare only validates: there is nothing to be in doubt about
            return deferred(action, Verb.PREPARE, _words(answer), now)
        case _:
            raise InvariantViolation(f"A prepare cannot be answered by {type(answer).__name__}.")


def _committed(action: ActionState, answer: Answer, now: datetime) -> e.Event:
    plan = action.plan
    exhausted = action.attempts + 1 >= bounds.ONE_SHOT_ATTEMPTS and not has_hold(plan)
    match answer:
        case Result(data):
            return e.ActionDone(action=plan.id, result=data)
        case Erased():  # nothing was sent now, which says nothing about before; nobody can ask any more
            return e.CommitInDoubt(action=plan.id, reason=_words(answer), retry_at=now)
        case Permanent():
            return e.ActionFailed(action=plan.id, reason=_words(answer))
        case Transient() if exhausted and action.step is not Step.COMMIT_IN_DOUBT:
            return e.ActionFailed(
                action=plan.id, reason=f"Given up after {action.attempts + 1} attempts. {_words(answer)}"
            )
        case Transient():  # says nothing about an earlier attempt: what was in doubt stays in doubt
            return deferred(action, Verb.COMMIT, _words(answer), now)
        case InDoubt():
            again = _settled(action, now)
            return e.CommitInDoubt(action=plan.id, reason=_words(answer), retry_at=again, answered=not answer.silent)
        case _:
            raise InvariantViolation(f"A commit cannot be answered by {type(answer).__name__}.")


def _aborted(call: Invocation, action: ActionState, answer: Answer, now: datetime) -> e.Event:
    match answer:
        case None if call.next_key is not None:
            return e.HoldReleased(action=action.plan.id, key=call.next_key)
        case None:
            return e.ActionAborted(action=action.plan.id)
        case Permanent():
            return e.AbortFailed(action=action.plan.id, reason=_words(answer))
        case AdapterError():
            return deferred(action, Verb.ABORT, _words(answer), now)
        case _:
            raise InvariantViolation(f"An abort cannot be answered by {type(answer).__name__}.")


def _compensated(action: ActionState, answer: Answer, now: datetime) -> e.Event:
    plan = action.plan
    match answer:
        case Result(data):
            return e.ActionUndone(action=plan.id, result=data)
        case Permanent():
            return e.UndoFailed(action=plan.id, reason=_words(answer))
        case Transient():
            return deferred(action, Verb.COMPENSATE, _words(answer), now)
        case InDoubt():
            again = _settled(action, now)
            return e.UndoInDoubt(action=plan.id, reason=_words(answer), retry_at=again, answered=not answer.silent)
        case _:
            raise InvariantViolation(f"A compensation cannot be answered by {type(answer).__name__}.")


def _inquired(call: Invocation, action: ActionState, answer: Answer, now: datetime) -> e.Event:
    undo = call.about is Verb.COMPENSATE
    match answer:
        case Applied(result):
            if undo:
                return e.ActionUndone(action=action.plan.id, result=result.data)
            return e.ActionDone(action=action.plan.id, result=result.data)
        case Absent() | Held():
            return e.UndoFoundAbsent(action=action.plan.id) if undo else e.CommitFoundAbsent(action=action.plan.id)
        case Unknown(reason):
            return deferred(action, Verb.INQUIRE, reason, now)
        case AdapterError():
            return deferred(action, Verb.INQUIRE, _words(answer), now)
        case _:
            raise InvariantViolation(f"An inquiry cannot be answered by {type(answer).__name__}.")


def _words(error: AdapterError) -> str:
    return error.message[: bounds.ERROR_LENGTH]


def _again(action: ActionState, now: datetime) -> datetime:
    return retry_at(now, action.attempts, action.plan.key)


def _settled(action: ActionState, now: datetime) -> datetime:
    """Return when a call that has just ended in doubt may be asked about or repeated: not while it may still land."""
    return max(_again(action, now), now + timedelta(seconds=action.plan.settle_seconds))

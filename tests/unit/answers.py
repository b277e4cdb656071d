"""Every answer that a lawful outside system can give to a call, with what becomes true there (adapters/contract.py).

What the contract forbids to the *coordinator* is reported as a `Violation` the moment it is asked: a blind commit
sent twice, an abort after a commit, an undo of what never happened.
"""

from datetime import timedelta
from typing import Any, NamedTuple

from unit.given import T0

from adapters.contract import Absent, Applied, Prepared, Preview, Refused, Result, Unknown
from coordinator.moves import Invocation
from coordinator.outcome import NotSent
from ledger.errors import InDoubt, Permanent, Transient
from ledger.intents import ActionPlan, Guarantee, Verb, has_hold, undo_guarantee
from ledger.state import IntentState

MOMENTS = (T0 + timedelta(seconds=1), T0 + timedelta(days=30), T0 + timedelta(days=60))


class Violation(Exception):
    """The coordinator broke a law."""


class Truth(NamedTuple):
    """What the outside system really holds for one action."""

    hold: bool = False
    effects: int = 0
    undos: int = 0
    tombstone: bool = False
    late: bool = False  # a prepare that nobody waits for any more is still under way
    broken: bool = False  # it has refused to commit what it holds, and always will


class Asked(NamedTuple):
    """A call and all that its answer depends on."""

    call: Invocation
    plan: ActionPlan
    truth: Truth
    state: IntentState
    moment: int

    @property
    def forgotten(self) -> bool:
        """Tell whether the key is forgotten: at the first moment after the one in which it was first used."""
        if self.plan.key_lifetime_seconds is None or self.state.decided_at is None:
            return False
        return MOMENTS[self.moment] - self.state.decided_at >= timedelta(seconds=self.plan.key_lifetime_seconds)


def answers(asked: Asked, *, late: bool, breaks_promises: bool) -> list[tuple[Truth, Any]]:
    """Return every (truth, answer); `late` and `breaks_promises` let systems be slower and worse than they should.

    Any call may also not leave at all; to a hold, whose attempts the walk does not count, that is a transient error.
    """
    ways = _answers(asked, late=late, breaks_promises=breaks_promises)
    return ways if has_hold(asked.plan) else [*ways, (asked.truth, NotSent("held back", T0))]


def _answers(asked: Asked, *, late: bool, breaks_promises: bool) -> list[tuple[Truth, Any]]:
    match asked.call.verb:
        case Verb.PREPARE:
            return _prepare(asked.plan, asked.truth, late=late)
        case Verb.COMMIT:
            return _commit(asked, breaks_promises=breaks_promises)
        case Verb.ABORT:
            return _abort(asked.truth)
        case Verb.COMPENSATE:
            return _compensate(asked)
        case Verb.INQUIRE:
            return _inquire(asked)
        case Verb.PREVIEW:
            raise Violation("a preview is not called one by one")


def _prepare(plan, truth, *, late):
    seen = [Preview(facts={"v": v}) for v in (1, 2)] if plan.facts else [Preview()]  # 2: not what policy saw first
    if not has_hold(plan):
        votes = [(truth, Prepared(preview=preview)) for preview in seen]
        return [*votes, (truth, Refused("no")), (truth, Transient("later")), (truth, InDoubt("?"))]
    if truth.tombstone:
        return [(truth, Refused("aborted")), (truth, Transient("later")), (truth, InDoubt("?"))]
    held = truth._replace(hold=True)
    ways = [
        *((held, Prepared({"hold": plan.id}, preview)) for preview in seen),
        (truth, Transient("later")),
        (truth, InDoubt("?")),
        (held, InDoubt("?")),
    ]
    if truth.hold:
        return ways
    ways += [(truth, Refused("no")), (truth, Permanent("never"))]
    if late:
        ways.append((truth._replace(late=True), InDoubt("?")))
    return ways


def _commit(asked, *, breaks_promises):
    plan, truth = asked.plan, asked.truth
    if truth.tombstone:
        raise Violation(f"{plan.id} is committed after it was aborted")
    repeatable = plan.guarantee is Guarantee.ATOMIC or (plan.guarantee is Guarantee.IDEMPOTENT and not asked.forgotten)
    if truth.effects and not repeatable:
        raise Violation(f"I4: {plan.id} ({plan.guarantee}) is sent again although it happened")
    happened = truth._replace(hold=False, effects=1)
    ways = [(happened, Result({"ok": 1})), (happened, InDoubt("?")), (truth, Transient("later"))]
    if truth.effects:
        return ways
    ways.append((truth, InDoubt("?")))
    if not has_hold(plan):
        ways.append((truth, Permanent("never")))
    elif truth.broken or not truth.hold:
        return [(truth, Permanent("it cannot be kept")), (truth, Transient("later")), (truth, InDoubt("?"))]
    elif breaks_promises:
        ways.append((truth._replace(hold=False), Permanent("the hold is gone")))
        ways.append((truth._replace(broken=True), Permanent("it is held and will not be committed")))
    return ways


def _abort(truth):
    if truth.effects:
        raise Violation("abort of an action that was committed")
    gone = truth._replace(hold=False, tombstone=True)
    return [
        (gone, None),
        (gone, InDoubt("?")),
        (truth, InDoubt("?")),
        (truth, Transient("later")),
        (truth, Permanent("no")),
    ]


def _compensate(asked):
    plan, truth = asked.plan, asked.truth
    if not truth.effects:
        raise Violation(f"I10: {plan.id} is undone although it did not happen")
    repeatable = undo_guarantee(plan) is Guarantee.IDEMPOTENT and not asked.forgotten
    if truth.undos and not repeatable:
        raise Violation(f"I10: {plan.id} is undone twice")
    undone = truth._replace(undos=1)
    ways = [(undone, Result({"ok": 1})), (undone, InDoubt("?")), (truth, Transient("later"))]
    return ways if truth.undos else [*ways, (truth, InDoubt("?")), (truth, Permanent("no"))]


def _inquire(asked):
    truth = asked.truth
    happened = truth.undos if asked.call.about is Verb.COMPENSATE else truth.effects
    standing = Applied(Result({"ok": 1})) if happened else Absent()
    return [(truth, standing), (truth, Unknown()), (truth, InDoubt("?")), (truth, Transient("later"))]

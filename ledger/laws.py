"""What makes an append lawful, whatever the ledger holds: the inline tables change only by what its events say.

Pure, and for the callers' defects only: every store refuses an unlawful append before anything is written.
"""

from collections.abc import Callable

from ledger import events as e
from ledger.errors import InvariantViolation
from ledger.ids import intent_of
from ledger.store import (
    Activate,
    Append,
    Change,
    EpochCurrent,
    Issue,
    KeyUnused,
    Revoke,
    Unlike,
    WithinLimits,
)

_OF_AN_INTENT = (EpochCurrent, KeyUnused, Unlike)


def check(append: Append) -> None:
    """Raise `InvariantViolation` if no ledger can take this append."""
    guards = append.guards
    if append.work is not None or any(isinstance(guard, _OF_AN_INTENT) for guard in guards):
        _demand(intent_of(append.stream) is not None, append, "it is no intent's: it has neither epoch, key nor work")
    if len(guards) > 1:
        _demand(len(set(map(type, guards))) == len(guards), append, "no two guards are of one class")
    for guard in guards:
        if isinstance(guard, WithinLimits):
            counters = {charge.limit for charge in guard.charges}
            _demand(
                0 < len(counters) == len(guard.charges), append, "each counter is charged once, and at least one is"
            )
            _demand(all(charge.amount > 0 for charge in guard.charges), append, "a charge takes something")
        elif isinstance(guard, Unlike):
            _demand(any(isinstance(other, KeyUnused) for other in guards), append, "a likeness goes with a key")
    if append.change is not None:
        _demand(any(map(_says(append.change), append.events)), append, "a change is what one of its events says")
    if append.notify is not None:
        _demand(0 <= append.notify < len(append.events), append, "what is told is one of its events")


def _says(change: Change) -> Callable[[e.Event], bool]:
    def says(event: e.Event) -> bool:
        match change, event:
            case Issue(issued), e.GrantIssued():
                return issued == event
            case Revoke(grant), e.GrantRevoked():
                return grant == event.grant
            case Activate(policy_set), e.PolicySetActivated():
                return policy_set in (event.policy_set, None)  # None: the built-in one, which has a digest as well
        return False

    return says


def _demand(holds: bool, append: Append, law: str) -> None:
    if not holds:
        raise InvariantViolation(f"This append to {append.stream!r} can never be taken: {law}. Nothing was written.")

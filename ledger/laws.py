"""What makes an append lawful, whatever the ledger holds: the inline tables change only by what its events say.

Pure, and for the callers' defects only: every store refuses an unlawful append before anything is written.
"""

from collections.abc import Callable

from ledger import events as e
from ledger.errors import InvariantViolation
from ledger.ids import flight_of, intent_of
from ledger.store import (
    Activate,
    Append,
    Change,
    EpochCurrent,
    Erase,
    Issue,
    KeyUnused,
    Resume,
    Revoke,
    Suspend,
    Unlike,
    WithinLimits,
)

_OF_AN_INTENT = frozenset({KeyUnused, Unlike})


def check(append: Append) -> None:
    """Raise `InvariantViolation` if no ledger can take this append."""
    classes = set(map(type, append.guards))
    if len(classes) < len(append.guards):
        raise _unlawful(append, "no two guards are of one class")
    if (append.work is not None or EpochCurrent in classes) and flight_of(append.stream) is None:
        raise _unlawful(append, "only an intent or an undo plan has an epoch or work")
    if not classes.isdisjoint(_OF_AN_INTENT) and intent_of(append.stream) is None:
        raise _unlawful(append, "only an intent has a key or a likeness")
    if Unlike in classes and KeyUnused not in classes:
        raise _unlawful(append, "a likeness goes with a key")
    if WithinLimits in classes:
        _check_charges(append)
    if append.change is not None and not any(map(_says(append.change), append.events)):
        raise _unlawful(append, "a change is what one of its events says")
    if append.notify is not None and not 0 <= append.notify < len(append.events):
        raise _unlawful(append, "what is told is one of its events")


def _check_charges(append: Append) -> None:
    charges = [one for guard in append.guards if isinstance(guard, WithinLimits) for one in guard.charges]
    if not 0 < len({charge.limit for charge in charges}) == len(charges):
        raise _unlawful(append, "each counter is charged once, and at least one is")
    if any(charge.amount <= 0 for charge in charges):
        raise _unlawful(append, "a charge takes something")


def _says(change: Change) -> Callable[[e.Event], bool]:
    def says(event: e.Event) -> bool:
        match change, event:
            case Issue(issued), e.GrantIssued():
                return issued == event
            case Revoke(grant), e.GrantRevoked():
                return grant == event.grant
            case Suspend(grant), e.GrantSuspended():
                return grant == event.grant
            case Resume(grant), e.GrantResumed():
                return grant == event.grant
            case Erase(key_id), e.SubjectErased():
                return key_id == event.key
            case Activate(policy_set), e.PolicySetActivated():
                return policy_set in (event.policy_set, None)  # None: the built-in one, which has a digest as well
        return False

    return says


def _unlawful(append: Append, law: str) -> InvariantViolation:
    return InvariantViolation(f"No ledger takes this append to {append.stream!r}: {law}. Nothing was written.")

"""What happens next: `decide(state, now)` answers with one of six moves, and nothing else in the project decides.

The way to the decision stands in `coordinator/undecided.py`, the way from it in `coordinator/decided.py`, the moves in
`coordinator/moves.py`; the rules below hold for all of them.

Rules of this file:

1. Pure. It sees the state of one intent and the time, both as values. It performs nothing and remembers nothing; a
   worker that crashed is replaced by another that asks the same question of the same state.
2. It never guesses about the outside. What is in doubt is repeated, asked about or shown to a person, by what its
   operation promised; it never counts as failed (design I9).
3. `CommitDecided` is the one commit point: before it every way leads to abort, after it none does. Its append carries
   the guards of authority (`coordinator/guards.py`); one that does not hold leads to abort (`forbidden`).
4. Every one-shot commit is announced before it leaves. So a one-shot that is `prepared` has certainly not happened,
   and one that is `commit_attempted` in the eyes of a new worker may have: nothing is ever swept away as "not sent".
   A hold needs no announcement, because it is repeated until it answers.

The order of commits: one-shot actions first (those that can be undone, then the others, one by one), holds last,
because a hold has promised and a one-shot may still fail. An explicit `after` overrides: an action goes as early as
the earliest action that waits for it.
"""

from datetime import datetime
from typing import Final

from coordinator import decided, undecided
from coordinator.moves import Move, Rest
from ledger import events as e
from ledger.errors import InvariantViolation
from ledger.phases import TERMINAL, UNDECIDED, Phase
from ledger.state import IntentState
from ledger.store import GrantAlive, GuardFailed, PolicyActive, WithinLimits

_DEAD: Final = "The grant under which it was submitted, or one above it, was revoked or suspended, or has expired."


def decide(state: IntentState, now: datetime, *, alive: bool = True) -> Move:
    """Answer what is to be done next for this intent at this time; `alive`: its grant is, as far as is known."""
    if not alive and state.phase in UNDECIDED:
        return undecided.abort("revoked", _DEAD)
    if state.phase is Phase.COMMITTED:
        return decided.committed(state, now)
    if state.attention is not None or state.phase in TERMINAL:
        return Rest()
    match state.phase:
        case Phase.SUBMITTED:
            return undecided.submitted(state, now)
        case Phase.PREPARING:
            return undecided.preparing(state, now)
        case Phase.AWAITING_APPROVAL:
            return undecided.awaiting_approval(state, now)
        case Phase.COMMITTING:
            return decided.committing(state, now)
        case Phase.ABORTING:
            return decided.aborting(state, now)
        case Phase.COMPENSATING:
            return decided.compensating(state, now)
        case _:
            return Rest()


def forbidden(state: IntentState, failed: GuardFailed) -> e.AbortDecided:
    """Decide against an intent because a guard of authority did not hold when it was to be decided."""
    match failed.guard:
        case GrantAlive():
            return e.AbortDecided(cause="revoked", reason=_DEAD)
        case PolicyActive():
            reason = "Another policy set was activated since this one was evaluated. Submit it again under a new key."
        case WithinLimits(charges):
            charge = next((one for one in charges if one.limit == failed.limit), charges[0])
            reason = (
                f"The limit {charge.limit} has no room: {failed.used or 0} of {charge.max} are used "
                f"({charge.per}), and this would take {charge.amount}."
            )
        case _:
            raise InvariantViolation(f"A decision on {state.id} met the guard {type(failed.guard).__name__}.")
    return e.AbortDecided(cause="guard", reason=reason)

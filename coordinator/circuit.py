"""Whether calls to one outside system are worth making now. Pure: time comes in as an argument.

    closed ──── silences in a row ────► open ──── its pause is over ────► half open
       ▲                                  ▲                                 │   │
       │                                  └──── silence of one that tries ──┘   │
       └──────────────── an answer, whatever it says, to any call ──────────────┘

Rules of this file:

1. Only silence opens a circuit: no connection, or no answer in time. An answer speaks about the call and not about the
   system, whatever it says. So nobody can close a system to others by asking it for what it refuses.
2. It delays and decides nothing. A call that it holds back certainly did not happen and is no attempt, and what was in
   doubt before stays so.
3. It never stays open: after a pause, which grows with each vain try up to CIRCUIT_CAP_SECONDS, a few calls leave
   again. The pause is spread by the adapter's name, so that the circuits of several systems do not try in step.
"""

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from coordinator.backoff import spread
from ledger import bounds


class CircuitState(StrEnum):
    """What a circuit does with the next call."""

    CLOSED = "closed"  # lets it leave
    OPEN = "open"  # holds it back
    HALF_OPEN = "half_open"  # lets a few leave, to find out


class Circuit(msgspec.Struct, frozen=True):
    """What the last calls to a system have told about it, as one process sees it."""

    silences: int = 0  # calls in a row that nothing answered
    openings: int = 0  # since the last answer
    opened_at: datetime | None = None  # the first of them
    until: datetime | None = None  # before then nothing leaves; None: closed
    trying: int = 0  # calls that left since then and are not over yet

    def state(self, now: datetime) -> CircuitState:
        """Return what it does at this time."""
        if self.until is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now < self.until else CircuitState.HALF_OPEN

    def admits(self, now: datetime) -> bool:
        """Tell whether a call may leave now."""
        return self.until is None or (now >= self.until and self.trying < bounds.CIRCUIT_TRIES)

    def left(self) -> "Circuit":
        """Return the circuit after an admitted call has left; `openings` is the call's ticket for what comes of it."""
        return self if self.until is None else msgspec.structs.replace(self, trying=self.trying + 1)

    def answered(self) -> "Circuit":
        """Return the circuit after any call was answered, however long ago it left."""
        return self if self.until is None and not self.silences else Circuit()

    def unanswered(self, ticket: int, now: datetime, silences: int, name: str) -> "Circuit":
        """Return the circuit after a call that nothing answered; it opens at so many `silences` in a row.

        A call that left before it opened last tells nothing new.
        """
        if ticket != self.openings:
            return self
        if self.until is None and self.silences + 1 < silences:
            return msgspec.structs.replace(self, silences=self.silences + 1)
        pause = spread(bounds.CIRCUIT_BASE_SECONDS, bounds.CIRCUIT_CAP_SECONDS, self.openings, name)
        return Circuit(
            silences=self.silences + 1,
            openings=self.openings + 1,
            opened_at=self.opened_at or now,
            until=now + timedelta(seconds=pause),
        )

    def over(self, ticket: int) -> "Circuit":
        """Return the circuit after a call ended, whatever came of it: if it was one that tries, another may."""
        if ticket != self.openings or not self.trying:
            return self
        return msgspec.structs.replace(self, trying=self.trying - 1)

    def again_at(self, now: datetime, name: str) -> datetime:
        """Return when a call that is not admitted now is worth another look: the later, the longer it was in vain.

        After its pause, and within RETRY_CAP_SECONDS, so that what waits is tried that soon after the system is back.
        """
        pause = spread(bounds.CIRCUIT_BASE_SECONDS, bounds.RETRY_CAP_SECONDS, max(0, self.openings - 1), name)
        return max(self.until or now, now + timedelta(seconds=pause))

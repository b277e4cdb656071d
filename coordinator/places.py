"""The places that calls to one adapter have, and the circuit that holds them back while its system is silent.

Whoever has no place at work waits for one; where as many wait as may, the next one is told to come back. So a system
that hangs keeps at most its own places, and the intents that use it leave our hands until they are due again.

Those that are told to come back are told different times, at most LOOKS_PER_SECOND of them to a second: however many
wait for a silent system, looking whether it is back costs no more than that, and they do not return all at once. Each
answer lets later ones be told earlier times, so that a system that is only busy is kept busy.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from adapters.tables import CallLimits
from coordinator.circuit import Circuit, CircuitState
from coordinator.outcome import NotSent
from ledger import bounds
from ledger.intents import Verb
from ledger.tally import Tally

log = structlog.get_logger(__name__)

_SLOT: Final = timedelta(seconds=1 / bounds.LOOKS_PER_SECOND)


class AdapterStatus(msgspec.Struct, frozen=True):
    """How this process finds one adapter now."""

    adapter: str
    state: CircuitState
    since: datetime | None  # when the circuit opened first after the last answer
    until: datetime | None  # nothing is sent before then
    at_once: int
    at_work: int
    waiting: int
    answered: int  # calls, since this process began
    unanswered: int
    held_back: int
    took: Mapping[str, Tally]  # calls that left, by verb


class Places:
    """One adapter's places in this process."""

    def __init__(self, adapter: str, limits: CallLimits) -> None:
        """Begin with a closed circuit and every place free."""
        self.seconds = limits.seconds
        self.free = asyncio.Semaphore(limits.at_once or bounds.CALLS_PER_ADAPTER)
        self._adapter = adapter
        self._at_once = limits.at_once or bounds.CALLS_PER_ADAPTER
        self._silences = limits.silences
        self._circuit = Circuit()
        self._next_look: datetime | None = None
        self._taken = 0
        self._at_work = 0
        self._answered = 0
        self._unanswered = 0
        self._held_back = 0
        self._took: defaultdict[str, Tally] = defaultdict(Tally)

    def hindrance(self, now: datetime) -> NotSent | None:
        """Say why no call may even wait for a place now; None if one may."""
        full = self._taken >= self._at_once + bounds.CALLS_WAITING_PER_ADAPTER
        return self.held_back(now) or (self.busy(now) if full else None)

    def held_back(self, now: datetime) -> NotSent | None:
        """Say why no call may leave now, if the circuit holds it back."""
        if self._circuit.admits(now):
            return None
        reason = (
            f"{self._adapter} left {self._circuit.silences} calls in a row unanswered, so nothing was sent. "
            "It is tried again until it answers."
        )
        return self._come_back(reason, self._circuit.again_at(now, self._adapter))

    def busy(self, now: datetime) -> NotSent:
        """Say that there is no place."""
        reason = f"{self._adapter} was busy with {self._at_once} other calls, so nothing was sent."
        return self._come_back(reason, now + timedelta(seconds=bounds.BUSY_SECONDS))

    # ── the way of one call ──────────────────────────────────────────────────────────────────────────────────────

    def enter(self) -> None:
        """Count a call that waits for a place or has one, until `leave`."""
        self._taken += 1

    def leave(self) -> None:
        """Count one less."""
        self._taken -= 1

    def begin(self) -> int:
        """Count a call that leaves for the outside system, until `end`; returns its ticket for what comes of it."""
        self._at_work += 1
        self._circuit = self._circuit.left()
        return self._circuit.openings

    def end(self, ticket: int) -> None:
        """Count a call less that was under way, whatever came of it."""
        self._at_work -= 1
        self._circuit = self._circuit.over(ticket)

    def took(self, verb: Verb, seconds: float) -> None:
        """Take note of how long a call was under way."""
        self._took[verb].add(seconds)

    def answer(self) -> None:
        """Take note that the outside system answered."""
        self._answered += 1
        if self._circuit.until is not None:
            log.info("circuit_closed", adapter=self._adapter)
            self._next_look = None
        elif self._next_look is not None:
            self._next_look -= _SLOT
        self._circuit = self._circuit.answered()

    def silence(self, ticket: int, now: datetime) -> None:
        """Take note that nothing answered the call with this ticket."""
        self._unanswered += 1
        before = self._circuit
        self._circuit = before.unanswered(ticket, now, self._silences, self._adapter)
        if self._circuit.openings > before.openings:
            log.warning(
                "circuit_opened",
                adapter=self._adapter,
                unanswered=self._circuit.silences,
                tries=before.openings,
                until=self._circuit.until,
            )

    def status(self, now: datetime) -> AdapterStatus:
        """Tell how things are."""
        return AdapterStatus(
            adapter=self._adapter,
            state=self._circuit.state(now),
            since=self._circuit.opened_at,
            until=self._circuit.until,
            at_once=self._at_once,
            at_work=self._at_work,
            waiting=self._taken - self._at_work,
            answered=self._answered,
            unanswered=self._unanswered,
            held_back=self._held_back,
            took=self._took,
        )

    def _come_back(self, reason: str, earliest: datetime) -> NotSent:
        self._held_back += 1
        look = earliest if self._next_look is None else max(earliest, self._next_look)
        self._next_look = look + _SLOT
        return NotSent(reason, look)

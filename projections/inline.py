"""What the inline tables must hold: a fold of the whole ledger into the rows that stand beside its events.

They change in the transaction of the events that justify them, so they are no views that lag; but they say nothing that
the events do not, and so they can be checked and made anew (`projections/inline_replay.py`). What events cannot tell is
not here: who works on an intent now, under which epoch and until when; by what likeness a repetition would be
recognised; which webhooks were delivered; the time of the last look at the head; the keys of data subjects.

Pure. Its memory grows with the grants and limits of a ledger and with what is in flight, not with its length.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import msgspec

from ledger import events as e
from ledger.errors import Corrupt
from ledger.grants import Charge
from ledger.ids import intent_of, undo_plan_of
from projections.projection import Row

_FOR_EVER: Final = "infinity"
_WITHOUT_END: Final = "-infinity"


class GrantRow(Row, frozen=True):
    """A grant, and whether it is alive."""

    grant_id: str
    parent: str | None
    token_sha256: str
    expires_at: str  # the earliest of the grant and those above it, as PostgreSQL reads it
    ended: bool
    suspensions: int
    issued: str  # bytes, as PostgreSQL reads them


class LimitRow(Row, frozen=True):
    """What was taken from a limit in the window that was charged last."""

    counter: str
    window_start: str
    used: int


class SubmissionRow(Row, frozen=True):
    """What an idempotency key was used for."""

    subject: str
    key: str
    intent: str
    request_digest: str


class FlightRow(Row, frozen=True):
    """Something that is not at rest."""

    intent: str
    grant_id: str | None


class _Grant(msgspec.Struct):
    issued: e.GrantIssued
    body: bytes
    ended: bool = False
    suspensions: int = 0


class _Flight(msgspec.Struct):
    grant: str | None
    charges: tuple[Charge, ...] = ()
    charged_at: datetime | None = None
    failed: bool = False  # it is compensated because an action failed
    asks: bool = False  # when it has committed, the outside is asked whether its task is done


class Inline:
    """The inline tables of one ledger after the events taken so far, in the order of the ledger."""

    def __init__(self) -> None:
        """Begin with an empty ledger."""
        self.policy_set: str | None = None  # the active one; None: the built-in one
        self.submissions: list[SubmissionRow] = []  # of the events since the caller took them
        self._sets: set[str] = set()
        self._grants: dict[str, _Grant] = {}
        self._used: dict[str, tuple[str, int]] = {}
        self._flights: dict[str, _Flight] = {}
        self._plans: dict[str, str] = {}  # the grant under which each was approved last

    def take(self, recorded: e.Recorded) -> None:
        """Fold one more event. Raises `Corrupt` if it cannot stand where it stands."""
        tell = self._tells.get(type(recorded.event))
        if tell is not None:
            tell(self, recorded, recorded.event)

    def grants(self) -> list[GrantRow]:
        """Return the rows of the grants."""
        return [self._grant(name) for name in sorted(self._grants)]

    def limits(self) -> list[LimitRow]:
        """Return the rows of the limits."""
        return [LimitRow(counter, start, used) for counter, (start, used) in sorted(self._used.items())]

    def flights(self) -> list[FlightRow]:
        """Return what is in flight."""
        return [FlightRow(name, flight.grant) for name, flight in sorted(self._flights.items())]

    def _grant(self, name: str) -> GrantRow:
        chain = [self._known(name)]
        while (parent := chain[-1].issued.parent) is not None:
            chain.append(self._known(parent))
        one, ends = chain[0], [grant.issued.expires_at for grant in chain if grant.issued.expires_at is not None]
        return GrantRow(
            grant_id=name,
            parent=one.issued.parent,
            token_sha256=one.issued.token_sha256,
            expires_at=min(ends).isoformat() if ends else _FOR_EVER,
            ended=any(grant.ended for grant in chain),
            suspensions=sum(grant.suspensions for grant in chain),
            issued="\\x" + one.body.hex(),
        )

    def _known(self, name: str) -> _Grant:
        grant = self._grants.get(name)
        if grant is None:
            raise Corrupt(f"An event names the grant {name!r}, which was never issued.")
        return grant

    def _flight(self, recorded: e.Recorded) -> _Flight:
        """Return what is known of the intent of an event, which may have been at rest."""
        return self._flights.setdefault(str(intent_of(recorded.stream)), _Flight(None))

    # ── what each event tells ────────────────────────────────────────────────────────────────────────────────────

    def _issued(self, recorded: e.Recorded, event: e.GrantIssued) -> None:
        self._grants[event.grant] = _Grant(event, recorded.body)

    def _revoked(self, _recorded: e.Recorded, event: e.GrantRevoked) -> None:
        self._known(event.grant).ended = True

    def _suspended(self, _recorded: e.Recorded, event: e.GrantSuspended) -> None:
        self._known(event.grant).suspensions += 1

    def _resumed(self, _recorded: e.Recorded, event: e.GrantResumed) -> None:
        self._known(event.grant).suspensions -= 1

    def _added(self, _recorded: e.Recorded, event: e.PolicySetAdded) -> None:
        self._sets.add(event.policy_set)

    def _activated(self, _recorded: e.Recorded, event: e.PolicySetActivated) -> None:
        self.policy_set = event.policy_set if event.policy_set in self._sets else None  # nobody adds the built-in one

    def _submitted(self, _recorded: e.Recorded, event: e.IntentSubmitted) -> None:
        issued = self._known(event.grant).issued
        name = f"{issued.subject.kind}:{issued.subject.name}"
        subject = name if issued.parent is None else f"{issued.parent}/{name}"
        self.submissions.append(SubmissionRow(subject, event.idempotency_key, event.intent, event.request_digest))
        asks = event.contract is not None and bool(event.contract.success)
        self._flights[event.intent] = _Flight(event.grant, asks=asks)

    def _judged(self, recorded: e.Recorded, event: e.PolicyEvaluated) -> None:
        if event.effect == "deny":
            self._at_rest(recorded, event)

    def _decided(self, recorded: e.Recorded, event: e.CommitDecided) -> None:
        flight = self._flight(recorded)
        flight.charges, flight.charged_at = event.charges, recorded.at
        for charge in event.charges:
            start = _window(charge.per, recorded.at)
            before, used = self._used.get(charge.limit, (start, 0))
            self._used[charge.limit] = (start, charge.amount + (used if before == start else 0))

    def _turned_back(self, recorded: e.Recorded, event: e.CompensateDecided) -> None:
        name = str(intent_of(recorded.stream))
        if name not in self._flights:  # it was at rest, and is undone
            self._flights[name] = _Flight(None if event.plan is None else self._plans.get(event.plan))
        self._flights[name].failed = event.cause == "failed"

    def _compensated(self, recorded: e.Recorded, event: e.IntentCompensated) -> None:
        flight = self._flight(recorded)
        if flight.failed and flight.charged_at is not None:
            for charge in flight.charges:
                start, used = self._used[charge.limit]
                if start == _window(charge.per, flight.charged_at):
                    self._used[charge.limit] = (start, max(0, used - charge.amount))
        self._at_rest(recorded, event)

    def _committed(self, recorded: e.Recorded, event: e.IntentCommitted) -> None:
        if not self._flight(recorded).asks:
            self._at_rest(recorded, event)

    def _at_rest(self, recorded: e.Recorded, _event: e.Event) -> None:
        self._flights.pop(str(intent_of(recorded.stream)), None)

    def _plan_approved(self, recorded: e.Recorded, event: e.UndoPlanApproved) -> None:
        self._plans[str(undo_plan_of(recorded.stream))] = event.grant
        self._flights[recorded.stream] = _Flight(None)

    def _plan_over(self, recorded: e.Recorded, _event: e.Event) -> None:
        self._flights.pop(recorded.stream, None)

    _tells: ClassVar[Mapping[type[e.Event], Callable[[Any, e.Recorded, Any], None]]] = {
        e.GrantIssued: _issued,
        e.GrantRevoked: _revoked,
        e.GrantSuspended: _suspended,
        e.GrantResumed: _resumed,
        e.PolicySetAdded: _added,
        e.PolicySetActivated: _activated,
        e.IntentSubmitted: _submitted,
        e.PolicyEvaluated: _judged,
        e.CommitDecided: _decided,
        e.CompensateDecided: _turned_back,
        e.IntentCommitted: _committed,
        e.IntentCompensated: _compensated,
        e.IntentAborted: _at_rest,
        e.IntentMixed: _at_rest,
        e.IntentSimulated: _at_rest,
        e.OutcomeVerified: _at_rest,
        e.OutcomeContradicted: _at_rest,
        e.OutcomeUnknown: _at_rest,
        e.UndoPlanApproved: _plan_approved,
        e.UndoPlanHalted: _plan_over,
        e.UndoPlanFinished: _plan_over,
    }
    reads: ClassVar[frozenset[type[e.Event]]] = frozenset(_tells)


def _window(per: str, at: datetime) -> str:
    """Return the start of the window of the calendar, in UTC, that holds a moment, as PostgreSQL reads it."""
    hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    match per:
        case "hour":
            return hour.isoformat()
        case "day":
            return hour.replace(hour=0).isoformat()
        case _:
            return _WITHOUT_END

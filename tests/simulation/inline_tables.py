"""What stands beside the events of the simulated ledger: grants, policy set, limits, likenesses and the outbox.

The same words and rules as the inline tables of PostgreSQL (sql/migrations/014 to 018), in memory. `Database` calls it
in the one undivided moment of an append, with that moment's time.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from ledger.errors import InvariantViolation
from ledger.events import GrantIssued
from ledger.grants import Charge
from ledger.store import Activate, Change, Erase, Issue, Restore, Resume, Revoke, StandingGrant, Suspend, Unlike

FOR_EVER = datetime.max.replace(tzinfo=UTC)
ALWAYS = datetime.min.replace(tzinfo=UTC)


class Grant(msgspec.Struct):
    """One row of the grants."""

    issued: GrantIssued
    revoked: bool
    suspensions: int  # of it and those above it
    expires_at: datetime  # the earliest of its own and those above it


class InlineTables:
    """The inline tables of authority."""

    def __init__(self) -> None:
        self.grants: dict[str, Grant] = {}
        self.policy_set: str | None = None
        self.limits: dict[str, tuple[datetime, int]] = {}  # by counter: the open window, and what is used of it
        self.alike: dict[str, list[tuple[datetime, str]]] = {}  # by likeness: when it was submitted, as which intent
        self.outbox: list[int] = []

    def is_alive(self, grant: str, at: datetime) -> bool:
        row = self.grants.get(grant)
        return row is not None and not row.revoked and not row.suspensions and row.expires_at > at

    def change(self, change: Change) -> frozenset[str]:
        """Change authority; returns the grants that are dead by it."""
        match change:
            case Issue(issued):
                self._issue(issued)
            case Revoke(grant):
                dead = frozenset(self._subtree(grant))
                for one in dead:
                    self.grants[one].revoked = True
                return dead
            case Suspend(grant):
                return self._suspend(grant, 1)
            case Resume(grant):
                self._suspend(grant, -1)
            case Activate(policy_set):
                self.policy_set = policy_set
            case Erase():
                pass  # nothing is sealed here
        return frozenset()

    def _suspend(self, grant: str, by: int) -> frozenset[str]:
        below = frozenset(self._subtree(grant))
        for one in below:
            self.grants[one].suspensions += by
        return below

    def _issue(self, issued: GrantIssued) -> None:
        tokens = {row.issued.token_sha256 for row in self.grants.values()}
        above = self.grants.get(issued.parent) if issued.parent else None
        if issued.grant in self.grants or issued.token_sha256 in tokens or (issued.parent and above is None):
            raise InvariantViolation("A grant is issued once, with a token of its own, below one that there is.")
        expires_at = issued.expires_at or FOR_EVER
        self.grants[issued.grant] = Grant(
            issued,
            revoked=above.revoked if above else False,
            suspensions=above.suspensions if above else 0,
            expires_at=min(expires_at, above.expires_at) if above else expires_at,
        )

    def chain(self, grant: str | None, token_sha256: str | None) -> list[StandingGrant]:
        if grant is None:
            grant = next((name for name, row in self.grants.items() if row.issued.token_sha256 == token_sha256), None)
        found: list[StandingGrant] = []
        while grant in self.grants:
            found.append(self._shown(grant))
            grant = self.grants[grant].issued.parent
        return found[::-1]

    def below(self, grant: str, after: str | None, limit: int) -> list[StandingGrant]:
        names = sorted(name for name in self._subtree(grant) if name > (after or ""))
        return [self._shown(name) for name in names[:limit]]

    def _shown(self, grant: str) -> StandingGrant:
        row = self.grants[grant]
        return StandingGrant(row.issued, row.revoked, row.suspensions > 0)

    def _subtree(self, grant: str) -> Iterator[str]:
        if grant in self.grants:
            yield grant
            for name, row in self.grants.items():
                if row.issued.parent == grant:
                    yield from self._subtree(name)

    def is_under(self, grant: str, top: str) -> bool:
        return grant in self._subtree(top)

    def lacking(self, charges: Sequence[Charge], at: datetime) -> tuple[str, int] | None:
        """Return the first counter without room, and what is used of it."""
        for charge in charges:
            used = self._used(charge, at)
            if used + charge.amount > charge.max:
                return charge.limit, used
        return None

    def charge(self, charges: Sequence[Charge], at: datetime) -> None:
        for charge in charges:
            self.limits[charge.limit] = (window_start(charge, at), self._used(charge, at) + charge.amount)

    def restore(self, restore: Restore) -> None:
        for charge in restore.charges:
            start = window_start(charge, restore.charged_at)
            window, used = self.limits.get(charge.limit, (start, 0))
            if window == start:
                self.limits[charge.limit] = (window, max(0, used - charge.amount))

    def _used(self, charge: Charge, at: datetime) -> int:
        window, used = self.limits.get(charge.limit, (ALWAYS, 0))
        return used if window == window_start(charge, at) else 0

    def like(self, guard: Unlike, at: datetime) -> str | None:
        """Return the newest intent that is like it."""
        for submitted_at, intent in reversed(self.alike.get(guard.likeness, [])):
            if intent not in guard.besides and (at - submitted_at).total_seconds() < guard.window_seconds:
                return intent
        return None

    def claim_likeness(self, guard: Unlike, intent: str, at: datetime) -> None:
        counted = [one for one in self.alike.get(guard.likeness, []) if one[1] not in guard.besides]
        self.alike[guard.likeness] = [*counted, (at, intent)]


def window_start(charge: Charge, at: datetime) -> datetime:
    at = at.astimezone(UTC)
    match charge.per:
        case "hour":
            return at.replace(minute=0, second=0, microsecond=0)
        case "day":
            return at.replace(hour=0, minute=0, second=0, microsecond=0)
        case "total":
            return ALWAYS

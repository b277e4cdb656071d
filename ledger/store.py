"""What a store of events is: three verbs (append, read, follow) and the table of work in flight beside them.

`ledger/postgres_store.py` is the real one; the simulation has another, and one contract suite runs over both
(`tests/contract/test_store_contract.py`). This file holds the values that go in and come out, and the promises:

  * An append is all or nothing: its events, its guards' claims and its effect on the work in flight, together.
  * Each append gets its own answer, whatever happens to others in the same batch:
    `Appended`            durable (fsynced), at these positions;
    `VersionConflict`     certainly nothing was written: the stream is at another version;
    `GuardFailed`         certainly nothing was written: this guard did not hold;
    `Unknown`             the connection broke at or after COMMIT and the truth could not be read back yet.
  * Positions are 1, 2, 3 … without a gap for each ledger, in commit order: a reader that has seen n will never later
    find something new at or below n.
  * Guards are checked under the ledger's head lock, in the same database transaction as the append.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from ledger import bounds
from ledger.errors import Corrupt
from ledger.events import Event, GrantIssued, Recorded
from ledger.grants import Charge


class EpochCurrent(msgspec.Struct, frozen=True):
    """Guard: the intent is still worked under this epoch; nobody has taken it over."""

    epoch: int


class KeyUnused(msgspec.Struct, frozen=True):
    """Guard: this subject has not used this idempotency key; the append claims it for the intent, for ever."""

    subject: str
    key: str
    request_digest: str


class GrantAlive(msgspec.Struct, frozen=True):
    """Guard: this grant is neither revoked nor expired, and no grant above it is."""

    grant: str


class PolicyActive(msgspec.Struct, frozen=True):
    """Guard: this policy set is the active one; None: none was ever activated."""

    policy_set: str | None


class WithinLimits(msgspec.Struct, frozen=True):
    """Guard: each of these counters has room; the append charges them all, or none."""

    charges: tuple[Charge, ...]  # at least one; no counter twice


class Unlike(msgspec.Struct, frozen=True):
    """Guard: within the window no other intent was submitted with the same likeness; the append claims it.

    `besides` are intents of which the caller knows that they ended without an effect: those do not count, and from
    this append on for nobody. A window of 0 claims whatever else is like it. Goes with `KeyUnused`.
    """

    likeness: str  # a digest of task and actions
    window_seconds: int
    besides: tuple[str, ...] = ()


Guard = EpochCurrent | KeyUnused | GrantAlive | PolicyActive | WithinLimits | Unlike


class Take(msgspec.Struct, frozen=True):
    """Work: put the intent in flight (or take it over) under a new epoch, leased to `worker`."""

    worker: str
    lease_seconds: float


class Due(msgspec.Struct, frozen=True):
    """Work: whoever claims next may take the intent from `at` on (None: at once). Puts it in flight if it is not."""

    at: datetime | None = None


class Parked(msgspec.Struct, frozen=True):
    """Work: nobody takes the intent until another append makes it due."""


class Finished(msgspec.Struct, frozen=True):
    """Work: the intent is no longer in flight."""


Work = Take | Due | Parked | Finished


class Issue(msgspec.Struct, frozen=True):
    """Change: the grant whose `GrantIssued` is appended is alive from now on."""

    issued: GrantIssued


class Revoke(msgspec.Struct, frozen=True):
    """Change: the grant and all below it are dead, and what waits under them in flight is due at once."""

    grant: str


class Suspend(msgspec.Struct, frozen=True):
    """Change: as `Revoke`, until it is lifted. The grant itself is not suspended already; the caller sees to that."""

    grant: str


class Resume(msgspec.Struct, frozen=True):
    """Change: the grant is no longer suspended; what is, above or below it, stays so."""

    grant: str


class Activate(msgspec.Struct, frozen=True):
    """Change: the policy set is the active one; None: the built-in one is again."""

    policy_set: str | None


class Erase(msgspec.Struct, frozen=True):
    """Change: the key of a data subject is destroyed, and nothing that is sealed under it can be opened any more."""

    key_id: str


Change = Issue | Revoke | Suspend | Resume | Activate | Erase


class Restore(msgspec.Struct, frozen=True):
    """Give back what a decision had charged, in the windows of the time at which it was recorded."""

    charges: tuple[Charge, ...]
    charged_at: datetime


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """One append to one stream. Judged in the order: version, epoch, grant, key, policy, likeness, limits."""

    stream: str
    expected_version: int  # 0: the stream does not exist yet
    events: tuple[Event, ...]  # at least one
    guards: tuple[Guard, ...] = ()  # at most one of each class
    work: Work | None = None  # None: leave the table of work as it is
    change: Change | None = None  # of authority; such an append never shares a batch, so that it has a place in time
    restore: Restore | None = None
    notify: int | None = None  # put the event at this place among `events` into the outbox: somebody wants to be told


class Appended(msgspec.Struct, frozen=True):
    """The events are durable. `epoch` is the new one where the work was `Take`."""

    recorded: tuple[Recorded, ...]
    epoch: int | None = None


class VersionConflict(msgspec.Struct, frozen=True):
    """Nothing was written: the stream is at `actual`."""

    actual: int


class GuardFailed(msgspec.Struct, frozen=True):
    """Nothing was written: `guard` did not hold.

    For `KeyUnused`: the intent that has the key, and its digest. For `Unlike`: the newest intent that is like it.
    For `WithinLimits`: the first counter without room, and what is used of it.
    """

    guard: Guard
    intent: str | None = None
    request_digest: str | None = None
    limit: str | None = None
    used: int | None = None


class Unknown(msgspec.Struct, frozen=True):
    """Whether anything was written is not known. Read the stream before going on."""

    reason: str


Verdict = Appended | VersionConflict | GuardFailed | Unknown


class Submission(msgspec.Struct, frozen=True):
    """What a used idempotency key stands for: its intent, and the digest of the request that claimed it."""

    intent: str
    request_digest: str


class Claimed(msgspec.Struct, frozen=True):
    """An intent taken over by a worker, the epoch under which it now writes, and whether its grant is alive."""

    intent: str
    epoch: int
    alive: bool = True


class StandingGrant(msgspec.Struct, frozen=True):
    """A grant as it was issued, and whether it, or a grant above it, was revoked or is suspended."""

    issued: GrantIssued
    revoked: bool
    suspended: bool = False


class Store(Protocol):
    """One ledger. Reading raises `Unavailable` when the database does not answer; append answers `Unknown` instead."""

    ledger: str

    def now(self) -> datetime:
        """Return the database's time (UTC), carried on by a monotonic clock between answers."""

    async def append(self, append: Append) -> Verdict:
        """Append durably. Raises `Overloaded` if it was refused before anything was sent."""

    async def read(self, stream: str, after_version: int = 0) -> Sequence[Recorded]:
        """Return the events of one stream after a version, oldest first. Raises `Corrupt` beyond STREAM_EVENTS."""

    async def submission(self, subject: str, key: str) -> Submission | None:
        """Return what this subject's idempotency key was used for; None while it is unused."""

    async def chain(self, *, grant: str | None = None, token_sha256: str | None = None) -> Sequence[StandingGrant]:
        """Return a grant, named by itself or by its token, and those above it, the first one first; empty if unknown.

        One read of one moment: what was revoked before the call is shown as revoked.
        """

    async def below(self, grant: str, after: str | None, limit: int) -> Sequence[StandingGrant]:
        """Return a grant and all below it, by id, at most `limit` after the id `after`."""

    async def in_flight_under(self, grant: str) -> Sequence[str]:
        """Return the intents in flight that were submitted, or their undo decided, under a grant or any below it."""

    async def active_policy(self) -> str | None:
        """Return the digest of the active policy set; None if none was ever activated."""

    async def read_all(self, after_position: int, limit: int) -> Sequence[Recorded]:
        """Return the ledger's events after a position, oldest first."""

    def follow(self, after_position: int, batch: int) -> AsyncIterator[Sequence[Recorded]]:
        """Yield batches of events after a position for ever, waiting for new ones; an empty batch is a heartbeat."""

    async def head(self) -> int:
        """Return the position of the last event, 0 in an empty ledger."""

    async def claim(self, worker: str, limit: int, lease_seconds: float) -> Sequence[Claimed]:
        """Take over intents that are due, oldest first, each under a new epoch, and lease them to `worker`."""

    async def reschedule(
        self, intent: str, epoch: int, work: Due | Parked, version: int | None = None, grant: str | None = None
    ) -> bool:
        """Change when an intent is due without an event.

        False, and nothing changed, if the epoch is no longer current, if its stream is no longer at `version`, or if
        `grant` is no longer alive: what happened since may be exactly what it must not wait for (None: whatever did).
        """

    async def renew(self, worker: str, intents: Sequence[Claimed], lease_seconds: float) -> Sequence[str]:
        """Extend the leases of intents still held under these epochs; returns the ids that were extended."""


def too_long(stream: str) -> Corrupt:
    """Say that a stream has more events than are read: half of them would give a state that is not true."""
    return Corrupt(
        f"The stream {stream} has more than {bounds.STREAM_EVENTS} events, and part of them would not tell the truth. "
        "It was not read, and nothing was changed; a person must look."
    )

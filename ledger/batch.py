"""A batch of appends on its way to PostgreSQL: what goes down and what comes back.

Pure. Everything here runs for each item of the hottest path of the system, so nothing is built or encoded twice.
What goes down is the argument of `intent_ledger.append`; sql/migrations/018_append_under_authority.sql explains the
fields of authority, 007_append.sql those it had before.
"""

import asyncio
from collections.abc import Hashable, Sequence
from datetime import datetime
from typing import Any, Final, Literal, assert_never

import msgspec

from ledger.errors import InvariantViolation
from ledger.events import Recorded, encode
from ledger.grants import Charge
from ledger.ids import flight_of
from ledger.laws import check
from ledger.store import (
    Activate,
    Append,
    Appended,
    Change,
    Due,
    EpochCurrent,
    Erase,
    Finished,
    GrantAlive,
    Guard,
    GuardFailed,
    Issue,
    KeyUnused,
    Parked,
    PolicyActive,
    Restore,
    Resume,
    Revoke,
    Suspend,
    Take,
    Unlike,
    Verdict,
    VersionConflict,
    WithinLimits,
    Work,
)

ANY_VERSION: Final = -1
"""As `expected_version` of an append without events: the version of the stream does not matter."""

_GUARDS: Final[dict[str, type[Guard]]] = {
    "epoch": EpochCurrent,
    "grant": GrantAlive,
    "key": KeyUnused,
    "policy": PolicyActive,
    "likeness": Unlike,
    "limits": WithinLimits,
}
"""The guard of which each verdict says that it did not hold."""


class _Beside(msgspec.Struct, omit_defaults=True):
    """What an item does beside its events."""

    change: dict[str, Any] | None = None
    restore: Restore | None = None
    notify: int | None = None
    besides: tuple[str, ...] = ()


class _Wire(msgspec.Struct, omit_defaults=True):
    """An item as `intent_ledger.append` reads it."""

    stream: str
    version: int | None = None
    types: list[str] = []
    intent: str | None = None
    epoch: int | None = None
    grant: str | None = None
    subject: str | None = None
    key: str | None = None
    digest: str | None = None
    policy: str | None = None
    likeness: str | None = None
    window_seconds: float | None = None
    besides: tuple[str, ...] = ()
    charges: tuple[Charge, ...] = ()
    work: Literal["take", "due", "parked", "finished"] | None = None
    worker: str | None = None
    lease_seconds: float | None = None
    due_at: datetime | None = None
    beside: _Beside | None = None


_to_json = msgspec.json.Encoder().encode
_lacking_from_json = msgspec.json.Decoder(dict[str, Any]).decode


class Item(msgspec.Struct, gc=False):
    """One append that waits for its answer."""

    append: Append
    answer: asyncio.Future[Verdict]
    wire: bytes  # JSON
    bodies: list[bytes]
    names: list[Hashable]  # what no other item of its batch may name

    @property
    def size(self) -> int:
        """Return how many bytes go down for this item, about."""
        return len(self.wire) + sum(map(len, self.bodies))

    @property
    def is_alone(self) -> bool:
        """Tell whether it shares a batch with no other."""
        return self.append.change is not None


def item_of(append: Append, answer: asyncio.Future[Verdict]) -> Item:
    """Encode an append, once. Raises `InvariantViolation` if no ledger can take it."""
    check(append)
    wire = _Wire(append.stream, types=[type(event).__name__ for event in append.events])
    if append.expected_version != ANY_VERSION:
        wire.version = append.expected_version
    for guard in append.guards:
        _set_guard(wire, guard)
    if append.guards or append.work is not None:
        wire.intent = flight_of(append.stream)
        _set_work(wire, append.work)
    if append.change is not None or append.restore is not None or append.notify is not None or wire.besides:
        wire.beside = _Beside(_change(append.change, append), append.restore, append.notify, wire.besides)
    names: list[Hashable] = [append.stream]
    if wire.key is not None:
        names.append((wire.subject, wire.key))
    if wire.likeness is not None:
        names.append(("likeness", wire.likeness))
    try:
        return Item(append, answer, _to_json(wire), [encode(event) for event in append.events], names)
    except UnicodeEncodeError as error:
        raise InvariantViolation(f"This append is no valid text: {error}. Nothing was written.") from error


def arguments(ledger: str, batch: Sequence[Item]) -> tuple[str, str, list[bytes]]:
    """Return the arguments of the one call that appends these items."""
    wire = b"[" + b",".join([item.wire for item in batch]) + b"]"
    return ledger, wire.decode(), [body for item in batch for body in item.bodies]


def verdict_of(ledger: str, item: Item, row: tuple[Any, ...]) -> Verdict:
    """Return what the answered row says about an item."""
    verdict, position, at, epoch, version, key_intent, key_digest, like_intent, lacking = row
    if verdict == "appended":
        return Appended(recorded(ledger, item, position, at), epoch)
    if verdict == "version":
        return VersionConflict(version)
    guard = next((guard for guard in item.append.guards if isinstance(guard, _GUARDS.get(verdict, ()))), None)
    match guard:
        case KeyUnused():
            return GuardFailed(guard, key_intent, key_digest)
        case Unlike():
            return GuardFailed(guard, like_intent)
        case WithinLimits():
            return GuardFailed(guard, **_lacking_from_json(lacking))
        case EpochCurrent() | GrantAlive() | PolicyActive():
            return GuardFailed(guard)
        case None:
            raise InvariantViolation(f"The database answered an append by {verdict!r}, which is no verdict on it.")
        case _:
            assert_never(guard)


def recorded(ledger: str, item: Item, position: int, at: datetime) -> tuple[Recorded, ...]:
    """Return the item's events as they stand in the ledger from `position` on."""
    stream, version = item.append.stream, item.append.expected_version + 1
    return tuple(
        [
            Recorded(
                ledger=ledger, position=position + n, stream=stream, version=version + n, at=at, event=event, body=body
            )
            for n, (event, body) in enumerate(zip(item.append.events, item.bodies, strict=True))
        ]
    )


def _set_guard(wire: _Wire, guard: Guard) -> None:
    match guard:
        case EpochCurrent(epoch):
            wire.epoch = epoch
        case GrantAlive(grant):
            wire.grant = grant
        case KeyUnused(subject, key, request_digest):
            wire.subject, wire.key, wire.digest = subject, key, request_digest
        case PolicyActive(policy_set):
            wire.policy = policy_set or ""
        case Unlike(likeness, window_seconds, besides):
            wire.likeness, wire.window_seconds, wire.besides = likeness, window_seconds, besides
        case WithinLimits(charges):
            wire.charges = charges
        case _:
            assert_never(guard)


def _set_work(wire: _Wire, work: Work | None) -> None:
    match work:
        case Take(worker, lease_seconds):
            wire.work, wire.worker, wire.lease_seconds = "take", worker, lease_seconds
        case Due(at):
            wire.work, wire.due_at = "due", at
        case Parked():
            wire.work = "parked"
        case Finished():
            wire.work = "finished"
        case None:
            pass
        case _:
            assert_never(work)


def _change(change: Change | None, append: Append) -> dict[str, Any] | None:
    match change:
        case Issue(issued):
            return {
                "verb": "issue",
                "grant_id": issued.grant,
                "parent": issued.parent,
                "token_sha256": issued.token_sha256,
                "expires_at": issued.expires_at,
                "version": append.expected_version + 1 + append.events.index(issued),
            }
        case Revoke(grant):
            return {"verb": "revoke", "grant_id": grant}
        case Suspend(grant):
            return {"verb": "suspend", "grant_id": grant}
        case Resume(grant):
            return {"verb": "resume", "grant_id": grant}
        case Activate(policy_set):
            return {"verb": "activate", "policy_set": policy_set}
        case Erase(key_id):
            return {"verb": "erase", "key_id": key_id}
        case None:
            return None
        case _:
            assert_never(change)

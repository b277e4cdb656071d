"""A batch of appends on its way to PostgreSQL: what goes down and what comes back.

Pure. Everything here runs for each item of the hottest path of the system, so nothing is built or encoded twice.
What goes down is the argument of `intent_ledger.append` (sql/migrations/007_append.sql), which explains the fields.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, assert_never

import msgspec

from ledger.errors import InvariantViolation
from ledger.events import Recorded, encode
from ledger.ids import intent_of
from ledger.store import (
    Append,
    Appended,
    Due,
    EpochCurrent,
    Finished,
    GuardFailed,
    KeyUnused,
    Parked,
    Take,
    Verdict,
    VersionConflict,
    Work,
)

ANY_VERSION: Final = -1
"""As `expected_version` of an append without events: the version of the stream does not matter."""


class _Wire(msgspec.Struct, omit_defaults=True):
    """An item as `intent_ledger.append` reads it."""

    stream: str
    version: int | None = None
    types: list[str] = []
    intent: str | None = None
    epoch: int | None = None
    subject: str | None = None
    key: str | None = None
    digest: str | None = None
    work: Literal["take", "due", "parked", "finished"] | None = None
    worker: str | None = None
    lease_seconds: float | None = None
    due_at: datetime | None = None


_to_json = msgspec.json.Encoder().encode


class Item(msgspec.Struct, gc=False):
    """One append that waits for its answer."""

    append: Append
    answer: asyncio.Future[Verdict]
    wire: bytes  # JSON
    bodies: list[bytes]
    epoch: EpochCurrent | None
    key: KeyUnused | None

    @property
    def size(self) -> int:
        """Return how many bytes go down for this item, about."""
        return len(self.wire) + sum(map(len, self.bodies))


def item_of(append: Append, answer: asyncio.Future[Verdict]) -> Item:
    """Encode an append, once. Raises `InvariantViolation` if no ledger can take it."""
    wire = _Wire(append.stream, types=[type(event).__name__ for event in append.events])
    if append.expected_version != ANY_VERSION:
        wire.version = append.expected_version
    epoch, key = None, None
    for guard in append.guards:
        if isinstance(guard, EpochCurrent):
            epoch, wire.epoch = guard, guard.epoch
        else:
            key, wire.subject, wire.key, wire.digest = guard, guard.subject, guard.key, guard.request_digest
    if append.guards or append.work is not None:
        wire.intent = intent_of(append.stream)
        _set_work(wire, append.work)
        if wire.intent is None:
            raise InvariantViolation(f"The stream {append.stream!r} is no intent's: it has neither guards nor work.")
    try:
        return Item(append, answer, _to_json(wire), [encode(event) for event in append.events], epoch, key)
    except UnicodeEncodeError as error:
        raise InvariantViolation(f"This append is no valid text: {error}. Nothing was written.") from error


def arguments(ledger: str, batch: Sequence[Item]) -> tuple[str, str, list[bytes]]:
    """Return the arguments of the one call that appends these items."""
    wire = b"[" + b",".join([item.wire for item in batch]) + b"]"
    return ledger, wire.decode(), [body for item in batch for body in item.bodies]


def verdict_of(ledger: str, item: Item, row: tuple[Any, ...]) -> Verdict:
    """Return what the answered row says about an item."""
    verdict, position, at, epoch, version, key_intent, key_digest = row
    if verdict == "appended":
        return Appended(recorded(ledger, item, position, at), epoch)
    if verdict == "version":
        return VersionConflict(version)
    if verdict == "epoch" and item.epoch is not None:
        return GuardFailed(item.epoch)
    if verdict == "key" and item.key is not None:
        return GuardFailed(item.key, key_intent, key_digest)
    raise InvariantViolation(f"The database answered an append by {verdict!r}, which is no verdict on it.")


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

"""A batch of appends on its way to PostgreSQL: the arrays that go down and the rows that come back.

Pure. Everything here runs for each item of the hottest path of the system, so it builds no object twice.
The parameters are those of `intent_ledger.append` (sql/migrations/007_append.sql), in its order.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

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
)

ANY_VERSION: Final = -1
"""As `expected_version` of an append without events: the version of the stream does not matter."""

_WORDS: Final[Mapping[type, str]] = {Take: "take", Due: "due", Parked: "parked", Finished: "finished"}
_NO_KEY: Final = (None, None, None)


class Item(msgspec.Struct, gc=False):
    """One append that waits for its answer."""

    append: Append
    answer: asyncio.Future[Verdict]
    bodies: list[bytes]
    size: int  # bytes
    epoch: EpochCurrent | None = None
    key: KeyUnused | None = None


def item_of(append: Append, answer: asyncio.Future[Verdict]) -> Item:
    """Encode an append, once. Raises `InvariantViolation` if it asks for what only an intent's stream can have."""
    bodies = [encode(event) for event in append.events]
    item = Item(append, answer, bodies, sum(map(len, bodies)))
    for guard in append.guards:
        if isinstance(guard, EpochCurrent):
            item.epoch = guard
        else:
            item.key = guard
    if (append.work is not None or append.guards) and intent_of(append.stream) is None:
        raise InvariantViolation(
            f"The stream {append.stream!r} is no intent's, so it can have neither guards nor work."
        )
    return item


def arguments(ledger: str, batch: Sequence[Item]) -> tuple[Any, ...]:
    """Return the parameters of the one call that appends these items; there is at least one."""
    columns = zip(*map(_row, batch), strict=True)
    owners: list[int] = []
    types: list[str] = []
    bodies: list[bytes] = []
    for number, item in enumerate(batch, 1):
        owners += [number] * len(item.bodies)
        types += [type(event).__name__ for event in item.append.events]
        bodies += item.bodies
    return (ledger, *columns, owners, types, bodies)


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


def recorded(ledger: str, item: Item, position: int, at: Any) -> tuple[Recorded, ...]:
    """Return the item's events as they stand in the ledger from `position` on."""
    stream, version = item.append.stream, item.append.expected_version + 1
    return tuple(
        Recorded(
            ledger=ledger, position=position + n, stream=stream, version=version + n, at=at, event=event, body=body
        )
        for n, (event, body) in enumerate(zip(item.append.events, item.bodies, strict=True))
    )


def _row(item: Item) -> tuple[Any, ...]:
    append, epoch, key, work = item.append, item.epoch, item.key, item.append.work
    return (
        append.stream,
        None if append.expected_version == ANY_VERSION else append.expected_version,
        len(item.bodies),
        intent_of(append.stream),
        None if epoch is None else epoch.epoch,
        *(_NO_KEY if key is None else (key.subject, key.key, key.request_digest)),
        None if work is None else _WORDS[type(work)],
        work.worker if isinstance(work, Take) else None,
        work.lease_seconds if isinstance(work, Take) else None,
        work.at if isinstance(work, Due) else None,
    )

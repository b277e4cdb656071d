"""The outbox: what is told at least once, by any number of senders, each kept off the others by a lease."""

import asyncio

import pytest

from ledger import events as e
from ledger.outbox import Outbox
from ledger.postgres_store import PostgresStore
from ledger.store import Append, Appended

LONG = 3600.0
OVER = 0.0


@pytest.fixture
async def outbox(pool, store):
    return Outbox(pool, "main")


async def tell(store, name: str) -> int:
    """Append an event and put it into the outbox; returns its position."""
    events = (e.ActionDone(action=name, result={}),)
    verdict = await store.append(Append(stream=name, expected_version=0, events=events, notify=0))
    assert isinstance(verdict, Appended)
    return verdict.recorded[0].position


async def taken(outbox, limit: int = 100, lease: float = LONG) -> list[tuple[int, int]]:
    return [(one.position, one.attempts) for one in await outbox.claim_due(limit, lease)]


async def test_what_is_to_be_told_is_taken_oldest_first_and_within_a_limit(store, outbox):
    positions = [await tell(store, name) for name in "abc"]
    assert await taken(outbox, 2) == [(positions[0], 1), (positions[1], 1)]
    assert await taken(outbox, 2) == [(positions[2], 1)]
    assert await taken(outbox, 2) == []


async def test_what_was_taken_and_never_told_is_taken_again_when_its_lease_is_over(store, outbox):
    position = await tell(store, "a")
    assert await taken(outbox, lease=OVER) == [(position, 1)]
    assert await taken(outbox, lease=LONG) == [(position, 2)]
    assert await taken(outbox) == []


async def test_what_was_told_is_forgotten(store, outbox):
    position = await tell(store, "a")
    await taken(outbox, lease=OVER)
    assert await outbox.done(position, 1)
    assert await taken(outbox) == []


async def test_what_could_not_be_told_is_due_again_later(store, outbox):
    sooner, later = await tell(store, "a"), await tell(store, "b")
    await taken(outbox)
    assert await outbox.again(sooner, 1, 0.0)
    assert await outbox.again(later, 1, LONG)
    assert await taken(outbox) == [(sooner, 2)]


async def test_whoever_has_lost_the_lease_changes_nothing(store, outbox):
    position = await tell(store, "a")
    await taken(outbox, lease=OVER)
    await taken(outbox, lease=LONG)
    assert not await outbox.done(position, 1)
    assert not await outbox.again(position, 1, 0.0)
    assert await taken(outbox) == []
    assert await outbox.done(position, 2)
    assert not await outbox.done(position, 2)


async def test_senders_at_the_same_time_never_share_a_message(store, outbox):
    positions = [await tell(store, f"s{n}") for n in range(30)]
    shares = await asyncio.gather(*(taken(outbox, 10) for _ in range(5)))
    claimed = [position for share in shares for position, _ in share]
    assert len(claimed) == len(set(claimed))
    claimed += [position for position, _ in await taken(outbox)]
    assert sorted(claimed) == positions


async def test_the_age_of_a_message_is_that_of_its_event(store, outbox):
    await tell(store, "a")
    (one,) = await outbox.claim_due(1, LONG)
    assert 0 <= one.age_seconds < 60


async def test_ledgers_tell_their_own_events_only(pool, store, outbox):
    other = PostgresStore(pool, "other")
    await other.start()
    await tell(other, "a")
    assert await taken(outbox) == []
    assert len(await taken(Outbox(pool, "other"))) == 1
    await other.stop()

"""What every store promises (`ledger/store.py`), in the same words for the real one and for the simulated one."""

import asyncio
from datetime import timedelta
from itertools import count
from uuid import UUID

import pytest

from ledger import events as e
from ledger.errors import Corrupt
from ledger.ids import intent_stream
from ledger.store import (
    Append,
    Appended,
    Due,
    EpochCurrent,
    Finished,
    GuardFailed,
    KeyUnused,
    Parked,
    Store,
    Submission,
    Take,
    VersionConflict,
)

_numbers = count(1)
LONG = 3600.0  # seconds of lease
OVER = 0.0


def new_intent() -> str:
    return str(UUID(int=next(_numbers)))


def done(*actions: str) -> tuple[e.Event, ...]:
    return tuple(e.ActionDone(action=action, result={"id": action}) for action in actions)


def key_of(intent: str, key: str = "k-1", subject: str = "agent/a") -> KeyUnused:
    return KeyUnused(subject, key, f"sha256:{intent}")


async def append(store: Store, intent: str, version: int, *actions: str, guards=(), work=None):
    return await store.append(
        Append(
            stream=intent_stream(intent),
            expected_version=version,
            events=done(*(actions or ("a",))),
            guards=guards,
            work=work,
        )
    )


async def take(store: Store, worker: str = "w1", lease_seconds: float = LONG) -> tuple[str, int]:
    """Put a new intent in flight; returns it and its epoch."""
    intent = new_intent()
    verdict = await append(store, intent, 0, work=Take(worker, lease_seconds))
    assert isinstance(verdict, Appended)
    assert verdict.epoch is not None
    return intent, verdict.epoch


async def claim(store: Store, worker: str = "w2", limit: int = 100, lease_seconds: float = LONG) -> dict[str, int]:
    return {claimed.intent: claimed.epoch for claimed in await store.claim(worker, limit, lease_seconds)}


# ── append and read ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_appended_is_read_back_as_it_was(store):
    intent = new_intent()
    verdict = await append(store, intent, 0, "a", "b")
    assert isinstance(verdict, Appended)
    assert list(await store.read(intent_stream(intent))) == list(verdict.recorded)
    assert [(r.position, r.version, r.type) for r in verdict.recorded] == [(1, 1, "ActionDone"), (2, 2, "ActionDone")]
    assert [r.body for r in verdict.recorded] == [e.encode(r.event) for r in verdict.recorded]
    assert {(r.ledger, r.stream) for r in verdict.recorded} == {(store.ledger, intent_stream(intent))}
    assert verdict.epoch is None


async def test_a_stream_that_nobody_wrote_is_empty(store):
    assert list(await store.read("intent/none")) == []
    assert await store.head() == 0


async def test_a_stream_is_read_after_a_version(store):
    intent = new_intent()
    await append(store, intent, 0, "a", "b", "c")
    assert [r.version for r in await store.read(intent_stream(intent), 2)] == [3]


async def test_a_stream_beyond_the_bound_is_refused_and_never_read_in_part(store, monkeypatch):
    monkeypatch.setattr("ledger.bounds.STREAM_EVENTS", 3)
    intent = new_intent()
    await append(store, intent, 0, "a", "b", "c")
    assert len(await store.read(intent_stream(intent))) == 3
    await append(store, intent, 3, "d")
    with pytest.raises(Corrupt, match="more than 3 events"):
        await store.read(intent_stream(intent))
    assert [r.version for r in await store.read(intent_stream(intent), 1)] == [2, 3, 4]


async def test_streams_that_are_no_intents_take_events_too(store):
    verdict = await store.append(Append(stream="grants", expected_version=0, events=done("a")))
    assert isinstance(verdict, Appended)
    assert list(await store.read("grants")) == list(verdict.recorded)


async def test_the_ledger_is_read_by_position_and_within_a_limit(store):
    for _ in range(3):
        await append(store, new_intent(), 0, "a", "b")
    assert [r.position for r in await store.read_all(0, 100)] == [1, 2, 3, 4, 5, 6]
    assert [r.position for r in await store.read_all(2, 3)] == [3, 4, 5]
    assert await store.head() == 6


@pytest.mark.parametrize("expected", [0, 1, 3])
async def test_an_append_at_another_version_conflicts_and_writes_nothing(store, expected):
    intent = new_intent()
    await append(store, intent, 0, "a", "b")
    assert await append(store, intent, expected) == VersionConflict(2)
    assert await store.head() == 2


async def test_of_many_appends_at_one_version_exactly_one_wins(store):
    intent = new_intent()
    verdicts = await asyncio.gather(*(append(store, intent, 0, f"a{n}") for n in range(20)))
    won = [v for v in verdicts if isinstance(v, Appended)]
    assert len(won) == 1
    assert [v for v in verdicts if v not in won] == [VersionConflict(1)] * 19
    assert list(await store.read(intent_stream(intent))) == list(won[0].recorded)


async def test_concurrent_appends_get_positions_without_gaps_and_times_that_never_go_back(store):
    verdicts = await asyncio.gather(*(append(store, new_intent(), 0, *"abc"[: n % 3 + 1]) for n in range(60)))
    everything = await store.read_all(0, 1_000)
    assert [r.position for r in everything] == list(range(1, 121))
    assert sorted(r.position for v in verdicts for r in v.recorded) == list(range(1, 121))
    assert [r.at for r in everything] == sorted(r.at for r in everything)


async def test_an_event_is_not_older_than_the_time_before_its_append(store):
    before = store.now()
    verdict = await append(store, new_intent(), 0)
    assert before - timedelta(seconds=1) <= verdict.recorded[0].at <= store.now() + timedelta(seconds=1)


async def test_time_never_goes_back(store):
    seen = []
    for _ in range(20):
        seen.append(store.now())
        await append(store, new_intent(), 0)
        seen.append(store.now())
    assert seen == sorted(seen)


# ── guards ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_append_under_the_current_epoch_is_taken(store):
    intent, epoch = await take(store)
    assert isinstance(await append(store, intent, 1, guards=(EpochCurrent(epoch),)), Appended)


async def test_an_append_under_an_epoch_that_was_taken_over_writes_nothing(store):
    intent, old = await take(store, lease_seconds=OVER)
    new = (await claim(store))[intent]
    assert await append(store, intent, 1, guards=(EpochCurrent(old),), work=Finished()) == GuardFailed(
        EpochCurrent(old)
    )
    assert await store.head() == 1
    assert isinstance(await append(store, intent, 1, guards=(EpochCurrent(new),)), Appended)


async def test_an_epoch_of_an_intent_that_is_not_in_flight_is_not_current(store):
    intent, epoch = await take(store)
    await append(store, intent, 1, guards=(EpochCurrent(epoch),), work=Finished())
    assert await append(store, intent, 2, guards=(EpochCurrent(epoch),)) == GuardFailed(EpochCurrent(epoch))


async def test_epochs_never_go_back_even_when_an_intent_leaves_and_returns(store):
    intent, first = await take(store)
    await append(store, intent, 1, guards=(EpochCurrent(first),), work=Finished())
    again = await append(store, intent, 2, work=Take("w2", OVER))
    third = (await claim(store))[intent]
    assert first < again.epoch < third


async def test_a_key_names_the_first_intent_for_ever(store):
    first, second = new_intent(), new_intent()
    assert isinstance(await append(store, first, 0, guards=(key_of(first),)), Appended)
    verdict = await append(store, second, 0, guards=(key_of(second),))
    assert verdict == GuardFailed(key_of(second), intent=first, request_digest=f"sha256:{first}")
    assert list(await store.read(intent_stream(second))) == []


async def test_a_key_tells_its_submission_once_it_is_used(store):
    intent = new_intent()
    assert await store.submission("agent/a", "k-1") is None
    await append(store, intent, 0, guards=(key_of(intent),))
    assert await store.submission("agent/a", "k-1") == Submission(intent, f"sha256:{intent}")
    assert await store.submission("agent/b", "k-1") is None
    assert await store.submission("agent/a", "k-2") is None


async def test_keys_of_other_subjects_and_other_keys_are_free(store):
    used = new_intent()
    await append(store, used, 0, guards=(key_of(used),))
    for free in ({"subject": "agent/b"}, {"key": "k-2"}):
        intent = new_intent()
        assert isinstance(await append(store, intent, 0, guards=(key_of(intent, **free),)), Appended)


async def test_an_append_that_was_refused_claims_no_key(store):
    intent, other = new_intent(), new_intent()
    await append(store, intent, 0)
    assert await append(store, intent, 0, guards=(key_of(intent),)) == VersionConflict(1)
    assert isinstance(await append(store, other, 0, guards=(key_of(other),)), Appended)


async def test_of_many_appends_with_one_key_exactly_one_wins(store):
    intents = [new_intent() for _ in range(10)]
    verdicts = await asyncio.gather(*(append(store, i, 0, guards=(key_of(i),)) for i in intents))
    winner = next(i for i, v in zip(intents, verdicts, strict=True) if isinstance(v, Appended))
    for intent, verdict in zip(intents, verdicts, strict=True):
        if intent != winner:
            assert verdict == GuardFailed(key_of(intent), intent=winner, request_digest=f"sha256:{winner}")
    assert await store.head() == 1


async def test_the_version_is_judged_before_the_epoch_and_the_epoch_before_the_key(store):
    intent, _ = await take(store)
    await append(store, new_intent(), 0, guards=(key_of("used"),))
    stale, used = EpochCurrent(0), key_of(intent)
    assert await append(store, intent, 0, guards=(used, stale)) == VersionConflict(1)
    assert await append(store, intent, 1, guards=(used, stale)) == GuardFailed(stale)
    assert isinstance(await append(store, intent, 1, guards=(used,)), GuardFailed)


# ── work ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_leased_intent_is_nobody_elses_until_its_lease_is_over(store):
    leased, _ = await take(store, lease_seconds=LONG)
    over, epoch = await take(store, lease_seconds=OVER)
    claimed = await claim(store)
    assert leased not in claimed
    assert claimed[over] > epoch


async def test_a_claimed_intent_is_leased_to_its_claimer(store):
    intent, _ = await take(store, lease_seconds=OVER)
    assert list(await claim(store, "w2", lease_seconds=OVER)) == [intent]
    assert list(await claim(store, "w3", lease_seconds=LONG)) == [intent]
    assert await claim(store, "w4") == {}


async def test_intents_are_claimed_the_one_due_longest_first_and_within_a_limit(store):
    intents = [new_intent() for _ in range(3)]
    for intent, hours in zip(intents, (1, 3, 2), strict=True):
        await append(store, intent, 0, work=Due(store.now() - timedelta(hours=hours)))
    assert [c.intent for c in await store.claim("w", 2, LONG)] == [intents[1], intents[2]]
    assert [c.intent for c in await store.claim("w", 2, LONG)] == [intents[0]]


async def test_an_intent_due_later_is_not_claimed_now(store):
    await append(store, new_intent(), 0, work=Due(store.now() + timedelta(hours=1)))
    assert await claim(store) == {}


async def test_a_parked_intent_is_claimed_by_nobody_until_it_is_due_again(store):
    intent, epoch = await take(store)
    await append(store, intent, 1, guards=(EpochCurrent(epoch),), work=Parked())
    assert await claim(store) == {}
    await append(store, intent, 2, work=Due())
    assert list(await claim(store)) == [intent]


async def test_a_finished_intent_is_claimed_by_nobody(store):
    intent, _ = await take(store, lease_seconds=OVER)
    await append(store, intent, 1, work=Finished())
    assert await claim(store) == {}


async def test_making_a_leased_intent_due_leaves_its_epoch_until_it_is_claimed(store):
    intent, epoch = await take(store)
    assert (await append(store, intent, 1, work=Due())).epoch is None
    assert isinstance(await append(store, intent, 2, guards=(EpochCurrent(epoch),)), Appended)
    assert (await claim(store))[intent] > epoch


async def test_taking_an_intent_over_gives_a_new_epoch(store):
    intent, first = await take(store)
    second = await append(store, intent, 1, work=Take("w2", LONG))
    assert second.epoch > first
    assert await append(store, intent, 2, guards=(EpochCurrent(first),)) == GuardFailed(EpochCurrent(first))


async def test_an_append_without_work_leaves_the_lease_as_it_is(store):
    intent, _ = await take(store, lease_seconds=OVER)
    await append(store, intent, 1)
    assert list(await claim(store)) == [intent]


async def test_a_refused_append_changes_no_work(store):
    intent, _ = await take(store, lease_seconds=OVER)
    assert await append(store, intent, 0, work=Finished()) == VersionConflict(1)
    assert list(await claim(store)) == [intent]


async def test_concurrent_claims_never_share_an_intent(store):
    intents = {(await take(store, lease_seconds=OVER))[0] for _ in range(12)}
    claims = await asyncio.gather(*(store.claim(f"w{n}", 5, LONG) for n in range(6)))
    claimed = [one.intent for some in claims for one in some]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) == intents


async def test_rescheduling_makes_an_intent_due_or_parks_it(store):
    due, due_epoch = await take(store)
    parked, parked_epoch = await take(store, lease_seconds=OVER)
    assert await store.reschedule(due, due_epoch, Due())
    assert await store.reschedule(parked, parked_epoch, Parked())
    assert list(await claim(store)) == [due]
    assert await store.head() == 2


async def test_rescheduling_under_an_old_epoch_changes_nothing(store):
    intent, old = await take(store, lease_seconds=OVER)
    await claim(store)
    assert not await store.reschedule(intent, old, Due())
    assert not await store.reschedule(new_intent(), old, Due())
    assert await claim(store) == {}


async def test_rescheduling_never_undoes_what_was_appended_meanwhile(store):
    intent, epoch = await take(store)
    await append(store, intent, 1, work=Due())
    assert not await store.reschedule(intent, epoch, Parked(), 1)
    assert list(await claim(store)) == [intent]


async def test_rescheduling_at_the_version_that_was_seen_is_made(store):
    intent, epoch = await take(store, lease_seconds=OVER)
    assert await store.reschedule(intent, epoch, Parked(), 1)
    assert await claim(store) == {}


async def test_renewing_extends_the_leases_that_are_held(store):
    intents = {(await take(store, lease_seconds=OVER))[0] for _ in range(2)}
    held = await store.claim("w2", 10, OVER)
    assert set(await store.renew("w2", held, LONG)) == intents
    assert await claim(store) == {}


async def test_a_lease_of_another_worker_or_epoch_is_not_renewed(store):
    await take(store, lease_seconds=OVER)
    stale = await store.claim("w2", 1, OVER)
    fresh = await store.claim("w3", 1, OVER)
    assert list(await store.renew("w2", stale, LONG)) == []
    assert list(await store.renew("w2", fresh, LONG)) == []
    assert list(await claim(store)) == [stale[0].intent]


async def test_an_intent_that_was_given_up_is_not_renewed(store):
    await take(store, lease_seconds=OVER)
    held = await store.claim("w2", 1, LONG)
    await store.reschedule(held[0].intent, held[0].epoch, Due())
    assert list(await store.renew("w2", held, LONG)) == []
    assert list(await claim(store, "w3")) == [held[0].intent]


# ── follow ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_follower_sees_what_was_there_and_what_comes(store):
    await append(store, new_intent(), 0, "a", "b", "c")
    seen: list[int] = []
    writing = None
    async for batch in store.follow(1, 2):
        seen += [r.position for r in batch]
        if seen == [2, 3] and writing is None:
            writing = asyncio.ensure_future(append(store, new_intent(), 0, "a", "b"))
        if len(seen) == 4:
            break
    assert seen == [2, 3, 4, 5]
    await writing


async def test_a_follower_with_nothing_to_see_gets_heartbeats(store):
    batches = [len(batch) async for batch, _ in _first(store.follow(0, 10), 3)]
    assert batches == [0, 0, 0]


@pytest.mark.parametrize("turns", range(5))
async def test_a_follower_that_is_stopped_just_when_something_comes_ends(store, turns):
    heartbeat = asyncio.Event()

    async def follow():
        async for _ in store.follow(0, 10):
            heartbeat.set()

    following = asyncio.create_task(follow())
    await heartbeat.wait()
    await append(store, new_intent(), 0)
    for _ in range(turns):
        await asyncio.sleep(0)
    following.cancel()
    _, left = await asyncio.wait([following], timeout=5)
    following.cancel()
    assert not left


async def _first(follower, number):
    left = number
    async for batch in follower:
        yield batch, left
        left -= 1
        if left == 0:
            return

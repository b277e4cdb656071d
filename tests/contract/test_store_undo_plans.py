"""Undo plans are in flight beside the intents in every store: claimed, leased, rescheduled and finished like them."""

import pytest

from ledger import events as e
from ledger.errors import InvariantViolation
from ledger.ids import flight_of, flight_stream, undo_plan_of, undo_plan_stream
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
    Unlike,
)

STREAM = undo_plan_stream("p-1")
LONG, OVER = 3600.0, 0.0


def append(version: int, *guards, work=None) -> Append:
    halted = (e.UndoPlanHalted(reason="a test"),)
    return Append(stream=STREAM, expected_version=version, events=halted, guards=guards, work=work)


async def test_a_plan_is_claimed_under_the_name_of_its_stream_and_written_under_its_epoch(store: Store):
    assert isinstance(await store.append(append(0, work=Due())), Appended)
    (claimed,) = await store.claim("w1", 10, OVER)
    assert (claimed.intent, claimed.alive) == (STREAM, True)
    (again,) = await store.claim("w2", 10, LONG)
    assert again.epoch > claimed.epoch
    assert await store.claim("w3", 10, LONG) == []
    assert isinstance(await store.append(append(1, EpochCurrent(claimed.epoch))), GuardFailed)
    assert isinstance(await store.append(append(1, EpochCurrent(again.epoch))), Appended)
    assert await store.renew("w2", [again], LONG) == [STREAM]
    assert not await store.reschedule(STREAM, again.epoch, Due(), version=1)
    assert await store.reschedule(STREAM, again.epoch, Due(), version=2)
    (third,) = await store.claim("w3", 10, LONG)
    assert await store.reschedule(STREAM, third.epoch, Parked())
    assert await store.claim("w3", 10, LONG) == []
    assert isinstance(await store.append(append(2, EpochCurrent(third.epoch), work=Finished())), Appended)
    assert isinstance(await store.append(append(3, EpochCurrent(third.epoch))), GuardFailed)
    assert [one.version for one in await store.read(STREAM)] == [1, 2, 3]


@pytest.mark.parametrize("guards", [(KeyUnused("a", "k", "d"),), (KeyUnused("a", "k", "d"), Unlike("l", 1))])
async def test_a_plan_has_no_key_and_no_likeness(store: Store, guards):
    with pytest.raises(InvariantViolation, match="only an intent has"):
        await store.append(append(0, *guards))


@pytest.mark.parametrize("how", [{"work": Due()}, {"guards": (EpochCurrent(1),)}])
async def test_nothing_else_is_in_flight(store: Store, how):
    stream = Append(stream="grants", expected_version=0, events=(e.UndoPlanHalted(reason="a test"),), **how)
    with pytest.raises(InvariantViolation, match="only an intent or an undo plan"):
        await store.append(stream)


def test_what_is_in_flight_has_a_name_that_leads_back_to_its_stream():
    assert flight_of("intent/i-1") == "i-1"
    assert flight_of(STREAM) == STREAM
    assert flight_of("grants") is None
    assert [flight_stream(name) for name in ("i-1", STREAM)] == ["intent/i-1", STREAM]
    assert undo_plan_of(STREAM) == "p-1"
    assert undo_plan_of("intent/p-1") is None

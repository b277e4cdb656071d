"""A view in trouble is alone with it: appends go on as fast as without any view, and other views as far as they can."""

import asyncio
import time

import msgspec
import pytest
from appends import submit
from histories import ledger_of
from views import everything, folded, make, stored, write

from ledger import bounds
from ledger.errors import Corrupt
from projections.catalogue import PROJECTIONS
from projections.follower import Follower

ROUNDS = 5
APPENDS = 300
FACTOR = 2.0  # what a busy machine does to the quickest of five rounds


async def append_many(store) -> float:
    begin = time.perf_counter()
    await asyncio.gather(*(submit(store) for _ in range(APPENDS)))
    return time.perf_counter() - begin


async def test_views_that_fail_cost_appends_nothing(pool, store):
    tried = 0

    def fails(_rows, _recorded):
        nonlocal tried
        tried += 1
        raise Corrupt("This view cannot.")

    broken = [msgspec.structs.replace(p, apply=fails, across=None) for p in PROJECTIONS]
    seconds: dict[str, list[float]] = {"alone": [], "beside": []}
    for _ in range(ROUNDS):
        seconds["alone"].append(await append_many(store))
        follower = Follower(pool, store, broken)
        await follower.start()
        async with asyncio.timeout(20):
            while follower.failure is None:  # noqa: ASYNC110  it has a task of its own
                await asyncio.sleep(0.01)
        seconds["beside"].append(await append_many(store))
        await follower.stop()
    assert min(seconds["beside"]) < FACTOR * min(seconds["alone"]), seconds
    assert 0 < tried <= 2 * ROUNDS * len(broken), "it should not try again and again"


async def test_a_view_that_is_far_behind_keeps_no_other_waiting(pool, store, monkeypatch):
    monkeypatch.setattr(bounds, "VIEW_BATCH_EVENTS", 30)
    events = ledger_of(71, 60)
    await write(pool, events[:-20])
    known = [projection for projection in PROJECTIONS if projection.name != "timeline"]
    await everything(await make(pool, store, known))
    await write(pool, events[-20:])
    follower = await make(pool, store)  # of a release that has one view more
    await follower.advance()
    positions = follower.positions
    assert positions.pop("timeline") == 30
    assert set(positions.values()) == {len(events)}
    assert (follower.reached("audit"), follower.reached()) == (len(events), 30)
    await everything(follower)
    assert await stored(pool) == folded(events)


@pytest.mark.parametrize("stopped", ["intents", "timeline"])
async def test_a_view_that_stopped_says_on_which_event_and_why(pool, store, stopped):
    events = ledger_of(72, 20)
    await write(pool, events)
    broken = [
        msgspec.structs.replace(p, apply=_refuses_the_seventh(p)) if p.name == stopped else p for p in PROJECTIONS
    ]
    follower = await make(pool, store, broken)
    await everything(follower)
    seventh = _read(next(p for p in PROJECTIONS if p.name == stopped), events)[6]
    assert follower.failure == (
        f"{stopped}: Stopped before position {seventh.position}: {seventh.type} in {seventh.stream} is odd."
    )
    assert follower.failure_of("audit") is None
    assert follower.reached(stopped) == seventh.position - 1
    assert follower.reached("audit") == len(events)


def _read(projection, events):
    return [one for one in events if projection.subject(one.stream) is not None and type(one.event) in projection.reads]


def _refuses_the_seventh(projection):
    events = _read(projection, ledger_of(72, 20))

    def refuses(rows, recorded):
        if recorded.position == events[6].position:
            raise Corrupt(f"{recorded.type} in {recorded.stream} is odd.")
        return projection.apply(rows, recorded)

    return refuses

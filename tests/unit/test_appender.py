"""Which appends leave together, and when. The lanes themselves are tested against PostgreSQL."""

import asyncio

import pytest
from appends import revoking

from ledger import bounds
from ledger import events as e
from ledger.appender import LANES, OVERLAP_ITEMS, Appender
from ledger.ids import intent_stream
from ledger.store import Append, KeyUnused, Unlike


@pytest.fixture
async def appender():
    """An appender without lanes: what is appended waits until the test takes it."""
    made = Appender(pool=None, ledger="main", committed=lambda at: None)
    made._stopped = False
    waiting: list[asyncio.Task] = []

    async def put(*names: str, key: str | None = None, likeness: str | None = None, size: int = 1) -> None:
        for name in names:
            guards = () if key is None else (KeyUnused("agent", key, "digest"),)
            if likeness is not None:
                guards = (KeyUnused("agent", name, "digest"), Unlike(likeness, 60))
            events = (e.ActionFailed(action="a", reason="x" * size),)
            await append(Append(stream=intent_stream(name), expected_version=0, events=events, guards=guards))

    async def append(one: Append) -> None:
        waiting.append(asyncio.ensure_future(made.append(one)))
        await asyncio.sleep(0)

    made.put, made.put_append, made.tasks = put, append, waiting
    yield made
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def names(batch) -> list[str]:
    return [item.append.stream.removeprefix("intent/") for item in batch]


async def test_what_waits_leaves_together_in_order(appender):
    await appender.put("a", "b", "c")
    assert names(appender._take()) == ["a", "b", "c"]
    assert appender._take() == []


async def test_a_stream_is_named_once_in_a_batch_and_the_others_keep_their_order(appender):
    await appender.put("a", "a", "b", "a")
    assert names(appender._take()) == ["a", "b"]
    assert names(appender._take()) == ["a"]
    assert names(appender._take()) == ["a"]


async def test_a_submission_key_is_named_once_in_a_batch(appender):
    await appender.put("a", "b", key="k")
    await appender.put("c", key="other")
    assert names(appender._take()) == ["a", "c"]
    assert names(appender._take()) == ["b"]


async def test_a_likeness_is_named_once_in_a_batch(appender):
    await appender.put("a", "b", likeness="x")
    await appender.put("c", likeness="other")
    assert names(appender._take()) == ["a", "c"]
    assert names(appender._take()) == ["b"]


async def test_a_change_of_authority_leaves_alone_and_in_its_place(appender):
    await appender.put("a", "b", "a")
    for grant in ("g", "h"):
        await appender.put_append(revoking(grant))
    await appender.put("c", "d")
    batches = [names(appender._take()) for _ in range(5)]
    assert batches == [["a", "b"], ["a"], ["grant/g"], ["grant/h"], ["c", "d"]]


async def test_a_waiter_that_is_gone_is_not_sent(appender):
    await appender.put("a", "b")
    appender.tasks[0].cancel()
    await asyncio.sleep(0)
    assert names(appender._take()) == ["b"]


async def test_beside_a_batch_under_way_only_one_that_is_worth_it_leaves(appender):
    appender._under_way = 1
    await appender.put(*(f"i-{n}" for n in range(OVERLAP_ITEMS - 1)))
    assert appender._take() == []
    await appender.put("one more")
    assert len(appender._take()) == OVERLAP_ITEMS


async def test_under_load_the_lanes_share_what_waits(appender):
    await appender.put(*(f"i-{n}" for n in range(300)))
    assert len(appender._take()) == 300 // LANES


async def test_no_batch_exceeds_its_bounds(appender, monkeypatch):
    monkeypatch.setattr(bounds, "BATCH_ITEMS", 20)
    monkeypatch.setattr(bounds, "BATCH_BYTES", 10_000)
    await appender.put(*(f"small-{n}" for n in range(30)))
    assert len(appender._take()) == 20
    appender._waiting.clear()
    await appender.put(*(f"large-{n}" for n in range(5)), size=4_000)
    assert [len(appender._take()) for _ in range(3)] == [2, 2, 1]
    await appender.put("larger than a batch", size=20_000)
    assert len(appender._take()) == 1

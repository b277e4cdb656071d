"""Runs of one process: how they are waited for, and that no two of them share an intent under one epoch."""

import asyncio
from itertools import islice

import pytest
from doorway import doorway, eventually, intent

from adapters.registry import Registry
from coordinator.backoff import pauses
from coordinator.runner import Lost
from coordinator.undo_runner import UndoRunner
from coordinator.worker import Worker
from ledger import events as e
from ledger.errors import NotFound
from ledger.ids import intent_stream
from ledger.store import Append, Due, Take

INTENT = "01930000-0000-7000-8000-000000000001"


class Runs:
    """Stands in for the runner: each run waits to be told how it ends."""

    def __init__(self) -> None:
        self.begun: list[int] = []  # epochs
        self.ends: dict[int, asyncio.Future] = {}

    async def run(self, _state, lease):
        self.begun.append(lease.epoch)
        return await self.ends.setdefault(lease.epoch, asyncio.get_running_loop().create_future())

    async def until_begun(self, number):
        async def begun():
            return len(self.begun) >= number

        await eventually(begun)


@pytest.fixture
def runs():
    return Runs()


@pytest.fixture
def worker(store, runs):
    return Worker(store, runs, UndoRunner(store, Registry([])), "w1", lease_seconds=15.0)


async def take(store, version=0):
    """Lease the intent to this process; return the epoch."""
    event = e.ActionDone(action="a", result={})
    work = Take("w1", 15.0)
    verdict = await store.append(
        Append(stream=intent_stream(INTENT), expected_version=version, events=(event,), work=work)
    )
    return verdict.epoch


async def test_an_intent_that_runs_here_is_not_begun_again_under_the_same_epoch(store, worker, runs):
    epoch = await take(store)
    first = worker.begin(INTENT, epoch, worker.lease_until(), state="seen")
    assert worker.begin(INTENT, epoch, worker.lease_until(), state="seen") is first
    await runs.until_begun(1)
    runs.ends[epoch].set_result("rest")
    assert await first == "rest"
    assert runs.begun == [epoch]
    assert worker.in_flight == 0


async def test_a_run_that_lost_does_not_free_the_lease_of_a_newer_one(store, worker, runs):
    old = await take(store)
    lost = worker.begin(INTENT, old, worker.lease_until(), state="seen")
    new = await take(store, 1)
    going = worker.begin(INTENT, new, worker.lease_until(), state="seen")
    await runs.until_begun(2)
    runs.ends[old].set_result(Lost("a test"))
    assert await lost is None
    assert worker.running(INTENT) is going
    assert list(await store.claim("another", 1, 15.0)) == []
    runs.ends[new].set_result("rest")
    await going
    assert worker.in_flight == 0


async def test_a_drain_waits_for_the_older_run_of_an_intent_too(store, worker, runs):
    old, new = await take(store), await take(store, 1)
    older = worker.begin(INTENT, old, worker.lease_until(), state="seen")
    newer = worker.begin(INTENT, new, worker.lease_until(), state="seen")
    await runs.until_begun(2)
    draining = asyncio.create_task(worker.drain(10))
    runs.ends[new].set_result("rest")
    await newer
    assert worker.in_flight == 1
    done, _ = await asyncio.wait([draining], timeout=0.1)
    assert not done
    runs.ends[old].set_result("rest")
    await draining
    assert older.done()


async def test_a_drain_stops_every_run_that_does_not_come_to_rest(store, worker, runs):
    old, new = await take(store), await take(store, 1)
    tasks = [worker.begin(INTENT, epoch, worker.lease_until(), state="seen") for epoch in (old, new)]
    await runs.until_begun(2)
    await worker.drain(0.05)
    assert [task.cancelled() for task in tasks] == [True, True]
    assert [one.intent for one in await store.claim("another", 1, 15.0)] == [INTENT]


async def test_what_is_being_claimed_when_a_drain_begins_is_given_away_too(store, worker, monkeypatch):
    await store.reschedule(INTENT, await take(store), Due())
    claim, claimed, go_on = store.claim, asyncio.Event(), asyncio.Event()

    async def slow(*asked):
        answer = await claim(*asked)
        claimed.set()
        await go_on.wait()
        return answer

    monkeypatch.setattr(store, "claim", slow)
    worker.start()
    await claimed.wait()
    draining = asyncio.create_task(worker.drain(0))
    asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, go_on.set)
    await draining
    assert [one.intent for one in await claim("another", 1, 15.0)] == [INTENT]


async def test_whoever_waits_for_an_intent_of_another_process_reads_only_what_is_new(dsn, monkeypatch):
    async with doorway(dsn) as door:
        door.bank.gate.clear()
        _, body, _ = await door.submit(intent(("bank.post", "88", 1), deadline=300), wait=None)
        here, store = door.service.coordinator, door.service.store

        async def preparing():
            return (await here.get(body["id"])).phase == "preparing"

        await eventually(preparing)
        version = (await here.get(body["id"])).version
        monkeypatch.setattr(here._worker, "running", lambda _: None)  # as if it ran elsewhere
        asked: list[int] = []
        read = store.read

        async def reading(stream, after_version=0):
            asked.append(after_version)
            if len(asked) == 3:
                door.bank.gate.set()
            return await read(stream, after_version)

        monkeypatch.setattr(store, "read", reading)
        state = await asyncio.wait_for(here.rest(body["id"]), 10)
        assert state.phase == "committed"
        assert asked[:3] == [0, version, version]
        assert 0 not in asked[1:]


def test_the_pauses_of_a_wait_grow_to_a_second():
    assert list(islice(pauses(), 7)) == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]


async def test_a_wait_for_an_intent_that_does_not_exist_ends_at_once(dsn):
    async with doorway(dsn) as door:
        with pytest.raises(NotFound):
            await asyncio.wait_for(door.service.coordinator.rest(INTENT), 5)


async def test_a_plan_on_which_our_own_code_fails_halts_and_says_so(dsn, monkeypatch):
    def fails(*_):
        raise ZeroDivisionError

    async with doorway(dsn) as door:
        assert (await door.submit(intent(("bank.post", "alice", 1))))[1]["phase"] == "committed"
        _, plan, _ = await door.post("/v1/undo-plans", {"task": "12A", "reason": "a test"})
        path = f"/v1/undo-plans/{plan['id']}"
        with monkeypatch.context() as patch:
            patch.setattr("coordinator.undo_runner.begin_or_end", fails)
            await door.post(f"{path}/approve", {"digest": plan["digest"]})

            async def halted():
                shown = (await door.get(path))[1]
                return shown if shown["phase"] == "halted" else None

            assert "ZeroDivisionError in our own code" in (await eventually(halted))["halted"]
        assert (await door.post(f"{path}/approve", {"digest": plan["digest"]}))[0] == 202

        async def done():
            return (await door.get(path))[1]["phase"] == "done"

        await eventually(done)
        assert door.bank.world.balances == {"alice": 0}

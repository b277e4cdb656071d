"""Races that seeds meet too rarely, each set up by hand."""

import asyncio
from datetime import timedelta

import pytest
from simulation.cast import activate, principal, token
from simulation.chance import Scripted
from simulation.shapes import shape
from simulation.store import Database, SimulatedStore
from simulation.systems import REGISTRY
from simulation.world import World, request

from authority.authority import Authority
from coordinator import people
from coordinator.calls import Calls, Lease
from coordinator.coordinator import Coordinator
from coordinator.intake import RequestedAction, submitted
from coordinator.runner import Lost, Runner
from ledger import events as e
from ledger.errors import Unauthenticated
from ledger.ids import intent_stream
from ledger.state import content_digest, fold
from ledger.store import Append, Due, Parked

INTENT = "01930000-0000-7000-8000-000000000001"
STREAM = intent_stream(INTENT)
DAY = timedelta(days=1)
VERDICT = e.PolicyEvaluated(effect="escalate", policies=(), policy_set="sha256:p")
PREPARED = e.ActionPrepared(action="a", receipt={}, preview={})


def waits_for_approval(world):
    tomorrow = world.database.now() + timedelta(days=1)
    return (VERDICT, PREPARED, e.ApprovalRequested(digest="sha256:d", expires_at=tomorrow))


def waits_for_attention(_world):
    return (VERDICT, PREPARED, e.AttentionRaised(action=None, reason="a test"))


def cancels(state):
    return people.cancel(state, "no", "operator")


def resolves(state):
    return people.resolve(state, None, "applied", "", "operator")


@pytest.mark.parametrize(
    ("waiting", "word"),
    [(waits_for_approval, cancels), (waits_for_attention, resolves), (waits_for_attention, cancels)],
)
def test_a_runner_that_looked_before_a_person_spoke_does_not_oversleep_it(waiting, word):
    async def scenario(world):
        database, store = world.database, SimulatedStore(world.database, world.network)
        first = submitted(request("k", shape("atomic.exact")), REGISTRY, principal("alpha"), "main", INTENT)
        await store.append(Append(stream=STREAM, expected_version=0, events=(first, *waiting(world)), work=Due()))
        (claimed,) = await store.claim("worker", 1, 15.0)
        seen = fold(await store.read(STREAM))
        await store.append(Append(stream=STREAM, expected_version=seen.version, events=(word(seen),), work=Due()))
        runner = Runner(store, Calls(store, REGISTRY), Authority(store))
        ended = await runner.run(seen, Lease(INTENT, claimed.epoch, store.now() + timedelta(seconds=15)))
        assert isinstance(ended, Lost)
        assert [one.intent for one in database.claim("another", 1, 15.0)] == [INTENT]

    World(Scripted()).run(scenario)


def test_rescheduling_for_a_version_that_is_gone_would_have_parked_it():
    """The test above can fail: without the version the sleep is granted."""

    async def scenario(world):
        store = SimulatedStore(world.database, world.network)
        first = submitted(request("k", shape("atomic.exact")), REGISTRY, principal("alpha"), "main", INTENT)
        await store.append(Append(stream=STREAM, expected_version=0, events=(first, VERDICT), work=Due()))
        (claimed,) = await store.claim("worker", 1, 15.0)
        await store.append(Append(stream=STREAM, expected_version=2, events=(PREPARED,), work=Due()))
        assert await store.reschedule(INTENT, claimed.epoch, Parked())
        assert world.database.claim("another", 1, 15.0) == []

    World(Scripted()).run(scenario)


def test_an_approval_that_comes_after_its_time_does_not_count():
    """The clock of whoever recorded it was behind; the ledger's time is what counts."""

    async def scenario(world):
        database, store = world.database, SimulatedStore(world.database, world.network)
        wanted = request("k", (RequestedAction("a", "atomic.exact", {"n": 6}),))
        first = submitted(wanted, REGISTRY, principal("alpha"), "main", INTENT)
        activate(database, "usual")
        verdict = await Authority(store).verdict(first, {}, store.now())
        soon = store.now() + timedelta(seconds=5)
        asks = e.ApprovalRequested(digest=content_digest(state_of(first, verdict, PREPARED)), expires_at=soon)
        events = (first, verdict, PREPARED, asks)
        await store.append(Append(stream=STREAM, expected_version=0, events=events, work=Due()))
        await asyncio.sleep(6.0)
        given = e.ApprovalGiven(digest=asks.digest, by="dana", grant="grant-dana")
        await store.append(Append(stream=STREAM, expected_version=4, events=(given,), work=Due()))
        (claimed,) = await store.claim("worker", 1, 15.0)
        runner = Runner(store, Calls(store, REGISTRY), Authority(store))
        ended = await runner.run(fold(await store.read(STREAM)), Lease(INTENT, claimed.epoch, soon + DAY))
        assert ended.committed is None, "it was decided to commit"
        assert ended.abort.cause == "expired"

    World(Scripted()).run(scenario)


def state_of(*events):
    """Fold events as if they were recorded."""
    database = Database(lambda: 0.0)
    verdict = database.append(Append(stream=STREAM, expected_version=0, events=events))
    return fold(verdict.recorded)


def test_a_person_whose_grant_dies_while_they_speak_is_not_heard():
    """Who they are was looked at when their request began; what they want came after the revoke had returned."""

    async def scenario(world):
        store = SimulatedStore(world.database, world.network)
        first = submitted(request("k", shape("atomic.exact")), REGISTRY, principal("gamma"), "main", INTENT)
        await store.append(Append(stream=STREAM, expected_version=0, events=(first,), work=Due()))
        authority = Authority(store)
        coordinator = Coordinator(store, REGISTRY, authority, world.random.randbytes, "worker")
        manager = await authority.authenticate(token("manager"))
        await authority.revoke(await authority.authenticate(token("operator")), "grant-manager", "a test")
        try:
            await coordinator.cancel(INTENT, manager, "no")
        except Unauthenticated:
            return
        raise AssertionError("somebody was heard whose grant is dead")

    World(Scripted()).run(scenario)

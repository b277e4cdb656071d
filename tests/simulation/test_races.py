"""Races that seeds meet too rarely, each set up by hand."""

from datetime import timedelta

import pytest
from simulation.cast import principal
from simulation.chance import Scripted
from simulation.shapes import shape
from simulation.store import SimulatedStore
from simulation.systems import REGISTRY
from simulation.world import World, request

from authority.authority import Authority
from coordinator import people
from coordinator.calls import Calls, Lease
from coordinator.intake import submitted
from coordinator.runner import Lost, Runner
from ledger import events as e
from ledger.ids import intent_stream
from ledger.state import fold
from ledger.store import Append, Due, Parked

INTENT = "01930000-0000-7000-8000-000000000001"
STREAM = intent_stream(INTENT)
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

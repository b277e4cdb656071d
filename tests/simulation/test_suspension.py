"""Suspending for an anomaly: once for each, never against what a person has said since, and never the first grant."""

import itertools
from datetime import timedelta

import pytest
from appends import resuming, revoke, suspending, tree
from simulation.network import Network
from simulation.store import Database, SimulatedStore

from authority.suspension import suspend_for
from ledger.events import GrantSuspended


@pytest.fixture
def store():
    ticks = itertools.count(1)
    return SimulatedStore(Database(lambda: float(next(ticks))), Network())


async def suspensions(store):
    return sum(isinstance(one.event, GrantSuspended) for one in await store.read("grant/a"))


async def test_it_is_suspended_once_for_an_anomaly_and_says_so_each_time(store):
    await tree(store, ("top", None), ("a", "top"))
    found = store.now()
    assert await suspend_for(store, "a", "7-0", "odd", found)
    assert await suspend_for(store, "a", "7-0", "odd", found)
    assert not await suspend_for(store, "a", "8-0", "odd", found), "it is suspended already, for something else"
    assert await suspensions(store) == 1


async def test_what_a_person_has_lifted_is_not_suspended_for_what_was_found_before(store):
    await tree(store, ("top", None), ("a", "top"))
    found = store.now()
    await suspend_for(store, "a", "7-0", "odd", found)
    await store.append(resuming("a"))
    assert await suspend_for(store, "a", "7-0", "odd", found), "it was suspended for it, and that is all there is to do"
    assert not await suspend_for(store, "a", "8-0", "odd", found)
    assert await suspensions(store) == 1
    assert await suspend_for(store, "a", "9-0", "odd", store.now() + timedelta(seconds=1))
    assert await suspensions(store) == 2


async def test_nobody_is_suspended_who_is_dead_unknown_or_the_first(store):
    await tree(store, ("top", None), ("a", "top"), ("b", "top"))
    await revoke(store, "a")
    for grant in ("a", "top", "nobody"):
        assert not await suspend_for(store, grant, "7-0", "odd", store.now())
    await store.append(suspending("b"))
    assert not await suspend_for(store, "b", "7-0", "odd", store.now())

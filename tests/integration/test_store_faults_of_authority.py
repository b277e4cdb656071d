"""What authority asks of an append, when the connection breaks around its commit: nothing twice, nothing mistaken."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from appends import LONG, activate, charge, deciding, issue, issued, issuing, new_intent, revoke, revoking, submitting
from tcp_proxy import Cut, proxy_to

from ledger.database import open_pool
from ledger.grants import Charge
from ledger.ids import intent_stream
from ledger.postgres_store import PostgresStore
from ledger.store import (
    Appended,
    EpochCurrent,
    GrantAlive,
    GuardFailed,
    PolicyActive,
    Restore,
    Take,
    Unknown,
    Unlike,
    WithinLimits,
)

SIX = Charge(limit="x", per="total", amount=6, max=10)
MARK = "marked"


@asynccontextmanager
async def started(dsn: str):
    pool = await open_pool(dsn, 6)
    store = PostgresStore(pool, "main")
    await store.start()
    try:
        yield store
    finally:
        await store.stop()
        pool.terminate()


@pytest.fixture
async def through_proxy(dsn):
    """A store behind a proxy, and the proxy."""
    async with proxy_to(dsn) as (proxy, far_dsn), started(far_dsn) as store:
        yield store, proxy


async def used(store) -> int:
    verdict = await charge(store, Charge(limit="x", per="total", amount=1, max=-1))
    return verdict.used


CUTS = pytest.mark.parametrize("cut", [Cut.BEFORE_SERVER, Cut.AFTER_SERVER])


@CUTS
async def test_a_decision_that_is_sent_twice_is_charged_once(through_proxy, cut):
    store, proxy = through_proxy
    await issue(store, "g")
    opened = await store.append(submitting(MARK, GrantAlive("g"), work=Take("w1", LONG)))
    proxy.arm(MARK.encode(), cut)
    guards = (EpochCurrent(opened.epoch), GrantAlive("g"), PolicyActive(None), WithinLimits((SIX,)))
    assert isinstance(await store.append(deciding(*guards, intent=MARK, version=1, notify=0)), Appended)
    assert proxy.cuts == 1
    assert await used(store) == 6
    assert await store._pool.fetchval("select count(*) from intent_ledger.outbox") == 1


@CUTS
async def test_a_submission_that_is_sent_twice_is_not_like_itself(through_proxy, cut):
    store, proxy = through_proxy
    proxy.arm(MARK.encode(), cut)
    assert isinstance(await store.append(submitting(MARK, Unlike("likeness", 60), work=Take("w1", LONG))), Appended)
    assert proxy.cuts == 1
    refused = await store.append(submitting(new_intent(), Unlike("likeness", 60)))
    assert refused == GuardFailed(Unlike("likeness", 60), intent=MARK)


@CUTS
async def test_what_is_restored_twice_on_the_way_is_given_back_once(through_proxy, cut):
    store, proxy = through_proxy
    await charge(store, SIX)
    charged = await charge(store, Charge(limit="x", per="total", amount=4, max=10))
    proxy.arm(MARK.encode(), cut)
    four = Restore((Charge(limit="x", per="total", amount=4, max=10),), charged.recorded[0].at)
    assert isinstance(await store.append(deciding(intent=MARK, restore=four)), Appended)
    assert proxy.cuts == 1
    assert await used(store) == 6


@CUTS
async def test_a_grant_whose_issue_was_sent_twice_is_issued(through_proxy, cut):
    store, proxy = through_proxy
    proxy.arm(MARK.encode(), cut)
    assert isinstance(await store.append(issuing(issued(MARK))), Appended)
    assert proxy.cuts == 1
    assert isinstance(await store.append(deciding(GrantAlive(MARK))), Appended)


@CUTS
async def test_a_revocation_that_was_sent_twice_is_obeyed(through_proxy, cut):
    store, proxy = through_proxy
    await issue(store, MARK)
    proxy.arm(MARK.encode(), cut)
    assert isinstance(await store.append(revoking(MARK)), Appended)
    assert proxy.cuts == 1
    assert await store.append(deciding(GrantAlive(MARK))) == GuardFailed(GrantAlive(MARK))


async def overtaken(through_proxy, dsn, append, before):
    """Send an append that the server gets late; meanwhile somebody else makes one of its guards fail."""
    store, proxy = through_proxy
    async with started(dsn) as rival:
        proxy.arm(MARK.encode(), Cut.LATE, stay_away=True)
        ours = asyncio.ensure_future(store.append(append))
        give_up_at = asyncio.get_running_loop().time() + 5
        while proxy.cuts == 0:
            assert asyncio.get_running_loop().time() < give_up_at
            await asyncio.sleep(0.01)
        await before(rival)
        proxy.is_closed = False
        return await ours


async def test_a_decision_after_a_revocation_is_certainly_not_made_even_if_its_original_arrives_late(
    dsn, through_proxy
):
    store, proxy = through_proxy
    await issue(store, "g")
    answer = await overtaken(
        through_proxy, dsn, deciding(GrantAlive("g"), intent=MARK), lambda rival: revoke(rival, "g")
    )
    assert answer == GuardFailed(GrantAlive("g"))
    proxy.deliver.set()
    assert isinstance(await store.append(deciding()), Appended)
    assert list(await store.read(intent_stream(MARK))) == []


PASSING = {
    "limits": (WithinLimits((SIX,)), lambda rival: charge(rival, SIX)),
    "policy": (PolicyActive(None), lambda rival: activate(rival, "p", 0)),
    "likeness": (Unlike("x", 60), lambda rival: rival.append(submitting(new_intent(), Unlike("x", 60)))),
}


@pytest.mark.parametrize("what", PASSING)
async def test_what_may_still_be_written_when_its_original_arrives_is_not_said_to_be_refused(dsn, through_proxy, what):
    guard, before = PASSING[what]
    append = submitting(MARK, guard, work=None)
    assert isinstance(await overtaken(through_proxy, dsn, append, before), Unknown)
    store, proxy = through_proxy
    proxy.deliver.set()
    assert isinstance(await store.append(deciding()), Appended)


async def test_what_was_said_to_be_unknown_can_indeed_be_written_later(dsn, through_proxy):
    store, proxy = through_proxy
    answer = await overtaken(
        through_proxy, dsn, submitting(MARK, PolicyActive(None)), lambda rival: activate(rival, "p", 0)
    )
    assert isinstance(answer, Unknown)
    await activate(store, None, 1)
    proxy.deliver.set()
    give_up_at = asyncio.get_running_loop().time() + 5
    while not await store.read(intent_stream(MARK)):
        assert asyncio.get_running_loop().time() < give_up_at
        await asyncio.sleep(0.01)

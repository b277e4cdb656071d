"""The appender when something fails: a bad item, a busy server, a connection that breaks around the commit."""

import asyncio
import hashlib
from contextlib import asynccontextmanager

import asyncpg
import pytest
from tcp_proxy import Cut, proxy_to

from ledger import bounds
from ledger import events as e
from ledger.database import open_pool
from ledger.errors import InvariantViolation, Overloaded
from ledger.ids import intent_stream
from ledger.postgres_store import PostgresStore
from ledger.store import Append, Appended, EpochCurrent, Finished, KeyUnused, Take, Unknown, VersionConflict

INCOMPRESSIBLE = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(200))
EVENTS = (e.ActionDone(action="a", result={"id": "1"}), e.IntentCommitted())


def append_to(name: str, version: int = 0, **options) -> Append:
    return Append(stream=intent_stream(name), expected_version=version, events=EVENTS, **options)


@asynccontextmanager
async def started(dsn: str, ledger: str = "main"):
    pool = await open_pool(dsn, 6)
    store = PostgresStore(pool, ledger)
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


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(bounds, "AWAY_SECONDS", 0.3)


# ── items ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "bad",
    [
        append_to("nul\x00"),  # refused by the server
        append_to("surrogate\ud800"),  # no UTF-8 text at all
        append_to("k", guards=(KeyUnused("agent", INCOMPRESSIBLE, "d"),)),  # beyond an index row
    ],
    ids=["nul", "surrogate", "long"],
)
async def test_a_bad_item_fails_alone(store, bad):
    answers = await asyncio.gather(
        *(store.append(append_to(f"good-{n}")) for n in range(10)),
        store.append(bad),
        *(store.append(append_to(f"more-{n}")) for n in range(10)),
        return_exceptions=True,
    )
    assert isinstance(answers.pop(10), InvariantViolation)
    assert all(isinstance(answer, Appended) for answer in answers)
    assert await store.head() == 20 * len(EVENTS)


async def test_guards_on_a_stream_that_is_no_intents_are_refused(store):
    with pytest.raises(InvariantViolation):
        await store.append(Append(stream="grants", expected_version=0, events=EVENTS, work=Finished()))


async def test_a_waiter_that_is_cancelled_changes_nothing_for_the_others(store):
    tasks = [asyncio.ensure_future(store.append(append_to(f"i-{n}"))) for n in range(40)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
    assert all(isinstance(answer, Appended) for answer in answers[1::2])
    assert isinstance(await store.append(append_to("after")), Appended)


async def test_more_waiters_than_the_queue_holds_are_refused_before_anything_is_sent(store, monkeypatch):
    monkeypatch.setattr(bounds, "APPENDS_QUEUED", 5)
    answers = await asyncio.gather(*(store.append(append_to(f"i-{n}")) for n in range(50)), return_exceptions=True)
    taken = [answer for answer in answers if isinstance(answer, Appended)]
    assert len(taken) == 5
    assert sum(isinstance(answer, Overloaded) for answer in answers) == 45
    assert await store.head() == 5 * len(EVENTS)


async def test_stopping_answers_what_was_taken_and_refuses_the_rest(dsn):
    async with started(dsn) as store:
        tasks = [asyncio.ensure_future(store.append(append_to(f"i-{n}"))) for n in range(20)]
        await asyncio.sleep(0)
        await store.stop()
        assert all(isinstance(task.result(), Appended) for task in tasks)
        with pytest.raises(Overloaded):
            await store.append(append_to("late"))


@pytest.mark.usefixtures("impatient")
async def test_stopping_leaves_nobody_without_an_answer(dsn):
    async with started(dsn) as store:
        blocker = await asyncpg.connect(dsn)
        async with blocker.transaction():
            await blocker.execute("select from intent_ledger.heads for update")
            sent = asyncio.ensure_future(store.append(append_to("sent")))
            await eventually(lambda: store._appender._under_way == 1)
            queued = asyncio.ensure_future(store.append(append_to("queued")))
            await asyncio.sleep(0)
            await store.stop()
            assert isinstance(await sent, Unknown)
            with pytest.raises(Overloaded):
                await queued
        await blocker.close()


async def test_a_server_that_cannot_now_has_written_nothing(dsn, monkeypatch):
    monkeypatch.setattr(bounds, "STATEMENT_SECONDS", 0.3)
    async with started(dsn) as store:
        blocker = await asyncpg.connect(dsn)
        async with blocker.transaction():
            await blocker.execute("select from intent_ledger.heads for update")
            with pytest.raises(Overloaded):
                await store.append(append_to("i"))
        await blocker.close()
        assert await store.head() == 0
        assert isinstance(await store.append(append_to("i")), Appended)


# ── lost answers ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cut", [Cut.BEFORE_SERVER, Cut.AFTER_SERVER])
async def test_a_connection_cut_around_the_commit_gives_the_true_answer(through_proxy, cut):
    store, proxy = through_proxy
    proxy.arm(b"marked", cut)
    answers = await asyncio.gather(
        store.append(append_to("marked", guards=(KeyUnused("agent", "k", "d"),), work=Take("w", 60.0))),
        *(store.append(append_to(f"i-{n}")) for n in range(10)),
    )
    assert proxy.cuts == 1
    assert all(isinstance(answer, Appended) for answer in answers)
    assert await store.head() == 11 * len(EVENTS)
    assert list(await store.read(intent_stream("marked"))) == list(answers[0].recorded)
    guarded = append_to("marked", len(EVENTS), guards=(EpochCurrent(answers[0].epoch),), work=Finished())
    assert isinstance(await store.append(guarded), Appended)


async def test_a_request_that_arrives_late_changes_nothing(through_proxy):
    store, proxy = through_proxy
    proxy.arm(b"marked", Cut.LATE)
    answer = await store.append(append_to("marked"))
    assert isinstance(answer, Appended)
    proxy.deliver.set()
    assert isinstance(await store.append(append_to("next")), Appended)
    assert list(await store.read(intent_stream("marked"))) == list(answer.recorded)


async def test_a_finish_whose_answer_was_lost_is_recognised(through_proxy):
    store, proxy = through_proxy
    taken = await store.append(append_to("marked", work=Take("w", 60.0)))
    proxy.arm(b"marked", Cut.AFTER_SERVER)
    last = append_to("marked", len(EVENTS), guards=(EpochCurrent(taken.epoch),), work=Finished())
    assert isinstance(await store.append(last), Appended)
    assert proxy.cuts == 1
    assert await store.head() == 2 * len(EVENTS)


async def test_a_conflict_is_told_as_one_although_the_answer_was_lost(through_proxy):
    store, proxy = through_proxy
    other = Append(stream=intent_stream("marked"), expected_version=0, events=EVENTS[1:])
    await store.append(other)
    proxy.arm(b"marked", Cut.AFTER_SERVER)
    assert await store.append(append_to("marked")) == VersionConflict(1)
    assert proxy.cuts == 1


async def test_the_same_bytes_by_another_worker_are_not_taken_for_our_own(dsn, through_proxy):
    store, proxy = through_proxy
    async with started(dsn) as rival:
        taken = await store.append(append_to("marked", work=Take("w", 0.0)))
        proxy.arm(b"marked", Cut.BEFORE_SERVER, stay_away=True)
        ours = asyncio.ensure_future(
            store.append(append_to("marked", len(EVENTS), guards=(EpochCurrent(taken.epoch),)))
        )
        (claimed,) = await rival.claim("rival", 1, 60.0)
        theirs = append_to("marked", len(EVENTS), guards=(EpochCurrent(claimed.epoch),))
        await eventually(lambda: proxy.cuts == 1)
        assert isinstance(await rival.append(theirs), Appended)
        proxy.is_closed = False
        assert isinstance(await ours, Unknown)


@pytest.mark.usefixtures("impatient")
async def test_while_the_database_is_away_nothing_is_guessed_and_new_appends_are_refused(through_proxy):
    store, proxy = through_proxy
    proxy.arm(b"marked", Cut.AFTER_SERVER, stay_away=True)
    assert isinstance(await store.append(append_to("marked")), Unknown)
    with pytest.raises(Overloaded):
        await store.append(append_to("refused"))
    proxy.is_closed = False
    answer = await eventually_appended(store, append_to("back"))
    assert [r.position for r in answer.recorded] == [3, 4]
    assert len(await store.read(intent_stream("marked"))) == len(EVENTS)
    assert list(await store.read(intent_stream("refused"))) == []


@pytest.mark.usefixtures("impatient")
async def test_what_was_not_sent_when_the_database_went_away_is_refused(through_proxy):
    store, proxy = through_proxy
    await store.append(append_to("first"))
    proxy.close_now()
    await asyncio.sleep(0)
    answers = await asyncio.gather(*(store.append(append_to(f"i-{n}")) for n in range(30)), return_exceptions=True)
    assert {type(answer) for answer in answers} <= {Unknown, Overloaded}
    proxy.is_closed = False
    await eventually_appended(store, append_to("back"))
    for n, answer in enumerate(answers):
        if isinstance(answer, Overloaded):
            assert list(await store.read(intent_stream(f"i-{n}"))) == []


async def test_a_server_that_ends_its_connections_loses_no_append(dsn, store):
    other = await asyncpg.connect(dsn)
    tasks = [asyncio.ensure_future(store.append(append_to(f"i-{n}"))) for n in range(300)]
    for _ in range(5):
        await asyncio.sleep(0)
        await other.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and application_name = 'intentledger'"
        )
    answers = await asyncio.gather(*tasks)
    await other.close()
    assert all(isinstance(answer, Appended) for answer in answers)
    everything = await store.read_all(0, 1_000)
    assert [r.position for r in everything] == list(range(1, 300 * len(EVENTS) + 1))
    assert {(r.stream, r.version, r.position) for r in everything} == {
        (r.stream, r.version, r.position) for answer in answers for r in answer.recorded
    }


async def eventually(condition, seconds: float = 5.0) -> None:
    give_up_at = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < give_up_at, "it did not come true in time"
        await asyncio.sleep(0.01)


async def eventually_appended(store, append: Append, seconds: float = 5.0) -> Appended:
    give_up_at = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            answer = await store.append(append)
        except Overloaded:
            assert asyncio.get_running_loop().time() < give_up_at, "the store did not come back in time"
            await asyncio.sleep(0.05)
        else:
            assert isinstance(answer, Appended)
            return answer

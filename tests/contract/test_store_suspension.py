"""What every store promises about suspended grants: dead while it lasts, alive after it, each suspension for itself."""

import pytest
from appends import LONG, decide, issue, issued, issuing, resuming, revoke, submit, suspending, tree

from ledger import events as e
from ledger.errors import InvariantViolation
from ledger.store import Append, Appended, GrantAlive, Parked, Resume, StandingGrant, Suspend, VersionConflict


async def is_alive(store, grant: str) -> bool:
    return isinstance(await decide(store, GrantAlive(grant)), Appended)


async def test_a_suspended_grant_is_dead_with_all_below_it_until_it_is_resumed(store):
    await tree(store, ("top", None), ("a", "top"), ("a1", "a"), ("b", "top"))
    assert isinstance(await store.append(suspending("a")), Appended)
    assert [await is_alive(store, name) for name in ("top", "a", "a1", "b")] == [True, False, False, True]
    chain = list(await store.chain(grant="a1"))
    assert [(one.revoked, one.suspended) for one in chain] == [(False, False), (False, True), (False, True)]
    assert isinstance(await store.append(resuming("a")), Appended)
    assert [await is_alive(store, name) for name in ("top", "a", "a1", "b")] == [True, True, True, True]


async def test_lifting_one_suspension_leaves_the_others_in_force(store):
    await tree(store, ("top", None), ("a", "top"), ("a1", "a"))
    await store.append(suspending("a"))
    await store.append(suspending("a1"))
    await store.append(resuming("a"))
    assert [await is_alive(store, name) for name in ("a", "a1")] == [True, False]
    await store.append(resuming("a1"))
    assert await is_alive(store, "a1")


async def test_what_was_revoked_stays_dead_when_a_suspension_ends(store):
    await tree(store, ("top", None), ("a", "top"))
    await store.append(suspending("top"))
    await revoke(store, "a")
    await store.append(resuming("top"))
    assert [await is_alive(store, name) for name in ("top", "a")] == [True, False]
    assert (await store.chain(grant="a"))[-1] == StandingGrant(issued("a", "top"), revoked=True, suspended=False)


async def test_what_is_issued_below_a_suspended_grant_is_suspended_with_it(store):
    await issue(store, "top")
    await store.append(suspending("top"))
    await store.append(issuing(issued("child", "top"), guarded=False))
    assert not await is_alive(store, "child")
    await store.append(resuming("top"))
    assert await is_alive(store, "child")


async def test_suspending_makes_what_waits_under_it_due_and_resuming_does_not(store):
    await tree(store, ("top", None), ("a", "top"), ("b", "top"))
    waiting = {}
    for grant in ("a", "b"):
        waiting[grant], epoch = await submit(store, grant)
        assert await store.reschedule(waiting[grant], epoch, Parked(), 1, grant)
    await store.append(suspending("a"))
    (claimed,) = await store.claim("w2", 100, LONG)
    assert (claimed.intent, claimed.alive) == (waiting["a"], False)
    await store.append(suspending("b"))
    (claimed,) = await store.claim("w2", 100, LONG)
    assert await store.reschedule(waiting["b"], claimed.epoch, Parked(), 1)
    await store.append(resuming("b"))
    assert list(await store.claim("w2", 100, LONG)) == []


async def test_two_who_suspend_at_once_suspend_it_once(store):
    await issue(store, "a")
    assert isinstance(await store.append(suspending("a")), Appended)
    assert await store.append(suspending("a")) == VersionConflict(2)
    await store.append(resuming("a"))
    assert await is_alive(store, "a")


@pytest.mark.parametrize("change", [Suspend("b"), Resume("a")])
async def test_no_store_suspends_what_the_event_does_not_say(store, change):
    await tree(store, ("a", None), ("b", None))
    event = e.GrantSuspended(grant="a", reason="odd", by="dana")
    with pytest.raises(InvariantViolation):
        await store.append(Append(stream="grant/a", expected_version=1, events=(event,), change=change))
    assert await is_alive(store, "b")

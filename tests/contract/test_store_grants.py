"""What every store promises about grants and policy: the dead decide nothing, and revoking has a place in time."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest
from appends import (
    LONG,
    activate,
    decide,
    deciding,
    issue,
    issued,
    issuing,
    new_intent,
    positions,
    revoke,
    revoking,
    submit,
    tree,
)

from ledger import events as e
from ledger.errors import InvariantViolation
from ledger.ids import intent_stream
from ledger.store import (
    Append,
    Appended,
    Due,
    EpochCurrent,
    Finished,
    GrantAlive,
    GuardFailed,
    Parked,
    PolicyActive,
    StandingGrant,
    Take,
    VersionConflict,
)

NOON = datetime(2040, 6, 1, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)


async def is_alive(store, grant: str) -> bool:
    verdict = await decide(store, GrantAlive(grant))
    assert isinstance(verdict, Appended) or verdict == GuardFailed(GrantAlive(grant))
    return isinstance(verdict, Appended)


# ── alive ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_grant_is_alive_from_its_issue_to_its_revocation(store):
    assert not await is_alive(store, "g")
    assert isinstance(await issue(store, "g"), Appended)
    assert await is_alive(store, "g")
    assert isinstance(await revoke(store, "g"), Appended)
    assert not await is_alive(store, "g")


async def test_a_dead_grant_writes_nothing(store):
    await issue(store, "g")
    await revoke(store, "g")
    before = await store.head()
    await decide(store, GrantAlive("g"))
    assert await store.head() == before


async def test_revoking_kills_everything_below_and_nothing_beside_or_above(store):
    await tree(store, ("top", None), ("a", "top"), ("a1", "a"), ("a2", "a1"), ("b", "top"), ("other", None))
    await revoke(store, "a")
    alive = {name for name in ("top", "a", "a1", "a2", "b", "other") if await is_alive(store, name)}
    assert alive == {"top", "b", "other"}


async def test_a_grant_expires_at_the_time_of_the_ledger(store, set_time):
    await issue(store, "g", expires_at=NOON)
    assert await is_alive(store, "g")
    await set_time(NOON - TICK)
    assert await is_alive(store, "g")
    await set_time(NOON)
    assert not await is_alive(store, "g")


async def test_nothing_below_outlives_what_is_above(store, set_time):
    await issue(store, "top", expires_at=NOON)
    await issue(store, "child", "top")
    await issue(store, "grandchild", "child", expires_at=NOON + timedelta(days=1))
    await issue(store, "brief", "child", expires_at=NOON - TICK)
    await set_time(NOON - TICK)
    assert [await is_alive(store, name) for name in ("child", "grandchild", "brief")] == [True, True, False]
    await set_time(NOON)
    assert [await is_alive(store, name) for name in ("child", "grandchild")] == [False, False]


async def test_nothing_is_issued_below_a_dead_grant(store):
    await issue(store, "top")
    await revoke(store, "top")
    assert await issue(store, "child", "top") == GuardFailed(GrantAlive("top"))
    assert await store.chain(grant="child") == []


async def test_what_is_issued_below_a_dead_grant_unguarded_is_born_dead(store):
    await issue(store, "top")
    await revoke(store, "top")
    child = issued("child", "top")
    assert isinstance(await store.append(issuing(child, guarded=False)), Appended)
    assert not await is_alive(store, "child")
    assert (await store.chain(grant="child"))[-1] == StandingGrant(child, revoked=True)


@pytest.mark.parametrize(
    "second",
    [
        issuing(issued("g")),
        Append(
            stream="elsewhere",
            expected_version=0,
            events=issuing(issued("g")).events,
            change=issuing(issued("g")).change,
        ),
        issuing(issued("orphan", "nobody"), guarded=False),
    ],
    ids=["once more", "with another stream", "below nothing"],
)
async def test_a_grant_is_issued_once_and_below_one_that_there_is(store, second):
    await issue(store, "g")
    if second.stream == "grant/g":
        assert await store.append(second) == VersionConflict(1)
    else:
        with pytest.raises(InvariantViolation):
            await store.append(second)
    assert await store.head() == 1
    assert await is_alive(store, "g")


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_chain_is_read_by_grant_or_token_from_the_first_grant_down(store):
    await tree(store, ("top", None), ("a", "top"), ("a1", "a"), ("b", "top"))
    await revoke(store, "a")
    expected = [
        StandingGrant(issued("top"), revoked=False),
        StandingGrant(issued("a", "top"), revoked=True),
        StandingGrant(issued("a1", "a"), revoked=True),
    ]
    assert list(await store.chain(grant="a1")) == expected
    assert list(await store.chain(token_sha256="sha256 of a1")) == expected
    assert list(await store.chain(grant="top")) == expected[:1]
    assert list(await store.chain(grant="nobody")) == list(await store.chain(token_sha256="nobody")) == []


async def test_a_subtree_is_read_by_id_and_within_a_limit(store):
    await tree(store, ("m", None), ("z", "m"), ("a", "z"), ("k", "a"), ("other", None))

    async def names(grant, after=None, limit=100):
        return [one.issued.grant for one in await store.below(grant, after, limit)]

    assert await names("m") == ["a", "k", "m", "z"]
    assert await names("m", limit=2) == ["a", "k"]
    assert await names("m", "k", 2) == ["m", "z"]
    assert await names("a") == ["a", "k"]
    assert await names("nobody") == []


async def test_the_intents_in_flight_under_a_grant_are_those_of_its_subtree(store):
    await tree(store, ("top", None), ("a", "top"), ("a1", "a"), ("b", "top"))
    under = {grant: (await submit(store, grant))[0] for grant in ("top", "a", "a1", "b")}
    await submit(store)
    ended, epoch = await submit(store, "a")
    await decide(store, EpochCurrent(epoch), intent=ended, version=1, work=Finished())
    assert set(await store.in_flight_under("a")) == {under["a"], under["a1"]}
    assert set(await store.in_flight_under("top")) == set(under.values())
    assert list(await store.in_flight_under("nobody")) == []


# ── the place of a revocation in time ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(6))
async def test_every_decision_is_before_the_revocation_or_refused(store, seed):
    await tree(store, ("top", None), ("a", "top"), ("a1", "a"))
    asked = [deciding(GrantAlive("a1")) for _ in range(60)] + [revoking("a")]
    random.Random(seed).shuffle(asked)
    verdicts = await asyncio.gather(*(store.append(one) for one in asked))
    (revoked,) = positions([verdict for one, verdict in zip(asked, verdicts, strict=True) if one.change is not None])
    decided = [verdict for one, verdict in zip(asked, verdicts, strict=True) if one.change is None]
    assert all(position < revoked for position in positions(decided))
    assert all(isinstance(one, Appended) or one == GuardFailed(GrantAlive("a1")) for one in decided)
    assert not await is_alive(store, "a1")


# ── work under a grant ───────────────────────────────────────────────────────────────────────────────────────────


async def test_revoking_makes_what_waits_under_it_due_and_leaves_what_is_leased(store):
    await tree(store, ("top", None), ("a", "top"), ("b", "top"))
    tomorrow = store.now() + timedelta(days=1)
    waiting = {}
    for grant, work in (("a", Parked()), ("top", Due(tomorrow)), ("b", Parked())):
        intent, epoch = await submit(store, grant)
        assert await store.reschedule(intent, epoch, work, 1, grant)
        waiting[grant] = intent
    leased, epoch = await submit(store, "a")
    await revoke(store, "a")
    assert [one.intent for one in await store.claim("w2", 100, LONG)] == [waiting["a"]]
    assert isinstance(await decide(store, EpochCurrent(epoch), intent=leased, version=1), Appended)


async def test_a_revocation_never_makes_due_work_wait(store):
    await issue(store, "g")
    overdue, epoch = await submit(store, "g")
    await store.reschedule(overdue, epoch, Due(store.now() - timedelta(hours=2)))
    later, epoch = await submit(store)
    await store.reschedule(later, epoch, Due(store.now() - timedelta(hours=1)))
    await revoke(store, "g")
    assert [one.intent for one in await store.claim("w2", 100, LONG)] == [overdue, later]


async def test_a_claim_tells_whose_grant_is_alive(store):
    await tree(store, ("top", None), ("a", "top"), ("b", "top"))
    intents = {grant: (await submit(store, grant, Take("w1", 0.0)))[0] for grant in ("a", "b", None)}
    await revoke(store, "a")
    claimed = {one.intent: one.alive for one in await store.claim("w2", 100, LONG)}
    assert claimed == {intents["a"]: False, intents["b"]: True, intents[None]: True}


async def test_a_claim_tells_that_a_grant_has_expired(store, set_time):
    await issue(store, "g", expires_at=NOON)
    await submit(store, "g", Take("w1", 0.0))
    assert [one.alive for one in await store.claim("w2", 1, 0.0)] == [True]
    await set_time(NOON)
    assert [one.alive for one in await store.claim("w2", 1, 0.0)] == [False]


async def test_an_intent_stays_under_the_grant_under_which_it_was_submitted(store):
    await tree(store, ("agent", None), ("person", None))
    intent, _ = await submit(store, "agent")
    await decide(store, GrantAlive("person"), intent=intent, version=1, work=Take("w1", LONG))
    await decide(store, GrantAlive("person"), intent=intent, version=2, work=Due())
    assert list(await store.in_flight_under("agent")) == [intent]
    assert list(await store.in_flight_under("person")) == []


async def test_what_a_person_wakes_is_not_put_under_their_grant(store):
    await issue(store, "person")
    await decide(store, GrantAlive("person"), work=Due())
    assert list(await store.in_flight_under("person")) == []


async def test_rescheduling_does_not_oversleep_a_revocation(store):
    await issue(store, "g")
    intent, epoch = await submit(store, "g", Take("w1", 0.0))
    await revoke(store, "g")
    assert not await store.reschedule(intent, epoch, Parked(), 1, "g")
    assert [(one.intent, one.alive) for one in await store.claim("w2", 1, LONG)] == [(intent, False)]


# ── policy ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_policy_set_that_was_judged_by_must_still_be_the_active_one(store):
    async def holding() -> set[str | None]:
        verdicts = {name: await decide(store, PolicyActive(name)) for name in (None, "p-1", "p-2")}
        refused = {name: verdict for name, verdict in verdicts.items() if not isinstance(verdict, Appended)}
        assert refused == {name: GuardFailed(PolicyActive(name)) for name in refused}
        return verdicts.keys() - refused.keys()

    assert await holding() == {None}
    for version, name in enumerate(("p-1", "p-2", None)):
        assert isinstance(await activate(store, name, version), Appended)
        assert await holding() == {name}
        assert await store.active_policy() == name


async def test_an_activation_that_was_refused_changes_nothing(store):
    await activate(store, "p-1", 0)
    assert await activate(store, "p-2", 0) == VersionConflict(1)
    assert await store.active_policy() == "p-1"


async def test_a_change_that_was_refused_changes_nothing(store):
    await issue(store, "g")
    late = Append(
        stream="grant/g",
        expected_version=0,
        events=(e.GrantRevoked(grant="g", reason="", by="dana"),),
        change=revoking("g").change,
    )
    assert await store.append(late) == VersionConflict(1)
    assert await is_alive(store, "g")


async def test_guards_of_authority_hold_on_streams_that_are_no_intents(store):
    await issue(store, "g")
    event = e.ActionDone(action="a", result={})
    guards = (GrantAlive("g"), PolicyActive(None))
    assert isinstance(
        await store.append(Append(stream="s", expected_version=0, events=(event,), guards=guards)), Appended
    )
    assert list(await store.read(intent_stream(new_intent()))) == []

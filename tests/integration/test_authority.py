"""Authority over a real ledger: tokens that live and die, grants below grants, policy sets and tasks."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from doorway import eventually

from authority.authority import Authority
from authority.grants import GrantOrder, Principal, token_of
from authority.policy import DEFAULT
from authority.schema import OperationShape
from ledger.errors import (
    Conflict,
    Forbidden,
    InvalidPolicy,
    InvalidRequest,
    NotFound,
    Unauthenticated,
    Unavailable,
    WiderThanParent,
)
from ledger.events import (
    GrantIssued,
    GrantRevoked,
    PolicySetActivated,
    PolicySetAdded,
    TaskDefined,
    TokenRefused,
)
from ledger.grants import Permission
from ledger.intents import Subject
from ledger.postgres_store import PostgresStore
from ledger.store import Append, Store, Unknown, Verdict
from ledger.tasks import TaskContract

OPERATOR = token_of(b"o" * 32)
_seeds = itertools.count(1)


def entropy(size: int) -> bytes:
    return next(_seeds).to_bytes(size, "big")


def order(name: str, kind: str = "agent", operation: str = "*", **more: Any) -> GrantOrder:
    given = {"may_delegate": True, **more}
    return GrantOrder(subject=Subject(kind, name), operations=(Permission(operation),), **given)


@pytest.fixture
async def authority(store: Store) -> AsyncIterator[Authority]:
    made = Authority(store)
    assert await made.ensure_operator(OPERATOR)
    yield made
    await made.close()


@pytest.fixture
async def operator(authority: Authority) -> Principal:
    return await authority.authenticate(OPERATOR)


async def events(store: Store, kind: type) -> list[Any]:
    return [one.event for one in await store.read_all(0, 1_000) if isinstance(one.event, kind)]


class Passing:
    """A store of which a test may change what it does."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked = 0
        self.appended = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, append: Append) -> Verdict:
        verdict = await self._store.append(append)
        self.appended += 1
        return verdict

    async def chain(self, **named: Any) -> Any:
        self.asked += 1
        return await self._store.chain(**named)


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_there_is_one_operator(authority, operator):
    assert not await authority.ensure_operator(token_of(b"x" * 32))
    assert (operator.grant, operator.custody, operator.subject.kind) == (
        "grant-operator",
        ("grant-operator",),
        "person",
    )


async def test_a_revoked_operator_is_followed_by_another_and_everything_below_stays_dead(authority, operator):
    _, old = await authority.issue(operator, order("bot"), entropy)
    await authority.revoke(operator, operator.grant, "the token leaked")
    assert await authority.ensure_operator(token_of(b"n" * 32))
    assert not await authority.ensure_operator(token_of(b"m" * 32)), "one lives"
    found = await authority.authenticate(token_of(b"n" * 32))
    assert (found.grant, found.custody) == ("grant-operator-2", ("grant-operator-2",))
    for dead in (OPERATOR, old):
        with pytest.raises(Unauthenticated):
            await authority.authenticate(dead)
    issued, _ = await authority.issue(found, order("bot"), entropy)
    revoked = await authority.revoke(found, "grant-operator-2", "this one too")
    assert revoked.revoked == tuple(sorted(("grant-operator-2", issued.grant)))


async def test_a_token_names_its_grant_and_nothing_near_it_does(authority, operator):
    issued, token = await authority.issue(operator, order("bot"), entropy)
    found = await authority.authenticate(token)
    assert (found.grant, found.custody) == (issued.grant, ("grant-operator", issued.grant))
    assert found.commissioned_by == "operator"
    for forged in (token[:-1], token + "A", token.lower(), token.removeprefix("il_"), issued.token_sha256, "", "il_"):
        with pytest.raises(Unauthenticated):
            await authority.authenticate(forged)


async def test_a_token_is_shown_once_and_kept_nowhere(authority, operator, store):
    _, token = await authority.issue(operator, order("bot"), entropy)
    for one in await store.read_all(0, 100):
        assert token.encode() not in one.body


async def test_dead_tokens_are_one_answer_outside_and_three_causes_inside(authority, operator, store):
    revoked, of_revoked = await authority.issue(operator, order("bot"), entropy)
    await authority.revoke(operator, revoked.grant, "a test")
    ended, of_ended = await authority.issue(operator, order("brief", expires_in_seconds=1), entropy)
    await authority.authenticate(of_ended, fresh=False)  # remembered from now on

    async def over() -> bool:
        return store.now() > ended.expires_at

    await eventually(over)
    said = []
    for token in (of_revoked, of_ended, token_of(b"?" * 32)):
        for fresh in (False, True):
            with pytest.raises(Unauthenticated) as refused:
                await authority.authenticate(token, fresh=fresh)
            said.append((refused.value.message, dict(refused.value.extras)))
    assert len({message for message, _ in said}) == 1
    assert all(extras == {} for _, extras in said)

    async def told() -> bool:
        return len(await events(store, TokenRefused)) == 3

    await eventually(told)
    found = {one.cause: (one.grant, one.custody) for one in await events(store, TokenRefused)}
    assert found == {
        "revoked": (revoked.grant, ("grant-operator", revoked.grant)),
        "expired": (ended.grant, ("grant-operator", ended.grant)),
        "unknown": (None, ()),
    }


async def test_a_fresh_answer_sees_a_revoke_of_another_process_at_once_and_a_remembered_one_asks_nobody(
    store, operator
):
    passing = Passing(store)
    here, there = Authority(passing), Authority(store)  # type: ignore[arg-type]
    issued, token = await here.issue(operator, order("bot"), entropy)
    await here.authenticate(token)
    asked = passing.asked
    await here.authenticate(token, fresh=False)
    assert passing.asked == asked
    await there.revoke(operator, issued.grant, "a test")
    assert (await here.authenticate(token, fresh=False)).grant == issued.grant  # its append would be refused
    with pytest.raises(Unauthenticated):
        await here.authenticate(token)
    with pytest.raises(Unauthenticated):
        await here.authenticate(token, fresh=False)
    await here.close()


async def test_a_grant_found_dead_is_remembered_no_more_nor_those_below_it(authority, operator, store):
    passing = Passing(store)
    here = Authority(passing)  # type: ignore[arg-type]
    above, of_above = await authority.issue(operator, order("planner"), entropy)
    _, token = await authority.issue(await authority.authenticate(of_above), order("bot"), entropy)
    await here.authenticate(token, fresh=False)
    here.dead(above.grant)
    asked = passing.asked
    await here.authenticate(token, fresh=False)
    assert passing.asked == asked + 1


async def test_another_ledgers_tokens_and_grants_are_nothing_here(authority, operator, pool):
    other = PostgresStore(pool, "other")
    await other.start()
    there = Authority(other)
    assert await there.ensure_operator(token_of(b"z" * 32))
    theirs, token = await there.issue(await there.authenticate(token_of(b"z" * 32)), order("bot"), entropy)
    with pytest.raises(Unauthenticated):
        await authority.authenticate(token)
    with pytest.raises(NotFound):
        await authority.revoke(operator, theirs.grant, "a test")
    assert (await there.authenticate(token)).grant == theirs.grant
    await there.close()
    await other.stop()


# ── grants ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_wider_child_is_not_issued_and_every_part_is_named(authority, operator, store):
    _, token = await authority.issue(operator, order("planner", operation="crm.*", task="12A"), entropy)
    planner = await authority.authenticate(token)
    head = await store.head()
    with pytest.raises(WiderThanParent) as refused:
        await authority.issue(planner, order("friend", "person", "payments.*", task="12B"), entropy)
    assert [one["path"] for one in refused.value.extras["errors"]] == [
        "/subject/kind",
        "/task",
        "/operations/0/operation",
    ]
    with pytest.raises(InvalidRequest):
        await authority.issue(planner, order(""), entropy)
    assert await store.head() == head


async def test_a_revoke_takes_the_whole_subtree_and_nothing_beside_it(authority, operator, store):
    planner, of_planner = await authority.issue(operator, order("planner"), entropy)
    below = await authority.authenticate(of_planner)
    bot, of_bot = await authority.issue(below, order("bot"), entropy)
    _, of_other = await authority.issue(operator, order("other"), entropy)
    done = await authority.revoke(operator, planner.grant, "the planner was replaced")
    assert set(done.revoked) == {planner.grant, bot.grant}
    for token in (of_planner, of_bot):
        with pytest.raises(Unauthenticated):
            await authority.authenticate(token)
    await authority.authenticate(of_other)
    assert await authority.revoke(operator, planner.grant, "again") == done
    (event,) = await events(store, GrantRevoked)
    assert (event.grant, event.by, event.custody) == (planner.grant, "operator", ("grant-operator",))


async def test_nobody_revokes_what_is_not_theirs(authority, operator):
    _, of_planner = await authority.issue(operator, order("planner"), entropy)
    _, of_manager = await authority.issue(operator, order("manager-x", "person"), entropy)
    other, _ = await authority.issue(operator, order("other"), entropy)
    planner, manager = await authority.authenticate(of_planner), await authority.authenticate(of_manager)
    for grant in (other.grant, "grant-operator", manager.grant, "grant-none"):
        with pytest.raises(NotFound):
            await authority.revoke(planner, grant, "a test")
    with pytest.raises(Forbidden):
        await authority.revoke(manager, other.grant, "a test")
    with pytest.raises(NotFound):
        await authority.revoke(manager, "grant-none", "a test")
    assert (await authority.revoke(planner, planner.grant, "I am done")).revoked == (planner.grant,)


async def test_who_was_revoked_after_they_were_recognised_changes_nothing_more(authority, operator, store):
    issued, token = await authority.issue(operator, order("manager-x", "person"), entropy)
    manager = await authority.authenticate(token)
    child, _ = await authority.issue(manager, order("bot"), entropy)
    policy_set = await authority.add_policy(operator, P45, CATALOGUE, activate=False)
    await authority.revoke(operator, issued.grant, "a test")
    head = await store.head()
    for attempt in (
        authority.issue(manager, order("bot-2"), entropy),
        authority.add_policy(manager, P45 + "\n", CATALOGUE, activate=True),
        authority.activate(manager, policy_set.digest),
        authority.define_task(manager, TaskContract(task="12A", owner="manager-x", scope=("*",))),
    ):
        with pytest.raises(Unauthenticated):
            await attempt
    assert child.grant in (await authority.revoke(manager, child.grant, "dead already")).revoked
    assert await store.head() == head


async def test_two_who_revoke_at_once_both_succeed(authority, operator, store):
    issued, _ = await authority.issue(operator, order("bot"), entropy)
    done = await asyncio.gather(*(Authority(store).revoke(operator, issued.grant, "a test") for _ in range(8)))
    assert {one.revoked for one in done} == {(issued.grant,)}
    assert len(await events(store, GrantRevoked)) == 1


async def test_everybody_sees_their_own_subtree_and_nothing_beside_it(authority, operator):
    _, of_manager = await authority.issue(operator, order("manager-x", "person"), entropy)
    other, _ = await authority.issue(operator, order("other"), entropy)
    manager = await authority.authenticate(of_manager)
    bot, of_bot = await authority.issue(manager, order("bot"), entropy)
    found = [one.issued.grant for one in await authority.grants(manager, None, 50)]
    assert sorted(found) == sorted([manager.grant, bot.grant])
    assert (await authority.grant(manager, bot.grant)).issued == bot
    agent = await authority.authenticate(of_bot)
    assert [one.issued for one in await authority.grants(agent, None, 50)] == [bot]
    for principal, grant in (
        (manager, other.grant),
        (manager, "grant-operator"),
        (manager, "grant-none"),
        (agent, manager.grant),
    ):
        with pytest.raises(NotFound):
            await authority.grant(principal, grant)


async def test_of_a_grant_that_may_or_may_not_be_there_no_token_is_shown(store, authority, operator):
    class Breaking(Passing):
        async def append(self, append: Append) -> Verdict:
            await self._store.append(append)
            return Unknown("The connection broke.")

    broken = Authority(Breaking(store))  # type: ignore[arg-type]
    with pytest.raises(Unavailable) as raised:
        await broken.issue(operator, order("bot"), entropy)
    assert "il_" not in str(raised.value) + str(raised.value.extras)
    (issued,) = [one for one in await events(store, GrantIssued) if one.parent]
    assert (await authority.revoke(operator, issued.grant, "nobody has its token")).revoked == (issued.grant,)
    with pytest.raises(Unavailable):
        await broken.revoke(operator, (await authority.issue(operator, order("b"), entropy))[0].grant, "a test")


# ── policy sets and tasks ────────────────────────────────────────────────────────────────────────────────────────

CATALOGUE = [
    OperationShape(
        "payments.refund", {"type": "object", "properties": {"amount": {"type": "integer"}}, "required": ["amount"]}
    )
]
P45 = (
    '@id("P-45") permit(principal, action == Action::"payments.refund", resource) '
    "when { context.params.amount < 5000 };"
)


async def test_the_built_in_policy_set_is_in_force_until_another_is(authority, operator, store):
    assert await authority.active() is DEFAULT
    added = await authority.add_policy(operator, P45, CATALOGUE, activate=False)
    assert await authority.active() is DEFAULT
    await authority.activate(operator, added.digest)
    assert (await authority.active()).digest == added.digest
    assert (await Authority(store).active()).text == P45
    (kept,) = await authority.policies()
    assert (kept.digest, kept.active, kept.activated_by) == (added.digest, True, "operator")
    await authority.activate(operator, DEFAULT.digest)
    assert await store.active_policy() is None
    assert [one.active for one in await authority.policies()] == [True, False]


async def test_an_invalid_policy_set_is_neither_kept_nor_activated(authority, operator, store):
    head = await store.head()
    for text in ("permit(", P45.replace("params.amount", "params.amout"), P45 + P45):
        with pytest.raises(InvalidPolicy) as refused:
            await authority.add_policy(operator, text, CATALOGUE, activate=True)
        assert refused.value.extras["errors"][0]["line"] == 1
    with pytest.raises(NotFound):
        await authority.activate(operator, "sha256:none")
    assert await store.head() == head


async def test_a_policy_set_that_is_added_again_is_kept_once(authority, operator, store):
    for _ in range(2):
        await authority.add_policy(operator, P45, CATALOGUE, activate=True)
    assert len(await events(store, PolicySetAdded)) == 1
    assert {one.custody for one in await events(store, PolicySetActivated)} == {("grant-operator",)}


async def test_a_task_is_defined_once_and_never_changes(authority, operator, store):
    contract = TaskContract(task="12A", owner="operator", scope=("payments.*",))
    assert await authority.task("12A") is None
    for _ in range(2):
        assert await authority.define_task(operator, contract) == contract
    with pytest.raises(Conflict):
        await authority.define_task(operator, msgspec.structs.replace(contract, scope=("*",)))
    assert await authority.task("12A") == await Authority(store).task("12A") == contract
    assert len(await events(store, TaskDefined)) == 1


async def test_agents_neither_make_policy_nor_define_tasks(authority, operator):
    _, token = await authority.issue(operator, order("bot"), entropy)
    bot = await authority.authenticate(token)
    for attempt in (
        authority.add_policy(bot, P45, CATALOGUE, activate=False),
        authority.activate(bot, DEFAULT.digest),
        authority.define_task(bot, TaskContract(task="12A", owner="bot", scope=("*",))),
    ):
        with pytest.raises(Forbidden):
            await attempt


async def test_a_child_dies_when_its_parent_would(authority, operator, store):
    above, of_above = await authority.issue(operator, order("planner", expires_in_seconds=3600), entropy)
    child, _ = await authority.issue(await authority.authenticate(of_above), order("bot"), entropy)
    assert child.expires_at == above.expires_at
    assert abs(above.expires_at - store.now() - timedelta(hours=1)) < timedelta(minutes=1)

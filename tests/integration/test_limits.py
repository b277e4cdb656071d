"""I11: limits hold for the set of parallel decisions, over a real ledger and two processes' worth of coordinators."""

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import msgspec
import pytest
from views import inline_tables_are_what_events_say

from adapters.contract import Call, Result
from adapters.reference import ReferenceAdapter, World
from adapters.registry import Registry
from authority.authority import Authority
from authority.grants import GrantOrder, Principal, token_of
from coordinator.coordinator import Coordinator
from coordinator.intake import Request, RequestedAction
from ledger.database import open_pool
from ledger.errors import Permanent
from ledger.grants import Limit, Permission
from ledger.intents import Guarantee, Subject
from ledger.postgres_store import PostgresStore
from ledger.state import IntentState
from ledger.store import Append, GuardFailed, Store, Verdict, WithinLimits

TOKEN = token_of(b"l" * 32)
PARAMS = {
    "type": "object",
    "additionalProperties": False,
    "required": ["account", "amount", "currency"],
    "properties": {
        "account": {"type": "string"},
        "amount": {"type": "integer", "minimum": 0},
        "currency": {"type": "string"},
        "works": {"type": "boolean"},
    },
}
_numbers = itertools.count(1)


class Shop(ReferenceAdapter):
    """A participant that moves money, and fails for good where it is told to."""

    def __init__(self, world: World) -> None:
        super().__init__("shop", world, Guarantee.IDEMPOTENT, facts=False)
        post = self.operations["shop.post"]
        self.operations = {
            "shop.refund": msgspec.structs.replace(post, name="shop.refund", params=PARAMS, summary=None)
        }

    async def commit(self, call: Call, receipt: Any) -> Result:
        if not call.params.get("works", True):
            raise Permanent("The shop is closed for good.")
        return await super().commit(call, receipt)


class LooksBefore:
    """The planted bug: what is used of a limit is read before the append, and the append only counts."""

    def __init__(self, store: Store, pool: asyncpg.Pool) -> None:
        self._store, self._pool = store, pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, append: Append) -> Verdict:
        guards = []
        for guard in append.guards:
            if isinstance(guard, WithinLimits):
                for charge in guard.charges:
                    query = "select used from intent_ledger.limits where counter = $1"
                    used = await self._pool.fetchval(query, charge.limit) or 0
                    if used + charge.amount > charge.max:
                        return GuardFailed(guard, limit=charge.limit, used=used)
                charges = tuple(msgspec.structs.replace(charge, max=2**53) for charge in guard.charges)
                guards.append(WithinLimits(charges))
            else:
                guards.append(guard)
        return await self._store.append(msgspec.structs.replace(append, guards=tuple(guards)))


class Service:
    """Two coordinators on one ledger, with an operator."""

    def __init__(self, coordinators: Sequence[Coordinator], authority: Authority, operator: Principal, world: World):
        self.coordinators = coordinators
        self.authority = authority
        self.operator = operator
        self.world = world

    async def grant(self, name: str, *limits: Limit, above: Principal | None = None, kind: str = "agent") -> Principal:
        order = GrantOrder(
            subject=Subject(kind, name), operations=(Permission("shop.*"),), limits=limits, may_delegate=True
        )
        _, token = await self.authority.issue(above or self.operator, order, os.urandom)
        return await self.authority.authenticate(token)

    async def refund(self, agent: Principal, *amounts: int, **params: Any) -> IntentState:
        number = next(_numbers)
        coordinator = self.coordinators[number % len(self.coordinators)]
        request = Request(
            idempotency_key=f"k-{number}",
            request_digest="sha256:0",
            reason="a test",
            actions=tuple(
                RequestedAction(f"a{n}", "shop.refund", {"account": "a", "amount": one, "currency": "USD", **params})
                for n, one in enumerate(amounts)
            ),
        )
        return await coordinator.rest((await coordinator.submit(agent, request)).state.id)

    async def compensated(self, agent: Principal, amount: int) -> IntentState:
        """Refund, and then fail for good at a second action."""
        number = next(_numbers)
        good = {"account": "a", "amount": amount, "currency": "USD"}
        request = Request(
            idempotency_key=f"k-{number}",
            request_digest="sha256:0",
            reason="a test",
            actions=(
                RequestedAction("good", "shop.refund", good),
                RequestedAction("bad", "shop.refund", {**good, "amount": 1, "works": False}, after=("good",)),
            ),
        )
        return await self.coordinators[0].rest((await self.coordinators[0].submit(agent, request)).state.id)


async def served(parts: AsyncExitStack, dsn: str, *, planted: bool = False) -> Service:
    world, coordinators = World(), []
    for number in range(2):
        pool = await open_pool(dsn, 6)
        parts.push_async_callback(pool.close)
        store = PostgresStore(pool, "main")
        await store.start()
        parts.push_async_callback(store.stop)
        seen: Any = LooksBefore(store, pool) if planted else store
        authority = Authority(seen)
        parts.push_async_callback(authority.close)
        coordinators.append(Coordinator(seen, Registry([Shop(world)]), authority, os.urandom, f"w{number}"))
        coordinators[-1].start()
        parts.push_async_callback(coordinators[-1].drain, 10)
    await authority.ensure_operator(TOKEN)
    return Service(coordinators, authority, await authority.authenticate(TOKEN), world)


@pytest.fixture
async def service(dsn: str) -> AsyncIterator[Service]:
    async with AsyncExitStack() as parts:
        yield await served(parts, dsn)
        await inline_tables_are_what_events_say(dsn)


def limit(most: int, **more: Any) -> Limit:
    return Limit(**{"operation": "shop.*", "measure": "amount", "per": "total", "max": most, "currency": "USD", **more})


async def parallel(service: Service, agents: Sequence[Principal], times: int, *amounts: int) -> Counter[str]:
    ended = await asyncio.gather(*(service.refund(agents[n % len(agents)], *amounts) for n in range(times)))
    for state in ended:
        if state.abort is not None:
            assert (state.abort.cause, "has no room" in state.abort.reason) == ("guard", True)
    return Counter(str(state.phase) for state in ended)


async def test_of_200_intents_at_60_percent_of_a_limit_exactly_one_commits(service):
    bot = await service.grant("bot", limit(10_000))
    assert await parallel(service, [bot], 200, 6_000) == {"committed": 1, "aborted": 199}
    assert service.world.balances == {"a": 6_000}


async def test_200_would_overspend_if_the_limit_were_read_before_the_lock(dsn):
    async with AsyncExitStack() as parts:
        service = await served(parts, dsn, planted=True)
        for number in range(20):  # two of them must look at once, which is likely, and no more than that
            bot = await service.grant(f"bot-{number}", limit(10_000))
            if (await parallel(service, [bot], 200, 6_000))["committed"] > 1:
                return
        pytest.fail("The race was never met: the test that nothing overspends would not find what it is for.")


async def test_exactly_as_many_commit_as_the_count_permits(service):
    bot = await service.grant("bot", limit(7, measure="count", currency=None))
    assert await parallel(service, [bot], 50, 1) == {"committed": 7, "aborted": 43}


async def test_a_whole_team_shares_the_limit_of_whoever_commissioned_it(service):
    manager = await service.grant("manager-x", limit(10_000), kind="person")
    team = [await service.grant(f"bot-{n}", limit(9_000), above=manager) for n in range(4)]
    assert await parallel(service, team, 40, 1_000) == {"committed": 10, "aborted": 30}


async def test_each_agent_has_its_own_allowance_where_the_limit_says_so_and_its_children_share_it(service):
    manager = await service.grant("manager-x", limit(10_000, each="agent"), kind="person")
    one, two = [await service.grant(name, above=manager) for name in ("one", "two")]
    child = await service.grant("one-more", above=one)
    again = await service.grant("one", above=manager)  # another grant under the same name
    assert await parallel(service, [one, child, again], 30, 6_000) == {"committed": 1, "aborted": 29}
    assert await parallel(service, [two], 10, 6_000) == {"committed": 1, "aborted": 9}


async def test_splitting_into_actions_or_intents_does_not_get_under_a_limit(service):
    bot = await service.grant("bot", limit(10_000))
    assert await parallel(service, [bot], 20, 500, 500, 500, 500) == {"committed": 5, "aborted": 15}
    assert await parallel(service, [bot], 20, 1) == {"aborted": 20}


async def test_an_intent_that_asks_for_more_than_there_ever_is_is_denied(service):
    bot = await service.grant("bot", limit(10_000))
    state = await service.refund(bot, 6_000, 4_001)
    assert state.phase == "denied"
    assert "this intent alone asks for 10001 USD" in state.policy.reasons[0]
    assert (await service.refund(bot, 6_000, 4_000)).phase == "committed"


async def test_a_limit_that_has_no_room_takes_nothing_from_the_others(service):
    manager = await service.grant("manager-x", limit(10_000), kind="person")
    full = await service.grant("full", limit(1_000), above=manager)
    other = await service.grant("other", above=manager)
    assert (await service.refund(full, 900)).phase == "committed"
    assert await parallel(service, [full], 20, 900) == {"aborted": 20}
    assert (await service.refund(other, 9_100)).phase == "committed"
    assert (await service.refund(other, 1)).phase == "aborted"


async def test_what_was_compensated_for_failure_is_given_back_and_what_was_undone_is_not(service):
    bot = await service.grant("bot", limit(10_000))
    failed = await service.compensated(bot, 9_999)
    assert (failed.phase, failed.compensate.cause) == ("compensated", "failed")
    done = await service.refund(bot, 10_000)
    assert done.phase == "committed"
    await service.coordinators[0].undo(done.id, service.operator, "a mistake", partial=False)
    assert (await service.coordinators[0].rest(done.id)).phase == "compensated"
    assert (await service.refund(bot, 1)).phase == "aborted"


async def test_two_hundred_of_which_some_fail_never_have_more_in_the_world_than_the_limit(service):
    bot = await service.grant("bot", limit(10_000))
    ended = await asyncio.gather(
        *(service.compensated(bot, 6_000) if n % 2 else service.refund(bot, 6_000) for n in range(60))
    )
    committed = [state for state in ended if state.phase == "committed"]
    assert len(committed) <= 1
    assert {state.phase for state in ended} <= {"committed", "compensated", "aborted"}
    assert service.world.balances["a"] == 6_000 * len(committed)
    room = 10_000 - 6_000 * len(committed)
    assert (await service.refund(bot, room)).phase == "committed"
    assert (await service.refund(bot, 1)).phase == "aborted"

"""Processes that race revokes against decisions over one real ledger; `test_revocation_race.py` judges them.

A *lane* is one agent's grant, under which one intent runs. A *heat* is one revoke: of the agent's own grant, or of the
manager's above several agents. Agents run in some processes and revokes in others, which share nothing but the ledger
and `marks`: for each lane one byte that says how far its intent has come, so that a revoke can be sent close to it, and
one that says that the revoke has returned.
"""

import asyncio
import os
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import msgspec

from adapters.contract import Call, Vote
from adapters.reference import ReferenceAdapter, World
from adapters.registry import Registry
from authority.authority import Authority
from coordinator.coordinator import Coordinator
from coordinator.intake import Request, RequestedAction
from ledger.database import open_pool
from ledger.errors import Unauthenticated
from ledger.phases import Phase
from ledger.postgres_store import PostgresStore
from ledger.store import Append, GrantAlive, GuardFailed, Store, Verdict

SUBMITTED, PREPARING = 1, 2  # how far an intent has come
AT_ONCE = 24  # lanes of one process
PATIENCE_SECONDS = 120.0  # for the process at the other end


class Marks(msgspec.Struct, frozen=True):
    """What the processes see of one another."""

    come: Any  # one byte for each lane, written where agents run
    revoked: Any  # likewise, written where revokes run


class Lane(msgspec.Struct, frozen=True):
    number: int
    grant: str
    token: str
    revoked: bool = True  # False: nobody revokes it, and its intent must commit


class Heat(msgspec.Struct, frozen=True):
    grant: str  # what is revoked
    lanes: tuple[int, ...]
    watched: int  # one of the lanes
    mark: int  # how far its intent has come when the revoke is sent
    pause_seconds: float


class LooksBefore:
    """The planted bug: whether the grant is alive is looked up before the append instead of inside it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, append: Append) -> Verdict:
        for guard in append.guards:
            if isinstance(guard, GrantAlive):
                standing = await self._store.chain(grant=guard.grant)
                if any(one.revoked for one in standing):
                    return GuardFailed(guard)
        guards = tuple(guard for guard in append.guards if not isinstance(guard, GrantAlive))
        return await self._store.append(msgspec.structs.replace(append, guards=guards))


class Track(ReferenceAdapter):
    """A participant that marks when it is asked to prepare, and takes so long that both ends win about as often.

    How fast a revoke gets through depends on the machine and its load; so the more often the decision comes first, the
    longer the next prepare takes, and the other way round.
    """

    def __init__(self, marks: Marks, luck: random.Random) -> None:
        super().__init__("track", World(), facts=False)
        self._marks = marks
        self._luck = luck
        self._seconds = 0.001

    async def prepare(self, call: Call) -> Vote:
        self._marks.come[int(call.params["account"])] = PREPARING
        await asyncio.sleep(self._luck.uniform(0, self._seconds))
        return await super().prepare(call)

    def learn(self, *, decided_first: bool) -> None:
        self._seconds = min(0.5, max(0.0005, self._seconds * (1.1 if decided_first else 1 / 1.1)))


def run_agents(dsn: str, lanes: Sequence[Lane], marks: Marks, answers: Any, seed: int, *, planted: bool) -> None:
    """Be a process that runs an intent in each lane; puts (accepted, refused, accepted after the revoke)."""
    answers.put(asyncio.run(_agents(dsn, lanes, marks, seed, LooksBefore if planted else _as_it_is)))


def run_revokes(dsn: str, token: str, heats: Sequence[Heat], marks: Marks, answers: Any) -> None:
    """Be a process that revokes; puts {grant: how many died with it}."""
    answers.put(asyncio.run(_revokes(dsn, token, heats, marks)))


def _as_it_is(store: Store) -> Store:
    return store


async def _open(parts: AsyncExitStack, dsn: str) -> PostgresStore:
    pool = await open_pool(dsn, 6)
    parts.push_async_callback(pool.close)
    store = PostgresStore(pool, "main")
    await store.start()
    parts.push_async_callback(store.stop)
    return store


async def _agents(
    dsn: str, lanes: Sequence[Lane], marks: Marks, seed: int, seen_as: Callable[[Store], Any]
) -> tuple[int, int, int]:
    async with AsyncExitStack() as parts:
        store = seen_as(await _open(parts, dsn))
        authority = Authority(store)
        parts.push_async_callback(authority.close)
        track = Track(marks, random.Random(seed))
        registry = Registry([track])
        coordinator = Coordinator(store, registry, authority, os.urandom, f"agents-{seed}", lease_seconds=300)
        coordinator.start()
        parts.push_async_callback(coordinator.drain, 30)
        counted = {"accepted": 0, "refused": 0, "late": 0}

        async def submit(lane: Lane, key: str) -> str | None:
            request = Request(
                idempotency_key=key,
                request_digest="sha256:0",
                reason="a race",
                actions=(RequestedAction("a", "track.post", {"account": str(lane.number), "amount": 1}),),
            )
            try:
                principal = await authority.authenticate(lane.token, fresh=False)
                return (await coordinator.submit(principal, request)).state.id
            except Unauthenticated:
                return None

        async def run(lane: Lane) -> None:
            with suppress(Unauthenticated):  # known from now on, so that only the guard can see a revoke
                await authority.authenticate(lane.token)
            marks.come[lane.number] = SUBMITTED
            intent = await submit(lane, f"{lane.number}-first")
            counted["accepted" if intent else "refused"] += 1
            if intent:
                ended = await coordinator.rest(intent)
                if lane.revoked:
                    track.learn(decided_first=ended.phase is Phase.COMMITTED)
            if lane.revoked:
                await reached(marks.revoked, lane.number, 1)
                counted["late"] += await submit(lane, f"{lane.number}-late") is not None

        await _side_by_side([lambda lane=lane: run(lane) for lane in lanes])
        return counted["accepted"], counted["refused"], counted["late"]


async def _revokes(dsn: str, token: str, heats: Sequence[Heat], marks: Marks) -> dict[str, int]:
    async with AsyncExitStack() as parts:
        store = await _open(parts, dsn)
        authority = Authority(store)
        parts.push_async_callback(authority.close)
        operator = await authority.authenticate(token)
        died: dict[str, int] = {}

        async def revoke(heat: Heat) -> None:
            await reached(marks.come, heat.watched, heat.mark)
            await asyncio.sleep(heat.pause_seconds)
            died[heat.grant] = len((await authority.revoke(operator, heat.grant, "a race")).revoked)
            for lane in heat.lanes:
                marks.revoked[lane] = 1

        await _side_by_side([lambda heat=heat: revoke(heat) for heat in heats])
        return died


async def reached(bytes_of: Any, lane: int, least: int) -> None:
    """Wait until this lane has come that far."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while bytes_of[lane] < least:  # noqa: ASYNC110 another process writes them
            await asyncio.sleep(0.001)


async def _side_by_side(works: Sequence[Callable[[], Any]]) -> None:
    """Begin with the first, at most AT_ONCE at the same time: both ends of a heat come to it in the same order."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(work: Callable[[], Any]) -> None:
        async with room:
            await work()

    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(one(work))


def heats_of(grants: Sequence[tuple[str, Sequence[int]]], luck: random.Random) -> list[Heat]:
    """Plan a revoke for each of these grants, somewhere between the submission and a little after the decision."""
    return [
        Heat(
            grant=grant,
            lanes=tuple(lanes),
            watched=luck.choice(lanes),
            mark=luck.choice((SUBMITTED, PREPARING, PREPARING, PREPARING, PREPARING)),
            pause_seconds=luck.choice((0, luck.uniform(0, 0.02))),
        )
        for grant, lanes in grants
    ]

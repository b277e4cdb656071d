"""I19: an outside system that swallows every call delays the intents that use it, and nobody else's."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from doorway import Doorway, doorway, eventually, intent

from adapters.contract import Call, Vote
from adapters.reference import ReferenceAdapter, World
from adapters.tables import CallLimits

TIMES = 2.0  # as slow as without the silent system, at the most
TRIES = 3  # others use the machine too, and the slowest tell of them; a coupling would show in each try
SAMPLES = 500
AT_ONCE = 4  # intents of others in flight
BURST = 64  # intents for the silent system, all at once,
EVERY_SECONDS = 0.02  # and then one more after another
HANGING = 1.5  # seconds that a call to the silent system takes
LIMITS = {"hole": CallLimits(at_once=16, seconds=HANGING)}


class BlackHole(ReferenceAdapter):
    """A participant that takes calls and never answers, until its gate is opened."""

    def __init__(self) -> None:
        super().__init__("hole", World(), facts=False)
        self.gate = asyncio.Event()

    async def prepare(self, call: Call) -> Vote:
        await self.gate.wait()
        return await super().prepare(call)


@asynccontextmanager
async def flooded(door: Doorway, submitted: list[str]) -> AsyncIterator[None]:
    """Submit many intents that use the silent system, and keep submitting."""

    async def submit() -> None:
        status, body, _ = await door.submit(intent(("hole.post", "88", 1), deadline=60), wait=None)
        assert status == 202, body
        submitted.append(body["id"])

    async def flood() -> None:
        while True:
            await submit()
            await asyncio.sleep(EVERY_SECONDS)

    await asyncio.gather(*(submit() for _ in range(BURST)))
    flooding = asyncio.create_task(flood())
    try:
        yield
    finally:
        flooding.cancel()
        await asyncio.wait([flooding])


async def latencies(door: Doorway, samples: int = SAMPLES) -> list[float]:
    """Commit intents that do not use the silent system; return the seconds that each took, the slowest last."""
    seconds: list[float] = []

    async def client() -> None:
        while len(seconds) < samples:
            began = time.perf_counter()
            status, body, _ = await door.submit(intent(("bank.post", "88", 1), ("mail.post", "88", 1)))
            seconds.append(time.perf_counter() - began)
            assert (status, body["phase"]) == (200, "committed")

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return sorted(seconds)


def p99(seconds: list[float]) -> float:
    return seconds[len(seconds) * 99 // 100]


def standing(door: Doorway) -> Any:
    return next(one for one in door.service.coordinator.statuses() if one.adapter == "hole")


async def committed(door: Doorway, one: str) -> bool:
    return (await door.get(f"/v1/intents/{one}"))[1]["phase"] == "committed"


async def found_silent(door: Doorway, submitted: list[str]) -> bool:
    found = standing(door)
    return found.state != "closed" and found.held_back > len(submitted) / 4


class Slowed(NamedTuple):
    times: float  # as long as without the silent system, at the slowest hundredth
    longest_seconds: float  # that anybody waited beside it

    @property
    def apart(self) -> bool:
        """Whether nobody waited for what the silent system was asked."""
        return self.times <= TIMES and self.longest_seconds < HANGING / 2


async def slowed(dsn: str) -> Slowed:
    """Return how much slower others are beside a silent system, and see it come back."""
    hole, submitted = BlackHole(), []
    async with doorway(dsn, None, hole, calls=LIMITS) as door:
        await latencies(door, 100)  # warm
        alone = await latencies(door)
        async with flooded(door, submitted):
            opening = await latencies(door)
            await eventually(lambda: found_silent(door, submitted))
            beside = sorted([*opening, *await latencies(door)])
        hole.gate.set()

        for one in submitted:
            await eventually(lambda one=one: committed(door, one), 45)
        assert standing(door).state == "closed"
    return Slowed(p99(beside) / p99(alone), beside[-1])


async def test_a_silent_system_leaves_the_latency_of_others_within_twice(make_database, template):
    tries = []
    for _ in range(TRIES):
        tries.append(await slowed(await make_database(template)))
        if tries[-1].apart:
            return
    raise AssertionError(f"others waited for the silent system: {tries}")

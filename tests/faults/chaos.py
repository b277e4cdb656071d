"""Bad days for a world, from a seed: faults of the payments service, kills at moments that the outside shows, pauses.

Nothing here looks into the product. That votes are out and not decided upon is seen by the hold in the payments
service's record while its answer is kept back; that one commit is done and the next is not, by its confirmation.
"""

import asyncio
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from department import Seat
from load import USD, Load, action
from patience import until
from traces import Frozen
from world import LEASE_SECONDS, World

from examples.demo.client import TERMINAL, Client

ONCE_MORE = ("hold", "confirm", "release", "credit", "reverse")  # endpoints that may be repeated under their key
ANY = (*ONCE_MORE, "transfer", "look")
AFTER = ("lose", "500", "rubbish", "huge")
LONG_SECONDS = 2.5  # longer than the adapters wait


class Chaos:
    """Hurts a world until it is stopped; what it did is counted in `world.hurt`."""

    def __init__(self, world: World, load: Load, steady: Seat, seed: int) -> None:
        """`steady`: whoever has intents under way while a coordinator is paused; nobody may stop them."""
        self.frozen: list[Frozen] = []
        self._world = world
        self._load = load
        self._steady = steady
        self._choices = random.Random(f"{seed}/chaos")

    # ── the payments service ─────────────────────────────────────────────────────────────────────────────────────

    async def arm_faults(self) -> None:
        """Let the payments service misbehave about three times a second, for ever."""
        while True:
            await self._world.misbehave(**self._fault())
            await asyncio.sleep(self._choices.uniform(0.1, 0.5))

    def _fault(self) -> dict[str, Any]:
        choice = self._choices.choice
        match self._choices.randrange(6):
            case 0:  # it happens when the caller has given up
                return {"on": choice(ONCE_MORE), "moment": "before", "answer": "delay", "seconds": LONG_SECONDS}
            case 1:
                return {"on": choice(ANY), "moment": "before", "answer": choice(["lose", "500", "429"])}
            case 2:
                return {"on": choice(["hold", "credit", "transfer"]), "moment": "before", "answer": "422"}
            case 3:
                return {
                    "on": choice(ANY),
                    "moment": "before",
                    "answer": choice(["409", "hang"]),
                    "seconds": LONG_SECONDS,
                }
            case _:
                return {"on": choice(ANY), "moment": "after", "answer": choice(AFTER)}

    async def restart_payments(self, times: int, every_seconds: float) -> None:
        """Kill the payments service itself now and then."""
        for _ in range(times):
            await asyncio.sleep(self._choices.uniform(0.5, 1.5) * every_seconds)
            await self._world.restart_payments()

    # ── databases ────────────────────────────────────────────────────────────────────────────────────────────────

    async def kill_databases(self, times: int, every_seconds: float) -> None:
        """Kill the ledger's PostgreSQL and the CRM's in turn."""
        for number in range(times):
            await asyncio.sleep(self._choices.uniform(0.5, 1.5) * every_seconds)
            self._world.kill_postgres(self._world.postgres if number % 2 == 0 else self._world.stage.postgres)

    # ── moments ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def strike_at_moments(self) -> None:
        """Kill every coordinator between votes and decision, then between two commits, for ever."""
        while True:
            for on, when in (("hold", "between votes and decision"), ("confirm", "between commits")):
                await self._world.misbehave(on=on, answer="delay", seconds=LONG_SECONDS)
                seen = self._count(on)
                with suppress(AssertionError):  # nobody came by
                    await until(lambda on=on, seen=seen: self._count(on) > seen, 3, on)
                    for service in self._world.coordinators:
                        if service not in self._world.untouchable:
                            await self._world.kill(service, when)
                await asyncio.sleep(self._choices.uniform(1.0, 3.0))

    def _count(self, what: str) -> int:
        return sum(line["what"] == what for line in self._world.stage.paid())

    # ── pauses ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def pause_past_the_lease(self, times: int, every_seconds: float) -> None:
        """Stop a coordinator in the middle of its work until another has ended it, then let it wake."""
        for number in range(times):
            await asyncio.sleep(every_seconds)
            service, door = self._world.coordinators[0], self._world.doors[0]
            self._world.untouchable.add(service)
            try:
                await until(lambda service=service: service.pid is not None, 20, "a coordinator to be born")
                await service.ready()
                intents = await self._begin(door, f"pause-{number}")
                service.signal(signal.SIGSTOP)
                self._world.hurt["pause"] += 1
                await asyncio.sleep(LEASE_SECONDS)
                ended = await self._ended_elsewhere(intents)
                woke_at = datetime.now(UTC)
                service.signal(signal.SIGCONT)
                self.frozen.extend(Frozen(intent, version, woke_at) for intent, version in ended.items())
                await asyncio.sleep(LONG_SECONDS)  # what it was doing it will try to go on with
            finally:
                service.signal(signal.SIGCONT)
                self._world.untouchable.discard(service)

    async def _begin(self, door: Client, name: str) -> list[str]:
        """Leave intents under way at one coordinator: their holds are taken and the answers are kept back."""
        count = 4
        await self._world.misbehave(on="hold", answer="delay", seconds=LONG_SECONDS, count=count)
        held = self._count("hold")
        bodies = [
            {
                "task": "load",
                "again": True,
                "reason": "pause",
                "deadline": 60,
                "actions": [action("refund", "payments.refund", charge=f"ch_{n}", amount=1, **USD)],
            }
            for n in range(count)
        ]
        sending = (self._load.send(self._steady, door, f"{name}-{n}", body) for n, body in enumerate(bodies))
        attempts = await asyncio.gather(*sending)
        with suppress(AssertionError):
            await until(lambda: self._count("hold") > held, 3, "a hold")
        return [attempt.intent for attempt in attempts if attempt.intent is not None]

    async def _ended_elsewhere(self, intents: list[str]) -> dict[str, int]:
        """Wait until other coordinators have ended these intents; return the versions of those that have.

        Others are killed meanwhile: ten seconds are for all of them, and twice as many for the first.
        """
        ended: dict[str, int] = {}
        others = self._world.doors[1:]
        clock = asyncio.get_running_loop().time
        began = clock()
        while len(ended) < len(intents) and clock() < began + (10 if ended else 20):
            for intent in intents:
                status, shown = await self._choices.choice(others).ask("GET", f"/v1/intents/{intent}")
                if status == 200 and shown["phase"] in TERMINAL:
                    ended[intent] = shown["version"]
            await asyncio.sleep(0.2)
        return ended


async def keep_reading(doors: list[Client], seen: list[dict[str, Any]], stopped: Callable[[], bool]) -> None:
    """Read the feed as it grows, through whichever door answers; what was read once is never read again."""
    turn = 0
    while not stopped():
        turn += 1
        after = seen[-1]["position"] if seen else 0
        status, page = await doors[turn % len(doors)].ask("GET", f"/v1/events?after={after}&limit=500")
        if status == 200:
            seen.extend(page["items"])
        await asyncio.sleep(0.1)

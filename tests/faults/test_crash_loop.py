"""Real processes, killed at random and at the worst moments; then everything must be as if nothing had happened.

Meanwhile grants are revoked and renewed, policy sets change, and people answer for what waits.

    FAULTS_SEED    choose the run (printed by every run)
    FAULTS_KILLS   how many coordinators to kill; 100 by default

What is left of a run that failed (records, logs, evidence) stays in the directory that the failure names.
"""

import asyncio
import os
import pickle
import random
import shutil
import time
from collections import Counter
from pathlib import Path

from chaos import Chaos, keep_reading
from checker import check
from department import Department
from healing import come_to_rest, gather
from load import Load
from patience import until
from people import People
from traces import Evidence
from upheaval import Upheaval
from world import LEASE_SECONDS, World

from ledger.bounds import RETRY_CAP_SECONDS

KILLS = int(os.environ.get("FAULTS_KILLS", "100"))
SEED = int(os.environ.get("FAULTS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
LIMIT_SECONDS = 240.0  # of the faults; a machine that is slower than that is too slow
RARE = ("PrepareInDoubt", "CommitInDoubt", "CommitFoundAbsent", "AbortDecided", "ActionUndone", "AttentionResolved")
RARE_PATHS = (
    "revokes that won",
    "decisions that won",
    "approvals given",
    "escalated and committed",
    "refused by a limit",
    "policy changes under way",
    "verdicts overtaken",
    "answers refused",
    "tokens refused",
    "denied",
)
REQUIRED = {
    "kill coordinator": KILLS,
    "kill coordinator between votes and decision": 3,
    "kill coordinator between commits": 3,
    "kill postgres": 5,
    "kill payments": 2,
    "pause": 2,
    "payments after/lose": 1,
    "payments after/500": 1,
    "payments before/delay": 1,
    **{f"event {kind}": 1 for kind in RARE},
    **{f"authority {path}": 1 for path in RARE_PATHS},
}


async def test_a_hundred_crashes_change_nothing(open_directory):
    started = time.monotonic()
    kept = open_directory.with_name(open_directory.name + "-kept")
    print(f"\nFAULTS_SEED={SEED}")
    async with World(open_directory, coordinators=3) as world:
        evidence = Evidence(required=REQUIRED)
        load, problems = await hurt(world, evidence)
        wrong = [*problems, *check(evidence)]
        report(evidence, load, time.monotonic() - started)
        if wrong:
            keep(open_directory, kept, evidence)
    assert not wrong, f"FAULTS_SEED={SEED}, kept in {kept}:\n" + "\n".join(some_of_each(wrong))


class Cast:
    """Everybody who acts in a world: who asks, who answers, who changes what they may, and who hurts."""

    def __init__(self, world: World) -> None:
        self.department = Department(world, SEED)
        self.load = Load(world.doors, self.department, SEED)
        self.people = People(world, self.department, SEED)
        self.upheaval = Upheaval(world, self.department, SEED)
        self.chaos = Chaos(world, self.load, self.department.steady, SEED)
        self.seen: list = []

    async def open(self) -> None:
        await self.department.open()
        await self.upheaval.open()

    def start(self, world: World) -> list[asyncio.Task]:
        """Start what goes on until it is told to stop."""
        work = [
            self.load.run(clients=10),
            self.people.work(),
            self.upheaval.revoke_and_renew(),
            self.upheaval.activate_in_turn(),
        ]
        working = [asyncio.create_task(one) for one in work]
        return [*working, asyncio.create_task(keep_reading(world.doors, self.seen, working[0].done))]

    def stop(self) -> None:
        for one in (self.load, self.people, self.upheaval):
            one.stop()


async def hurt(world: World, evidence: Evidence) -> tuple[Load, list[str]]:
    """Load, hurt, heal, gather; return the load and what went wrong on the way."""
    cast = Cast(world)
    await cast.open()
    working = cast.start(world)
    chaos = cast.chaos
    world.live_dangerously(random.Random(SEED), longest_seconds=1.2)
    limited = [
        asyncio.create_task(chaos.kill_databases(6, 9)),
        asyncio.create_task(chaos.restart_payments(2, 20)),
        asyncio.create_task(chaos.pause_past_the_lease(2, 12)),
    ]
    endless = [asyncio.create_task(chaos.arm_faults()), asyncio.create_task(chaos.strike_at_moments())]
    try:
        await until(lambda: enough(world, limited, working), LIMIT_SECONDS, f"enough faults: {world.hurt}")
    finally:
        for task in endless:
            task.cancel()
        await asyncio.gather(*endless, return_exceptions=True)
    await asyncio.gather(*limited)
    cast.stop()
    await asyncio.gather(*working)
    await world.live_quietly()
    await world.behave()
    return cast.load, await heal(world, cast, evidence)


def enough(world: World, limited: list, working: list[asyncio.Task]) -> bool:
    for task in working:
        assert not task.done(), task.exception()
    world.check_lives()
    for task in limited:
        if task.done():
            task.result()
    return all(task.done() for task in limited) and world.hurt["kill coordinator"] >= KILLS


async def heal(world: World, cast: Cast, evidence: Evidence) -> list[str]:
    door = world.doors[0]
    since = time.monotonic()
    await cast.department.revoke_what_nobody_holds()
    await cast.load.settle()
    evidence.healing_limit_seconds = LEASE_SECONDS + RETRY_CAP_SECONDS + 10
    rest = await come_to_rest(world, cast.people, door, since, evidence.healing_limit_seconds)
    evidence.healed_seconds, resolved, unexplained = rest
    world.hurt["resolved by a person"] += resolved
    world.hurt.update(cast.department.figures)
    evidence.attempts = cast.load.attempts
    evidence.earlier = cast.seen
    evidence.frozen = cast.chaos.frozen
    evidence.revocations = cast.department.revocations
    evidence.answers = cast.people.answers
    evidence.books = cast.upheaval.books
    await gather(world, door, evidence)
    problems = [f"attention that nothing outside explains: {one}" for one in unexplained]
    if not cast.chaos.frozen:
        problems.append("No intent was ended by another coordinator while one was paused.")
    return [*problems, *world.died]


def some_of_each(wrong: list[str]) -> list[str]:
    """Return the first five sentences about each invariant."""
    seen: Counter[str] = Counter()
    found = []
    for sentence in wrong:
        seen[sentence.partition(":")[0]] += 1
        if seen[sentence.partition(":")[0]] <= 5:
            found.append(sentence)
    return found


def report(evidence: Evidence, load: Load, seconds: float) -> None:
    """Print the figures of the run."""
    phases = Counter(shown["phase"] for shown in evidence.intents.values())
    outcomes = Counter(attempt.outcome for attempt in load.attempts)
    print(f"{seconds:.0f} s, {len(evidence.intents)} intents {dict(phases)}, {len(evidence.events)} events")
    print(f"POSTs {dict(outcomes)}, healed in {evidence.healed_seconds:.1f} s, frozen {len(evidence.frozen)}")
    print("\n".join(f"  {name}: {count}" for name, count in sorted(evidence.faults.items())))


def keep(directory: Path, kept: Path, evidence: Evidence) -> None:
    kept.mkdir()
    for path in directory.iterdir():
        if path.is_file():
            shutil.copy(path, kept)
    (kept / "evidence.pickle").write_bytes(pickle.dumps(evidence))

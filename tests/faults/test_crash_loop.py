"""Real processes, killed at random and at the worst moments; then everything must be as if nothing had happened.

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
from healing import come_to_rest, gather
from load import Load
from patience import until
from traces import Evidence
from world import LEASE_SECONDS, World

from ledger.bounds import RETRY_CAP_SECONDS

KILLS = int(os.environ.get("FAULTS_KILLS", "100"))
SEED = int(os.environ.get("FAULTS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
LIMIT_SECONDS = 240.0  # of the faults; a machine that is slower than that is too slow
RARE = ("PrepareInDoubt", "CommitInDoubt", "CommitFoundAbsent", "AbortDecided", "ActionUndone", "AttentionResolved")
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
    assert not wrong, f"FAULTS_SEED={SEED}, kept in {kept}:\n" + "\n".join(wrong[:40])


async def hurt(world: World, evidence: Evidence) -> tuple[Load, list[str]]:
    """Load, hurt, heal, gather; return the load and what went wrong on the way."""
    load = Load(world.doors, SEED)
    chaos = Chaos(world, load, SEED)
    seen: list = []
    loading = asyncio.create_task(load.run(clients=10))
    reading = asyncio.create_task(keep_reading(world.doors, seen, loading.done))
    world.live_dangerously(random.Random(SEED), longest_seconds=1.2)
    limited = [
        asyncio.create_task(chaos.kill_databases(6, 9)),
        asyncio.create_task(chaos.restart_payments(2, 20)),
        asyncio.create_task(chaos.pause_past_the_lease(2, 12)),
    ]
    endless = [asyncio.create_task(chaos.arm_faults()), asyncio.create_task(chaos.strike_at_moments())]
    try:
        await until(lambda: enough(world, limited, loading), LIMIT_SECONDS, f"enough faults: {world.hurt}")
    finally:
        for task in endless:
            task.cancel()
        await asyncio.gather(*endless, return_exceptions=True)
    await asyncio.gather(*limited)
    load.stop()
    await asyncio.gather(loading, reading)
    await world.live_quietly()
    await world.behave()
    return load, await heal(world, load, chaos, seen, evidence)


def enough(world: World, limited: list, loading: asyncio.Task) -> bool:
    assert not loading.done(), loading.exception()
    world.check_lives()
    for task in limited:
        if task.done():
            task.result()
    return all(task.done() for task in limited) and world.hurt["kill coordinator"] >= KILLS


async def heal(world: World, load: Load, chaos: Chaos, seen: list, evidence: Evidence) -> list[str]:
    door = world.doors[0]
    since = time.monotonic()
    await load.settle()
    evidence.healing_limit_seconds = LEASE_SECONDS + RETRY_CAP_SECONDS + 10
    rest = await come_to_rest(world, door, since, evidence.healing_limit_seconds)
    evidence.healed_seconds, resolved, unexplained = rest
    world.hurt["resolved by a person"] += resolved
    evidence.attempts = load.attempts
    evidence.earlier = seen
    evidence.frozen = chaos.frozen
    await gather(world, door, evidence)
    problems = [f"attention that nothing outside explains: {one}" for one in unexplained]
    if not chaos.frozen:
        problems.append("No intent was ended by another coordinator while one was paused.")
    return [*problems, *world.died]


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

"""Seeded runs: several workers, faults drawn from the seed, people in between; then healing, and the checker.

A failure prints the seed and everything derived from it; `python tests/simulation/play_seed.py SEED` tells its story.
A seed that ever found something stays in `seeds_that_failed.txt`.
"""

from collections import Counter
from pathlib import Path

import pytest
from simulation.chance import Swarm
from simulation.checker import check, count
from simulation.scenes import life
from simulation.world import World

BLOCKS = 20
SEEDS_IN_A_BLOCK = 110
KEPT = [
    int(line.split()[0])
    for line in (Path(__file__).parent / "seeds_that_failed.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
RARE = (
    "abort before prepare",
    "aborted because denied",
    "aborted because expired",
    "aborted because grant expired",
    "aborted because rejected",
    "aborted because revoked",
    "append refused by GrantAlive",
    "append refused by PolicyActive",
    "append under an old epoch refused",
    "append unknown and not written",
    "append unknown and written",
    "approval accepted",
    "approval refused: late",
    "approval refused: not eligible",
    "approval refused: old digest",
    "asked again with a new digest",
    "attention resolved",
    "call held back",
    "circuit closed",
    "circuit opened",
    "committed after a hold was let go",
    "crash",
    "decision raced by cancel",
    "decision refused by GrantAlive",
    "decision refused by PolicyActive",
    "decision refused by WithinLimits",
    "decision won against a revoke",
    "drain",
    "duplicate allowed after a vain one",
    "ended aborted",
    "ended committed",
    "ended compensated",
    "ended denied",
    "ended mixed",
    "ended simulated",
    "evaluated again: facts changed",
    "event AbortFailed",
    "event ActionFailed",
    "event CommitFoundAbsent",
    "event OutcomeContradicted",
    "event OutcomeVerified",
    "event UndoFailed",
    "event UndoInDoubt",
    "hang prevented by tombstone",
    "hold refused by a system that had promised",
    "idempotency hit",
    "late call dropped",
    "limit restored",
    "pause",
    "poison parked",
    "prepare after a refusal",
    "quorum of two",
    "repeat answered from memory",
    "submission not answered",
    "submission refused: PossibleDuplicate",
    "submission refused: Unauthenticated",
    "takeover after lease",
    "undo asked for",
    "unknown resolved as absent",
    "unknown resolved as applied",
    "woke after losing an intent",
    "zombie refused by fence",
)
SEEDS_FOR_RARE_PATHS = 1_500  # at most: it ends when everything was seen


def played(seed: int) -> Counter[str]:
    """Play one seed; fail with everything there is to know about it."""
    world = World(Swarm(seed))
    try:
        broken = check(world.run(life))
    except Exception as error:
        error.add_note(f"{world.chance}")
        raise
    assert not broken, f"{world.chance}\n" + "\n".join(broken)
    return count(world)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_whatever_goes_wrong_every_law_holds(block):
    seen = Counter[str]()
    for seed in range(block * SEEDS_IN_A_BLOCK, (block + 1) * SEEDS_IN_A_BLOCK):
        seen += played(seed)
    assert seen["event IntentCommitted"] > SEEDS_IN_A_BLOCK, "hardly anything was committed: this proves nothing"
    assert seen["faults fired"] > SEEDS_IN_A_BLOCK, "hardly any fault fired: this proves nothing"


@pytest.mark.parametrize("seed", KEPT)
def test_a_seed_that_failed_once_never_fails_again(seed):
    assert played(seed)


def test_every_rare_path_is_taken():
    seen = Counter[str]()
    for seed in range(10_000, 10_000 + SEEDS_FOR_RARE_PATHS):
        seen += played(seed)
        if all(seen[path] for path in RARE):
            return
    pytest.fail(f"never happened: {[path for path in RARE if not seen[path]]}")


def test_the_same_seed_gives_the_same_run():
    def log(seed: int) -> list[tuple[str, bytes]]:
        return [(one.stream, one.body) for one in World(Swarm(seed)).run(life).database.log]

    assert log(7) == log(7)

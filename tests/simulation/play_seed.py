"""Tell the story of one simulated run: `python tests/simulation/play_seed.py SEED`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from simulation.chance import Swarm
from simulation.checker import check
from simulation.scenes import life
from simulation.world import World


def say(line: object) -> None:
    """Write one line."""
    sys.stdout.write(f"{line}\n")


def main() -> int:
    """Play the seed, print every event and what is true outside; 1 if a law was broken."""
    world = World(Swarm(int(sys.argv[1])))
    say(world.chance)
    world.run(life)
    for one in world.database.log:
        fields = one.body.decode() if one.type not in {"IntentSubmitted", "PolicyEvaluated"} else ""
        say(f"{one.position:5} {one.at:%M:%S.%f} {one.stream[-6:]} {one.version:3} {one.type} {fields}")
    for effect in world.outside.history:
        undone = " undone" if effect.key in world.outside.undone else ""
        say(f"{effect.at:9.3f} {effect.intent[-6:]} {effect.action}{undone}")
    broken = check(world)
    say("\n".join(broken) or "every law holds")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

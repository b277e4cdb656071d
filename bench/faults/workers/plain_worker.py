"""No package at all: the tools called one after another, as most agents do. It shows what the others are held against.

It passes the client's key on where a system takes one, looks nothing up, and remembers in its own memory what it has
finished. Nothing of that outlives the process, and nobody goes on where it stopped.
"""

import asyncio

import door
from outside import System

options = door.arguments()
SYSTEMS = {name: System(options.gate, name) for name in ("left", "right")}
FINISHED: set[str] = set()


async def submit(work: dict) -> dict:
    for action in work["actions"]:
        outside, account = SYSTEMS[action["system"]], action["account"]
        match work["guarantee"]:
            case "atomic":
                await outside.hold(work["key"], account)
                await outside.confirm(work["key"])
            case "idempotent":
                await outside.credit(work["key"], account)
            case _:
                await outside.transfer(work["key"], account)
    FINISHED.add(work["key"])
    return door.say("done")


async def says(work: dict) -> dict:
    return door.say("done" if work["key"] in FINISHED else "silent")


if __name__ == "__main__":
    asyncio.run(door.serve(submit, says))

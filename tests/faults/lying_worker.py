"""A worker that does what it is told to do wrong, behind the door of `bench/faults/workers`: ours, in malice.

LIE says which: honest, doubles, halves, loses, lies, asks. It pays with credits and remembers in a file.
"""

import asyncio
import os
from pathlib import Path

import door
from outside import System

options = door.arguments()
LIE = os.environ["LIE"]
MEMORY = Path(options.directory) / "memory"
SYSTEMS = {name: System(options.gate, name) for name in ("left", "right")}


def memory() -> str:
    return MEMORY.read_text() if MEMORY.exists() else ""


async def submit(work: dict) -> dict:
    again = memory() == "begun"
    MEMORY.write_text("begun")
    for action in work["actions"]:
        key = f"{work['key']}-{options.number}-{'again' if again and LIE == 'doubles' else 'first'}"
        await SYSTEMS[action["system"]].credit(key, action["account"])
        if LIE == "halves":
            return door.say("moving")
    MEMORY.write_text("done")
    return door.say("done")


async def says(work: dict) -> dict:
    match LIE:
        case "honest" | "doubles":
            return door.say("done" if memory() == "done" else "moving")
        case "lies":
            return door.say("done")
        case "asks":
            return door.say("asks", "The process that sent it is gone.")
        case _:
            return door.say("moving")


if __name__ == "__main__":
    asyncio.run(door.serve(submit, says))

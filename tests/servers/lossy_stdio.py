"""Stands between a client and a program that speaks JSON-RPC by lines: it counts what is answered, and loses answers.

Run: python lossy_stdio.py DIRECTORY COMMAND…
A file `down` in the directory lets it end at once. A file `lose` names a tool: the next call of it passes, and when it
is answered nobody hears of it; both ends are gone then. Each tool that has answered is a line of `calls`.
"""

import json
import subprocess
import sys
import threading
from pathlib import Path

DIRECTORY = Path(sys.argv[1])
LOSE, CALLS = DIRECTORY / "lose", DIRECTORY / "calls"


def main() -> None:
    if (DIRECTORY / "down").exists():
        sys.exit(1)
    program = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    called: dict[int, str] = {}
    losing: set[int] = set()

    def forward() -> None:
        for line in sys.stdin.buffer:
            asked = json.loads(line)
            if asked["method"] == "tools/call":
                called[asked["id"]] = asked["params"]["name"]
                if LOSE.exists() and LOSE.read_text() == called[asked["id"]]:
                    LOSE.unlink()
                    losing.add(asked["id"])
            program.stdin.write(line)
            program.stdin.flush()
        program.stdin.close()

    threading.Thread(target=forward, daemon=True).start()
    for line in program.stdout:
        number = json.loads(line).get("id")
        if number in called:
            with CALLS.open("a") as calls:
                calls.write(called[number] + "\n")
        if number in losing:
            program.kill()
            break
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

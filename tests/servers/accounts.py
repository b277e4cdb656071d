"""The accounts of the reference adapter in a process of their own, so that they are really outside.

One line of JSON asks, one answers: {"verb", "guarantee", "call": {…}, "receipt", "result"} → {"kind", "value"}. What
happens is the reference adapter's own doing, so this system keeps every law. `{"look": account}` tells what is there:
the balance, how many effects there were, what is held.

Run: python accounts.py; the first line on standard output is the port. It ends when its standard input closes.
"""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from adapters.contract import Call
from adapters.parent_death import signal_at_parent_death
from adapters.reference import Fate, ReferenceAdapter, World
from ledger.errors import AdapterError
from ledger.intents import Guarantee


@contextlib.contextmanager
def accounts() -> Iterator[int]:
    """Run the server; yield its port."""
    child = subprocess.Popen(
        [sys.executable, "-P", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=signal_at_parent_death(signal.SIGKILL),  # noqa: PLW1509
    )
    try:
        yield int(child.stdout.readline())
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait(timeout=10)


class Accounts:
    """The world, and a reference adapter of each guarantee over it."""

    def __init__(self) -> None:
        self.world = World()
        self.adapters = {one: ReferenceAdapter("accounts", self.world, one) for one in Guarantee}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(json.dumps(await self.answer(json.loads(line))).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        if "look" in asked:
            return self.look(asked["look"])
        call = msgspec.convert(asked["call"], Call)
        adapter = self.adapters[Guarantee(asked["guarantee"])]
        arguments = [asked[name] for name in ("receipt", "result") if name in asked]
        try:
            answer = await getattr(adapter, asked["verb"])(call, *arguments)
        except AdapterError as error:
            return {"kind": type(error).__name__, "value": error.message}
        return {"kind": type(answer).__name__, "value": msgspec.to_builtins(answer)}

    def look(self, account: str) -> dict[str, int]:
        settled = [one for one in self.world.settled.values() if one.account == account]
        held = [one for one in self.world.held.values() if one.account == account and one.fate is Fate.HELD]
        return {
            "balance": self.world.balances.get(account, 0),
            "effects": sum(one.effects for one in settled),
            "held": len(held),
            "touched": int(bool(settled)),
        }


async def main() -> None:
    server = await asyncio.start_server(Accounts().serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())

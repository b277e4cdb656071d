"""The command `intentledger` as a process beside a service that runs in the test's own event loop."""

import asyncio
import os
import pty
import sys
from pathlib import Path
from typing import Any, NamedTuple

COMMAND = Path(sys.executable).with_name("intentledger")


class Answer(NamedTuple):
    code: int
    out: str
    err: str


class Person:
    """Somebody with a token in a file, who runs commands."""

    def __init__(self, directory: Path, url: str, token: str, name: str = "person") -> None:
        self.directory = directory
        self.file = directory / f"{name}.token"
        self.file.write_text(token + "\n")
        self.file.chmod(0o600)
        self.settings = {"INTENTLEDGER_URL": url, "INTENTLEDGER_TOKEN_FILE": str(self.file)}

    async def run(self, *arguments: Any, **settings: str) -> Answer:
        """Run a command where nobody can be asked."""
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *map(str, arguments),
            env=environment(self.settings | settings),
            cwd=self.directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            out, err = await process.communicate()
        return Answer(process.returncode or 0, out.decode(), err.decode())

    async def sit(self, said: str, *arguments: Any) -> Answer:
        """Run a command at a terminal, and type `said` once it asks; what it says to a person is in `err`."""
        ours, theirs = pty.openpty()
        try:
            process = await asyncio.create_subprocess_exec(
                COMMAND,
                *map(str, arguments),
                env=environment(self.settings),
                cwd=self.directory,
                stdin=theirs,
                stdout=asyncio.subprocess.PIPE,
                stderr=theirs,
            )
            async with asyncio.timeout(30):
                heard = b""
                while not heard.endswith(b"[y/N] "):
                    heard += await asyncio.to_thread(os.read, ours, 1024)
                os.write(ours, said.encode())
                out, _ = await process.communicate()
            os.set_blocking(ours, False)
            heard += os.read(ours, 4096)
        finally:
            os.close(ours)
            os.close(theirs)
        return Answer(process.returncode or 0, out.decode(), heard.decode())


def environment(settings: dict[str, str]) -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith(("INTENTLEDGER_", "PG"))}
    return {**others, "NO_COLOR": "1", "COLUMNS": "160"} | settings

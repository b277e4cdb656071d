"""The notebook of `mcp_notebook.py` over streamable HTTP: one process for all tests of this one, started once."""

import atexit
import json
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from adapters.parent_death import signal_at_parent_death

_PROGRAM = Path(__file__).with_name("mcp_notebook.py")


class Serving(NamedTuple):
    """A server that runs: where it answers, what it has recorded, and its process."""

    port: int
    record: Path
    process: subprocess.Popen[str]

    def lines(self, book: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.record.read_text().splitlines()) if line["book"] == book]


@cache
def serving() -> Serving:
    """Start the server; it ends with the tests, however they end."""
    directory = Path(tempfile.mkdtemp(prefix="mcp-notebook-"))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(_PROGRAM), str(directory / "record"), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            preexec_fn=signal_at_parent_death(signal.SIGKILL),  # noqa: PLW1509
        )
    atexit.register(_end, process)
    said = process.stdout.readline() if process.stdout else ""
    if not said:
        raise AssertionError(f"The MCP server of the tests did not start: {(directory / 'log').read_text()}")
    return Serving(int(said), directory / "record", process)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()

"""An append-only file of JSON lines, each durable before `append` returns: what an outside system really holds.

Owns nothing but the file. It is the record that a checker reads, so it is written before any answer leaves and never
rewritten; a last line that a crash cut short was never answered for, and is dropped when the file is opened again.
"""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Journal:
    """One process's open journal; a second process must not open the same file."""

    def __init__(self, path: Path) -> None:
        """Open or create the file and cut off what a crash left unfinished."""
        self.lines = list(read(path))
        self._file = path.open("ab")
        self._file.truncate(sum(len(_encode(line)) for line in self.lines))

    def append(self, **fields: Any) -> Line:
        """Add a line with its number and the time (UTC), and return it once it is on the disk."""
        line = {"number": len(self.lines) + 1, "at": datetime.now(UTC).isoformat(), **fields}
        self._file.write(_encode(line))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.lines.append(line)
        return line

    def close(self) -> None:
        """Let go of the file; everything in it is durable already."""
        self._file.close()


def read(path: Path) -> Iterator[Line]:
    """Yield the finished lines of a journal, also while another process writes it; nothing if there is no file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for raw in file:
            if raw.endswith(b"\n"):
                yield json.loads(raw)


def _encode(line: Line) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"

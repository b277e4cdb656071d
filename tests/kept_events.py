"""The events of every release, as they were written then: tests/corpus, one file a release, kept for ever."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ledger.events import Recorded, decode

RELEASES = sorted(Path(__file__).parent.glob("corpus/*.ndjson"))


class Kept(NamedTuple):
    """One event as it was stored."""

    stream: str
    version: int
    type: str
    at: datetime
    body: bytes


def kept(release: Path) -> list[Kept]:
    lines = [json.loads(line) for line in release.read_text().splitlines()]
    return [
        Kept(one["stream"], one["version"], one["type"], datetime.fromisoformat(one["at"]), one["body"].encode())
        for one in lines
    ]


def understood(release: Path) -> list[Recorded]:
    """Read a release's events as the present one does."""
    return [
        Recorded(
            ledger="main",
            position=position,
            stream=one.stream,
            version=one.version,
            at=one.at,
            event=decode(one.type, one.body),
            body=one.body,
        )
        for position, one in enumerate(kept(release), 1)
    ]


def still_says(now: Any, then: Any) -> bool:
    """Tell whether a value still says everything that it said; it may say more."""
    if isinstance(then, dict):
        return isinstance(now, dict) and all(name in now and still_says(now[name], then[name]) for name in then)
    if isinstance(then, list):
        return (
            isinstance(now, list)
            and len(now) == len(then)
            and all(still_says(one, other) for one, other in zip(now, then, strict=True))
        )
    return type(now) is type(then) and now == then

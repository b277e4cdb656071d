"""Who is judged: what the harness asks of a package, whatever it is."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from bench.faults.cells import Cell, Work
from bench.faults.verdicts import Said


class NoAnswerError(Exception):
    """The worker did not answer: it is dead, paused, or broke off."""


class Installation(Protocol):
    """A package at work on one lane: its workers are numbered 1 and 2, of which only the first runs at first."""

    async def open(self) -> None:
        """Install what lasts for the lane."""

    async def close(self) -> None:
        """Stop everything."""

    async def begin(self, work: Work) -> None:
        """Get ready for a cell: worker 1 runs, worker 2 does not."""

    async def start(self, number: int) -> None:
        """Start a worker; it recovers by itself what the package recovers at a start."""

    async def kill(self, number: int) -> None:
        """Kill a worker with -9 and wait until it is gone."""

    def pause(self, number: int) -> None:
        """Send SIGSTOP."""

    def wake(self, number: int) -> None:
        """Send SIGCONT."""

    async def take_over(self, dead: int) -> None:
        """Do what the package's documentation has for a worker that is held to be dead."""

    async def submit(self, number: int, work: Work) -> Said:
        """Ask a worker to do the work, under its key; raises `NoAnswerError`. Cancelled, the client leaves."""

    async def says(self, number: int, work: Work) -> Said:
        """Ask a worker what the package knows of the work; raises `NoAnswerError`."""

    def logs(self) -> str:
        """Return what the workers of the present cell have said."""


class Contender(msgspec.Struct, frozen=True):
    """A package and what it has no notion of."""

    name: str
    version: str
    configuration: str  # one sentence
    both: bool  # whether it has a notion of several calls that belong together
    misses: Callable[[Cell], str | None]  # why a cell is not applicable, None if it is
    recovers: bool = True  # whether it does anything about a work after its worker has gone

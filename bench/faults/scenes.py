"""What is done to the work: one function for each row, each of which returns when its fault has struck and is over.

Worker 1 does the work. Where a worker is killed, it is started again at once, as a supervisor would. `Stage` is what a
scene may touch; whether the client comes back afterwards is not its business.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import asyncpg

from bench.faults.cells import LEFT, RIGHT, Guarantee, Row, Work
from bench.faults.contender import Installation, NoAnswerError
from bench.faults.gate import AFTER, BEFORE, EFFECT, HOLD, UNDO, Gate, Passage
from bench.faults.verdicts import AT_REST, Said
from gateway.embedded_postgres import EmbeddedPostgres

STRIKE_SECONDS: Final = 25.0  # in which a fault must have struck, or the cell is void
PAUSE_SECONDS: Final = 20.0  # at most: longer than the lease of every package
RESTART_SECONDS: Final = 3.5  # at most: below the lease of every package, or the row would be about leases
HELD_SECONDS: Final = 3.0  # how long the first of two recoverers waits at the gate for the second


class NeverStruckError(Exception):
    """The moment of the fault did not come."""


class VoidError(Exception):
    """The fault was not the one that the row is about; whatever came of it is not looked at."""


class Stage:
    """One cell under way."""

    def __init__(self, installation: Installation, gate: Gate, work: Work, postgres: EmbeddedPostgres) -> None:
        """Set the scene."""
        self._postgres = postgres
        self.outage_seconds = 0.0
        self.at_work = installation
        self.gate = gate
        self.work = work
        self.client: asyncio.Task[Said] | None = None
        self.answers: list[Said] = []  # that clients have seen
        self.asked = 1  # which worker is to be asked, now

    def send(self) -> None:
        """Let the client ask worker 1."""
        self.client = asyncio.create_task(self.at_work.submit(1, self.work))

    async def struck(self, event: asyncio.Event) -> None:
        """Wait until a fault has struck."""
        try:
            async with asyncio.timeout(STRIKE_SECONDS):
                await event.wait()
        except TimeoutError:
            raise NeverStruckError(f"Nothing was struck. At the gate: {self.gate.log}") from None

    async def flush_database(self) -> None:
        """Leave the database little to recover, so that its restart is short."""
        connection = await asyncpg.connect(self._postgres.dsn("postgres"))
        await connection.execute("checkpoint")
        await connection.close()

    async def restart_database(self) -> Passage:
        """Kill the PostgreSQL in which the package keeps its records, start it again, and let the answer pass."""
        began = asyncio.get_running_loop().time()
        if self._postgres.pid is not None:
            os.kill(self._postgres.pid, signal.SIGKILL)
        await self._postgres.stop()
        await self._postgres.start()
        self.outage_seconds = asyncio.get_running_loop().time() - began
        return Passage.PASS

    async def kill_and_break(self) -> Passage:
        """Kill worker 1, and let its request or its answer get no further."""
        await self.at_work.kill(1)
        return Passage.BREAK

    async def hear(self) -> Said | None:
        """Wait for what the client is told, None if nothing or if it has left."""
        if self.client is None or self.client.cancelled():
            return None
        try:
            said = await self.client
        except NoAnswerError:
            return None
        self.answers.append(said)
        return said

    async def said(self) -> Said | None:
        """Ask what the package knows, None if it does not answer."""
        try:
            return await self.at_work.says(self.asked, self.work)
        except NoAnswerError:
            return None

    async def part(self) -> None:
        """Let the client go, with the answer if there is one by now."""
        if self.client is not None and self.client.done():
            await self.hear()
        else:
            await self.forget()

    async def forget(self) -> None:
        """Let the client go without an answer."""
        if self.client is not None:
            self.client.cancel()
            await asyncio.gather(self.client, return_exceptions=True)


async def _crash(stage: Stage, kind: str, moment: str, system: str = LEFT) -> None:
    struck = stage.gate.on(kind, moment, stage.kill_and_break, system=system)
    stage.send()
    await stage.struck(struck)
    await stage.hear()
    await stage.at_work.start(1)


async def before(stage: Stage) -> None:
    """Kill the worker when its request has left it and before the outside system sees it."""
    await _crash(stage, EFFECT, BEFORE)


async def landed(stage: Stage) -> None:
    """Kill the worker when the effect is recorded outside and before it hears of it."""
    await _crash(stage, EFFECT, AFTER)


async def recorded(stage: Stage) -> None:
    """Kill the worker when it has finished, and let its answer be lost to the client."""
    stage.send()
    said = await stage.hear()
    stage.answers.clear()
    if said is None:
        raise NeverStruckError("The work did not end.")
    await stage.at_work.kill(1)
    await stage.at_work.start(1)


async def paused(stage: Stage) -> None:
    """Stop the worker when the effect is recorded outside, until another has taken over; then let it go on."""
    await stage.at_work.start(2)

    async def pause() -> Passage:
        stage.at_work.pause(1)
        return Passage.PASS

    struck = stage.gate.on(EFFECT, AFTER, pause)
    stage.send()
    await stage.struck(struck)
    stage.asked = 2
    await asyncio.sleep(HELD_SECONDS)
    await stage.at_work.take_over(1)
    deadline = asyncio.get_running_loop().time() + PAUSE_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        said = await stage.said()
        if said is not None and said.state in AT_REST:
            break
        await asyncio.sleep(0.25)
    stage.at_work.wake(1)
    await asyncio.sleep(2)  # it reads its answer, and does what it then thinks right
    await stage.forget()


async def two_recoverers(stage: Stage) -> None:
    """Kill the worker before its request arrives; two recover, and if both send, both requests arrive together."""
    struck = stage.gate.on(EFFECT, BEFORE, stage.kill_and_break)
    stage.send()
    await stage.struck(struck)
    await stage.hear()
    together = asyncio.Barrier(2)

    async def meet() -> Passage:
        try:
            async with asyncio.timeout(HELD_SECONDS):
                await together.wait()
        except (TimeoutError, asyncio.BrokenBarrierError):
            await together.reset()
        return Passage.PASS

    stage.gate.on(EFFECT, BEFORE, meet, times=2)
    await asyncio.gather(stage.at_work.start(1), stage.at_work.start(2))
    await stage.at_work.take_over(1)


async def lost_answer(stage: Stage) -> None:
    """Break the connection when the effect is recorded outside; everybody lives."""

    async def lose() -> Passage:
        return Passage.BREAK

    struck = stage.gate.on(EFFECT, AFTER, lose)
    stage.send()
    await stage.struck(struck)


async def cancelled(stage: Stage) -> None:
    """Let the client leave when the effect is recorded outside; the answer comes half a second later."""

    async def leave() -> Passage:
        await stage.forget()
        await asyncio.sleep(0.5)
        return Passage.PASS

    struck = stage.gate.on(EFFECT, AFTER, leave)
    stage.send()
    await stage.struck(struck)


async def database(stage: Stage) -> None:
    """Restart the database of the package when the effect is recorded outside; then the answer comes."""
    await stage.flush_database()
    struck = stage.gate.on(EFFECT, AFTER, stage.restart_database)
    stage.send()
    await stage.struck(struck)
    if stage.outage_seconds > RESTART_SECONDS:
        await stage.forget()
        raise VoidError(f"The database was away for {stage.outage_seconds:.1f} seconds.")


async def compensation(stage: Stage) -> None:
    """Refuse the second half for good, and kill the worker when the first is undone outside, before it hears of it."""
    stage.gate.refuse(RIGHT, HOLD if stage.work.guarantee is Guarantee.ATOMIC else EFFECT)
    await _crash(stage, UNDO, AFTER)


async def between(stage: Stage) -> None:
    """Kill the worker when the first half is done and its request for the second has not arrived."""
    await _crash(stage, EFFECT, BEFORE, RIGHT)


SCENES: Final[Mapping[Row, Callable[[Stage], Awaitable[None]]]] = {
    Row.BEFORE: before,
    Row.LANDED: landed,
    Row.RECORDED: recorded,
    Row.PAUSED: paused,
    Row.TWO_RECOVERERS: two_recoverers,
    Row.LOST_ANSWER: lost_answer,
    Row.CANCELLED: cancelled,
    Row.DATABASE: database,
    Row.COMPENSATION: compensation,
    Row.BETWEEN: between,
}

"""A lane: two outside systems, a gate before them, a PostgreSQL and one package at work, for one cell after another."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Final, Self

import aiohttp
import msgspec

from bench.faults.cells import LEFT, RIGHT, Cell, Client, Guarantee, Row, Work, patient_first, work_of
from bench.faults.contender import Contender, Installation, NoAnswerError
from bench.faults.gate import Gate
from bench.faults.record import found
from bench.faults.scenes import SCENES, NeverStruckError, Stage, VoidError
from bench.faults.verdicts import AT_REST, Said, State, Verdict, verdict
from examples.demo.processes import Outside
from gateway.embedded_postgres import EmbeddedPostgres

_restarts: Final = asyncio.Lock()
_PLAYS: Final = 8  # of one cell; then the machine is too slow for it
_IN_VAIN_SECONDS: Final = 5.0  # for who recovers nothing: time for a client to come back, and no more
RETURN_SECONDS: Final = 1.0  # between a client's attempts
Install = Callable[[Path, EmbeddedPostgres, str], Installation]


class Patience(msgspec.Struct, frozen=True):
    """How long the harness waits."""

    rest_seconds: float = 30.0  # after the fault; then what still moves is not believed to come to rest
    quiet_seconds: float = 1.0  # after the rest, before the records are read: nobody may do anything more


PATIENT: Final = Patience()


class Outcome(msgspec.Struct, frozen=True):
    """How one cell ended."""

    contender: str
    cell: Cell
    verdict: Verdict
    why: str
    seconds: float = 0.0
    void: int = 0  # plays before this one whose fault was not the row's; see `VoidError`


class Lane:
    """Everything around the cells of one package."""

    def __init__(self, directory: Path, contender: Contender, install: Install, patience: Patience = PATIENT) -> None:
        """Keep everything below an empty directory that every user may pass through."""
        self._directory = directory
        self._contender = contender
        self._install = install
        self._patience = patience
        self._postgres = EmbeddedPostgres(directory / "postgres")
        self._systems = {name: Outside("examples.payments", directory / f"{name}.jsonl") for name in (LEFT, RIGHT)}
        self._number = 0
        self._gate: Gate | None = None
        self._at_work: Installation | None = None

    async def __aenter__(self) -> Self:
        """Start everything."""
        try:
            await self._postgres.start()
            for system in self._systems.values():
                await system.start()
            self._gate = Gate({name: system.url for name, system in self._systems.items()})
            await self._gate.start()
            self._at_work = self._install(self._directory, self._postgres, self._gate.url)
            await self._at_work.open()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop everything."""
        if self._at_work is not None:
            await self._at_work.close()
        if self._gate is not None:
            await self._gate.stop()
        for system in self._systems.values():
            await system.kill()
        await self._postgres.stop()

    async def run(self, cell: Cell) -> Outcome:
        """Play a cell, again while the play is void, and judge it; raises `NeverStruckError` and `VoidError`."""
        missing = self._contender.misses(cell)
        if missing is not None:
            return Outcome(self._contender.name, cell, Verdict.NOT_APPLICABLE, missing)
        for void in range(_PLAYS - 1):
            try:
                return await self._play_in_turn(cell, void)
            except VoidError:
                continue
        return await self._play_in_turn(cell, _PLAYS - 1)

    async def _play_in_turn(self, cell: Cell, void: int) -> Outcome:
        """Play a cell; those that restart a database do it one at a time, for each other's disks."""
        async with _restarts if cell.row is Row.DATABASE else nullcontext():
            return msgspec.structs.replace(await self._play(cell), void=void)

    async def _play(self, cell: Cell) -> Outcome:
        if self._at_work is None or self._gate is None:
            raise RuntimeError("The lane is not open.")
        began = asyncio.get_running_loop().time()
        self._number += 1
        work = work_of(self._number, cell, both=self._contender.both)
        await self._open_accounts(work)
        self._gate.begin(work.key)
        await self._at_work.begin(work)
        stage = Stage(self._at_work, self._gate, work, self._postgres)
        try:
            await SCENES[cell.row](stage)
        except NeverStruckError as error:
            raise NeverStruckError(f"{self._contender.name}, {cell}: {error}\n{self._at_work.logs()}") from None
        said = await self._come_to_rest(stage, cell)
        await asyncio.sleep(self._patience.quiet_seconds)
        said = await stage.said() or said
        recorded = {one.system: found(self._systems[one.system].record, one.account) for one in work.actions}
        judged, why = verdict(recorded, said, stage.answers)
        return Outcome(self._contender.name, cell, judged, why, asyncio.get_running_loop().time() - began)

    async def _open_accounts(self, work: Work) -> None:
        if work.guarantee is not Guarantee.ATOMIC:
            return  # only what is held is held on something
        async with aiohttp.ClientSession() as session:
            for action in work.actions:
                charge = {"id": action.account, "customer": action.account, "amount": 10**9, "currency": "USD"}
                async with session.post(self._systems[action.system].url + "/charges", json=charge) as response:
                    response.raise_for_status()

    async def _come_to_rest(self, stage: Stage, cell: Cell) -> Said:
        """Wait until the package says how it ended; meanwhile the client repeats itself, if it is one that returns."""
        patience = self._patience.rest_seconds if self._contender.recovers else _IN_VAIN_SECONDS
        deadline = asyncio.get_running_loop().time() + patience
        returning = asyncio.create_task(_return(stage)) if cell.client is Client.RETURNS else None
        said = Said(State.MOVING, words="it has not said anything")
        while asyncio.get_running_loop().time() < deadline:
            said = await stage.said() or said
            if said.state in AT_REST and (returning is None or returning.done()):
                break
            await asyncio.sleep(0.2)
        if returning is not None:
            returning.cancel()
            await asyncio.gather(returning, return_exceptions=True)
        await stage.part()
        return said


async def _return(stage: Stage) -> None:
    """Repeat the request under its key until the answer is one to rest on."""
    while True:
        try:
            said = await stage.at_work.submit(stage.asked, stage.work)
        except NoAnswerError:
            pass
        else:
            stage.answers.append(said)
            if said.state in AT_REST:
                return
        await asyncio.sleep(RETURN_SECONDS)


async def play(
    contender: Contender,
    install: Install,
    cells: Iterable[Cell],
    directory: Path,
    lanes: int,
    tell: Callable[[Outcome], None],
    patience: Patience = PATIENT,
) -> list[Outcome]:
    """Play cells on several lanes at the same time, what takes longest first; `tell` hears of each as it ends."""
    waiting = patient_first(cells)
    outcomes: list[Outcome] = []

    async def one(number: int) -> None:
        below = _open_directory(directory / str(number))
        async with Lane(below, contender, install, patience) as lane:
            while waiting:
                outcomes.append(await lane.run(waiting.pop(0)))
                tell(outcomes[-1])

    async with asyncio.TaskGroup() as group:
        for number in range(min(lanes, len(waiting))):
            group.create_task(one(number))
    if waiting:
        raise RuntimeError(f"{len(waiting)} cells were not played.")
    return outcomes


def _open_directory(path: Path) -> Path:
    """Make a directory, and those above it, that PostgreSQL can pass through if it runs as another user."""
    path.parent.mkdir(mode=0o711, exist_ok=True)
    path.mkdir(mode=0o711)
    return path

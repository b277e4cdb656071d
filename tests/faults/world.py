"""A whole installation of real processes, to be hurt: coordinators on one ledger, and outside systems with records.

The ledger's PostgreSQL and the CRM's belong to the test, so that each can be killed on its own; both are started again
when they die, as an operating system would. Coordinators live until somebody kills them, and are born again.
"""

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import aiohttp
import asyncpg
from patience import until

from examples.demo.client import Client
from examples.demo.processes import Service, StoppedEarlyError
from examples.demo.stage import Stage
from examples.journal import read
from gateway.embedded_postgres import EmbeddedPostgres

LEASE_SECONDS = 2.0
ADAPTER_SECONDS = 1.5  # how long the adapters wait for an answer
CLIENT_SECONDS = 6.0
CHARGES = 200


class World:
    """Everything that runs, and how often each thing was hurt."""

    def __init__(self, directory: Path, coordinators: int = 2) -> None:
        self.directory = directory
        self.stage = Stage(directory)
        self.postgres = EmbeddedPostgres(directory / "ledger")
        self.coordinators: list[Service] = []
        self.doors: list[Client] = []
        self.hurt: Counter[str] = Counter()
        self.died: list[str] = []  # processes that ended without having been killed
        self.untouchable: set[Service] = set()
        self._count = coordinators
        self._parts = AsyncExitStack()
        self._keepers: dict[EmbeddedPostgres, asyncio.Task[None]] = {}
        self._lives: list[asyncio.Task[None]] = []
        self._quiet = False

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._parts.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._parts.aclose()

    async def _start(self) -> None:
        self._parts.push_async_callback(self.stage.stop)
        await self.stage.start()
        text = self.stage.configuration.read_text().replace(
            "timeout_seconds = 8.0", f"timeout_seconds = {ADAPTER_SECONDS}"
        )
        self.stage.configuration.write_text(text)
        await self._remember_when_things_became_visible()
        self._parts.push_async_callback(self.postgres.stop)
        await self.postgres.start()
        for postgres in (self.stage.postgres, self.postgres):
            self._keepers[postgres] = self._background(postgres.keep_running())
        for number in range(CHARGES):
            charge = {"id": f"ch_{number}", "customer": str(number), "amount": 10**9, "currency": "USD"}
            await self.stage.tell_payments("/charges", charge)
        for number in range(self._count):
            service = Service(f"coordinator-{number}", self.directory, self.settings)
            self.coordinators.append(service)
            self._parts.push_async_callback(service.stop)
        await self.coordinators[0].start()
        await self.coordinators[0].ready()  # it migrates and makes the operator's token
        for service in self.coordinators[1:]:
            await service.start()
            await service.ready()
        token = self.token_file.read_text().strip()
        for service in self.coordinators:
            self.doors.append(await self._parts.enter_async_context(Client(service.url, token, CLIENT_SECONDS)))

    async def _remember_when_things_became_visible(self) -> None:
        await self.stage.crm("alter system set track_commit_timestamp = on")
        await self.stage.postgres.stop()
        await self.stage.postgres.start()

    @property
    def settings(self) -> dict[str, str]:
        """Return the settings of every process on this ledger."""
        return {
            **self.stage.environment,
            "INTENTLEDGER_DSN": self.postgres.dsn(),
            "INTENTLEDGER_DATA": str(self.directory / "token"),
            "INTENTLEDGER_LEASE_SECONDS": str(LEASE_SECONDS),
            "INTENTLEDGER_LOG_FORMAT": "json",
        }

    @property
    def token_file(self) -> Path:
        return self.directory / "token" / "operator-main.token"

    def _background(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._parts.push_async_callback(_cancel, task)
        return task

    # ── coordinators ─────────────────────────────────────────────────────────────────────────────────────────────

    def live_dangerously(self, choices: random.Random, longest_seconds: float) -> None:
        """Kill each coordinator again and again, a random time after it became ready."""
        for service in self.coordinators:
            self._lives.append(self._background(self._life(service, choices, longest_seconds)))

    async def live_quietly(self) -> None:
        """Stop killing, and wait until every coordinator is ready."""
        self._quiet = True  # a life that is cancelled while it kills or is born would leave either half done
        await asyncio.gather(*self._lives)
        self._lives.clear()
        for service in self.coordinators:
            if service.pid is None:
                await service.start()
        await asyncio.gather(*(service.ready() for service in self.coordinators))

    async def _life(self, service: Service, choices: random.Random, longest_seconds: float) -> None:
        while not self._quiet:
            if service.pid is None:
                self._bury(service)
                await service.start()
            with suppress(StoppedEarlyError):
                await service.ready()
            with suppress(TimeoutError):
                async with asyncio.timeout(choices.uniform(0, longest_seconds)):
                    await service.ended()
            await until(lambda: service not in self.untouchable or service.pid is None, 600, "a pause to end")
            if not self._quiet:
                await self.kill(service, "at random")

    def check_lives(self) -> None:
        """Raise what ended the hurting of a coordinator, if anything did."""
        for life in self._lives:
            if life.done():
                life.result()

    async def kill(self, service: Service, when: str) -> None:
        """Kill a coordinator, if it lives, and count it."""
        if service.pid is not None:
            self.hurt["kill coordinator"] += 1
            self.hurt[f"kill coordinator {when}"] += 1
            await service.kill()

    def _bury(self, service: Service) -> None:
        if service.status not in {None, -signal.SIGKILL}:
            self.died.append(f"{service.name} ended by itself with {service.status}:\n{service.last_words()}")

    # ── outside systems ──────────────────────────────────────────────────────────────────────────────────────────

    def kill_postgres(self, postgres: EmbeddedPostgres) -> None:
        """Kill a PostgreSQL server with -9; it is started again by itself."""
        if postgres.pid is not None:
            self.hurt["kill postgres"] += 1
            os.kill(postgres.pid, signal.SIGKILL)

    @asynccontextmanager
    async def without(self, postgres: EmbeddedPostgres) -> AsyncIterator[None]:
        """Take a PostgreSQL server away for a while, connections and all."""
        await _cancel(self._keepers[postgres])
        self.kill_postgres(postgres)
        await postgres.stop()
        yield
        await postgres.start()
        self._keepers[postgres] = self._background(postgres.keep_running())

    async def restart_payments(self) -> None:
        """Kill the payments service with -9 and start it again on its record."""
        self.hurt["kill payments"] += 1
        self.hurt.update(await self._faults_fired())
        await self.stage.payments.kill()
        await self.stage.payments.start()

    async def misbehave(self, **fault: Any) -> None:
        """Arm a fault in the payments service; harmless while it is away."""
        with suppress(aiohttp.ClientError):
            await self.stage.tell_payments("/faults", fault)

    async def behave(self) -> None:
        """Disarm every fault, and count those that fired."""
        self.hurt.update(await self._faults_fired())
        async with aiohttp.ClientSession() as session:
            await session.delete(self.stage.payments.url + "/faults")

    async def _faults_fired(self) -> Counter[str]:
        async with aiohttp.ClientSession() as session, session.get(self.stage.payments.url + "/faults") as response:
            fired = (await response.json())["fired"]
        return Counter({f"payments {name.partition('/')[2]}": count for name, count in fired.items()})

    async def outside_calls(self) -> int:
        """Return how often outside systems were called at all."""
        async with aiohttp.ClientSession() as session, session.get(self.stage.payments.url + "/faults") as response:
            return int((await response.json())["requests"]) + len(self.stage.mailed())

    def open_holds(self) -> Iterator[tuple[str, str]]:
        """Yield what the payments service still holds, by its own record."""
        settled = {line["key"] for line in self.stage.paid() if line["what"] in {"confirm", "release"}}
        for line in read(self.stage.payments.record):
            if line["what"] == "hold" and line["key"] not in settled:
                yield "payments", line["key"]

    async def crm(self) -> asyncpg.Connection:
        return await asyncpg.connect(self.stage.crm_dsn, timeout=10)

    async def run(self, *arguments: str) -> tuple[int, Any]:
        """Run `intentledger …` on this ledger; return its exit code and its answer."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", "from gateway.cli import main; main()", *arguments),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **self.settings},
        )
        said, _ = await asyncio.wait_for(process.communicate(), 120)
        return process.returncode or 0, json.loads(said or b"null")

    def logs(self) -> Sequence[Path]:
        return [service.log for service in self.coordinators]


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

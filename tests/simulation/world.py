"""One simulated world: a ledger, outside systems, worker processes that die, clients that insist, and people.

Everything the coordinator is made of is real; everything it stands on is simulated. A run has a phase in which things
go wrong and a phase in which nothing does any more, by the end of which every intent must be at rest.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from random import Random
from typing import Any

import msgspec
import structlog
from simulation.loop import Process, VirtualLoop
from simulation.network import Network
from simulation.outside import SETTLE_SECONDS, Outside
from simulation.store import Database, SimulatedStore
from simulation.systems import ADAPTERS, REGISTRY, connected

from authority.grants import Principal
from coordinator.coordinator import Coordinator
from coordinator.intake import Request
from ledger import bounds
from ledger.errors import Corrupt
from ledger.events import IntentSubmitted, PolicyEvaluated
from ledger.ids import intent_of
from ledger.intents import JSON, Subject
from ledger.phases import TERMINAL, Phase
from ledger.state import IntentState, fold

PRINCIPAL = Principal(
    grant="grant-7", subject=Subject("agent", "sim"), custody=("grant-7",), commissioned_by="operator"
)
PATIENCE_SECONDS = 5.0  # how long a client waits for an answer
REST_SECONDS = int(bounds.LEASE_SECONDS + bounds.RETRY_CAP_SECONDS + 4 * bounds.CALL_SECONDS + SETTLE_SECONDS)  # I18
ROUNDS = 50  # of rest, answers to calls for attention, and rest again
POLL_SECONDS = 1.0  # workers look for due intents less often than real ones, to save the simulation's time


class Gone(Exception):
    """The process did not answer: it died, or is paused."""


class Authority:
    """Denies what asks to be denied, allows everything else."""

    def evaluate(self, submitted: IntentSubmitted, facts: Mapping[str, JSON]) -> PolicyEvaluated:
        effect = submitted.context.get("effect", "allow")
        return PolicyEvaluated(effect=effect, policies=("P-1",), policy_set="sha256:p", facts=dict(facts))


class World:
    """The simulation of one `chance`. `clients` and `people` are coroutine functions that get the world."""

    def __init__(self, chance: Any, network: Network | None = None, *, shuffled: bool = True) -> None:
        self.chance = chance
        self.random: Random = chance.random
        self.loop = VirtualLoop(self.random if shuffled else None)
        self.counters: Counter[str] = Counter()
        self.database = Database(self.loop.time, counters=self.counters)
        self.outside = Outside(self.database, self.counters, fenced=chance.fenced)
        self.network = network or Network()
        self.running: dict[int, tuple[Process, Coordinator]] = {}
        self.booted = 0
        self.crashed = 0
        self.acknowledged: dict[str, set[str]] = {}  # by idempotency key: the ids that clients were told
        self.refused: set[str] = set()  # keys whose submission was certainly refused
        self.said: dict[Any, Any] = {}  # what people have said to each call for attention
        self.crimes: list[str] = self.outside.crimes
        connected(ADAPTERS, self.outside, self.network, self._luck)

    def run(self, scenario: Callable[["World"], Awaitable[None]]) -> "World":
        """Play the scenario to its end and bury the dead."""
        poll, bounds.CLAIM_POLL_SECONDS = bounds.CLAIM_POLL_SECONDS, POLL_SECONDS
        self.loop.set_exception_handler(lambda _, context: self.crimes.append(f"unhandled: {context}"))
        try:
            with structlog.testing.capture_logs() as logs:
                self.loop.run_until_complete(scenario(self))
        finally:
            bounds.CLAIM_POLL_SECONDS = poll
            self.loop.bury()
        for line in logs:
            if line["event"] == "intent_poisoned":
                self.counters["poison parked"] += 1
                if "nonsense" not in self.chance.rates:
                    self.crimes.append(f"our own code failed on an intent: {line['error']} {line.get('exc_info')!r}")
        return self

    def _luck(self, verb: Any, call: Any) -> Any:
        guarantee = call.operation.partition(".")[0]
        return self.chance.luck(guarantee, verb, call.action, self.loop.time())

    # ── processes ────────────────────────────────────────────────────────────────────────────────────────────────

    def boot(self, slot: int) -> Process:
        """Start a worker process in this slot."""
        self.booted += 1
        process = Process(f"worker-{slot}-{self.booted}")
        store = SimulatedStore(self.database, self.network, self.chance.store_fate, self.chance.lag())
        coordinator = process.context.run(
            Coordinator,
            store,
            REGISTRY,
            Authority(),  # type: ignore[arg-type]
            self.random.randbytes,
            process.name,
            lease_seconds=self.chance.lease_seconds,
        )
        process.context.run(coordinator.start)
        self.running[slot] = (process, coordinator)
        return process

    async def keep_running(self, slot: int) -> None:
        """Supervise one slot: trouble while there is trouble, and a new process whenever one has ended."""
        random = self.random
        while True:
            process = self.boot(slot)
            while process.alive:
                troubles = {} if self.chance.healed else self.chance.troubles
                kind = random.choice(sorted(troubles)) if troubles else None
                after = random.expovariate(1 / troubles[kind]) if kind else None
                await asyncio.wait([process.ended], timeout=after)
                if process.alive and kind and not self.chance.healed:
                    await self._trouble(slot, process, kind)
            self.crashed += 1
            await asyncio.sleep(random.uniform(0, 3) if self.chance.troubles else 0)

    async def _trouble(self, slot: int, process: Process, kind: str) -> None:
        self.chance.fired += 1
        self.counters[kind] += 1
        if kind == "crash":
            process.crash()
        elif kind == "pause":
            await self._pause(process)
            held = [row for row in self.database.in_flight.values() if row.worker == process.name]
            await asyncio.sleep(self.random.choice((0.5, self.chance.lease_seconds + 5)))
            if any(row not in self.database.in_flight.values() or row.worker != process.name for row in held):
                self.counters["woke after losing an intent"] += 1
            process.wake()
        else:
            with suppress(Gone):
                await self.ask(lambda c: c.drain(1.0), slot)
            process.crash()

    async def _pause(self, process: Process) -> None:
        """Pause at any moment, or just when something is durable and the call that waits for it has not left."""
        process.pauses_next = self.random.random() < 0.5
        for _ in range(100):
            if not process.pauses_next:
                break
            await asyncio.sleep(0.1)
        process.pauses_next = False
        process.pause()

    async def all_awake(self) -> None:
        """Wait until nobody is paused any more."""
        for _ in range(1_000):
            if not any(process.paused for process, _ in self.running.values()):
                return
            await asyncio.sleep(1.0)

    async def ask(self, question: Callable[[Coordinator], Awaitable[Any]], slot: int | None = None) -> Any:
        """Ask one process and wait for its answer for a while; raises `Gone`, or what it raises."""
        slots = sorted(slot for slot, (process, _) in self.running.items() if process.alive)
        if slot is None:
            if not slots:
                raise Gone
            slot = self.random.choice(slots)
        process, coordinator = self.running[slot]
        task = self.loop.create_task(question(coordinator), context=process.context)  # type: ignore[arg-type]
        await asyncio.wait([task, process.ended], timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            try:
                return task.result()
            except Corrupt as error:
                self._blame(f"I17: what the ledger holds cannot be true: {error}")
                raise Gone from error
        task.add_done_callback(lambda late: late.cancelled() or late.exception())
        raise Gone

    # ── looking at the whole ─────────────────────────────────────────────────────────────────────────────────────

    def states(self) -> dict[str, IntentState]:
        """Fold every intent, as the ledger has it now."""
        found = {}
        for stream, recorded in self.database.streams.items():
            try:
                state = fold(recorded)
            except Corrupt as error:
                self._blame(f"I17: {stream} cannot be folded: {error}")
                continue
            if intent_of(stream) is not None and state is not None:
                found[state.id] = state
        return found

    def _blame(self, crime: str) -> None:
        if crime not in self.crimes:
            self.crimes.append(crime)

    def moving(self) -> list[IntentState]:
        """Return the intents that are neither at their end nor waiting for a person."""
        return [s for s in self.states().values() if not waits(s) and s.phase not in TERMINAL]

    async def settle(self, people: Callable[["World"], Awaitable[None]]) -> None:
        """Let everything come to rest without faults, answering attention; what still moves then is a crime (I18)."""
        for _ in range(ROUNDS):
            await self._until_nothing_moves()
            if any(waits(state) for state in self.states().values()):
                await people(self)
                await asyncio.sleep(1.0)
            elif self.loop.time() < self.network.quiet_at:
                await asyncio.sleep(self.network.quiet_at - self.loop.time() + 1.0)
            else:
                break
        for state in self.states().values():
            if state.phase not in TERMINAL:
                steps = {a.plan.id: str(a.step) for a in state.actions}
                self.crimes.append(f"I18: {state.id} is still {state.phase} {steps} long after the last fault")

    async def _until_nothing_moves(self) -> None:
        """Wait while anything moves; nothing may stand still for longer than REST_SECONDS, or move for ever."""
        still, head = 0, 0
        for _ in range(10 * REST_SECONDS):
            if not self.moving() or still > REST_SECONDS:
                return
            still = still + 1 if len(self.database.log) == head else 0
            head = len(self.database.log)
            await asyncio.sleep(1.0)


def waits(state: IntentState) -> bool:
    """Tell whether only a person can move this intent on."""
    return state.phase is Phase.AWAITING_APPROVAL or state.attention is not None


def request(key: str, actions: tuple[Any, ...], **more: Any) -> Request:
    """Build a request whose digest names its content."""
    bare = Request(idempotency_key=key, request_digest="", reason="simulated", actions=actions, **more)
    return msgspec.structs.replace(bare, request_digest=f"{actions}{more}")

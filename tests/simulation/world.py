"""One simulated world: a ledger, outside systems, worker processes that die, clients that insist, and people.

Everything the coordinator is made of is real; everything it stands on is simulated. A run has a phase in which things
go wrong and a phase in which nothing does any more, by the end of which every intent must be at rest.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple

import msgspec
import structlog
from simulation.cast import activate, enter
from simulation.loop import Process, VirtualLoop
from simulation.network import Network
from simulation.outside import SETTLE_SECONDS, Outside
from simulation.store import Database, SimulatedStore
from simulation.systems import ADAPTERS, REGISTRY, connected

from authority.authority import Authority
from authority.grants import GrantOrder
from coordinator.coordinator import Coordinator
from coordinator.intake import Request
from ledger import bounds
from ledger.errors import Corrupt
from ledger.phases import TERMINAL, UNDECIDED, Phase
from ledger.state import IntentState, fold

PATIENCE_SECONDS = 5.0  # how long a client waits for an answer
REST_SECONDS = int(bounds.LEASE_SECONDS + bounds.RETRY_CAP_SECONDS + 4 * bounds.CALL_SECONDS + SETTLE_SECONDS)  # I18
LOOK_SECONDS = 2  # between two looks at whether everything is at rest
ROUNDS = 200  # of rest, answers to calls for attention, and rest again
BOUNDS = {
    "CLAIM_POLL_SECONDS": 2.0,  # workers look for due intents less often than real ones, to save the simulation's time
    "APPROVAL_SECONDS": 120.0,  # people have minutes instead of a day
    "DUPLICATE_SECONDS": 60,
}
BEGINS_AT = 86_370.0  # half a minute before midnight: the windows of limits change while it runs


class Gone(Exception):
    """The process did not answer: it died, or is paused."""


class Door(NamedTuple):
    """One process as its callers see it: who they are is asked first, as the HTTP door does."""

    coordinator: Coordinator
    authority: Authority

    async def submit(self, token: str, wanted: Request) -> Any:
        """Submit; who they are may be remembered, because the append is guarded."""
        return await self.coordinator.submit(await self.authority.authenticate(token, fresh=False), wanted)

    async def approve(self, token: str, intent: str, digest: str) -> Any:
        return await self.coordinator.approve(intent, await self.authority.authenticate(token), digest, None)

    async def reject(self, token: str, intent: str, digest: str) -> Any:
        return await self.coordinator.reject(intent, await self.authority.authenticate(token), digest, "no")

    async def cancel(self, token: str, intent: str, pause: float) -> Any:
        """Cancel; what they say comes a while after who they are."""
        principal = await self.authority.authenticate(token)
        await asyncio.sleep(pause)
        return await self.coordinator.cancel(intent, principal, "changed my mind")

    async def revoke(self, token: str, grant: str) -> Any:
        revoked = await self.authority.revoke(await self.authority.authenticate(token), grant, "a test")
        await self.coordinator.classify(revoked.in_flight)
        return revoked

    async def activate(self, token: str, digest: str) -> Any:
        return await self.authority.activate(await self.authority.authenticate(token), digest)

    async def issue(self, token: str, order: GrantOrder, entropy: Callable[[int], bytes]) -> Any:
        return await self.authority.issue(await self.authority.authenticate(token), order, entropy)


class World:
    """The simulation of one `chance`. `clients` and `people` are coroutine functions that get the world."""

    def __init__(self, chance: Any, network: Network | None = None, *, shuffled: bool = True) -> None:
        self.chance = chance
        self.random: Random = chance.random
        self.loop = VirtualLoop(self.random if shuffled else None)
        self.counters: Counter[str] = Counter()
        self.database = Database(lambda: BEGINS_AT + self.loop.time(), counters=self.counters)
        enter(self.database, chance.grants(self.database.now()))
        if chance.rules is not None:
            activate(self.database, chance.rules)
        self.outside = Outside(self.database, self.counters, fenced=chance.fenced)
        self.network = network or Network()
        self.running: dict[int, tuple[Process, Door]] = {}
        self.booted = 0
        self.crashed = 0
        self.acknowledged: dict[str, set[str]] = {}  # by idempotency key: the ids that clients were told
        self.refused: set[str] = set()  # keys whose submission was certainly refused
        self.healed_at = 0.0
        self.obeyed: dict[str, int] = {}  # by grant: the position by which its revoke had returned
        self.said: dict[Any, Any] = {}  # what people have said to each call for attention
        self.crimes: list[str] = self.outside.crimes
        self._folded: dict[str, IntentState] = {}  # as they were when somebody looked last
        connected(ADAPTERS, self.outside, self.network, self._luck)

    def run(self, scenario: Callable[["World"], Awaitable[None]]) -> "World":
        """Play the scenario to its end and bury the dead."""
        real = {name: getattr(bounds, name) for name in BOUNDS}
        vars(bounds).update(BOUNDS)
        self.loop.set_exception_handler(lambda _, context: self.crimes.append(f"unhandled: {context}"))
        try:
            with structlog.testing.capture_logs() as logs:
                self.loop.run_until_complete(scenario(self))
        finally:
            vars(bounds).update(real)
            self.loop.bury()
        for line in logs:
            if line["event"].startswith("circuit_"):
                self.counters[line["event"].replace("_", " ")] += 1
            if line["event"] == "background_failed":
                self.crimes.append(f"our own code failed in {line['part']}: {line['error']}")
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
        authority = process.context.run(Authority, store)
        coordinator = process.context.run(
            Coordinator,
            store,
            REGISTRY,
            authority,
            self.random.randbytes,
            process.name,
            lease_seconds=self.chance.lease_seconds,
        )
        process.context.run(coordinator.start)
        self.running[slot] = (process, Door(coordinator, authority))
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
                await self.ask(lambda door: door.coordinator.drain(1.0), slot)
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

    async def ask(self, question: Callable[[Door], Awaitable[Any]], slot: int | None = None) -> Any:
        """Ask one process and wait for its answer for a while; raises `Gone`, or what it raises."""
        slots = sorted(slot for slot, (process, _) in self.running.items() if process.alive)
        if slot is None:
            if not slots:
                raise Gone
            slot = self.random.choice(slots)
        process, door = self.running[slot]
        task = self.loop.create_task(question(door), context=process.context)  # type: ignore[arg-type]
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
            if not stream.startswith("intent/"):
                continue
            intent = stream.removeprefix("intent/")
            known = self._folded.get(intent)
            try:
                state = fold(recorded[known.version if known else 0 :], known)
            except Corrupt as error:
                self._blame(f"I17: {stream} cannot be folded: {error}")
                continue
            if state is not None:
                found[intent] = self._folded[intent] = state
        return found

    def quiet_since(self) -> datetime:
        """Tell from when on nothing went wrong any more."""
        now = self.database.now() - timedelta(seconds=self.loop.time())
        return now + timedelta(seconds=max(self.healed_at, self.network.quiet_at))

    def _blame(self, crime: str) -> None:
        if crime not in self.crimes:
            self.crimes.append(crime)

    def moving(self) -> list[IntentState]:
        """Return the intents that are neither at their end nor waiting for a person."""
        return [s for s in self.states().values() if not self.waits(s) and not ended(s)]

    def waits(self, state: IntentState) -> bool:
        """Tell whether only a person can move this intent on."""
        grant = state.submitted.grant
        if state.phase in UNDECIDED and not self.database.inline.is_alive(grant, self.database.now()):
            return False  # it must be aborted, whatever was asked
        return state.attention is not None or asks(state)

    async def settle(self, people: Callable[["World"], Awaitable[None]]) -> None:
        """Let everything come to rest without faults, answering attention; what still moves then is a crime (I18)."""
        for _ in range(ROUNDS):
            await self._until_nothing_moves()
            if any(self.waits(state) for state in self.states().values()):
                await people(self)
                await asyncio.sleep(1.0)
            elif self.loop.time() < self.network.quiet_at:
                await asyncio.sleep(self.network.quiet_at - self.loop.time() + 1.0)
            else:
                break
        for state in self.states().values():
            if not ended(state):
                steps = {a.plan.id: str(a.step) for a in state.actions}
                self.crimes.append(f"I18: {state.id} is still {state.phase} {steps} long after the last fault")

    async def _until_nothing_moves(self) -> None:
        """Wait while anything moves; nothing may stand still for longer than REST_SECONDS, or move for ever."""
        still, head = 0, 0
        for _ in range(10 * REST_SECONDS):
            if not self.moving() or still > REST_SECONDS:
                return
            still = still + LOOK_SECONDS if len(self.database.log) == head else 0
            head = len(self.database.log)
            await asyncio.sleep(LOOK_SECONDS)


def asks(state: IntentState) -> bool:
    """Tell whether not enough people have approved yet."""
    asked = state.approval_requested
    return state.phase is Phase.AWAITING_APPROVAL and asked is not None and len(state.approvals) < asked.quorum


def ended(state: IntentState) -> bool:
    """Tell whether nothing more will happen by itself, the look at what its task calls success included."""
    contract = state.submitted.contract
    looks = state.phase is Phase.COMMITTED and contract is not None and contract.success
    return state.phase in TERMINAL and not (looks and state.outcome is None)


def request(key: str, actions: tuple[Any, ...], **more: Any) -> Request:
    """Build a request whose digest names its content."""
    bare = Request(idempotency_key=key, request_digest="", reason="simulated", actions=actions, **more)
    return msgspec.structs.replace(bare, request_digest=f"{actions}{more}")

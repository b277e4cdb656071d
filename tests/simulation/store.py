"""A ledger in memory that keeps every promise of `ledger/store.py`, and a connection to it that can break.

`Database` is the truth and survives every process. `SimulatedStore` is one process's view of it.
The contract suite (`tests/contract/test_store_contract.py`) runs over it as over PostgreSQL.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from simulation.inline_tables import InlineTables
from simulation.loop import PROCESS
from simulation.network import SMOOTH, Fate, Network

from ledger import bounds
from ledger.errors import Unavailable
from ledger.events import AbortDecided, CommitDecided, Recorded, decode, encode
from ledger.ids import flight_stream, intent_of
from ledger.laws import check
from ledger.store import (
    Append,
    Appended,
    Claimed,
    Due,
    EpochCurrent,
    Finished,
    GrantAlive,
    Guard,
    GuardFailed,
    KeyUnused,
    Parked,
    PolicyActive,
    StandingGrant,
    Submission,
    Take,
    Unknown,
    Unlike,
    Verdict,
    VersionConflict,
    WithinLimits,
    Work,
    too_long,
)

EPOCH_OF_TIME = datetime(2030, 1, 1, tzinfo=UTC)
NEVER = float("inf")
JUDGED = (EpochCurrent, GrantAlive, KeyUnused, PolicyActive, Unlike, WithinLimits)  # in this order


class InFlight(msgspec.Struct):
    """One row of the table of work."""

    due: float
    epoch: int
    worker: str | None
    grant: str | None


class Written(msgspec.Struct, frozen=True):
    """Who wrote an append, under which guard, and which epoch was current then: for the checker."""

    process: str
    epoch: int | None
    current: int | None
    first_position: int
    last_position: int


class Database:
    """The durable ledger. `time()` gives seconds and only grows."""

    def __init__(self, time: Callable[[], float], ledger: str = "main", counters: Counter[str] | None = None) -> None:
        self.time = time
        self.counters = Counter() if counters is None else counters
        self.ledger = ledger
        self.log: list[Recorded] = []
        self.streams: dict[str, list[Recorded]] = {}
        self.keys: dict[tuple[str, str], tuple[str, str]] = {}
        self.in_flight: dict[str, InFlight] = {}
        self.inline = InlineTables()
        self.written: list[Written] = []
        self.epochs = 0
        self._news = asyncio.Event()

    def now(self) -> datetime:
        return EPOCH_OF_TIME + timedelta(seconds=self.time())

    def append(self, append: Append, process: str = "") -> Verdict:
        check(append)
        stream = self.streams.get(append.stream, [])
        if append.expected_version != len(stream):
            if _decides(append) and any(isinstance(one.event, AbortDecided) for one in stream):
                self.counters["decision raced by cancel"] += 1
            return VersionConflict(len(stream))
        intent, at = intent_of(append.stream) or append.stream, self.now()
        for guard in sorted(append.guards, key=lambda guard: JUDGED.index(type(guard))):
            failed = self._check(guard, intent, at)
            if failed is not None:
                refused = "decision" if _decides(append) else "append"
                self.counters[f"{refused} refused by {type(guard).__name__}"] += 1
                return failed
        row = self.in_flight.get(intent)
        before = row.epoch if row else None
        self._do_beside(append, intent, at)
        recorded = tuple(self._write(append, n, event, at) for n, event in enumerate(append.events, 1))
        self.streams.setdefault(append.stream, stream).extend(recorded)
        if append.notify is not None:
            self.inline.outbox.append(recorded[append.notify].position)
        grant = next((guard.grant for guard in append.guards if isinstance(guard, GrantAlive)), None)
        epoch = self._work(intent, append.work, grant)
        used = next((g.epoch for g in append.guards if isinstance(g, EpochCurrent)), None)
        self.written.append(Written(process, used, before, recorded[0].position, recorded[-1].position))
        self._news.set()
        return Appended(recorded, epoch)

    def _check(self, guard: Guard, intent: str, at: datetime) -> GuardFailed | None:
        match guard:
            case EpochCurrent(epoch):
                row = self.in_flight.get(intent)
                if row and row.epoch == epoch:
                    return None
                self.counters["append under an old epoch refused"] += 1
                return GuardFailed(guard)
            case GrantAlive(grant):
                return None if self.inline.is_alive(grant, at) else GuardFailed(guard)
            case KeyUnused(subject, key):
                used = self.keys.get((subject, key))
                return None if used is None else GuardFailed(guard, *used)
            case PolicyActive(policy_set):
                return None if self.inline.policy_set == policy_set else GuardFailed(guard)
            case Unlike():
                like = self.inline.like(guard, at)
                return None if like is None else GuardFailed(guard, like)
            case WithinLimits(charges):
                lacking = self.inline.lacking(charges, at)
                return None if lacking is None else GuardFailed(guard, limit=lacking[0], used=lacking[1])

    def _do_beside(self, append: Append, intent: str, at: datetime) -> None:
        """Change the inline tables of authority as a good append asks; raises before anything is changed."""
        if append.change is not None:
            dead = self.inline.change(append.change)
            for row in self.in_flight.values():
                if row.grant in dead and row.worker is None:
                    row.due = min(row.due, self.time())
        for guard in append.guards:
            match guard:
                case KeyUnused(subject, key, request_digest):
                    self.keys[subject, key] = (intent, request_digest)
                case Unlike():
                    self.inline.claim_likeness(guard, intent, at)
                case WithinLimits(charges):
                    self.inline.charge(charges, at)
        if append.restore is not None:
            self.inline.restore(append.restore)

    def _write(self, append: Append, number: int, event: Any, at: datetime) -> Recorded:
        body = encode(event)
        one = Recorded(
            ledger=self.ledger,
            position=len(self.log) + 1,
            stream=append.stream,
            version=append.expected_version + number,
            at=at,
            event=decode(type(event).__name__, body),
            body=body,
        )
        self.log.append(one)
        return one

    def _work(self, intent: str, work: Work | None, grant: str | None = None) -> int | None:
        row = self.in_flight.get(intent)
        known = row.grant if row else None
        match work:
            case None:
                return None
            case Finished():
                self.in_flight.pop(intent, None)
                return None
            case Take(worker, lease_seconds):
                row = InFlight(self.time() + lease_seconds, self._next_epoch(), worker, known or grant)
                self.in_flight[intent] = row
                return row.epoch
            case Due(at):
                due = self.time() if at is None else (at - EPOCH_OF_TIME).total_seconds()
            case Parked():
                due = NEVER
        self.in_flight[intent] = InFlight(due, row.epoch if row else self._next_epoch(), None, known)
        return None

    def _next_epoch(self) -> int:
        self.epochs += 1
        return self.epochs

    def read(self, stream: str, after_version: int) -> list[Recorded]:
        found = self.streams.get(stream, [])[after_version:]
        if len(found) > bounds.STREAM_EVENTS:
            raise too_long(stream)
        return found

    def claim(self, worker: str, limit: int, lease_seconds: float) -> list[Claimed]:
        due = sorted((row.due, intent) for intent, row in self.in_flight.items() if row.due <= self.time())
        taken = []
        for _, intent in due[:limit]:
            row = self.in_flight[intent]
            if row.worker is not None:
                self.counters["takeover after lease"] += 1
            self.in_flight[intent] = InFlight(self.time() + lease_seconds, self._next_epoch(), worker, row.grant)
            alive = row.grant is None or self.inline.is_alive(row.grant, self.now())
            taken.append(Claimed(intent, self.epochs, alive))
        return taken

    def reschedule(self, intent: str, epoch: int, work: Due | Parked, version: int | None, grant: str | None) -> bool:
        row = self.in_flight.get(intent)
        if row is None or row.epoch != epoch:
            return False
        if grant is not None and not self.inline.is_alive(grant, self.now()):
            self.counters["revocation not overslept"] += 1
            return False
        if version is not None and version != len(self.streams.get(flight_stream(intent), [])):
            self.counters["word of a person not overslept"] += 1
            return False
        self._work(intent, work)
        return True

    def renew(self, worker: str, intents: Sequence[Claimed], lease_seconds: float) -> list[str]:
        held = []
        for claimed in intents:
            row = self.in_flight.get(claimed.intent)
            if row and row.epoch == claimed.epoch and row.worker == worker:
                row.due = self.time() + lease_seconds
                held.append(claimed.intent)
        return held

    def in_flight_under(self, grant: str) -> list[str]:
        rows = sorted(self.in_flight.items())
        return [intent for intent, row in rows if row.grant and self.inline.is_under(row.grant, grant)]

    async def news(self) -> None:
        self._news.clear()
        await self._news.wait()


def _decides(append: Append) -> bool:
    return any(isinstance(event, CommitDecided) for event in append.events)


class SimulatedStore:
    """One process's connection to the database. `fates` draws what becomes of each request."""

    def __init__(
        self, database: Database, network: Network, fates: Callable[[str], Fate] = lambda _: SMOOTH, lag: float = 0.0
    ) -> None:
        self.ledger = database.ledger
        self.lag = lag  # how far this process's idea of the database's time is behind
        self._database = database
        self._network = network
        self._fates = fates
        self._latest = EPOCH_OF_TIME

    def now(self) -> datetime:
        self._latest = max(self._latest, self._database.now() - timedelta(seconds=self.lag))
        return self._latest

    async def append(self, append: Append) -> Verdict:
        process = PROCESS.get()
        name = process.name if process else ""
        try:
            return await self._ask("append", lambda: self._database.append(append, name))
        except Unavailable as error:
            written = self._database.read(append.stream, append.expected_version)[: len(append.events)]
            truth = "written" if [one.event for one in written] == list(append.events) else "not written"
            self._database.counters[f"append unknown and {truth}"] += 1
            return Unknown(error.message)

    async def read(self, stream: str, after_version: int = 0) -> Sequence[Recorded]:
        return await self._ask("read", lambda: self._database.read(stream, after_version))

    async def submission(self, subject: str, key: str) -> Submission | None:
        used = await self._ask("read", lambda: self._database.keys.get((subject, key)))
        return None if used is None else Submission(*used)

    async def chain(self, *, grant: str | None = None, token_sha256: str | None = None) -> Sequence[StandingGrant]:
        return await self._ask("read", lambda: self._database.inline.chain(grant, token_sha256))

    async def below(self, grant: str, after: str | None, limit: int) -> Sequence[StandingGrant]:
        return await self._ask("read", lambda: self._database.inline.below(grant, after, limit))

    async def in_flight_under(self, grant: str) -> Sequence[str]:
        return await self._ask("read", lambda: self._database.in_flight_under(grant))

    async def active_policy(self) -> str | None:
        return await self._ask("read", lambda: self._database.inline.policy_set)

    async def read_all(self, after_position: int, limit: int) -> Sequence[Recorded]:
        return await self._ask("read", lambda: self._database.log[after_position : after_position + limit])

    async def follow(self, after_position: int, batch: int) -> AsyncIterator[Sequence[Recorded]]:
        while True:
            events = await self.read_all(after_position, batch)
            yield events
            if events:
                after_position = events[-1].position
            else:
                await asyncio.wait([asyncio.ensure_future(self._database.news())], timeout=bounds.FOLLOW_SECONDS)

    async def head(self) -> int:
        return await self._ask("read", lambda: len(self._database.log))

    async def claim(self, worker: str, limit: int, lease_seconds: float) -> Sequence[Claimed]:
        return await self._ask("claim", lambda: self._database.claim(worker, limit, lease_seconds))

    async def reschedule(
        self, intent: str, epoch: int, work: Due | Parked, version: int | None = None, grant: str | None = None
    ) -> bool:
        return await self._ask("reschedule", lambda: self._database.reschedule(intent, epoch, work, version, grant))

    async def renew(self, worker: str, intents: Sequence[Claimed], lease_seconds: float) -> Sequence[str]:
        return await self._ask("renew", lambda: self._database.renew(worker, intents, lease_seconds))

    async def _ask(self, verb: str, apply: Callable[[], Any]) -> Any:
        fate = self._fates(verb)
        changes = verb in {"append", "reschedule"}
        if not fate.request_lost and not fate.answer_lost:
            return await self._network.call(apply, fate, changes=changes)
        # The connection breaks. Whether the request still arrives is exactly what cannot be known here.
        answer = asyncio.ensure_future(self._network.call(apply, fate, changes=changes))
        await asyncio.wait([answer], timeout=fate.answer_delay)
        answer.cancel()
        raise Unavailable("The connection to the database broke.")

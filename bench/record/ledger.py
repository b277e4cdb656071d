"""A big ledger: a company with 400 agents of very different diligence under 20 managers, half a year of it.

It has everything that `bench/record/histories.py` tells, and the same seed gives the same ledger. Events are copied in
as the owner of the tables, past the store, because writing them is not what is measured; they are what the store would
have written. Inline tables and views are then made from them, so that the database can be served at once.
"""

import asyncio
import heapq
import random
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, Final

import asyncpg
import msgspec

import sql
from authority.grants import operator_grant
from authority.policy import DEFAULT
from bench.record.histories import BEGIN, POLICY_SETS, Told, fill, histories
from gateway.replay_parts import Part, processes_for, replay_in_parts
from ledger import events as e
from ledger.grants import Limit, Permission
from ledger.intents import Subject
from ledger.migrations import migrate
from ledger.progress import Progress
from ledger.tasks import TaskContract
from projections.catalogue import PROJECTIONS
from projections.inline_replay import fill_inline
from projections.replay import Replayed

LEDGER: Final = "main"
AGENTS: Final = 400
MANAGERS: Final = 20
TASKS: Final = 2_000
CUSTOMERS: Final = 200_000
DAYS: Final = 180
EVENTS_PER_INTENT: Final = 6.9  # of all histories, by weight
ROLES: Final = ("payment-specialist", "support-clerk", "order-desk", "address-keeper")
COLUMNS: Final = ("ledger", "position", "stream", "version", "type", "at", "body")
CHUNK: Final = 50_000
_HEAD: Final = "select position from intent_ledger.heads where ledger = $1"

Row = tuple[str, int, str, int, str, datetime, bytes]
_Due = tuple[float, int, str, int, Told, dict[bytes, bytes]]  # seconds since BEGIN, a number that breaks ties, ...


class Agent(msgspec.Struct, frozen=True):
    """One agent and the grant under which it works."""

    name: str
    version: str
    role: str
    number: int

    @property
    def manager(self) -> int:
        return self.number % MANAGERS

    @property
    def words(self) -> dict[bytes, bytes]:
        return {
            b"agent": self.name.encode(),
            b"version": self.version.encode(),
            b"role": self.role.encode(),
            b"grant": f"grant-{self.number}".encode(),
            b"manager": f"manager-{self.manager}".encode(),
            b"manager_grant": f"grant-manager-{self.manager}".encode(),
        }


def company() -> list[Agent]:
    """Return the agents, the busiest one first."""
    return [
        Agent(f"{ROLES[number % len(ROLES)]}-{number:03}", f"{1 + number % 3}.{number % 7}", ROLES[number % 4], number)
        for number in range(AGENTS)
    ]


def rows_of(seed: int, events: int) -> Iterator[Row]:
    """Yield the events of the ledger in order, a few more than asked for, so that no intent is cut off."""
    position = 0
    for stream, written in _authority():
        for version, event in enumerate(written, 1):
            position += 1
            yield LEDGER, position, stream, version, type(event).__name__, BEGIN, e.encode(event)
    for seconds, _, stream, version, told, words in _intents(random.Random(seed), events - position):
        position += 1
        body = fill(told.body, words) if told.fills else told.body
        yield LEDGER, position, stream, version, told.type, BEGIN + timedelta(seconds=seconds), body


def _authority() -> Iterator[tuple[str, list[e.Event]]]:
    operator = operator_grant("il_" + "0" * 43)
    yield "grants", [operator]
    above = operator.custody
    for number in range(MANAGERS):
        grant = f"grant-manager-{number}"
        yield f"grant/{grant}", [_grant(grant, Subject("person", f"manager-{number}"), above, ("*",))]
    for agent in company():
        grant, chain = f"grant-{agent.number}", (*above, f"grant-manager-{agent.manager}")
        subject = Subject("agent", agent.name, agent.version, agent.role)
        yield f"grant/{grant}", [_grant(grant, subject, chain, ("payments.*", "crm.*", "email.send", "orders.cancel"))]
    for number, digest in enumerate(POLICY_SETS):
        yield f"policy/{digest}", [e.PolicySetAdded(digest, "permit(…);", _policies(number), "manager-0", above)]
    in_force = (*POLICY_SETS, DEFAULT.digest)  # at last the built-in one, which can judge what is submitted
    yield "policies", [e.PolicySetActivated(digest, "manager-0", above) for digest in in_force]
    for number in range(0, TASKS, 4):
        contract = TaskContract(task=_task(number), owner=f"manager-{number % MANAGERS}", scope=("payments.*",))
        yield f"task/{_task(number)}", [e.TaskDefined(contract, contract.owner, above)]


def _grant(grant: str, subject: Subject, chain: tuple[str, ...], operations: tuple[str, ...]) -> e.GrantIssued:
    return e.GrantIssued(
        grant=grant,
        parent=chain[-1],
        subject=subject,
        token_sha256=f"of {grant}",
        operations=tuple(Permission(one) for one in operations),
        limits=(Limit("*", "count", "hour", 100_000),) if subject.kind == "agent" else (),
        custody=(*chain, grant),
        commissioned_by=None if subject.kind == "person" else chain[-1].removeprefix("grant-"),
        issued_by="operator" if subject.kind == "person" else chain[-1].removeprefix("grant-"),
    )


def _task(number: int) -> str:
    return f"{number // 26}{chr(ord('A') + number % 26)}"


def _policies(number: int) -> tuple[str, ...]:
    return tuple(f"P-{number}{one}" for one in range(5))


def _intents(chance: random.Random, events: int) -> Iterator[_Due]:
    """Yield the events of intents as they come to be recorded: many intents are under way at any moment."""
    kinds = histories()
    weights = list(accumulate(kind.weight for kind in kinds))
    agents = [agent.words for agent in company()]
    diligence = list(accumulate(1 / (rank + 3) for rank in range(AGENTS)))
    due: list[_Due] = []
    gap = DAYS * 86_400 / (events / EVENTS_PER_INTENT)
    now, planned, number = 0.0, 0, 0
    while planned < events:
        now += chance.expovariate(_busy(now) / gap)
        while due and due[0][0] <= now:
            yield heapq.heappop(due)
        (kind,) = chance.choices(kinds, cum_weights=weights)
        (agent,) = chance.choices(agents, cum_weights=diligence)
        intent, words = _words(chance, now, agent)
        at = now
        for version, told in enumerate(kind.told, 1):
            at += told.delay_seconds * (0.5 + chance.random())
            number += 1
            heapq.heappush(due, (at, number, f"intent/{intent}", version, told, words))
        planned += len(kind.told)
    while due:
        yield heapq.heappop(due)


def _busy(seconds: float) -> float:
    """Return how busy an hour of the week is, 1 on average: offices are open from eight to six."""
    hour, day = seconds / 3600 % 24, int(seconds // 86_400) % 7
    return 2.6 if 8 <= hour < 18 and day < 5 else 0.4


def _words(chance: random.Random, now: float, agent: dict[bytes, bytes]) -> tuple[str, dict[bytes, bytes]]:
    """Return a new intent's id and everything in its events that is its own."""
    bits = chance.getrandbits(74)
    head = f"{int((BEGIN.timestamp() + now) * 1000):012x}"
    tail = f"7{bits >> 62:03x}{8 << 60 | bits & (1 << 60) - 1:016x}"
    intent = f"{head[:8]}-{head[8:]}-{tail[:4]}-{tail[4:8]}-{tail[8:]}"
    amount = int(chance.lognormvariate(7.5, 1.0))
    policy_set = min(int(now / (DAYS * 86_400 / len(POLICY_SETS))), len(POLICY_SETS) - 1)
    return intent, agent | {
        b"intent": intent.encode(),
        b"hex": (head + tail).encode(),
        b"task": _task(int(TASKS * chance.random() ** 2)).encode(),
        b"customer": b"%d" % chance.randrange(CUSTOMERS),
        b"amount": b"%d" % amount,
        b"money": b"%.2f" % (amount / 100),
        b"person": b"manager-%d" % chance.randrange(MANAGERS),
        b"policy": b"%d%d" % (policy_set, chance.randrange(5)),
        b"policy_set": POLICY_SETS[policy_set].encode(),
    }


# ── into the database ────────────────────────────────────────────────────────────────────────────────────────────


async def write(dsn: str, seed: int, events: int, show: Progress) -> dict[str, Any]:
    """Copy the ledger into an empty database; the next events are made while the last ones travel."""
    await migrate(dsn)
    connection = await asyncpg.connect(dsn)
    rows, written = rows_of(seed, events), 0
    last: Row | None = None
    try:
        await connection.execute("set synchronous_commit = off")
        async with connection.transaction():
            await connection.execute("insert into intent_ledger.heads (ledger) values ($1)", LEDGER)
            chunk = await asyncio.to_thread(_chunk, rows)
            while chunk:
                sent, made = await asyncio.gather(_copy(connection, chunk), asyncio.to_thread(_chunk, rows))
                written += sent
                last, chunk = chunk[-1], made
                show(written, max(written, events))
            if last is not None:
                head = "update intent_ledger.heads set position = $2, at = $3 where ledger = $1"
                await connection.execute(head, LEDGER, last[1], last[5])
        for table in ("events", "heads"):
            await connection.execute(f"vacuum analyze intent_ledger.{table}", timeout=600)
    finally:
        await connection.close()
    return {"events": written}


async def fill_inline_tables(dsn: str) -> dict[str, Any]:
    """Make the inline tables from the events."""
    owner = await asyncpg.connect(dsn)
    async with owner.transaction():
        await fill_inline(owner, LEDGER)
    position = await owner.fetchval(_HEAD, LEDGER)
    await owner.close()
    return {"events": position}


async def fill_views(dsn: str, show: Progress) -> dict[str, Any]:
    """Make every view from the events, and put it in the place of the empty one."""
    owner = await asyncpg.connect(dsn)
    try:
        names, revisions = [one.name for one in PROJECTIONS], [one.revision for one in PROJECTIONS]
        await owner.execute(sql.query("views.open"), LEDGER, names, revisions)
        head = await owner.fetchval(_HEAD, LEDGER)
        await owner.execute("update intent_ledger.projections set position = $1", head)
        made = await replay_and_swap(dsn, head, show)
        await owner.execute("analyze", timeout=600)
    finally:
        await owner.close()
    return {"events": made[0].events, "rows": {one.name: one.rows for one in made}}


async def replay_and_swap(dsn: str, head: int, show: Progress) -> list[Replayed]:
    """Replay all views and put them in place, as the command line does."""
    part, processes = Part(dsn=dsn, ledger=LEDGER, swap=True), processes_for(head, PROJECTIONS)
    return await replay_in_parts(part, PROJECTIONS, show, processes)


def _chunk(rows: Iterable[Row]) -> list[Row]:
    return [row for _, row in zip(range(CHUNK), rows, strict=False)]


async def _copy(connection: asyncpg.Connection, rows: list[Row]) -> int:
    await connection.copy_records_to_table("events", records=rows, columns=COLUMNS, schema_name="intent_ledger")
    return len(rows)

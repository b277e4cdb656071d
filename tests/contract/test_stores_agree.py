"""The two stores, asked the same at the same times, give the same answers: for every course that chance thinks of."""

import random
from datetime import UTC, datetime, timedelta

import msgspec
from appends import deciding, issued, issuing, revoking
from simulation.network import Network
from simulation.store import EPOCH_OF_TIME, JUDGED, Database, SimulatedStore

from ledger import events as e
from ledger.grants import Charge
from ledger.postgres_store import PostgresStore
from ledger.store import (
    Activate,
    Append,
    Appended,
    Due,
    EpochCurrent,
    Finished,
    GrantAlive,
    Guard,
    GuardFailed,
    KeyUnused,
    Parked,
    PolicyActive,
    Restore,
    Store,
    Take,
    Unlike,
    WithinLimits,
)

START = datetime(2040, 1, 1, 22, tzinfo=UTC)
GRANTS, COUNTERS, POLICIES = "abcdefgh", "xyz", (None, "p-1", "p-2")
KEYS = 25
COURSES, STEPS = 8, 150


class Course:
    """What chance asks next. `versions` and `epochs` are those that the stores agree on."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.versions: dict[str, int] = {}
        self.charged: list[tuple[tuple[Charge, ...], datetime]] = []
        self.submissions = 0

    def next(self) -> Append:
        drawn = self.random.choices(("issue", "revoke", "activate", "submit", "go on"), (3, 0.5, 0.5, 5, 6))[0]
        append = getattr(self, "_" + drawn.replace(" ", "_"))()
        if self.random.random() < 0.05:
            append = msgspec.structs.replace(append, expected_version=append.expected_version + 1)
        return append

    def _issue(self) -> Append:
        grant = self.random.choice(GRANTS)
        parents = [None, *(name for name in GRANTS if name < grant and f"grant/{name}" in self.versions)]
        hours = self.random.choice((None, 1, 2, 30))
        expires_at = None if hours is None else START + timedelta(hours=hours)
        append = issuing(
            issued(grant, self.random.choice(parents), expires_at=expires_at), guarded=self.random.random() < 0.8
        )
        return append if append.stream not in self.versions else self._revoke()

    def _revoke(self) -> Append:
        return revoking(self.random.choice(GRANTS))

    def _activate(self) -> Append:
        policy = self.random.choice(POLICIES)
        event = e.PolicySetActivated(policy_set=policy or "built in", by="dana")
        version = self.versions.get("policies", 0)
        return Append(stream="policies", expected_version=version, events=(event,), change=Activate(policy))

    def _submit(self) -> Append:
        self.submissions += 1
        intent = f"i-{self.submissions}"
        guards: list[Guard] = [KeyUnused("agent", f"k{self.random.randint(0, KEYS)}", intent)]
        if self.random.random() < 0.7:
            known = [name.removeprefix("intent/") for name in self.versions if name.startswith("intent/")]
            besides = tuple(self.random.sample(known, min(len(known), self.random.randint(0, 2))))
            window = self.random.choice((0, 60, 1200, 3600))
            guards.append(Unlike(self.random.choice("lm"), window, besides))
        if self.random.random() < 0.5:
            guards += self._guards()
        return deciding(*guards, intent=intent, work=self._work())

    def _go_on(self) -> Append:
        known = [name for name in self.versions if name.startswith("intent/")]
        if not known:
            return self._submit()
        stream = self.random.choice(known)
        restore = Restore(*self.random.choice(self.charged)) if self.charged and self.random.random() < 0.2 else None
        return Append(
            stream=stream,
            expected_version=self.versions[stream],
            events=deciding().events * self.random.randint(1, 2),
            guards=tuple(self._guards()),
            work=self._work(),
            restore=restore,
            notify=self.random.choice((None, None, 0)),
        )

    def _guards(self) -> list[Guard]:
        drawn: list[Guard] = []
        if self.random.random() < 0.6:
            drawn.append(GrantAlive(self.random.choice(GRANTS)))
        if self.random.random() < 0.3:
            drawn.append(PolicyActive(self.random.choice(POLICIES)))
        if self.random.random() < 0.5:
            counters = self.random.sample(COUNTERS, self.random.randint(1, 3))
            drawn.append(WithinLimits(tuple(self._charge(counter) for counter in counters)))
        return drawn

    def _charge(self, counter: str) -> Charge:
        per = {"x": "hour", "y": "day", "z": "total"}[counter]
        return Charge(limit=counter, per=per, amount=self.random.randint(1, 6), max=self.random.randint(8, 25))

    def _work(self) -> Take | Due | Parked | Finished | None:
        tomorrow = START + timedelta(days=3)
        return self.random.choice((None, Take("w1", 7200.0), Due(tomorrow), Parked(), Finished()))

    def seen(self, append: Append, verdict: object) -> None:
        if isinstance(verdict, Appended):
            self.versions[append.stream] = append.expected_version + len(append.events)
            for guard in append.guards:
                if isinstance(guard, WithinLimits):
                    self.charged.append((guard.charges, verdict.recorded[0].at))


def told(verdict: object) -> object:
    """Return what both stores must say alike: all but the numbers of epochs."""
    return msgspec.structs.replace(verdict, epoch=None) if isinstance(verdict, Appended) else verdict


async def standing(store: Store) -> object:
    """Return all that can be read of authority and of the work under it."""
    return [
        await store.active_policy(),
        [list(await store.chain(grant=name)) for name in GRANTS],
        [list(await store.chain(token_sha256=f"sha256 of {name}")) for name in GRANTS],
        [list(await store.below(name, None, 3)) for name in GRANTS],
        [sorted(await store.in_flight_under(name)) for name in GRANTS],
        [await store.submission("agent", f"k{n}") for n in range(KEYS + 1)],
    ]


async def follow(course: Course, store: PostgresStore, pool) -> set[str]:
    """Ask both stores all of a course; returns which kinds of answers there were."""
    moment, database = START, Database(float, store.ledger)
    simulated = SimulatedStore(database, Network())
    seen: set[str] = set()
    for _ in range(STEPS):
        moment += timedelta(seconds=course.random.choice((0, 1, 59, 61, 600)))
        await pool.execute("update intent_ledger.heads set at = $1 where ledger = $2", moment, store.ledger)
        database.time = (moment - EPOCH_OF_TIME).total_seconds
        append = course.next()
        ours, theirs = await store.append(append), await simulated.append(append)
        assert told(ours) == told(theirs), append
        course.seen(append, ours)
        seen.add(type(ours.guard).__name__ if isinstance(ours, GuardFailed) else type(ours).__name__)
    assert await standing(store) == await standing(simulated)
    assert list(await store.read_all(0, 1000)) == list(await simulated.read_all(0, 1000))
    rows = await pool.fetch(
        "select position from intent_ledger.outbox where ledger = $1 order by position", store.ledger
    )
    assert [row["position"] for row in rows] == database.inline.outbox
    return seen


async def test_both_stores_answer_alike(pool):
    seen: set[str] = set()
    for seed in range(COURSES):
        store = PostgresStore(pool, f"course-{seed}")  # beside the others, in one database
        await store.start()
        seen |= await follow(Course(seed), store, pool)
        await store.stop()
    assert seen == {"Appended", "VersionConflict", *(guard.__name__ for guard in JUDGED if guard is not EpochCurrent)}

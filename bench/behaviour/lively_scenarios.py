"""The lively crowd, and what goes wrong in it."""

import copy
import random
from collections.abc import Callable, Iterator
from heapq import merge
from itertools import chain
from typing import Final

import msgspec

from bench.behaviour.lively import (
    DAY,
    WEEK,
    Answer,
    Attempt,
    Money,
    Person,
    Rhythm,
    Trouble,
    Worker,
    acts,
    answers,
    told,
)
from bench.behaviour.watched import Seen, Watched

WARM_WEEKS: Final = 3
_HORIZON: Final = (WARM_WEEKS + 3) * WEEK  # what is drawn for a worker does not depend on how long it is watched


def _worker(
    name: str, role: str | None, operation: str, rhythm: Rhythm, money: Money | None = None, targets: int | None = None
) -> Worker:
    return Worker(name, role, ((operation, 1.0),), rhythm, money, targets)


def _refunds(per_hour: float, zone: int = 0) -> tuple[str, str, Rhythm]:
    return "billing", "payments.refund", Rhythm("day", per_hour, zone=zone)


_ORDERS: Final = (("orders.ship", 0.94), ("orders.cancel", 0.05), ("orders.refund", 0.01))
WORKERS: Final = (
    _worker("desk", "support", "crm.update", Rhythm("day", 100)),
    _worker("desk-west", "support", "crm.update", Rhythm("day", 60, zone=-8)),
    _worker("desk-new", "support", "crm.update", Rhythm("day", 20, begins=WEEK + DAY + 600)),
    _worker("chat", "support", "tickets.reply", Rhythm("always", 250)),
    _worker("refunds", *_refunds(40), Money("lognormal", 4_000, 0.9)),
    _worker("refunds-heavy", *_refunds(6, zone=1), Money("pareto", 9_000, 1.6)),
    _worker("refunds-capped", *_refunds(15), Money("lognormal", 15_000, 0.7, 50_000)),
    _worker("charges", "billing", "payments.charge", Rhythm("always", 400), Money("prices", 1_999, 0)),
    _worker(
        "payouts", "treasury", "payouts.send", Rhythm("seldom", 0.1, campaigns=0), Money("pareto", 200_000, 1.2), 20
    ),
    _worker("night-ledger", "ops", "ledger.post", Rhythm("batch", 600), Money("lognormal", 900, 1.2)),
    _worker("night-reports", "ops", "reports.send", Rhythm("batch", 80), targets=100),
    _worker("cleaner", "ops", "clusters.delete", Rhythm("always", 3), targets=20),
    _worker("stock", None, "stock.move", Rhythm("shop", 12), targets=200),
    _worker("mailer", "marketing", "email.send", Rhythm("day", 150, campaigns=7)),
    _worker("dns", "ops", "dns.update", Rhythm("seldom", 0.11, campaigns=0), targets=10),
    _worker("keys", None, "keys.rotate", Rhythm("seldom", 0.11, campaigns=0), targets=30),
    _worker("crawler", None, "crawl.fetch", Rhythm("always", 80, stops=4)),
    _worker("backup", "ops", "backup.copy", Rhythm("clock", 12, campaigns=0), targets=12),
    Worker("shop", "shop", _ORDERS, Rhythm("shop", 30, zone=2), Money("lognormal", 6_000, 1.0)),
    Worker("shop-2", "shop", _ORDERS[:2], Rhythm("shop", 120, deploys=0.4), Money("lognormal", 6_000, 1.0)),
)
PEOPLE: Final = (Person("ada", 8), Person("ben", 3, 0.96), Person("cleo", 20, 0.85), Person("dov", 1, 0.9))


class Wrong(msgspec.Struct, frozen=True):
    """Something that goes wrong with some workers, each by itself, and what is to tell it."""

    name: str
    workers: tuple[str, ...]
    trouble: Callable[[int], Trouble]  # that begins about this minute
    kind: str
    days: int = 1  # for which it is watched
    story: tuple[str, int] | None = None  # within how many "events" or "seconds" it must be found


def _times(factor: float) -> Callable[[int], Trouble]:
    return lambda minute: Trouble(minute, rate=lambda _: factor)


def _amounts(factor: float) -> Callable[[int], Trouble]:
    return lambda minute: Trouble(minute, amounts=factor)


def _at_night(per_hour: float) -> Callable[[int], Trouble]:
    return lambda minute: Trouble((minute // DAY + 1) * DAY + 3 * 60, per_hour=per_hour)


def _drip(minute: int) -> Trouble:
    return Trouble(minute, rate=lambda since: 1.3 ** (since / DAY))


def _just_below(share: float) -> Callable[[int], Trouble]:
    return lambda minute: Trouble(minute, between=(48_500, 49_999), share=share)


def _denied(share: float) -> Callable[[int], Trouble]:
    return lambda minute: Trouble(minute, denied=share)


def _per_hour(rate: float) -> Callable[[int], Trouble]:
    return lambda minute: Trouble(minute, per_hour=rate)


def _enumerates(minute: int) -> Trouble:
    return Trouble(minute, enumerates=True)


WRONG: Final = (
    Wrong("100 an hour become 10,000", ("desk",), _per_hour(10_000), "count", story=("seconds", 60)),
    Wrong("a hundred times as often", ("stock", "desk-west", "crawler", "refunds"), _times(100), "count"),
    Wrong("thirty times as often", ("chat", "shop-2", "cleaner"), _times(30), "count"),
    Wrong("ten times as often, for days", ("desk", "mailer", "refunds", "cleaner"), _times(10), "count", 5),
    Wrong("five times as often, for days", ("desk", "chat", "mailer", "stock"), _times(5), "count", 5),
    Wrong("three times as often, for days", ("desk", "chat"), _times(3), "count", 5),
    Wrong("30 % more each day", ("desk", "chat", "refunds"), _drip, "count", 14),
    Wrong("two a day become 20 an hour", ("dns", "keys"), _per_hour(20), "count"),
    Wrong("a night's batch ten times as long", ("night-ledger", "night-reports"), _times(10), "count", 2),
    Wrong("the clock's work, every ten seconds", ("backup",), _per_hour(360), "count"),
    Wrong("100 an hour at 3 in the night", ("desk", "refunds", "mailer"), _at_night(100), "count"),
    Wrong("20 an hour at 3 in the night", ("desk", "refunds"), _at_night(20), "count"),
    Wrong(
        "refunds ten times as large",
        ("refunds", "refunds-heavy", "refunds-capped"),
        _amounts(10),
        "amount",
        2,
        ("events", 10),
    ),
    Wrong("prices ten times as large", ("charges",), _amounts(10), "amount", 2, ("events", 10)),
    Wrong("payouts ten times as large", ("payouts",), _amounts(10), "amount", 14),
    Wrong("amounts three times as large", ("refunds", "night-ledger", "shop-2"), _amounts(3), "amount", 5),
    Wrong("all just below a limit", ("refunds-capped",), _just_below(1), "amount", 2),
    Wrong("one in five just below a limit", ("refunds-capped",), _just_below(0.2), "amount", 5),
    Wrong(
        "another operation instead",
        ("stock", "desk", "backup"),
        lambda m: Trouble(m, operation="accounts.close"),
        "operation",
    ),
    Wrong("its rarest operation instead", ("shop",), lambda m: Trouble(m, operation="orders.refund"), "count"),
    Wrong("one new target after another", ("cleaner", "backup", "stock", "desk"), _enumerates, "target", 3),
    Wrong("half is denied", ("desk", "refunds", "stock"), _denied(0.5), "denied"),
    Wrong("one in twenty is denied", ("desk", "chat"), _denied(0.05), "denied", 2),
)
ASKED: Final = (
    ("answers in two seconds", Person("eve", 8, quick=True)),
    ("says yes to everything, asked 3 an hour", Person("eve", 3, always=True)),
    ("says yes to everything, asked 20 an hour", Person("eve", 20, always=True)),
)


class Told(msgspec.Struct, frozen=True):
    """How something that went wrong was found."""

    events: int | None  # of the worker since it began, up to what showed it; None: it was not
    seconds: float | None  # of event time since the first of them


def ordinary(weeks: int, seed: object) -> Watched:
    """Watch a crowd that does nothing odd."""
    minutes = weeks * WEEK
    crowd: list[Iterator[Attempt | Answer]] = [acts(one, minutes, seed) for one in WORKERS]
    crowd += [answers(msgspec.structs.replace(one, since=minutes), minutes, seed) for one in PEOPLE]
    watched = Watched()
    for number, done in enumerate(merge(*crowd, key=lambda one: one.seconds), 1):
        _see(watched, done, number)
    return watched


class Rehearsed:
    """Workers after weeks in which nothing was odd, kept so that each is watched through them once."""

    def __init__(self, seed: object) -> None:
        """Draw when things go wrong: on a working day of the fourth week, at a busy hour."""
        dice = random.Random(f"{seed} when")
        self._seed = seed
        self._minute = WARM_WEEKS * WEEK + dice.randint(1, 3) * DAY + dice.randint(9, 15) * 60 + dice.randrange(60)
        self._warm: dict[tuple[str, int], Watched] = {}

    def play(self, wrong: Wrong, name: str) -> Told:
        """Watch a worker with whom something goes wrong."""
        worker = next(one for one in WORKERS if one.name == name)
        trouble = wrong.trouble(self._minute)
        done = acts(worker, _HORIZON, self._seed, trouble)
        return self._watch(done, name, trouble.minute, wrong.days, wrong.kind)

    def ask(self, person: Person) -> Told:
        """Watch a person with whom something goes wrong."""
        done = answers(msgspec.structs.replace(person, since=self._minute), _HORIZON, self._seed)
        return self._watch(done, f"{person}", self._minute, 5, "approver")

    def _watch(self, done: Iterator[Attempt] | Iterator[Answer], name: str, minute: int, days: int, kind: str) -> Told:
        begins, ends = 60 * minute, 60 * (minute + days * DAY)
        warm, number = self._warm.get((name, minute)), 0
        watched = warm or Watched()
        for one in done:
            number += 1
            if one.seconds >= begins:
                break
            if warm is None:
                _see(watched, one, number)
        self._warm[name, minute] = watched
        watched = copy.deepcopy(watched)
        for events, later in enumerate(chain([one], done), 1):
            if later.seconds >= ends:
                break
            if any(seen.finding.kind == kind for seen in _see(watched, later, number + events)):
                return Told(events, later.seconds - one.seconds)
        return Told(None, None)


def _see(watched: Watched, done: Attempt | Answer, number: int) -> list[Seen]:
    before = len(watched.seen)
    for recorded, past in told(done, number):
        watched.see(recorded, past)
    return watched.seen[before:]

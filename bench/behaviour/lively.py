"""A second crowd, livelier and less kind than the first, written without looking at what the watch looks at. Pure.

Arrivals are a Cox process with clumps: the logarithm of the intensity wanders (two Ornstein-Uhlenbeck processes, hours
and a quarter of an hour), times a smooth day and week of local time that daylight saving shifts, times campaigns of 3x
that last 10 to 90 minutes, deploys that change the rate by half for good, holidays, stops with a backlog after them,
and slow growth. Some do nothing but a batch each night, some work to the clock, some act twice a day.
"""

import math
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec

from bench.behaviour.traffic import Act, poisson, submission
from ledger import events as e

START: Final = datetime(2031, 3, 3, tzinfo=UTC)  # a Monday
DAY: Final = 1_440
WEEK: Final = 7 * DAY
CLUMP: Final = 0.25  # the chance that one more follows at once
HOURS_OF_WANDERING: Final = (0.35, 180.0)  # deviation of the logarithm, minutes until half forgotten
QUARTERS_OF_WANDERING: Final = (0.3, 15.0)
_ASKED: Final = Act(0, "somebody", "payments.refund", 1_000, "customer 1")
SUMMER_TIME: Final = 27 * DAY + 60  # clocks go forward


class Money(msgspec.Struct, frozen=True):
    """How amounts are spread."""

    law: Literal["lognormal", "pareto", "prices"]
    middle: int  # minor units
    spread: float  # deviation of the logarithm; of pareto the exponent
    limit: int | None = None  # above which nothing is asked


class Rhythm(msgspec.Struct, frozen=True):
    """When an agent acts."""

    kind: Literal["day", "always", "shop", "batch", "clock", "seldom"]
    per_hour: float  # in the busiest hours; of a batch: in one night
    zone: int = 0  # hours that the place is ahead
    campaigns: float = 2.0  # in a week
    stops: float = 0.3  # in a week
    deploys: float = 0.1  # in a week
    begins: int = 0  # the first minute


class Worker(msgspec.Struct, frozen=True):
    """An agent, and what it does when nothing is wrong."""

    name: str
    role: str | None
    operations: tuple[tuple[str, float], ...]  # each with its share
    rhythm: Rhythm
    money: Money | None = None
    targets: int | None = None  # how many there are, visited unevenly; None: mostly new ones
    denied: float = 0.003  # share of what it tries


class Person(msgspec.Struct, frozen=True):
    """Somebody who is asked, and what goes wrong with them from a minute on."""

    name: str
    per_hour: float
    approves: float = 0.92  # of the questions
    since: int = 0
    quick: bool = False  # in two seconds
    always: bool = False  # yes


class Trouble(msgspec.Struct, frozen=True):
    """What goes wrong from a minute on."""

    minute: int
    rate: Callable[[float], float] | None = None  # a factor, of the minutes since
    per_hour: float | None = None
    amounts: float = 1.0
    between: tuple[int, int] | None = None  # amounts in minor units
    operation: str | None = None
    share: float = 1.0  # of what it does
    enumerates: bool = False
    denied: float | None = None


class Attempt(msgspec.Struct, frozen=True):
    """What a worker tries, and whether it is denied."""

    act: Act
    role: str | None
    denied: bool

    @property
    def seconds(self) -> float:
        """Return when, since START."""
        return self.act.seconds


class Answer(msgspec.Struct, frozen=True):
    """What a person said, and when they were asked."""

    seconds: float
    asked: float
    by: str
    approves: bool


# ── when ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Weather:
    """What the hours, the days and chance make of one agent's rate."""

    def __init__(self, rhythm: Rhythm, minutes: int, seed: object, name: str) -> None:
        """Draw what is to come."""
        self.dice = dice = random.Random(f"{seed} {name} weather")
        self.rhythm = rhythm
        weeks = minutes / WEEK
        self.personal = [dice.gauss(0, 0.15) for _ in range(4)]
        self.holidays = {dice.randrange(0, max(1, minutes // DAY)) for _ in range(round(weeks / 3))}
        self.campaigns = [(at, at + dice.randint(10, 90)) for at in self._at(rhythm.campaigns, minutes)]
        self.stops = [(at, at + int(60 * dice.paretovariate(1.2))) for at in self._at(rhythm.stops, minutes)]
        self.deploys = [(at, 1.5 if dice.random() < 0.7 else 1 / 1.5) for at in self._at(rhythm.deploys, minutes)]
        self.slow = self.quick = 0.0

    def _at(self, weekly: float, minutes: int) -> list[int]:
        many = poisson(self.dice, weekly * minutes / WEEK)
        return sorted(self.dice.randrange(minutes) for _ in range(many))

    def step(self) -> float:
        """Wander on by a minute."""
        gauss = self.dice.gauss
        (slow, slow_minutes), (quick, quick_minutes) = HOURS_OF_WANDERING, QUARTERS_OF_WANDERING
        keep = math.exp(-1 / slow_minutes)
        self.slow = keep * self.slow + math.sqrt(1 - keep * keep) * gauss(0, slow)
        keep = math.exp(-1 / quick_minutes)
        self.quick = keep * self.quick + math.sqrt(1 - keep * keep) * gauss(0, quick)
        return math.exp(self.slow + self.quick - (slow * slow + quick * quick) / 2)

    def rate(self, minute: int) -> float:
        """Return events in this minute, on average."""
        if minute < self.rhythm.begins:
            return 0.0
        wander = self.step()
        if any(since <= minute < until for since, until in self.stops):
            return 0.0
        rate = self.rhythm.per_hour / 60 * wander * self.season(minute) * (1 + 0.03 * minute / WEEK)
        for at, factor in self.deploys:
            rate *= factor if minute >= at else 1.0
        if any(since <= minute < until for since, until in self.campaigns):
            rate *= 3
        if any(until <= minute < until + min(60, until - since) for since, until in self.stops):
            rate *= 2  # the backlog
        return rate

    def season(self, minute: int) -> float:
        """Return the share of the busiest hours' rate."""
        if self.rhythm.kind == "clock":
            return 1.0
        local = minute + 60 * self.rhythm.zone + (60 if minute >= SUMMER_TIME else 0)
        day, hour = local // DAY % 7, local % DAY / 60
        a, b, c, d = self.personal
        own = math.exp(a * math.cos(hour * math.pi / 12 + b) + c * math.cos(hour * math.pi / 6 + d))
        if self.rhythm.kind in {"always", "seldom"}:
            return own * (0.75 + 0.25 * math.sin((hour - 8) * math.pi / 12))
        opens, closes = (8, 18) if self.rhythm.kind == "day" else (9, 22)
        shape = 1 / (1 + math.exp(-3 * (hour - opens))) / (1 + math.exp(3 * (hour - closes)))
        shape *= 1 - 0.35 * math.exp(-((hour - 12.5) ** 2))
        weekly = (
            (1.2, 1.0, 1.0, 0.95, 0.85, 0.12, 0.08) if self.rhythm.kind == "day" else (0.6, 0.6, 0.6, 0.7, 1, 1.4, 1.3)
        )
        holiday = 0.1 if local // DAY in self.holidays else 1.35 if local // DAY - 1 in self.holidays else 1.0
        return own * (shape + 0.01) * weekly[day] * holiday


def arrivals(worker: Worker, minutes: int, seed: object, trouble: Trouble | None) -> Iterator[float]:
    """Yield the seconds at which a worker acts."""
    dice = random.Random(f"{seed} {worker.name} arrivals")
    weather = Weather(worker.rhythm, minutes, seed, worker.name)
    nightly = dict(_nights(worker, minutes, dice)) if worker.rhythm.kind == "batch" else {}
    for minute in range(minutes):
        rate = nightly.get(minute, 0.0) if worker.rhythm.kind == "batch" else weather.rate(minute)
        if trouble is not None and minute >= trouble.minute:
            rate *= trouble.rate(minute - trouble.minute) if trouble.rate is not None else 1.0
            rate = trouble.per_hour / 60 if trouble.per_hour is not None else rate
        if worker.rhythm.kind == "clock" and (trouble is None or minute < trouble.minute):
            if rate and minute % round(60 / worker.rhythm.per_hour) == 0:
                yield minute * 60 + 2 + dice.random()
            continue
        yield from sorted(_clumps(60 * minute, poisson(dice, rate * (1 - CLUMP)), dice))


def _clumps(begins: int, many: int, dice: random.Random) -> Iterator[float]:
    for _ in range(many):
        at = begins + 60 * dice.random()
        yield at
        while dice.random() < CLUMP:
            at = min(at + dice.random(), begins + 59.999)
            yield at


def _nights(worker: Worker, minutes: int, dice: random.Random) -> Iterator[tuple[int, float]]:
    left = 0.0
    for day in range(minutes // DAY + 1):
        left += worker.rhythm.per_hour * dice.gammavariate(6, 1 / 6)
        if dice.random() < 0.03:
            continue  # it failed; tomorrow does both
        begins, lasts = day * DAY + 120 + int(dice.expovariate(1 / 8)), dice.randint(6, 20)
        for minute in range(lasts):
            yield begins + minute, left / lasts
        left = 0.0


# ── what ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def acts(worker: Worker, minutes: int, seed: object, trouble: Trouble | None = None) -> Iterator[Attempt]:
    """Yield what a worker tries, in order."""
    dice = random.Random(f"{seed} {worker.name} what")
    known = 0
    for seconds in arrivals(worker, minutes, seed, trouble):
        wrong = (
            trouble
            if trouble is not None and seconds >= trouble.minute * 60 and dice.random() < trouble.share
            else None
        )
        operation = _pick(worker.operations, dice)
        known, target = _target(worker, known, dice)
        amount = _amount(worker.money, dice) if worker.money is not None else None
        denied = dice.random() < (worker.denied if wrong is None or wrong.denied is None else wrong.denied)
        if wrong is not None:
            operation = wrong.operation or operation
            target = f"stranger {seconds}" if wrong.enumerates else target
            if amount is not None:
                amount = dice.randint(*wrong.between) if wrong.between is not None else int(amount * wrong.amounts)
        yield Attempt(Act(seconds, worker.name, operation, amount, target), worker.role, denied)


def _target(worker: Worker, known: int, dice: random.Random) -> tuple[int, str]:
    """Return how many are known after this one, and it: a few come often, and others are new."""
    if worker.targets is not None:
        return known, f"customer {min(worker.targets - 1, int(dice.paretovariate(0.6)) - 1)}"
    if known and dice.random() < 0.4:
        return known, f"customer {known - int(min(known, dice.paretovariate(0.5)))}"
    return known + 1, f"customer {known + 1}"


def _pick(shares: tuple[tuple[str, float], ...], dice: random.Random) -> str:
    if len(shares) == 1:
        return shares[0][0]
    return dice.choices([name for name, _ in shares], [share for _, share in shares])[0]


def _amount(money: Money, dice: random.Random) -> int:
    while True:
        match money.law:
            case "lognormal":
                amount = money.middle * math.exp(dice.gauss(0, money.spread))
            case "pareto":
                amount = money.middle * dice.paretovariate(money.spread) / 2 ** (1 / money.spread)
            case _:
                amount = money.middle * dice.choice((0.5, 1, 1, 1, 1, 2, 2, 5)) * (0.9 if dice.random() < 0.1 else 1)
        if money.limit is None or amount <= money.limit:
            return max(1, int(amount))


def answers(person: Person, minutes: int, seed: object) -> Iterator[Answer]:
    """Yield what a person says, in order."""
    dice = random.Random(f"{seed} {person.name}")
    weather = Weather(Rhythm("day", person.per_hour), minutes, seed, person.name)
    said = []
    for minute in range(minutes):
        wrong = minute >= person.since
        for _ in range(poisson(dice, weather.rate(minute))):
            asked = minute * 60 + 60 * dice.random()
            takes = 8 + 70 * math.exp(dice.gauss(0, 1.0))
            takes = 1 + 2 * dice.random() if wrong and person.quick else takes
            yes = dice.random() < person.approves or (wrong and person.always)
            said.append(Answer(asked + takes, asked, person.name, yes))
    yield from sorted(said, key=lambda one: one.seconds)


# ── as events ────────────────────────────────────────────────────────────────────────────────────────────────────────


def told(done: Attempt | Answer, number: int) -> Iterator[tuple[e.Recorded, tuple[e.Recorded, ...]]]:
    """Write one thing done as events of a ledger, each with the earlier ones of its stream."""
    if isinstance(done, Answer):
        asked = _at(done.asked, 2 * number, submission(_ASKED, None, number))
        question = _at(done.asked, 2 * number, e.ApprovalRequested("", START + timedelta(days=999)))
        said = e.ApprovalGiven("", done.by) if done.approves else e.AbortDecided("rejected", "No.", by=done.by)
        yield _at(done.seconds, 2 * number, said), (asked, question)
        return
    submitted = _at(done.seconds, 2 * number, submission(done.act, done.role, number))
    yield submitted, ()
    if done.denied:
        verdict = e.PolicyEvaluated("deny", (), "", ("It is outside the remit.",))
        yield _at(done.seconds + 0.01, 2 * number + 1, verdict), (submitted,)


def _at(seconds: float, position: int, event: e.Event) -> e.Recorded:
    return e.Recorded(
        ledger="main",
        position=position,
        stream=f"intent/{position // 2}",
        version=1 + position % 2,
        at=START + timedelta(seconds=seconds),
        event=event,
        body=b"",
    )

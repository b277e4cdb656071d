"""Simulated agents: ordinary, over-dispersed traffic with a working week in it, and what goes wrong with it. Pure.

Ordinary is meant to be hard: each hour's rate is its normal times a random factor (gamma, standard deviation 0.5), each
quarter's once more (0.6), now and then a burst or a day off; amounts are log-normal with a deviation up to 1. All of it
comes from one seed.
"""

import math
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from ledger import events as e
from ledger.intents import ActionPlan, Guarantee, Mode, Subject, Undo

START = datetime(2030, 1, 7, tzinfo=UTC)  # a Monday
WEEK_MINUTES = 7 * 1440


class Agent(msgspec.Struct, frozen=True):
    """An agent and what it ordinarily does."""

    name: str
    role: str | None
    operation: str
    per_hour: float  # in the busiest hours
    always: bool = False  # day and night
    amount_minor: int | None = None  # in the middle
    spread: float = 0.7  # of the logarithms of its amounts
    targets: int | None = None  # None: anybody


class Change(msgspec.Struct, frozen=True):
    """What goes wrong from a minute on, which begins a quarter of an hour."""

    minute: int
    factor: float = 1.0  # of the rate
    per_hour: float | None = None  # the rate itself
    amounts: float = 1.0  # of the amounts
    operation: str | None = None


class Act(msgspec.Struct, frozen=True, order=True):
    """One action at a time in seconds since START."""

    seconds: float
    agent: str
    operation: str
    amount_minor: int | None
    target: str


def acts(agent: Agent, weeks: float, seed: object, change: Change | None = None) -> Iterator[Act]:
    """Yield what an agent does, in order."""
    dice = random.Random(f"{seed} {agent.name}")
    hour_factor = 1.0
    day_off = False
    for minute in range(0, int(weeks * WEEK_MINUTES), 15):
        if minute % 1440 == 0:
            day_off = dice.random() < 0.02
        if minute % 60 == 0:
            hour_factor = dice.gammavariate(4, 0.25) * (2.0 if dice.random() < 0.01 else 1.0)
        quarter_factor = dice.gammavariate(2.8, 1 / 2.8)
        rate = agent.per_hour / 4 * _profile(minute, always=agent.always) * hour_factor * quarter_factor
        rate *= 0.1 if day_off else 1.0
        wrong = change if change is not None and minute >= change.minute else None
        if wrong is not None:
            rate = rate * wrong.factor if wrong.per_hour is None else wrong.per_hour / 4
        for at in sorted(dice.random() for _ in range(poisson(dice, rate))):
            yield _act(agent, (minute + 15 * at) * 60, dice, wrong)


def _act(agent: Agent, seconds: float, dice: random.Random, wrong: Change | None) -> Act:
    amount = None
    if agent.amount_minor is not None:
        factor = wrong.amounts if wrong is not None else 1.0
        amount = max(1, int(agent.amount_minor * factor * math.exp(dice.gauss(0, agent.spread))))
    target = f"customer {dice.randrange(agent.targets or 10**9)}"
    operation = wrong.operation if wrong is not None and wrong.operation else agent.operation
    return Act(seconds, agent.name, operation, amount, target)


def submitted(acts: Sequence[Act], agents: Sequence[Agent]) -> Iterator[e.Recorded]:
    """Write acts as the events of a ledger, one intent each."""
    known = {agent.name: agent for agent in agents}
    for position, act in enumerate(acts, 1):
        event = submission(act, known[act.agent].role, position)
        yield e.Recorded(
            ledger="main",
            position=position,
            stream=f"intent/{position}",
            version=1,
            at=START + timedelta(seconds=act.seconds),
            event=event,
            body=b"",
        )


def submission(act: Act, role: str | None, number: int) -> e.IntentSubmitted:
    """Write an act of an agent of this role as the intent of this number."""
    adapter = act.operation.partition(".")[0]
    plan = ActionPlan(
        id="it",
        adapter=adapter,
        operation=act.operation,
        params={},
        guarantee=Guarantee.ATOMIC,
        undo=Undo.EXACT,
        summary=f"{act.operation} to {act.target}",
        key=f"{number}",
        undo_key=f"{number}-undo",
        amount_minor=act.amount_minor,
        currency="USD" if act.amount_minor is not None else None,
    )
    return e.IntentSubmitted(
        intent=str(number),
        idempotency_key=str(number),
        request_digest="",
        agent=Subject("agent", act.agent, "1", role),
        grant=f"grant-{act.agent}",
        custody=("grant-operator", f"grant-{act.agent}"),
        commissioned_by="operator",
        task=None,
        reason="",
        confidence=None,
        mode=Mode.EXECUTE,
        deadline_seconds=30,
        context={},
        actions=(plan,),
    )


def _profile(minute: int, *, always: bool) -> float:
    if always:
        return 1.0
    day, hour = minute // 1440 % 7, minute // 60 % 24
    busy = 0.02 if hour < 6 or hour >= 22 else 0.3 if hour < 8 or hour >= 19 else 0.7 if hour in {12, 18} else 1.0
    return busy * (0.15 if day >= 5 else 1.0)


def poisson(dice: random.Random, mean: float) -> int:
    """Draw a count."""
    if mean > 30:
        return max(0, round(dice.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), dice.random(), 0
    while product > limit:
        product *= dice.random()
        count += 1
    return count

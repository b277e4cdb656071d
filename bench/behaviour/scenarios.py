"""What goes wrong, and the crowd among which it does."""

from heapq import merge
from typing import Final

import msgspec

from bench.behaviour.traffic import WEEK_MINUTES, Agent, Change, acts, submitted
from bench.behaviour.watched import Seen, Watched

ORDINARY: Final = (
    Agent("address-keeper", "support", "crm.update", 100),
    Agent("address-keeper-2", "support", "crm.update", 60, always=True),
    Agent("ticket-writer", "support", "tickets.reply", 30),
    Agent("refunder", "billing", "payments.refund", 60, amount_minor=4_000, spread=0.7),
    Agent("refunder-2", "billing", "payments.refund", 25, amount_minor=12_000, spread=1.0),
    Agent("biller", "billing", "payments.charge", 200, amount_minor=2_500, spread=0.4),
    Agent("stock-keeper", None, "stock.move", 12, targets=12),
    Agent("cleaner", None, "clusters.delete", 3, targets=20, always=True),
    Agent("mailer", "support", "email.send", 150),
    Agent("night-batch", None, "ledger.post", 40, always=True, amount_minor=900, spread=0.9),
)
DAY: Final = 1_440
NOON: Final = 3 * WEEK_MINUTES + DAY + 12 * 60  # the Tuesday of the fourth week


class Wrong(msgspec.Struct, frozen=True):
    """Something that goes wrong with one agent, and the kind of anomaly that is to tell it."""

    name: str
    agent: str
    change: Change
    kind: str
    warm_weeks: int = 3
    story: bool = False


WRONG: Final = (
    Wrong("100 an hour become 10,000", "address-keeper", Change(NOON, per_hour=10_000), "count", story=True),
    Wrong("a hundred times as often", "stock-keeper", Change(NOON, factor=100), "count"),
    Wrong("thirty times as often", "ticket-writer", Change(NOON, factor=30), "count"),
    Wrong("ten times as often, for days", "mailer", Change(NOON, factor=10), "count"),
    Wrong("five times as often, for days", "biller", Change(NOON, factor=5), "count"),
    Wrong("3,000 an hour in the dead of night", "refunder", Change(NOON + 15 * 60, per_hour=3_000), "count"),
    Wrong("refunds ten times as large", "refunder", Change(NOON, amounts=10), "amount", story=True),
    Wrong("very different refunds ten times as large", "refunder-2", Change(NOON, amounts=10), "amount"),
    Wrong("charges four times as large", "biller", Change(NOON, amounts=4), "amount"),
    Wrong("an operation never used before", "stock-keeper", Change(NOON, operation="stock.delete"), "operation"),
    Wrong("10,000 an hour on the first day", "address-keeper", Change(12 * 60, per_hour=10_000), "count", 0),
)


class Outcome(msgspec.Struct, frozen=True):
    """What was found of something that went wrong."""

    wrong: Wrong
    seen: Seen | None
    events: int | None  # of the agent since it began, up to what showed it
    seconds: float | None  # of event time since then


def ordinary(weeks: int, seed: object) -> Watched:
    """Watch a crowd that does nothing odd."""
    watched = Watched()
    crowd = list(merge(*(acts(agent, weeks, seed) for agent in ORDINARY)))
    watched.take(submitted(crowd, ORDINARY))
    return watched


def play(wrong: Wrong, seed: object) -> Outcome:
    """Watch one agent for weeks in which nothing is odd, then for a day after it goes wrong."""
    agent = next(one for one in ORDINARY if one.name == wrong.agent)
    begins = wrong.change.minute
    done = list(acts(agent, (begins + DAY) / WEEK_MINUTES, seed, wrong.change))
    watched = Watched()
    since = 0
    for recorded, act in zip(submitted(done, [agent]), done, strict=True):
        watched.take([recorded])
        since += act.seconds >= begins * 60
        seen = [one for one in watched.seen if one.finding.kind == wrong.kind]
        if seen and since:
            return Outcome(wrong, seen[0], since, act.seconds - begins * 60)
    return Outcome(wrong, None, None, None)

"""What goes wrong in one simulated run, and how often: everything is derived from the seed.

Swarm testing: each seed enables only some kinds of faults, at its own rates, because a run in which everything goes
wrong at once never gets far enough to do the interesting things. When the faults end, `healed` makes all luck good.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

from simulation.cast import LIMITS, MORTAL, USUAL, cast
from simulation.network import SMOOTH, Fate
from simulation.systems import LUCKY, Luck

from ledger.events import GrantIssued
from ledger.grants import Limit
from ledger.intents import Verb

KINDS = (
    "transient",
    "doubtful",
    "rubbish",
    "answer_lost",
    "request_lost",
    "late",
    "twice",
    "slow",
    "refuses_vote",
    "refuses_commit",
    "refuses_abort",
    "refuses_undo",
    "clueless",
    "nonsense",
)
AUTHORITY = ("policy", "activate", "revoke", "expire", "delegate", "facts", "limits", "tasks", "repeat", "brief")
TROUBLES = ("crash", "pause", "drain")
STORE_KINDS = ("lost_before", "lost_after", "late_append", "slow_store", "store_away", "lagging")
REPEATABLE = {"atomic", "idempotent"}  # only these can be delivered twice: TCP does not repeat, their senders may


class Swarm:
    """The faults of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random = Random(seed)
        self.healed = False
        self.workers = random.choice((1, 2, 2, 3))
        self.intents = random.randint(2, 6)
        self.lease_seconds = random.choice((4.0, 15.0))
        self.safety_seconds = random.choice((15.0, 30.0, 60.0))
        self.rates = {kind: random.choice((0.02, 0.1, 0.3)) for kind in KINDS if random.random() < 0.35}
        if "nonsense" in self.rates:
            self.rates["nonsense"] = 0.02  # our own code fails on it, and the whole intent waits for a person
        if "clueless" in self.rates:
            self.rates["clueless"] = 0.5  # inquiries are rare
        self.store_rates = {kind: random.choice((0.02, 0.1)) for kind in STORE_KINDS if random.random() < 0.3}
        self.troubles = {kind: random.choice((3.0, 10.0)) for kind in TROUBLES if random.random() < 0.4}
        self.people = {kind for kind in ("cancel", "undo", "replay", "reuse") if random.random() < 0.5}
        self.fenced = random.random() < 0.5
        often = random.choice((0.0, 0.3, 0.6))
        self.authority = {kind for kind in AUTHORITY if random.random() < often}
        if random.random() < 0.06:
            self.authority |= {"policy", "facts", "brief"}  # people take long, and what they look at changes meanwhile
        self.rules = (
            random.choice(("usual", "usual", "usual", "strict", "erring")) if "policy" in self.authority else None
        )
        self.limits = self._limits()
        self.expiring = {
            name: random.uniform(3, 40) for name in MORTAL if "expire" in self.authority and random.random() < 0.4
        }
        self.patience = random.choice((0.0, 0.0, 12.0)) if "brief" in self.authority else 0.0
        self.outages = self._outages()
        self.fired = 0

    def __str__(self) -> str:
        shown = {name: value for name, value in vars(self).items() if name not in {"random", "healed", "fired"}}
        shown |= {name: sorted(value) for name, value in shown.items() if isinstance(value, set)}
        return " ".join(f"{name}={value}" for name, value in shown.items())

    def _limits(self) -> dict[str, Limit]:
        random = self.random
        holders = [name for name in ("manager", "alpha", "beta", "gamma") if random.random() < 0.5]
        return {name: LIMITS[random.choice(sorted(LIMITS))] for name in holders if "limits" in self.authority}

    def _outages(self) -> list[tuple[str, str, float, float]]:
        """(guarantee, kind, from, until): a system that is away for a while, sometimes longer than a key lives."""
        random = self.random
        if random.random() < 0.7:
            return []
        begins = random.uniform(0, 5)
        lasts = random.choice((5.0, 20.0, 130.0))
        kind = random.choice(("transient", "answer_lost", "doubtful"))
        return [(random.choice(("atomic", "idempotent", "verifiable", "blind")), kind, begins, begins + lasts)]

    def _strikes(self, rates: dict[str, float], kind: str) -> bool:
        struck = not self.healed and kind in rates and self.random.random() < rates[kind]
        self.fired += struck
        return struck

    def ends_at(self) -> float:
        """Tell when the faults end, in seconds of the simulation."""
        return max([self.safety_seconds, *(until for _, _, _, until in self.outages)])

    # ── calls to the outside ─────────────────────────────────────────────────────────────────────────────────────

    def luck(self, guarantee: str, verb: Verb, _action: str, time: float) -> Luck:
        for system, kind, begins, ends in self.outages:
            if system == guarantee and begins <= time < ends and not self.healed:
                self.fired += 1
                return self._outage(kind)
        if self.healed or not self.rates:
            return LUCKY._replace(fate=self._usual())
        struck = self._strikes
        rates = self.rates
        refusal = {
            Verb.PREPARE: "refuses_vote",
            Verb.COMMIT: "refuses_commit",
            Verb.ABORT: "refuses_abort",
            Verb.COMPENSATE: "refuses_undo",
        }.get(verb, "")
        return Luck(
            fate=self._fate(guarantee),
            transient=struck(rates, "transient"),
            doubtful=struck(rates, "doubtful"),
            rubbish=struck(rates, "rubbish"),
            refuses=struck(rates, refusal),
            nonsense=verb is not Verb.ABORT and struck(rates, "nonsense"),
            clueless=verb is Verb.INQUIRE and struck(rates, "clueless"),
        )

    def _outage(self, kind: str) -> Luck:
        if kind == "transient":
            return Luck(transient=True)
        if kind == "doubtful":
            return Luck(fate=Fate(request_lost=True)) if self.random.random() < 0.5 else Luck(doubtful=True)
        return Luck(fate=Fate(answer_lost=True))

    def _usual(self) -> Fate:
        return Fate(self.random.uniform(0, 0.05), self.random.uniform(0, 0.05))

    def _fate(self, guarantee: str) -> Fate:
        random = self.random
        fate = self._usual()
        if self._strikes(self.rates, "slow"):
            fate = Fate(random.uniform(0, 4), random.uniform(0, 4))
        if self._strikes(self.rates, "late"):
            fate = fate._replace(request_delay=random.uniform(5, 20))
        if guarantee in REPEATABLE and self._strikes(self.rates, "twice"):
            fate = fate._replace(twice_after=random.uniform(0, 15))
        return fate._replace(
            request_lost=self._strikes(self.rates, "request_lost"), answer_lost=self._strikes(self.rates, "answer_lost")
        )

    # ── requests to the database ─────────────────────────────────────────────────────────────────────────────────

    def store_fate(self, _verb: str) -> Fate:
        random = self.random
        if self.healed or not self.store_rates:
            return Fate(random.uniform(0, 0.01), random.uniform(0, 0.01))
        if self._strikes(self.store_rates, "lost_before"):
            return Fate(request_lost=True, answer_delay=random.uniform(0, 1))
        if self._strikes(self.store_rates, "lost_after"):
            return Fate(random.uniform(0, 0.1), 0.2, answer_lost=True)
        if self._strikes(self.store_rates, "late_append"):
            return Fate(random.uniform(0.5, 5), random.uniform(0, 1), answer_lost=True)
        if self._strikes(self.store_rates, "slow_store"):
            return Fate(random.uniform(0, 2), random.uniform(0, 2))
        return Fate(random.uniform(0, 0.01), random.uniform(0, 0.01))

    def grants(self, now: datetime) -> tuple[GrantIssued, ...]:
        expiring = {name: now + timedelta(seconds=seconds) for name, seconds in self.expiring.items()}
        return cast(limits=self.limits, expiring=expiring) if expiring or self.limits else USUAL

    def lag(self) -> float:
        return self.random.uniform(0, 1.0) if "lagging" in self.store_rates else 0.0


class Scripted:
    """No faults but those that are written down: `wrong` tells the luck of the nth call of a verb."""

    def __init__(
        self,
        wrong: Callable[[Verb, str, int], Luck | None] = lambda *_: None,
        workers: int = 1,
        rules: str | None = None,
        patience: float = 0.0,
    ) -> None:
        self.seed: int | None = None
        self.random = Random(0)
        self.healed = False
        self.workers = workers
        self.fenced = False
        self.lease_seconds = 15.0
        self.troubles: dict[str, float] = {}
        self.authority: set[str] = set()
        self.rules = rules
        self.patience = patience
        self.rates: dict[str, float] = {}
        self.fired = 0
        self._wrong = wrong
        self._calls: dict[tuple[Verb, str], int] = {}

    def luck(self, _guarantee: str, verb: Verb, action: str, _time: float) -> Luck:
        number = self._calls[verb, action] = self._calls.get((verb, action), 0) + 1
        luck: Any = self._wrong(verb, action, number)
        self.fired += luck is not None
        if luck is not None and luck.nonsense:
            self.rates["nonsense"] = 1.0  # so that a poison intent is no crime
        return luck or LUCKY

    def store_fate(self, _verb: str) -> Fate:
        return SMOOTH

    def lag(self) -> float:
        return 0.0

    def grants(self, _now: datetime) -> tuple[GrantIssued, ...]:
        return USUAL

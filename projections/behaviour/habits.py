"""What one agent, role or approver habitually does, and what is odd about what it does now. Pure.

An agent has habits for each operation (how often, how much money, whom it reaches), one more series for its attempts
that were denied, and an age. A role has the same numbers, learned from all its agents together: by them an agent is
judged that is too new to have habits, and what is ordinary for its role is not odd the first time. Where not even the
role is known, there are caps (`ledger/bounds.py`). An approver has answers: how fast, and whether ever a no.

Everything here is mutable and lives for one batch; rows are made of it at the end (`projections/behaviour/view.py`).
"""

import hashlib
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from ledger import bounds
from ledger.intents import Value
from projections.behaviour.amounts import Amounts, Larger, logarithm_of
from projections.behaviour.counts import HOURS, Found, Normal, Series, series
from projections.behaviour.lasting import Longer
from projections.behaviour.logarithm import UNIT, ln

Kind = Literal["count", "amount", "operation", "target", "denied", "approver"]
DENIED: Final = "denied"  # stands where an operation's name does, which always has a dot
ANSWERS: Final = "answers"
_ANSWERS_KEPT: Final = 10
_ANSWERS_REMEMBERED: Final = 1_000
_NEVER: Final = 10 * UNIT  # e^-10, once in 22,000 runs of approvals


class Finding(Value, frozen=True):
    """Something odd, with its evidence: numbers and short words, as an anomaly tells them."""

    id: str  # of the anomaly: the position of the event that showed it, and which one at that position
    kind: Kind
    at: datetime
    intent: str | None
    grants: tuple[str, ...]  # under which it was done lately, the last one last
    evidence: dict[str, Any]


class Habit(msgspec.Struct):
    """What one agent does with one operation; of a role, what its agents do, one with another."""

    series: Series
    uses: int = 0
    amounts: dict[str, Amounts] = msgspec.field(default_factory=dict)  # by currency
    targets: list[str] = msgspec.field(default_factory=list)  # digests of them, while they are few
    open: bool = False  # it reaches too many targets for one to be odd
    since_target: int = 0  # uses since the last new one
    grants: list[str] = msgspec.field(default_factory=list)
    findings: list[Finding] = msgspec.field(default_factory=list)  # the newest ones

    def forget(self) -> None:
        """Begin anew with what is going on: a person has looked at it."""
        self.series.forget()
        for amounts in self.amounts.values():
            amounts.forget()


class Answers(msgspec.Struct):
    """How a person answers when they are asked to approve."""

    fast: list[bool] = msgspec.field(default_factory=list)  # of the last answers: faster than anybody reads
    approvals: int = 0  # in a row
    told_approvals: int = 0  # how many in a row were told last
    answers: int = 0  # up to the last no
    refusals: int = 0
    told_fast: bool = False  # since the last answer that was not
    findings: list[Finding] = msgspec.field(default_factory=list)

    def answer(self, *, approves: bool, seconds: int, actions: int) -> dict[str, Any] | None:
        """Take in an answer, so many seconds after the question; return what is odd about it."""
        base, each = bounds.BEHAVIOUR_READING_SECONDS
        self.fast = [*self.fast, seconds < base + each * actions][-_ANSWERS_KEPT:]
        self._follow(approves=approves)
        fast = sum(self.fast)
        self.told_fast = self.told_fast and fast > 0
        if fast >= bounds.BEHAVIOUR_FAST_ANSWERS and not self.told_fast:
            self.told_fast = True
            return {"fast_answers": fast, "of_the_last": len(self.fast), "seconds": seconds, "actions": actions}
        if not self._never_says_no():
            return None
        self.told_approvals = self.approvals
        evidence = {"approvals_in_a_row": self.approvals}
        return evidence | {"refusals_before": self.refusals, "answers_before": self.answers}

    def _follow(self, *, approves: bool) -> None:
        if approves:
            self.approvals += 1
            return
        self.answers, self.refusals = self.answers + self.approvals + 1, self.refusals + 1
        self.approvals = self.told_approvals = 0
        if self.answers > _ANSWERS_REMEMBERED:
            self.answers, self.refusals = self.answers // 2, self.refusals // 2

    def _never_says_no(self) -> bool:
        """Tell whether somebody who refuses as often as before would hardly ever approve so many in a row.

        How often is not known exactly: with `n` refusals of `N` answers (a beta distribution) so many approvals have a
        probability of at most (N / (N + approvals))^n. Everybody begins as one who refused ten of a hundred.
        """
        refusals, answers = self.refusals + 10, self.answers + 100
        evidence = refusals * (ln(answers + self.approvals) - ln(answers))
        return evidence >= _NEVER and self.approvals >= 2 * self.told_approvals


def begin(minute: int) -> Habit:
    """Begin a habit with the minute of its first event."""
    return Habit(series(minute))


def caps(operation: str) -> tuple[int, ...]:
    """Return how often is not odd for whom nobody knows."""
    return bounds.BEHAVIOUR_DENIED_CAPS if operation == DENIED else bounds.BEHAVIOUR_CAPS


def count(habit: Habit, role: Habit | None, operation: str, minute: int) -> dict[str, Any] | None:
    """Count an event; hours that have ended are learned, by the role too. Return what is odd about it."""
    minute = max(minute, habit.series.counter.minute)  # a ledger's time never goes back
    ended = habit.series.close_hour(minute)
    if ended is not None and role is not None:
        role.series.normal.learn(ended.hour, ended.minutes, ended.limits)
        if ended.empty:
            role.series.normal.skip((ended.hour + 1) % HOURS, ended.empty)
    habit.uses += 1
    enough = habit.series.count(minute)
    found = habit.series.judge(minute, _judging(habit, role), caps(operation)) if enough else None
    if found is not None:
        return _count_evidence(found)
    return _longer_evidence(ended.longer) if ended is not None and ended.longer is not None else None


def move(habit: Habit, role: Habit | None, amount: tuple[int, str], minute: int) -> dict[str, Any] | None:
    """Take in the money that was moved: minor units, at least 1, and the currency. Return what is odd about it."""
    minor, currency = amount
    amounts = habit.amounts.setdefault(currency, Amounts())
    shared = role.amounts.setdefault(currency, Amounts()).usual if role is not None else None
    found = amounts.add(minor, minute, shared)
    if shared is not None and not amounts.suspicious:
        shared.learn(logarithm_of(minor))
    return _amount_evidence(found, minor, currency) if found is not None else None


def reach(habit: Habit, target: str) -> dict[str, Any] | None:
    """Take in whom it reaches; return what is odd about it."""
    if habit.open:
        return None
    name = hashlib.sha256(target.encode()).hexdigest()[:16]
    if name in habit.targets:
        habit.since_target += 1
        return None
    enough = max(bounds.BEHAVIOUR_TARGET_USES, bounds.BEHAVIOUR_USES_OF_TARGET * len(habit.targets))
    odd = habit.since_target >= enough
    evidence = {"target": target, "known_targets": len(habit.targets), "uses": habit.uses} if odd else None
    habit.targets.append(name)
    habit.since_target = 0
    if len(habit.targets) > bounds.BEHAVIOUR_TARGETS:
        habit.open, habit.targets = True, []
    return evidence


def first_use(habits: dict[str, Habit], role: Habit | None, minute: int) -> dict[str, Any] | None:
    """Tell what is odd about an operation that this agent has never used; `habits` are of those it has."""
    known = [habit for operation, habit in habits.items() if operation != DENIED]
    uses = sum(habit.uses for habit in known)
    age = minute - min((habit.series.since for habit in known), default=minute)
    if uses < bounds.BEHAVIOUR_USES_MIN or age < bounds.BEHAVIOUR_AGE_MINUTES:
        return None
    if role is not None and role.uses >= bounds.BEHAVIOUR_ROLE_USES:
        return None
    return {"uses_of_other_operations": uses, "known_operations": len(known), "days": age // 1_440}


def _judging(habit: Habit, role: Habit | None) -> Normal | None:
    """Return by what normal a habit is judged: its own, or its role's while it is new; None where nobody knows."""
    if habit.series.knows:
        return habit.series.normal
    return role.series.normal if role is not None and role.series.knows else None


def _count_evidence(found: Found) -> dict[str, Any]:
    return {
        "minutes": found.minutes,
        "count": found.count,
        "expected_thousandths": found.expected,
        "limit": found.limit,
    }


def _longer_evidence(found: Longer) -> dict[str, Any]:
    return {"hours": found.hours, "count": found.count, "expected_thousandths": found.expected}


def _amount_evidence(found: Larger, minor: int, currency: str) -> dict[str, Any]:
    return {
        "amounts": found.amounts,
        "typical_minor": found.typical,
        "lately_minor": found.lately,
        "last_minor": minor,
        "currency": currency,
    }

"""How much money is moved, against how much normally is: a cumulative sum over logarithms (CUSUM). Pure.

Amounts are skewed, so their logarithms are looked at: ten times as much is the same step for pennies and for millions.
Each amount is `z` standard deviations above the usual; `z - 1`, with z held between -3 and 3, adds up for as long as it
does not fall below zero, and beyond 8 the amounts have become larger: after 4 to 10 amounts that are ten times as
large, and by chance once in some millions of ordinary ones (E. S. Page, Continuous Inspection Schemes, 1954). One large
amount among ordinary ones is nothing odd here: limits and policy look at each by itself.

Only larger is told. Splitting an amount into many shows in the counts. Logarithms and money are integers (millionths of
a unit, minor units of the currency), so that every machine finds the same.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from math import isqrt
from typing import Final

import msgspec

from ledger import bounds
from projections.behaviour.logarithm import UNIT, ln

_ONE: Final = 1_000_000
_SHIFT: Final = _ONE  # what an amount must exceed the usual by, in standard deviations, to add up
_ALARM: Final = 8 * _ONE
_EXTREME: Final = 3 * _ONE
_ALLOWANCE: Final = 1_098_612  # ln 3: agents of one role may differ by that much
_MEMORY: Final = 400  # amounts after which older ones fade
_DEVIATION_MIN: Final = 300_000  # a subscription always costs the same, and a new price is no anomaly
_exact: Final = Context(prec=16, rounding=ROUND_HALF_EVEN)


class Usual(msgspec.Struct):
    """The usual amounts: mean and variance of their logarithms."""

    count: int = 0
    mean: int = 0  # millionths
    variance: int = 0  # millionths

    @property
    def knows(self) -> bool:
        """Tell whether there were enough of them to say what is usual."""
        return self.count >= bounds.BEHAVIOUR_AMOUNTS_MIN

    @property
    def typical(self) -> int:
        """Return the amount in the middle, in minor units."""
        return int(_exact.exp(Decimal(self.mean) / _ONE))

    def surprise(self, logarithm: int) -> int:
        """Return how many standard deviations above the mean it is, in millionths, held between -3 and 3."""
        deviation = max(isqrt(self.variance * _ONE), _DEVIATION_MIN)
        return min(max((logarithm - self.mean) * _ONE // deviation, -_EXTREME), _EXTREME)

    def learn(self, logarithm: int) -> None:
        """Take in an amount; one far away counts as one three standard deviations away."""
        if self.knows:
            deviation = max(isqrt(self.variance * _ONE), _DEVIATION_MIN)
            logarithm = self.mean + self.surprise(logarithm) * deviation // _ONE
        self.count += 1
        weight = min(self.count, _MEMORY)
        before = self.mean
        self.mean += (logarithm - before) // weight
        self.variance += ((logarithm - before) * (logarithm - self.mean) // _ONE - self.variance) // weight


class Larger(msgspec.Struct, frozen=True):
    """The amounts have become larger."""

    amounts: int  # of them in a row
    typical: int  # minor units, before
    lately: int  # minor units, in the middle of those


class Amounts(msgspec.Struct):
    """The amounts of one currency, and how far they have lately been above the usual."""

    usual: Usual = msgspec.field(default_factory=Usual)
    excess: int = 0  # millionths of a standard deviation, added up
    run: int = 0  # amounts since it was zero
    run_sum: int = 0  # of their logarithms
    quiet_until: int = 0

    @property
    def suspicious(self) -> bool:
        """Tell whether the last amounts may be part of something odd, from which nothing is learned."""
        return self.excess >= _EXTREME

    def add(self, amount_minor: int, minute: int, role: Usual | None) -> Larger | None:
        """Take in an amount of at least 1, judged by the own past, or before there is enough of it by that of the role:
        three times as large is nothing odd then.

        Returns what was found, at most once within BEHAVIOUR_QUIET_MINUTES.
        """
        logarithm = logarithm_of(amount_minor)
        found = None
        if self.usual.knows:
            found = self._judge(logarithm, self.usual.surprise(logarithm), minute, self.usual)
        elif role is not None and role.knows:
            found = self._judge(logarithm, role.surprise(logarithm - _ALLOWANCE), minute, role)
        if not self.suspicious or not self.usual.knows:
            self.usual.learn(logarithm)
        return found

    def forget(self) -> None:
        """Begin anew: a person has looked at it."""
        self.excess = self.run = self.run_sum = self.quiet_until = 0

    def _judge(self, logarithm: int, surprise: int, minute: int, usual: Usual) -> Larger | None:
        self.excess = max(0, self.excess + surprise - _SHIFT)
        if self.excess == 0:
            self.run = self.run_sum = 0
            return None
        self.run, self.run_sum = self.run + 1, self.run_sum + logarithm
        if self.excess <= _ALARM:
            return None
        found = Larger(self.run, usual.typical, int(_exact.exp(Decimal(self.run_sum) / (_ONE * self.run))))
        self.excess = self.run = self.run_sum = 0
        if minute < self.quiet_until:
            return None
        self.quiet_until = minute + bounds.BEHAVIOUR_QUIET_MINUTES
        return found


def logarithm_of(amount_minor: int) -> int:
    """Return the natural logarithm of an amount of at least 1, in millionths."""
    return ln(amount_minor) * _ONE // UNIT

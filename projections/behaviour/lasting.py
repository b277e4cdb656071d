"""Whether something has for days been several times as often as is normal: a cumulative sum of evidence. Pure.

The windows of `counts.py` see what no burst explains. Five times as often is what any hour may be by chance; whether
ten such hours in a row are, depends on how much hours in a row resemble each other. So it is looked at in thirds of
days (UTC), whose dispersion is learned like that of the windows and has all that in it: good days, holidays, bursts
that last for hours. A third that is over, with `c` events where `m` were expected and a dispersion of `r`, adds the
logarithm of how much likelier it is with four times the mean:

    c ln 4 - (c + r) ln((r + 4 m) / (r + m))

The sum never falls below zero, and beyond 12 it is told (CUSUM, E. S. Page, 1954): were all else right, by chance once
in e^12 thirds or more (G. Lorden, 1971), which are 7,700 weeks. No third by itself adds more than half of that. What is
less than about twice as often takes evidence away, so a change by half is nothing odd, however long it lasts. A third
of a day in which little is usual says nothing either way: a night does not wipe out what a day has shown. What may be
the beginning of something odd teaches the dispersion once the sum is zero again, and never if it was told.
"""

from typing import Final

import msgspec

from projections.behaviour.logarithm import UNIT, ln

THIRD: Final = 8  # hours
_TIMES: Final = 4
_EVIDENCE: Final = 12 * UNIT
_THIRDS_AT_LEAST: Final = 2
_LITTLE: Final = 4_000  # thousandths: nobody is expected to do less in a third of a day, as far as oddness goes


class Longer(msgspec.Struct, frozen=True):
    """Hours with more in them than is normal, one with another."""

    hours: int
    count: int
    expected: int  # thousandths


class Lasting(msgspec.Struct):
    """The third of a day that runs, and the evidence of those before."""

    counted: int = 0
    awaited: int = 0  # thousandths
    evidence: int = 0  # units of the logarithm
    thirds: int = 0  # since it was zero, and what was in them
    count: int = 0
    expected: int = 0  # thousandths
    squares: int = 0  # what they taught of the dispersion, as `Normal` keeps it; nobody has learned it yet
    surplus: int = 0

    def add(self, count: int, expected: int) -> None:
        """Take in an hour of the third that runs; what was expected is in thousandths."""
        self.counted += count
        self.awaited += expected

    def close(self, *, little: bool, r: int) -> Longer | None:
        """End the third that runs, in which little was usual or not; return what was found, and begin anew then."""
        count, mean = self.counted, max(self.awaited, _LITTLE)
        self.counted = self.awaited = 0
        if little or (self.evidence == 0 and 1000 * count <= mean):
            return None
        self.evidence += min(likelier(count, mean, r), _EVIDENCE // _THIRDS_AT_LEAST)
        if self.evidence <= 0:
            self.forget()
            return None
        self.thirds, self.count, self.expected = self.thirds + 1, self.count + count, self.expected + mean
        if self.evidence < _EVIDENCE:
            return None
        found = Longer(self.thirds * THIRD, self.count, self.expected)
        self.forget()
        return found

    def learn(self, count: int, mean: int) -> None:
        """Take in what a third that has ended teaches; both in thousandths."""
        self.squares += mean * mean
        self.surplus += (count - mean) ** 2 - 1000 * count

    def forget(self) -> None:
        """Begin anew."""
        self.evidence = self.thirds = self.count = self.expected = 0


def likelier(count: int, mean: int, r: int) -> int:
    """Return the logarithm of how much likelier a count is with several times the mean; both in thousandths."""
    c = 1000 * count
    return (c * ln(_TIMES) - (c + r) * (ln(r + _TIMES * mean) - ln(r + mean))) // 1000

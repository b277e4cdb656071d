"""How often something happens, against how often it normally does at that hour of the week. Pure, in whole numbers.

A series counts what happens each minute and remembers, for each hour of the week (UTC), how much there was in the
hours like it. While an hour runs, the last 1, 5, 15 and 60 minutes are compared with limits that were computed when it
began, so that an event costs a few additions. A limit is the smallest count that a negative binomial distribution with
the expected mean reaches with a probability of at most e^-20, by Chernoff's bound (P(X >= c) <= inf E[e^tX] / e^tc):

    c ln(c / m) - (c + r) ln((c + r) / (m + r)) >= 20

`r`, the dispersion, is learned from how far the past was from what had been expected of it, for each length of window:
whatever the model does not know (bursts, holidays, a bad guess of the mean) makes the limits wider by itself.

What was beyond a limit teaches no more than the limit, so that an attack does not become normal while it lasts, and a
lasting change does within weeks. Arithmetic is on whole numbers, so that the same events give the same limits on every
machine.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from ledger import bounds
from projections.logarithm import UNIT, ln

WINDOWS: Final = (1, 5, 15, 60)  # minutes
HOURS: Final = 168  # of a week
_EVIDENCE: Final = 20 * UNIT  # e^-20: once in some thousand years of windows, if all else were right
_PRIOR_BLOCKS: Final = 20  # how many windows it takes to trust the learned dispersion as much as r = 1
_DISPERSION: Final = (300, 50_000)  # thousandths: r is held between these
_HOURS_KEPT: Final = 12  # like hours; then they count two thirds, so that what is older fades


class Normal(msgspec.Struct):
    """What is normal at each hour of the week."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * HOURS)
    hours: list[int] = msgspec.field(default_factory=lambda: [0] * HOURS)  # how many are in `counts`
    squares: list[int] = msgspec.field(default_factory=lambda: [0] * len(WINDOWS))  # of what was expected, x 10^6
    surplus: list[int] = msgspec.field(default_factory=lambda: [0] * len(WINDOWS))  # of the variance over the mean's

    @property
    def observed_hours(self) -> int:
        """Return for how many hours it has watched, as far as it remembers."""
        return sum(self.hours)

    def mean(self, hour: int) -> int:
        """Return how much is expected within an hour, in thousandths; `hour` is one of the week's, from 0.

        Hours beside it count half, and the same hour of other days as one hour together; and never less than a fifth
        of the mean of all hours, or half an event.
        """
        before, after = hour - 1, (hour + 1) % HOURS
        near = 2 * self.counts[hour] + self.counts[before] + self.counts[after]
        hours = 2 * self.hours[hour] + self.hours[before] + self.hours[after]
        same, days = sum(self.counts[hour % 24 :: 24]), max(sum(self.hours[hour % 24 :: 24]), 1)
        own = 1000 * (near * days + 2 * same) // (days * (hours + 2))
        everywhere = 1000 * sum(self.counts) // max(self.observed_hours, 1)
        return max(own, everywhere // 5, 500)

    def dispersion(self, window: int, mean: int) -> int:
        """Return r for the window of this place in WINDOWS, in thousandths; `mean` is that of the window."""
        prior = _PRIOR_BLOCKS * mean * mean
        r = 1000 * (self.squares[window] + prior) // max(self.surplus[window] + prior, 1)
        low, high = _DISPERSION
        return min(max(r, low), high)

    def limits(self, hour: int) -> list[int]:
        """Return the largest count that is normal within each window at an hour of the week."""
        mean = self.mean(hour)
        means = [mean * minutes // 60 for minutes in WINDOWS]
        return [_limit(one, self.dispersion(place, one)) for place, one in enumerate(means)]

    def learn(self, hour: int, minutes: Sequence[int], limits: Sequence[int], *, odd: bool = False) -> None:
        """Take in an hour that is over, minute by minute; `limits` were its own. An odd hour widens no limit."""
        if not odd:
            self._learn_spread(hour, minutes, limits)
        if self.hours[hour] >= _HOURS_KEPT:
            self.counts[hour] = self.counts[hour] * 2 // 3
            self.hours[hour] = self.hours[hour] * 2 // 3
        self.counts[hour] += min(sum(minutes), limits[-1])
        self.hours[hour] += 1

    def _learn_spread(self, hour: int, minutes: Sequence[int], limits: Sequence[int]) -> None:
        expected = self.mean(hour)
        for place, width in enumerate(WINDOWS):
            mean = expected * width // 60
            blocks = [min(sum(minutes[at : at + width]), limits[place]) for at in range(0, 60, width)]
            self.squares[place] += mean * mean * len(blocks)
            self.surplus[place] += sum((1000 * count - mean) ** 2 - 1000 * mean for count in blocks)
        if hour == 0:
            self.squares = [value * 3 // 4 for value in self.squares]
            self.surplus = [value * 3 // 4 for value in self.surplus]


class Counter(msgspec.Struct):
    """What happened in the last hour, minute by minute; minutes count from 1970."""

    minute: int  # of the last event
    ring: list[int] = msgspec.field(default_factory=lambda: [0] * 60)  # by minute of the hour

    def within(self, minutes: int) -> int:
        """Return how much happened in the last minutes, the running one included; at most 60."""
        last = self.minute % 60
        first = last - minutes + 1
        if first >= 0:
            return sum(self.ring[first : last + 1])
        return sum(self.ring[: last + 1]) + sum(self.ring[first:])

    def forget(self) -> None:
        """Begin anew: what happened was looked at by a person."""
        self.ring = [0] * 60

    def pass_to(self, minute: int) -> None:
        """Let the minutes pass up to this one, without an event."""
        for passed in range(self.minute + 1, min(minute, self.minute + 60) + 1):
            self.ring[passed % 60] = 0
        self.minute = max(minute, self.minute)


class Found(msgspec.Struct, frozen=True):
    """A window with more in it than is normal."""

    minutes: int
    count: int
    expected: int  # thousandths
    limit: int


class Series(msgspec.Struct):
    """Something that is counted, and its normal."""

    counter: Counter
    since: int  # the minute of the first event
    normal: Normal
    limits: list[int]  # of this hour
    expected: int  # in this hour, thousandths
    odd: bool = False  # something was found in this hour
    quiet_until: int = 0  # the minute until which what goes on is not told again

    @property
    def knows(self) -> bool:
        """Tell whether it has watched for a week, and can be judged by its own past."""
        return self.normal.observed_hours >= HOURS

    def due(self, minute: int) -> bool:
        """Tell whether an hour has ended since the last event."""
        return minute // 60 != self.counter.minute // 60

    def close_hours(self, minute: int) -> list[tuple[int, list[int]]]:
        """Learn the hours that have ended before this minute; return them, oldest first: hour of the week, minutes.

        Of a silence that is longer than two weeks only the first two are learned.
        """
        closed: list[tuple[int, list[int]]] = []
        while self.due(minute):
            ends = (self.counter.minute // 60 + 1) * 60
            self.counter.pass_to(ends - 1)
            hour, minutes = week_hour(ends - 1), list(self.counter.ring)
            self.normal.learn(hour, minutes, self.limits, odd=self.odd)
            self.odd = False
            closed.append((hour, minutes))
            self.counter.pass_to(ends)
            if len(closed) >= 2 * HOURS:
                self.counter.pass_to(minute)
        return closed

    def open_hour(self, normal: Normal | None, caps: Sequence[int]) -> None:
        """Set the limits of the hour that has begun: by `normal`, or where nobody knows what that is, these caps."""
        hour = week_hour(self.counter.minute)
        if normal is None:
            self.limits, self.expected = list(caps), 0
        else:
            self.limits, self.expected = normal.limits(hour), normal.mean(hour)

    def count(self, minute: int) -> Found | None:
        """Count an event of this minute, whose hour is open; return the shortest window that is beyond its limit."""
        self.counter.pass_to(minute)
        self.counter.ring[minute % 60] += 1
        for place, minutes in enumerate(WINDOWS):
            count = self.counter.within(minutes)
            if count > self.limits[place]:
                self.odd = True
                if minute < self.quiet_until:
                    return None
                self.quiet_until = minute + bounds.BEHAVIOUR_QUIET_MINUTES
                return Found(minutes, count, self.expected * minutes // 60, self.limits[place])
        return None


def series(minute: int, caps: Sequence[int]) -> Series:
    """Begin a series with its first event, which is still to be counted."""
    return Series(Counter(minute), minute, Normal(), list(caps), 0)


def week_hour(minute: int) -> int:
    """Return the hour of the week of a minute since 1970, which began on a Thursday; 0 is the first of Monday, UTC."""
    return (minute // 60 + 3 * 24) % HOURS


@lru_cache(maxsize=4096)
def _limit(mean: int, r: int) -> int:
    """Return the largest count that is still normal; both in thousandths."""
    low = max(mean // 1000, bounds.BEHAVIOUR_COUNT_MIN - 1)
    high = max(2 * low, 1)
    while not _is_odd(high, mean, r):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _is_odd(middle, mean, r) else (middle, high)
    return low


def _is_odd(count: int, mean: int, r: int) -> bool:
    c, m = 1000 * count, max(mean, 1)
    if c <= m:
        return False
    return c * (ln(c) - ln(m)) - (c + r) * (ln(c + r) - ln(m + r)) >= 1000 * _EVIDENCE

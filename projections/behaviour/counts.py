"""How often something happens, against how often it normally does at that hour of the week. Pure, in whole numbers.

A series counts what happens each minute and remembers, for each hour of the week (UTC), how much there was in the
hours like it. While an hour runs, the last 1, 5, 15 and 60 minutes are compared with limits that are computed once for
it, so that an event costs a few additions. A limit is the smallest count that a negative binomial distribution with
the expected mean reaches with a probability of at most e^-18, by Chernoff's bound (P(X >= c) <= inf E[e^tX] / e^tc):

    c ln(c / m) - (c + r) ln((c + r) / (m + r)) >= 18

`r`, the dispersion, is learned from how far the past was from what had been expected of it, for each length of window:
whatever the model does not know (bursts, holidays, a bad guess of the mean) makes the limits wider by itself.

An hour teaches at most a few times what was expected of it, so that an attack does not become normal while it lasts,
and a lasting change does within weeks. Arithmetic is on whole numbers: the same events give the same limits on every
machine.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Final

import msgspec

from ledger import bounds
from projections.behaviour.lasting import THIRD, Lasting, Longer
from projections.behaviour.logarithm import UNIT, ln

WINDOWS: Final = (1, 5, 15, 60)  # minutes
THIRDS: Final = len(WINDOWS)  # the place of thirds of days, where there is something for each window
HOURS: Final = 168  # of a week
_BELIEVED: Final = 4  # times the expected: what is more may be the beginning of something odd
_EVIDENCE: Final = 18 * UNIT  # e^-18: never, if all else were right, which it is not
_PRIOR_BLOCKS: Final = (20, 20, 20, 20, 5)  # how many of each it takes to trust the learned dispersion as much as r = 1
_DISPERSION: Final = (300, 50_000)  # thousandths: r is held between these
_HOURS_KEPT: Final = 12  # of each hour of the week; beyond them a third is forgotten, so that what is older fades


class Normal(msgspec.Struct):
    """What is normal at each hour of the week."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * HOURS)
    steps: list[int] = msgspec.field(default_factory=lambda: [0] * HOURS)  # of `hours`, from one to the next
    observed_hours: int = 0  # as far as it remembers
    squares: list[int] = msgspec.field(default_factory=lambda: [0] * (len(WINDOWS) + 1))  # of what was expected, x 10^6
    surplus: list[int] = msgspec.field(
        default_factory=lambda: [0] * (len(WINDOWS) + 1)
    )  # of the variance over the mean's

    @property
    def hours(self) -> list[int]:
        """Return how many hours are in `counts`, for each hour of the week."""
        return list(accumulate(self.steps))

    def mean(self, hour: int) -> int:
        """Return how much is expected within an hour, in thousandths; `hour` is one of the week's, from 0.

        Hours beside it count half, and the same hour of other days as one hour together; and never less than a fifth
        of the mean of all hours, or half an event.
        """
        return max(self.own(hour, self.hours), self.little, 500)

    def own(self, hour: int, hours: Sequence[int]) -> int:
        """Return the same, however little it is; `hours` are its own, so that they are summed up once for many."""
        before, after = hour - 1, (hour + 1) % HOURS
        near = 2 * self.counts[hour] + self.counts[before] + self.counts[after]
        count = 2 * hours[hour] + hours[before] + hours[after]
        same, days = sum(self.counts[hour % 24 :: 24]), max(sum(hours[hour % 24 :: 24]), 1)
        return 1000 * (near * days + 2 * same) // (days * (count + 2))

    def own_of_many(self, first: int, many: int, hours: Sequence[int]) -> int:
        """Return nearly the sum of `own` of some hours in a row, the first at this place: without other days."""
        until = first + many
        edges = self.counts[first - 1] - self.counts[first] + self.counts[until % HOURS] - self.counts[until - 1]
        near = 4 * sum(self.counts[first:until]) + edges
        return 250 * near * many // max(sum(hours[first:until]), 1)

    @property
    def little(self) -> int:
        """Return a fifth of the mean of all hours, in thousandths."""
        return 200 * sum(self.counts) // max(self.observed_hours, 1)

    def dispersion(self, window: int, mean: int) -> int:
        """Return r for the window of this place in WINDOWS, in thousandths; `mean` is that of the window."""
        prior = _PRIOR_BLOCKS[window] * mean * mean
        r = 1000 * (self.squares[window] + prior) // max(self.surplus[window] + prior, 1)
        low, high = _DISPERSION
        return min(max(r, low), high)

    def limits(self, hour: int) -> list[int]:
        """Return the largest count that is normal within each window at an hour of the week."""
        mean = self.mean(hour)
        means = [mean * minutes // 60 for minutes in WINDOWS]
        return [_limit(one, self.dispersion(place, one)) for place, one in enumerate(means)]

    def learn(self, hour: int, minutes: Sequence[int], limits: Sequence[int], *, odd: bool = False) -> None:
        """Take in an hour that is over, minute by minute; `limits` were its own (none: it came nowhere near them).

        An odd hour widens no limit, nor does one with several times as much as was expected; and that counts no more.
        """
        counted, expected = sum(minutes), self.mean(hour)
        if self.observed_hours >= HOURS:
            believed = max(_BELIEVED * expected // 1000, bounds.BEHAVIOUR_COUNT_MIN)
            odd, counted = odd or counted > believed, min(counted, believed)
        if not odd:
            self._learn_spread(expected, minutes, limits)
        self.counts[hour] += min(counted, limits[-1]) if limits else counted
        self._observe(hour, 1)

    def skip(self, first: int, count: int) -> None:
        """Take in so many hours without an event at once; the first of them is at this hour of the week."""
        weeks, rest = divmod(count, HOURS)
        hours, until = self.hours, first + rest
        counted = weeks * sum(self.counts) + sum(self.counts[first:until]) + sum(self.counts[: max(until - HOURS, 0)])
        observed = weeks * self.observed_hours + sum(hours[first:until]) + sum(hours[: max(until - HOURS, 0)])
        mean = max(1000 * counted // max(observed, 1), 500)
        for place, width in enumerate(WINDOWS):
            each, blocks = mean * width // 60, count * 60 // width
            self.squares[place] += blocks * each * each
            self.surplus[place] += blocks * (each * each - 1000 * each)
        self._observe(first, count)

    def _learn_spread(self, expected: int, minutes: Sequence[int], limits: Sequence[int]) -> None:
        filled = [(minute, count) for minute, count in enumerate(minutes) if count]
        for place, width in enumerate(WINDOWS):
            mean, blocks = expected * width // 60, 60 // width
            sums: dict[int, int] = {}
            for minute, count in filled:
                sums[minute // width] = sums.get(minute // width, 0) + count
            squared = blocks * mean * mean  # as if every block were empty; then those that are not
            self.squares[place] += squared
            self.surplus[place] += squared - blocks * 1000 * mean
            for count in sums.values():
                over = 1000 * (min(count, limits[place]) if limits else count) - mean
                self.surplus[place] += over * over - mean * mean

    def learn_third(self, count: int, expected: int) -> None:
        """Take in what a third of a day teaches of their dispersion; what was expected is in thousandths."""
        self.squares[THIRDS] += expected * expected
        self.surplus[THIRDS] += (1000 * count - expected) ** 2 - 1_000_000 * count

    def learn_thirds(self, squares: int, surplus: int) -> None:
        """Take in what several taught."""
        self.squares[THIRDS] += squares
        self.surplus[THIRDS] += surplus

    def _observe(self, first: int, count: int) -> None:
        """Have watched so many hours more, and forget a third where that is more than _HOURS_KEPT of each."""
        weeks, rest = divmod(count, HOURS)
        self.steps[0] += weeks
        self.steps[first] += rest > 0
        until = first + rest
        if until > HOURS:
            self.steps[0] += 1
        if rest and until != HOURS:
            self.steps[until % HOURS] -= 1
        self.observed_hours += count
        while self.observed_hours > _HOURS_KEPT * HOURS:
            hours = [value * 2 // 3 for value in self.hours]
            self.steps = [value - before for value, before in zip(hours, [0, *hours], strict=False)]
            self.observed_hours = sum(hours)
            self.counts = [value * 2 // 3 for value in self.counts]
            self.squares = [value * 2 // 3 for value in self.squares]
            self.surplus = [value * 2 // 3 for value in self.surplus]


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


class Hour(msgspec.Struct, frozen=True):
    """An hour that is over, and how many without an event came after it."""

    hour: int  # of the week
    minutes: list[int]
    limits: list[int]
    empty: int
    longer: Longer | None = None  # what it completes


class Series(msgspec.Struct):
    """Something that is counted, and its normal."""

    counter: Counter
    since: int  # the minute of the first event
    normal: Normal
    limits: list[int] = msgspec.field(default_factory=list)  # of this hour; none as long as nothing comes near them
    expected: int = 0  # in this hour, thousandths; 0: nobody knows
    odd: bool = False  # something was found in this hour
    quiet_until: int = 0  # the minute until which what goes on is not told again
    told_of_caps: int = 0  # how often the caps were exceeded; each time they double
    lasting: Lasting = msgspec.field(default_factory=Lasting)

    @property
    def knows(self) -> bool:
        """Tell whether it has watched for a week, and can be judged by its own past."""
        return self.normal.observed_hours >= HOURS

    def forget(self) -> None:
        """Begin anew with what is going on: a person has looked at it."""
        self.counter.forget()
        self.lasting.forget()
        self.quiet_until = 0

    def close_hour(self, minute: int) -> Hour | None:
        """Learn the hour that has ended before this minute, and those without an event since; None if none has."""
        hours = minute // 60 - self.counter.minute // 60
        if hours <= 0:
            return None
        ends = (self.counter.minute // 60 + 1) * 60
        self.counter.pass_to(ends - 1)
        place, minutes = week_hour(ends - 1), list(self.counter.ring)
        hour = Hour(place, minutes, self.limits, hours - 1, self._follow(place, sum(minutes), hours - 1))
        self.normal.learn(hour.hour, hour.minutes, hour.limits, odd=self.odd)
        if hour.empty:
            self.normal.skip((hour.hour + 1) % HOURS, hour.empty)
        self.counter.pass_to(minute)
        self.limits, self.expected, self.odd = [], 0, False
        return hour

    def _follow(self, place: int, count: int, empty: int) -> Longer | None:
        """Follow thirds of days through an hour that is over and those without an event after it, a day at most."""
        hours, place_after = self.normal.hours, place + 1
        self.lasting.add(count, self.normal.own(place, hours))
        longer = self._close_third() if place_after % THIRD == 0 else None
        left = min(empty, 24)
        while left:
            many = min(THIRD - place_after % THIRD, left)
            self.lasting.add(0, self.normal.own_of_many(place_after % HOURS, many, hours))
            place_after, left = place_after + many, left - many
            if place_after % THIRD == 0:
                longer = self._close_third() or longer
        return longer

    def _close_third(self) -> Longer | None:
        """End a third of a day. What may be the beginning of something odd teaches nothing until it has ended."""
        lasting, normal = self.lasting, self.normal
        count, mean = lasting.counted, lasting.awaited
        if lasting.evidence == 0 and 1000 * count <= mean:  # as most are: there is nothing to weigh
            lasting.counted = lasting.awaited = 0
            if self.knows:
                normal.learn_third(count, mean)
            return None
        longer = lasting.close(little=mean < THIRD * normal.little, r=normal.dispersion(THIRDS, mean))
        if self.normal.observed_hours < 2 * HOURS:  # a week to know the mean, and one to know how far from it they are
            lasting.forget()
            longer = None
        if self.knows:
            lasting.learn(min(1000 * count, _BELIEVED * mean), mean)
        if lasting.evidence == 0:
            if longer is None:
                normal.learn_thirds(lasting.squares, lasting.surplus)
            lasting.squares = lasting.surplus = 0
        return longer

    def count(self, minute: int) -> bool:
        """Count an event of this minute, whose hour is open; tell whether there are enough of them to be judged."""
        self.counter.pass_to(minute)
        self.counter.ring[minute % 60] += 1
        return sum(self.counter.ring) >= bounds.BEHAVIOUR_COUNT_MIN

    def judge(self, minute: int, normal: Normal | None, caps: Sequence[int]) -> Found | None:
        """Return the shortest window that is beyond its limit, by `normal`, or by caps where nobody knows that."""
        if not self.limits:
            hour = week_hour(minute)
            self.limits = [cap << self.told_of_caps for cap in caps] if normal is None else normal.limits(hour)
            self.expected = 0 if normal is None else normal.mean(hour)
        for place, minutes in enumerate(WINDOWS):
            count = self.counter.within(minutes)
            if count > self.limits[place]:
                self.odd = True
                if minute < self.quiet_until:
                    return None
                self.quiet_until = minute + bounds.BEHAVIOUR_QUIET_MINUTES
                self.told_of_caps += normal is None
                return Found(minutes, count, self.expected * minutes // 60, self.limits[place])
        return None


def series(minute: int) -> Series:
    """Begin a series with its first event, which is still to be counted."""
    return Series(Counter(minute), minute, Normal())


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

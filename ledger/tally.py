"""How long something took, counted into buckets: a histogram that knows no library, for what happens very often.

Adding costs well below a microsecond. Only whoever shows it knows in which form (`gateway/metrics.py`).
"""

from bisect import bisect_left
from typing import Final

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Tally:
    """Durations in seconds."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        """Begin at nothing."""
        self.counts = [0] * (len(BUCKETS) + 1)  # by bucket, each up to its bound and including it; the last has none
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds

"""When to try again: a pure function of how often it was tried, spread out so that intents do not march in step."""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from ledger.bounds import RETRY_BASE_SECONDS, RETRY_CAP_SECONDS

_POLL_SECONDS: Final = 0.1  # for an intent that another process runs: at first,
_POLL_SECONDS_MAX: Final = 1.0  # and when it takes long


def retry_at(now: datetime, attempts: int, key: str) -> datetime:
    """Return when the call named `key`, tried `attempts` times in a row before this one, is due again.

    Between RETRY_BASE_SECONDS and RETRY_CAP_SECONDS; a replayed run waits exactly as long.
    """
    return now + timedelta(seconds=spread(RETRY_BASE_SECONDS, RETRY_CAP_SECONDS, attempts, key))


def spread(base_seconds: float, cap_seconds: float, attempts: int, key: str) -> float:
    """Return the seconds to wait: exponential from base to cap with "equal jitter".

    That is between half of the delay and all of it, the fraction derived from the key and the count.
    """
    delay = min(cap_seconds, base_seconds * 2.0 ** min(attempts, 32))
    fraction = int.from_bytes(hashlib.sha256(f"{key}/{attempts}".encode()).digest()[:4], "big") / 2**32
    return delay / 2 * (1 + fraction)


def pauses() -> Iterator[float]:
    """Yield the seconds between looks at an intent that others run: growing, so that waiting for long costs little."""
    pause = _POLL_SECONDS
    while True:
        yield pause
        pause = min(2 * pause, _POLL_SECONDS_MAX)

"""When to try again: a pure function of how often it was tried, spread out so that intents do not march in step."""

import hashlib
from datetime import datetime, timedelta

from ledger.bounds import RETRY_BASE_SECONDS, RETRY_CAP_SECONDS


def retry_at(now: datetime, attempts: int, key: str) -> datetime:
    """Return when the call named `key`, tried `attempts` times in a row before this one, is due again.

    Exponential from RETRY_BASE_SECONDS to RETRY_CAP_SECONDS with "equal jitter": between half of the delay and all
    of it, the fraction derived from the key and the count, so that a replayed run waits exactly as long.
    """
    delay = min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2.0 ** min(attempts, 32))
    fraction = int.from_bytes(hashlib.sha256(f"{key}/{attempts}".encode()).digest()[:4], "big") / 2**32
    return now + timedelta(seconds=delay / 2 * (1 + fraction))

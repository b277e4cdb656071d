"""The outbox: events of which somebody outside is still to be told, put there in the transaction of the event itself.

Told at least once. Any number of processes may take messages beside each other; what keeps them off one another is a
lease, as with intents (`docs/decisions/0003-a-lease-is-a-due-time.md`), and `attempts` is its epoch. This file does
not know who is told, nor how.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

import sql
from ledger.database import connection

if TYPE_CHECKING:
    from ledger.database import Pool

_CLAIM = sql.query("outbox.claim")
_DONE = sql.query("outbox.done")
_AGAIN = sql.query("outbox.again")


class Waiting(msgspec.Struct, frozen=True):
    """A message that was taken to be sent."""

    position: int  # of its event
    attempts: int  # this one included
    age_seconds: float  # since the event was appended


class Outbox:
    """The outbox of one ledger."""

    def __init__(self, pool: "Pool", ledger: str) -> None:
        """Use a pool of `ledger.database.open_pool`."""
        self._pool = pool
        self._ledger = ledger

    async def claim_due(self, limit: int, lease_seconds: float) -> Sequence[Waiting]:
        """Take at most `limit` messages that are due, oldest event first, and keep others off them for that long.

        Raises `Unavailable`.
        """
        async with connection(self._pool) as writer:
            rows = await writer.fetch(_CLAIM, self._ledger, limit, lease_seconds)
        return sorted((Waiting(*row) for row in rows), key=lambda waiting: waiting.position)

    async def done(self, position: int, attempts: int) -> bool:
        """Forget a message; False if somebody else has taken it since. Raises `Unavailable`."""
        async with connection(self._pool) as writer:
            return await writer.fetchval(_DONE, self._ledger, position, attempts) is not None

    async def again(self, position: int, attempts: int, delay_seconds: float) -> bool:
        """Make a message due so much later; False if somebody else has taken it since. Raises `Unavailable`."""
        async with connection(self._pool) as writer:
            return await writer.fetchval(_AGAIN, self._ledger, position, attempts, delay_seconds) is not None

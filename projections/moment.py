"""Which position a ledger had reached at a time. Positions and times only ever grow together, so it is looked for by
halves: some twenty rows for millions of events, and no index on time.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

import sql
from ledger.database import connection as borrowed

if TYPE_CHECKING:
    from ledger.database import Pool

_HEAD: Final = sql.query("read.head")
_TIME_OF: Final = sql.query("read.time_of")


async def position_at(pool: "Pool", ledger: str, moment: datetime) -> int:
    """Return the position of the last event recorded at or before a time; 0 before the first. Raises `Unavailable`."""
    async with borrowed(pool) as connection:
        low, high = 0, await connection.fetchval(_HEAD, ledger) or 0
        while low < high:
            middle = (low + high + 1) // 2
            if await connection.fetchval(_TIME_OF, ledger, middle) <= moment:
                low = middle
            else:
                high = middle - 1
    return low

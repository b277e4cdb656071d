"""The intents that had an effect outside, or might have had, since a time: what reconciliation asks about.

Looked up in the list of intents, which follows the ledger at a small distance, and folded like every page of it.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import sql
from ledger.bounds import RECONCILE_INTENTS
from ledger.database import connection as borrowed
from ledger.state import IntentState
from projections.intents import page_of

if TYPE_CHECKING:
    from ledger.database import Pool

_ACTED: Final = sql.query("reconcile.acted")
_PAGE: Final = 100  # intents folded between two looks at the event loop


async def acted(pool: "Pool", ledger: str, since: datetime) -> AsyncIterator[Sequence[IntentState]]:
    """Yield the intents that moved since a time and had, or may have, effects: the last that moved first.

    At most RECONCILE_INTENTS, some at a time; no connection is held while the reader looks at them.
    """
    async with borrowed(pool) as connection:
        rows = await connection.fetch(_ACTED, ledger, since, RECONCILE_INTENTS)
    while rows:
        async with borrowed(pool) as connection:
            page = await page_of(connection, ledger, rows[:_PAGE], _PAGE)
        yield page.items
        rows = rows[len(page.items) :]

"""Cursors that are positions: where the page before ended, as its `next` said it.

A cursor beyond the end of the ledger is refused, not waited for: whoever holds one has read a ledger that is not this
one, or one that lost its end to an older backup, and must hear of it.
"""

from gateway.door import Visit
from gateway.models import no_next, wrong_query


async def position_in(visit: Visit, cursor: str) -> int:
    """Return the position that a cursor is. Raises `InvalidRequest` for what is no `next` of a page of this ledger."""
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 15 and not cursor.startswith("0")):
        raise no_next()
    position = int(cursor)
    await check_reached(visit, position)
    return position


async def check_reached(visit: Visit, position: int, path: str = "/after") -> None:
    """Raise `InvalidRequest`, naming `path`, for a position that the ledger has not reached."""
    if position > visit.service.follower.position and position > (head := await visit.service.store.head()):
        raise wrong_query(path, f"The ledger ends at position {head}; there is nothing that comes after {position}.")

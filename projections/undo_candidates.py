"""The intents that an undo plan is made of: what a selection reaches, looked up in the list of intents and folded.

What never had an effect and never will (denied, aborted, simulated) is left out. What is in motion is not: whoever
undoes the deeds of an agent must know what may still come. The list follows the ledger at a small distance; the caller
waits until it has come far enough.
"""

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

import sql
from ledger.state import IntentState
from ledger.undo_plans import Selection
from projections.intents import page_of
from projections.page import Page

if TYPE_CHECKING:
    from ledger.database import Connection

_CANDIDATES: Final = sql.query("views.undo_candidates")
_FRESH_PLAN: Final = sql.query("views.fresh_plan")
_PAGE: Final = 100  # intents folded between two looks at the event loop


async def undo_candidates(
    connection: "Connection", ledger: str, selection: Selection
) -> AsyncIterator[Sequence[IntentState]]:
    """Yield the intents that a selection reaches, newest first, a page at a time."""
    after: str | None = None
    while True:
        page = await _page(connection, ledger, selection, after)
        yield [state for state in page.items if _within(state, selection)]
        after = page.next
        if after is None:
            return


async def _page(
    connection: "Connection", ledger: str, selection: Selection, after: str | None
) -> Page[IntentState, str]:
    async with connection.transaction(readonly=True):
        await connection.execute(_FRESH_PLAN)
        rows = await connection.fetch(_CANDIDATES, ledger, *msgspec.structs.astuple(selection), after, _PAGE + 1)
        return await page_of(connection, ledger, rows, _PAGE)


def _within(state: IntentState, selection: Selection) -> bool:
    """Compare the time of the decision; what is not decided yet can only be decided later."""
    at = state.commit_decided_at
    if at is None:
        return selection.until is None
    return (selection.since is None or at >= selection.since) and (selection.until is None or at < selection.until)

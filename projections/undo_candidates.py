"""The intents that an undo plan is made of: what a selection reaches, looked up in the list of intents and folded.

What never had an effect and never will (denied, aborted, simulated) is left out. What is in motion is not: whoever
undoes the deeds of an agent must know what may still come. The list follows the ledger at a small distance; the caller
waits until it has come far enough.
"""

from typing import TYPE_CHECKING, Final

import msgspec

import sql
from ledger.bounds import UNDO_PLAN_INTENTS
from ledger.errors import InvalidRequest
from ledger.state import IntentState
from ledger.undo_plans import Selection
from projections.intents import IntentPage, page_of

if TYPE_CHECKING:
    from ledger.database import Connection

_CANDIDATES: Final = sql.query("views.undo_candidates")
_FRESH_PLAN: Final = sql.query("views.fresh_plan")
_PAGE: Final = 100  # intents folded between two looks at the event loop


async def undo_candidates(connection: "Connection", ledger: str, selection: Selection) -> list[IntentState]:
    """Return the intents that a selection reaches, newest first. Raises `InvalidRequest` for more than a plan takes."""
    found: list[IntentState] = []
    after: str | None = None
    while True:
        page = await _page(connection, ledger, selection, after)
        found += [state for state in page.items if _within(state, selection)]
        if len(found) > UNDO_PLAN_INTENTS:
            raise InvalidRequest(
                f"The selection reaches more than {UNDO_PLAN_INTENTS} intents, and a plan takes no more. Nothing was "
                'recorded; narrow it with "since" and "until".',
                errors=[{"path": "", "message": f"More than {UNDO_PLAN_INTENTS} intents."}],
            )
        after = page.next
        if after is None:
            return found


async def _page(connection: "Connection", ledger: str, selection: Selection, after: str | None) -> IntentPage:
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

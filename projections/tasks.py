"""Tasks as people look at them: which there are, and the intents of one as a workflow, oldest first.

A task exists by being defined or by being named in an intent. Contracts are read from their streams, which never
change; the intents of a task come from the list of intents and are folded like every page of it. An intent that hands
over comes before those that follow it, because it was there first.
"""

from typing import TYPE_CHECKING, Final

import msgspec

import sql
from ledger.errors import Corrupt
from ledger.events import Event, TaskDefined, decode
from ledger.state import IntentState
from ledger.tasks import TaskContract
from projections.intents import page_of
from projections.page import Page

if TYPE_CHECKING:
    from ledger.database import Connection

_TASKS: Final = sql.query("views.tasks")
_CONTRACT: Final = sql.query("views.contract")
_WORKFLOW: Final = sql.query("views.workflow")


class TaskRow(msgspec.Struct, frozen=True):
    """A task, with its contract if one was defined."""

    task: str
    contract: TaskContract | None


class WorkflowPage(msgspec.Struct, frozen=True):
    """What was commissioned, and what has been done about it: intents, oldest first, each with what it follows."""

    contract: TaskContract | None
    items: tuple[IntentState, ...]
    next: str | None


async def list_tasks(connection: "Connection", ledger: str, after: str | None, limit: int) -> Page[TaskRow, str]:
    """Return one page of tasks by name, at most `limit`; `after` is the `next` of the page before."""
    records = await connection.fetch(_TASKS, ledger, after or "", limit + 1)
    items = tuple(TaskRow(record["task"], _contract(record["body"])) for record in records[:limit])
    return Page(items, items[-1].task if len(records) > limit else None)


async def read_workflow(
    connection: "Connection", ledger: str, task: str, after: str | None, limit: int
) -> WorkflowPage:
    """Return one page of a task's intents, oldest first, at most `limit` and at most PAGE_EVENTS of their events.

    `after` is the `next` of the page before, an intent's id. A task that nobody named has neither contract nor intents.
    """
    async with connection.transaction(readonly=True):
        contract = await connection.fetchval(_CONTRACT, ledger, task)
        rows = await connection.fetch(_WORKFLOW, ledger, task, after, limit + 1)
        page = await page_of(connection, ledger, rows, limit)
    return WorkflowPage(_contract(contract), page.items, page.next)


def _contract(body: bytes | None) -> TaskContract | None:
    if body is None:
        return None
    event: Event = decode(TaskDefined.__name__, body)
    if not isinstance(event, TaskDefined):
        raise Corrupt("The stream of a task begins with an event that defines none.")
    return event.contract

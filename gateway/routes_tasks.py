"""The routes of tasks: commission one, see which there are, and follow the intents of one as a workflow. For people."""

from typing import Final
from urllib.parse import quote

from aiohttp import web

from coordinator.intake import contract_faults
from gateway.door import Route, Visit
from gateway.models_authority import NewTask, PageQuery, WorkflowQuery, contract_of
from gateway.render import encode, show_intent
from gateway.routes_views import cursor_of
from gateway.shapes_authority import ShownTask, TaskPage, Workflow
from gateway.waiting import views_have
from ledger.database import connection
from ledger.errors import Conflict, InvalidRequest, NotFound
from projections.intents import INTENTS
from projections.tasks import list_tasks, read_workflow


async def define(visit: Visit) -> web.Response:
    """Define a task: what belongs to it, what counts as success, and who is asked where it fails."""
    new, _ = await visit.body(NewTask)
    contract = contract_of(new, visit.principal.subject.name)
    faults = contract_faults(contract, visit.service.registry)
    if faults:
        raise InvalidRequest("The contract does not fit the catalogue. Nothing was recorded.", errors=faults)
    defined = await visit.service.authority.define_task(visit.principal, contract)
    headers = visit.headers()
    headers["Location"] = f"/v1/tasks/{quote(defined.task, safe='')}"
    return web.Response(body=encode(ShownTask(task=defined.task, contract=defined)), status=201, headers=headers)


async def tasks(visit: Visit) -> web.Response:
    """List tasks, defined ones and those only named in intents."""
    query: PageQuery = visit.query or PageQuery()
    service = visit.service
    async with connection(service.pool) as reader:
        page = await list_tasks(reader, service.store.ledger, query.after, query.limit)
    return visit.answer(
        {"items": [ShownTask(task=one.task, contract=one.contract) for one in page.items], "next": page.next}
    )


async def task(visit: Visit) -> web.Response:
    """Show a task with its intents, oldest first."""
    query: WorkflowQuery = visit.query or WorkflowQuery()
    after = cursor_of(query)
    if query.min_position:
        await views_have(visit, query.min_position, INTENTS.name)
    service = visit.service
    async with connection(service.pool) as reader:
        page = await read_workflow(reader, service.store.ledger, visit.id, after, query.limit)
    if page.contract is None and not page.items and after is None:
        raise NotFound("Nobody defined or named such a task in this ledger.")
    shown = Workflow(
        task=visit.id,
        contract=page.contract,
        intents=tuple([show_intent(state) for state in page.items]),
        next=page.next,
    )
    return visit.answer(shown)


TASK_ROUTES: Final = (
    Route(
        method="POST",
        path="/v1/tasks",
        name="define_task",
        summary="Commission a task: its scope, its success, its known ways to fail",
        notes="A contract never changes. Defining the same again is harmless; anything else under its name is 409.",
        handler=define,
        body=NewTask,
        answers={201: ShownTask},
        errors=(InvalidRequest, Conflict),
    ),
    Route(
        method="GET",
        path="/v1/tasks",
        name="list_tasks",
        summary="Tasks by name",
        handler=tasks,
        query=PageQuery,
        answers={200: TaskPage},
    ),
    Route(
        method="GET",
        path="/v1/tasks/{id}",
        name="get_task",
        summary="A task with its intents as one workflow, oldest first",
        handler=task,
        query=WorkflowQuery,
        answers={200: Workflow},
        errors=(NotFound,),
    ),
)

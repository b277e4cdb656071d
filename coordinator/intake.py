"""From a request to an accepted intent: check it against the catalogue, copy the promises, derive the keys.

Pure: the same request, catalogue, principal, id and ledger give the same event. Everything that can be wrong with a
request is found here, all of it at once and before anything is recorded.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from adapters.personal import PersonalData
from adapters.registry import Registry
from authority.grants import Principal
from ledger import bounds
from ledger.canonical import digest
from ledger.events import IntentSubmitted
from ledger.ids import action_key
from ledger.intents import JSON, ActionPlan, Mode
from ledger.tasks import Criterion, TaskContract


class RequestedAction(msgspec.Struct, frozen=True):
    """One action as the agent wrote it."""

    id: str
    operation: str
    params: JSON
    after: tuple[str, ...] = ()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """An intent as the agent wrote it, already checked for shape by the door."""

    idempotency_key: str
    request_digest: str
    reason: str
    actions: tuple[RequestedAction, ...]
    task: str | None = None
    confidence: float | None = None
    mode: Mode = Mode.EXECUTE
    deadline_seconds: int = bounds.DEADLINE_SECONDS_DEFAULT
    context: JSON = {}
    again: bool = False  # repeat what looks like a duplicate
    follows: str | None = None  # the intent that hands over to this one
    traceparent: str | None = None


Fault = Mapping[str, str]  # {"path": JSON pointer into the request, "message": sentence}


def faults(request: Request, registry: Registry) -> Sequence[Fault]:
    """Return everything that is wrong with the actions of a request; empty when nothing is."""
    found = [*_shape_faults(request), *_order_faults(request)]
    for index, action in enumerate(request.actions):
        path = f"/actions/{index}"
        if action.operation not in registry.operations:
            found.append({"path": f"{path}/operation", "message": _not_offered(action.operation, registry)})
            continue
        found.extend(
            {"path": f"{path}/params{fault['path']}", "message": fault["message"]}
            for fault in registry.validate(action.operation, action.params)
        )
    return found


def submitted(
    request: Request,
    registry: Registry,
    principal: Principal,
    ledger: str,
    intent: str,
    *,
    contract: TaskContract | None = None,
) -> IntentSubmitted:
    """Build the event that records a faultless request; `contract`: of its task, if somebody defined it."""
    return IntentSubmitted(
        intent=intent,
        idempotency_key=request.idempotency_key,
        request_digest=request.request_digest,
        agent=principal.subject,
        grant=principal.grant,
        custody=principal.custody,
        commissioned_by=principal.commissioned_by,
        task=request.task,
        reason=request.reason,
        confidence=request.confidence,
        mode=request.mode,
        deadline_seconds=request.deadline_seconds,
        context=request.context,
        actions=tuple(_plan(action, registry, ledger, intent) for action in request.actions),
        traceparent=request.traceparent,
        follows=request.follows,
        again=request.again,
        contract=contract,
    )


def likeness(submitted: IntentSubmitted) -> str | None:
    """Digest what makes two intents look like one repeated by mistake: the task and the actions. Pure.

    None where nothing is compared: without a task, and for a dry run.
    """
    if submitted.task is None or submitted.mode is not Mode.EXECUTE:
        return None
    actions = sorted(digest({"operation": plan.operation, "params": plan.params}) for plan in submitted.actions)
    return digest({"task": submitted.task, "actions": actions})  # in whatever order they were written


def contract_faults(contract: TaskContract, registry: Registry) -> Sequence[Fault]:
    """Return everything in a task's contract that does not fit the catalogue: its criteria must be able to be asked."""
    found: list[Fault] = []
    for index, criterion in enumerate(contract.success):
        path = f"/success/{index}"
        operation = registry.operations.get(criterion.verify)
        if operation is None:
            found.append({"path": f"{path}/verify", "message": _not_offered(criterion.verify, registry)})
            continue
        found.extend(
            {"path": f"{path}/params{fault['path']}", "message": fault["message"]}
            for fault in registry.validate(criterion.verify, criterion.params)
        )
        found.extend(_personal_faults(criterion, registry.personal(criterion.verify), path))
        found.extend(
            {"path": f"{path}/expect/{name}", "message": f"{criterion.verify} shows no fact of this name."}
            for name in criterion.expect
            if name not in operation.facts
        )
    return found


def _personal_faults(criterion: Criterion, data: PersonalData | None, path: str) -> Iterator[Fault]:
    """Name what a criterion, which is kept for ever as it is, says of a person."""
    if data is not None:
        message = "This is personal, and a task's contract is kept for ever."
        yield from (
            {"path": f"{path}/params/{one}", "message": message} for one in criterion.params if one in data.parameters
        )
        yield from (
            {"path": f"{path}/expect/{one}", "message": message} for one in criterion.expect if one in data.fields
        )


def _not_offered(operation: str, registry: Registry) -> str:
    adapter = operation.partition(".")[0]
    if adapter in registry.faults:
        return f"The adapter {adapter} is misconfigured and takes nothing until its operator has mended it."
    return f"There is no operation {operation!r}."


def _plan(action: RequestedAction, registry: Registry, ledger: str, intent: str) -> ActionPlan:
    operation = registry.operations[action.operation]
    amount_minor, currency = registry.money(action.operation, action.params) or (None, None)
    return ActionPlan(
        id=action.id,
        adapter=registry.adapter(action.operation).name,
        operation=action.operation,
        params=action.params,
        guarantee=operation.guarantee,
        undo=operation.undo,
        summary=registry.summary(action.operation, action.params),
        key=action_key(ledger, intent, action.id, "commit"),
        undo_key=action_key(ledger, intent, action.id, "compensate"),
        after=action.after,
        undo_window_seconds=operation.undo_window_seconds,
        settle_seconds=operation.settle_seconds,
        hold_seconds=operation.hold_seconds,
        key_lifetime_seconds=operation.key_lifetime_seconds,
        facts=bool(operation.facts),
        amount_minor=amount_minor,
        currency=currency,
    )


def _shape_faults(request: Request) -> Iterator[Fault]:
    if not 1 <= len(request.actions) <= bounds.ACTIONS_PER_INTENT:
        yield {"path": "/actions", "message": f"An intent has 1 to {bounds.ACTIONS_PER_INTENT} actions."}
    seen: set[str] = set()
    for index, action in enumerate(request.actions):
        if action.id in seen:
            yield {"path": f"/actions/{index}/id", "message": f"The id {action.id!r} is used twice."}
        seen.add(action.id)


def _order_faults(request: Request) -> Iterator[Fault]:
    if not any(action.after for action in request.actions):
        return
    ids = {action.id for action in request.actions}
    unknown = False
    for index, action in enumerate(request.actions):
        for place, earlier in enumerate(action.after):
            if earlier not in ids or earlier == action.id:
                unknown = True
                yield {
                    "path": f"/actions/{index}/after/{place}",
                    "message": f"{earlier!r} is not another action of this intent.",
                }
    if not unknown and _has_cycle(request):
        yield {"path": "/actions", "message": "The actions wait for one another in a circle."}


def _has_cycle(request: Request) -> bool:
    waiting = {action.id: set(action.after) for action in request.actions}
    while free := {name for name, earlier in waiting.items() if not earlier}:
        waiting = {name: earlier - free for name, earlier in waiting.items() if name not in free}
    return bool(waiting)

"""Tasks: what somebody commissioned. A contract is defined once and never changes, so it may be remembered."""

from typing import Final

from authority.grants import Principal
from authority.recent import Recent
from authority.record import record
from ledger.errors import Conflict, Corrupt
from ledger.events import TaskDefined
from ledger.store import Append, Appended, GrantAlive, Store
from ledger.tasks import TaskContract

_KEPT: Final = 1_024


class Tasks:
    """The contracts of one ledger's tasks, as one process knows them."""

    def __init__(self, store: Store) -> None:
        """Know nothing yet."""
        self._store = store
        self._known: Recent[str, TaskContract] = Recent(_KEPT)

    async def define(self, principal: Principal, contract: TaskContract) -> TaskContract:
        """Record a contract; the same one again is harmless, another one raises `Conflict`."""
        event = TaskDefined(contract=contract, by=principal.subject.name, custody=principal.custody)
        append = Append(
            stream=_stream(contract.task),
            expected_version=0,
            events=(event,),
            guards=(GrantAlive(principal.grant),),
        )
        verdict = await record(self._store, append, f"task {contract.task!r} was defined")
        if not isinstance(verdict, Appended) and await self.find(contract.task) != contract:
            raise Conflict(
                f"Task {contract.task!r} has a contract already, and a contract never changes. Nothing was recorded; "
                "define another task."
            )
        self._known.put(contract.task, contract)
        return contract

    async def find(self, task: str) -> TaskContract | None:
        """Return the contract of a task; None if none was defined. Only a contract is remembered, never its absence."""
        known = self._known.get(task)
        if known is not None:
            return known
        recorded = await self._store.read(_stream(task))
        if not recorded:
            return None
        event = recorded[0].event
        if not isinstance(event, TaskDefined):
            raise Corrupt(f"The stream of task {task!r} holds a {recorded[0].type}, which defines no task.")
        self._known.put(task, event.contract)
        return event.contract


def _stream(task: str) -> str:
    return f"task/{task}"

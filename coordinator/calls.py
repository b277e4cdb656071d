"""One call to one adapter: bounded in time and number, and answered by a value whatever happens.

This is the only place that turns what an adapter raised into what the protocol knows. Whatever is not one of the
three errors of the contract, and whatever takes too long, is in doubt: it may have happened.
"""

import asyncio
from collections import defaultdict
from datetime import datetime, timedelta
from typing import assert_never

import msgspec
import structlog
from adapters.registry import Registry

from adapters.contract import Adapter, Call, Preview
from coordinator.decide import Invocation, deadline
from coordinator.outcome import Answer
from ledger import bounds
from ledger.errors import AdapterError, InDoubt, Transient
from ledger.intents import Verb
from ledger.state import UNDECIDED, ActionState, IntentState
from ledger.store import Store

log = structlog.get_logger(__name__)


class Lease(msgspec.Struct):
    """An intent that is ours for now: under `epoch`, until `until` by the store's time unless it is renewed."""

    intent: str
    epoch: int
    until: datetime


class Calls:
    """Makes the calls that `decide` asks for. Holds no database connection and no lock while it waits."""

    def __init__(self, store: Store, registry: Registry) -> None:
        """Call the adapters of `registry` for intents of `store`'s ledger."""
        self._store = store
        self._registry = registry
        self._places = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(bounds.CALLS_PER_ADAPTER))

    async def make(self, state: IntentState, invocation: Invocation, lease: Lease) -> Answer | Preview:
        """Make one call and return its answer; errors of the contract are answers too."""
        operation = state.action(invocation.action).plan.operation
        if operation not in self._registry.operations:
            return Transient(f"No configured adapter offers {operation} now. It is tried again until one does.")
        adapter = self._registry.adapter(operation)
        place = self._places[adapter.name]
        try:
            async with asyncio.timeout(bounds.CALL_SECONDS):
                await place.acquire()
        except TimeoutError:
            return Transient(
                f"Adapter {adapter.name} is busy with {bounds.CALLS_PER_ADAPTER} other calls; nothing was sent."
            )
        try:
            return await self._send(adapter, state, invocation, lease)
        finally:
            place.release()

    async def _send(
        self, adapter: Adapter, state: IntentState, invocation: Invocation, lease: Lease
    ) -> Answer | Preview:
        if self._store.now() >= lease.until:  # paused past it: another worker may have sent this already
            return Transient("The lease on the intent ran out before the call left; nothing was sent.")
        seconds = self._seconds(state)
        action = state.action(invocation.action)
        call = self._call(state, invocation, action, lease.epoch, seconds)
        try:
            async with asyncio.timeout(seconds):
                return await _dispatch(adapter, invocation, action, call)
        except AdapterError as error:
            return error
        except TimeoutError:
            return InDoubt(f"No answer within {seconds:.1f} seconds.")
        except Exception as error:  # noqa: BLE001 - law 10: any other exception counts as in doubt
            log.warning("adapter_raised", adapter=adapter.name, verb=invocation.verb, error=type(error).__name__)
            return InDoubt(f"The adapter stopped with {type(error).__name__}.")

    def _seconds(self, state: IntentState) -> float:
        """Bound a call; before the decision also by the deadline of the intent, which no vote may outlast."""
        if state.phase not in UNDECIDED:
            return bounds.CALL_SECONDS
        left = (deadline(state) - self._store.now()).total_seconds()
        return max(0.001, min(bounds.CALL_SECONDS, left))

    def _call(
        self, state: IntentState, invocation: Invocation, action: ActionState, epoch: int, seconds: float
    ) -> Call:
        plan = action.plan
        undo = Verb.COMPENSATE in (invocation.verb, invocation.about)
        return Call(
            verb=invocation.about or invocation.verb,
            ledger=state.ledger,
            intent=state.id,
            action=plan.id,
            operation=plan.operation,
            params=plan.params,
            key=plan.undo_key if undo else plan.key,
            epoch=epoch,
            deadline=self._store.now() + timedelta(seconds=seconds),
            decision_position=state.decision_position,
            traceparent=state.submitted.traceparent,
        )


async def _dispatch(adapter: Adapter, invocation: Invocation, action: ActionState, call: Call) -> Answer | Preview:
    match invocation.verb:
        case Verb.PREVIEW:
            return await adapter.preview(call)
        case Verb.PREPARE:
            return await adapter.prepare(call)
        case Verb.COMMIT:
            return await adapter.commit(call, action.receipt)
        case Verb.ABORT:
            await adapter.abort(call, action.receipt)
            return None
        case Verb.COMPENSATE:
            return await adapter.compensate(call, action.receipt, action.result or {})
        case Verb.INQUIRE:
            return await adapter.inquire(call)
        case _:
            assert_never(invocation.verb)

"""Calls to adapters: bounded in time and number, and answered by values whatever happens.

This is the only place that turns what an adapter raised into what the protocol knows. Whatever is not one of the
three errors of the contract, and whatever takes too long, is in doubt: it may have happened.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import assert_never

import msgspec
import structlog

from adapters.contract import Adapter, Call, Preview
from adapters.registry import Registry
from coordinator.moves import Invocation
from coordinator.outcome import Answer
from coordinator.undecided import deadline
from ledger import bounds
from ledger.errors import AdapterError, InDoubt, Transient
from ledger.ids import action_key
from ledger.intents import JSON, Verb
from ledger.phases import UNDECIDED
from ledger.state import ActionState, IntentState
from ledger.store import Store
from ledger.tasks import Criterion

log = structlog.get_logger(__name__)


class Lease(msgspec.Struct):
    """An intent that is ours for now: under `epoch`, until `until` by the store's time unless it is renewed."""

    intent: str
    epoch: int
    until: datetime
    alive: bool = True  # the intent's grant, when the lease was taken


class _Round(msgspec.Struct, frozen=True):
    """What the calls share that are made at the same time."""

    state: IntentState
    lease: Lease
    seconds: float
    latest: datetime  # a call that has not left by then does not: it would only end in doubt
    until: datetime  # an answer after that is not waited for
    sent: set[str]  # the actions whose calls have left


Sending = tuple[str, str, Callable[[Adapter], Awaitable[Answer | Preview]]]  # operation, action, and the call itself


class _Places:
    """The places of the calls to one adapter: `all` of them, and those `at_work`; who has only the former waits."""

    def __init__(self) -> None:
        self.all = asyncio.Semaphore(bounds.CALLS_PER_ADAPTER + bounds.CALLS_WAITING_PER_ADAPTER)
        self.at_work = asyncio.Semaphore(bounds.CALLS_PER_ADAPTER)


class Calls:
    """Makes the calls that `decide` asks for. Holds no database connection and no lock while it waits."""

    def __init__(self, store: Store, registry: Registry) -> None:
        """Call the adapters of `registry` for intents of `store`'s ledger."""
        self._store = store
        self._registry = registry
        self._adapters = defaultdict[str, _Places](_Places)

    async def make(
        self, state: IntentState, invocations: Sequence[Invocation], lease: Lease
    ) -> Sequence[Answer | Preview]:
        """Make these calls at the same time and return their answers in order; errors of the contract are answers too.

        One timer bounds all of them. Where as many calls to an adapter wait as may, the next one is answered at once:
        its intent leaves our hands until its retry time, so that a system that hangs cannot fill them. A call that
        does not even let itself be cancelled keeps its place at its adapter, and nobody waits for it.
        """
        if not invocations:
            return []
        together = self._begin(state, lease)
        return await self._answers([_sending(one, together) for one in invocations], together)

    async def look(
        self, state: IntentState, criteria: Sequence[Criterion], lease: Lease
    ) -> Sequence[Preview | AdapterError]:
        """Preview the operation of each criterion of a task at the same time, in the same bounds; changes nothing."""
        together = self._begin(state, lease)
        answers = await self._answers([_looking(*one, together) for one in enumerate(criteria)], together)
        return [
            one if isinstance(one, Preview | AdapterError) else InDoubt("The adapter answered no preview.")
            for one in answers
        ]

    def _begin(self, state: IntentState, lease: Lease) -> _Round:
        now = self._store.now()
        seconds = _seconds(state, now)
        half = timedelta(seconds=seconds / 2)
        return _Round(state, lease, seconds, now + half, now + 2 * half, set())

    async def _answers(self, sendings: Sequence[Sending], together: _Round) -> Sequence[Answer | Preview]:
        tasks = [asyncio.create_task(self._send(one, together)) for one in sendings]
        try:
            await asyncio.wait(tasks, timeout=together.seconds)
            return [
                task.result() if task.done() and not task.cancelled() else _late(name, together)
                for task, (_, name, _) in zip(tasks, sendings, strict=True)
            ]
        finally:
            for task in tasks:
                task.cancel()

    async def _send(self, sending: Sending, together: _Round) -> Answer | Preview:
        operation, name, send = sending
        if operation not in self._registry.operations:
            return Transient(f"No configured adapter offers {operation} now. It is tried again until one does.")
        adapter = self._registry.adapter(operation)
        places = self._adapters[adapter.name]
        if places.all.locked():
            return _busy()
        async with places.all, places.at_work:
            now = self._store.now()
            if now >= together.lease.until:  # paused past it: another worker may have sent this already
                return Transient("The lease on the intent ran out before the call left; nothing was sent.")
            if now > together.latest:
                return _busy()
            together.sent.add(name)
            try:
                return await send(adapter)
            except AdapterError as error:
                return error
            except Exception as error:  # noqa: BLE001 - law 10: any other exception counts as in doubt
                log.warning("adapter_raised", adapter=adapter.name, operation=operation, error=type(error).__name__)
                return InDoubt(f"The adapter stopped with {type(error).__name__}.")


def _seconds(state: IntentState, now: datetime) -> float:
    """Bound a call; before the decision also by the deadline of the intent, which no vote may outlast."""
    if state.phase not in UNDECIDED:
        return bounds.CALL_SECONDS
    return max(0.001, min(bounds.CALL_SECONDS, (deadline(state) - now).total_seconds()))


def _late(action: str, together: _Round) -> AdapterError:
    return InDoubt(f"No answer within {together.seconds:.1f} seconds.") if action in together.sent else _busy()


def _busy() -> Transient:
    return Transient(f"The adapter was busy with {bounds.CALLS_PER_ADAPTER} other calls; nothing was sent.")


def _sending(invocation: Invocation, together: _Round) -> Sending:
    action = together.state.action(invocation.action)
    plan = action.plan
    undo = Verb.COMPENSATE in (invocation.verb, invocation.about)
    call = _call(
        together,
        verb=invocation.about or invocation.verb,
        action=plan.id,
        operation=plan.operation,
        params=plan.params,
        key=plan.undo_key if undo else action.key,
    )
    return plan.operation, plan.id, lambda adapter: _dispatch(adapter, invocation, action, call)


def _looking(place: int, criterion: Criterion, together: _Round) -> Sending:
    name = f"criterion-{place + 1}"
    call = _call(
        together,
        verb=Verb.PREVIEW,
        action=name,
        operation=criterion.verify,
        params=criterion.params,
        key=action_key(together.state.ledger, together.state.id, name, "preview"),
    )
    return criterion.verify, name, lambda adapter: adapter.preview(call)


def _call(together: _Round, *, verb: Verb, action: str, operation: str, params: JSON, key: str) -> Call:
    state = together.state
    return Call(
        verb=verb,
        ledger=state.ledger,
        intent=state.id,
        action=action,
        operation=operation,
        params=params,
        key=key,
        epoch=together.lease.epoch,
        deadline=together.until,
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

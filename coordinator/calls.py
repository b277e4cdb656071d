"""Calls to adapters: bounded in time and number, and answered by values whatever happens.

This is the only place that turns what an adapter raised into what the protocol knows. Whatever is not one of the
three errors of the contract, and whatever takes too long, is in doubt: it may have happened. What did not even leave is
`NotSent`; how many calls an adapter may have, and when none leaves, stands in `coordinator/places.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, assert_never

import msgspec
import structlog

from adapters.contract import Adapter, Call, Operation, Preview, Unknown
from adapters.registry import Registry
from coordinator.moves import Invocation
from coordinator.outcome import Answer, NotSent
from coordinator.places import AdapterStatus, Places
from coordinator.seals import Seals
from coordinator.undecided import deadline
from ledger import bounds
from ledger.errors import AdapterError, Erased, InDoubt, Permanent, Transient, Unavailable
from ledger.ids import action_key
from ledger.intent_seal import IntentSeal, is_personal
from ledger.intents import JSON, Guarantee, Verb
from ledger.phases import UNDECIDED
from ledger.state import ActionState, IntentState
from ledger.store import Store
from ledger.tasks import Criterion
from ledger.traces import outgoing

log = structlog.get_logger(__name__)

_UNSAID: Final = "The outside system did not let it go. What it said is not kept, because personal data were erased."


class Lease(msgspec.Struct):
    """An intent that is ours for now: under `epoch`, until `until` by the store's time unless it is renewed."""

    intent: str
    epoch: int
    until: datetime
    alive: bool = True  # the intent's grant, when the lease was taken


class _Sending(msgspec.Struct, frozen=True):
    """A call about to be made. It leaves by `latest` or not at all: later it would only end in doubt."""

    call: Call
    places: Places | None  # None: no configured adapter offers the operation now
    seconds: float
    latest: datetime
    asks: Verb
    speaks: bool  # whether an answer shows that the outside system was heard
    send: Callable[[], Awaitable[Answer | Preview]]


class Calls:
    """Makes the calls that `decide` asks for. Holds no database connection and no lock while it waits."""

    def __init__(self, store: Store, registry: Registry, seals: Seals | None = None) -> None:
        """Call the adapters of `registry` for intents of `store`'s ledger; `seals` open what is personal for them."""
        self._store = store
        self._registry = registry
        self._seals = seals or Seals(store.ledger, None, registry)
        self.traced = False  # whether the spans of calls are exported, so that they can be named to the outside
        self._places = {name: Places(name, limits) for name, limits in registry.limits.items()}

    def statuses(self) -> Sequence[AdapterStatus]:
        """Tell how this process finds each adapter now."""
        now = self._store.now()
        return [places.status(now) for places in self._places.values()]

    async def seal(self, state: IntentState) -> IntentSeal | None:
        """Return what seals what is said of an intent with personal data; None if it has none. Raises `Unavailable`."""
        return await self._seals.of(state)

    def hindrance(self, operation: str) -> NotSent | None:
        """Say why a call of this operation would not leave now, so that it need not be announced; None if it may."""
        places, now = self._places_of(operation), self._store.now()
        return _not_offered(operation, now) if places is None else places.hindrance(now)

    async def make(
        self, state: IntentState, invocations: Sequence[Invocation], lease: Lease
    ) -> Sequence[Answer | Preview]:
        """Make these calls at the same time and return their answers in order; errors of the contract are answers too.

        Where as many calls to an adapter wait as may, or its circuit is open, the next one is answered at once: its
        intent leaves our hands until it is due again, so that a system that hangs cannot fill them. A call that does
        not even let itself be cancelled keeps its place at its adapter, and nobody waits for it.
        """
        if not invocations:
            return []
        try:
            seal = await self._seals.of(state) if is_personal(state.submitted) else None
        except Unavailable as error:  # what was announced has not left, and need not end in doubt
            again_at = self._store.now() + timedelta(seconds=bounds.BUSY_SECONDS)
            return [NotSent(error.message, again_at) for _ in invocations]
        now = self._store.now()
        return await self._answers([self._sending(one, state, lease, now, seal) for one in invocations], lease)

    async def look(
        self, state: IntentState, criteria: Sequence[Criterion], lease: Lease
    ) -> Sequence[Preview | AdapterError | NotSent]:
        """Preview the operation of each criterion of a task at the same time, in the same bounds; changes nothing."""
        now = self._store.now()
        sendings = [self._looking(number, one, state, lease, now) for number, one in enumerate(criteria, 1)]
        return [
            one if isinstance(one, Preview | AdapterError | NotSent) else InDoubt("The adapter answered no preview.")
            for one in await self._answers(sendings, lease)
        ]

    async def _answers(self, sendings: Sequence[_Sending], lease: Lease) -> Sequence[Answer | Preview]:
        """Wait for each call as long as it may take; one timer for all that may take equally long."""
        sent: dict[str, int] = {}  # the actions whose calls have left, with their tickets
        tasks = [asyncio.create_task(self._send(one, lease, sent)) for one in sendings]
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            for seconds in sorted({one.seconds for one in sendings}):
                waited = [task for task, one in zip(tasks, sendings, strict=True) if one.seconds == seconds]
                _, late = await asyncio.wait(waited, timeout=max(0.0, begun + seconds - clock()))
                for task in late:
                    task.cancel()
            return [
                task.result() if task.done() and not task.cancelled() else self._late(one, sent)
                for task, one in zip(tasks, sendings, strict=True)
            ]
        finally:
            for task in tasks:
                task.cancel()

    async def _send(self, sending: _Sending, lease: Lease, sent: dict[str, int]) -> Answer | Preview:
        places = sending.places
        if places is None:
            return _not_offered(sending.call.operation, self._store.now())
        hindrance = places.hindrance(self._store.now())
        if hindrance is not None:
            return hindrance
        places.enter()
        try:
            async with places.free:
                now = self._store.now()
                if now >= lease.until:  # paused past it: another worker may have sent this already
                    again_at = now + timedelta(seconds=bounds.BUSY_SECONDS)
                    return NotSent("The lease on the intent ran out before the call left; nothing was sent.", again_at)
                hindrance = places.busy(now) if now > sending.latest else places.held_back(now)
                if hindrance is not None:
                    return hindrance
                ticket = sent[sending.call.action] = places.begin()
                clock = asyncio.get_running_loop().time
                left_at = clock()
                try:
                    return await self._heard(sending, places, ticket)
                finally:
                    places.end(ticket)
                    places.took(sending.asks, clock() - left_at)
        finally:
            places.leave()

    async def _heard(self, sending: _Sending, places: Places, ticket: int) -> Answer | Preview:
        """Make the call, and take note of whether the outside system was heard."""
        answer: Answer | Preview
        try:
            answer = await sending.send()
        except (Transient, Permanent, InDoubt) as error:
            answer = error
        except Exception as error:  # noqa: BLE001 - law 10: any other exception counts as in doubt
            log.warning("adapter_raised", operation=sending.call.operation, error=type(error).__name__)
            answer = InDoubt(f"The adapter stopped with {type(error).__name__}.", silent=isinstance(error, OSError))
        if isinstance(answer, AdapterError) and answer.silent:
            places.silence(ticket, self._store.now())
        elif sending.speaks and not isinstance(answer, Unknown):
            places.answer()
        return answer

    def _late(self, sending: _Sending, sent: Mapping[str, int]) -> Answer:
        now = self._store.now()
        if sending.places is None:
            return _not_offered(sending.call.operation, now)
        if sending.call.action not in sent:
            return sending.places.busy(now)
        sending.places.silence(sent[sending.call.action], now)
        return InDoubt(f"No answer within {sending.seconds:.1f} seconds.", silent=True)

    # ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────

    def _places_of(self, operation: str) -> Places | None:
        if operation not in self._registry.operations:
            return None
        return self._places[self._registry.adapter(operation).name]

    def _sending(
        self, invocation: Invocation, state: IntentState, lease: Lease, now: datetime, seal: IntentSeal | None
    ) -> _Sending:
        action, erased = _opened(state.action(invocation.action), seal)
        plan = action.plan
        undo = Verb.COMPENSATE in (invocation.verb, invocation.about)
        sending = self._bounded(
            state,
            lease,
            now,
            lambda adapter, call: _dispatch(adapter, invocation, action, call, erased),
            asks=invocation.verb,
            verb=invocation.about or invocation.verb,
            action=plan.id,
            operation=plan.operation,
            params=plan.params,
            key=plan.undo_key if undo else action.key,
        )
        return sending if erased is None else msgspec.structs.replace(sending, speaks=False)

    def _traceparent(self, state: IntentState, action: str, verb: Verb) -> str | None:
        """Return the span under which an outside system is called: ours where it is exported, else the agent's."""
        theirs = state.submitted.traceparent
        if not self.traced:
            return theirs
        own = any(one.plan.id == action for one in state.actions)  # else it is a criterion of the task
        return outgoing(state.id, action if own else None, verb, theirs)

    def _looking(self, number: int, criterion: Criterion, state: IntentState, lease: Lease, now: datetime) -> _Sending:
        name = f"criterion-{number}"
        return self._bounded(
            state,
            lease,
            now,
            lambda adapter, call: adapter.preview(call),
            asks=Verb.PREVIEW,
            verb=Verb.PREVIEW,
            action=name,
            operation=criterion.verify,
            params=criterion.params,
            key=action_key(state.ledger, state.id, name, "preview"),
        )

    def _bounded(
        self,
        state: IntentState,
        lease: Lease,
        now: datetime,
        send: Callable[[Adapter, Call], Awaitable[Answer | Preview]],
        *,
        asks: Verb,
        verb: Verb,
        action: str,
        operation: str,
        params: JSON,
        key: str,
    ) -> _Sending:
        """Bound a call by its adapter's seconds; before the decision by the deadline too, which no vote may outlast."""
        places = self._places_of(operation)
        seconds = bounds.CALL_SECONDS if places is None else places.seconds
        if state.phase in UNDECIDED:
            seconds = max(0.001, min(seconds, (deadline(state) - now).total_seconds()))
        half = timedelta(seconds=seconds / 2)
        call = Call(
            verb=verb,
            ledger=state.ledger,
            intent=state.id,
            action=action,
            operation=operation,
            params=params,
            key=key,
            epoch=lease.epoch,
            deadline=now + 2 * half,
            decision_position=state.decision_position,
            traceparent=self._traceparent(state, action, verb),
        )
        speaks = places is not None and _speaks(asks, self._registry.operations[operation])
        return _Sending(
            call, places, seconds, now + half, asks, speaks, lambda: send(self._registry.adapter(operation), call)
        )


def _speaks(verb: Verb, operation: Operation) -> bool:
    """Tell whether a verb must ask the outside system: what is only validated or shown here is no sign of life."""
    looks = bool(operation.facts) or operation.reads
    match verb:
        case Verb.PREVIEW:
            return looks
        case Verb.PREPARE:
            return looks or operation.guarantee is Guarantee.ATOMIC
        case _:
            return True


def _not_offered(operation: str, now: datetime) -> NotSent:
    return NotSent(
        f"No configured adapter offers {operation} now, so nothing was sent. It is tried again until one does.",
        now + timedelta(seconds=bounds.RETRY_CAP_SECONDS),
    )


def _opened(action: ActionState, seal: IntentSeal | None) -> tuple[ActionState, Erased | None]:
    """Return an action as its adapter must see it; where personal data are gone, what is left of it, and the error."""
    if seal is None:
        return action, None
    plan = action.plan
    try:
        params, receipt, result = seal.opened((plan.params, action.receipt, action.result))
    except Erased as error:
        left = msgspec.structs.replace(plan, params=seal.left(plan.params))
        return msgspec.structs.replace(action, plan=left, receipt=_receipt_left(action, seal), result=None), error
    plan = msgspec.structs.replace(plan, params=params)
    return msgspec.structs.replace(action, plan=plan, receipt=receipt, result=result), None


def _receipt_left(action: ActionState, seal: IntentSeal) -> JSON | None:
    """Return the handle of a hold if nothing in it was erased: by it, too, a hold can be let go."""
    with suppress(Erased):
        return seal.opened(action.receipt)
    return None


async def _dispatch(
    adapter: Adapter, invocation: Invocation, action: ActionState, call: Call, erased: Erased | None
) -> Answer | Preview:
    """Call the verb. Of an action whose personal data are gone only the abort is called, which needs the key alone.

    What the outside system says of it then is not kept: nothing is left to find in it what was erased.
    """
    if erased is None:
        return await _called(adapter, invocation, action, call)
    if invocation.verb is not Verb.ABORT:
        raise erased
    try:
        return await _called(adapter, invocation, action, call)
    except AdapterError as error:
        said = next((one for one in (Transient, Permanent) if isinstance(error, one)), InDoubt)
        raise said(_UNSAID, silent=error.silent) from None
    except Exception:  # noqa: BLE001 - it did need more
        raise erased from None


async def _called(adapter: Adapter, invocation: Invocation, action: ActionState, call: Call) -> Answer | Preview:
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

"""Undo plans as the door sees them: plan, look, approve, halt.

Thin: what can be undone is told by `coordinator/undo_plan.py`, and carried out by `coordinator/undo_runner.py`. Which
intents a selection reaches is looked up in a view; what is planned of them rests on their events.

Who plans and who approves may be one person or two. Each of them must be let by their own grants to undo every intent
that is undone, exactly as for one intent; the approver's grant must be alive when it is approved and at each undo.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import msgspec

from adapters.registry import Registry
from authority.authority import Authority
from authority.grants import Principal
from coordinator.people import permitted
from coordinator.seals import Seals
from coordinator.undo_plan import planned
from ledger import bounds
from ledger import events as e
from ledger.canonical import canonical
from ledger.errors import (
    Conflict,
    Corrupt,
    DigestMismatch,
    InvalidRequest,
    InvariantViolation,
    NotFound,
    NotWaiting,
)
from ledger.ids import intent_id, intent_stream, undo_plan_stream
from ledger.state import IntentState, fold
from ledger.store import Append, Appended, Due, Finished, GrantAlive, Store, Work
from ledger.undo_plans import PlannedUndo, Selection, content_digest, count, in_order
from ledger.undo_state import PlanPhase, PlanState, fold_plan

_TRIES: Final = 5  # of a person's word against a plan that moves on

Found: TypeAlias = AsyncIterator[Sequence[IntentState]]


class Wanted(msgspec.Struct, frozen=True):
    """What somebody wants undone, and why."""

    selection: Selection
    reason: str
    partial: bool = False


class UndoPlans:
    """The undo plans of one ledger."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        authority: Authority,
        entropy: Callable[[int], bytes],
        *,
        wake: Callable[[], None],
        seals: Seals,
    ) -> None:
        """`entropy(n)` gives n random bytes; `wake` lets a worker look for what is due; `seals` are of the intents."""
        self._seals = seals
        self._store = store
        self._registry = registry
        self._authority = authority
        self._entropy = entropy
        self._wake = wake

    async def plan(self, principal: Principal, wanted: Wanted, found: Found, as_of: int) -> PlanState:
        """Record what undoing these intents would do; nothing is undone.

        `found` yields what the selection reaches, as of a position, some intents at a time. Raises `InvalidRequest` for
        more than a plan takes, `Unauthenticated`, `Unavailable`.
        """
        now = self._store.now()
        listed, reason = await self._planned(principal, wanted, found, now)
        items = in_order(listed)
        plan = intent_id(now, self._entropy(10))
        first = e.UndoPlanned(
            plan=plan,
            selection=wanted.selection,
            partial=wanted.partial,
            reason=reason,
            digest=content_digest(items),
            intents=len(items),
            counts=count(items),
            as_of=as_of,
            expires_at=now + timedelta(seconds=bounds.APPROVAL_SECONDS),
            by=principal.subject.name,
            grant=principal.grant,
            custody=principal.custody,
        )
        size = bounds.UNDO_LISTED
        pages = [e.UndoListed(items=tuple(items[n : n + size])) for n in range(0, len(items), size)]
        append = Append(
            stream=undo_plan_stream(plan),
            expected_version=0,
            events=(first, *pages),
            guards=(GrantAlive(principal.grant),),
        )
        verdict = await self._authority.record(principal, append, "the plan was recorded, by which nothing is undone,")
        if not isinstance(verdict, Appended):
            raise InvariantViolation(f"The new id {plan} was already in use.")
        return _folded(verdict.recorded)

    async def _planned(
        self, principal: Principal, wanted: Wanted, found: Found, now: datetime
    ) -> tuple[list[PlannedUndo], str]:
        """Tell what can be undone of each intent, and the reason with what is personal in one of them sealed.

        Of the intents themselves, which may be large, few are kept.
        """
        items: list[PlannedUndo] = []
        size, reason = 0, wanted.reason
        async for states in found:
            page = [
                planned(state, principal, self._registry.configured, now, partial=wanted.partial) for state in states
            ]
            size += sum(len(canonical(item)) for item in page)
            items += page
            reason = await self._seals.text(reason, states)
            if len(items) > bounds.UNDO_PLAN_INTENTS or size > bounds.UNDO_PLAN_BYTES:
                raise InvalidRequest(
                    f"A plan takes {bounds.UNDO_PLAN_INTENTS} intents and {bounds.UNDO_PLAN_BYTES // 2**20} MiB, and "
                    'the selection reaches more. Nothing was recorded; narrow it with "since" and "until".',
                    errors=[{"path": "", "message": "The selection reaches more than a plan takes."}],
                )
        return items, reason

    async def get(self, plan: str) -> PlanState:
        """Return a plan and how far it has come. Raises `NotFound`."""
        return _folded(await self.events(plan))

    async def events(self, plan: str) -> Sequence[e.Recorded]:
        """Return the events of a plan. Raises `NotFound`."""
        recorded = await self._store.read(undo_plan_stream(plan))
        if not recorded:
            raise NotFound(f"There is no undo plan {plan} in this ledger.")
        return recorded

    async def approve(self, plan: str, principal: Principal, digest: str) -> PlanState:
        """Let a plan be carried out, exactly as its digest names it, by whichever worker comes first.

        Raises `NotFound`, `NotWaiting` (approved, over, too late, or nothing to undo), `DigestMismatch`, `Forbidden`
        (the approver's own grants do not reach an intent), `Unauthenticated`.
        """

        async def word(state: PlanState) -> e.Event:
            _may_be_approved(state, digest)
            if self._store.now() >= state.planned.expires_at:
                raise NotWaiting("The time to approve this plan is over. Your answer undid nothing; plan again.")
            await self._check_reach(state, principal)
            return e.UndoPlanApproved(
                digest=digest, by=principal.subject.name, grant=principal.grant, custody=principal.custody
            )

        return await self._say(plan, principal, word, Due())

    async def halt(self, plan: str, principal: Principal, reason: str) -> PlanState:
        """Let nothing more of a plan be begun; what was begun goes on, and the rest can be approved again.

        What its worker begins before it looks at the plan again, within UNDO_RECORD_SECONDS, is still undone. Raises
        `NotFound`, `NotWaiting` (it is not being carried out), `Forbidden` (as for an approval), `Unauthenticated`.
        """

        async def word(state: PlanState) -> e.Event:
            if state.phase is not PlanPhase.UNDOING:
                raise NotWaiting(f"The plan is {state.phase} and nothing of it is being begun. Nothing was changed.")
            await self._check_reach(state, principal)
            return e.UndoPlanHalted(reason=reason, by=principal.subject.name, custody=principal.custody)

        return await self._say(plan, principal, word, Finished())

    async def _say(
        self, plan: str, principal: Principal, word: Callable[[PlanState], Awaitable[e.Event]], work: Work
    ) -> PlanState:
        """Append what a person said at the version they saw; look again if the plan has moved on."""
        for _ in range(_TRIES):
            state = await self.get(plan)
            append = Append(
                stream=undo_plan_stream(plan),
                expected_version=state.version,
                events=(await word(state),),
                guards=(GrantAlive(principal.grant),),
                work=work,
            )
            verdict = await self._authority.record(principal, append, "your answer was recorded")
            if isinstance(verdict, Appended):
                self._wake()
                return _folded(verdict.recorded, state)
        raise Conflict("The plan kept moving while you answered. Nothing was changed; look at it and try again.")

    async def _check_reach(self, plan: PlanState, principal: Principal) -> None:
        """Let pass whom their own grants let undo each of the intents. Raises `Forbidden`."""
        if principal.grant == plan.planned.grant:
            return  # looked at when it was planned, and neither grants nor what was submitted ever change
        for item in plan.to_undo:
            state = fold(await self._store.read(intent_stream(item.intent)))
            if state is None:
                raise Corrupt(f"The plan names {item.intent}, which is not in this ledger. Nothing was undone.")
            permitted(state, principal)


def _may_be_approved(plan: PlanState, digest: str) -> None:
    if plan.phase not in {PlanPhase.PLANNED, PlanPhase.HALTED}:
        raise NotWaiting(f"The plan is {plan.phase} and waits for nobody's approval. Nothing was changed.")
    if digest != plan.planned.digest:
        raise DigestMismatch(
            "The digest is not that of this plan. Nothing was recorded; look at it again.", digest=plan.planned.digest
        )
    if not plan.to_undo:
        raise NotWaiting("There is nothing in this plan that can be undone. Nothing was changed.")


def _folded(recorded: Sequence[e.Recorded], state: PlanState | None = None) -> PlanState:
    folded = fold_plan(recorded, state)
    if folded is None:
        raise InvariantViolation("An undo plan that was appended has no state.")
    return folded

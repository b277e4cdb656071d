"""Runs one intent: read, fold, decide, do, append; the one visible order of the whole system.

    state ─► decide ─► Record    kept until something must be durable
              ▲   ├──► Invoke    first everything kept is made durable, then the calls are made
              │   ├──► Evaluate  likewise, then previews and the verdict of authority
              │   ├──► Verify    likewise, then the outside is asked whether the task is done
              │   └──► Wait, Rest  everything kept is made durable, and the intent leaves our hands
              └── events ◄── answers

Rules of this file:

1. Nothing leaves for the outside while an event that justifies it is not durable: every call is preceded by a flush.
2. The events of one round go down in one append, under the expected version and the epoch. If either has moved on,
   this runner has lost the intent: it forgets everything and tells no one; whoever moved it knows better.
3. Each append carries the guards of authority that its events need (`coordinator/guards.py`). One that does not hold
   takes back what it forbids, and leads to another verdict or to abort.
4. It decides nothing. It keeps no state that the next runner would miss.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from adapters.contract import Preview
from authority.authority import Authority
from coordinator.calls import Calls, Lease
from coordinator.decide import decide, forbidden
from coordinator.guards import guards_of, notable, restore_of
from coordinator.moves import Evaluate, Invocation, Invoke, Record, Rest, Verify, Wait
from coordinator.outcome import Answer, NotSent, deferred, event_of, not_sent, preview_json, verified
from coordinator.seals import Seals
from coordinator.undecided import refusal
from ledger import events as e
from ledger.errors import AdapterError, Erased, InvariantViolation, NotReady, Permanent
from ledger.ids import intent_stream
from ledger.intent_seal import IntentSeal, is_personal
from ledger.intents import JSON, Mode, Verb
from ledger.phases import TERMINAL, UNDECIDED
from ledger.state import IntentState, evolve, fold
from ledger.store import (
    Append,
    Appended,
    Due,
    EpochCurrent,
    Finished,
    GuardFailed,
    Parked,
    PolicyActive,
    Store,
    Work,
)
from ledger.tasks import Criterion


class Lost(msgspec.Struct, frozen=True):
    """The append was not made, or is not known to be: somebody else moves the intent on, or the truth must be read."""

    reason: str


class Refused(msgspec.Struct, frozen=True):
    """A guard of authority did not hold: what it forbids was taken back, and `decide` must be asked again."""


Stopped = Lost | Refused

_GONE: Final = "The personal data of somebody whom it is about were erased before it was decided."
_LOOK_THERE: Final = (
    "The personal data that the call needs were erased, so it can neither be sent nor asked about. Look there, then "
    'resolve: "applied" if its effect is in the world, "not_applied" if not. Name nobody: what you write is kept.'
)
_ONLY_A_PERSON: Final = frozenset({Verb.COMMIT, Verb.INQUIRE})
"""Verbs of which nobody can tell any more what became of them; the others have an ending of their own."""


class _Draft(msgspec.Struct):
    """An intent in our hands: what is durable, what is not yet, and the state that both together would give."""

    confirmed: IntentState
    imagined: IntentState
    pending: list[e.Event]
    seal: IntentSeal | None = None  # of its personal data

    def add(self, events: Iterable[e.Event], now: datetime) -> None:
        """Keep events until the next flush, sealed where they must be."""
        for given in events:
            event = given if self.seal is None else self.seal.sealed(given)
            self.pending.append(event)
            self.imagined = evolve(
                self.imagined,
                e.Recorded(
                    ledger=self.imagined.ledger,
                    position=self.imagined.position,
                    stream="",
                    version=self.imagined.version + 1,
                    at=now,
                    event=event,
                    body=b"",
                ),
            )

    def keep(self, count: int, now: datetime) -> None:
        """Take back everything that is kept but the first `count` events."""
        kept = self.pending[:count]
        self.imagined, self.pending = self.confirmed, []
        self.add(kept, now)


class Runner:
    """Moves intents on until they end, must wait, or are lost."""

    def __init__(
        self, store: Store, calls: Calls, authority: Authority, seals: Seals | None = None, *, notify: bool = False
    ) -> None:
        """Work on the ledger of `store`; `notify`: somebody wants to be told of questions to people."""
        self._seals = seals
        self._notify = notify
        self._store = store
        self._calls = calls
        self._authority = authority

    async def run(self, state: IntentState, lease: Lease) -> IntentState | Lost:
        """Move one intent on as far as it goes now; returns its durable state, and has given it out of hand."""
        draft = _Draft(state, state, [], await self._seal_of(state))
        while True:
            now = self._store.now()
            if _is_gone(draft.seal, draft.imagined):
                draft.add([e.AbortDecided(cause="guard", reason=_GONE)], now)
            stopped: IntentState | Stopped | None
            match decide(draft.imagined, now, alive=lease.alive):
                case Record(events):
                    draft.add(events, now)
                    continue
                case Evaluate(preview, facts):
                    stopped = await self._evaluate(draft, preview, facts, lease)
                case Invoke(calls):
                    stopped = await self._invoke(draft, calls, lease)
                case Verify(criteria, last):
                    stopped = await self._verify(draft, criteria, lease, last=last)
                case Wait(until):
                    stopped = await self._leave(draft, lease, await self.asleep(draft.imagined, until))
                case Rest():
                    ended = draft.imagined.phase in TERMINAL
                    work = Finished() if ended else await self.asleep(draft.imagined)
                    stopped = await self._leave(draft, lease, work)
            if isinstance(stopped, Lost | IntentState):
                return stopped

    async def _invoke(self, draft: _Draft, calls: Sequence[Invocation], lease: Lease) -> Stopped | None:
        calls = self._those_that_may_leave(draft, calls)
        if not calls:
            return None
        announced = [call.announce for call in calls if call.announce is not None]
        if announced:
            draft.add(announced, self._store.now())
        stopped = await self._flush(draft, lease, None)
        if stopped is not None:
            return stopped
        answers = await self._calls.make(draft.confirmed, calls, lease)
        now = self._store.now()
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, Preview):
                raise InvariantViolation("Only a preview may be answered by a preview.")
            draft.add([event_of(call, draft.imagined.action(call.action), answer, now)], now)
            if isinstance(answer, Erased) and call.verb in _ONLY_A_PERSON and draft.imagined.attention is None:
                draft.add([e.AttentionRaised(action=call.action, reason=_LOOK_THERE)], now)
        return None

    def _those_that_may_leave(self, draft: _Draft, calls: Sequence[Invocation]) -> Sequence[Invocation]:
        """Return the calls without those that would be announced in vain, because their adapter takes none now."""
        leaving, now = [], self._store.now()
        for call in calls:
            action = draft.imagined.action(call.action)
            announced = isinstance(call.announce, e.CommitAttempted | e.UndoAttempted)
            in_vain = self._calls.hindrance(action.plan.operation) if announced else None
            if in_vain is None:
                leaving.append(call)
            else:
                draft.add([event_of(call, action, in_vain, now)], now)
        return leaving

    async def _evaluate(
        self, draft: _Draft, preview: Sequence[str], facts: Mapping[str, JSON], lease: Lease
    ) -> Stopped | None:
        stopped = await self._flush(draft, lease, None)
        if stopped is not None:
            return stopped
        state = draft.confirmed
        calls = [Invocation(Verb.PREVIEW, action) for action in preview]
        answers = dict(zip(preview, await self._calls.make(state, calls, lease), strict=True))
        draft.add(await self._verdict(state, answers, dict(facts), draft.seal), self._store.now())
        return None

    async def _verify(
        self, draft: _Draft, criteria: Sequence[Criterion], lease: Lease, *, last: bool
    ) -> Stopped | None:
        stopped = await self._flush(draft, lease, None)
        if stopped is not None:
            return stopped
        answers = await self._calls.look(draft.confirmed, criteria, lease)
        now = self._store.now()
        draft.add([verified(draft.confirmed, criteria, answers, now, last=last)], now)
        return None

    async def _verdict(
        self,
        state: IntentState,
        answers: Mapping[str, Answer | Preview],
        facts: dict[str, JSON],
        seal: IntentSeal | None = None,
    ) -> list[e.Event]:
        now = self._store.now()
        dry_run = state.submitted.mode is Mode.DRY_RUN
        later: list[e.Event] = []
        previews: dict[str, JSON] = {}
        for action, answer in answers.items():
            plan = state.action(action).plan
            if isinstance(answer, Preview):
                previews[action] = preview_json(answer)
                if plan.facts:
                    facts[action] = answer.facts
            elif isinstance(answer, Permanent) and dry_run:
                previews[action] = {"refused": answer.message}
            elif isinstance(answer, Permanent):
                return [refusal(state, state.action(action), "has no facts to show", answer.message)]
            elif isinstance(answer, NotSent):
                later.append(not_sent(state.action(action), Verb.PREVIEW, answer))
            elif isinstance(answer, AdapterError):
                later.append(deferred(state.action(action), Verb.PREVIEW, answer.message, now))
        if later:
            return later
        verdict = await self._judged(state, seal, facts, now)
        if dry_run and verdict.effect != "deny":
            return [verdict, e.IntentSimulated(previews=previews)]
        return [verdict]

    async def _judged(
        self, state: IntentState, seal: IntentSeal | None, facts: Mapping[str, JSON], now: datetime
    ) -> e.PolicyEvaluated:
        """Return the verdict of authority, which judges what was asked for; what it says is sealed when it is kept."""
        if seal is None:
            return await self._authority.verdict(state.submitted, facts, now)
        return await self._authority.verdict(seal.opened(state.submitted), seal.opened(facts), now)

    async def asleep(self, state: IntentState, until: datetime | None = None) -> Due | Parked:
        """Return how an intent waits until then, or for a person: while it is undecided no longer than its grant lives.

        Once that is dead, nothing is worth holding.
        """
        expiry = await self._authority.expiry(state.submitted.grant) if state.phase in UNDECIDED else None
        times = [at for at in (until, expiry) if at is not None]
        return Due(min(times)) if times else Parked()

    async def _leave(self, draft: _Draft, lease: Lease, work: Due | Parked | Finished) -> IntentState | Stopped:
        left = await self._let_go(draft, lease, work)
        if draft.seal is not None and isinstance(left, IntentState) and _is_gone(await self._seal_of(left), left):
            await self._store.reschedule(left.id, lease.epoch, Due())  # erased while it was ours, when nobody woke it
        return left

    async def _let_go(self, draft: _Draft, lease: Lease, work: Due | Parked | Finished) -> IntentState | Stopped:
        if draft.pending:
            return await self._flush(draft, lease, work) or draft.confirmed
        later = Parked() if isinstance(work, Finished) else work
        state = draft.confirmed
        grant = state.submitted.grant if state.phase in UNDECIDED else None
        if not await self._store.reschedule(state.id, lease.epoch, later, state.version, grant):
            return Lost("Another worker has taken the intent over, a person has spoken, or its grant has died.")
        return state

    async def _flush(self, draft: _Draft, lease: Lease, work: Work | None) -> Stopped | None:
        """Make everything kept durable, or find out that we have lost the intent or that authority forbids it."""
        if not draft.pending:
            return None
        state = draft.confirmed
        commit = _place(draft.pending, e.CommitDecided) if draft.seal is not None else None
        if commit is not None:
            draft.seal = await self._seal_of(state)  # it may have been erased while this was on its way
            if draft.seal is None or draft.seal.erased:
                draft.keep(commit, self._store.now())
                return Refused()
        verdict = await self._store.append(
            Append(
                stream=intent_stream(state.id),
                expected_version=state.version,
                events=tuple(draft.pending),
                guards=(EpochCurrent(lease.epoch), *guards_of(state, draft.pending)),
                work=work,
                restore=restore_of(state, draft.pending),
                notify=notable(draft.pending) if self._notify else None,
            )
        )
        if isinstance(verdict, GuardFailed) and not isinstance(verdict.guard, EpochCurrent):
            return await self._take_back(draft, verdict)
        if not isinstance(verdict, Appended):
            return Lost(f"The append was answered {type(verdict).__name__}.")
        confirmed = fold(verdict.recorded, draft.confirmed)
        if confirmed is None:
            raise InvariantViolation("An append of events left an intent without a state.")
        draft.confirmed = draft.imagined = confirmed
        draft.pending = []
        return None

    async def _seal_of(self, state: IntentState) -> IntentSeal | None:
        """Return the seal of an intent with personal data, with the keys that are left. Raises `Unavailable`."""
        if not is_personal(state.submitted):
            return None
        if self._seals is None:
            raise NotReady("This process cannot open personal data.")
        return await self._seals.of(state)

    async def _take_back(self, draft: _Draft, failed: GuardFailed) -> Refused:
        """Take back what the guard forbids: to be evaluated anew, or else decided against."""
        now = self._store.now()
        verdict = _place(draft.pending, e.PolicyEvaluated)
        if isinstance(failed.guard, PolicyActive):
            await self._authority.refresh_policy()
            if verdict is not None:
                draft.keep(verdict, now)
                return Refused()
        decision = _place(draft.pending, e.PolicyEvaluated, e.CommitDecided, e.ApprovalRequested)
        draft.keep(len(draft.pending) if decision is None else decision, now)
        draft.add([forbidden(draft.imagined, failed)], now)
        return Refused()


def _is_gone(seal: IntentSeal | None, state: IntentState) -> bool:
    """Tell whether an intent cannot be decided for, because whom it is about was erased."""
    return seal is not None and seal.erased and state.phase in UNDECIDED


def _place(events: Sequence[e.Event], *classes: type[e.Event]) -> int | None:
    """Return the place of the first event of one of these classes; None if there is none."""
    return next((place for place, event in enumerate(events) if isinstance(event, classes)), None)

"""Runs one intent: read, fold, decide, do, append; the one visible order of the whole system.

    state ─► decide ─► Record    kept until something must be durable
              ▲   ├──► Invoke    first everything kept is made durable, then the calls are made
              │   ├──► Evaluate  likewise, then previews and the verdict of authority
              │   └──► Wait, Rest  everything kept is made durable, and the intent leaves our hands
              └── events ◄── answers

Rules of this file:

1. Nothing leaves for the outside while an event that justifies it is not durable: every call is preceded by a flush.
2. The events of one round go down in one append, under the expected version and the epoch. If either has moved on,
   this runner has lost the intent: it forgets everything and tells no one; whoever moved it knows better.
3. It decides nothing. It keeps no state that the next runner would miss.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from adapters.contract import Preview
from authority.authority import Authority
from coordinator.calls import Calls, Lease
from coordinator.decide import Evaluate, Invocation, Invoke, Record, Rest, Wait, decide
from coordinator.outcome import Answer, deferred, event_of, preview_json
from ledger import events as e
from ledger.errors import AdapterError, InvariantViolation, Permanent
from ledger.ids import intent_stream
from ledger.intents import JSON, Mode, Verb
from ledger.phases import TERMINAL
from ledger.state import IntentState, evolve, fold
from ledger.store import Append, Appended, Due, EpochCurrent, Finished, Parked, Store, Work


class Lost(msgspec.Struct, frozen=True):
    """The append was not made, or is not known to be: somebody else moves the intent on, or the truth must be read."""

    reason: str


class _Draft(msgspec.Struct):
    """An intent in our hands: what is durable, what is not yet, and the state that both together would give."""

    confirmed: IntentState
    imagined: IntentState
    pending: list[e.Event]

    def add(self, events: Iterable[e.Event], now: datetime) -> None:
        """Keep events until the next flush."""
        for event in events:
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


class Runner:
    """Moves intents on until they end, must wait, or are lost."""

    def __init__(self, store: Store, calls: Calls, authority: Authority) -> None:
        """Work on the ledger of `store`."""
        self._store = store
        self._calls = calls
        self._authority = authority

    async def run(self, state: IntentState, lease: Lease) -> IntentState | Lost:
        """Move one intent on as far as it goes now; returns its durable state, and has given it out of hand."""
        draft = _Draft(state, state, [])
        while True:
            now = self._store.now()
            match decide(draft.imagined, now):
                case Record(events):
                    draft.add(events, now)
                    continue
                case Evaluate(preview):
                    lost = await self._evaluate(draft, preview, lease)
                case Invoke(calls):
                    lost = await self._invoke(draft, calls, lease)
                case Wait(until):
                    return await self._leave(draft, lease, Due(until))
                case Rest():
                    ended = draft.imagined.phase in TERMINAL
                    return await self._leave(draft, lease, Finished() if ended else Parked())
            if lost is not None:
                return lost

    async def _invoke(self, draft: _Draft, calls: Sequence[Invocation], lease: Lease) -> Lost | None:
        announced = [call.announce for call in calls if call.announce is not None]
        if announced:
            draft.add(announced, self._store.now())
        lost = await self._flush(draft, lease, None)
        if lost is not None:
            return lost
        answers = await self._calls.make(draft.confirmed, calls, lease)
        now = self._store.now()
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, Preview):
                raise InvariantViolation("Only a preview may be answered by a preview.")
            draft.add([event_of(call, draft.imagined.action(call.action), answer, now)], now)
        return None

    async def _evaluate(self, draft: _Draft, preview: Sequence[str], lease: Lease) -> Lost | None:
        lost = await self._flush(draft, lease, None)
        if lost is not None:
            return lost
        state = draft.confirmed
        calls = [Invocation(Verb.PREVIEW, action) for action in preview]
        answers = dict(zip(preview, await self._calls.make(state, calls, lease), strict=True))
        now = self._store.now()
        draft.add(self._verdict(state, answers, now), now)
        return None

    def _verdict(self, state: IntentState, answers: dict[str, Answer | Preview], now: datetime) -> list[e.Event]:
        dry_run = state.submitted.mode is Mode.DRY_RUN
        later: list[e.Event] = []
        previews: dict[str, JSON] = {}
        facts: dict[str, JSON] = {}
        for action, answer in answers.items():
            plan = state.action(action).plan
            if isinstance(answer, Preview):
                previews[action] = preview_json(answer)
                if plan.facts:
                    facts[action] = answer.facts
            elif isinstance(answer, Permanent) and dry_run:
                previews[action] = {"refused": answer.message}
            elif isinstance(answer, Permanent):
                return [
                    e.AbortDecided(cause="refused", reason=f"{plan.operation} has no facts to show: {answer.message}")
                ]
            elif isinstance(answer, AdapterError):
                later.append(deferred(state.action(action), Verb.PREVIEW, answer.message, now))
        if later:
            return later
        verdict = self._authority.evaluate(state.submitted, facts)
        if dry_run and verdict.effect != "deny":
            return [verdict, e.IntentSimulated(previews=previews)]
        return [verdict]

    async def _leave(self, draft: _Draft, lease: Lease, work: Due | Parked | Finished) -> IntentState | Lost:
        if draft.pending:
            return await self._flush(draft, lease, work) or draft.confirmed
        later = Parked() if isinstance(work, Finished) else work
        state = draft.confirmed
        if not await self._store.reschedule(state.id, lease.epoch, later, state.version):
            return Lost("Another worker has taken the intent over, or a person has spoken.")
        return state

    async def _flush(self, draft: _Draft, lease: Lease, work: Work | None) -> Lost | None:
        """Make everything kept durable, or find out that we have lost the intent."""
        if not draft.pending:
            return None
        verdict = await self._store.append(
            Append(
                stream=intent_stream(draft.confirmed.id),
                expected_version=draft.confirmed.version,
                events=tuple(draft.pending),
                guards=(EpochCurrent(lease.epoch),),
                work=work,
            )
        )
        if not isinstance(verdict, Appended):
            return Lost(f"The append was answered {type(verdict).__name__}.")
        confirmed = fold(verdict.recorded, draft.confirmed)
        if confirmed is None:
            raise InvariantViolation("An append of events left an intent without a state.")
        draft.confirmed = draft.imagined = confirmed
        draft.pending = []
        return None

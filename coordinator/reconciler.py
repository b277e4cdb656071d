"""Asks the outside whether it still agrees with the ledger, and puts on record where it does not.

    list what the ledger has done in a window ─► ask about each intent, so many calls a second ─► record what changed

It never changes anything outside: it inquires and previews (`coordinator/agreement.py` says what, and what an answer
means), through the same places and circuits as every other call. What is recorded stands in a stream of its own for
each intent: a divergence once when it is found, and once when it is gone, whoever looks and however often.

What a preview shows may be the work of an intent that came while we looked. So such a difference is only a suspicion,
until the views have come as far as the ledger was after the look and know of no other intent that touched the thing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

import msgspec
import structlog

from adapters.contract import Preview
from adapters.registry import Registry
from authority.record import record
from coordinator.agreement import (
    AT_REST,
    Inquiry,
    Look,
    Observation,
    Question,
    Recheck,
    invocation,
    is_over,
    names,
    observations,
    questions,
)
from coordinator.calls import Calls, Lease
from coordinator.outcome import Answer
from coordinator.touches import Touches
from ledger import bounds
from ledger import events as e
from ledger.divergences import Divergences, Name, standing
from ledger.ids import intent_stream, reconciliation_stream
from ledger.progress import Progress, unseen
from ledger.state import IntentState, fold
from ledger.store import Append, Appended, Store

log = structlog.get_logger(__name__)

Changed: TypeAlias = Callable[[datetime], AsyncIterator[Sequence[IntentState]]]
"""Yields intents that acted, or ended, since a time, the last one first, at most RECONCILE_INTENTS of them; complete
up to where the ledger was when it was called."""

_TRIES: Final = 3  # of recording, against another process that looks at the same intent
_TOGETHER: Final = 100  # intents looked at before their suspicions are settled


class Passed(msgspec.Struct):
    """What came of asking, once."""

    intents: int = 0  # asked about
    calls: int = 0
    agreed: int = 0  # aspects
    diverged: int = 0  # aspects, known before or not
    untold: int = 0  # aspects that could not be asked about, or were not answered
    found: list[e.DivergenceFound] = []
    gone: list[e.DivergenceGone] = []
    stands: dict[str, Divergences] = {}  # after it, by intent

    @property
    def standing(self) -> list[e.DivergenceFound]:
        """Return the divergences that stand after it, of the intents that were looked at."""
        return [found for those in self.stands.values() for found in those.values()]

    def count(self, observation: Observation) -> None:
        """Take note of what one answer said."""
        self.agreed += observation.verdict == "agrees"
        self.diverged += observation.verdict == "diverges"
        self.untold += observation.verdict == "untold"


class _Suspicion(msgspec.Struct, frozen=True):
    state: IntentState
    question: Look | Recheck
    observation: Observation


class Reconciler:
    """One process's reconciliation of one ledger with the outside."""

    def __init__(self, store: Store, registry: Registry, calls: Calls, changed: Changed) -> None:
        """Ask through `calls`, about what `changed` finds."""
        self._store = store
        self._registry = registry
        self._calls = calls
        self._changed = changed
        self._next_call = 0.0

    async def run(
        self,
        since: datetime,
        calls_per_second: float,
        diverging: Iterable[str] = (),
        progress: Progress = unseen,
    ) -> Passed:
        """Ask once about all that came to rest since a time, and about the intents that are known to diverge.

        Raises `Unavailable`; what was recorded by then stays recorded.
        """
        passed = Passed()
        began = self._store.now()
        older = [state for intent in diverging if (state := await self._state(intent)) is not None]
        reach = min([since, *(state.submitted_at for state in older)])
        touches, wanted = Touches(), {state.id: None for state in older}
        seen = 0
        async for states in self._changed(reach):
            for state in states:
                touches.add(state)
                if state.phase in AT_REST and state.updated_at >= since:
                    wanted[state.id] = None
            seen += len(states)
            if seen >= bounds.RECONCILE_INTENTS:
                reach = states[-1].updated_at
        log.info("reconciliation_began", ledger=self._store.ledger, intents=len(wanted))
        intents = list(wanted)
        for start in range(0, len(intents), _TOGETHER):
            suspicions: list[_Suspicion] = []
            for place, intent in enumerate(intents[start : start + _TOGETHER], start + 1):
                suspicions += await self._ask(intent, touches, reach, calls_per_second, passed)
                progress(place, len(intents))
            if suspicions:
                await self._settle(suspicions, began, passed)
        log.info(
            "reconciliation_ended",
            ledger=self._store.ledger,
            calls=passed.calls,
            found=len(passed.found),
            gone=len(passed.gone),
            standing=len(passed.standing),
        )
        return passed

    async def _ask(
        self, intent: str, touches: Touches, reach: datetime, calls_per_second: float, passed: Passed
    ) -> Sequence[_Suspicion]:
        """Ask about one intent and record what is certain; return what is only suspected."""
        state = await self._state(intent)
        if state is None:
            return []
        possible = questions(state, self._registry.operations, self._store.now())
        asked = [one for one in possible if isinstance(one, Inquiry) or not _overtaken(state, one, touches, reach)]
        answers = await self._answers(state, asked, calls_per_second)
        passed.intents += bool(asked)
        passed.calls += len(asked)
        certain: list[Observation] = []
        suspicions: list[_Suspicion] = []
        for question, answer in zip(asked, answers, strict=True):
            for observation in observations(state, question, answer):
                passed.count(observation)
                if observation.verdict == "diverges" and not isinstance(question, Inquiry):
                    suspicions.append(_Suspicion(state, question, observation))
                else:
                    certain.append(observation)
        overtaken = {name for question in possible if question not in asked for name in names(question)}
        await self._record(state, certain, passed, overtaken)
        return suspicions

    async def _answers(
        self, state: IntentState, asked: Sequence[Question], calls_per_second: float
    ) -> Sequence[Answer | Preview]:
        """Ask, never more calls a second than may be; the calls of one kind about one intent leave together."""
        answers: dict[int, Answer | Preview] = {}
        for kind in (Inquiry, Look, Recheck):
            places = [place for place, one in enumerate(asked) if isinstance(one, kind)]
            if not places:
                continue
            await self._pace(len(places), calls_per_second)
            lease = Lease(state.id, 0, self._store.now() + timedelta(seconds=bounds.RECONCILE_CALL_SECONDS))
            those = [asked[place] for place in places]
            heard: Sequence[Answer | Preview]
            if kind is Recheck:
                heard = await self._calls.look(state, [q.criterion for q in those if isinstance(q, Recheck)], lease)
            else:
                sent = [invocation(q) for q in those if not isinstance(q, Recheck)]
                heard = await self._calls.make(state, sent, lease)
            answers |= zip(places, heard, strict=True)
        return [answers[place] for place in range(len(asked))]

    async def _pace(self, calls: int, calls_per_second: float) -> None:
        now = asyncio.get_running_loop().time()
        due = max(self._next_call, now)
        self._next_call = due + calls / calls_per_second
        await asyncio.sleep(due - now)

    async def _settle(self, suspicions: Sequence[_Suspicion], began: datetime, passed: Passed) -> None:
        """Record those suspicions that no other intent explains which has moved since we began."""
        touches = Touches()
        async for states in self._changed(began):
            for state in states:
                touches.add(state)
        for one in suspicions:
            if _toucher(one.state, one.question, touches) is None:
                await self._record(one.state, [one.observation], passed)

    # ── the record ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _record(
        self, state: IntentState, said: Sequence[Observation], passed: Passed, overtaken: Collection[Name] = ()
    ) -> None:
        """Append what is new: divergences that did not stand, and the end of those that did."""
        for _ in range(_TRIES):
            stands, version = await self._standing(state.id)
            if stands:
                passed.stands[state.id] = stands
            events = list(_news(state, said, stands, overtaken))
            seal = await self._calls.seal(state) if events else None
            if seal is not None:
                events = [seal.sealed(event) for event in events]
            current = await self._state(state.id) if events else None
            if current is None or current.version != state.version:
                return  # nothing new; or the intent has moved since, and is asked about another time
            append = Append(stream=reconciliation_stream(state.id), expected_version=version, events=tuple(events))
            verdict = await record(self._store, append, "a divergence was recorded")
            if isinstance(verdict, Appended):
                passed.stands[state.id] = standing(verdict.recorded, stands)
                passed.found += [event for event in events if isinstance(event, e.DivergenceFound)]
                passed.gone += [event for event in events if isinstance(event, e.DivergenceGone)]
                return

    async def _state(self, intent: str) -> IntentState | None:
        return fold(await self._store.read(intent_stream(intent)))

    async def _standing(self, intent: str) -> tuple[Divergences, int]:
        recorded = await self._store.read(reconciliation_stream(intent))
        return standing(recorded), len(recorded)


def _overtaken(state: IntentState, question: Look | Recheck, touches: Touches, reach: datetime) -> bool:
    """Tell whether another action of the ledger may have had the last word about what would be looked at."""
    return state.submitted_at < reach or _toucher(state, question, touches) is not None


def _toucher(state: IntentState, question: Look | Recheck, touches: Touches) -> str | None:
    match question:
        case Look(action=action, thing=thing):
            return touches.since(state, action, state.action(action).plan.adapter, thing)
        case Recheck(criterion=criterion, thing=thing):
            return touches.since(state, None, criterion.verify.partition(".")[0], thing)


def _news(
    state: IntentState, said: Sequence[Observation], stands: Divergences, overtaken: Collection[Name]
) -> Iterator[e.DivergenceFound | e.DivergenceGone]:
    """Yield the events by which what is said now differs from what stands."""
    for one in said:
        name = (one.action, one.aspect)
        if one.verdict == "diverges" and name not in stands:
            yield _found(state, one)
        elif one.verdict == "agrees" and name in stands:
            yield _gone(state, name, "agrees", one.reason)
    told = {(one.action, one.aspect) for one in said}
    for name in stands:
        if name not in told and (name in overtaken or is_over(state, name)):
            yield _gone(state, name, "overtaken", "The ledger itself has since changed the same thing, or undone it.")


def _found(state: IntentState, observation: Observation) -> e.DivergenceFound:
    submitted = state.submitted
    plans = [action.plan for action in state.actions if observation.action in {None, action.plan.id}]
    return e.DivergenceFound(
        intent=state.id,
        action=observation.action,
        aspect=observation.aspect,
        operation=observation.operation,
        expected=observation.expected,
        found=observation.found,
        reason=observation.reason,
        summary=", ".join(plan.summary for plan in plans),
        agent=submitted.agent,
        task=submitted.task,
        commissioned_by=submitted.commissioned_by,
        grant=submitted.grant,
        custody=submitted.custody,
        intent_version=state.version,
    )


def _gone(state: IntentState, name: Name, cause: Literal["agrees", "overtaken"], reason: str) -> e.DivergenceGone:
    action, aspect = name
    return e.DivergenceGone(intent=state.id, action=action, aspect=aspect, cause=cause, reason=reason)

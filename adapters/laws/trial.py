"""One trial: a sample, what is done with it, and what the outside system's records show before and after.

It begins with a look at the records, so that everything later is compared with that. Every answer of the adapter
passes `hear`, and what must be true of any answer is judged there: that the verb can have it, and law 12.
"""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from adapters.contract import Absent, Call, Prepared, Preview, Refused, Result, Standing
from adapters.laws.faults import Fault, Kind
from adapters.laws.record import Record, change, words
from adapters.laws.sampling import ReadTable, Sample, render, sample
from adapters.laws.worker import Answer, Ask, Died, Reply, Stopped, Worker
from ledger import bounds
from ledger.canonical import canonical
from ledger.errors import AdapterError, InDoubt, Permanent, Transient, Unavailable
from ledger.ids import action_key
from ledger.intents import JSON, Guarantee, Verb

if TYPE_CHECKING:
    from adapters.laws.bench import Bench

_PATIENCE: Final = 40  # looks until an outside system has shown what it must show, or has come to rest
_LITTLE_PATIENCE: Final = 4
_PAUSE_SECONDS: Final = 0.025
_LAST_EPOCH: Final = 10

Heard = Reply | Stopped | Died


class CannotTry(Exception):
    """A trial could not come to the point where it shows something."""


class Over(Exception):
    """What a trial found makes it senseless to go on with it."""


class Trial:
    """One sample, what is done with it, and what the records show."""

    def __init__(self, bench: "Bench", number: int) -> None:
        """Prepare nothing yet; `begin` does."""
        self.bench = bench
        self._number = number
        self._mine: list[Worker] = []
        self._undecided: set[str] = set()  # keys that were prepared, and neither committed nor aborted
        self.sample: Sample
        self.before: Record

    @property
    def other_key(self) -> str:
        """The key of another action that wants the same."""
        return action_key("verify", self.sample.intent, f"{self.sample.action}-other", "commit")

    @property
    def refused(self) -> JSON:
        """What differs from the parameters where they are to be refused."""
        changed: JSON = render(self.bench.setup.table.refused or {}, self.sample.values)
        return changed

    def begin(self) -> None:
        """Arrange what is needed, and look."""
        self.sample = sample(self.bench.setup, self._number, self._arrange())
        self.before = self.look()

    def end(self) -> None:
        """Let go of what may still be held, and of this trial's own workers."""
        for key in list(self._undecided):
            self.bench.second.ask(self._ask(Verb.ABORT, key=key, epoch=_LAST_EPOCH))
        for worker in self._mine:
            self.bench.dismiss(worker)

    def worker(self) -> Worker:
        """Hire a worker for this trial alone, which may be hurt."""
        hired = self.bench.worker()
        self._mine.append(hired)
        return hired

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────

    def ask(self, worker: Worker, verb: Verb, *, fault: Fault | None = None, **more: Any) -> Heard:
        """Have a call made and return what was heard of it; see `start`."""
        self.start(worker, verb, fault=fault, **more)
        return self.hear(worker, verb, fault)

    def start(self, worker: Worker, verb: Verb, **more: Any) -> None:
        """Have a call made, and do not wait for it; `more` is what `_ask` takes."""
        ask = self._ask(verb, **more)
        if verb is Verb.PREPARE and self.bench.atomic:
            self._undecided.add(ask.call.key)
        elif verb in {Verb.COMMIT, Verb.ABORT}:
            self._undecided.discard(ask.call.key)
        worker.begin(ask)

    def hear(self, worker: Worker, verb: Verb, fault: Fault | None = None) -> Heard:
        """Return what becomes of the call under way, judged as any answer is."""
        heard = worker.hear()
        if fault is not None and (not isinstance(heard, Reply) or heard.fired):
            self.bench.fired[fault.kind] += 1
        if isinstance(heard, Died) and (fault is None or fault.kind is not Kind.KILL):
            raise Unavailable(f"The worker that called {verb} ended by itself ({heard}). Nothing is proved.")
        if isinstance(heard, Reply):
            self._judge(verb, heard.answer)
        return heard

    def answer(self, worker: Worker, verb: Verb, **more: Any) -> Answer:
        """Have a call made without a fault and return its answer."""
        heard = self.ask(worker, verb, **more)
        if not isinstance(heard, Reply):
            raise CannotTry(f"{verb} gave no answer.")
        return heard.answer

    def persist(self, verb: Verb, *, worker: Worker | None = None, epoch: int = 2, **more: Any) -> Answer:
        """Repeat a call as the coordinator does, until it has an answer that is not a doubt or a not-now."""
        for _ in range(_PATIENCE):
            answer = self.answer(worker or self.bench.second, verb, epoch=epoch, **more)
            if not isinstance(answer, Transient | InDoubt):
                return answer
            time.sleep(_PAUSE_SECONDS)
        return answer

    def stopped(self, worker: Worker, verb: Verb, fault: Fault, **more: Any) -> bool:
        """Have a call made that stops the process; tell whether it did. Where it did not, there is nothing to see."""
        return isinstance(self.ask(worker, verb, fault=fault, **more), Stopped)

    def kill(self, worker: Worker) -> None:
        """End a worker of this trial (kill -9)."""
        self._mine.remove(worker)
        self.bench.dismiss(worker)

    def prepared(self, worker: Worker | None = None, **more: Any) -> Prepared:
        """Prepare, undisturbed; without that most trials come to nothing."""
        answer = self.persist(Verb.PREPARE, worker=worker, **{"epoch": 1, **more})
        if isinstance(answer, Prepared):
            return answer
        raise CannotTry(f"A prepare of params {self.sample.params} that should have been possible was {told(answer)}")

    def committed(self, worker: Worker | None = None) -> tuple[JSON | None, Result]:
        """Prepare and commit, undisturbed; return the receipt and the result."""
        receipt = self.prepared(worker).receipt
        answer = self.answer(worker or self.bench.second, Verb.COMMIT, receipt=receipt)
        if isinstance(answer, Result):
            return receipt, answer
        raise CannotTry(f"A commit that nothing disturbed was {told(answer)}")

    def _ask(
        self,
        verb: Verb,
        *,
        about: Verb = Verb.COMMIT,
        epoch: int = 1,
        key: str | None = None,
        receipt: JSON | None = None,
        result: JSON | None = None,
        fault: Fault | None = None,
        changed: Mapping[str, Any] | None = None,
    ) -> Ask:
        """Return a call of the action, under its own key or another; `about` is what an inquiry asks about."""
        spoken = about if verb is Verb.INQUIRE else verb
        usual = self.sample.undo_key if spoken is Verb.COMPENSATE else self.sample.key
        params = {**self.sample.params, **(changed or {})}
        call = self._call(spoken, self.bench.setup.operation, params, key or usual, epoch)
        return Ask(call, verb, receipt, result, fault)

    # ── the records ──────────────────────────────────────────────────────────────────────────────────────────────

    def look(self) -> Record:
        """Look at the records now. Raises `CannotTry` if they cannot be read."""
        table = self.bench.setup.table
        shows = self._read(table.shows or self.bench.setup.own_preview)
        counts, holds = (self._read(one) if one else {} for one in (table.counts, table.holds))
        return Record(shows, counts, holds)

    def find(self, law: int, sentence: str, **more: Any) -> None:
        """Keep an objection, with what the records show of the effect."""
        shown = words(change(self.before.effects, self.look().effects))
        self.bench.find(law, f"{sentence} The records show: {shown}.", **more)

    def effects(self, expected: int | None = None, since: Record | None = None) -> int | None:
        """Tell how many effects the records show: 0, 1, or None for something else; with patience for the expected."""
        start = (since or self.before).effects
        return self.patiently(lambda: self.bench.effect.times(change(start, self.look().effects)), expected or None)

    def holds(self, expected: int) -> int | None:
        """Tell how many holds the records show since this trial began, with patience for the expected number."""
        measured = self.bench.hold
        return self.patiently(lambda: measured.times(change(self.before.holds, self.look().holds)), expected)

    def patiently(self, count: Callable[[], int | None], expected: int | None) -> int | None:
        """Count again until it comes out as expected, or patience ends; None expects nothing, and counts once.

        With an operation that was found to break a law there is little patience left: it will not be kept anyway.
        """
        found = count()
        waits = found is not None and not self.bench.objections  # nonsense does not come to rest as something sensible
        patience = _PATIENCE if waits else _LITTLE_PATIENCE
        for _ in range(patience if expected is not None else 0):
            if found == expected:
                break
            time.sleep(_PAUSE_SECONDS)
            found = count()
        return found

    def _arrange(self) -> JSON:
        arrange = self.bench.setup.table.arrange
        if arrange is None:
            return {}
        values = {"n": self._number, "run": self.bench.setup.run}
        params, intent = render(arrange.params, values), f"arrange-{self.bench.setup.run}"
        action = f"{self.bench.setup.operation}-{self._number}"
        key = action_key("verify", intent, action, "commit")
        self.sample = Sample(intent, action, params, key, key, values)
        calls = [self._call(verb, arrange.operation, params, key, 1) for verb in (Verb.PREPARE, Verb.COMMIT)]
        vote = _replied(self.bench.witness.ask(Ask(calls[0], Verb.PREPARE)))
        if isinstance(vote, Prepared):
            done = _replied(self.bench.witness.ask(Ask(calls[1], Verb.COMMIT, vote.receipt)))
            if isinstance(done, Result):
                return done.data
            vote = done
        raise CannotTry(f"What was to be arranged by {arrange.operation} was {told(vote)}")

    def _read(self, table: ReadTable) -> JSON:
        params = render(table.params, self.sample.values)
        if table.read == self.bench.setup.operation:
            params = self.sample.params
        call = self._call(Verb.PREVIEW, table.read, params, self.sample.key, 1)
        for _ in range(_PATIENCE):
            answer = _replied(self.bench.witness.ask(Ask(call, Verb.PREVIEW)))
            if isinstance(answer, Preview):
                return {**(answer.before or {}), **answer.facts}
            if isinstance(answer, Permanent):
                return {}  # there is nothing to see
            time.sleep(_PAUSE_SECONDS)
        raise Unavailable(f"The outside system's record, {table.read}, cannot be read: {told(answer)}")

    def _call(self, verb: Verb, operation: str, params: JSON, key: str, epoch: int) -> Call:
        return Call(
            verb=verb,
            ledger="verify",
            intent=self.sample.intent,
            action=self.sample.action,
            operation=operation,
            params=params,
            key=key,
            epoch=epoch,
            deadline=self.bench.now() + timedelta(seconds=bounds.CALL_SECONDS),
            decision_position=1 if verb in {Verb.COMMIT, Verb.COMPENSATE} else None,
        )

    def _judge(self, verb: Verb, answer: Answer) -> None:
        """Judge what must be true of any answer of this verb."""
        if not isinstance(answer, (*_ANSWERS[verb], AdapterError)):
            self.bench.find(_LAW_OF.get(verb, 5), f"{verb} answered {type(answer).__name__}, which is no answer to it.")
            raise CannotTry(f"{verb} answered what nobody can understand.")
        said = answer.message if isinstance(answer, AdapterError) else answer
        try:
            kept = canonical([said])
        except (TypeError, ValueError) as error:
            self.bench.find(12, f"{verb} answered what is not JSON: {error}.")
            return
        if len(kept) > bounds.ANSWER_BYTES:
            self.bench.find(12, f"{verb} answered {len(kept)} bytes; at most {bounds.ANSWER_BYTES} are kept.")
        if any(secret in kept for secret in self.bench.secrets):
            self.bench.find(12, f"The answer to {verb} holds a credential of the operator's.")
        data = answer.data if isinstance(answer, Result) else {}
        for name in self.bench.operation.secret_fields:
            if name in data:
                self.bench.find(12, f"The result of {verb} holds {name}, which is listed in secret_fields.")


_LAW_OF: Final = {Verb.PREPARE: 1, Verb.ABORT: 6, Verb.INQUIRE: 9, Verb.PREVIEW: 11, Verb.COMPENSATE: 8}
_ANSWERS: Final[Mapping[Verb, tuple[Any, ...]]] = {
    Verb.PREVIEW: (Preview,),
    Verb.PREPARE: (Prepared, Refused),
    Verb.COMMIT: (Result,),
    Verb.ABORT: (type(None),),
    Verb.COMPENSATE: (Result,),
    Verb.INQUIRE: Standing.__args__,
}


def told(answer: Answer | Heard) -> str:
    """Say an answer in a few words, at the end of a sentence."""
    match answer:
        case Reply():
            return told(answer.answer)
        case Stopped() | Died():
            return "never answered."
        case Refused(reason):
            return f"refused: {reason}"
        case AdapterError():
            return f"answered {type(answer).__name__}: {answer.message}"
        case None:
            return "answered that it is aborted."
        case _:
            return f"answered {type(answer).__name__}."


def _replied(heard: Heard) -> Answer:
    if isinstance(heard, Reply):
        return heard.answer
    raise Unavailable("The worker that reads the outside system's records ended by itself. Nothing is proved.")


def may_send_again(trial: Trial, heard: Heard, standing: Answer) -> bool:
    """Tell whether the coordinator would send a call again after this answer and this standing."""
    if isinstance(heard, Reply) and isinstance(heard.answer, Transient):
        return True
    ended = isinstance(heard, Reply) and not isinstance(heard.answer, InDoubt)
    return not ended and isinstance(standing, Absent) and trial.bench.operation.guarantee is Guarantee.VERIFIABLE

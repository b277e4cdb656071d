"""Where an operation is tried: its workers, what was learned of it, and what was found.

A bench holds what is true for a whole verification: what one effect, one undo and one hold look like in the outside
system's records, by which steps each verb goes, how often each law was tried, and every objection.
"""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from adapters.contract import Operation
from adapters.laws.faults import Fault, Kind, Step, faults
from adapters.laws.record import Measure
from adapters.laws.sampling import Setup
from adapters.laws.trial import CannotTry, Over, Trial
from adapters.laws.verdict import Objection, objection
from adapters.laws.worker import Worker, hire
from ledger.intents import Guarantee, Undo, Verb

_NOTHING: Final = Measure({}, frozenset())


class Bench:
    """One operation under trial."""

    def __init__(
        self,
        setup: Setup,
        now: Callable[[], datetime],
        secrets: tuple[bytes, ...] = (),
        *,
        thorough: bool = False,
        only: frozenset[int] = frozenset(),
    ) -> None:
        """Try the operation of `setup`, by all laws or `only` some; `secrets` are what no answer may hold."""
        self.setup = setup
        self.operation: Operation = setup.registry.operations[setup.operation]
        self.secrets = secrets
        self.now = now
        self.only = only
        self.at_most = None if thorough else setup.table.at_most
        self.objections: list[Objection] = []
        self.notes: list[str] = []
        self.trials: Counter[int] = Counter()
        self.fired: Counter[Kind] = Counter()
        self.steps: dict[Verb, tuple[Step, ...]] = {}
        self.effect = self.undo = self.hold = _NOTHING
        self.tells = False  # whether its inquiry tells what happened
        self._number = 0
        self._workers: list[Worker] = []
        self.witness = self.worker()  # reads the records, and is given no faults
        self.second = self.worker()  # another process of the coordinator's, well

    @property
    def atomic(self) -> bool:
        """Whether prepare takes a hold."""
        return self.operation.guarantee is Guarantee.ATOMIC

    @property
    def recognises(self) -> bool:
        """Whether a repeated commit is promised to be harmless."""
        return self.operation.guarantee in {Guarantee.ATOMIC, Guarantee.IDEMPOTENT}

    @property
    def undoes(self) -> bool:
        """Whether there is a compensation."""
        return self.operation.undo is not Undo.NONE

    def worker(self) -> Worker:
        """Hire a worker; it is dismissed with the bench at the latest."""
        hired = hire(self.setup.registry)
        self._workers.append(hired)
        return hired

    def dismiss(self, worker: Worker) -> None:
        """Let a worker go."""
        self._workers.remove(worker)
        worker.dismiss()

    def close(self) -> None:
        """Let every worker go."""
        for worker in self._workers:
            worker.dismiss()
        self._workers.clear()

    def faults(self, verb: Verb, *kinds: Kind) -> list[Fault]:
        """Return the faults of these kinds for a call of a verb."""
        return list(faults(self.steps.get(verb, ()), kinds, self.at_most))

    def find(self, law: int, sentence: str, **more: Any) -> None:
        """Keep an objection."""
        self.objections.append(objection(law, sentence, **more))

    def run(self, laws: tuple[int, ...], experiment: Callable[..., object], *arguments: Any) -> None:
        """Make one trial of these laws. What could not be tried counts as untried, for the first of them."""
        if self.only and self.effect.seen and not self.only & set(laws):
            return
        self._number += 1
        trial = Trial(self, self._number)
        try:
            trial.begin()
            experiment(trial, *arguments)
        except CannotTry as error:
            self.find(laws[0], str(error), untried=True)
            return
        except Over:
            pass
        finally:
            trial.end()
        self.trials.update(laws)

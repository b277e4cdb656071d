"""Verifying an operation: every law, driven against the configured adapter and judged by the outside's own records.

    report = verify(setup, now=…, secrets=…)

It blocks, forks workers (`worker.py`) and calls nothing itself: the process that judges never opens an adapter. The
caller gives it the clock and the credentials to look for; what is tried and how stands in `sampling.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final
from urllib.parse import unquote, urlsplit

from adapters.answers import secrets_in
from adapters.laws.asking import try_asking
from adapters.laws.bench import Bench
from adapters.laws.committing import try_committing
from adapters.laws.faults import Kind
from adapters.laws.holding import try_holding
from adapters.laws.sampling import Setup
from adapters.laws.undisturbed import learn
from adapters.laws.undoing import try_undoing
from adapters.laws.verdict import Report, asked, earned, earned_undo, lines
from adapters.laws.voting import try_voting
from ledger.intents import Guarantee, Verb

_PARTS: Final = (try_voting, try_asking, try_committing, try_holding, try_undoing)


def verify(
    setup: Setup,
    *,
    now: Callable[[], datetime],
    secrets: Iterable[str] = (),
    thorough: bool = False,
    only: Iterable[int] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Drive every law against one operation, or `only` some; `thorough` tries faults at every step of a call.

    Raises `Unavailable` if nothing can be proved: the records cannot be read, or a worker hangs.
    """
    bench = Bench(setup, now, tuple(_parts_of(secrets)), thorough=thorough, only=frozenset(only))
    try:
        progress("undisturbed")
        if learn(bench):
            for part in _PARTS:
                progress(part.__name__.removeprefix("try_"))
                part(bench)
            if not bench.only:
                _expect_faults(bench)
    finally:
        bench.close()
    return _report(bench)


def _expect_faults(bench: Bench) -> None:
    """A run in which no call could be broken has shown nothing about broken calls."""
    if not bench.steps.get(Verb.COMMIT):
        bench.find(
            10,
            "No step of a commit could be seen on the network, so it could only be killed before and after: this "
            "adapter does not speak through Python's own sockets, or to nobody.",
            untried=True,
        )
    elif not (bench.fired[Kind.CUT] and bench.fired[Kind.KILL]):
        bench.find(10, "No fault happened where one was to happen.", untried=True)


def _report(bench: Bench) -> Report:
    operation, objections = bench.operation, bench.objections
    bench.trials[12] += sum(bench.trials.values())  # every answer is judged by it
    table = lines(operation.guarantee, operation.undo, bench.trials, objections)
    costly = [one for one in objections if asked(one.law, operation.guarantee, operation.undo)]
    guarantee = earned(operation.guarantee, costly)
    if guarantee is Guarantee.VERIFIABLE and not bench.tells:
        guarantee = Guarantee.BLIND
    if not bench.effect.seen:
        guarantee = None
    return Report(
        operation=operation.name,
        declared=operation.guarantee,
        earned=guarantee,
        declared_undo=operation.undo,
        earned_undo=earned_undo(operation.undo, objections),
        laws=table,
        faults={str(kind): bench.fired[kind] for kind in Kind},
        notes=tuple(dict.fromkeys(bench.notes)),
        only=tuple(sorted(bench.only)),
    )


def _parts_of(secrets: Iterable[str]) -> Iterator[bytes]:
    """Yield what no answer may hold: each secret, its part behind a scheme, and of an address its password."""
    for secret in secrets:
        password = urlsplit(secret).password if "://" in secret else None
        yield from secrets_in([unquote(password) if password else secret])


class Watched(Mapping[str, str]):
    """An environment that remembers what of it was asked for: that is what was used as a secret."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Watch who asks this one."""
        self._environment = environment
        self.used: list[str] = []

    def __getitem__(self, name: str) -> str:
        self.used.append(self._environment[name])
        return self._environment[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environment)

    def __len__(self) -> int:
        return len(self._environment)

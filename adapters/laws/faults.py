"""The faults that a call can be given, and the places where they wait.

A call's *steps* are what it does on the network, in order: it connects, sends, receives. A fault waits at one of them,
at BEFORE (the process is asked for the call and has done nothing yet) or at AFTER (the call has its answer, which
nobody has heard yet). So "fail the first step, then the second, and so on" walks through every moment of a call.

    cut     connect, send: the network is gone before anything leaves. receive: the answer is there, and is lost
    kill    kill -9 of the process, before it connects or sends, or with the answer in its hands
    stop    SIGSTOP there, and SIGCONT when others have done what they liked
    sleep   the same, and it wakes with its deadline long past
    late    receive: the answer is there and comes only after every time-out
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec

BEFORE: Final = 0
AFTER: Final = -1


class Step(StrEnum):
    """What a call does on the network."""

    CONNECT = "connect"
    SEND = "send"
    RECEIVE = "receive"


class Kind(StrEnum):
    """What goes wrong."""

    CUT = "cut"
    KILL = "kill"
    STOP = "stop"
    SLEEP = "sleep"
    LATE = "late"


class Fault(msgspec.Struct, frozen=True):
    """One thing that goes wrong in one call. `at` counts steps from 1."""

    kind: Kind
    at: int
    what: Step | None = None  # the step that it expects there; for sentences

    def __str__(self) -> str:
        """Say it as part of a sentence: "was killed (-9) before it sent, at step 3"."""
        if self.at == BEFORE:
            where = "before it began"
        elif self.at == AFTER:
            where = "when it had its answer"
        else:
            where = f"{_WHERE[self.what]}, at step {self.at}" if self.what else f"at step {self.at}"
        return f"{_WORDS[self.kind]} {where}"


_WORDS: Final = {
    Kind.CUT: "lost its connection",
    Kind.KILL: "was killed (-9)",
    Kind.STOP: "was stopped (SIGSTOP)",
    Kind.SLEEP: "was stopped past its deadline (SIGSTOP)",
    Kind.LATE: "got no answer in time",
}
_WHERE: Final = {
    Step.CONNECT: "before it connected",
    Step.SEND: "before it sent",
    Step.RECEIVE: "when the answer was there",
}
_AT: Final = {  # where a kind of fault can wait
    Kind.CUT: frozenset(Step),
    Kind.KILL: frozenset(Step),
    Kind.STOP: frozenset({Step.CONNECT, Step.SEND}),
    Kind.SLEEP: frozenset({Step.SEND}),
    Kind.LATE: frozenset({Step.RECEIVE}),
}


def faults(steps: Sequence[Step], kinds: Sequence[Kind], at_most: int | None) -> Iterator[Fault]:
    """Yield each kind of fault at each step where it can wait, or at `at_most` of them, the ends always among them."""
    for kind in kinds:
        places = [Fault(kind, number, step) for number, step in enumerate(steps, 1) if step in _AT[kind]]
        if kind in {Kind.KILL, Kind.STOP}:
            places = [Fault(kind, BEFORE), *places]
        if kind is Kind.KILL:
            places = [*places, Fault(kind, AFTER)]
        yield from _spread(places, at_most)


def _spread(places: Sequence[Fault], at_most: int | None) -> Iterator[Fault]:
    """Take some of them, as far apart as they can be; the last steps are where things become final."""
    if at_most is None or len(places) <= at_most:
        yield from places
        return
    last = len(places) - 1
    yield from (places[round(last * number / (at_most - 1))] for number in range(at_most))

"""What a verification comes to: each law kept or broken, and the guarantee that was earned. Pure.

The laws are those of `adapters/contract.py`, by their numbers. What speaks against an operation is an `Objection`: the
law it breaks, in a sentence that says what was done and what the outside system's own records showed, and what that
costs.

What an objection costs is the weakest guarantee that can no longer be had: a second effect of a repeated commit costs
`idempotent` and with it `atomic`; a `Transient` after an effect costs `blind`, and so every guarantee there is. What
was earned is the strongest that nothing has cost, and never more than was declared: more was not tried. A law that
could not be tried is not kept, and costs what its breach would.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from ledger.intents import Guarantee, Undo

LAWS: Final = {
    1: "Prepare votes",
    2: "A hold survives",
    3: "Prepare can be repeated",
    4: "Nothing happens before commit",
    5: "Commit has one effect, repeated or not",
    6: "Abort always ends",
    7: "A stale epoch changes nothing",
    8: "Compensate undoes once",
    9: "Inquire tells the truth",
    10: "Errors mean what they say",
    11: "Preview only looks",
    12: "Nothing leaks",
}
_WEAKEST_FIRST: Final = (Guarantee.BLIND, Guarantee.VERIFIABLE, Guarantee.IDEMPOTENT, Guarantee.ATOMIC)
_COSTS: Final = {  # of a breach, where the objection does not say otherwise; the other laws cost no guarantee
    2: Guarantee.ATOMIC,
    3: Guarantee.ATOMIC,
    4: Guarantee.BLIND,
    5: Guarantee.IDEMPOTENT,
    6: Guarantee.ATOMIC,
    7: Guarantee.ATOMIC,
    9: Guarantee.VERIFIABLE,
    10: Guarantee.BLIND,
}
_HOLDS_ALONE: Final = frozenset({2, 3, 6, 7})


class Outcome(StrEnum):
    """What became of a law in a verification."""

    KEPT = "kept"
    BROKEN = "broken"
    UNTRIED = "untried"  # it should have been tried and could not be: nothing is known
    NOT_ASKED = "not asked"  # of an operation with this promise


_GOOD: Final = frozenset({Outcome.KEPT, Outcome.NOT_ASKED})


class Objection(msgspec.Struct, frozen=True):
    """What speaks against an operation. `untried`: nothing was broken, but nothing could be seen either."""

    law: int
    sentence: str
    costs: Guarantee | None = None
    undo: Undo | None = None  # the strongest undo that is left; None: it says nothing about undo
    untried: bool = False


class Law(msgspec.Struct, frozen=True):
    """One line of the table."""

    number: int
    name: str
    outcome: Outcome
    trials: int
    findings: tuple[str, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about one operation."""

    operation: str
    declared: Guarantee
    earned: Guarantee | None  # None: not even blind
    declared_undo: Undo
    earned_undo: Undo
    laws: tuple[Law, ...]
    faults: dict[str, int]  # how often each kind of fault fired
    notes: tuple[str, ...] = ()  # what a reader should know, and no law is about
    only: tuple[int, ...] = ()  # the laws that were tried, if not all: then nothing is earned yet

    @property
    def kept(self) -> bool:
        """Whether every law that was to be tried is kept, and everything that was declared is earned."""
        if self.only:
            return all(one.outcome in _GOOD for one in self.laws if one.number in self.only)
        promised = (self.earned, self.earned_undo) == (self.declared, self.declared_undo)
        return promised and all(one.outcome in _GOOD for one in self.laws)


def objection(
    law: int,
    sentence: str,
    *,
    costs: Guarantee | None = None,
    undo: Undo | None = None,
    untried: bool = False,
) -> Objection:
    """Return an objection with the usual cost of a breach of its law, or another; one about undo costs only that."""
    return Objection(law, sentence, costs or (_COSTS.get(law) if undo is None else None), undo, untried)


def asked(law: int, guarantee: Guarantee, undo: Undo) -> bool:
    """Tell whether a law asks something of an operation with this promise."""
    if law in _HOLDS_ALONE:
        return guarantee is Guarantee.ATOMIC
    return law != 8 or undo is not Undo.NONE


def earned(declared: Guarantee, objections: Iterable[Objection]) -> Guarantee | None:
    """Return the strongest guarantee, up to the declared one, that no objection has cost."""
    lost = {one.costs for one in objections}
    left: Guarantee | None = None
    for guarantee in _WEAKEST_FIRST[: _WEAKEST_FIRST.index(declared) + 1]:
        if guarantee in lost:
            break
        left = guarantee
    return left


def earned_undo(declared: Undo, objections: Iterable[Objection]) -> Undo:
    """Return the strongest undo, up to the declared one, that the objections leave."""
    weakest_first = (Undo.NONE, Undo.SEMANTIC, Undo.EXACT)
    left = [one.undo for one in objections if one.undo is not None]
    return min([declared, *left], key=weakest_first.index)


def lines(guarantee: Guarantee, undo: Undo, trials: dict[int, int], objections: Sequence[Objection]) -> tuple[Law, ...]:
    """Return the table: every law with what became of it. A law that was asked and never tried is untried."""
    return tuple(
        _line(number, trials.get(number, 0), [one for one in objections if one.law == number])
        if asked(number, guarantee, undo)
        else Law(number, name, Outcome.NOT_ASKED, 0)
        for number, name in LAWS.items()
    )


def _line(number: int, trials: int, objections: Sequence[Objection]) -> Law:
    if any(not one.untried for one in objections):
        outcome = Outcome.BROKEN
    else:
        outcome = Outcome.UNTRIED if objections or not trials else Outcome.KEPT
    return Law(number, LAWS[number], outcome, trials, tuple(dict.fromkeys(one.sentence for one in objections)))

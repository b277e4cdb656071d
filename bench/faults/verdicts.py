"""The judge: what the outside systems recorded against what the package says. Pure, and the same for everybody.

    | verdict | when |
    |---|---|
    | DOUBLED | an effect happened more than once, or was undone more than once |
    | LIED | a statement of the package is not what was recorded |
    | ATOMIC | all effects or none, nothing held, and the package says which |
    | HONEST-STUCK | the package says that it does not know, or asks a person |
    | HALF | some effects and not all, or something left held, and nobody is asked |
    | LOST | all effects or none, and the package does not know how it ended, asks nobody and does no more about it |

They are looked for in this order. A package that asks a person may be wrong about nothing that it does state.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from bench.faults.record import Found


class Verdict(StrEnum):
    """How a cell ended."""

    ATOMIC = "ATOMIC"
    HONEST_STUCK = "HONEST-STUCK"
    HALF = "HALF"
    LOST = "LOST"
    DOUBLED = "DOUBLED"
    LIED = "LIED"
    NOT_APPLICABLE = "n/a"


class State(StrEnum):
    """What a package says about the whole work."""

    DONE = "done"  # every effect is in the world
    NOTHING = "nothing"  # none is, or none is any more
    ASKS = "asks"  # it does not know, and says so: a person is asked, or an error names the doubt
    MOVING = "moving"  # it is (still) working on it, or believes that somebody is
    SILENT = "silent"  # it has never heard of it


AT_REST = frozenset({State.DONE, State.NOTHING, State.ASKS})


class Said(msgspec.Struct, frozen=True):
    """One statement: about the whole, and about single actions (by system) where it makes one."""

    state: State
    applied: Mapping[str, bool] = {}
    words: str = ""  # its own, for people


def verdict(recorded: Mapping[str, Found], said: Said, answers: Sequence[Said] = ()) -> tuple[Verdict, str]:
    """Judge a cell; `said` is the package's record in the end, `answers` what its client was told on the way."""
    what = _described(recorded)
    if any(one.effects > 1 or one.undone > 1 for one in recorded.values()):
        return Verdict.DOUBLED, f"{what}; it says {said.state}"
    for statement in (said, *answers):
        false = [name for name, applied in _claims(statement, recorded) if recorded[name].standing != int(applied)]
        if false:
            return Verdict.LIED, f"{what}; it says {statement.state}{_quoted(statement)}"
    if said.state is State.ASKS:
        return Verdict.HONEST_STUCK, f"{what}; it says{_quoted(said) or ' that it does not know'}"
    counts = {one.standing for one in recorded.values()}
    if len(counts) > 1 or any(one.held for one in recorded.values()):
        return Verdict.HALF, f"{what}; it says {said.state}{_quoted(said)}"
    if said.state in {State.DONE, State.NOTHING}:
        return Verdict.ATOMIC, f"{what}; it says {said.state}"
    return Verdict.LOST, f"{what}; it says {said.state}{_quoted(said)}"


def _claims(statement: Said, recorded: Mapping[str, Found]) -> list[tuple[str, bool]]:
    if statement.state in {State.DONE, State.NOTHING}:
        return [(name, statement.state is State.DONE) for name in recorded]
    return [(name, applied) for name, applied in statement.applied.items() if name in recorded]


def _described(recorded: Mapping[str, Found]) -> str:
    return ", ".join(
        f"{name}: {one.effects} effect{'s' * (one.effects != 1)}"
        + (f", {one.undone} undone" if one.undone else "")
        + (f", {one.held} held" if one.held else "")
        for name, one in recorded.items()
    )


def _quoted(statement: Said) -> str:
    return f" (“{statement.words[:200]}”)" if statement.words else ""

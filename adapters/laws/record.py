"""What an outside system's own records show, and how much of an effect two looks at them tell. Pure.

Nobody tells the verification what one effect looks like. It finds out: an action is performed once, undisturbed, and
what changes in the records is what one effect is. It does that twice, so that what is different each time (a number
that was given out, a time) is told from what is the same (a sum that grows by 100). From then on two looks, before and
after, say how many effects there were: none, one, or something else.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ledger.canonical import canonical
from ledger.intents import JSON

Change = dict[str, Any]  # by path: by how much a number or a list grew, or what stands there now

_SHOWN: Final = 3  # of the differences in a sentence
_VALUE_LENGTH: Final = 60


class Record(msgspec.Struct, frozen=True):
    """One look: what is shown, what is counted, what is held."""

    shows: JSON
    counts: JSON
    holds: JSON

    @property
    def effects(self) -> JSON:
        """What effects can be seen in."""
        return {"shows": self.shows, "counts": self.counts}


class Measure(msgspec.Struct, frozen=True):
    """What once looks like: what changes in the same way every time, and what changes somehow."""

    stable: Change
    somehow: frozenset[str]

    @property
    def seen(self) -> bool:
        """Whether once can be seen at all."""
        return bool(self.stable or self.somehow)

    def matches(self, change: Change) -> bool:
        """Tell whether a change is that of once."""
        expected = self.stable.keys() | self.somehow
        return change.keys() == expected and all(same(change[path], value) for path, value in self.stable.items())

    def times(self, change: Change) -> int | None:
        """Tell how often: 0, 1, or None for something else."""
        if not change:
            return 0
        return 1 if self.matches(change) else None


def change(before: JSON, after: JSON) -> Change:
    """Return what is different, path by path."""
    return dict(_changes("", before, after))


def measure(first: Change, second: Change) -> Measure:
    """Learn what once looks like from two changes that were made alike."""
    stable = {path: value for path, value in first.items() if path in second and same(second[path], value)}
    return Measure(stable, frozenset((first.keys() | second.keys()) - stable.keys()))


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are the same."""
    return canonical([one]) == canonical([other])


def words(found: Change) -> str:
    """Say a change in a few words."""
    if not found:
        return "nothing"
    said = [f"{path or '/'} {_said(value)}" for path, value in sorted(found.items())]
    more = f" and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
    return ", ".join(said[:_SHOWN]) + more


def _said(value: Any) -> str:
    if isinstance(value, dict) and value.keys() == {"by"}:
        return f"{value['by']:+}"
    text = canonical([value])[1:-1].decode()
    return "is " + (text if len(text) <= _VALUE_LENGTH else f"{text[:_VALUE_LENGTH]}…")


def _changes(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _changes(f"{path}/{key}", before.get(key), after.get(key))
    elif same(before, after):
        return
    else:
        grown = _grown(before, after)
        yield path, {"by": grown} if grown else after


def _grown(before: Any, after: Any) -> Any:
    """Return by how much a number or a list grew; what is not there yet counts as nothing."""
    sizes = [_size(value) for value in (before, after)]
    if before is None:
        sizes[0] = 0
    return None if None in sizes else sizes[1] - sizes[0]  # type: ignore[operator]


def _size(value: Any) -> int | float | None:
    if isinstance(value, list):
        return len(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None

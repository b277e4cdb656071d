"""What a projection is: a value that names its table and its rows, and a pure function that folds events into them.

Rules of this file and of every projection:

1. `apply(rows, recorded)` gets all the rows of *one subject* (an intent, or whatever else has a stream), in key order,
   and one event of that subject's stream. It answers with all the rows as they are after it. The same rows and the same
   event give the same answer, always: no clock, no chance, no configuration, no look at another subject.
2. An event that cannot stand where it stands raises `Corrupt` (or a child of it). Nothing is skipped because it looks
   odd: a view that guesses is worse than a view that stops.
3. A row holds only what PostgreSQL compares byte for byte: texts, integers, booleans, times and arrays of texts.
4. Whoever changes what `apply` answers raises `revision`: rows of an older one are rebuilt before they are followed.

A projection does not know how it is stored (`projections/table.py`), followed or rebuilt.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from ledger.errors import IllegalTransition
from ledger.events import (
    EVENT_TYPES,
    ActRefused,
    AnomalyCleared,
    AnomalyDetected,
    DivergenceFound,
    DivergenceGone,
    Event,
    GrantIssued,
    GrantResumed,
    GrantRevoked,
    GrantSuspended,
    IntentSubmitted,
    PolicySetActivated,
    PolicySetAdded,
    Recorded,
    SubjectErased,
    TaskDefined,
    TokenRefused,
)
from ledger.ids import intent_of
from ledger.intents import Value
from ledger.phases import Phase
from ledger.transitions import PHASES

EVENTS_OF_AUTHORITY: Final[frozenset[type[Event]]] = frozenset(
    {
        GrantIssued,
        GrantRevoked,
        GrantSuspended,
        GrantResumed,
        TokenRefused,
        ActRefused,
        PolicySetAdded,
        PolicySetActivated,
        TaskDefined,
        SubjectErased,
    }
)
EVENTS_OF_BEHAVIOUR: Final[frozenset[type[Event]]] = frozenset({AnomalyDetected, AnomalyCleared})
EVENTS_OF_RECONCILIATION: Final[frozenset[type[Event]]] = frozenset({DivergenceFound, DivergenceGone})
EVERY_EVENT_OF_AN_INTENT: Final[frozenset[type[Event]]] = frozenset(
    {IntentSubmitted, *(EVENT_TYPES[name.partition(":")[0]] for _, name in PHASES)}
)


class Row(Value, frozen=True):
    """One row of a view. The ledger is not in it: a row never leaves its ledger."""


R = TypeVar("R", bound=Row)


def always(_row: Row) -> bool:
    """Keep every row."""
    return True


class Across(msgspec.Struct, Generic[R], frozen=True):
    """How a view folds events that each touch several subjects (`projections/across.py`). Pure, like `apply`.

    What `opened` makes of the rows of a subject is changed by `apply`, which must not raise, and turned back by
    `closed`. `touches` raises `Corrupt` for an event that cannot stand where it stands.
    """

    needs_past: Callable[[Event], bool]  # an event is understood only with the earlier ones of its stream,
    past_types: frozenset[str]  # of which these are looked at
    touches: Callable[[Recorded, Sequence[Recorded]], tuple[str, ...]]
    opened: Callable[[Sequence[R]], Any]
    apply: Callable[[Mapping[str, Any], Recorded, Sequence[Recorded]], None]
    closed: Callable[[str, Any], tuple[R, ...]]


def _unused(_rows: tuple[R, ...], recorded: Recorded) -> tuple[R, ...]:
    raise IllegalTransition(f"{recorded.type} is folded across subjects only.")


class Projection(msgspec.Struct, Generic[R], frozen=True):
    """A view of the ledger. `name` is also the name of its table; `key` begins with the subject."""

    name: str
    row: type[R]
    key: tuple[str, ...]
    reads: frozenset[type[Event]]  # others go by unread
    apply: Callable[[tuple[R, ...], Recorded], tuple[R, ...]] = _unused
    revision: int = 1  # of what `apply` answers
    subject: Callable[[str], str | None] = intent_of  # whose stream it is, as the key names it; None: not of this view
    across: Across[R] | None = None  # instead of `apply` and `subject`
    stored: Callable[[R], bool] = always  # rows that are not stored are folded anew from the stream when needed

    @property
    def forgets(self) -> bool:
        """Tell whether a subject may have no stored rows although it has events."""
        return self.stored is not always


def next_phase(phase: Phase, name: str, recorded: Recorded) -> Phase:
    """Return where the event of this name leads an intent that stands in `phase`. Raises `IllegalTransition`."""
    following = PHASES.get((phase, name))
    if following is None:
        raise IllegalTransition(f"{name} in stream {recorded.stream} is not allowed while the intent is {phase}.")
    return following

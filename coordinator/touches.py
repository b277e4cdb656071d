"""Which actions of the ledger may have changed the same thing outside. Pure.

A thing is named by values: those of the parameters that an operation says its preview is about. Another action at the
same adapter may have touched it if all these values are among its own parameters, whatever they are called there. That
is a little more than the truth, and so nothing is called a divergence that the ledger itself may have done; what is
held back by it is compared again once the last of these actions is the only one.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from coordinator.agreement import scalars
from ledger.phases import Phase
from ledger.state import IntentState

_ACTED = frozenset({Phase.COMMITTED, Phase.COMPENSATED, Phase.MIXED})
_ACTING = frozenset({Phase.COMMITTING, Phase.COMPENSATING})


class _Touch(msgspec.Struct, frozen=True):
    intent: str
    action: str
    until: datetime | None  # it changed nothing later; None: it may at any moment


class Touches:
    """What the actions of a window of time were about, by adapter and value."""

    def __init__(self) -> None:
        """Know of nothing."""
        self._touches: list[_Touch] = []
        self._by_value: dict[tuple[str, bytes], set[int]] = {}

    def add(self, state: IntentState) -> None:
        """Take note of what an intent has changed, or is changing; what has had no effect is left out."""
        if state.phase not in _ACTED and state.phase not in _ACTING:
            return
        until = state.updated_at if state.phase in _ACTED else None
        for action in state.actions:
            number = len(self._touches)
            self._touches.append(_Touch(state.id, action.plan.id, until))
            for value in scalars(action.plan.params):
                self._by_value.setdefault((action.plan.adapter, value), set()).add(number)

    def since(self, state: IntentState, action: str | None, adapter: str, thing: Sequence[bytes]) -> str | None:
        """Return an intent that may have changed a thing since this one was submitted, or changes it now.

        `action` is the one that is asked about: it does not count itself, and where it is None no action of its intent
        does.
        """
        found: set[int] | None = None
        for value in thing:
            those = self._by_value.get((adapter, value), set())
            found = those if found is None else found & those
        for number in found or ():
            touch = self._touches[number]
            own = touch.intent == state.id
            if own and action in {None, touch.action}:
                continue
            if own or touch.until is None or touch.until >= state.submitted_at:
                return touch.intent
        return None

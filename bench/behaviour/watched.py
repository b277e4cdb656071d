"""What the view of behaviour finds in a sequence of events, without a database."""

from collections.abc import Iterable

import msgspec

from ledger.events import Recorded
from projections.behaviour.habits import Finding
from projections.behaviour.view import Habits, apply, touches


class Seen(msgspec.Struct, frozen=True):
    """A finding, and whose it is."""

    subject: str
    operation: str
    finding: Finding


class Watched:
    """The habits of everybody, and what was found."""

    def __init__(self) -> None:
        """Know nobody yet."""
        self.habits: dict[str, Habits] = {}
        self.seen: list[Seen] = []
        self.events = 0

    def take(self, events: Iterable[Recorded]) -> None:
        """Fold events, in order."""
        for recorded in events:
            subjects = touches(recorded, ())
            for subject in subjects:
                self.habits.setdefault(subject, {})
            self.events += 1
            apply(self.habits, recorded, ())
            for subject in subjects:
                for operation, habit in self.habits[subject].items():
                    if habit.findings and habit.findings[-1].at == recorded.at:
                        self.seen += [Seen(subject, operation, one) for one in habit.findings if one.at == recorded.at]

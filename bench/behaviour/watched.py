"""What the view of behaviour finds in a sequence of events, without a database."""

from collections.abc import Iterable, Sequence

import msgspec

from ledger.events import Recorded
from projections.behaviour.habits import Finding
from projections.behaviour.page import shown_at
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
        """Fold events, in order, none of which needs the earlier ones of its stream."""
        for recorded in events:
            self.see(recorded)

    def see(self, recorded: Recorded, past: Sequence[Recorded] = ()) -> None:
        """Fold an event, given the earlier ones of its stream."""
        subjects = touches(recorded, past)
        for subject in subjects:
            self.habits.setdefault(subject, {})
        self.events += 1
        apply(self.habits, recorded, past)
        for subject in subjects:
            for operation, habit in self.habits[subject].items():
                if habit.findings and shown_at(habit.findings[-1]) == recorded.position:
                    new = [one for one in habit.findings if shown_at(one) == recorded.position]
                    self.seen += [Seen(subject, operation, one) for one in new]

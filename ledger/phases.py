"""Where an intent stands, and where each of its actions stands: the words of the tables in `ledger/transitions.py`.

The step names are finer than those that the outside contract shows (`Step.shown`): what is in doubt about a prepare is
another thing than what is in doubt about a commit, and only the tables should know the difference.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """Where an intent stands."""

    SUBMITTED = "submitted"
    PREPARING = "preparing"
    AWAITING_APPROVAL = "awaiting_approval"
    COMMITTING = "committing"
    ABORTING = "aborting"
    COMPENSATING = "compensating"
    COMMITTED = "committed"
    ABORTED = "aborted"
    COMPENSATED = "compensated"
    MIXED = "mixed"
    DENIED = "denied"
    SIMULATED = "simulated"


TERMINAL: Final = frozenset(
    {Phase.COMMITTED, Phase.ABORTED, Phase.COMPENSATED, Phase.MIXED, Phase.DENIED, Phase.SIMULATED}
)
UNDECIDED: Final = frozenset({Phase.SUBMITTED, Phase.PREPARING, Phase.AWAITING_APPROVAL})


class Step(StrEnum):
    """Where an action stands."""

    PLANNED = "planned"
    PREPARE_IN_DOUBT = "prepare_in_doubt"
    PREPARED = "prepared"
    RELEASE_ATTEMPTED = "release_attempted"  # the hold is being let go while people look
    REFUSED = "refused"  # but an earlier prepare, sent by a worker that crashed, may still arrive and take a hold
    REFUSED_FOR_GOOD = "refused_for_good"  # a tombstone keeps it out
    COMMIT_ATTEMPTED = "commit_attempted"
    COMMIT_IN_DOUBT = "commit_in_doubt"
    DONE = "done"
    FAILED = "failed"
    ABORTED = "aborted"
    ABORT_STUCK = "abort_stuck"
    UNDO_ATTEMPTED = "undo_attempted"
    UNDO_IN_DOUBT = "undo_in_doubt"
    UNDONE = "undone"
    UNDO_STUCK = "undo_stuck"  # the compensation failed and a person is asked
    UNDO_FAILED = "undo_failed"  # a person stated that the effect stands

    @property
    def shown(self) -> str:
        """Return the word that the outside contract uses."""
        return _SHOWN.get(self, self.value)


_SHOWN: Final[Mapping[Step, str]] = {
    Step.RELEASE_ATTEMPTED: "planned",
    Step.PREPARE_IN_DOUBT: "in_doubt",
    Step.REFUSED_FOR_GOOD: "refused",
    Step.COMMIT_ATTEMPTED: "attempted",
    Step.COMMIT_IN_DOUBT: "in_doubt",
    Step.ABORT_STUCK: "stuck",
    Step.UNDO_ATTEMPTED: "attempted",
    Step.UNDO_IN_DOUBT: "in_doubt",
    Step.UNDO_STUCK: "stuck",
    Step.UNDO_FAILED: "stuck",
}

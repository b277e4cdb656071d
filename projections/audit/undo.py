"""The entries of undo plans: who planned and who approved to undo what, that it halted, and what came of it.

Each opens once and never changes again. What a plan lists and how far it has come stands in its stream; what became of
each intent, in the entry of that intent and in that of the undo that was decided on it.
"""

from typing import Final

import msgspec

from ledger import events as e
from ledger.canonical import canonical_text
from ledger.errors import IllegalTransition
from projections.audit.entry import Act, AuditRow, entry_after, entry_of, plain, under

TOLD: Final[frozenset[type[e.Event]]] = frozenset(
    {e.UndoPlanned, e.UndoPlanApproved, e.UndoPlanHalted, e.UndoPlanFinished}
)


def told(rows: tuple[AuditRow, ...], recorded: e.Recorded) -> AuditRow:
    """Open the entry of an event of a plan; `rows` are the earlier ones of its stream. Raises `IllegalTransition`."""
    match recorded.event:
        case e.UndoPlanned() as planned if not rows:
            return _planned(recorded, planned)
        case e.UndoPlanApproved(by=by, custody=custody) if rows:
            return entry_after(rows[0], recorded, Act.UNDO_APPROVED, by=by, **under(custody))
        case e.UndoPlanHalted(reason=reason, by=by, custody=custody) if rows:
            whose = {} if by is None else under(custody)
            return entry_after(rows[-1], recorded, Act.UNDO_HALTED, reason=plain(reason), by=by, **whose)
        case e.UndoPlanFinished(counts=counts) if rows:
            terms = msgspec.json.decode(rows[0].detail or "{}") | {"counts": counts}
            return entry_after(
                rows[-1], recorded, Act.UNDO_FINISHED, detail=canonical_text(terms), reason=None, by=None
            )
        case _:
            raise IllegalTransition(f"{recorded.type} cannot stand at version {recorded.version} of {recorded.stream}.")


def _planned(recorded: e.Recorded, planned: e.UndoPlanned) -> AuditRow:
    wanted = planned.selection
    return entry_of(
        recorded,
        Act.UNDO_PLANNED,
        agent_kind="agent" if wanted.agent is not None else None,
        agent=wanted.agent,  # so that the audit of an agent tells of it
        by=planned.by,
        task=wanted.task,
        operations=(wanted.operation,) if wanted.operation is not None else (),
        reason=plain(planned.reason),
        digest=planned.digest,
        detail=canonical_text({"plan": planned.plan, "selection": wanted, "counts": planned.counts}),
        **under(planned.custody),
    )

"""The entries of undo plans: who planned and who approved to undo what, that it halted, and what came of it.

Each opens once and never changes again. What a plan lists and how far it has come stands in its stream; what became of
each intent, in the entry of that intent and in that of the undo that was decided on it.
"""

from typing import Any, Final

import msgspec

from ledger import events as e
from ledger.canonical import canonical
from ledger.errors import IllegalTransition
from projections.audit.entry import KIND_OF, Act, AuditRow, plain

TOLD: Final[frozenset[type[e.Event]]] = frozenset(
    {e.UndoPlanned, e.UndoPlanApproved, e.UndoPlanHalted, e.UndoPlanFinished}
)


def told(rows: tuple[AuditRow, ...], recorded: e.Recorded) -> AuditRow:
    """Open the entry of an event of a plan; `rows` are the earlier ones of its stream. Raises `IllegalTransition`."""
    match recorded.event:
        case e.UndoPlanned() as planned if not rows:
            return _planned(recorded, planned)
        case e.UndoPlanApproved(by=by, custody=custody) if rows:
            return _after(rows[0], recorded, Act.UNDO_APPROVED, by=by, **_under(custody))
        case e.UndoPlanHalted(reason=reason, by=by, custody=custody) if rows:
            whose = {} if by is None else _under(custody)
            return _after(rows[-1], recorded, Act.UNDO_HALTED, reason=plain(reason), by=by, **whose)
        case e.UndoPlanFinished(counts=counts) if rows:
            terms = msgspec.json.decode(rows[0].detail or "{}") | {"counts": counts}
            return _after(rows[-1], recorded, Act.UNDO_FINISHED, detail=_json(terms), reason=None, by=None)
        case _:
            raise IllegalTransition(f"{recorded.type} cannot stand at version {recorded.version} of {recorded.stream}.")


def _planned(recorded: e.Recorded, planned: e.UndoPlanned) -> AuditRow:
    wanted = planned.selection
    return AuditRow(
        stream=recorded.stream,
        version=recorded.version,
        position=recorded.position,
        at=recorded.at,
        kind=KIND_OF[Act.UNDO_PLANNED],
        agent_kind="agent" if wanted.agent is not None else None,
        agent=wanted.agent,  # so that the audit of an agent tells of it
        agent_version=None,
        by=planned.by,
        task=wanted.task,
        commissioned_by=None,
        policies=(),
        policy_set=None,
        actions=(),
        operations=(wanted.operation,) if wanted.operation is not None else (),
        summaries=(),
        outcome=Act.UNDO_PLANNED.value,
        reason=plain(planned.reason),
        attention=None,
        outcome_position=recorded.position,
        outcome_at=recorded.at,
        digest=planned.digest,
        detail=_json({"plan": planned.plan, "selection": wanted, "counts": planned.counts}),
        **_under(planned.custody),
    )


def _after(before: AuditRow, recorded: e.Recorded, act: Act, **changed: Any) -> AuditRow:
    return msgspec.structs.replace(
        before,
        version=recorded.version,
        position=recorded.position,
        at=recorded.at,
        kind=KIND_OF[act],
        outcome=act.value,
        outcome_position=recorded.position,
        outcome_at=recorded.at,
        **changed,
    )


def _under(custody: tuple[str, ...]) -> dict[str, Any]:
    return {"custody": custody, "grant_id": custody[-1] if custody else None}


def _json(value: object) -> str:
    return canonical(value).decode()

"""The entries of reconciliation: where the outside was found not to show what the ledger did, and that it agrees again.

Nobody did it: the entry is the agent's whose intent it is, and its `by` is empty. What was expected and what was found
stand in `detail`.
"""

import msgspec

from ledger import events as e
from ledger.canonical import canonical_text
from ledger.errors import IllegalTransition
from projections.audit.entry import Act, AuditRow, entry_after, entry_of, plain


def reconciled(rows: tuple[AuditRow, ...], recorded: e.Recorded) -> AuditRow:
    """Open the entry of an event of reconciliation; `rows` are the earlier ones of its stream.

    Raises `IllegalTransition`.
    """
    match recorded.event:
        case e.DivergenceFound() as found:
            return _found(recorded, found)
        case e.DivergenceGone() as gone:
            return _gone(rows, recorded, gone)
        case _:
            raise IllegalTransition(f"{recorded.type} cannot stand in stream {recorded.stream}.")


def _found(recorded: e.Recorded, found: e.DivergenceFound) -> AuditRow:
    terms = {"aspect": found.aspect, "expected": found.expected, "found": found.found}
    return entry_of(
        recorded,
        Act.DIVERGENCE_FOUND,
        agent_kind=found.agent.kind,
        agent=found.agent.name,
        agent_version=found.agent.version,
        task=found.task,
        commissioned_by=found.commissioned_by,
        grant_id=found.grant,
        custody=found.custody,
        actions=() if found.action is None else (found.action,),
        operations=(found.operation,),
        summaries=(plain(found.summary),),
        reason=plain(found.reason),
        detail=canonical_text(terms),
    )


def _gone(rows: tuple[AuditRow, ...], recorded: e.Recorded, gone: e.DivergenceGone) -> AuditRow:
    """Say of which divergence it is the end: the last one found of the same action and aspect."""
    actions = () if gone.action is None else (gone.action,)
    for row in reversed(rows):
        aspect = msgspec.json.decode(row.detail or "{}").get("aspect")
        if row.outcome == Act.DIVERGENCE_FOUND and (row.actions, aspect) == (actions, gone.aspect):
            return entry_after(
                row,
                recorded,
                Act.DIVERGENCE_GONE,
                reason=plain(gone.reason),
                detail=canonical_text({"aspect": gone.aspect, "cause": gone.cause}),
            )
    raise IllegalTransition(f"In {recorded.stream} a divergence is gone that was never found.")

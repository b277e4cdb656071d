"""The entries of configuration: with what the service began that it had not begun with before. Nobody is known to have
done it: whoever may write the file did.
"""

import msgspec

from ledger import events as e
from ledger.canonical import canonical
from ledger.errors import IllegalTransition
from projections.audit.entry import KIND_OF, Act, AuditRow


def configured(_rows: tuple[AuditRow, ...], recorded: e.Recorded) -> AuditRow:
    """Open the entry of an event of configuration. Raises `IllegalTransition`."""
    event = recorded.event
    if not isinstance(event, e.ConfigurationChanged):
        raise IllegalTransition(f"{recorded.type} cannot stand in stream {recorded.stream}.")
    terms = ConfigurationTerms(event.configuration, event.before, event.added, event.changed, event.removed)
    named = (*event.added, *event.changed, *event.removed)
    return AuditRow(
        stream=recorded.stream,
        version=recorded.version,
        position=recorded.position,
        at=recorded.at,
        kind=KIND_OF[Act.CONFIGURED],
        agent_kind=None,
        agent=None,
        agent_version=None,
        by=None,
        task=None,
        commissioned_by=None,
        grant_id=None,
        custody=(),
        policies=(),
        policy_set=None,
        actions=(),
        operations=tuple(name for name in named if not name.startswith("[")),
        summaries=(),
        outcome=Act.CONFIGURED.value,
        reason=None,
        attention=None,
        outcome_position=recorded.position,
        outcome_at=recorded.at,
        digest=event.configuration,
        detail=canonical(terms).decode(),
    )


class ConfigurationTerms(msgspec.Struct, frozen=True):
    """What the entry keeps in `detail`."""

    configuration: str
    before: str | None
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]

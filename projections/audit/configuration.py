"""The entries of configuration: with what the service began that it had not begun with before. Nobody is known to have
done it: whoever may write the file did.
"""

import msgspec

from ledger import events as e
from ledger.canonical import canonical_text
from ledger.errors import IllegalTransition
from projections.audit.entry import Act, AuditRow, entry_of


def configured(_rows: tuple[AuditRow, ...], recorded: e.Recorded) -> AuditRow:
    """Open the entry of an event of configuration. Raises `IllegalTransition`."""
    event = recorded.event
    if not isinstance(event, e.ConfigurationChanged):
        raise IllegalTransition(f"{recorded.type} cannot stand in stream {recorded.stream}.")
    terms = ConfigurationTerms(event.configuration, event.before, event.added, event.changed, event.removed)
    named = (*event.added, *event.changed, *event.removed)
    return entry_of(
        recorded,
        Act.CONFIGURED,
        operations=tuple(name for name in named if not name.startswith("[")),
        digest=event.configuration,
        detail=canonical_text(terms),
    )


class ConfigurationTerms(msgspec.Struct, frozen=True):
    """What the entry keeps in `detail`."""

    configuration: str
    before: str | None
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]

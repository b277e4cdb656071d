"""What the service is configured to offer, recorded whenever a process begins with something else than the last one.

It is compared as the file says it, before adapters are opened: an outside system that is away changes no promise.
"""

from collections.abc import Mapping
from typing import Final

from adapters.contract import Operation
from adapters.registry import Registry
from ledger.canonical import digest
from ledger.configuration_events import CONFIGURATION_STREAM, ConfigurationChanged, Promise
from ledger.errors import Corrupt, Unavailable
from ledger.store import Append, Appended, Store

_TRIES: Final = 5  # against other processes that begin at the same time


def described(registry: Registry) -> ConfigurationChanged:
    """Describe a configuration as if there had been none before. Call it before the registry is opened."""
    sections = {f"[{name}]": table for name, table in registry.sections.items()}
    operations = {name: _promise(operation) for name, operation in registry.operations.items()}
    return ConfigurationChanged(
        configuration=digest({"sections": sections, "operations": operations}),
        before=None,
        sections=sections,
        operations=operations,
        added=tuple(sorted([*sections, *operations])),
    )


async def record_configuration(store: Store, configured: ConfigurationChanged) -> bool:
    """Record a configuration unless it is the last one that was recorded; tell whether it was.

    A service that never offered anything and does not now records nothing. Raises `Unavailable`.
    """
    for _ in range(_TRIES):
        recorded = await store.read(CONFIGURATION_STREAM)
        event = _since(recorded[-1].event, configured) if recorded else configured
        if not (event.added or event.changed or event.removed):
            return False
        verdict = await store.append(
            Append(stream=CONFIGURATION_STREAM, expected_version=len(recorded), events=(event,))
        )
        if isinstance(verdict, Appended):
            return True
    raise Unavailable("Whether the change of configuration was recorded is not known. It is looked at again.")


def _since(last: object, now: ConfigurationChanged) -> ConfigurationChanged:
    """Say what changed since the last record."""
    if not isinstance(last, ConfigurationChanged):
        raise Corrupt(f"The stream {CONFIGURATION_STREAM} holds a {type(last).__name__}.")
    old, new = _named(last), _named(now)
    return ConfigurationChanged(
        configuration=now.configuration,
        before=last.configuration,
        sections=now.sections,
        operations=now.operations,
        added=tuple(sorted(new.keys() - old.keys())),
        changed=tuple(sorted(name for name in new.keys() & old.keys() if new[name] != old[name])),
        removed=tuple(sorted(old.keys() - new.keys())),
    )


def _named(configuration: ConfigurationChanged) -> Mapping[str, str | Promise]:
    return {**configuration.sections, **configuration.operations}


def _promise(operation: Operation) -> Promise:
    return Promise(
        guarantee=operation.guarantee,
        undo=operation.undo,
        params=digest(operation.params),
        undo_window_seconds=operation.undo_window_seconds,
        hold_seconds=operation.hold_seconds,
        settle_seconds=operation.settle_seconds,
        key_lifetime_seconds=operation.key_lifetime_seconds,
        facts=operation.facts,
        reads=operation.reads,
    )

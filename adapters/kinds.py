"""The kinds of adapter that `intentledger.toml` can name by `type`: ours, and those of other people's packages.

A module that has an adapter offers it as a `Kind`. It is imported only where the file names it, so that what an adapter
needs of other libraries is needed by nobody else. A package of somebody else offers its kinds under the entry-point
group `intentledger.adapters`:

    [project.entry-points."intentledger.adapters"]
    notes = "acme_notes.adapter:KIND"
"""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

import msgspec

from adapters.contract import Adapter
from adapters.credentials import Reveal
from adapters.tables import Table
from ledger.errors import Misconfigured

GROUP: Final = "intentledger.adapters"

_OURS: Final = {
    "reference": "adapters.reference",
    "postgres": "adapters.postgres.adapter",
    "http": "adapters.http.adapter",
    "email": "adapters.email",
    "stripe": "adapters.stripe.adapter",
    "mysql": "adapters.mysql.adapter",
    "objects": "adapters.objects.adapter",
    "messages": "adapters.messages.adapter",
    "mcp": "adapters.mcp.adapter",
}
_EXTRAS: Final = {"stripe", "mysql", "objects", "messages"}  # named like the kind that needs them


class Kind(msgspec.Struct, frozen=True):
    """One kind of adapter: the shape of its table, and how an adapter is made of it."""

    table: type[Table]
    build: Callable[[str, Any, Reveal], Adapter]  # the adapter's name, its table, its secrets; raises Misconfigured


def names() -> list[str]:
    """Return every `type` that can be named here."""
    return [*_OURS, *sorted(set(entry_points(group=GROUP).names) - set(_OURS))]


def kind(name: str) -> Kind | None:
    """Return the kind of that name, or None; raises `Misconfigured` if it is there and cannot be imported."""
    found = entry_points(group=GROUP, name=name)
    try:
        if name in _OURS:
            offered = import_module(_OURS[name]).KIND
        elif found:
            offered = next(iter(found)).load()
        else:
            return None
    except ImportError as error:
        missing = f"install intentledger[{name}]" if name in _EXTRAS else "its package is not wholly installed"
        raise Misconfigured(f"adapters of type {name!r} need {error.name or 'a module'}: {missing}.") from error
    if not isinstance(offered, Kind):
        raise Misconfigured(f"the type {name!r} is offered by a package, but not as an adapters.kinds.Kind.")
    return offered

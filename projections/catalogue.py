"""The views of this release, by name. A new view is its module, its migration and a line here."""

from typing import Any, Final

from projections.audit.view import AUDIT
from projections.behaviour.anomalies import ANOMALIES
from projections.behaviour.view import BEHAVIOUR
from projections.divergences import DIVERGENCES
from projections.exposure import EXPOSURE
from projections.intents import INTENTS
from projections.projection import Projection
from projections.timeline.view import TIMELINE

PROJECTIONS: Final[tuple[Projection[Any], ...]] = (
    INTENTS,
    AUDIT,
    EXPOSURE,
    BEHAVIOUR,
    ANOMALIES,
    DIVERGENCES,
    TIMELINE,
)


def chosen(names: tuple[str, ...]) -> tuple[Projection[Any], ...]:
    """Return the projections of these names, all of them for none. Raises `LookupError` for a name that is not one."""
    known = {projection.name: projection for projection in PROJECTIONS}
    for name in names:
        if name not in known:
            raise LookupError(f"There is no view {name!r}. There are: {', '.join(known)}.")
    return tuple(known[name] for name in names) or PROJECTIONS

"""Which divergences of an intent stand: a fold over the stream in which reconciliation records them.

A divergence has a name, the action and the aspect of it. It is found, it goes, and it may be found again; finding what
stands already, or losing what was never found, cannot be.
"""

from collections.abc import Iterable, Mapping

from ledger import events as e
from ledger.errors import IllegalTransition

Name = tuple[str | None, str]  # action, aspect
Divergences = Mapping[Name, e.DivergenceFound]


def standing(recorded: Iterable[e.Recorded], before: Divergences | None = None) -> Divergences:
    """Return the divergences that stand after these events, by name. Raises `IllegalTransition`."""
    found = dict(before or {})
    for one in recorded:
        match one.event:
            case e.DivergenceFound(action=action, aspect=aspect) as event if (action, aspect) not in found:
                found[action, aspect] = event
            case e.DivergenceGone(action=action, aspect=aspect) if (action, aspect) in found:
                del found[action, aspect]
            case _:
                raise IllegalTransition(f"{one.type} cannot stand at version {one.version} of {one.stream}.")
    return found

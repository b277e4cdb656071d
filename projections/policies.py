"""The list of policy sets that are kept, whether or not they were ever in force, read from the ledger itself.

Each is kept in a stream of its own, named by its digest: the streams are the list, and no view has to be built for it.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

import sql
from ledger.errors import Corrupt
from ledger.events import PolicySetAdded
from projections.feed import understand

if TYPE_CHECKING:
    from ledger.database import Connection

_BEGINNINGS: Final = sql.query("views.beginnings")
_STREAMS: Final = "policy/"
_BEYOND: Final = "policy0"  # "0" follows "/"


class KeptSet(msgspec.Struct, frozen=True):
    """A policy set that is kept."""

    digest: str
    policies: tuple[str, ...]
    added_at: datetime
    added_by: str


class KeptSets(msgspec.Struct, frozen=True):
    """Some of them by digest, and the cursor of the next page; None where there is none."""

    items: tuple[KeptSet, ...]
    next: str | None


async def list_policy_sets(connection: "Connection", ledger: str, after: str | None, limit: int) -> KeptSets:
    """Return one page of the policy sets that are kept, at most `limit` after the digest `after`."""
    records = await connection.fetch(_BEGINNINGS, ledger, _STREAMS + (after or ""), _BEYOND, limit + 1)
    found = []
    for recorded in (understand(ledger, record) for record in records[:limit]):
        event = recorded.event
        if not isinstance(event, PolicySetAdded):
            raise Corrupt(f"The stream {recorded.stream} holds a {recorded.type}, which is no policy set.")
        found.append(KeptSet(event.policy_set, event.policies, recorded.at, event.by))
    return KeptSets(tuple(found), found[-1].digest if len(records) > limit else None)

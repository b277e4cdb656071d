"""The custody chain of any event: under whose authority its stream stands, for those who read the feed.

The chain is written in the first event of a stream (`IntentSubmitted`, `GrantIssued`), or in the event itself where its
stream is nobody's. First events never change, so what was once read is kept; no view is asked, so nothing lags.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import sql
from ledger.bounds import CUSTODIES_KEPT
from ledger.database import connection
from ledger.events import Event, Recorded
from projections.feed import understand

if TYPE_CHECKING:
    from ledger.database import Pool

_STREAMS: Final = sql.query("views.streams")


class Custody:
    """The custody chains of one ledger, as far as they were asked for."""

    def __init__(self, pool: "Pool", ledger: str) -> None:
        """Know nothing yet."""
        self._pool = pool
        self._ledger = ledger
        self._known: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    async def of(self, recorded: Sequence[Recorded]) -> list[tuple[str, ...]]:
        """Return the chain of each event, from the first grant down; empty where nobody's authority was needed.

        Raises `Unavailable`, and `Corrupt` if the beginning of a stream cannot be understood.
        """
        self._learn(recorded)
        streams = {one.stream for one in recorded if not written(one.event)}
        chains = {stream: self._known[stream] for stream in streams & self._known.keys()}
        if missing := sorted(streams - chains.keys()):
            async with connection(self._pool) as reader:
                records = await reader.fetch(_STREAMS, self._ledger, missing, [1] * len(missing))
            first = [understand(self._ledger, record) for record in records]
            self._learn(first)
            chains |= {one.stream: written(one.event) for one in first}
        return [written(one.event) or chains.get(one.stream, ()) for one in recorded]

    def _learn(self, recorded: Iterable[Recorded]) -> None:
        for one in recorded:
            if one.version == 1:
                self._known[one.stream] = written(one.event)
        while len(self._known) > CUSTODIES_KEPT:
            self._known.popitem(last=False)


def written(event: Event) -> tuple[str, ...]:
    """Return the chain that stands in the event itself."""
    custody: tuple[str, ...] = getattr(event, "custody", ())
    return custody

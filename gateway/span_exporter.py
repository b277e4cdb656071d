"""The exporter of spans: follows the ledger at a distance and tells a collector of every intent that came to an end.

    hold the export ─► read events ─► of those that end something: the streams ─► their spans ─► post ─► move on

* Nothing of this is on the way of an intent. Spans are made of events, so what a collector missed waits in the ledger.
  While it is behind, it pauses as long as a batch took: it never takes more than half of what there is.
* One process exports at a time, under a lease; a crash after the post and before the move posts the same spans again,
  with the same ids.
* An answer that may be another one later (OTLP: 429, 502, 503, 504, or none at all) is waited for; any other refusal
  drops these spans and says so, because a collector that does not want them would never let us by.
* A ledger that is exported for the first time is exported from now on.
"""

import asyncio
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final

import aiohttp
import structlog
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

import sql
from gateway.answer_bytes import whole
from gateway.collector import Collector
from gateway.span_export import Told, encoded, rejected, resource_of, sampled, spans_to_export
from ledger import bounds
from ledger import events as e
from ledger.background import Background
from ledger.database import connection
from ledger.errors import Corrupt, Unavailable
from ledger.ids import intent_of, notes_stream
from ledger.state import fold
from ledger.store import Store
from projections.feed import read_batch, understand
from projections.timeline.spans import spans_of

if TYPE_CHECKING:
    from ledger.database import Connection, Pool

_OPEN: Final = sql.query("timeline.open_export")
_HOLD: Final = sql.query("timeline.hold_export")
_MOVE: Final = sql.query("timeline.move_export")
_RELEASE: Final = sql.query("timeline.release_export")
_STREAMS: Final = sql.query("views.streams")
_NAME: Final = "spans"
_LATER: Final = frozenset({429, 502, 503, 504})
_ANY_VERSION: Final = 2**62
_ENDS: Final[frozenset[type[e.Event]]] = frozenset(
    {
        e.PolicyEvaluated,  # where it denies
        e.IntentSimulated,
        e.IntentCommitted,
        e.IntentAborted,
        e.IntentCompensated,
        e.IntentMixed,
        e.OutcomeVerified,
        e.OutcomeContradicted,
        e.OutcomeUnknown,
    }
)

_log = structlog.get_logger(__name__)


class NotNow(Exception):
    """The collector may take it later."""


class SpanExporter:
    """One process's exporter of one ledger."""

    def __init__(
        self,
        pool: "Pool",
        store: Store,
        collector: Collector,
        holder: str,
        counted: Callable[[str, int], None] = lambda _outcome, _spans: None,
    ) -> None:
        """`holder` names this process and differs between processes; `counted` hears what became of how many spans."""
        self._pool = pool
        self._store = store
        self._ledger = store.ledger
        self._collector = collector
        self._holder = holder
        self._counted = counted
        self._resource: Resource = resource_of(self._ledger, importlib.metadata.version("intentledger"))
        self._session: aiohttp.ClientSession | None = None
        self._part = Background(f"spans of {self._ledger}", self._turn, retry_seconds=bounds.EXPORT_RETRY_SECONDS)
        self._opened = False

    def start(self) -> None:
        """Begin to export: what ends from now on, or where an earlier process was."""
        self._part.start()

    async def stop(self) -> None:
        """Let go; what was not taken is exported by whoever is next."""
        await self._part.stop()
        if self._session is not None:
            await self._session.close()
        try:
            async with connection(self._pool) as writer:
                await writer.execute(_RELEASE, self._ledger, _NAME, self._holder)
        except Unavailable:
            return  # the lease ends by itself

    async def advance(self) -> int | None:
        """Export one batch of events; return how many there were, None while another process exports.

        Raises `Unavailable`.
        """
        async with connection(self._pool) as reader:
            if not self._opened:
                await reader.execute(_OPEN, self._ledger, _NAME, await self._store.head())
                self._opened = True
            after = await reader.fetchval(_HOLD, self._ledger, _NAME, self._holder, bounds.EXPORT_LEASE_SECONDS)
            if after is None:
                return None
            limit = bounds.EXPORT_BATCH_EVENTS
            batch = await read_batch(reader, self._ledger, _ENDS, after=after, limit=limit)
            told = await self._told(reader, batch.events)
        spans: list[ReadableSpan] = []
        for one in told:
            if sampled(one.state):
                spans += spans_to_export(one, self._resource)
            await asyncio.sleep(0)
        for first in range(0, len(spans), bounds.EXPORT_SPANS):
            await self._post(spans[first : first + bounds.EXPORT_SPANS])
        async with connection(self._pool) as writer:
            await writer.execute(_MOVE, self._ledger, _NAME, self._holder, batch.end)
        if batch.failure is not None:
            raise Corrupt(batch.failure)
        return batch.count

    async def _told(self, reader: "Connection", ends: Mapping[str, list[e.Recorded]]) -> list[Told]:
        """Tell what ended in these streams. One that cannot be understood is left out: the others are told."""
        over = {stream: ended for stream, events in ends.items() if (ended := [r for r in events if _is_end(r.event)])}
        last = {stream: ended[-1].version for stream, ended in over.items()}
        notes = {notes_stream(intent_of(stream) or ""): _ANY_VERSION for stream in over}
        wanted = last | notes
        records = await reader.fetch(_STREAMS, self._ledger, list(wanted), list(wanted.values())) if over else []
        streams = {
            stream: [understand(self._ledger, record) for record in of_stream]
            for stream, of_stream in groupby(records, key=lambda record: record["stream"])
        }
        found = []
        for stream, ended in over.items():
            said = streams.get(notes_stream(intent_of(stream) or ""), [])
            try:
                found.append(_part(streams[stream], said, ended[0].position))
            except Corrupt as error:
                _log.error("spans_of_an_intent_left_out", ledger=self._ledger, stream=stream, reason=error.message)
            await asyncio.sleep(0)
        return found

    async def _post(self, spans: Sequence[ReadableSpan]) -> None:
        """Give spans to the collector. Raises `NotNow`."""
        if self._session is None:
            self._session = self._opened_session()
        body = await asyncio.to_thread(encoded, spans)  # tens of milliseconds, which others need not wait for
        kind = {"Content-Type": "application/x-protobuf"}
        try:
            posted = self._session.post(self._collector.url, data=body, headers=kind, allow_redirects=False)
            async with posted as answer:
                status = answer.status
                refused = await _rejected(answer)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._counted("postponed", len(spans))
            raise NotNow(type(error).__name__) from error
        if status in _LATER:
            self._counted("postponed", len(spans))
            raise NotNow(f"HTTP {status}")
        dropped = refused if 200 <= status < 300 else len(spans)
        if dropped:
            _log.error("spans_refused", ledger=self._ledger, status=status, spans=dropped)
        self._counted("refused", dropped)
        self._counted("exported", len(spans) - dropped)

    def _opened_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers=self._collector.headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=bounds.EXPORT_SECONDS),
            trust_env=False,
        )

    async def _turn(self) -> float:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            count = await self.advance()
        except NotNow as error:
            _log.warning("spans_postponed", ledger=self._ledger, reason=str(error))
            return bounds.EXPORT_RETRY_SECONDS
        behind = count == bounds.EXPORT_BATCH_EVENTS
        return clock() - began if behind else bounds.EXPORT_PAUSE_SECONDS


def _part(stream: Sequence[e.Recorded], notes: Sequence[e.Recorded], first_end: int) -> Told:
    """Tell the part of an intent that ended with the event at `first_end` or later. Raises `Corrupt`."""
    state = fold(stream)
    if state is None:
        raise Corrupt("The stream is empty.")
    after = max((r.position for r in stream if _is_end(r.event) and r.position < first_end), default=0)
    said = [note for note in notes if after < note.position <= state.position]
    return Told(state, spans_of(stream), said, after)


def _is_end(event: e.Event) -> bool:
    """Tell whether spans are complete with this event."""
    return type(event) in _ENDS and (not isinstance(event, e.PolicyEvaluated) or event.effect == "deny")


async def _rejected(answer: aiohttp.ClientResponse) -> int:
    try:
        return rejected(await whole(answer, bounds.ANSWER_BYTES))
    except ValueError:  # an answer in JSON, or in nothing
        return 0

"""What waits in a ledger, counted now and then: what only the database can tell Prometheus.

One task of each process that serves. It counts every CENSUS_SECONDS, so that no scrape asks the database anything, and
however many scrape. What was counted is shown until the next count; while the database does not answer nothing of it is
shown, because a number that stands still looks like one that is fine.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import sql
from ledger.background import Background
from ledger.bounds import CENSUS_SECONDS
from ledger.database import connection

if TYPE_CHECKING:
    from ledger.database import Pool

_HEAD: Final = sql.query("read.head")
_MOVING: Final = sql.query("census.moving")
_ATTENTION: Final = sql.query("census.attention")
_EXPOSED: Final = sql.query("census.exposed")
_VIEWS: Final = sql.query("census.views")
_EXPORTS: Final = sql.query("census.exports")
_OUTBOX: Final = sql.query("census.outbox")
_DIVERGENCES: Final = sql.query("census.divergences")


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """One count."""

    head: int
    moving: Mapping[str, int]  # intents by phase
    attention: int
    oldest_attention_seconds: float
    exposed: Mapping[tuple[str, str], int]  # actions by adapter and exposure
    views: Mapping[str, tuple[int, bool]]  # position, and whether it has stopped
    exports: Mapping[str, int]  # position
    outbox: int
    divergences: int


class Census(Collector):
    """The counts of one ledger."""

    def __init__(self, pool: "Pool", ledger: str) -> None:
        """Know nothing yet."""
        self._pool = pool
        self._ledger = ledger
        self._counted: Counted | None = None
        self._part = Background(f"census of {ledger}", self._turn, retry_seconds=CENSUS_SECONDS)

    def start(self) -> None:
        """Begin to count."""
        self._part.start()

    async def stop(self) -> None:
        """Count no more."""
        await self._part.stop()

    async def count(self) -> None:
        """Count once. Raises `Unavailable`."""
        async with connection(self._pool) as reader, reader.transaction(isolation="repeatable_read", readonly=True):
            attention = await reader.fetchrow(_ATTENTION, self._ledger)
            self._counted = Counted(
                head=await reader.fetchval(_HEAD, self._ledger) or 0,
                moving={row["phase"]: row["intents"] for row in await reader.fetch(_MOVING, self._ledger)},
                attention=attention["intents"] if attention else 0,
                oldest_attention_seconds=attention["oldest"] if attention else 0.0,
                exposed={
                    (row["adapter"], row["exposure"]): row["actions"]
                    for row in await reader.fetch(_EXPOSED, self._ledger)
                },
                views={
                    row["name"]: (row["position"], row["stopped"]) for row in await reader.fetch(_VIEWS, self._ledger)
                },
                exports={row["name"]: row["position"] for row in await reader.fetch(_EXPORTS, self._ledger)},
                outbox=await reader.fetchval(_OUTBOX, self._ledger),
                divergences=await reader.fetchval(_DIVERGENCES, self._ledger),
            )

    async def _turn(self) -> float:
        try:
            await self.count()
        except Exception:
            self._counted = None
            raise
        return CENSUS_SECONDS

    # ── as Prometheus reads it ───────────────────────────────────────────────────────────────────────────────────

    def collect(self) -> Iterator[Metric]:
        """Tell the last count."""
        counted = self._counted
        yield _gauge("database_up", "1 if the last count of the ledger succeeded.", float(counted is not None))
        if counted is not None:
            yield from _of_the_ledger(counted)
            yield from _of_the_views(counted)


def _of_the_ledger(counted: Counted) -> Iterator[Metric]:
    yield _gauge("ledger_position", "Events in the ledger.", counted.head)
    moving = GaugeMetricFamily("intentledger_intents_moving", "Intents that have not ended.", labels=("phase",))
    for phase in _PHASES:
        moving.add_metric((phase,), counted.moving.get(phase, 0))
    yield moving
    yield _gauge("intents_in_attention", "Intents that only a person can move on.", counted.attention)
    yield _gauge(
        "attention_oldest_seconds", "How long the longest of them has waited.", counted.oldest_attention_seconds
    )
    exposed = GaugeMetricFamily(
        "intentledger_actions_exposed", "Actions that are open outside.", labels=("adapter", "exposure")
    )
    for labels, actions in counted.exposed.items():
        exposed.add_metric(labels, actions)
    yield exposed
    yield _gauge("webhooks_waiting", "Messages to people that were not delivered yet.", counted.outbox)
    yield _gauge("divergences", "Where the outside does not show what the ledger did.", counted.divergences)


def _of_the_views(counted: Counted) -> Iterator[Metric]:
    position = GaugeMetricFamily("intentledger_view_position", "What a view has reached.", labels=("view",))
    lag = GaugeMetricFamily("intentledger_view_lag_events", "Events that a view has not reached.", labels=("view",))
    stopped = GaugeMetricFamily("intentledger_view_stopped", "1 if a view stands still.", labels=("view",))
    for name, (reached, has_stopped) in counted.views.items():
        position.add_metric((name,), reached)
        lag.add_metric((name,), max(0, counted.head - reached))
        stopped.add_metric((name,), float(has_stopped))
    exported = GaugeMetricFamily("intentledger_export_lag_events", "Events not exported yet.", labels=("export",))
    for name, reached in counted.exports.items():
        exported.add_metric((name,), max(0, counted.head - reached))
    yield from (position, lag, stopped, exported)


_PHASES: Final = ("submitted", "preparing", "awaiting_approval", "committing", "aborting", "compensating")


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"intentledger_{name}", what, value=value)

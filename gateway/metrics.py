"""What Prometheus may know. Labels have few values: routes by their names in the table, never as they were asked."""

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from coordinator.circuit import CircuitState
from coordinator.places import AdapterStatus
from ledger.events import EVENT_TYPES
from ledger.tally import BUCKETS, Tally

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_BOUNDS: Final = [*(str(float(bound)) for bound in BUCKETS), "+Inf"]

disable_created_metrics()  # type: ignore[no-untyped-call] # when a counter began: twice as many lines, and nobody asks


class Metrics:
    """The measures of one process, in a registry of their own."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_Build())
        self._requests = Counter(
            "intentledger_requests", "Answered requests.", ("route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "intentledger_request_seconds",
            "Time to answer a request, Prefer: wait included.",
            ("route",),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._webhooks = Counter(
            "intentledger_webhooks", "Attempts to tell of an approval.", ("outcome",), registry=self._registry
        )
        self._spans = Counter(
            "intentledger_spans",
            "Spans for a collector, by what became of them.",
            ("outcome",),
            registry=self._registry,
        )
        self._counters: dict[tuple[str, int], Counter] = {}  # the children, found without labels() on the hot path
        self._timers: dict[str, Histogram] = {}

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Add a gauge that is read when Prometheus asks."""
        Gauge(f"intentledger_{name}", what, registry=self._registry).set_function(value)

    def watch_adapters(self, statuses: Callable[[], Sequence[AdapterStatus]]) -> None:
        """Add what there is to know of each adapter, read when Prometheus asks."""
        self._registry.register(_Adapters(statuses))

    def watch_appends(self, took: Tally, events: Mapping[str, int]) -> None:
        """Add what this process has appended: how long each append took, and how many events of each type."""
        self._registry.register(_Appends(took, events))

    def collect(self, collector: Collector) -> None:
        """Add what a part of the process tells by itself."""
        self._registry.register(collector)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request; `route` is the name of a route, or `none`."""
        counter = self._counters.get((route, status))
        if counter is None:
            counter = self._counters[route, status] = self._requests.labels(route, str(status))
        timer = self._timers.get(route)
        if timer is None:
            timer = self._timers[route] = self._seconds.labels(route)
        counter.inc()
        timer.observe(seconds)

    def told(self, outcome: str) -> None:
        """Count an attempt to tell of an approval: delivered, failed, given_up."""
        self._webhooks.labels(outcome).inc()

    def exported(self, outcome: str, spans: int) -> None:
        """Count spans that were exported, postponed or refused by the collector."""
        self._spans.labels(outcome).inc(spans)

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _Adapters(Collector):
    """How this process finds each adapter."""

    def __init__(self, statuses: Callable[[], Sequence[AdapterStatus]]) -> None:
        self._statuses = statuses

    def collect(self) -> Iterator[Metric]:
        """Tell it as measures, one line for each adapter."""
        statuses = self._statuses()
        circuit = GaugeMetricFamily(
            "intentledger_circuit", "1 for the state that it is in.", labels=("adapter", "state")
        )
        work = GaugeMetricFamily(
            "intentledger_calls_in_progress", "Calls under way or waiting.", labels=("adapter", "at")
        )
        calls = CounterMetricFamily("intentledger_calls", "Calls, by what came of them.", labels=("adapter", "outcome"))
        for one in statuses:
            for state in CircuitState:
                circuit.add_metric((one.adapter, state), float(one.state is state))
            work.add_metric((one.adapter, "work"), one.at_work)
            work.add_metric((one.adapter, "wait"), one.waiting)
            for outcome in ("answered", "unanswered", "held_back"):
                calls.add_metric((one.adapter, outcome), getattr(one, outcome))
        seconds = HistogramMetricFamily(
            "intentledger_call_seconds", "Time of a call that left.", labels=("adapter", "verb")
        )
        for one in statuses:
            for verb, took in one.took.items():
                seconds.add_metric((one.adapter, verb), _buckets(took), took.seconds)
        yield from (circuit, work, calls, seconds)


class _Appends(Collector):
    """What this process has appended."""

    def __init__(self, took: Tally, events: Mapping[str, int]) -> None:
        self._took = took
        self._events = events

    def collect(self) -> Iterator[Metric]:
        """Tell it as measures, one line for each type of event."""
        seconds = HistogramMetricFamily("intentledger_append_seconds", "Time until an append was durable.")
        seconds.add_metric((), _buckets(self._took), self._took.seconds)
        events = CounterMetricFamily("intentledger_events", "Events that this process appended.", labels=("type",))
        for name in EVENT_TYPES:  # those of which there was none too: the first one must be seen as an increase
            events.add_metric((name,), self._events.get(name, 0))
        yield from (seconds, events)


class _Build(Collector):
    """Which release this is."""

    def collect(self) -> Iterator[Metric]:
        """Tell the version."""
        version = importlib.metadata.version("intentledger")
        yield InfoMetricFamily("intentledger_build", "The release.", value={"version": version})


def _buckets(took: Tally) -> list[tuple[str, float]]:
    return list(zip(_BOUNDS, map(float, accumulate(took.counts)), strict=True))

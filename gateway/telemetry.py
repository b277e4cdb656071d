"""What this process tells observers by itself: spans to a collector, where one is configured."""

import os
import secrets
import socket
from contextlib import AsyncExitStack

from gateway.door import Service
from gateway.metrics import Metrics
from gateway.settings import Settings


def export_spans(parts: AsyncExitStack, service: Service, settings: Settings, metrics: Metrics) -> None:
    """Begin to export spans if a collector is configured, and name them to the outside systems that are called."""
    if settings.collector is None:
        return
    from gateway.span_exporter import SpanExporter  # noqa: PLC0415  OpenTelemetry is an extra

    holder = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
    exporter = SpanExporter(service.pool, service.store, settings.collector, holder, metrics.exported)
    exporter.start()
    parts.push_async_callback(exporter.stop)
    service.coordinator.calls.traced = True

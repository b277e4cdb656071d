"""Where spans go: the address of an OTLP/HTTP collector, and the headers that let us in."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit

import msgspec

_SIGNAL: Final = "/v1/traces"
_NEEDED: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.common")


class Collector(msgspec.Struct, frozen=True):
    """An OTLP/HTTP endpoint."""

    url: str  # of the signal itself
    headers: Mapping[str, str] = {}


def collector(url: str, headers: str | None) -> Collector:
    """Return the collector at a base address (http://collector:4318); headers are lines of the form `name: value`.

    Raises `ValueError` with a reason for what cannot be used, and where OpenTelemetry is not installed.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("it must be an address such as http://collector:4318")
    if not _is_installed():
        raise ValueError("OpenTelemetry is not installed; pip install 'intentledger[otel]'")
    found = {}
    for line in (headers or "").splitlines():
        name, colon, value = line.partition(":")
        if line.strip():
            if not colon or not name.strip() or not value.strip():
                raise ValueError("its headers must be lines of the form name: value")
            found[name.strip()] = value.strip()
    base = url.rstrip("/")
    return Collector(base if base.endswith(_SIGNAL) else base + _SIGNAL, found)


def _is_installed() -> bool:
    """Tell whether the extra `otel` is there."""
    try:
        return all(find_spec(module) is not None for module in _NEEDED)
    except ModuleNotFoundError:  # not even what the module is in
        return False

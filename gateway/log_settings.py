"""What the operator says about the log: `[log]` in the adapters' file. Nothing needs to be said.

[log]
origin = "example.com/ledgers/main"      the log's name for ever, and its keys'; intent-ledger/<ledger> by itself
keys = "/etc/intentledger/main.key"      <data>/log/<ledger>.key by itself; mode 0600
directory = "/srv/checkpoints/main"      <data>/log/<ledger>/ by itself; the file in it is called `checkpoint`

[log.objects]                            a bucket that speaks S3, as [adapters.<name>] of type objects has it
bucket, region, endpoint, credentials, prefix

[[log.witnesses]]                        C2SP tlog-witness
url = "https://witness.example"          where add-checkpoint lies below, its submission prefix
monitoring_url = "https://…"             where it shows what it has cosigned, if that is elsewhere
key = "witness.example/w1+…"             its verifier key, of a cosigner
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from pydantic import Field

from adapters.objects.tables import ObjectsTable
from adapters.tables import Table
from gateway.config_section import section
from gateway.settings import Settings
from ledger.bounds import LOG_WITNESSES
from ledger.errors import Malformed, Misconfigured
from ledger.log.signed_note import COSIGNATURE, VerifierKey, parse_verifier_key

_LOG: Final = "log"


class ObjectsPlace(ObjectsTable):
    """`[log.objects]`."""

    type: Literal["objects"] = "objects"


WitnessURL = Annotated[str, Field(pattern=r"^https?://[^\s?#@]+$", max_length=512)]


class WitnessTable(Table):
    """`[[log.witnesses]]`."""

    url: WitnessURL
    monitoring_url: WitnessURL | None = None
    key: Annotated[str, Field(max_length=512)]


class LogTable(Table):
    """`[log]`."""

    origin: Annotated[str, Field(pattern=r"^[^\s+\x00-\x1f]{1,200}$")] | None = None
    keys: Path | None = None
    directory: Path | None = None
    objects: ObjectsPlace | None = None
    witnesses: Annotated[tuple[WitnessTable, ...], Field(max_length=LOG_WITNESSES)] = ()


class WitnessPlace(msgspec.Struct, frozen=True):
    """A witness: where it is, and the key that it cosigns with."""

    url: str  # without a slash at its end
    key: VerifierKey
    monitoring_url: str | None = None  # likewise; None: the same


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the log of one ledger is kept."""

    origin: str
    keys: Path
    directory: Path
    objects: ObjectsPlace | None = None
    witnesses: tuple[WitnessPlace, ...] = ()


def log_settings(settings: Settings) -> LogSettings:
    """Read `[log]` and fill in what it does not say. Raises `Misconfigured`."""
    home = settings.data.expanduser().absolute() / _LOG
    table = section(settings.config, _LOG, LogTable)
    return LogSettings(
        origin=table.origin or f"intent-ledger/{settings.ledger}",
        keys=table.keys or home / f"{settings.ledger}.key",
        directory=table.directory or home / settings.ledger,
        objects=table.objects,
        witnesses=_witnesses(settings.config, table.witnesses),
    )


def _witnesses(config: Path | None, tables: Sequence[WitnessTable]) -> tuple[WitnessPlace, ...]:
    """Return the witnesses, each of a name of its own: by that it is known what each of them says."""
    found = tuple(_witness(config, one) for one in tables)
    names = [one.key.name for one in found]
    again = next((name for name in names if names.count(name) > 1), None)
    if again is not None:
        raise Misconfigured(f"{config}, [[log.witnesses]]: {again!r} stands twice. Nothing was started; name it once.")
    return found


def _witness(config: Path | None, table: WitnessTable) -> WitnessPlace:
    try:
        key = parse_verifier_key(table.key)
    except Malformed as error:
        raise Misconfigured(f"{config}, [[log.witnesses]]: {error.message} Nothing was started.") from None
    if key.algorithm != COSIGNATURE:
        raise Misconfigured(f"{config}, [[log.witnesses]]: the key of {key.name!r} is a log's, not a witness's.")
    shown = None if table.monitoring_url is None else table.monitoring_url.rstrip("/")
    return WitnessPlace(table.url.rstrip("/"), key, shown)

"""What the operator sets: variables of the environment named INTENTLEDGER_*, and flags of the command line before them.

The rules:

  * A variable that begins with INTENTLEDGER_ and is not known here is refused: a misspelt setting that silently does
    nothing is how a service ends up on the wrong database. So is one that is set and empty.
  * Secrets come by reference. The password inside a DSN may lie in a file that INTENTLEDGER_DSN_FILE names, the keys
    that sign webhooks lie in the one that INTENTLEDGER_WEBHOOK_SECRET_FILE names, what lets spans into a collector in
    INTENTLEDGER_OTLP_HEADERS_FILE, and a person's token in the one that
    INTENTLEDGER_TOKEN_FILE names. No secret is a flag (others see a command line), and nothing prints one.
  * Adapters are not configured here but in the file that INTENTLEDGER_CONFIG names.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from gateway.collector import Collector, collector
from gateway.data_directory import default_data_directory
from gateway.webhook_receiver import Receiver, check_address, keys
from ledger.bounds import LEASE_SECONDS
from ledger.errors import Misconfigured

PREFIX: Final = "INTENTLEDGER_"
CONFIG_FILE: Final = "intentledger.toml"
_SECRET_BYTES: Final = 4_096  # of a file that is said to hold one


class Settings(BaseModel):
    """How one process of the service is set up."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    dsn: SecretStr | None = None
    """The PostgreSQL to use; None: our own, below `data`."""
    config: Path | None = None
    """The adapters' file; None: there are no adapters."""
    data: Path
    """Our own directory: the embedded PostgreSQL, the operator's token."""
    postgres_bin: Path | None = None
    """PostgreSQL's programs for the embedded server; None: those of the wheel."""
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8_700
    """0: any free one."""
    ledger: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")] = "main"
    url: Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+/?$")] | None = None
    """Where people's commands reach the service; None: `host` and `port`."""
    token_file: Path | None = None
    """The token of who uses people's commands; None: the operator's, below `data`."""
    keyring: Path | None = None
    """The master keys that wrap the keys of data subjects; None: `personal.keyring` below `data`."""
    webhook_url: SecretStr | None = None
    """Who is told of approvals; None: nobody. A secret because such addresses often hold one."""
    webhook_secret: SecretStr | None = None
    """What signs webhooks; from its file only."""
    otlp_url: SecretStr | None = None
    """The OpenTelemetry collector to which spans are exported; None: none are."""
    otlp_headers: SecretStr | None = None
    """What lets us in there; from its file only."""
    lease_seconds: Annotated[float, Field(ge=1, le=300, allow_inf_nan=False)] = LEASE_SECONDS
    """How long a dead process delays its intents."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    """auto: text on a terminal, otherwise JSON."""

    @property
    def receiver(self) -> Receiver | None:
        """Return who is told of approvals; None: nobody. `load` has checked both."""
        if self.webhook_url is None or self.webhook_secret is None:
            return None
        return Receiver(self.webhook_url.get_secret_value(), keys(self.webhook_secret.get_secret_value()))

    @property
    def collector(self) -> Collector | None:
        """Return where spans go; None: nowhere. `load` has checked it."""
        if self.otlp_url is None:
            return None
        headers = self.otlp_headers.get_secret_value() if self.otlp_headers else None
        return collector(self.otlp_url.get_secret_value(), headers)


_OTLP_URL: Final = PREFIX + "OTLP_URL"
_WEBHOOK_URL: Final = PREFIX + "WEBHOOK_URL"
_WEBHOOK_SECRET_FILE: Final = PREFIX + "WEBHOOK_SECRET_FILE"
_OTLP_HEADERS_FILE: Final = PREFIX + "OTLP_HEADERS_FILE"
_SECRET_FILES: Final = {
    PREFIX + "DSN_FILE": "dsn",
    _WEBHOOK_SECRET_FILE: "webhook_secret",
    _OTLP_HEADERS_FILE: "otlp_headers",
}
_FROM_FILES_ONLY: Final = frozenset({"webhook_secret", "otlp_headers"})
_VARIABLES: Final = {
    PREFIX + field.upper(): field for field in Settings.model_fields if field not in _FROM_FILES_ONLY
} | _SECRET_FILES


def load(environment: Mapping[str, str], directory: Path, **flags: Any) -> Settings:
    """Read the settings; `flags` that are not None win over the environment, `directory` is the working one.

    Raises `Misconfigured` with a sentence that names the setting and never shows its value.
    """
    values: dict[str, Any] = {"data": default_data_directory(environment)}
    if (directory / CONFIG_FILE).exists():
        values["config"] = directory / CONFIG_FILE
    given = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    _refuse_odd(given)
    values |= {field: _secret(name, Path(given.pop(name))) for name, field in _SECRET_FILES.items() if name in given}
    values |= {_VARIABLES[name]: value for name, value in given.items()}
    values |= {field: value for field, value in flags.items() if value is not None}
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise Misconfigured(_sentence(error, flags)) from None
    dsn = settings.dsn.get_secret_value() if settings.dsn else None
    if dsn is not None and not dsn.startswith(("postgresql://", "postgres://")):
        raise Misconfigured(f"{PREFIX}DSN must begin with postgresql://. Nothing was started.")
    _check_receiver(settings)
    _check_collector(settings)
    return settings


def _check_receiver(settings: Settings) -> None:
    url, secret = settings.webhook_url, settings.webhook_secret
    if (url is None) != (secret is None):
        raise Misconfigured(
            f"{_WEBHOOK_URL} and {_WEBHOOK_SECRET_FILE} need one another and only one is set: nothing is sent "
            "unsigned. Nothing was started; set both or neither."
        )
    for name, check, value in ((_WEBHOOK_URL, check_address, url), (_WEBHOOK_SECRET_FILE, keys, secret)):
        try:
            if value is not None:
                check(value.get_secret_value())
        except ValueError as error:
            raise Misconfigured(f"{name} cannot be used: {error}. Nothing was started.") from None


def _check_collector(settings: Settings) -> None:
    if settings.otlp_headers is not None and settings.otlp_url is None:
        raise Misconfigured(f"{_OTLP_HEADERS_FILE} is set and {_OTLP_URL} is not. Nothing was started; set both.")
    try:
        _ = settings.collector
    except ValueError as error:
        raise Misconfigured(f"{_OTLP_URL} cannot be used: {error}. Nothing was started.") from None


def _refuse_odd(given: Mapping[str, str]) -> None:
    unknown = sorted(set(given) - set(_VARIABLES))
    if unknown:
        known = ", ".join(sorted(_VARIABLES))
        raise Misconfigured(
            f"{', '.join(unknown)} is set in the environment and is no setting of Intent Ledger. Nothing was started. "
            f"The settings are {known}; name an adapter's secrets otherwise."
        )
    empty = sorted(name for name, value in given.items() if not value.strip())
    if empty:
        raise Misconfigured(f"{', '.join(empty)} is set and empty. Nothing was started; give it a value or unset it.")
    if {PREFIX + "DSN", PREFIX + "DSN_FILE"} <= set(given):
        raise Misconfigured(f"Both {PREFIX}DSN and {PREFIX}DSN_FILE are set. Nothing was started; unset one of them.")


def _secret(name: str, path: Path) -> str:
    try:
        with path.open() as file:
            return file.read(_SECRET_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"The file that {name} names cannot be read: {error}. Nothing was started.") from None


def _sentence(error: ValidationError, flags: Mapping[str, Any]) -> str:
    faults = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        field = str(fault["loc"][0])
        source = f"--{field.replace('_', '-')}" if flags.get(field) is not None else PREFIX + field.upper()
        faults.append(f"{source} cannot be used: {fault['msg'][0].lower()}{fault['msg'][1:]}.")
    return " ".join([*faults, "Nothing was started."])

"""Reading `intentledger.toml`: from tables to a registry of adapters, or one sentence about what is wrong.

Every sentence names the file, the table and the thing. This is the one place that knows which `type` is which adapter,
and the one that reads secrets; it takes the environment as an argument and reads no other settings.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, assert_never

from pydantic import ValidationError

from adapters.contract import Adapter
from adapters.email import EmailAdapter, EmailTable
from adapters.http import HttpAdapter
from adapters.http_tables import HttpTable
from adapters.postgres import PostgresAdapter
from adapters.postgres_tables import PostgresTable
from adapters.reference import ReferenceAdapter, ReferenceTable, World
from adapters.registry import Registry
from adapters.tables import Secret
from ledger.errors import Misconfigured

AdapterTable = ReferenceTable | PostgresTable | HttpTable | EmailTable
Reveal = Callable[[str, Secret], str]

_TYPES: Final[Mapping[str, type[AdapterTable]]] = {
    "reference": ReferenceTable,
    "postgres": PostgresTable,
    "http": HttpTable,
    "email": EmailTable,
}
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}").fullmatch
_SECRET_BYTES: Final = 16 * 1024  # a longer one is the wrong file


def load(path: Path, environment: Mapping[str, str]) -> Registry:
    """Return the adapters of the file, not yet opened. Raises `Misconfigured`, with `errors` naming each place."""
    tables = _read(path)
    unknown = sorted(tables.keys() - {"adapters"})
    if unknown:
        raise Misconfigured(f"{path}: [{unknown[0]}] is not known here; adapters stand under [adapters.<name>].")
    adapters = tables.get("adapters", {})
    if not isinstance(adapters, dict):
        raise Misconfigured(f"{path}: adapters must be tables, [adapters.<name>].")
    try:
        return Registry([_adapter(path, name, table, environment) for name, table in adapters.items()])
    except Misconfigured as error:
        if str(path) in error.message:
            raise
        raise Misconfigured(f"{path}: {error.message}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise Misconfigured(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{path} is not TOML: {error}.") from error


def _adapter(path: Path, name: str, table: Any, environment: Mapping[str, str]) -> Adapter:
    where = f"{path}, [adapters.{name}]"
    if not _NAME(name):
        raise Misconfigured(f"{where}: an adapter's name is a word of small letters, digits and underscores.")
    kind = table.get("type") if isinstance(table, dict) else None
    if not isinstance(kind, str) or kind not in _TYPES:
        raise Misconfigured(f"{where}: type is missing or unknown; it is one of {', '.join(_TYPES)}.")
    try:
        parsed = _TYPES[kind].model_validate_json(json.dumps(table))  # JSON mode: strict, and knows enumerations
    except TypeError:
        raise Misconfigured(f"{where}: dates and times have no meaning here; write a text or a number.") from None
    except ValidationError as error:
        sentences = [f"{path}, {sentence}" for sentence in _sentences(name, table, error)]
        raise Misconfigured(sentences[0], errors=sentences) from None
    return _build(name, parsed, partial(_reveal, where, environment))


def _build(name: str, table: AdapterTable, reveal: Reveal) -> Adapter:
    match table:
        case ReferenceTable():
            return ReferenceAdapter(name, World(), table.guarantee, facts=table.facts, money=table.money)
        case PostgresTable():
            return PostgresAdapter(name, table, reveal("dsn", table.dsn))
        case HttpTable():
            return HttpAdapter(
                name, table, {header: reveal(header, secret) for header, secret in table.credentials.items()}
            )
        case EmailTable():
            return EmailAdapter(name, table, reveal("password", table.password) if table.password else None)
        case _:
            assert_never(table)


def _reveal(where: str, environment: Mapping[str, str], key: str, secret: Secret) -> str:
    if secret.env is not None:
        if not environment.get(secret.env):
            raise Misconfigured(f"{where}: {key} needs the environment variable {secret.env}, which is not set.")
        return environment[secret.env]
    if secret.file is None or not secret.file.is_file():
        raise Misconfigured(f"{where}: {key} needs the file {secret.file}, which does not exist.")
    try:
        text = secret.file.read_bytes()[: _SECRET_BYTES + 1].decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{where}: {key} cannot be read from {secret.file}: {type(error).__name__}.") from error
    if not text or len(text) > _SECRET_BYTES:
        raise Misconfigured(f"{where}: {key} needs a secret in {secret.file}, which is empty or far too long.")
    return text


def _sentences(name: str, table: Any, error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        path = [str(part) for part in fault["loc"]]
        words = fault["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        match fault["type"]:
            case "missing":
                said = f"{path.pop()} is missing"
            case "extra_forbidden":
                said = f"{path.pop()} is not a known key"
            case "value_error" if isinstance(_at(table, fault["loc"]), dict):
                said = words
            case _:
                said = f"{path.pop() if path else 'the table'}: {words[:1].lower()}{words[1:]}"
        yield f"[{'.'.join(['adapters', name, *path])}]: {said}."


def _at(table: Any, path: Iterable[int | str]) -> Any:
    for part in path:
        table = table[part]
    return table

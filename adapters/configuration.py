"""Reading `intentledger.toml`: from tables to a registry of adapters, or one sentence about what is wrong.

Every sentence names the file, the table and the thing. It takes the environment as an argument and reads no other
settings; which `type` is which adapter is known by `kinds.py`, and where secrets lie by `credentials.py`. What stands
under [verify] is read by `laws/`.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from adapters.contract import Adapter
from adapters.credentials import credential
from adapters.kinds import kind, names
from adapters.registry import Registry
from ledger.errors import Misconfigured

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}").fullmatch


def load(path: Path, environment: Mapping[str, str]) -> Registry:
    """Return the adapters of the file, not yet opened. Raises `Misconfigured`, with `errors` naming each place."""
    tables = read(path)
    unknown = sorted(tables.keys() - {"adapters", "verify"})
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


def read(path: Path) -> dict[str, Any]:
    """Return the tables of the file as they stand there; raises `Misconfigured`."""
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
    named = table.get("type") if isinstance(table, dict) else None
    try:
        found = kind(named) if isinstance(named, str) else None
    except Misconfigured as error:
        raise Misconfigured(f"{where}: {error.message}") from error
    if found is None:
        raise Misconfigured(f"{where}: type is missing or unknown; it is one of {', '.join(names())}.")
    try:
        parsed = found.table.model_validate_json(json.dumps(table))  # JSON mode: strict, and knows enumerations
    except TypeError:
        raise Misconfigured(f"{where}: dates and times have no meaning here; write a text or a number.") from None
    except ValidationError as error:
        sentences = [f"{path}, {sentence}" for sentence in _sentences(name, table, error)]
        raise Misconfigured(sentences[0], errors=sentences) from None
    return found.build(name, parsed, partial(credential, where, environment))


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

"""Reading `intentledger.toml`: from tables to a registry of adapters, and a sentence about each thing that is wrong.

Every sentence names the file, the line, the table and the thing. An adapter that cannot be used does not keep others
from being used. The environment comes as an argument, and no other settings are read; which `type` is which adapter is
known by `kinds.py`, and where secrets lie by `credentials.py`. What stands under [verify] is read by `laws/`, and
under [reconcile] by the process that does it.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from adapters.contract import Adapter
from adapters.credentials import credential
from adapters.kinds import kind, names
from adapters.registry import Registry
from adapters.tables import CallLimits, MarksTable, Table
from adapters.toml_lines import line_of
from ledger.canonical import digest
from ledger.errors import LedgerError, Misconfigured

Shape = TypeVar("Shape", bound=Table)

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}").fullmatch
_TABLE: Final = re.compile(r"\[(adapters\.[\w.]+)\](?:: | )(\w*)").match
_OPERATION: Final = re.compile(r"Operation \w+\.(\w+)").match


def load(path: Path, environment: Mapping[str, str]) -> Registry:
    """Return the adapters of the file, not yet opened. Raises `Misconfigured`, with `errors` naming each place."""
    registry = load_sound(path, environment)
    errors = [sentence for sentences in registry.faults.values() for sentence in sentences]
    if errors:
        raise Misconfigured(errors[0], errors=errors)
    return registry


def load_sound(path: Path, environment: Mapping[str, str]) -> Registry:
    """Return those adapters of the file that can be used, and under `faults` what is wrong with each of the others.

    Raises `Misconfigured` where the file itself cannot be read.
    """
    text = _text(path)
    tables = _parsed(path, text)
    unknown = sorted(tables.keys() - {"adapters", "verify", "log", "reconcile", "behaviour"})
    if unknown:
        raise Misconfigured(
            f"{path}, line {line_of(text, unknown[:1])}: [{unknown[0]}] is not known here; "
            "adapters stand under [adapters.<name>]."
        )
    adapters = tables.get("adapters", {})
    if not isinstance(adapters, dict):
        raise Misconfigured(f"{path}, line {line_of(text, ['adapters'])}: adapters must be tables, [adapters.<name>].")
    sound: dict[str, Adapter] = {}
    limits: dict[str, CallLimits] = {}
    marks: dict[str, dict[str, MarksTable]] = {}
    faults: dict[str, tuple[str, ...]] = {}
    for name, table in adapters.items():
        try:
            sound[name], limits[name] = _adapter(name, table, environment)
            marks[name] = _marks(name, table)
            Registry([sound[name]], marks=marks)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one must not keep the others away
            sound.pop(name, None)
            faults[name] = tuple([f"{path}, line {_line(text, name, one)}, {one}" for one in _words(name, error)])
    return Registry(sound.values(), limits, faults, _sections(tables), marks)


def _sections(tables: dict[str, Any]) -> dict[str, str]:
    """Digest each table as it stands in the file, where secrets are only named; that of each adapter by itself."""
    others = {name: table for name, table in tables.items() if name != "adapters"}
    adapters = {f"adapters.{name}": table for name, table in tables.get("adapters", {}).items()}
    return {name: digest(json.loads(json.dumps(table, default=str))) for name, table in (adapters | others).items()}


def read(path: Path) -> dict[str, Any]:
    """Return the tables of the file as they stand there; raises `Misconfigured`."""
    return _parsed(path, _text(path))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise Misconfigured(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}.") from error


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{path} is not TOML: {error}.") from error


def _adapter(name: str, table: Any, environment: Mapping[str, str]) -> tuple[Adapter, CallLimits]:
    where = f"[adapters.{name}]"
    if not _NAME(name):
        raise Misconfigured(f"{where}: an adapter's name is a word of small letters, digits and underscores.")
    named = table.get("type") if isinstance(table, dict) else None
    try:
        found = kind(named) if isinstance(named, str) else None
    except Misconfigured as error:
        raise Misconfigured(f"{where}: {error.message}") from error
    if found is None:
        raise Misconfigured(f"{where}: type is missing or unknown; it is one of {', '.join(names())}.")
    own = {key: value for key, value in table.items() if key not in {"calls", "marks"}}
    parsed = _checked(found.table, own, name)
    limits = _checked(CallLimits, table.get("calls", {}), name, "calls")
    if limits.at_once is None:
        limits = limits.model_copy(update={"at_once": getattr(parsed, "connections", None)})
    return found.build(name, parsed, partial(credential, where, environment)), limits


def _marks(name: str, table: dict[str, Any]) -> dict[str, MarksTable]:
    marks = table.get("marks", {})
    if not isinstance(marks, dict):
        raise Misconfigured(f"[adapters.{name}]: marks must be tables, [adapters.{name}.marks.<verb>].")
    return {verb: _checked(MarksTable, one, name, "marks", verb) for verb, one in marks.items()}


def _checked(shape: type[Shape], table: Any, *place: str) -> Shape:
    try:
        return shape.model_validate_json(json.dumps(table))  # JSON mode: strict, and knows enumerations
    except TypeError:
        raise Misconfigured(
            f"[{'.'.join(['adapters', *place])}]: dates and times have no meaning here; write a text or a number."
        ) from None
    except ValidationError as error:
        sentences = list(_sentences(place, table, error))
        raise Misconfigured(sentences[0], errors=sentences) from None


def _words(name: str, error: Exception) -> Sequence[str]:
    if isinstance(error, LedgerError):
        return error.extras.get("errors") or (error.message,)
    return (f"[adapters.{name}]: it cannot be made, {type(error).__name__} in the code of its type.",)


def _line(text: str, name: str, sentence: str) -> int:
    """Return the line of what a sentence is about: the key that it names, or else its table, or else the adapter."""
    table, operation = _TABLE(sentence), _OPERATION(sentence)
    places: list[list[str | int]] = []
    if table is not None:
        parts: list[str | int] = [int(part) if part.isdecimal() else part for part in table[1].split(".")]
        places = [[*parts, table[2]], parts, parts[:-1]]
    elif operation is not None:
        places = [["adapters", name, verbs, operation[1]] for verbs in ("marks", "operations", "reads")]
    places.append(["adapters", name])
    return next(line for place in places if (line := line_of(text, place)) is not None)


def _sentences(place: Sequence[str], table: Any, error: ValidationError) -> Iterator[str]:
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
        yield f"[{'.'.join(['adapters', *place, *path])}]: {said}."


def _at(table: Any, path: Iterable[int | str]) -> Any:
    for part in path:
        table = table[part]
    return table

"""What `intentledger.toml` says about how an operation is tried, and the samples that are made of it.

    [verify.<adapter>.<verb>]
    params   what is valid; each trial is a sample of its own
    refused  where these differ from params, prepare must refuse
    shows    what the outside system shows to others: { read = "adapter.verb", params }. An exact undo brings it back
    counts   the same, of what only grows with each effect, where `shows` looks the same after two effects as after one
    holds    the same, of what is held. For atomic operations
    state    true: the action brings about a state, after two it is as after one, and nothing could count them
    arrange  { operation, params }: performed before each trial, where an action needs something to act on
    at_most  how many steps of each verb each kind of fault is tried at

In a text `{n}` is the number of the sample, `{run}` a text of this run, and `{arranged.x}` a field of what `arrange`
answered. A value that is nothing but "{n:integer}" is the number itself.

The records are read through operations that only read, of any adapter of the file, or through the operation's own
preview. Another adapter is the better witness: one that lies may lie about this too.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from pydantic import Field, ValidationError

from adapters.registry import Registry
from adapters.tables import Table
from ledger.errors import Misconfigured
from ledger.ids import action_key
from ledger.intents import JSON, Guarantee

AT_MOST_DEFAULT: Final = 5
_REFERENCE: Final = re.compile(r"\{(n|run|arranged\.[A-Za-z0-9_]+)\}")
_NUMBER: Final = "{n:integer}"


class ReadTable(Table):
    """Where the outside system's own record is read."""

    read: str
    params: dict[str, Any] = Field(default_factory=dict)


class ArrangeTable(Table):
    """What is performed so that there is something to act on."""

    operation: str
    params: dict[str, Any] = Field(default_factory=dict)


class VerifyTable(Table):
    """`[verify.<adapter>.<verb>]`."""

    params: dict[str, Any]
    refused: dict[str, Any] | None = None
    shows: ReadTable | None = None
    counts: ReadTable | None = None
    holds: ReadTable | None = None
    state: bool = False
    arrange: ArrangeTable | None = None
    at_most: Annotated[int, Field(ge=2, le=1_000)] = AT_MOST_DEFAULT


class Setup(msgspec.Struct, frozen=True):
    """One operation and how it is tried."""

    registry: Registry
    operation: str
    table: VerifyTable
    run: str  # a text that no other run has

    @property
    def own_preview(self) -> ReadTable:
        """Read the record through the operation's own preview."""
        return ReadTable(read=self.operation, params=dict(self.table.params))


class Sample(msgspec.Struct, frozen=True):
    """One action to try things with: its number, its parameters, and the two keys that it has at the adapter."""

    intent: str
    action: str
    params: JSON
    key: str
    undo_key: str
    values: JSON  # what references stand for


def setups(where: str, tables: Mapping[str, Any], registry: Registry, name: str, run: str) -> list[Setup]:
    """Return how each operation of one adapter that has an effect is tried. Raises `Misconfigured` if one is not."""
    mine = {key: one for key, one in registry.operations.items() if key.startswith(f"{name}.") and not one.reads}
    if not mine:
        raise Misconfigured(f"{where} has no adapter {name!r} with an operation that has an effect. Nothing was tried.")
    verify = tables.get("verify", {}).get(name, {})
    unknown = sorted(f"{name}.{verb}" for verb in verify if f"{name}.{verb}" not in mine)
    if unknown:
        raise Misconfigured(f"{where}, [verify.{unknown[0]}]: there is no such operation that has an effect.")
    missing = sorted(key for key in mine if key.partition(".")[2] not in verify)
    if missing:
        raise Misconfigured(
            f"{where}: [verify.{missing[0]}] is missing. It says how {missing[0]} is tried: at least its params."
        )
    return [_setup(where, registry, key, verify[key.partition(".")[2]], run) for key in mine]


def setup(registry: Registry, operation: str, table: Mapping[str, Any], run: str) -> Setup:
    """Return how one operation is tried, as a table of Python says. Raises `Misconfigured`."""
    return _setup("verify", registry, operation, table, run)


def _setup(where: str, registry: Registry, operation: str, table: Any, run: str) -> Setup:
    where = f"{where}, [verify.{operation}]"
    try:
        parsed = VerifyTable.model_validate_json(json.dumps(table))
    except (ValidationError, TypeError) as error:
        raise Misconfigured(f"{where}: {_words(error)}.") from None
    setup = Setup(registry, operation, parsed, run)
    for name in ("shows", "counts", "holds"):
        read = getattr(parsed, name)
        if read is not None:
            _check_read(where, name, setup, read)
    if parsed.arrange is not None and parsed.arrange.operation not in registry.operations:
        raise Misconfigured(f"{where}: arrange names {parsed.arrange.operation}, which no adapter offers.")
    if parsed.holds is None and registry.operations[operation].guarantee is Guarantee.ATOMIC:
        raise Misconfigured(f"{where}: holds is missing. It says where an atomic operation's holds can be seen.")
    return setup


def _check_read(where: str, name: str, setup: Setup, read: ReadTable) -> None:
    found = setup.registry.operations.get(read.read)
    if found is None or not (found.reads or read.read == setup.operation):
        raise Misconfigured(
            f"{where}: {name} reads {read.read}, which must be an operation that only reads, or the operation itself."
        )


def sample(setup: Setup, number: int, arranged: JSON) -> Sample:
    """Return the sample of this number. Raises `Misconfigured` if its parameters are not valid."""
    values = {"n": number, "run": setup.run, **{f"arranged.{key}": value for key, value in arranged.items()}}
    params = render(setup.table.params, values)
    faults = setup.registry.validate(setup.operation, params)
    if faults:
        raise Misconfigured(f"[verify.{setup.operation}] params: {faults[0]['path']} {faults[0]['message']}")
    intent, action = f"verify-{setup.run}", f"{setup.operation}-{number}"  # of two operations never the same key
    keys = [action_key("verify", intent, action, verb) for verb in ("commit", "compensate")]
    return Sample(intent, action, params, keys[0], keys[1], values)


def render(template: Any, values: Mapping[str, Any]) -> Any:
    """Return a template with its references replaced. Raises `Misconfigured` for one that stands for nothing."""
    if isinstance(template, dict):
        return {key: render(value, values) for key, value in template.items()}
    if isinstance(template, list):
        return [render(value, values) for value in template]
    if template == _NUMBER:
        return values["n"]
    if isinstance(template, str):
        whole = _REFERENCE.fullmatch(template)
        if whole and whole[1].startswith("arranged."):
            return _value(whole[1], values)
        return _REFERENCE.sub(lambda match: str(_value(match[1], values)), template)
    return template


def _value(name: str, values: Mapping[str, Any]) -> Any:
    if name not in values:
        raise Misconfigured(f"{{{name}}} stands for nothing here; what was arranged answered no such field.")
    return values[name]


def _words(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return "dates and times have no meaning here"
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"

"""The catalogue: every operation that the configured adapters offer, checked once and ready to be asked.

What an operation declares is checked when the registry is made, so that nothing half right is ever offered: names are
unique and belong to their adapter, parameters are described by a closed JSON Schema (2020-12), templates name fields
that exist. The schema is compiled once; validating an action then costs microseconds.

It knows adapters only by their contract, and nothing of intents, files or networks.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import MappingProxyType
from typing import Any, Final

import jsonschema_rs
import msgspec

from adapters.contract import Adapter, Operation
from adapters.money import money_of, money_parameter
from adapters.personal import PersonalData, marked, personal_data
from adapters.reading import Reader
from adapters.summary import Summarise, Veil, compile_template
from adapters.tables import CallLimits, MarksTable
from ledger.bounds import ERROR_LENGTH, PARAM_FAULTS
from ledger.errors import LedgerError, Misconfigured
from ledger.intents import JSON, Guarantee, Undo

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}\.[a-z][a-z0-9_]{0,63}").fullmatch


class _Offer(msgspec.Struct, frozen=True):
    """An operation, who performs it, and what was compiled from its declaration."""

    operation: Operation
    adapter: Adapter
    validator: jsonschema_rs.Draft202012Validator
    summarise: Summarise
    personal: PersonalData | None


class Registry:
    """The operations of a set of adapters. Owns the adapters from `open` to `close`."""

    def __init__(
        self,
        adapters: Iterable[Adapter],
        limits: Mapping[str, CallLimits] | None = None,
        faults: Mapping[str, Sequence[str]] | None = None,
        sections: Mapping[str, str] | None = None,
        marks: Mapping[str, Mapping[str, MarksTable]] | None = None,
    ) -> None:
        """Check and compile what the adapters offer; raises `Misconfigured` with the first thing that is wrong.

        By the name of an adapter: `limits`, what calls to it are bounded by where it is not the usual; `faults`, what
        is wrong with one that is configured and could not be made; `marks`, what of its operations is personal as its
        operator says, by verb. `sections`: the tables of the file from which all of it was read, each as a digest.
        """
        self.sections: Mapping[str, str] = dict(sections or {})
        self.faults: dict[str, Sequence[str]] = dict(faults or {})
        self.marks: Mapping[str, Mapping[str, MarksTable]] = dict(marks or {})
        self.adapters = tuple(adapters)  # the first is opened first
        self.limits: Mapping[str, CallLimits] = {
            adapter.name: (limits or {}).get(adapter.name, CallLimits()) for adapter in self.adapters
        }
        self._offers: dict[str, _Offer] = {}
        names: set[str] = set()
        for adapter in self.adapters:
            if adapter.name in names:
                raise Misconfigured(f"Two adapters are named {adapter.name!r}; give one of them another name.")
            names.add(adapter.name)
            own = dict(self.marks.get(adapter.name, {}))
            for key, operation in adapter.operations.items():
                self._add(adapter, key, operation, own.pop(key.rpartition(".")[2], None))
            if own:
                raise Misconfigured(f"[adapters.{adapter.name}.marks]: {min(own)}: no such operation is offered.")
        self._operations = {name: offer.operation for name, offer in self._offers.items()}
        self.operations: Mapping[str, Operation] = MappingProxyType(self._operations)
        self._open = AsyncExitStack()

    def _add(self, adapter: Adapter, key: str, operation: Operation, marks: MarksTable | None) -> None:
        if key in self._offers:
            raise Misconfigured(f"The operation {key} is offered twice; operation names are unique.")
        if key != operation.name or not _NAME(key) or not key.startswith(f"{adapter.name}."):
            raise Misconfigured(
                f"Adapter {adapter.name} offers an operation named {operation.name!r}; it must be "
                f"'{adapter.name}.' and a word of small letters, digits and underscores."
            )
        _check_promises(operation)
        if marks is not None:
            operation = marked(operation, marks)
        validator = _compile_schema(operation)
        summarise = compile_template(key, operation.summary, operation.params)
        money = money_parameter(key, operation.money, operation.params)
        operation = msgspec.structs.replace(operation, money=money)
        offering: Adapter = Reader(adapter) if operation.reads else adapter
        self._offers[key] = _Offer(operation, offering, validator, summarise, personal_data(operation))

    def configured(self, operation: str) -> bool:
        """Tell whether an operation is offered, or may be once what is wrong with its adapter is mended."""
        return operation in self.operations or operation.partition(".")[0] in self.faults

    def adapter(self, operation: str) -> Adapter:
        """Return the adapter that offers an operation; raises `KeyError` for a name not in `operations`."""
        return self._offers[operation].adapter

    def validate(self, operation: str, params: JSON) -> list[dict[str, str]]:
        """Return what is wrong: `{"path": JSON pointer, "message": sentence without values}`, at most PARAM_FAULTS."""
        validator = self._offers[operation].validator
        if validator.is_valid(params):
            return []
        faults: list[dict[str, str]] = []
        for error in validator.iter_errors(params):
            if len(faults) == PARAM_FAULTS:
                break
            faults.append({"path": _pointer(error.instance_path), "message": _sentence(error.message)})
        return faults

    def summary(self, operation: str, params: JSON, veil: Veil | None = None) -> str:
        """Say in one bounded line, harmless to show, what an action with these valid parameters does.

        `veil` is given the name of each parameter that is shown, and how, and says what is shown instead.
        """
        return self._offers[operation].summarise(params, veil)

    def personal(self, operation: str) -> PersonalData | None:
        """Return what of an offered operation is personal; None if nothing is."""
        return self._offers[operation].personal

    def money(self, operation: str, params: JSON) -> tuple[int, str] | None:
        """Return the minor units and the currency that an action with these valid parameters moves, if it does."""
        return money_of(self._offers[operation].operation.money or False, params)

    async def open(self) -> None:
        """Open every adapter. One that cannot be opened is among the `faults` from then on, and offers nothing."""
        async with AsyncExitStack() as opened:
            for adapter in self.adapters:
                try:
                    await adapter.open()
                except Exception as error:  # noqa: BLE001 - whatever is wrong with one must not keep the others away
                    self._withdraw(adapter, error)
                else:
                    opened.push_async_callback(adapter.close)
            self._open = opened.pop_all()

    def _withdraw(self, adapter: Adapter, error: Exception) -> None:
        words = error.message if isinstance(error, LedgerError) else f"it stopped with {type(error).__name__}."
        self.faults[adapter.name] = (f"[adapters.{adapter.name}] could not be opened: {words}",)
        for operation in adapter.operations:
            del self._offers[operation], self._operations[operation]

    async def close(self) -> None:
        """Close every adapter that was opened, the last first. Holds stay."""
        await self._open.aclose()


def _check_promises(operation: Operation) -> None:
    if operation.hold_seconds is not None and operation.guarantee is not Guarantee.ATOMIC:
        raise Misconfigured(
            f"Operation {operation.name} is {operation.guarantee} and takes no hold; it cannot have hold_seconds."
        )
    if operation.key_lifetime_seconds is not None and operation.guarantee is Guarantee.ATOMIC:
        raise Misconfigured(
            f"Operation {operation.name} is atomic: its key must live as long as its hold; it cannot have "
            "key_lifetime_seconds."
        )
    if operation.settle_seconds < 0:
        raise Misconfigured(f"Operation {operation.name}: settle_seconds cannot be negative.")
    if operation.settle_seconds and operation.guarantee is not Guarantee.VERIFIABLE:
        raise Misconfigured(
            f"Operation {operation.name} is {operation.guarantee} and is not asked about; it cannot have "
            "settle_seconds."
        )
    if operation.undo_window_seconds is not None and operation.undo is Undo.NONE:
        raise Misconfigured(f"Operation {operation.name} cannot be undone; it cannot have an undo window.")
    if operation.reads and (operation.guarantee, operation.undo) != (Guarantee.IDEMPOTENT, Undo.EXACT):
        raise Misconfigured(f"Operation {operation.name} only reads; so it is idempotent, and its undo is exact.")
    if operation.reads and operation.money is not False:
        raise Misconfigured(f"Operation {operation.name} only reads; so it moves no money (money = false).")
    for fact in operation.fact_types:
        if fact not in operation.facts:
            raise Misconfigured(f"Operation {operation.name} has no fact {fact!r}; fact_types names only its facts.")


def _compile_schema(operation: Operation) -> jsonschema_rs.Draft202012Validator:
    params = operation.params
    if params.get("type") != "object" or params.get("additionalProperties") is not False:
        raise Misconfigured(
            f'Operation {operation.name}: params must be a JSON Schema with "type": "object" and '
            '"additionalProperties": false, so that nothing unknown is ever passed on.'
        )
    try:
        return jsonschema_rs.Draft202012Validator(
            dict(params),
            validate_formats=True,
            ignore_unknown_formats=False,
            mask="the value",
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(),  # linear time: an agent cannot make a pattern explode
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise Misconfigured(
            f"Operation {operation.name}: params is not a JSON Schema: {_sentence(str(error))}"
        ) from error


def _pointer(path: Iterable[Any]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _sentence(message: str) -> str:
    line = " ".join(message.split("\n\n", maxsplit=1)[0].split())[:ERROR_LENGTH]
    return line[:1].upper() + line[1:].removesuffix(".") + "."

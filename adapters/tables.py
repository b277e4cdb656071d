"""The shapes that tables of `intentledger.toml` share, whatever the adapter: strict, closed, without secrets.

A secret is never written into the file. It is named: `{ env = "NAME" }` or `{ file = "/path" }`, and read once, when
the service starts, by whoever loads the file. What an error says never contains what stood in the file.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from adapters.contract import Operation
from adapters.facts import FactType
from adapters.money import MoneyParameter
from adapters.reading import reading
from ledger.bounds import CALL_SECONDS, CIRCUIT_SILENCES
from ledger.intents import Guarantee, Undo

TimeoutSeconds = Annotated[float, Field(ge=0.05, le=CALL_SECONDS)]
Pointer = Annotated[str, Field(pattern=r"^(/[^/]*)+$", max_length=256)]  # RFC 6901, into an answer
SettleSeconds = Annotated[int, Field(ge=0, le=86_400)]
_SETTLE_SECONDS_DEFAULT: Final = 60  # what proxies and queues usually keep a request whose sender has hung up
SECRET_SOUNDING: Final = re.compile(r"auth|key|token|secret|passw|sign|credential|cookie", re.IGNORECASE).search
TIMEOUT_SECONDS_DEFAULT: Final = 8.0  # below CALL_SECONDS: the adapter, which knows how far it came, speaks first


class Table(BaseModel):
    """A table in which every key is known and every value has its exact type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, allow_inf_nan=False)


class CallLimits(Table):
    """`[adapters.<name>.calls]`, for every type: what one system may take of us, and when it counts as silent."""

    at_once: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Calls at the same time; more of them wait for a place. None: `connections`, where the type has them."""
    seconds: TimeoutSeconds = CALL_SECONDS
    """For one call; an answer after that is not waited for."""
    silences: Annotated[int, Field(ge=1, le=1000)] = CIRCUIT_SILENCES
    """So many calls in a row without an answer open the circuit."""


class Secret(Table):
    """Where a secret lies: in a variable of the environment or in a file, whose last line break does not count."""

    env: Annotated[str, Field(min_length=1)] | None = None
    file: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_reference(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError('a secret stands here by reference, { env = "NAME" } or { file = "/path" }, never itself')  # noqa: TRY004 - pydantic wants ValueError
        return value

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.env is None) is (self.file is None):
            raise ValueError('a secret lies in one place: { env = "NAME" } or { file = "/path" }')
        return self


class PersonalTable(Table):
    """What every configured operation says about personal data beside the marks in its schema; see `personal.py`."""

    data_subject: Pointer | None = None
    personal_fields: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = ()


class MarksTable(Table):
    """`[adapters.<name>.marks.<verb>]`, for every type: what is personal of an operation that does not say so."""

    data_subject: Pointer
    personal: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=128)], ...], Field(min_length=1)]
    """Parameters, by name; the one that names the person among them."""
    personal_fields: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = ()


class ReadingTable(PersonalTable):
    """What every configured operation says that only reads; the adapter adds how."""

    params: dict[str, Any]  # the whole JSON Schema
    summary: str | None = None
    fact_types: dict[str, FactType] = Field(default_factory=dict)

    def operation(self, name: str, facts: tuple[str, ...]) -> Operation:
        """Return the operation of this name that all this says."""
        return reading(
            name,
            self.params,
            facts=facts,
            fact_types=self.fact_types,
            summary=self.summary,
            data_subject=self.data_subject,
            personal_fields=self.personal_fields,
        )


def offered_once(operations: Mapping[str, Any], reads: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless there is an operation, and none of two kinds."""
    if not operations and not reads:
        raise ValueError("there is no operation; an adapter has some under operations or reads")
    for verb in operations.keys() & reads.keys():
        raise ValueError(f"{verb} stands under operations and under reads; an operation is one of them")


class OperationTable(PersonalTable):
    """What every configured operation says about itself; the adapter adds what it does."""

    params: dict[str, Any]  # the whole JSON Schema
    summary: str | None = None
    undo: Undo = Undo.NONE
    undo_window_seconds: PositiveInt | None = None
    fact_types: dict[str, FactType] = Field(default_factory=dict)
    money: MoneyParameter | None = None

    def operation(
        self,
        name: str,
        guarantee: Guarantee,
        *,
        facts: tuple[str, ...] = (),
        hold_seconds: int | None = None,
        key_lifetime_seconds: int | None = None,
        settle_seconds: int | None = None,
        secret_fields: tuple[str, ...] = (),
        shown_by: tuple[str, ...] = (),
    ) -> Operation:
        """Return the operation of this name that all this says; what is verifiable takes some time to settle."""
        settling = _SETTLE_SECONDS_DEFAULT if guarantee is Guarantee.VERIFIABLE else 0
        return Operation(
            name=name,
            params=self.params,
            guarantee=guarantee,
            undo=self.undo,
            undo_window_seconds=self.undo_window_seconds,
            settle_seconds=settling if settle_seconds is None else settle_seconds,
            hold_seconds=hold_seconds,
            key_lifetime_seconds=key_lifetime_seconds,
            facts=facts,
            fact_types=self.fact_types,
            money=self.money,
            summary=self.summary,
            shown_by=shown_by,
            secret_fields=secret_fields,
            data_subject=self.data_subject,
            personal_fields=self.personal_fields,
        )

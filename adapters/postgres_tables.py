"""What `intentledger.toml` says about a PostgreSQL participant, and what becomes of it: recipes of compiled statements.

    [adapters.<name>.reads.<verb>]
    query             one query in a read-only transaction: its first row is the answer and holds the facts

    [adapters.<name>.operations.<verb>]
    preview           one query, read-only: its first row is shown to people and holds the facts for policy
    capture           one query inside the transaction (say `for update`): its first row is kept as :captured.column
    statements        what the operation does, in one transaction
    undo_statements   what its compensation does, in one transaction; it knows :captured.column and :returned.column

A parameter may not be called `captured` or `returned`.
"""

from collections.abc import Collection, Iterable
from typing import Annotated, Literal, Self

import msgspec
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from adapters.contract import Operation
from adapters.reading import reading
from adapters.statements import RESERVED, Statement, compile_statement
from adapters.tables import (
    TIMEOUT_SECONDS_DEFAULT,
    OperationTable,
    ReadingTable,
    Secret,
    Table,
    TimeoutSeconds,
    offered_once,
)
from ledger.errors import Misconfigured
from ledger.intents import Guarantee, Undo


class StatementTable(Table):
    """One statement, and how many rows it must affect or return."""

    sql: str
    expect_rows: NonNegativeInt | None = None


class PostgresOperation(OperationTable):
    """`[adapters.<name>.operations.<verb>]`."""

    statements: Annotated[tuple[StatementTable, ...], Field(min_length=1, max_length=16)]
    undo_statements: Annotated[tuple[StatementTable, ...], Field(max_length=16)] = ()
    capture: str | None = None
    preview: str | None = None
    facts: tuple[str, ...] = ()
    hold_seconds: PositiveInt = 60  # how long rows may stay locked while a person thinks

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.undo is Undo.NONE) is bool(self.undo_statements):
            raise ValueError('undo = "exact" or "semantic" and undo_statements go together')
        if self.facts and self.preview is None:
            raise ValueError("facts are columns of the preview query, which is missing")
        return self


class PostgresReading(ReadingTable):
    """`[adapters.<name>.reads.<verb>]`."""

    query: str
    facts: tuple[str, ...] = ()


class PostgresTable(Table):
    """`[adapters.<name>]` with `type = "postgres"`."""

    type: Literal["postgres"]
    dsn: Secret
    connections: Annotated[int, Field(ge=1, le=64)] = 4
    timeout_seconds: TimeoutSeconds = TIMEOUT_SECONDS_DEFAULT
    lock_timeout_seconds: Annotated[float, Field(ge=0.01, le=5)] = 1.0
    isolation: Literal["read committed", "repeatable read", "serializable"] = "read committed"
    operations: dict[str, PostgresOperation] = Field(default_factory=dict)
    reads: dict[str, PostgresReading] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _offers_something_once(self) -> Self:
        offered_once(self.operations, self.reads)
        return self


class Recipe(msgspec.Struct, frozen=True):
    """An operation with its compiled statements."""

    operation: Operation
    preview: Statement | None
    do: tuple[Statement, ...] = ()
    undo: tuple[Statement, ...] = ()
    capture: Statement | None = None


def recipes(name: str, table: PostgresTable) -> dict[str, Recipe]:
    """Compile every operation of an adapter; raises `Misconfigured`, naming the place."""
    acting = {f"{name}.{verb}": _recipe(name, verb, operation) for verb, operation in table.operations.items()}
    return acting | {f"{name}.{verb}": _reading(name, verb, one) for verb, one in table.reads.items()}


def _recipe(name: str, verb: str, table: PostgresOperation) -> Recipe:
    where = f"[adapters.{name}.operations.{verb}]"
    params = set(table.params.get("properties", {}))
    if params & RESERVED:
        raise Misconfigured(f"{where}: a parameter cannot be called {' or '.join(sorted(RESERVED))}.")
    captured = {"captured"} if table.capture else set()
    return Recipe(
        operation=Operation(
            name=f"{name}.{verb}",
            params=table.params,
            guarantee=Guarantee.ATOMIC,
            undo=table.undo,
            undo_window_seconds=table.undo_window_seconds,
            hold_seconds=table.hold_seconds,
            facts=table.facts,
            fact_types=table.fact_types,
            money=table.money,
            summary=table.summary,
        ),
        do=_statements(f"{where} statements", table.statements, params | captured),
        undo=_statements(f"{where} undo_statements", table.undo_statements, params | captured | {"returned"}),
        capture=compile_statement(f"{where} capture", table.capture, params) if table.capture else None,
        preview=compile_statement(f"{where} preview", table.preview, params) if table.preview else None,
    )


def _reading(name: str, verb: str, table: PostgresReading) -> Recipe:
    return Recipe(
        operation=reading(
            f"{name}.{verb}", table.params, facts=table.facts, fact_types=table.fact_types, summary=table.summary
        ),
        preview=compile_statement(
            f"[adapters.{name}.reads.{verb}] query", table.query, set(table.params.get("properties", {}))
        ),
    )


def _statements(where: str, tables: Iterable[StatementTable], known: Collection[str]) -> tuple[Statement, ...]:
    return tuple(
        compile_statement(f"{where}[{index}]", one.sql, known, one.expect_rows) for index, one in enumerate(tables)
    )

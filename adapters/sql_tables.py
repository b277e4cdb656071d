"""What `intentledger.toml` says about a database as a participant, and what becomes of it: recipes of statements.

    [adapters.<name>.reads.<verb>]
    query             one query in a read-only transaction: its first row is the answer and holds the facts

    [adapters.<name>.operations.<verb>]
    preview           one query, read-only: its first row is shown to people and holds the facts for policy
    capture           one query inside the transaction (say `for update`): its first row is kept as :captured.column
    statements        what the operation does, in one transaction
    undo_statements   what its compensation does, in one transaction; it knows :captured.column and :returned.column

A parameter may not be called `captured` or `returned`. Which database it is, and how it is reached, is said by the
table of the type (`postgres/tables.py`, `mysql/tables.py`).
"""

from collections.abc import Collection, Iterable
from typing import Annotated, Self

import msgspec
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from adapters.contract import Operation, Preview
from adapters.facts import checked_facts
from adapters.statements import RESERVED, Dialect, Statement, compile_statement
from adapters.tables import (
    TIMEOUT_SECONDS_DEFAULT,
    OperationTable,
    ReadingTable,
    Secret,
    Table,
    TimeoutSeconds,
    offered_once,
)
from ledger import bounds
from ledger.canonical import canonical
from ledger.errors import Misconfigured, Permanent
from ledger.intents import JSON, Guarantee, Undo


class StatementTable(Table):
    """One statement, and how many rows it must affect or return."""

    sql: str
    expect_rows: NonNegativeInt | None = None


class SqlOperation(OperationTable):
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


class SqlReading(ReadingTable):
    """`[adapters.<name>.reads.<verb>]`."""

    query: str
    facts: tuple[str, ...] = ()


class SqlTable(Table):
    """What the table of every database says."""

    dsn: Secret
    connections: Annotated[int, Field(ge=1, le=64)] = 4
    timeout_seconds: TimeoutSeconds = TIMEOUT_SECONDS_DEFAULT
    operations: dict[str, SqlOperation] = Field(default_factory=dict)
    reads: dict[str, SqlReading] = Field(default_factory=dict)

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


def recipes(name: str, table: SqlTable, dialect: Dialect) -> dict[str, Recipe]:
    """Compile every operation of an adapter; raises `Misconfigured`, naming the place."""
    acting = {f"{name}.{verb}": _recipe(name, verb, one, dialect) for verb, one in table.operations.items()}
    return acting | {f"{name}.{verb}": _reading(name, verb, one, dialect) for verb, one in table.reads.items()}


def seen(recipe: Recipe, rows: list[JSON]) -> Preview:
    """Make a preview of what its query returned; raises `Permanent` if that is not what is declared (law 11)."""
    row = bounded(rows[0], bounds.PREVIEW_BYTES) if rows else {}
    missing = [fact for fact in recipe.operation.facts if fact not in row]
    if missing:
        raise Permanent(f"The preview of {recipe.operation.name} finds nothing that says {', '.join(missing)}.")
    facts = {fact: row[fact] for fact in recipe.operation.facts}
    return Preview(checked_facts(recipe.operation.name, facts, recipe.operation.fact_types), row or None)


def bounded(value: JSON, size: int) -> JSON:
    """Return `value` if it is small enough to be kept for ever; raises `Permanent`."""
    if len(canonical(value)) > size:
        raise Permanent(f"The statements return more than {size} bytes. Nothing was changed.")
    return value


def expected(statement: Statement, rows: int, returned: int) -> None:
    """Raise `Permanent` if a statement affected another number of rows than it must, or returned too many."""
    if statement.expect_rows is not None and rows != statement.expect_rows:
        raise Permanent(
            f"{statement.expect_rows} row(s) should be affected, but it would be {rows}. Nothing was changed."
        )
    if returned > bounds.ANSWER_ROWS:
        raise Permanent(f"A statement returns more than {bounds.ANSWER_ROWS} rows. Nothing was changed.")


def _recipe(name: str, verb: str, table: SqlOperation, dialect: Dialect) -> Recipe:
    where = f"[adapters.{name}.operations.{verb}]"
    params = set(table.params.get("properties", {}))
    if params & RESERVED:
        raise Misconfigured(f"{where}: a parameter cannot be called {' or '.join(sorted(RESERVED))}.")
    captured = {"captured"} if table.capture else set()

    def one(key: str, sql: str | None) -> Statement | None:
        return compile_statement(f"{where} {key}", sql, params, dialect=dialect) if sql else None

    def several(key: str, tables: Iterable[StatementTable], known: Collection[str]) -> tuple[Statement, ...]:
        return tuple(
            compile_statement(f"{where} {key}[{index}]", each.sql, known, each.expect_rows, dialect)
            for index, each in enumerate(tables)
        )

    preview = one("preview", table.preview)
    return Recipe(
        operation=table.operation(
            f"{name}.{verb}",
            Guarantee.ATOMIC,
            facts=table.facts,
            hold_seconds=table.hold_seconds,
            shown_by=tuple(dict.fromkeys(one.partition(".")[0] for one in preview.names)) if preview else (),
        ),
        do=several("statements", table.statements, params | captured),
        undo=several("undo_statements", table.undo_statements, params | captured | {"returned"}),
        capture=one("capture", table.capture),
        preview=preview,
    )


def _reading(name: str, verb: str, table: SqlReading, dialect: Dialect) -> Recipe:
    where, params = f"[adapters.{name}.reads.{verb}] query", set(table.params.get("properties", {}))
    return Recipe(
        operation=table.operation(f"{name}.{verb}", table.facts),
        preview=compile_statement(where, table.query, params, dialect=dialect),
    )

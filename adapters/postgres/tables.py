"""What `intentledger.toml` says about a PostgreSQL participant: how it is reached; the rest is in `sql_tables.py`."""

from typing import Annotated, Literal

from pydantic import Field

from adapters.sql_tables import SqlTable


class PostgresTable(SqlTable):
    """`[adapters.<name>]` with `type = "postgres"`."""

    type: Literal["postgres"]
    lock_timeout_seconds: Annotated[float, Field(ge=0.01, le=5)] = 1.0
    isolation: Literal["read committed", "repeatable read", "serializable"] = "read committed"

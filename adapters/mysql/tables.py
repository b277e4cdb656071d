"""What `intentledger.toml` says about a MariaDB or MySQL participant, and how its statements are cut and written.

A value goes into a statement as a literal that cannot be read otherwise: a number as digits, a text as the hexadecimal
digits of its UTF-8. No quote, backslash, character set or SQL mode can make anything else of it, and `0.1` stays an
exact decimal.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from adapters.sql_tables import SqlTable
from adapters.statements import Dialect, Statement, bind
from ledger.errors import Permanent
from ledger.intents import JSON

MYSQL: Final = Dialect(
    re.compile(
        r"""
          '(?:[^'\\]|\\.|'')*'                         # text
        | "(?:[^"\\]|\\.|"")*"                         # text
        | `(?:[^`]|``)*`                               # quoted name
        | (?P<foreign>/\*M?! | ;\s*\S)                 # comments that are run; a second statement
        | --[ \t][^\n]* | \#[^\n]*                     # comments
        | /\*.*?\*/
        | :(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
        """,
        re.VERBOSE | re.DOTALL,
    ),
    frozenset({"select", "insert", "update", "delete", "replace", "with", "call"}),
)


class MysqlTable(SqlTable):
    """`[adapters.<name>]` with `type = "mysql"`."""

    type: Literal["mysql"]
    tls: Literal["verify", "none"] = "verify"
    ca_file: Path | None = None  # who may have signed the server's certificate; None: whom the system trusts
    lock_timeout_seconds: Annotated[int, Field(ge=0, le=5)] = 1  # InnoDB counts in whole seconds
    isolation: Literal["read committed", "repeatable read"] = "read committed"  # XA PREPARE gives up shared locks


def written(statement: Statement, values: JSON) -> str:
    """Return the statement with its values as literals; raises `Permanent` for what has none."""
    literals = [literal(value) for value in bind(statement, values)]
    return "".join(piece if isinstance(piece, str) else literals[piece - 1] for piece in statement.pieces)


def literal(value: Any) -> str:
    """Return a JSON value as SQL: an object or a list as its JSON text."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return str(int(value)) if value.is_integer() else repr(value)  # 42.0 and 42 are one number (RFC 8785)
        case str():
            return _text(value)
        case _:
            return _text(json.dumps(value, ensure_ascii=False, allow_nan=False))


def _text(value: str) -> str:
    try:
        return f"_utf8mb4 x'{value.encode().hex()}'"
    except UnicodeEncodeError:
        raise Permanent("A value contains what is no text. Nothing was changed.") from None

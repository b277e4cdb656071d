"""An operator's SQL with named parameters, made ready for PostgreSQL: `:customer` becomes `$1`, its value is bound.

Values never become part of the text of a statement, whatever they contain. A statement may name the parameters of its
operation (`:customer`, or `:address.city` inside an object), what `capture` saw before (`:captured.status`) and, when
undoing, the first row that was returned (`:returned.id`). A name that means nothing is refused when the service starts.
"""

import re
from collections.abc import Collection
from typing import Any, Final

import msgspec

from ledger.errors import Misconfigured, Permanent
from ledger.intents import JSON

RESERVED: Final = frozenset({"captured", "returned"})

_TOKEN: Final = re.compile(
    r"""
      [eE]'(?:[^'\\]|\\.|'')*'                     # text with escapes
    | '(?:[^']|'')*'                               # text
    | "(?:[^"]|"")*"                               # quoted name
    | \$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$       # dollar-quoted text
    | --[^\n]*                                     # comments
    | /\*.*?\*/
    | ::                                           # cast
    | :(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
    | (?P<foreign>\$\d+ | ;\s*\S)                  # what would change the meaning of ours
    """,
    re.VERBOSE | re.DOTALL,
)
_FIRST_WORDS: Final = frozenset({"select", "insert", "update", "delete", "merge", "with", "call"})


class Statement(msgspec.Struct, frozen=True):
    """A statement with numbered parameters and the names whose values they take."""

    sql: str
    names: tuple[str, ...]
    expect_rows: int | None = None  # how many rows it must affect or return; None: any number


def compile_statement(where: str, sql: str, known: Collection[str], expect_rows: int | None = None) -> Statement:
    """Number the parameters of `sql`, whose names begin with one of `known`. Raises `Misconfigured`, naming `where`."""
    text = sql.strip().removesuffix(";").rstrip()
    if not text or text.split(maxsplit=1)[0].lower() not in _FIRST_WORDS:
        raise Misconfigured(f"{where}: a statement begins with one of {', '.join(sorted(_FIRST_WORDS))}.")
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match["foreign"]:
            raise Misconfigured(f"{where}: it is one statement, and its parameters are written :name.")
        name = match["name"]
        if name is None:
            return match[0]
        first, _, rest = name.partition(".")
        if first not in known or (first in RESERVED and not rest):
            raise Misconfigured(f"{where}: there is no parameter :{name} here.")
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return Statement(_TOKEN.sub(number, text), tuple(names), expect_rows)


def bind(statement: Statement, values: JSON) -> list[Any]:
    """Return the values of a statement's parameters, in order. One left out is null; a captured one must exist."""
    return [_value(name, values) for name in statement.names]


def _value(name: str, values: JSON) -> Any:
    found: Any = values
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if found is None and name.partition(".")[0] in RESERVED and not _has(name, values):
        raise Permanent(f"There is no :{name} to work with; nothing like it was seen when the action was prepared.")
    return found


def _has(name: str, values: JSON) -> bool:
    space, _, column = name.partition(".")
    row = values.get(space)
    return isinstance(row, dict) and column in row

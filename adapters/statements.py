"""An operator's SQL with named parameters, cut into text and references: `:customer` becomes PostgreSQL's `$1`.

No value is ever read as SQL, whatever it contains. A statement may name the parameters of its operation (`:customer`,
or `:address.city` inside an object), what `capture` saw before (`:captured.status`) and, when undoing, the first row
that was returned (`:returned.id`). A name that means nothing is refused when the service starts.

What is text, a quoted name or a comment differs between databases and is their `Dialect`.
"""

import re
from collections.abc import Collection
from typing import Any, Final

import msgspec

from ledger.errors import Misconfigured, Permanent
from ledger.intents import JSON

RESERVED: Final = frozenset({"captured", "returned"})


class Dialect(msgspec.Struct, frozen=True):
    """What a database takes for a statement."""

    token: re.Pattern[str]  # what is passed over, `name` of a reference, `foreign` for what has no place here
    first_words: frozenset[str]


POSTGRES: Final = Dialect(
    re.compile(
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
    ),
    frozenset({"select", "insert", "update", "delete", "merge", "with", "call"}),
)


class Statement(msgspec.Struct, frozen=True):
    """A statement cut into its text and its references, and the names whose values those take."""

    pieces: tuple[str | int, ...]  # text, or the number of a name, from 1
    names: tuple[str, ...]
    expect_rows: int | None = None  # how many rows it must affect or return; None: any number

    @property
    def sql(self) -> str:
        """Return the statement as PostgreSQL prepares it."""
        return "".join(piece if isinstance(piece, str) else f"${piece}" for piece in self.pieces)


def compile_statement(
    where: str, sql: str, known: Collection[str], expect_rows: int | None = None, dialect: Dialect = POSTGRES
) -> Statement:
    """Cut `sql`, whose references begin with one of `known`, into pieces. Raises `Misconfigured`, naming `where`."""
    text = sql.strip().removesuffix(";").rstrip()
    if not text or text.split(maxsplit=1)[0].lower() not in dialect.first_words:
        raise Misconfigured(f"{where}: a statement begins with one of {', '.join(sorted(dialect.first_words))}.")
    names: list[str] = []
    pieces: list[str | int] = []
    end = 0
    for match in dialect.token.finditer(text):
        if match["foreign"]:
            raise Misconfigured(f"{where}: it is one statement, and its parameters are written :name.")
        name = match["name"]
        if name is None:
            continue
        first, _, rest = name.partition(".")
        if first not in known or (first in RESERVED and not rest):
            raise Misconfigured(f"{where}: there is no parameter :{name} here.")
        if name not in names:
            names.append(name)
        pieces += [text[end : match.start()], names.index(name) + 1]
        end = match.end()
    return Statement((*pieces, text[end:]), tuple(names), expect_rows)


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

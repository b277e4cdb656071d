"""The SQL of Intent Ledger: migrations, and queries that have names.

A query is a section of a `*.sql` file in this package that begins with a line `-- name: <name>`; code asks for it once,
at module top, as `query("<file>.<name>")`. Nothing here connects to anything.
"""

import re
from functools import cache
from importlib import resources

_SECTION = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def query(name: str) -> str:
    """Return the text of the named query `file.name`. Raises `LookupError` for a name that does not exist."""
    file, _, section = name.partition(".")
    try:
        return _sections(file)[section]
    except (KeyError, FileNotFoundError) as error:
        raise LookupError(f"There is no query {name!r} in the sql package.") from error


def names() -> list[str]:
    """Return the name of every query, so that a test can prepare each of them."""
    files = sorted(
        file.name.removesuffix(".sql") for file in resources.files(__name__).iterdir() if file.name.endswith(".sql")
    )
    return [f"{file}.{section}" for file in files for section in _sections(file)]


def migrations() -> dict[str, str]:
    """Return the text of every migration by its file name, in the order in which they are applied."""
    folder = resources.files(__name__) / "migrations"
    files = (file for file in folder.iterdir() if file.name.endswith(".sql"))
    return {file.name: file.read_text("utf-8") for file in sorted(files, key=lambda file: file.name)}


@cache
def _sections(file: str) -> dict[str, str]:
    parts = _SECTION.split((resources.files(__name__) / f"{file}.sql").read_text("utf-8"))
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}

"""At which line of a TOML file something stands, so that who must mend it need not search.

The parser of the standard library keeps no places, and a second parser could disagree with it. So it is asked itself:
the line looked for is the first one after which the beginning of the file contains what is looked for.
"""

import tomllib
from collections.abc import Sequence
from typing import Any


def line_of(text: str, path: Sequence[str | int]) -> int | None:
    """Return the line, counted from 1, at which what stands at `path` begins; None if it stands nowhere.

    `text` is a whole TOML document; of an inline table or an array it is the line on which that begins.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    if not _stands(lines, len(lines), path):
        return None
    without, enough = 0, len(lines)  # so many lines do not contain it; so many do
    while enough - without > 1:
        middle = (without + enough) // 2
        if _stands(lines, middle, path):
            enough = middle
        else:
            without = middle
    return enough


def _stands(lines: Sequence[str], count: int, path: Sequence[str | int]) -> bool:
    """Tell whether the first lines contain it; the last of them may begin a value that goes on below."""
    for end in range(count, len(lines) + 1):
        try:
            found: Any = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        return _contains(found, path)
    return False


def _contains(found: Any, path: Sequence[str | int]) -> bool:
    for part in path:
        try:
            found = found[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True

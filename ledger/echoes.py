"""Find texts again wherever they are repeated, however they are spelled there.

Two spellings are the same text when they read the same once escapes are undone (of addresses, JSON, HTML and of our own
sentences) and case, accents' encoding, and `+` for a space no longer matter. What a sentence cut short is found by what
is left of it.

A text counts as repeated where it is no part of a longer word. Only ASCII letters and digits make words longer: scripts
that write without spaces are among the others, and there too much is found rather than too little. Pure.
"""

import html
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from ledger import bounds

_ELLIPSIS: Final = "…"  # where a text was cut
_HEAD: Final = 2  # characters by which a place is recognised as worth a look
_HEX: Final = "[0-9a-fA-F]"
_TAIL: Final = f"%[89abAB]{_HEX}"  # a byte of UTF-8 that goes on
_ESCAPE: Final = re.compile(
    rf"%[0-7]{_HEX}|%[cdCD]{_HEX}{_TAIL}|%[eE]{_HEX}(?:{_TAIL}){{2}}|%[fF][0-4](?:{_TAIL}){{3}}"
    rf"|\\u\{{{_HEX}{{1,6}}\}}|\\u[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}}|\\u{_HEX}{{4}}|\\U{_HEX}{{8}}"
    r"|\\[\\/\"'bfnrt]|&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,8});"
)


class Echoes:
    """Texts that are looked for in others, each with a mark of what it belongs to."""

    def __init__(self) -> None:
        """Look for nothing yet."""
        self._marks: dict[str, str] = {}
        self._sought: dict[str, tuple[str, ...]] | None = None  # as they read, by head, the longest first
        self._read: dict[str, str] = {}  # the marks of those

    def learn(self, text: str, mark: str) -> None:
        """Look for a text from now on; what it was said to belong to first stays."""
        if text and text not in self._marks:
            self._marks[text] = mark
            self._sought = None

    def mark(self, text: str) -> str | None:
        """Return the mark of a text that is one of those sought, whole."""
        return self._marks.get(text)

    def found(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield where sought texts stand in another, in order, as start, end and mark."""
        if self._sought is None:
            self._read = _as_they_read(self._marks)
            self._sought = _by_head(self._read)
            self._heads = re.compile("|".join(map(re.escape, self._sought)))
        if not self._sought or len(text) < _HEAD:
            return
        plain, places = read(text)
        at = done = 0
        while (head := self._heads.search(plain, at)) is not None:
            at = head.start()
            end, one = _longest(plain, at, self._sought[head[0]])
            start = places[at][0] if places else at
            if end and start >= done:
                done = places[end - 1][1] if places else end
                yield start, done, self._read[one]
            at = max(end, at + 1)


def read(text: str) -> tuple[str, Sequence[tuple[int, int]]]:
    """Return how a text reads, however it is spelled, and where each character of it stands; () if in its place."""
    if text.isascii() and _ESCAPE.search(text) is None:
        return text.lower().replace("+", " "), ()
    plain: list[str] = []
    places: list[tuple[int, int]] = []

    def take(meant: str, start: int, end: int) -> None:
        plain.append(meant)
        places.extend([(start, end)] * len(meant))

    at = 0
    for escape in _ESCAPE.finditer(text):
        for place in range(at, escape.start()):
            take(_folded(text[place]), place, place + 1)
        at = escape.end()
        take("".join(map(_folded, _meant(escape[0]))), escape.start(), at)
    for place in range(at, len(text)):
        take(_folded(text[place]), place, place + 1)
    return "".join(plain), places


def _as_they_read(marks: Mapping[str, str]) -> dict[str, str]:
    """Return what is sought, the longest first: as it reads, and as it is written, which may look like an escape."""
    sought = sorted(filter(_worth_seeking, marks), key=len, reverse=True)[: bounds.ECHOES]
    forms = [(form, marks[text]) for text in sought for form in (read(text)[0], "".join(map(_folded, text)))]
    return dict(
        sorted([form for form in forms if _worth_seeking(form[0])], key=lambda form: len(form[0]), reverse=True)
    )


def _by_head(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        found[text[:_HEAD]] = (*found.get(text[:_HEAD], ()), text)
    return found


def _worth_seeking(text: str) -> bool:
    """Tell whether a text is neither so short that it would be found by chance nor longer than what others repeat."""
    by_chance = len(text) < bounds.ECHO_LENGTH and len(text.encode()) < bounds.ECHO_BYTES
    return not by_chance and len(text) <= bounds.ECHO_LENGTH_MAX


def _longest(plain: str, at: int, sought: tuple[str, ...]) -> tuple[int, str]:
    """Return where the longest text that stands at a place ends, or what is left of it, and which; 0 if none does."""
    if _within_word(plain, at):
        return 0, ""
    end = _cut_off(plain, at, at + len(sought[0]))
    left = plain[at:end]
    for text in sought if end else ():
        if len(text) > len(left) and text.startswith(left):
            return end, text
    for text in sought if plain.startswith(sought, at) else ():
        if plain.startswith(text, at) and not _within_word(plain, at + len(text)):
            return at + len(text), text
    return 0, ""


def _cut_off(plain: str, at: int, longest: int) -> int:
    """Return where a text was cut that begins here: before an ellipsis, or where a long sentence ends; 0 if nowhere."""
    end = plain.find(_ELLIPSIS, at, longest)
    if end < 0 and longest > len(plain) >= bounds.SUMMARY_VALUE_LENGTH:
        end = len(plain)
    return end if end - at >= bounds.NAMED_LENGTH else 0


def _within_word(plain: str, at: int) -> bool:
    """Tell whether a place is in the middle of a word."""
    return at > 0 and all(one.isascii() and one.isalnum() for one in plain[at - 1 : at + 1]) and at < len(plain)


@lru_cache(4096)
def _folded(character: str) -> str:
    if character == "+":
        return " "
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", character).casefold())


def _meant(escape: str) -> str:
    """Undo one escape; what only looks like one stays."""
    if escape[0] == "%":
        return unquote(escape, errors="replace")
    if escape[0] == "&":
        return html.unescape(escape)
    if escape[1] == "U" or escape[2:3] == "{":
        code = int(escape[2:].strip("{}"), 16)
        return chr(code) if code <= 0x10FFFF else escape  # Unicode ends there
    return escape[1] if escape[1] == "'" else str(json.loads(f'"{escape}"'))

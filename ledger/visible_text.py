"""Text of others, made so that what a person sees is what is there.

An agent chose these words. In sentences that people read, nothing in them may hide or reorder: `printable` escapes what
cannot be seen. Where a person answers for them, nothing may pose as something else either, which `visible` sees to.
Shown by it as they are: printable ASCII; Latin letters with the usual marks (é, ß, ł); Chinese, Japanese and Korean
letters; a few signs of ordinary prose (“ … € §). Everything else is written as an escape that names its code point:
control and zero-width characters, those that change the direction of text, unusual spaces, private and unassigned
ones, loose marks, and letters of scripts that look like Latin ones (Cyrillic in the name of a bank).

Pure. It decides nothing: an escape is a reason to look twice, not a fault.
"""

import json
import unicodedata
from functools import lru_cache
from typing import Any, Final

import msgspec

from ledger.bounds import SUMMARY_VALUE_LENGTH

_SIGNS: Final = frozenset("¡¢£¥§©«®°±»¼½¾¿÷–—‘’“”•…€™、。ー「」")  # noqa: RUF001 prose has them
_LATIN_WITHOUT_MARKS: Final = frozenset("ßæÆøØðÐþÞłŁđĐœŒ")  # which no canonical decomposition leads back to ASCII
_EAST_ASIAN: Final = ("CJK UNIFIED IDEOGRAPH-", "HIRAGANA LETTER ", "KATAKANA LETTER ", "HANGUL SYLLABLE ")

UNSEEN: Final = frozenset(
    chr(code)
    for first, last in (
        *((0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x3164, 0x3164)),
        *((0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xE0100, 0xE01EF)),
    )
    for code in range(first, last + 1)
)
"""Letters and marks that count as printable and leave nothing to see (Unicode's Default_Ignorable_Code_Point)."""


def readable(name: str) -> bool:
    """Tell whether a name looks like what it is: all of it can be seen, and it has no spaces at its ends."""
    return name != "" and name.isprintable() and name == name.strip() and UNSEEN.isdisjoint(name)


def printable(text: str) -> str:
    r"""Return `text` with every character that cannot be seen, line ends among them, as its code: "\u{200b}"."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else f"\\u{{{ord(one):x}}}" for one in text)


def visible(text: str) -> str:
    """Return `text` in one line in which every character is what it looks like; others are escapes."""
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def visible_json(value: Any) -> str:
    """Write a JSON value in one line, visibly. A backslash in it is written twice, so no text can pose as an escape."""
    return visible(msgspec.json.encode(value, order="sorted").decode())


def brief_json(value: Any) -> str:
    """Write a value in one bounded line for a sentence, with what cannot be seen as its code."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    if len(text) > SUMMARY_VALUE_LENGTH:
        text = text[: SUMMARY_VALUE_LENGTH - 1] + "…"
    return printable(text)


def cut(text: str, length: int) -> str:
    """Return at most `length` characters, and behind them how many there are in all if some are missing."""
    return text if len(text) <= length else f"{text[:length]}… ({len(text):,} characters, {length:,} shown)"


@lru_cache(4096)
def _shown(character: str) -> str:
    if (" " <= character <= "~") or character in _SIGNS or character in _LATIN_WITHOUT_MARKS:
        return character
    name = unicodedata.name(character, "")
    if name.startswith(_EAST_ASIAN) or _marked_latin(character):
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _marked_latin(character: str) -> bool:
    """Tell whether this is an ASCII letter with marks on it, as one character."""
    letter, *marks = list(unicodedata.normalize("NFD", character))
    if unicodedata.normalize("NFC", character) != character:  # another code point for a letter that has one
        return False
    return letter.isascii() and letter.isalpha() and bool(marks) and all(map(unicodedata.combining, marks))

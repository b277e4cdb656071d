"""Cedar text before Cedar reads it: where each policy stands, how deeply it nests, and where it stops making sense.

Cedar's parser names no places and overflows the stack of the process on text that nests too deeply. So the text is cut
into tokens here first: policies that would be dangerous are never handed over, and a fault is found by asking which is
the shortest beginning that the parser no longer understands. Nothing here knows what a policy means.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

import cedarpy
import msgspec

from ledger import bounds

_TOKEN: Final = re.compile(r'//[^\n\r]*|"(?:[^"\\]|\\.)*"|&&|\|\||::|\w+|\S', re.DOTALL)
_NESTS: Final = frozenset({"&&", "||", ".", "+", "-", "*", "!", "if", "["})
_UNFINISHED: Final = "unexpected end of input"
_UNEXPECTED: Final = re.compile(r"unexpected token `(.*)`", re.DOTALL)


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a policy, and where: lines and columns count from 1."""

    line: int
    column: int
    message: str


class Statement(msgspec.Struct, frozen=True):
    """One policy in the text: its tokens as (start, end), comments left out."""

    text: str  # the whole text
    tokens: tuple[tuple[int, int], ...]

    def fault(self, message: str, token: int = 0) -> Fault:
        """Say what is wrong at one of its tokens."""
        start = self.tokens[token][0]
        line_start = self.text.rfind("\n", 0, start) + 1
        return Fault(self.text.count("\n", 0, start) + 1, start - line_start + 1, message)

    @property
    def whole(self) -> str:
        """Return its text, from the first token to the last."""
        return self.until(len(self.tokens) - 1)

    def until(self, token: int) -> str:
        """Return its text up to a token, this one included."""
        return self.text[self.tokens[0][0] : self.tokens[token][1]]


def statements(text: str) -> tuple[Statement, ...]:
    """Cut the text into policies; what follows the last semicolon is one more."""
    found: list[Statement] = []
    tokens: list[tuple[int, int]] = []
    for match in _TOKEN.finditer(text):
        if match[0].startswith("//"):
            continue
        tokens.append(match.span())
        if match[0] == ";":
            found.append(Statement(text, tuple(tokens)))
            tokens = []
    if tokens:
        found.append(Statement(text, tuple(tokens)))
    return tuple(found)


def dangers(policies: tuple[Statement, ...]) -> Iterator[Fault]:
    """Yield the policies that nest more deeply than the parser is known to survive."""
    for policy in policies:
        depth = operators = 0
        for place, (start, end) in enumerate(policy.tokens):
            word = policy.text[start:end]
            depth += (word in "([{") - (word in ")]}")
            operators += word in _NESTS
            if depth > bounds.POLICY_DEPTH or operators > bounds.POLICY_OPERATORS:
                yield policy.fault(
                    f"This policy nests more than {bounds.POLICY_DEPTH} brackets deep or has more than "
                    f"{bounds.POLICY_OPERATORS} operators; split it.",
                    place,
                )
                break


def faults(policies: tuple[Statement, ...]) -> Iterator[Fault]:
    """Yield the first fault of each policy that the parser does not understand."""
    for policy in policies:
        last = len(policy.tokens) - 1
        complaint = _complaint(policy.whole)
        if complaint is None:
            continue
        if complaint == _UNFINISHED:
            yield policy.fault("The policy ends before it is complete; a policy ends with a semicolon.", last)
            continue
        yield policy.fault(f"The policy cannot be read: {complaint}.", _unexpected(policy, complaint))


def _unexpected(policy: Statement, complaint: str) -> int:
    """Return which token the parser did not expect: the beginnings up to it and beyond give the same complaint."""
    named = _UNEXPECTED.fullmatch(complaint)
    alike = [place for place, (start, end) in enumerate(policy.tokens) if named and policy.text[start:end] == named[1]]
    found = bisect_left(alike, True, key=lambda token: _complaint(policy.until(token) + ";") == complaint)
    return alike[found] if found < len(alike) else 0


def _complaint(text: str) -> str | None:
    try:
        cedarpy.PolicySet.from_str(text)
    except ValueError as error:
        return str(error)
    return None

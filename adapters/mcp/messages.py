"""JSON-RPC 2.0 as the Model Context Protocol speaks it: what is written, what is read, and what a server may not ask.

Rules of this file:

1. A message is one JSON text with one meaning (`adapters/answers.py`), or it is no message. Credentials in it are
   blotted out before anything is read.
2. A server that asks *us* (for a person's input, for a model's words, for directories) is refused. Only a ping is
   answered. We have declared no such ability, and whatever answered could be the model that acts here.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from adapters.answers import Senseless, parse
from ledger import bounds
from ledger.canonical import canonical
from ledger.intents import JSON

METHOD_NOT_FOUND: Final = -32601


class Request(msgspec.Struct, frozen=True):
    """A question of ours. Numbers are never used twice in one conversation."""

    number: int
    method: str
    params: JSON

    def encoded(self) -> bytes:
        """Write it as one line."""
        return canonical({"jsonrpc": "2.0", "id": self.number, "method": self.method, "params": self.params})


class Reply(msgspec.Struct, frozen=True):
    """An answer to the question of that number: a result, or an error with its code and words."""

    number: int
    result: JSON | None
    code: int | None = None
    words: str = ""


class Question(msgspec.Struct, frozen=True):
    """A request that the server makes of us."""

    number: int | str
    method: str


class Notice(msgspec.Struct, frozen=True):
    """A notification, or an answer to nothing that can be told."""


Message = Reply | Question | Notice


def notification(method: str) -> bytes:
    """Write a notification without parameters as one line."""
    return canonical({"jsonrpc": "2.0", "method": method})


def answer(question: Question) -> bytes:
    """Write what a server is told that asks us something."""
    if question.method == "ping":
        return canonical({"jsonrpc": "2.0", "id": question.number, "result": {}})
    refusal = {"code": METHOD_NOT_FOUND, "message": f"{question.method[:64]} is refused: nobody answers here."}
    return canonical({"jsonrpc": "2.0", "id": question.number, "error": refusal})


def read(body: bytes, secrets: Sequence[bytes] = ()) -> Message:
    """Read one message. Raises `Senseless` for what is none."""
    message = parse(body, secrets)
    number, method = message.get("id"), message.get("method")
    if isinstance(method, str):
        return Question(number, method) if isinstance(number, int | str) else Notice()
    if not isinstance(number, int) or isinstance(number, bool):
        return Notice()
    match message:
        case {"result": dict() as result}:
            return Reply(number, result)
        case {"error": {"code": int() as code, "message": str() as words}}:
            return Reply(number, None, code, one_line(words))
        case _:
            raise Senseless("it is neither a result nor an error")


def one_line(words: Any) -> str:
    """Return an outside system's words as one bounded line that can be shown."""
    printable = "".join(letter if letter.isprintable() else " " for letter in str(words)[: 4 * bounds.ERROR_LENGTH])
    return " ".join(printable.split())[: bounds.ERROR_LENGTH // 2]

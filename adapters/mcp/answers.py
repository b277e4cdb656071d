"""What a tool's answer means, and what of it is kept.

A tool that answers with `isError` says that something went wrong, not that nothing happened. So where it may have had
an effect that is a doubt, unless the operator knows that error for a certain no. It is recognised by its code or by how
it *begins*: what follows may be an agent's own words.

The data of an answer are its `structuredContent`; where it has none, its text if that is a JSON object; otherwise
`{"text": …}`. Pictures, sounds and links are not kept.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from adapters.answers import Senseless, parse, pointed
from adapters.contract import Absent, Applied, Result, Standing, Unknown
from adapters.mcp.messages import Reply, one_line
from adapters.mcp.tables import Inquiry
from ledger import bounds
from ledger.canonical import canonical
from ledger.errors import InDoubt
from ledger.intents import JSON

_COMPLETE: Final = "complete"


class Done(msgspec.Struct, frozen=True):
    """The tool says that it did what it was asked."""

    data: JSON


class Failed(msgspec.Struct, frozen=True):
    """The tool, or the server, says that something went wrong."""

    words: str
    code: int | None = None

    def is_refusal(self, known: Collection[int | str]) -> bool:
        """Tell whether the operator knows this error for a certain no."""
        return any(
            self.code == one if isinstance(one, int) else self.code is None and self.words.startswith(one)
            for one in known
        )

    def sentence(self) -> str:
        """Say what went wrong, in the server's words."""
        code = "" if self.code is None else f" ({self.code})"
        return f"The tool answered with an error{code}: {self.words.removesuffix('.') or 'without words'}."


def outcome(reply: Reply) -> Done | Failed:
    """Read a reply to the call of a tool. Raises `InDoubt` where it makes no sense."""
    result = reply.result
    if result is None:
        return Failed(reply.words, reply.code)
    if result.get("resultType", _COMPLETE) != _COMPLETE:
        raise InDoubt("The tool wants to ask somebody, and nobody answers here. What it did before that is not known.")
    content, failed = result.get("content", []), result.get("isError", False)
    if not isinstance(content, list) or not isinstance(failed, bool):
        raise InDoubt("The tool's answer makes no sense.")
    text = "\n".join(_texts(content))
    if failed:
        return Failed(one_line(text))
    structured = result.get("structuredContent")
    return Done(structured if isinstance(structured, dict) else _read(text))


def kept(data: JSON, wanted: Mapping[str, str], secret_fields: Collection[str]) -> JSON | None:
    """Return what is stored of an answer, within ANSWER_BYTES; None where it does not show what is wanted of it."""
    if wanted:
        data = {name: pointed(data, pointer) for name, pointer in wanted.items()}
        if None in data.values():
            return None
    data = {name: value for name, value in data.items() if name not in secret_fields}
    if len(canonical(data)) <= bounds.ANSWER_BYTES:
        return data
    return {"left_out": f"The answer is longer than {bounds.ANSWER_BYTES} bytes."}


def standing(inquiry: Inquiry, answered: Done | Failed, values: JSON, secret_fields: Collection[str]) -> Standing:
    """Read what a search found (law 9); `values` are those of the call."""
    table = inquiry.table
    if isinstance(answered, Failed):
        return Unknown(answered.sentence())
    key = str(values["key"])
    absent = None if table.absent is None else table.absent.replace("{key}", key)
    match pointed(answered.data, table.at):
        case list() as entries:
            ours = _ours(inquiry, entries, values)
        case str() as text if text == absent:  # which may repeat what was searched for
            ours = []
        case str() as text if key in text:
            ours = [text]
        case _:
            ours = None
    if ours is None:
        return Unknown(f"The search shows nothing at {table.at} that tells.")
    if bool(ours) is not (table.applied == "found"):
        return Absent()
    found = ours[0] if ours and isinstance(ours[0], dict) else {"found": ours[0]} if ours else {}
    data = kept(found, table.result if ours else {}, secret_fields)
    return Unknown("The search does not show what is wanted of it.") if data is None else Applied(Result(data))


def _ours(inquiry: Inquiry, entries: list[Any], values: JSON) -> list[Any] | None:
    """Return the entries that count; None where none shows what they are told apart by."""
    wanted = {pointer: render(values) for pointer, render in inquiry.where.items()}
    shown = [entry for entry in entries if all(pointed(entry, pointer) is not None for pointer in wanted)]
    if entries and not shown:
        return None
    return [entry for entry in shown if all(pointed(entry, pointer) == value for pointer, value in wanted.items())]


def _texts(content: list[Any]) -> list[str]:
    return [
        block["text"]
        for block in content
        if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str)
    ]


def _read(text: str) -> JSON:
    try:
        return parse(text.encode()) if text.lstrip().startswith("{") else {"text": text} if text else {}
    except Senseless:
        return {"text": text}

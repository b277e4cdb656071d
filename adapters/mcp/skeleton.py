"""What an MCP server offers, written as tables that an operator can paste into `intentledger.toml` and make narrower.

A guarantee is not offered: `blind` is what everything is until its operator says otherwise. Descriptions stand in
comments, as data: they are a server's words, and may be meant for a model.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from adapters.mcp.messages import one_line
from adapters.mcp.tools import closed, pin
from ledger.intents import JSON


def skeleton(adapter: str, tools: Mapping[str, JSON]) -> str:
    """Return one table for each tool, pinned as it is now and closed to what it does not know."""
    return "\n".join(line for name in sorted(tools) for line in _table(adapter, name, tools[name]))


def _table(adapter: str, name: str, tool: JSON) -> Iterator[str]:
    yield f"[adapters.{adapter}.operations.{_verb(name)}]  # {one_line(tool.get('description', ''))}"
    yield 'guarantee = "blind"'
    yield f"commit = {{ tool = {json.dumps(name)}, pin = {json.dumps(pin(tool))} }}"
    try:
        yield f"params = {_toml(closed(tool))}"
    except ValueError as error:
        yield f"# {error}"
        yield 'params = { type = "object", additionalProperties = false }'
    yield ""


def _verb(name: str) -> str:
    verb = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")
    return (verb if verb[:1].isalpha() else f"tool_{verb}")[:64]


def _toml(value: Any) -> str:
    match value:
        case None:
            raise ValueError("What it takes can be null, which TOML cannot say; write its params yourself.")
        case bool():
            return "true" if value else "false"
        case dict():
            return "{ " + ", ".join(f"{_key(key)} = {_toml(inner)}" for key, inner in value.items()) + " }"
        case list():
            return "[" + ", ".join(_toml(inner) for inner in value) + "]"
        case str():
            return json.dumps(value).replace("\x7f", "\\u007f")
        case _:
            return repr(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)

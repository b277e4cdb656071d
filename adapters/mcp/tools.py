"""What a tool of an MCP server is, and whether it still is what the operator saw.

A server can change a tool after it was trusted: its parameters, its description, what it says of itself. The *pin* is
the SHA-256 of the canonical bytes of the whole definition (RFC 8785), but for `_meta` and `icons`, which say nothing
about what it does. A tool with another pin is not called.

Hints (`readOnlyHint`, `destructiveHint`, `idempotentHint` …) are the server's opinion of itself. They are under the pin
and are never read.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import jsonschema_rs

from adapters.mcp.messages import one_line
from ledger.canonical import canonical, digest
from ledger.intents import JSON

_PROSE: Final = frozenset({"$schema", "$id", "$comment", "title", "description", "examples"})
_SCHEMAS_BY_NAME: Final = frozenset({"properties", "$defs", "definitions"})
_SCHEMAS_LISTED: Final = frozenset({"prefixItems", "anyOf", "oneOf", "allOf"})
_SCHEMA: Final = frozenset({"", "items", "additionalProperties", "contains", "propertyNames", "not"})
_NOT_PINNED: Final = frozenset({"_meta", "icons"})


def pin(definition: JSON) -> str:
    """Return the digest of a tool's definition."""
    return digest({name: value for name, value in definition.items() if name not in _NOT_PINNED})


def unusable(tool: str, pinned: str | None, tools: Mapping[str, JSON]) -> str | None:
    """Say why a tool cannot be called, in a sentence; None if it can."""
    definition = tools.get(tool)
    if definition is None:
        return f"The MCP server offers no tool {tool} now, or two of that name."
    if not isinstance(definition.get("inputSchema"), dict):
        return f"The MCP server does not say what the tool {tool} takes."
    if pinned is not None and (now := pin(definition)) != pinned:
        return (
            f"The MCP server has changed the tool {tool}: its definition is {now}, and {pinned} is pinned. "
            "Compare them, and pin what you trust."
        )
    if _has_key(definition["inputSchema"], "x-mcp-header"):
        return f"The tool {tool} wants parameters in headers, which are not sent."
    return None


def misfit(tool: str, definition: JSON, arguments: JSON) -> str | None:
    """Say why the server would not take these arguments, by its own schema; None if it would. Values are not shown."""
    try:
        validator = _validator(canonical(definition["inputSchema"]))
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        return f"What the tool {tool} takes is not described by a JSON Schema: {_sentence(error)}"
    fault = next(iter(validator.iter_errors(arguments)), None)
    if fault is None:
        return None
    place = "/" + "/".join(str(part) for part in fault.instance_path)
    return f"The tool {tool} does not take these arguments, at {place}: {_sentence(fault)}"


def closed(definition: JSON) -> JSON:
    """Return a tool's schema as one that takes nothing unknown and has none of the server's prose in it.

    Parameters are shown to agents, and what a server writes there may be meant to steer them. Raises `ValueError` with
    a sentence if it cannot be closed.
    """
    schema = definition.get("inputSchema")
    name = one_line(definition.get("name"))
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise ValueError(f"The tool {name} does not say that it takes an object; write its params yourself.")
    if schema.get("additionalProperties", False) is not False:
        raise ValueError(f"The tool {name} takes whatever it is given; write its params yourself.")
    composed = sorted(schema.keys() & {"$ref", "allOf", "anyOf", "oneOf", "if", "patternProperties"})
    if composed:
        raise ValueError(f"The tool {name} describes what it takes by {composed[0]}; write its params yourself.")
    bare: JSON = {key: _bare(key, value) for key, value in schema.items() if key not in _PROSE}
    return {**bare, "additionalProperties": False}


def _bare(keyword: str, value: Any) -> Any:
    """Return what stands under a keyword of a schema without prose, objects in it closed where they are plain."""
    if keyword in _SCHEMAS_BY_NAME and isinstance(value, dict):
        return {name: _bare("", inner) for name, inner in value.items()}
    if keyword in _SCHEMAS_LISTED and isinstance(value, list):
        return [_bare("", inner) for inner in value]
    if keyword not in _SCHEMA or not isinstance(value, dict):
        return value
    schema = {key: _bare(key, inner) for key, inner in value.items() if key not in _PROSE}
    if "properties" in schema and not schema.keys() & {"$ref", "allOf", "anyOf", "oneOf", "if", "patternProperties"}:
        schema.setdefault("additionalProperties", False)
    return schema


@lru_cache(256)  # schemas of one process; a server has a few dozen
def _validator(schema: bytes) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(
        json.loads(schema), mask="the value", offline=True, pattern_options=jsonschema_rs.RegexOptions()
    )


def _has_key(value: Any, key: str) -> bool:
    if isinstance(value, dict):
        return key in value or any(_has_key(inner, key) for inner in value.values())
    return isinstance(value, list) and any(_has_key(inner, key) for inner in value)


def _sentence(error: Exception) -> str:
    words = one_line(str(getattr(error, "message", error)).split("\n\n", maxsplit=1)[0])
    return words[:1].upper() + words[1:].removesuffix(".") + "."

"""Templates of requests: `{charge}` in a path or a body stands for a value of the call.

    {name}           a parameter of the action; {address.city} inside one
    {params}         all parameters, as an object
    {key}            the key of this action, or of its compensation
    {receipt.id}     what prepare answered: in the commit of an `atomic` operation
    {result.id}      what commit answered: in compensate

In a path a value is percent-encoded to the last character and may be neither empty nor a step up, so it can never
become another path. In a body a reference is a whole value and keeps its type; what was left out stays out. `{key}`,
which is hexadecimal, may also stand within a text there.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final
from urllib.parse import quote

from ledger.errors import Misconfigured
from ledger.intents import JSON

RESERVED: Final = frozenset({"key", "params", "receipt", "result"})

Render = Callable[[Mapping[str, Any]], Any]

_REFERENCE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)\}")
_MISSING: Final = object()


class Unrenderable(ValueError):
    """A value that the request needs is missing, or cannot stand where it should."""


def parameters(where: str, schema: Mapping[str, Any]) -> set[str]:
    """Return the names of an operation's parameters. Raises `Misconfigured` where one has a meaning of its own here."""
    params = set(schema.get("properties", {}))
    if params & RESERVED:
        raise Misconfigured(f"{where}: a parameter cannot be called {', '.join(sorted(params & RESERVED))}.")
    return params


def compile_path(where: str, template: str, known: Collection[str]) -> Callable[[Mapping[str, Any]], str]:
    """Return the function from values to a path. Raises `Misconfigured`, naming `where`, for what is not known."""
    if not template.startswith("/"):
        raise Misconfigured(f"{where}: a path begins with /.")
    pieces = _REFERENCE.split(template)
    texts, names = pieces[::2], pieces[1::2]
    if any(set("{}\r\n #") & set(text) for text in texts):
        raise Misconfigured(
            f"{where}: the path has a character that must be encoded, or a brace that is not a reference."
        )
    _check(where, names, known)

    def render(values: Mapping[str, Any]) -> str:
        parts = [quote(_scalar(name, _find(name, values)), safe="") for name in names]
        return texts[0] + "".join(part + text for part, text in zip(parts, texts[1:], strict=True))

    return render


def compile_body(where: str, template: Any, known: Collection[str]) -> Render:
    """Return the function from values to a body. Raises `Misconfigured`, naming `where`, for what is not known."""
    match template:
        case str():
            whole = _REFERENCE.fullmatch(template)
            if whole is not None:
                _check(where, [whole[1]], known)
                name = whole[1]
                return lambda values: _find(name, values)
            if "{key}" in template and "key" in known and not {"{", "}"} & set(template.replace("{key}", "")):
                return lambda values: template.replace("{key}", str(values["key"]))
            if "{" in template or "}" in template:
                raise Misconfigured(f'{where}: a reference in a body is a whole value, like "{{charge}}".')
            return lambda _: template
        case dict():
            members = {key: compile_body(where, value, known) for key, value in template.items()}
            return lambda values: _object(members, values)
        case list():
            items = [compile_body(where, value, known) for value in template]
            return lambda values: [_required(item(values)) for item in items]
        case _:
            return lambda _: template


def render_body(render: Render, values: Mapping[str, Any]) -> Any:
    """Return the body; raises `Unrenderable` where it is a single value that is missing."""
    return _required(render(values))


def _object(members: Mapping[str, Render], values: Mapping[str, Any]) -> JSON:
    rendered = {key: render(values) for key, render in members.items()}
    return {key: value for key, value in rendered.items() if value is not _MISSING}


def _find(name: str, values: Mapping[str, Any]) -> Any:
    found: Any = values
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            if name.partition(".")[0] in RESERVED:
                raise Unrenderable(f"there is no {name}")
            return _MISSING
        found = found[part]
    return found


def _required(value: Any) -> Any:
    if value is _MISSING:
        raise Unrenderable("a value is missing")
    return value


def _scalar(name: str, value: Any) -> str:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if text.strip(".") == "" or not text.isprintable():
        raise Unrenderable(f"{name} cannot stand in a path")
    return text


def _check(where: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name.partition(".")[0] not in known:
            raise Misconfigured(f"{where}: there is no {{{name}}} here.")

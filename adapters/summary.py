"""One line of prose about an action, from its operation's template and its parameters: "refund 42.00 USD to 88".

The parameters come from an agent and the line is read by people, so nothing in it may pretend to be something else: a
value that is not a plain word stands in quotes, what cannot be seen is shown as escapes (`ledger/visible_text.py`), and
every value and the whole line are bounded. What is personal is sealed when it is cut to size, so that it can be opened.

A template is text with `{field}` or `{field|money}`. `money` is an integer in minor units whose currency (ISO 4217)
stands in the field `currency` beside it. A field that an action leaves out shows as "nothing".
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ledger.bounds import INTEGER_MAX, SUMMARY_LENGTH, SUMMARY_VALUE_LENGTH
from ledger.errors import Misconfigured
from ledger.intents import JSON
from ledger.money import money
from ledger.visible_text import printable

Piece = tuple[str, str | None]  # a text, and the parameter that it shows; None: the template's own words
Veil = Callable[[str, str], str]  # from a parameter's name and how it is shown, to what may be recorded of it
Summarise = Callable[[JSON, Veil | None], str]

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?:\|([a-z]+))?\}")
_PLAIN: Final = re.compile(r"[\w@.+:/#-]+", re.ASCII).fullmatch
_CURRENCY: Final = re.compile(r"[A-Za-z]{3}").fullmatch


def compile_template(operation: str, template: str | None, params: Mapping[str, Any]) -> Summarise:
    """Return the function that summarises actions of `operation`; without a template it names the parameters.

    `params` is the operation's JSON Schema. Raises `Misconfigured` for a template that names a field it does not have.
    """
    if template is None:
        return lambda values, veil: _line(_named(operation, values), veil)
    known = params.get("properties", {})
    pieces = _PLACEHOLDER.split(template)  # text, field, format, text, field, format, …, text
    if any("{" in text or "}" in text for text in pieces[::3]):
        raise Misconfigured(f"Operation {operation}: its summary has a brace that is not part of {{field}}.")
    for field, style in zip(pieces[1::3], pieces[2::3], strict=True):
        if field not in known or (style == "money" and "currency" not in known):
            missing = field if field not in known else "currency"
            raise Misconfigured(
                f"Operation {operation}: its summary needs the parameter {missing!r}, which it has not."
            )
        if style not in {None, "money"}:
            raise Misconfigured(f"Operation {operation}: its summary has the format {style!r}; there is only 'money'.")
    texts, fields, styles = pieces[::3], pieces[1::3], pieces[2::3]

    def summarise(values: JSON, veil: Veil | None) -> str:
        pieces: list[Piece] = [(texts[0], None)]
        for field, style, text in zip(fields, styles, texts[1:], strict=True):
            pieces += [(_money(values, field) if style else _shown(values.get(field)), field), (text, None)]
        return _line(pieces, veil)

    return summarise


def _named(operation: str, values: JSON) -> list[Piece]:
    pieces: list[Piece] = [(f"{operation}(", None)]
    for number, (name, value) in enumerate(values.items()):
        pieces += [(f"{', ' if number else ''}{_shown(name)}=", None), (_shown(value), name)]
    return [*pieces, (")", None)]


def _money(values: JSON, field: str) -> str:
    amount, currency = values.get(field), values.get("currency")
    if isinstance(amount, int) and not isinstance(amount, bool) and isinstance(currency, str) and _CURRENCY(currency):
        return money(amount, currency)
    return f"{_shown(amount)} minor units of {_shown(currency)}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str) and _PLAIN(value):
        return _cut(value, SUMMARY_VALUE_LENGTH)
    if isinstance(value, int) and abs(value) > INTEGER_MAX:
        return "a number beyond 2^53"
    return _cut(printable(msgspec.json.encode(value).decode()), SUMMARY_VALUE_LENGTH)


def _line(pieces: Sequence[Piece], veil: Veil | None) -> str:
    """Return one bounded line; what is personal in it is bounded as it is read, and then sealed."""
    if veil is None:
        return _cut(printable("".join([text for text, _ in pieces])), SUMMARY_LENGTH)
    line, left = "", SUMMARY_LENGTH
    for text, field in pieces:
        shown = _cut(printable(text), left) if left else ""
        left -= len(shown)
        line += shown if field is None or not shown else veil(field, shown)
    return line


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"

"""One line of prose about an action, from its operation's template and its parameters: "refund 42.00 USD to 88".

The parameters come from an agent and the line is read by people, so nothing in it may pretend to be something else: a
value that is not a plain word stands in quotes, what cannot be seen is shown as escapes (`ledger/visible_text.py`), and
every value and the whole line are bounded.

A template is text with `{field}` or `{field|money}`. `money` is an integer in minor units whose currency (ISO 4217)
stands in the field `currency` beside it. A field that an action leaves out shows as "nothing".
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ledger.bounds import INTEGER_MAX, SUMMARY_LENGTH, SUMMARY_VALUE_LENGTH
from ledger.errors import Misconfigured
from ledger.intents import JSON
from ledger.money import money
from ledger.visible_text import printable

Summarise = Callable[[JSON], str]

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?:\|([a-z]+))?\}")
_PLAIN: Final = re.compile(r"[\w@.+:/#-]+", re.ASCII).fullmatch
_CURRENCY: Final = re.compile(r"[A-Za-z]{3}").fullmatch


def compile_template(operation: str, template: str | None, params: Mapping[str, Any]) -> Summarise:
    """Return the function that summarises actions of `operation`; without a template it names the parameters.

    `params` is the operation's JSON Schema. Raises `Misconfigured` for a template that names a field it does not have.
    """
    if template is None:
        return lambda values: _bounded(
            f"{operation}({', '.join(f'{_shown(k)}={_shown(v)}' for k, v in values.items())})"
        )
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

    def summarise(values: JSON) -> str:
        line = texts[0]
        for field, style, text in zip(fields, styles, texts[1:], strict=True):
            line += (_money(values, field) if style else _shown(values.get(field))) + text
        return _bounded(line)

    return summarise


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


def _bounded(line: str) -> str:
    return _cut(printable(line), SUMMARY_LENGTH)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"

"""A grant in a person's words, as the command line takes it, turned into the body of `POST /v1/grants` and back. Pure.

    --operation "payments.refund where currency=USD,EUR amount<=5000"
    --limit     "payments.* amount 100000 USD per day"
    --limit     "email.send count 20 per hour for each agent"
    --expires-in 30d

Amounts are whole minor units, as everywhere. A value is a number, true, false, null or a word; in double quotes it is a
text whatever it looks like, as in JSON. Whether the grant is narrow enough is the service's to say.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ledger.errors import Misconfigured
from ledger.money import money
from ledger.visible_text import visible

_VALUE: Final = r'"(?:[^"\\]|\\.)*"|[^\s,"<>=]+'
_OPERATION: Final = re.compile(r"\s*(\S+?)\s*(?:\s+where\s+(.+))?", re.DOTALL).fullmatch
_CONDITION: Final = re.compile(rf"\s*([A-Za-z_][\w.-]*)\s*(<=|>=|=)\s*((?:{_VALUE})(?:\s*,\s*(?:{_VALUE}))*)(?=\s|$)")
_VALUES: Final = re.compile(_VALUE)
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?").fullmatch
_LIMIT: Final = re.compile(
    r"(\S+) (?:count (\d+)|amount (\d+) ([A-Z]{3})) (?:per (hour|day)|in (total))(?: for each (agent))?"
).fullmatch
_DURATION: Final = re.compile(r"([1-9]\d*)(s|m|h|d)?").fullmatch
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, None: 1}


def permission(words: str) -> dict[str, Any]:
    """Read "payments.refund where currency=USD,EUR amount<=5000". Raises `Misconfigured`."""
    match = _OPERATION(words)
    if match is None:
        raise _not_understood("--operation", words, "payments.refund where currency=USD,EUR amount<=5000")
    operation, conditions = match[1], match[2] or ""
    where: dict[str, Any] = {}
    at = 0
    while conditions[at:].strip():
        found = _CONDITION.match(conditions, at)
        if found is None:
            raise _not_understood("--operation", words, "payments.refund where currency=USD,EUR amount<=5000")
        _narrow(where, words, found[1], found[2], [_value(one) for one in _VALUES.findall(found[3])])
        at = found.end()
    return {"operation": operation, "where": where}


def limit(words: str) -> dict[str, Any]:
    """Read "payments.* amount 100000 USD per day" or "* count 20 in total for each agent". Raises `Misconfigured`."""
    match = _LIMIT(" ".join(words.split()))
    if match is None:
        raise _not_understood("--limit", words, "payments.* amount 100000 USD per day")
    operation, count, amount, currency, window, total, each = match.groups()
    return {
        "operation": operation,
        "measure": "count" if count else "amount",
        "per": window or total,
        "max": int(count or amount),
        **({"currency": currency} if currency else {}),
        **({"each": each} if each else {}),
    }


def seconds(words: str) -> int:
    """Read "90", "30m", "12h" or "30d". Raises `Misconfigured`."""
    match = _DURATION(words.strip())
    if match is None:
        raise _not_understood("--expires-in", words, "30m, 12h or 30d")
    return int(match[1]) * _SECONDS[match[2]]


def permission_words(shown: Mapping[str, Any] | str) -> str:
    """Write a permission as `permission` reads it."""
    if isinstance(shown, str):
        return shown
    where = " ".join(_condition_words(name, given) for name, given in (shown.get("where") or {}).items())
    return f"{shown['operation']} where {where}" if where else str(shown["operation"])


def limit_words(shown: Mapping[str, Any]) -> str:
    """Write a limit for people, money in the digits of its currency."""
    what = money(shown["max"], shown["currency"]) if shown["measure"] == "amount" else f"{shown['max']:,} times"
    window = "in total" if shown["per"] == "total" else f"per {shown['per']}"
    return f"{shown['operation']}: {what} {window}" + (" for each agent" if shown.get("each") == "agent" else "")


def described(shown: Mapping[str, Any]) -> str:
    """Write a grant in one line: who may do what, how far, for how long."""
    subject = shown["subject"]
    name = " ".join(filter(None, (subject["name"], subject.get("version"))))
    role = f", {subject['role']}" if subject.get("role") else ""
    parts = [
        f"may {'; '.join(map(permission_words, shown['operations']))}",
        *(["task " + shown["task"]] if shown.get("task") else []),
        *map(limit_words, shown["limits"]),
        *([f"until {shown['expires_at']}"] if shown.get("expires_at") else []),
        *(["may delegate"] if shown["may_delegate"] else []),
        *(["REVOKED"] if shown.get("revoked") else []),
        *(["SUSPENDED"] if shown.get("suspended") else []),
    ]
    return visible(f"{shown['id']}: {name} ({subject['kind']}{role}) {' | '.join(parts)}")


def tree(grants: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write grants one a line, each below the one that issued it."""
    below: dict[str | None, list[Mapping[str, Any]]] = {}
    known = {one["id"] for one in grants}
    for one in grants:
        below.setdefault(one["parent"] if one["parent"] in known else None, []).append(one)
    lines: list[str] = []
    waiting = [(one, 0) for one in reversed(below.get(None, []))]
    while waiting:
        one, depth = waiting.pop()
        lines.append("  " * depth + described(one))
        waiting += [(child, depth + 1) for child in reversed(below.get(one["id"], []))]
    return lines


def _narrow(where: dict[str, Any], words: str, name: str, sign: str, values: Sequence[Any]) -> None:
    """Add one condition; a parameter has values or a range, each end once."""
    if sign == "=":
        if name in where:
            raise _not_understood("--operation", words, f"{name} once, with all its values behind one =")
        where[name] = list(values)
        return
    end = "max" if sign == "<=" else "min"
    known = where.setdefault(name, {})
    whole = len(values) == 1 and isinstance(values[0], int) and not isinstance(values[0], bool)
    if not isinstance(known, dict) or end in known or not whole:
        raise _not_understood("--operation", words, f"{name}{sign}N with one whole number N, and no other {name}{sign}")
    known[end] = values[0]


def _value(text: str) -> Any:
    if text.startswith('"') or text in {"true", "false", "null"} or _NUMBER(text):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            raise _not_understood("--operation", text, 'a text in double quotes, as in JSON: "a \\"b\\""') from None
    return text


def _condition_words(name: str, given: Any) -> str:
    if isinstance(given, Mapping):
        low, high = given.get("min"), given.get("max")
        return " ".join([f"{name}>={low}"] * (low is not None) + [f"{name}<={high}"] * (high is not None))
    return f"{name}={','.join(map(_value_words, given))}"


def _value_words(value: Any) -> str:
    plain = isinstance(value, str) and re.fullmatch(r"[\w.*@+:/-]+", value, re.ASCII) and _value(value) == value
    return str(value) if plain else msgspec.json.encode(value).decode()


def _not_understood(flag: str, words: str, example: str) -> Misconfigured:
    return Misconfigured(f"{flag} {words!r} is not understood. Nothing was done; write {example}.")

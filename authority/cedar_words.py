"""A condition of a policy as a person reads it: Cedar text without needless brackets, and the values it looks at.

It takes Cedar's own syntax tree. Whatever node a newer Cedar adds is written as "…", never an error: words explain a
decision and do not make it.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cedarpy import pst

from ledger.visible_text import brief_json

_INFIX: Final[Mapping[str, str]] = {
    "eq": "==", "not_eq": "!=", "less": "<", "less_eq": "<=", "greater": ">", "greater_eq": ">=", "and": "&&",
    "or": "||", "add": "+", "sub": "-", "mul": "*", "in": "in",
}  # fmt: skip
_METHOD: Final[Mapping[str, str]] = {
    "contains": "contains", "contains_all": "containsAll", "contains_any": "containsAny", "get_tag": "getTag",
    "has_tag": "hasTag", "is_in_range": "isInRange", "offset": "offset", "duration_since": "durationSince",
    "decimal_less_than": "lessThan", "decimal_less_eq": "lessThanOrEqual", "decimal_greater": "greaterThan",
    "decimal_greater_eq": "greaterThanOrEqual", "is_empty": "isEmpty", "is_ipv4": "isIpv4", "is_ipv6": "isIpv6",
    "is_loopback": "isLoopback", "is_multicast": "isMulticast", "to_date": "toDate", "to_time": "toTime",
    "to_milliseconds": "toMilliseconds", "to_seconds": "toSeconds", "to_minutes": "toMinutes", "to_hours": "toHours",
    "to_days": "toDays",
}  # fmt: skip
_FUNCTIONS: Final = frozenset({"datetime", "decimal", "duration", "ip"})
_UNKNOWN: Final = object()

Path = tuple[str, ...]


def conjuncts(expr: pst.Expr) -> Iterator[pst.Expr]:
    """Yield the conditions that an expression joins by `&&`, in the order in which they are tried."""
    if isinstance(expr, pst.BinaryOp) and expr.op == "and":
        yield from conjuncts(expr.left)
        yield from conjuncts(expr.right)
    else:
        yield expr


def text(expr: pst.Expr) -> str:
    """Write an expression."""
    match expr:
        case pst.Var(name):
            return name
        case pst.BoolLit() | pst.LongLit() | pst.StringLit():
            return json.dumps(expr.value, ensure_ascii=False)
        case pst.EntityLit(uid):
            return f"{uid.type}::{json.dumps(uid.id, ensure_ascii=False)}"
        case pst.GetAttr(base, attr):
            return f"{_operand(base)}.{attr}" if attr.isidentifier() else f"{_operand(base)}[{json.dumps(attr)}]"
        case pst.HasAttr(base, attrs):
            return f"{_operand(base)} has {'.'.join(attrs)}"
        case pst.Like(base, pattern):
            return f"{_operand(base)} like {json.dumps(''.join(map(_element, pattern)), ensure_ascii=False)}"
        case pst.Is(base, entity_type, in_expr):
            return f"{_operand(base)} is {entity_type}" + (f" in {_operand(in_expr)}" if in_expr else "")
        case _:
            return _compound(expr)


def _compound(expr: pst.Expr) -> str:
    match expr:
        case pst.Set(elements):
            return f"[{', '.join(map(text, elements))}]"
        case pst.Record(fields):
            return "{" + ", ".join(f"{json.dumps(name)}: {text(value)}" for name, value in fields.items()) + "}"
        case pst.UnaryOp(op, arg):
            return _unary(op, arg)
        case pst.BinaryOp(op, left, right) if op in _INFIX:
            return f"{_operand(left)} {_INFIX[op]} {_operand(right)}"
        case pst.BinaryOp(op, left, right) if op in _METHOD:
            return f"{_operand(left)}.{_METHOD[op]}({text(right)})"
        case pst.IfThenElse(cond, then_expr, else_expr):
            return f"if {text(cond)} then {text(then_expr)} else {text(else_expr)}"
        case _:
            return "…"


def paths(expr: object) -> Iterator[Path]:
    """Yield what an expression looks at, as ("context", "facts", "age"), except what it asks for with `has`."""
    if isinstance(expr, pst.GetAttr) and (path := _path(expr)) is not None:
        yield path
    elif not isinstance(expr, pst.HasAttr):
        for part in _parts(expr):
            yield from paths(part)


def presences(expr: object) -> Iterator[Path]:
    """Yield what an expression asks for with `has`."""
    if isinstance(expr, pst.HasAttr) and (path := _path(expr.base)) is not None:
        yield from ((*path, *expr.attrs[: place + 1]) for place in range(len(expr.attrs)))
    for part in _parts(expr):
        yield from presences(part)


def circumstances(expr: object) -> frozenset[str] | None:
    """Return which attributes of the context an expression may look at; None: it takes the context as a whole."""
    match expr:
        case pst.Var("context"):
            return None
        case pst.GetAttr(pst.Var("context"), name) | pst.HasAttr(pst.Var("context"), (name, *_)):
            return frozenset({name})
    found = [circumstances(part) for part in _parts(expr)]
    return None if None in found else frozenset[str]().union(*(one for one in found if one is not None))


def roots(expr: object) -> frozenset[str]:
    """Return which of principal, action, resource and context an expression looks at."""
    if isinstance(expr, pst.Var):
        return frozenset({expr.name})
    return frozenset[str]().union(*map(roots, _parts(expr)))


def values(looked_at: tuple[Path, ...], seen: Mapping[str, Any]) -> str:
    """Say what was found at these places: " (it is 12000)"; empty where there is no value to look at."""
    found = {path: _look(path, seen) for path in looked_at if path[0] in seen}
    if not found:
        return ""
    told = (
        f"{'it' if len(found) == 1 else '.'.join(path)} is {'not known' if value is _UNKNOWN else brief_json(value)}"
        for path, value in found.items()
    )
    return f" ({', '.join(told)})"


def missing(looked_at: tuple[Path, ...], seen: Mapping[str, Any]) -> str | None:
    """Return the first of these places where there is nothing, by its name."""
    for path in looked_at:
        if path[0] in seen and _look(path, seen) is _UNKNOWN:
            return ".".join(path)
    return None


def _parts(expr: object) -> tuple[object, ...]:
    if isinstance(expr, pst.Expr):
        return tuple(getattr(expr, field) for field in expr.__dataclass_fields__)
    if isinstance(expr, Mapping):
        return tuple(expr.values())
    return expr if isinstance(expr, tuple) else ()


def _operand(expr: pst.Expr) -> str:
    compound = isinstance(expr, pst.IfThenElse | pst.HasAttr | pst.Like | pst.Is) or (
        isinstance(expr, pst.BinaryOp) and expr.op in _INFIX
    )
    return f"({text(expr)})" if compound else text(expr)


def _unary(op: str, arg: pst.Expr) -> str:
    if op in _FUNCTIONS:
        return f"{op}({text(arg)})"
    if op in _METHOD:
        return f"{_operand(arg)}.{_METHOD[op]}()"
    return {"not": "!", "neg": "-"}.get(op, "…") + _operand(arg)


def _element(element: pst.PatternElem) -> str:
    if isinstance(element, pst.Wildcard):
        return "*"
    return "\\*" if element.value == "*" else element.value


def _path(expr: pst.Expr) -> Path | None:
    if isinstance(expr, pst.Var):
        return (expr.name,)
    if isinstance(expr, pst.GetAttr):
        base = _path(expr.base)
        return None if base is None else (*base, expr.attr)
    return None


def _look(path: Path, seen: Mapping[str, Any]) -> Any:
    value: Any = seen
    for name in path:
        if not isinstance(value, Mapping) or value.get(name) is None:
            return _UNKNOWN
        value = value[name]
    return value

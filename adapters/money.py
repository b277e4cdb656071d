"""Which parameter of an operation moves money, so that limits can count it and people can read it.

By convention it is `amount`, an integer in minor units, beside the text `currency` (ISO 4217). Another integer can be
named, still beside `currency`; and an operation whose `amount` is no money says so. What may not be left out, must not
be negative and stands where it can be seen in the schema, cannot slip past a limit; what only looks like money is
refused when the service starts, so that nobody believes it to be counted.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from ledger.errors import Misconfigured
from ledger.intents import JSON

MoneyParameter = str | Literal[False]

_CONVENTION: Final = "amount"
_CURRENCY: Final = "currency"


def money_parameter(operation: str, declared: MoneyParameter | None, params: Mapping[str, Any]) -> MoneyParameter:
    """Return the parameter that moves money, or False; `params` is the JSON Schema. Raises `Misconfigured`."""
    if declared is False:
        return False
    fields = params.get("properties", {})
    if declared is None:
        if not {_CONVENTION, _CURRENCY} <= fields.keys():
            return False
        declared = _CONVENTION
    fault = _fault(declared, fields, params.get("required", ()))
    if fault is not None:
        raise Misconfigured(
            f"Operation {operation}: the parameter {declared!r} beside {_CURRENCY!r} is taken for money, but {fault}. "
            "Limits could not count it. Correct the schema, or write money = false if it is none."
        )
    return declared


def money_of(parameter: MoneyParameter, params: JSON) -> tuple[int, str] | None:
    """Return the amount in minor units and the currency that valid parameters move; None if they move none."""
    return (int(params[parameter]), params[_CURRENCY]) if parameter is not False else None


def _fault(name: str, fields: Mapping[str, Any], required: Any) -> str | None:
    amount, currency = fields.get(name, {}), fields.get(_CURRENCY, {})
    if amount.get("type") != "integer":
        return f"{name!r} is not declared as an integer"
    lowest = [amount[bound] for bound in ("minimum", "exclusiveMinimum") if bound in amount]
    if not lowest or max(lowest) < 0:
        return f"{name!r} may be negative; give it a minimum"
    if currency.get("type") != "string":
        return f"{_CURRENCY!r} is not declared as a string"
    missing = [one for one in (name, _CURRENCY) if one not in required]
    return f"{missing[0]!r} is not required" if missing else None

"""What can be looked at in a Stripe account without changing anything: customers, payments, subscriptions.

Agents may read it, tasks may name it as the proof of their success, and people see by it what an action has left.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

import msgspec

from adapters.contract import Call, Operation, Preview
from adapters.facts import FactType
from adapters.reading import reading
from adapters.stripe_account import Account
from adapters.stripe_answers import Seen

_STANDING: Final = frozenset({"requires_capture", "processing", "succeeded"})
_SHOWN: Final = 10  # of those among the latest payments of a customer
_PREFIXES: Final = {"customer": "cus", "payment": "pi", "subscription": "sub"}
_FACTS: Final[Mapping[str, Mapping[str, FactType]]] = {
    "customer": {"customer_age_days": "integer", "delinquent": "boolean"},
    "payment": {
        "status": "string",
        "amount": "integer",
        "currency": "string",
        "taken": "integer",
        "refunded": "integer",
        "customer": "string",
    },
    "subscription": {
        "status": "string",
        "cancel_at_period_end": "boolean",
        "customer": "string",
        "customer_age_days": "integer",
    },
}


class Look(msgspec.Struct, frozen=True):
    """One operation that only reads."""

    operation: Operation
    look: Callable[[Call], Awaitable[Preview]]


def looks(name: str, account: Account) -> list[Look]:
    """Return what an adapter of this name can look at."""
    seen = {"customer": _customer, "payment": _payment, "subscription": _subscription}
    return [Look(_reading(name, what), partial(look, account)) for what, look in seen.items()]


def _reading(name: str, what: str) -> Operation:
    params = {
        "type": "object",
        "additionalProperties": False,
        "required": [what],
        "properties": {what: {"type": "string", "pattern": f"^{_PREFIXES[what]}_[A-Za-z0-9]{{1,64}}$"}},
    }
    facts = _FACTS[what]
    return reading(f"{name}.{what}", params, facts=tuple(facts), fact_types=facts, summary=f"look at {what} {{{what}}}")


async def _customer(account: Account, call: Call) -> Preview:
    found = await account.customer(call.params["customer"])
    payments = await account.latest_payments_of(call.params["customer"])
    standing = [_line(one) for one in payments if one.text("/status") in _STANDING]
    facts = {"customer_age_days": found.age_days(""), "delinquent": found.maybe("/delinquent") is True}
    return Preview(facts, {"payments": standing[:_SHOWN]})


async def _payment(account: Account, call: Call) -> Preview:
    found = await account.payment(call.params["payment"])
    charged = found.maybe("/latest_charge") is not None
    facts = {
        "status": found.text("/status"),
        "amount": found.number("/amount"),
        "currency": found.text("/currency").upper(),
        "taken": found.number("/amount_received"),
        "refunded": found.number("/latest_charge/amount_refunded") if charged else 0,
        "customer": found.id_of("/customer"),
    }
    return Preview(facts)


async def _subscription(account: Account, call: Call) -> Preview:
    found = await account.subscription(call.params["subscription"])
    facts = {
        "status": found.text("/status"),
        "cancel_at_period_end": found.maybe("/cancel_at_period_end") is True,
        "customer": found.id_of("/customer"),
        "customer_age_days": found.age_days("/customer"),
    }
    return Preview(facts)


def _line(payment: Seen) -> dict[str, Any]:
    return {name: payment.maybe(f"/{name}") for name in ("id", "status", "amount", "currency")}

"""What can be looked at in a Stripe account without changing anything: customers, their payments and subscriptions.

Agents may read it, tasks may name it as the proof of their success, and people see by it what an action has left. Of a
customer's payments the latest hundred are looked through, and of what is found the last ten are shown.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import msgspec

from adapters.contract import Call, Operation, Preview
from adapters.facts import FactType
from adapters.reading import reading
from adapters.stripe.account import Account
from adapters.stripe.answers import Seen

_SHOWN: Final = 10
_IDS: Final = {"customer": "cus", "payment": "(pi|ch|py)", "subscription": "sub"}
_FACTS: Final[Mapping[str, Mapping[str, FactType]]] = {
    "customer": {"customer_age_days": "integer", "delinquent": "boolean"},
    "holds": {"count": "integer"},
    "payments": {"count": "integer"},
    "payment": {
        "status": "string",
        "amount": "integer",
        "currency": "string",
        "taken": "integer",
        "refunded": "integer",
        "customer": "string",
    },
    "refunds": {"count": "integer"},
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
    return [
        Look(_reading(f"{name}.customer", "customer", "customer {customer}"), partial(_customer, account)),
        Look(_reading(f"{name}.holds", "customer", "what is held for {customer}"), partial(_holds, account)),
        Look(_reading(f"{name}.payments", "customer", "what {customer} has paid"), partial(_payments, account)),
        Look(_reading(f"{name}.payment", "payment", "payment {payment}"), partial(_payment, account)),
        Look(_reading(f"{name}.refunds", "payment", "what was given back of {payment}"), partial(_refunds, account)),
        Look(_reading(f"{name}.subscription", "subscription", "{subscription}"), partial(_subscription, account)),
    ]


def _reading(name: str, of: str, what: str) -> Operation:
    params = {
        "type": "object",
        "additionalProperties": False,
        "required": [of],
        "properties": {of: {"type": "string", "pattern": f"^{_IDS[of]}_[A-Za-z0-9]{{1,64}}$"}},
    }
    facts = _FACTS[name.rpartition(".")[2]]
    return reading(name, params, facts=tuple(facts), fact_types=facts, summary=f"look at {what}")


async def _customer(account: Account, call: Call) -> Preview:
    found = await account.customer(call.params["customer"])
    return Preview({"customer_age_days": found.age_days(""), "delinquent": found.maybe("/delinquent") is True})


async def _holds(account: Account, call: Call) -> Preview:
    payments = await account.latest_payments_of(call.params["customer"])
    return _list([one for one in payments if one.text("/status") == "requires_capture"])


async def _payments(account: Account, call: Call) -> Preview:
    payments = await account.latest_payments_of(call.params["customer"])
    return _list(
        [one for one in payments if one.text("/status") == "succeeded"], refunded="/latest_charge/amount_refunded"
    )


async def _payment(account: Account, call: Call) -> Preview:
    charge = await account.charge(call.params["payment"])
    facts = {
        "status": charge.text("/status"),
        "amount": charge.number("/amount"),
        "currency": charge.text("/currency").upper(),
        "taken": charge.number("/amount_captured"),
        "refunded": charge.number("/amount_refunded"),
        "customer": charge.id_of("/customer"),
    }
    return Preview(facts)


async def _refunds(account: Account, call: Call) -> Preview:
    return _list(await account.refunds_of(call.params["payment"]))


async def _subscription(account: Account, call: Call) -> Preview:
    found = await account.subscription(call.params["subscription"])
    facts = {
        "status": found.text("/status"),
        "cancel_at_period_end": found.maybe("/cancel_at_period_end") is True,
        "customer": found.id_of("/customer"),
        "customer_age_days": found.age_days("/customer"),
    }
    return Preview(facts)


def _list(found: list[Seen], **more: str) -> Preview:
    wanted = {"id": "/id", "amount": "/amount", "currency": "/currency", **more}
    shown = [{name: one.maybe(pointer) for name, pointer in wanted.items()} for one in found[:_SHOWN]]
    return Preview({"count": len(found)}, {"latest": shown})

"""The simulator of Stripe as an outside system of the contract suite: one world for each operation with an effect."""

import asyncio
import itertools
import json
import time
from typing import Any

from adapter_worlds import SECRET
from servers import stripe_books as books
from servers.stripe_simulator import shared

from adapters.contract import Adapter
from adapters.stripe.adapter import StripeAdapter, StripeTable
from ledger.intents import Verb

_numbers = itertools.count(1)
_OTHERS: dict[str, Any] = {"amount": 4200, "currency": "USD"}
_PARAMS: dict[str, dict[str, Any]] = {
    "pay": {"customer": "cus_88", "payment_method": "pm_works", **_OTHERS},
    "refund": {"payment": "pi_88", **_OTHERS},
    "cancel_subscription": {"subscription": "sub_88"},
    "end_subscription": {"subscription": "sub_88"},
}
_REFUSABLE: dict[str, dict[str, Any]] = {
    "pay": {"payment_method": "pm_declined"},
    "refund": {"amount": 9999},
    "cancel_subscription": {"subscription": "sub_89"},
    "end_subscription": {"subscription": "sub_89"},
}
_FACTS: dict[str, dict[str, Any]] = {
    "pay": {"card_country": "US", "card_funding": "credit"},
    "refund": {"amount": 5000, "currency": "USD", "refundable": 5000},
}
_EFFECT = {"pay": "taken", "refund": "refunded", "cancel_subscription": "runs out", "end_subscription": "ended"}
_UNDONE = {"pay": "refunded", "cancel_subscription": "goes on"}
_ENDPOINTS = {
    "pay": {
        Verb.PREPARE: "POST /v1/payment_intents",
        Verb.COMMIT: "POST /v1/payment_intents/{id}/capture",
        Verb.ABORT: "POST /v1/payment_intents/{id}/cancel",
        Verb.COMPENSATE: "POST /v1/refunds",
    },
    "refund": {Verb.COMMIT: "POST /v1/refunds"},
    "cancel_subscription": dict.fromkeys((Verb.COMMIT, Verb.COMPENSATE), "POST /v1/subscriptions/{id}"),
    "end_subscription": {Verb.COMMIT: "DELETE /v1/subscriptions/{id}"},
}


class StripeOutside:
    """One account of the simulator, with a customer of a hundred days, cards, a payment and subscriptions."""

    def __init__(self, verb: str, **table: Any) -> None:
        self.verb = verb
        self.operation = f"stripe.{verb}"
        self.params = _PARAMS[verb]
        self.refusable = self.params | _REFUSABLE[verb]
        self.facts = {"customer": "cus_88", "customer_age_days": 100, **_FACTS.get(verb, {})}
        self.server = shared()
        self.account = f"sk_test_{SECRET}_{next(_numbers)}"
        self.table = {"type": "stripe", "api_key": {"env": "STRIPE_API_KEY"}, "operations": list(_PARAMS)}
        self.table |= {"allow_private": True, "timeout_seconds": 5, **table}
        self._adapters: list[Adapter] = []

    async def start(self) -> "StripeOutside":
        self.give(*_things(self.now()))
        self.port = self.server.tell(self.account, "POST", {"door": "open"})["port"]
        self.adapter = await self.another()
        return self

    async def another(self) -> Adapter:
        told = {"url": f"http://127.0.0.1:{self.port}", **self.table}
        adapter = StripeAdapter("stripe", StripeTable.model_validate_json(json.dumps(told)), lambda: self.account)
        await adapter.open()
        self._adapters.append(adapter)
        return adapter

    # ── what happens outside ─────────────────────────────────────────────────────────────────────────────────────

    def shows(self) -> Any:
        return self.server.tell(self.account)

    def now(self) -> int:
        return self.shows()["now"]

    def give(self, *things: Any) -> None:
        self.server.tell(self.account, "PUT", things)

    def arm(self, on: Verb | str, answer: str, **more: Any) -> None:
        endpoint = _ENDPOINTS[self.verb][on] if isinstance(on, Verb) else on
        self.server.tell(self.account, "POST", {"on": endpoint, "answer": answer, **more})

    def later(self, seconds: int) -> None:
        self.server.tell(self.account, "POST", {"later": seconds})

    async def arrival(self, endpoint: str) -> None:
        """Wait until a request has reached it."""
        deadline = time.monotonic() + 10
        while endpoint not in self.shows()["seen"]:
            assert time.monotonic() < deadline, f"Nothing came to {endpoint}."
            await asyncio.sleep(0.01)

    def object(self, name: str) -> Any:
        return self.shows()["objects"][name]

    def happened(self, what: str) -> int:
        return sum(one[0] == what for one in self.shows()["what"])

    async def effects(self) -> int:
        return self.happened(_EFFECT[self.verb])

    async def undone(self) -> int:
        return self.happened(_UNDONE[self.verb])

    async def holds(self) -> int:
        return sum(one.get("status") == "requires_capture" for one in self.shows()["objects"].values())

    async def shown(self) -> Any:
        """Return what a customer sees: what is held on a card, taken and given back, and which subscriptions go on."""
        things = self.shows()["objects"].values()
        money = [
            (one["amount_captured"], one["amount_refunded"])
            for one in things
            if one["object"] == "charge" and one["captured"]
        ]
        going = [
            (one["id"], one["status"], one["cancel_at_period_end"], one["cancel_at"])
            for one in things
            if one["object"] == "subscription"
        ]
        return money, going

    async def change_a_fact(self) -> None:
        self.give(books.customer("cus_88", self.now() - 200 * books.DAY))

    async def lose_answer(self, verb: Verb) -> None:
        self.arm(verb, "lose")

    async def break_down(self) -> None:
        self.server.tell(self.account, "POST", {"door": "shut"})

    async def stop(self) -> None:
        for adapter in self._adapters:
            await adapter.close()
        await self.break_down()


def _things(now: int) -> list[Any]:
    old = now - 100 * books.DAY
    ends = now + 20 * books.DAY
    payment = {
        "id": "pi_88", "object": "payment_intent", "created": old, "customer": "cus_88", "status": "succeeded",
        "amount": 5000, "amount_received": 5000, "currency": "usd", "latest_charge": "ch_88", "metadata": {},
        "payment_method": "pm_works",
    }  # fmt: skip
    charge = {
        "id": "ch_88", "object": "charge", "created": old, "customer": "cus_88", "status": "succeeded",
        "amount": 5000, "amount_captured": 5000, "amount_refunded": 0, "captured": True, "disputed": False,
        "currency": "usd", "payment_intent": "pi_88",
    }  # fmt: skip
    return [
        books.customer("cus_88", old),
        books.card("pm_works", "cus_88", old),
        books.card("pm_declined", "cus_88", old, "generic_declined"),
        books.card("pm_asks", "cus_88", old, "asks"),
        books.card("pm_brief", "cus_88", old, hold_seconds=3600),
        charge,
        payment,
        books.subscription("sub_88", "cus_88", old, ends),
        books.subscription("sub_89", "cus_88", old, ends) | {"status": "canceled"},
    ]

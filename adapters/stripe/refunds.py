"""Refunds: one shot under our key (`idempotent`), and the way back of a payment.

Before it asks, a commit looks whether a refund with its mark is there already. So it can be repeated for as long as the
refund can be seen, and it finds what a request has made whose answer was lost or was an error: Stripe would repeat a
stored 500 for as long as it knows the key. What two processes ask for at the same time is one by the key.

Money that was given back cannot be taken again: `undo` is none. Give part of it back only when you mean it.
"""

from collections.abc import Mapping
from typing import Any, Final

from adapters.contract import (
    Absent,
    Applied,
    Call,
    Operation,
    Prepared,
    Preview,
    Refused,
    Result,
    Standing,
    Unknown,
    Vote,
)
from adapters.facts import FactType
from adapters.stripe.account import Account, marked
from adapters.stripe.answers import Denied, Seen, fault, in_doubt
from ledger.errors import InDoubt, Permanent
from ledger.intents import JSON, Guarantee, Undo

KEY_SECONDS: Final = 24 * 3600  # docs.stripe.com/api/idempotent_requests: keys are removed when they are 24 hours old
_WITHOUT_EFFECT: Final = frozenset({"failed", "canceled"})

PARAMS: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["payment", "amount", "currency"],
    "properties": {
        "payment": {"type": "string", "pattern": "^(pi|ch|py)_[A-Za-z0-9]{1,64}$"},
        "amount": {"type": "integer", "minimum": 1, "maximum": 99_999_999},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
    },
}
FACT_TYPES: Final[Mapping[str, FactType]] = {
    "amount": "integer",
    "currency": "string",
    "refundable": "integer",
    "customer": "string",
    "customer_age_days": "integer",
}


class Refunds:
    """`<name>.refund`."""

    def __init__(self, name: str, account: Account) -> None:
        """Offer refunds of payments and of charges that have none."""
        self._account = account
        self.operation = Operation(
            name=f"{name}.refund",
            params=PARAMS,
            guarantee=Guarantee.IDEMPOTENT,
            undo=Undo.NONE,
            key_lifetime_seconds=KEY_SECONDS,
            facts=tuple(FACT_TYPES),
            fact_types=FACT_TYPES,
            summary="refund {amount|money} of payment {payment}",
        )

    async def preview(self, call: Call) -> Preview:
        """Look at what was paid, what of it can be given back, and for how long its customer has had an account."""
        return _preview(await self._account.charge(call.params["payment"]), call)

    async def prepare(self, call: Call) -> Vote:
        """Refuse what Stripe would refuse; nothing is asked of it yet (law 4)."""
        try:
            charge = await self._account.charge(call.params["payment"])
        except Permanent as error:
            return Refused(error.message)
        no = _refusal(charge, call)
        return Refused(no) if no else Prepared(None, _preview(charge, call))

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        """Give it back, once."""
        del receipt
        return await refund_once(self._account, call, call.params["payment"], call.params["amount"])

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        """There is no hold."""

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        """Say that it cannot be."""
        del call, receipt
        raise Permanent(f"{result.get('id')} gave money back, which cannot be taken again. Nothing was sent.")

    async def inquire(self, call: Call) -> Standing:
        """Find what carries this key among the refunds of the payment."""
        return await refund_of(self._account, call, call.params["payment"])


async def refund_once(account: Account, call: Call, payment: str, amount: int) -> Result:
    """Give back a part of a payment or charge under the key of `call`, unless that has been done."""
    with in_doubt(Permanent):
        made = marked(await account.refunds_of(payment), call)
    answer: Seen | Denied = made[0] if made else await account.refund(call, payment, amount)
    if isinstance(answer, Denied):
        raise fault(answer)
    if not marked([answer], call):
        raise InDoubt(f"Stripe's answer does not show that {payment} was given back by this.")
    if answer.text("/status") in _WITHOUT_EFFECT:
        raise Permanent(f"{answer.text('/id')} is {answer.text('/status')}: no money was given back.")
    return _result(answer)


async def refund_of(account: Account, call: Call, payment: str) -> Standing:
    """Tell what became of the refund with the key of `call`."""
    made = marked(await account.refunds_of(payment), call)
    if not made:
        return Absent()
    if made[0].text("/status") in _WITHOUT_EFFECT:
        return Unknown(f"{made[0].text('/id')} was made and is {made[0].text('/status')}.")
    return Applied(_result(made[0]))


def _result(refund: Seen) -> Result:
    return Result(
        {
            "id": refund.text("/id"),
            "payment": refund.id_of("/payment_intent") or refund.id_of("/charge"),
            "amount": refund.number("/amount"),
            "currency": refund.text("/currency").upper(),
        }
    )


def _refusal(charge: Seen, call: Call) -> str | None:
    name, asked = call.params["payment"], call.params["amount"]
    if charge.text("/status") != "succeeded" or charge.maybe("/captured") is not True:
        return f"{name} was not taken, so there is nothing to give back."
    if charge.text("/currency").upper() != call.params["currency"]:
        return f"{name} was paid in {charge.text('/currency').upper()}, not in {call.params['currency']}."
    if asked > _refundable(charge):
        return f"Of {name} only {_refundable(charge)} minor units can still be given back."
    if charge.maybe("/disputed") is True:
        return f"{name} is disputed: its bank decides about the money."
    return None


def _refundable(charge: Seen) -> int:
    return max(0, charge.number("/amount_captured") - charge.number("/amount_refunded"))


def _preview(charge: Seen, call: Call) -> Preview:
    facts = {
        "amount": charge.number("/amount_captured"),
        "currency": charge.text("/currency").upper(),
        "refundable": _refundable(charge),
        "customer": charge.id_of("/customer"),
        "customer_age_days": charge.age_days("/customer"),
    }
    before = {"refunded": charge.number("/amount_refunded")}
    return Preview(facts, before, {"refunded": before["refunded"] + call.params["amount"]})

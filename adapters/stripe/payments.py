"""Card payments in two steps: a hold on the card is the prepare, taking what is held the commit (`atomic`).

A PaymentIntent with manual capture has one life: it is held (`requires_capture`), and then taken (`succeeded`) or let
go (`canceled`), each once and for good, whatever keys the requests carry. So commit and abort first look and then act,
and a repetition finds done what it wanted. Their keys carry the epoch: Stripe repeats a stored 500 for as long as it
knows a key, and a newer process must not inherit it.

Taking the hold is different: there only the Idempotency-Key stands between a lost answer and a second hold. It also
lets an abort end that knows nothing but the key: it sends **another request under the same key**, for a payment without
a card, which holds nothing.

  * If the key was never used, it is now. A prepare that comes late is told by Stripe that its key belongs to another
    request (`idempotency_error`). That is the tombstone, and Stripe keeps it.
  * If it was used, Stripe tells us the same. Then the request for the hold is repeated, which makes nothing new: Stripe
    answers from memory what it has made, and that is let go; or that it is still under way (409), and the abort is
    tried again. What it has made behind an error carries our mark and is found among the customer's payments.
  * If Stripe has forgotten it, a tombstone is made again, and the mark leads to what was held.

Stripe keeps keys for at least 24 hours; no prepare leaves later than a few minutes after its intent or its approval.
What is let go stays to be seen as a canceled PaymentIntent, without a charge to the customer.

A hold lives as long as the card's network lets it (`capture_before`). Where that is shorter than `hold_seconds`, the
hold is let go and the prepare refused: it could not keep its promise.
"""

from typing import Any, Final

from adapters.contract import (
    Absent,
    Applied,
    Call,
    Held,
    Operation,
    Prepared,
    Preview,
    Refused,
    Result,
    Standing,
    Unknown,
    Vote,
)
from adapters.stripe.account import Account, marked, of_action
from adapters.stripe.answers import Denied, Meaning, Seen, fault, in_doubt
from adapters.stripe.refunds import refund_of, refund_once
from ledger.errors import AdapterError, InDoubt, Permanent, Transient
from ledger.intents import JSON, Guarantee, Undo, Verb

LONGEST_HOLD_SECONDS: Final = 30 * 86_400  # of any card: yen in Japan
_CARD: Final = "/payment_method/card"
_BEFORE: Final = "/latest_charge/payment_method_details/card/capture_before"

PARAMS: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["customer", "payment_method", "amount", "currency"],
    "properties": {
        "customer": {"type": "string", "pattern": "^cus_[A-Za-z0-9]{1,64}$"},
        "payment_method": {"type": "string", "pattern": "^(pm|card|src)_[A-Za-z0-9_]{1,64}$"},
        "amount": {"type": "integer", "minimum": 1, "maximum": 99_999_999},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
    },
}


class Payments:
    """`<name>.pay`."""

    def __init__(self, name: str, account: Account, hold_seconds: int) -> None:
        """Promise that a hold lives for `hold_seconds`."""
        self._account = account
        self._hold_seconds = hold_seconds
        self.operation = Operation(
            name=f"{name}.pay",
            params=PARAMS,
            guarantee=Guarantee.ATOMIC,
            undo=Undo.SEMANTIC,  # given back, and both can be seen
            hold_seconds=hold_seconds,
            facts=("customer_age_days", "card_country", "card_funding"),
            fact_types={"customer_age_days": "integer", "card_country": "string", "card_funding": "string"},
            summary="take {amount|money} from customer {customer} by card {payment_method}",
        )

    async def preview(self, call: Call) -> Preview:
        """Look at the card and at whose it is."""
        card = await self._account.payment_method(call.params["payment_method"])
        if card.id_of("/customer") != call.params["customer"]:
            raise Permanent(f"{call.params['payment_method']} does not belong to {call.params['customer']}.")
        return _preview(Seen({"customer": card.data["customer"], "payment_method": card.data}, card.at), call)

    async def prepare(self, call: Call) -> Vote:
        """Hold the amount; what an earlier request with this key has made is looked at as it is now."""
        answer = await self._account.authorise(call)
        match answer:
            case Denied(Meaning.NO | Meaning.MISSING, words):
                return Refused(words)
            case Denied(Meaning.KEY_USED | Meaning.UNCLEAR):
                with in_doubt(Permanent, Transient):
                    made = await self._marked(call)
                    payment = await self._account.payment(made[0].text("/id")) if made else None
                if payment is None and answer.meaning is Meaning.UNCLEAR:
                    raise InDoubt(answer.words)
                return await self._vote(call, payment)
            case Denied():
                raise _unless_busy(answer)
            case Seen(replayed=True):
                with in_doubt(Permanent, Transient):
                    return await self._vote(call, await self._account.payment(answer.text("/id")))
            case _:
                return await self._vote(call, answer)

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        """Take what is held; what was taken is not taken again."""
        name = _held(receipt)
        with in_doubt(Permanent):
            payment = await self._account.payment(name)
        if payment.text("/status") == "requires_capture":
            answer = await self._account.capture(name, f"{call.key}-capture-{call.epoch}")
            match answer:
                case Denied(Meaning.NO, words):  # it may have changed between the look and the request
                    with in_doubt(Permanent, Transient):
                        payment = await self._account.payment(name)
                    if payment.text("/status") == "requires_capture":
                        raise Permanent(words)
                case Denied():
                    raise fault(answer)
                case _:
                    payment = answer
        if payment.maybe("/id") != name:
            raise InDoubt(f"Stripe's answer does not show {name}.")
        match payment.text("/status"):
            case "succeeded":
                return Result(_result(payment))
            case "requires_capture" | "processing":
                raise InDoubt(f"{name} was not taken yet.")
            case status:
                raise Permanent(f"{name} is {status}{_why(payment)}; nothing was taken.")

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        """Let go of the hold, or make sure that there will be none."""
        if receipt is not None:
            with in_doubt(Permanent):
                payment = await self._account.payment(_held(receipt))
            await self._let_go(call, payment)
            return
        answer = await self._account.bury(call)
        match answer:
            case Denied(Meaning.NO | Meaning.MISSING):
                return  # what Stripe refuses without a card it refuses with one: there is no hold, and will be none
            case Denied(Meaning.KEY_USED):
                made = await self._made_before(call)
            case Denied():
                raise _unless_busy(answer)
            case _:
                with in_doubt(Permanent):
                    made = await self._marked(call)
        for payment in made:
            await self._let_go(call, payment)

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        """Give all of it back."""
        taken: JSON = {**(receipt or {}), **result}  # of what a person has found there is only the receipt
        if "id" not in taken:
            raise InDoubt("Neither a receipt nor a result names what was taken.")
        return await refund_once(self._account, call, taken["id"], call.params["amount"])

    async def inquire(self, call: Call) -> Standing:
        """Find what carries this key among the customer's payments."""
        customer = call.params["customer"]
        if call.verb is Verb.COMPENSATE:
            payments = await self._account.payments_of(customer)
            taken = [one for one in of_action(payments, call) if one.text("/status") == "succeeded"]
            return await refund_of(self._account, call, taken[0].text("/id")) if taken else Absent()
        standings = {one.text("/status"): one for one in await self._account.payments_with(call.key, customer)}
        if "succeeded" in standings:
            return Applied(Result(_result(standings["succeeded"])))
        if "requires_capture" in standings:
            return Held(_receipt(standings["requires_capture"]))
        if "processing" in standings:
            return Unknown("Stripe is still processing it.")
        return Absent()

    async def _marked(self, call: Call) -> list[Seen]:
        """Return what carries this key and may still be held."""
        since = int(call.deadline.timestamp()) - LONGEST_HOLD_SECONDS - 86_400
        return await self._account.payments_with(call.key, call.params["customer"], since)

    async def _made_before(self, call: Call) -> list[Seen]:
        """Return what the request for the hold has made; the key is used, so repeating it makes nothing new.

        Should Stripe have dropped it unfinished, and make it now, it is let go like any other.
        """
        answer = await self._account.authorise(call)
        match answer:
            case Denied(Meaning.NO | Meaning.MISSING) | Denied(Meaning.UNCLEAR, replayed=True):  # it has ended
                with in_doubt(Permanent):
                    return await self._marked(call)
            case Denied():
                raise _unless_busy(answer)
            case _:
                with in_doubt(Permanent, Transient):
                    return [await self._account.payment(answer.text("/id"))]

    async def _vote(self, call: Call, payment: Seen | None) -> Vote:
        if payment is None:
            return Refused("The key of this action has named another request before; it was aborted.")
        wanted = {"amount": call.params["amount"], "currency": call.params["currency"]}
        if not marked([payment], call) or {**_receipt(payment), **wanted} != _receipt(payment):
            raise InDoubt(f"{payment.text('/id')} is not what was asked for.")
        match payment.text("/status"):
            case "requires_capture" if self._ends_too_soon(payment):
                with in_doubt(Permanent, Transient):
                    await self._let_go(call, payment)
                return Refused(
                    f"The card holds for less than the {self._hold_seconds} seconds promised. Nothing is held."
                )
            case "requires_capture":
                return Prepared(_receipt(payment), _preview(payment, call))
            case "processing":
                raise InDoubt(f"Stripe is still processing {payment.text('/id')}.")
            case status:
                return Refused(f"{payment.text('/id')} is {status}{_why(payment)}; nothing is held.")

    def _ends_too_soon(self, payment: Seen) -> bool:
        before = payment.maybe(_BEFORE)
        return isinstance(before, int) and before - payment.number("/latest_charge/created") < self._hold_seconds

    async def _let_go(self, call: Call, payment: Seen) -> None:
        name = payment.text("/id")
        if payment.text("/status") == "canceled":
            return
        answer = await self._account.cancel(name, f"{call.key}-cancel-{name}-{call.epoch}")
        match answer:
            case Denied(Meaning.NO):  # then it has come to its end already
                payment = await self._account.payment(name)
            case Denied():
                raise fault(answer)
            case _:
                payment = answer
        match payment.text("/status"):
            case "succeeded":
                raise Permanent(f"{name} was taken already and can no longer be let go.")
            case status if status != "canceled" or payment.maybe("/id") != name:
                raise InDoubt(f"Stripe's answer does not show that {name} was let go.")


def _unless_busy(answer: Denied) -> AdapterError:
    """Return what an answer means for a hold. Another request with its key is under way: this one did nothing."""
    return Transient(answer.words) if answer.meaning is Meaning.BUSY else fault(answer)


def _held(receipt: JSON | None) -> str:
    name = (receipt or {}).get("id")
    if not isinstance(name, str):
        raise InDoubt("There is no receipt, so what is held cannot be named.")
    return name


def _receipt(payment: Seen) -> JSON:
    return {
        "id": payment.text("/id"),
        "amount": payment.number("/amount"),
        "currency": payment.text("/currency").upper(),
    }


def _result(payment: Seen) -> JSON:
    return {
        "id": payment.text("/id"),
        "amount": payment.number("/amount_received"),
        "currency": payment.text("/currency").upper(),
    }


def _why(payment: Seen) -> str:
    said = payment.maybe("/last_payment_error/message") or payment.maybe("/cancellation_reason")
    return f" ({said.removesuffix('.')})" if isinstance(said, str) else ""


def _preview(payment: Seen, call: Call) -> Preview:
    """Show whose card it is, and what would be taken."""
    card = {name: payment.maybe(f"{_CARD}/{name}") for name in ("brand", "last4", "exp_month", "exp_year")}
    facts = {
        "customer_age_days": payment.age_days("/customer"),
        "card_country": payment.maybe(f"{_CARD}/country") or "",
        "card_funding": payment.maybe(f"{_CARD}/funding") or "",
    }
    after = {"take": call.params["amount"], "currency": call.params["currency"]}
    return Preview(facts, {"card": card}, after)

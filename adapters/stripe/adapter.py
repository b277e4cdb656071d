"""Stripe: card payments by hold and capture, refunds, cancelled subscriptions; and what can be looked at.

| operation | guarantee | undo |
|---|---|---|
| `pay` | `atomic`: a hold on the card, taken or let go | `semantic`: given back |
| `refund` | `idempotent` | `none` |
| `cancel_subscription` at the end of its period | `idempotent` | `exact`, until then |
| `end_subscription` at once | `idempotent` | `none` |

What Stripe's answers mean stands in `answers.py`, what is sent in `account.py`; each operation has a
file, whose first lines say why it may promise what it does. What an answer means for a verb follows from two rules:

  * A request that only looks has no effect: what it does not tell is Transient, and what is not there Permanent.
  * A request that has an effect is a certain no only where Stripe itself says no (NO). It is Transient where Stripe has
    carried nothing out (NOT_NOW, or no connection), and in doubt otherwise.

Repeating is left to the coordinator, and is safe by one habit: **look, then act under the key**. The mark that we leave
on what we make tells what has been done, for as long as it can be seen; the Idempotency-Key decides between those who
act at the same time.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Protocol, Self

from pydantic import Field, model_validator

from adapters.addresses import private_address
from adapters.contract import Call, Operation, Preview, Result, Standing, Vote
from adapters.credentials import Credential, Reveal
from adapters.kinds import Kind
from adapters.stripe.account import Account
from adapters.stripe.looks import looks
from adapters.stripe.payments import LONGEST_HOLD_SECONDS, Payments
from adapters.stripe.refunds import Refunds
from adapters.stripe.subscriptions import Cancellations, Endings
from adapters.tables import TIMEOUT_SECONDS_DEFAULT, Secret, Table, TimeoutSeconds
from ledger.errors import InDoubt, Permanent, Transient
from ledger.intents import JSON

HOLD_SECONDS_DEFAULT: Final = (
    4 * 24 + 18
) * 3600  # the shortest: Visa, whose owner is not there; /payments/capture-later

Offered = Literal["pay", "refund", "cancel_subscription", "end_subscription"]


class StripeTable(Table):
    """`[adapters.<name>]` with `type = "stripe"`."""

    type: Literal["stripe"]
    api_key: Secret
    operations: Annotated[tuple[Offered, ...], Field(max_length=4)] = ()
    """Those that have an effect; looking is always offered. None unless they are named."""
    account: Annotated[str, Field(pattern=r"^acct_[A-Za-z0-9]{1,64}$")] | None = None
    """A connected account, on whose behalf everything is asked."""
    hold_seconds: Annotated[int, Field(ge=60, le=LONGEST_HOLD_SECONDS)] = HOLD_SECONDS_DEFAULT
    url: Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+$", max_length=253)] = "https://api.stripe.com"
    allow_private: bool = False
    connections: Annotated[int, Field(ge=1, le=256)] = 32
    timeout_seconds: TimeoutSeconds = TIMEOUT_SECONDS_DEFAULT

    @model_validator(mode="after")
    def _public_and_secret(self) -> Self:
        if not self.allow_private and (self.url.startswith("http:") or private_address(self.url) is not None):
            raise ValueError("url is https and public; allow_private = true is for a stand-in of Stripe of your own")
        return self


class _Offer(Protocol):
    """One operation with an effect: the six verbs of the contract."""

    operation: Operation

    async def preview(self, call: Call) -> Preview: ...
    async def prepare(self, call: Call) -> Vote: ...
    async def commit(self, call: Call, receipt: JSON | None) -> Result: ...
    async def abort(self, call: Call, receipt: JSON | None) -> None: ...
    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result: ...
    async def inquire(self, call: Call) -> Standing: ...


class StripeAdapter:
    """One Stripe account and what is offered of it."""

    def __init__(self, name: str, table: StripeTable, api_key: Credential) -> None:
        """Offer what the table names. Connects to nothing."""
        self.name = name
        self._account = Account(
            table.url,
            api_key,
            table.account,
            connections=table.connections,
            seconds=table.timeout_seconds,
            private=table.allow_private,
        )
        offers: Mapping[Offered, _Offer] = {
            "pay": Payments(name, self._account, table.hold_seconds),
            "refund": Refunds(name, self._account),
            "cancel_subscription": Cancellations(name, self._account),
            "end_subscription": Endings(name, self._account),
        }
        self._offers = {offers[one].operation.name: offers[one] for one in table.operations}
        self._looks = {one.operation.name: one for one in looks(name, self._account)}
        self.operations: Mapping[str, Operation] = {
            key: one.operation for offered in (self._offers, self._looks) for key, one in offered.items()
        }

    async def open(self) -> None:
        """Make the client; Stripe may be away."""
        await self._account.open()

    async def close(self) -> None:
        """Close the client. Holds stay: they are Stripe's."""
        await self._account.close()

    async def preview(self, call: Call) -> Preview:
        """Look at what the operation is about (law 11)."""
        look = self._looks.get(call.operation)
        try:
            return await (look.look(call) if look else self._offers[call.operation].preview(call))
        except InDoubt as error:
            raise Transient(
                f"The preview changed nothing, and tells nothing: {error.message}", silent=error.silent
            ) from error

    async def prepare(self, call: Call) -> Vote:
        """Take the hold; for a one-shot refuse what Stripe would refuse (laws 1 to 4)."""
        return await self._offers[call.operation].prepare(call)

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        """Take what is held, or do it in one shot under the key (law 5)."""
        return await self._offers[call.operation].commit(call, receipt)

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        """Let go of the hold, by the receipt or by the key alone (law 6)."""
        await self._offers[call.operation].abort(call, receipt)

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        """Undo it, where it can be undone (law 8)."""
        return await self._offers[call.operation].compensate(call, receipt, result)

    async def inquire(self, call: Call) -> Standing:
        """Find what carries the key (law 9)."""
        try:
            return await self._offers[call.operation].inquire(call)
        except (InDoubt, Permanent) as error:
            raise Transient(
                f"The inquiry changed nothing, and tells nothing: {error.message}", silent=error.silent
            ) from error


def _build(name: str, table: StripeTable, reveal: Reveal) -> StripeAdapter:
    return StripeAdapter(name, table, reveal("api_key", table.api_key))


KIND: Final = Kind(StripeTable, _build)

"""Cancelling subscriptions: at the end of the paid period, which can be taken back until then, or at once.

**At the end** (`exact` undo while the subscription lives). The last change of ours is marked on the subscription
itself. So a commit sees whether it has been here already, a compensation takes back only its own change, and what a
person or another action has done in between is left alone. The request itself goes out under our key: one that arrives
late, after it was taken back, changes nothing, because Stripe answers it from memory.

**At once** (`none`). A subscription ends once and for good. The request writes our key into `cancellation_details`; a
repetition, of which Stripe says only that there is no such subscription any more, reads there whose end it was. Stripe
takes no Idempotency-Key for this request, and it needs none: so it can be repeated for ever.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from adapters.contract import Absent, Applied, Call, Operation, Prepared, Preview, Refused, Result, Standing, Vote
from adapters.facts import FactType
from adapters.stripe.account import MARK, Account
from adapters.stripe.answers import Denied, Seen, fault, in_doubt
from adapters.stripe.refunds import KEY_SECONDS
from ledger.errors import InDoubt, Permanent
from ledger.intents import JSON, Guarantee, Undo, Verb

_ENDED: Final = frozenset({"canceled", "incomplete_expired"})
PARAMS: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["subscription"],
    "properties": {"subscription": {"type": "string", "pattern": "^sub_[A-Za-z0-9]{1,64}$"}},
}
FACT_TYPES: Final[Mapping[str, FactType]] = {"status": "string", "customer": "string", "customer_age_days": "integer"}


class Cancellations:
    """`<name>.cancel_subscription`."""

    def __init__(self, name: str, account: Account) -> None:
        """Offer to let a subscription end with its period."""
        self._account = account
        self.operation = Operation(
            name=f"{name}.cancel_subscription",
            params=PARAMS,
            guarantee=Guarantee.IDEMPOTENT,
            undo=Undo.EXACT,
            key_lifetime_seconds=KEY_SECONDS,
            facts=tuple(FACT_TYPES),
            fact_types=FACT_TYPES,
            money=False,
            summary="cancel subscription {subscription} at the end of its period",
        )

    async def preview(self, call: Call) -> Preview:
        """Look at the subscription and at whose it is."""
        return _preview(await self._subscription(call), {"cancel_at_period_end": True})

    async def prepare(self, call: Call) -> Vote:
        """Refuse what has ended, or is to end anyhow: then there would be nothing of ours to take back."""
        try:
            found = await self._subscription(call)
        except Permanent as error:
            return Refused(error.message)
        no = _ended(found) or _ends_anyhow(found)
        return Refused(no) if no else Prepared(None, _preview(found, {"cancel_at_period_end": True}))

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        """Let it end with its period, unless that has been done under this key."""
        del receipt
        with in_doubt(Permanent):
            found = await self._subscription(call)
        if _mark(found) == call.key:
            return _change(found)
        no = _ended(found) or _ends_anyhow(found)
        if no is not None:  # by somebody else since it was prepared; of ours nothing stands
            raise Permanent(no)
        return _changed(await self._account.let_run_out(call, call.params["subscription"], out=True), call)

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        """There is no hold."""

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        """Let it go on, if it is still as our change has left it."""
        del receipt
        with in_doubt(Permanent):
            found = await self._subscription(call)
        if _mark(found) == call.key:
            return _change(found)
        no = _ended(found)
        if no is None and _mark(found) != result.get("mark", _mark(found)):  # a person's word has no mark
            no = f"{call.params['subscription']} was changed again since; that change is left as it is."
        if no is not None:
            raise Permanent(no)
        return _changed(await self._account.let_run_out(call, call.params["subscription"], out=False), call)

    async def inquire(self, call: Call) -> Standing:
        """Read whose key the last change carries."""
        found = await self._subscription(call)
        return Applied(_change(found)) if _mark(found) == call.key else Absent()

    async def _subscription(self, call: Call) -> Seen:
        return await self._account.subscription(call.params["subscription"])


class Endings:
    """`<name>.end_subscription`."""

    def __init__(self, name: str, account: Account) -> None:
        """Offer to end a subscription at once."""
        self._account = account
        self.operation = Operation(
            name=f"{name}.end_subscription",
            params=PARAMS,
            guarantee=Guarantee.IDEMPOTENT,
            undo=Undo.NONE,
            facts=tuple(FACT_TYPES),
            fact_types=FACT_TYPES,
            money=False,
            summary="end subscription {subscription} at once",
        )

    async def preview(self, call: Call) -> Preview:
        """Look at the subscription and at whose it is."""
        return _preview(await self._account.subscription(call.params["subscription"]), {"status": "canceled"})

    async def prepare(self, call: Call) -> Vote:
        """Refuse what has ended."""
        try:
            found = await self._account.subscription(call.params["subscription"])
        except Permanent as error:
            return Refused(error.message)
        no = _ended(found)
        return Refused(no) if no else Prepared(None, _preview(found, {"status": "canceled"}))

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        """End it, unless it has ended under this key."""
        del receipt
        with in_doubt(Permanent):
            found = await self._account.subscription(call.params["subscription"])
        if _is_end_of(found, call):
            return Result({"id": found.text("/id")})
        no = _ended(found)
        if no is not None:
            raise Permanent(no)
        answer = await self._account.end(call.params["subscription"], _comment(call))
        if isinstance(answer, Denied):
            raise fault(answer)
        if not _is_end_of(answer, call):
            raise InDoubt(f"Stripe's answer does not show that {call.params['subscription']} has ended by this.")
        return Result({"id": answer.text("/id")})

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        """There is no hold."""

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        """Say that it cannot be."""
        del receipt, result
        raise Permanent(f"{call.params['subscription']} has ended, and cannot be begun again. Nothing was sent.")

    async def inquire(self, call: Call) -> Standing:
        """Read whose end it was."""
        if call.verb is Verb.COMPENSATE:
            return Absent()
        found = await self._account.subscription(call.params["subscription"])
        return Applied(Result({"id": found.text("/id")})) if _is_end_of(found, call) else Absent()


def _mark(subscription: Seen) -> Any:
    return subscription.maybe(f"/metadata/{MARK}")


def _comment(call: Call) -> str:
    return f"Intent Ledger {call.key}"


def _is_end_of(subscription: Seen, call: Call) -> bool:
    ended = subscription.text("/status") in _ENDED
    return ended and subscription.maybe("/cancellation_details/comment") == _comment(call)


def _ended(subscription: Seen) -> str | None:
    status = subscription.text("/status")
    return f"{subscription.text('/id')} is {status} already." if status in _ENDED else None


def _ends_anyhow(subscription: Seen) -> str | None:
    name = subscription.text("/id")
    if subscription.maybe("/schedule") is not None:
        return f"{name} follows a schedule, which decides how it ends."
    if subscription.maybe("/cancel_at_period_end") is True or subscription.maybe("/cancel_at") is not None:
        return f"{name} is to end already."
    return None


def _changed(answer: Seen | Denied, call: Call) -> Result:
    if isinstance(answer, Denied):
        raise fault(answer)
    if _mark(answer) != call.key:
        raise InDoubt(f"Stripe's answer does not show that {call.params['subscription']} was changed by this.")
    return _change(answer)


def _change(subscription: Seen) -> Result:
    return Result({"id": subscription.text("/id"), "mark": _mark(subscription)})


def _preview(subscription: Seen, after: JSON) -> Preview:
    facts = {
        "status": subscription.text("/status"),
        "customer": subscription.id_of("/customer"),
        "customer_age_days": subscription.age_days("/customer"),
    }
    ends = subscription.maybe("/items/data/0/current_period_end")
    before = {
        "status": facts["status"],
        "cancel_at_period_end": subscription.maybe("/cancel_at_period_end"),
        "period_ends": datetime.fromtimestamp(ends, UTC).isoformat() if isinstance(ends, int) else None,
    }
    return Preview(facts, before, after)

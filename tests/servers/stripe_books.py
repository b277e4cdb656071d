"""What a Stripe account holds and how its objects live: the part of the simulator that knows nothing of HTTP or keys.

Payments, charges, refunds and subscriptions go through the states that docs.stripe.com describes for the version of the
API that the adapter asks for. A parameter that an endpoint does not know is refused, so that a slip of ours is found.
`tests/integration/test_stripe_simulator.py` holds it against servers of other people.
"""

import re
from math import inf
from typing import Any

JSON = dict[str, Any]
DAY = 86_400
PREFIX = {"payment_intent": "pi", "charge": "ch", "refund": "re"}
MAY_EXPAND = {"customer", "latest_charge", "payment_method"}


class Refusal(Exception):
    """An error in Stripe's form. Without `begun` nothing was carried out, and no key remembers it."""

    def __init__(self, status, kind, message, code=None, begun=True, **more):
        super().__init__(message)
        self.status = status
        self.begun = begun
        error = {"type": kind, "message": message, **({"code": code} if code else {}), **more}
        self.body = {"error": error}


def invalid(message, code=None, status=400, begun=True, **more):
    return Refusal(status, "invalid_request_error", message, code, begun, **more)


class Books:
    """The objects of one account. `changed` collects what the present request has done: (what, object)."""

    def __init__(self) -> None:
        self.objects: dict[str, JSON] = {}
        self.changed: list[tuple[str, JSON]] = []
        self.now = 0

    def put(self, what: str, thing: JSON) -> JSON:
        self.objects[thing["id"]] = thing
        self.changed.append((what, thing))
        return thing

    def find(self, name: str, kind: str) -> JSON:
        found = self.objects.get(name)
        if found is None or found["object"] != kind:
            missing = f"No such {kind}: '{name}'"
            raise invalid(missing, "resource_missing", 404, begun=False, param="id")
        return found

    def shown(self, thing: JSON, expand: list[str]) -> JSON:
        unknown = {one.removeprefix("data.") for one in expand} - MAY_EXPAND
        if unknown:
            raise invalid(f"This property cannot be expanded ({unknown.pop()}).", begun=False)
        if thing["object"] == "list":
            inside = [one.removeprefix("data.") for one in expand if one.startswith("data.")]
            return thing | {"data": [self.shown(one, inside) for one in thing["data"]]}
        return {
            name: self.objects.get(value, value) if name in expand and isinstance(value, str) else value
            for name, value in thing.items()
        }

    def listed(self, kind: str, params: JSON) -> JSON:
        limit = int(params.pop("limit", 10))
        after = params.pop("starting_after", None)
        since = int(params.pop("created", {}).get("gte", 0))
        if params.get("customer"):
            self.find(params["customer"], "customer")
        found = [
            one
            for one in reversed(self.objects.values())
            if one["object"] == kind
            and one["created"] >= since
            and all(one.get(name) == value for name, value in params.items())
        ]
        if after is not None:
            found = found[[one["id"] for one in found].index(after) + 1 :]
        return {"object": "list", "data": found[:limit], "has_more": len(found) > limit}

    def found(self, kind: str, query: str, limit: str) -> JSON:
        """Search by an entry of the metadata; what is younger than a minute is not found yet."""
        name, value = re.fullmatch(r'metadata\["(\w+)"\]:"([\w-]+)"', query).groups()
        old = [one for one in self.objects.values() if one["object"] == kind and one["created"] <= self.now - 60]
        found = [one for one in old if one["metadata"].get(name) == value]
        return {"object": "search_result", "data": found[: int(limit)], "has_more": False}

    def pass_time(self, now: int) -> None:
        """Let happen by itself what is due by now."""
        self.now = now
        for thing in [one for one in self.objects.values() if self._ends(one) <= now]:
            if thing["object"] == "payment_intent":
                self._let_go(thing, "automatic", "expired")
            else:
                self.put("ran out", thing | {"status": "canceled", "ended_at": now})

    def _ends(self, thing: JSON) -> float:
        match thing:
            case {"object": "payment_intent", "status": "requires_capture", "latest_charge": charge}:
                return self.objects[charge]["payment_method_details"]["card"]["capture_before"]
            case {"object": "subscription", "status": "active", "cancel_at": int(ends)}:
                return ends
        return inf

    def _new(self, kind: str, **fields: Any) -> JSON:
        name = f"{PREFIX[kind]}_{len(self.objects) + 1:014d}"
        return {"id": name, "object": kind, "created": self.now, "livemode": False, "metadata": {}, **fields}

    # ── payments ─────────────────────────────────────────────────────────────────────────────────────────────────

    def create_payment(
        self, amount, currency, customer, payment_method=None, capture_method="automatic", confirm="false",
        off_session="false", error_on_requires_action="false", allowed_payment_method_types=(),
        automatic_payment_methods=None, metadata=None, description=None,
    ):  # fmt: skip
        if int(amount) < 50:
            raise invalid("Amount must be at least 50 minor units.", "amount_too_small", begun=False)
        if currency not in {"usd", "eur"}:
            raise invalid(f"Invalid currency: {currency}.", "parameter_invalid_string", begun=False)
        self.find(customer, "customer")
        if (automatic_payment_methods or {}).get("allow_redirects") != "never" and confirm == "true":
            raise invalid("To confirm this PaymentIntent you must give a return_url.", begun=False)
        if payment_method is not None and self.find(payment_method, "payment_method")["customer"] != customer:
            raise invalid("The payment method does not belong to this customer.", begun=False)
        payment = self._new(
            "payment_intent", amount=int(amount), amount_received=0, amount_capturable=0, currency=currency,
            customer=customer, payment_method=payment_method, capture_method=capture_method, description=description,
            payment_method_types=list(allowed_payment_method_types), metadata=metadata or {}, latest_charge=None,
            cancellation_reason=None, last_payment_error=None,
            status="requires_confirmation" if payment_method else "requires_payment_method",
        )  # fmt: skip
        if confirm == "true":
            return self._confirm(payment, off_session == "true", error_on_requires_action == "true")
        return self.put("payment made", payment)

    def _confirm(self, payment: JSON, off_session: bool, or_error: bool) -> JSON:
        card = self.objects[payment["payment_method"]]["card"]
        if "declined" in card["test"]:
            error = {"code": "card_declined", "decline_code": card["test"], "message": "Your card was declined."}
            payment |= {"status": "requires_payment_method", "last_payment_error": error, "payment_method": None}
            raise Refusal(402, "card_error", **error, payment_intent=self.put("declined", payment))
        if card["test"] == "asks" and not (off_session and or_error):
            return self.put("asks its owner", payment | {"status": "requires_action"})
        if card["test"] == "asks":
            words = "Your card was declined. This transaction requires authentication."
            payment["status"] = "requires_payment_method"
            raise Refusal(
                402, "card_error", words, "authentication_required", payment_intent=self.put("declined", payment)
            )
        manual = payment["capture_method"] == "manual"
        charge = self._new(
            "charge", amount=payment["amount"], amount_captured=0 if manual else payment["amount"], amount_refunded=0,
            currency=payment["currency"], customer=payment["customer"], payment_intent=payment["id"],
            captured=not manual, status="succeeded", disputed=False, refunded=False,
            payment_method_details={"type": "card", "card": {"capture_before": self.now + card["hold_seconds"]}},
        )  # fmt: skip
        charge["id"] = "ch" + payment["id"][2:]
        self.put("charge made", charge)
        held, taken = (payment["amount"], 0) if manual else (0, payment["amount"])
        payment |= {"latest_charge": charge["id"], "amount_capturable": held, "amount_received": taken}
        payment["status"] = "requires_capture" if manual else "succeeded"
        return self.put("held" if manual else "taken", payment)

    def capture_payment(self, name: str) -> JSON:
        payment = self.find(name, "payment_intent")
        if payment["status"] != "requires_capture":
            raise self._unexpected(payment, "captured")
        charge = self.objects[payment["latest_charge"]]
        self.put("charge captured", charge | {"captured": True, "amount_captured": payment["amount"]})
        taken = {"status": "succeeded", "amount_received": payment["amount"], "amount_capturable": 0}
        return self.put("taken", payment | taken)

    def cancel_payment(self, name: str, cancellation_reason=None) -> JSON:
        payment = self.find(name, "payment_intent")
        if payment["status"] not in {"requires_capture", "requires_payment_method", "requires_confirmation"}:
            raise self._unexpected(payment, "canceled")
        return self._let_go(payment, cancellation_reason, "let go")

    def _let_go(self, payment: JSON, reason: str | None, what: str) -> JSON:
        if payment["status"] == "requires_capture":
            charge = self.objects[payment["latest_charge"]]
            self.put("charge let go", charge | {"refunded": True, "amount_refunded": charge["amount"]})
        gone = {"status": "canceled", "cancellation_reason": reason, "amount_capturable": 0}
        return self.put(what, payment | gone)

    def _unexpected(self, payment: JSON, verb: str) -> Refusal:
        words = f"This PaymentIntent could not be {verb} because it has a status of {payment['status']}."
        return invalid(words, "payment_intent_unexpected_state", payment_intent=payment)

    # ── refunds ──────────────────────────────────────────────────────────────────────────────────────────────────

    def create_refund(self, amount=None, payment_intent=None, charge=None, metadata=None) -> JSON:
        if payment_intent is not None:
            payment = self.find(payment_intent, "payment_intent")
            charge = payment["latest_charge"] or ""
        found = self.find(charge, "charge")
        if not found["captured"]:
            raise invalid(f"This PaymentIntent ({payment_intent}) does not have a successful charge to refund.")
        left = found["amount_captured"] - found["amount_refunded"]
        if left == 0:
            raise invalid(f"Charge {charge} has already been refunded.", "charge_already_refunded")
        given = left if amount is None else int(amount)
        if given > left:
            raise invalid(f"Refund amount ({given}) is greater than unrefunded amount on charge ({left}).")
        refund = self._new(
            "refund", amount=given, currency=found["currency"], charge=charge, payment_intent=payment_intent,
            metadata=metadata or {}, status="succeeded",
        )  # fmt: skip
        self.put("charge refunded", found | {"amount_refunded": found["amount_refunded"] + given})
        return self.put("refunded", refund)

    # ── subscriptions ────────────────────────────────────────────────────────────────────────────────────────────

    def update_subscription(self, name: str, cancel_at_period_end=None, metadata=None) -> JSON:
        found = self.find(name, "subscription")
        if found["status"] == "canceled":
            raise invalid("A canceled subscription can only update its cancellation_details and metadata.")
        changed: JSON = {"metadata": _merged(found["metadata"], metadata or {})}
        if cancel_at_period_end is not None:
            out = cancel_at_period_end == "true"
            changed["cancel_at_period_end"] = out
            changed["cancel_at"] = found["items"]["data"][0]["current_period_end"] if out else None
        return self.put("runs out" if changed.get("cancel_at_period_end") else "goes on", found | changed)

    def end_subscription(self, name: str, cancellation_details=None) -> JSON:
        found = self.find(name, "subscription")
        if found["status"] == "canceled":
            raise invalid(f"No such subscription: '{name}'", "resource_missing", 404)
        details = {
            "comment": None,
            "feedback": None,
            "reason": "cancellation_requested",
            **(cancellation_details or {}),
        }
        ended = {"status": "canceled", "ended_at": self.now, "canceled_at": self.now, "cancellation_details": details}
        return self.put("ended", found | ended)


def _merged(metadata: JSON, changes: JSON) -> JSON:
    return {name: value for name, value in {**metadata, **changes}.items() if value != ""}


def customer(name: str, created: int) -> JSON:
    return {"id": name, "object": "customer", "created": created, "metadata": {}, "delinquent": False}


def card(name: str, owner: str, created: int, test: str = "works", hold_seconds: int = 7 * DAY) -> JSON:
    """Make a card that works, was "declined…" or "asks" its owner."""
    details = {"brand": "visa", "last4": "4242", "exp_month": 8, "exp_year": 2031, "country": "US", "funding": "credit"}
    details |= {"test": test, "hold_seconds": hold_seconds}
    return {"id": name, "object": "payment_method", "created": created, "customer": owner, "card": details}


def subscription(name: str, owner: str, created: int, ends: int) -> JSON:
    return {
        "id": name, "object": "subscription", "created": created, "customer": owner, "status": "active",
        "cancel_at_period_end": False, "cancel_at": None, "canceled_at": None, "ended_at": None, "schedule": None,
        "metadata": {}, "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "items": {"object": "list", "data": [{"id": "si_1", "current_period_end": ends}]},
    }  # fmt: skip

"""One Stripe account: the requests that the adapter makes there, through Stripe's own library.

Rules of this file:

1. A request leaves at most once (`http_client.py`): the library's retries are off, and so is everything that it tells
   Stripe about its user, which it would keep in a file of the home directory. It encodes, reads and names errors.
2. `look` is for requests that change nothing, so it raises only `Permanent` and `Transient`. `ask` is for those that
   have an effect: what Stripe says against one is a value, because its meaning depends on who asks.
3. The API key is asked of its credential for each request. The version of the API is fixed here, whatever the account's
   default is and whichever the library was made for.
4. A *mark* is our key in the metadata of what we have made: by it an object is found again when no answer came, also
   when Stripe has long forgotten the key. Lists show what was written before, unlike Stripe's search
   (docs.stripe.com/search#data-freshness).
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import stripe
from stripe import RequestOptions

from adapters.answers import AWAY, Senseless, parse, pointed, secrets_in
from adapters.contract import Call
from adapters.credentials import Credential
from adapters.http_client import HttpClient
from adapters.stripe.answers import Denied, Meaning, Seen, denied, seen
from ledger.canonical import canonical
from ledger.errors import InDoubt, Permanent, Transient
from ledger.intents import JSON

API_VERSION: Final = "2026-10-28.endive"
MARK: Final = "intent_ledger_key"
_ACTION: Final = "intent_ledger_action"
_PAGE: Final = 100  # the most that Stripe lists at once
_PAGES: Final = 10
_ANSWER_BYTES: Final = 2 * 1024 * 1024  # of a page of the largest objects; what is kept of it is a few fields
_SENT: Final = ("authorization", "content-type", "idempotency-key", "stripe-account", "stripe-version")
_HEARD: Final = ("date", "idempotent-replayed", "request-id")

_WITH: Final = ("customer", "latest_charge", "payment_method")  # shown as a whole, not only named

_Request = Callable[[RequestOptions], Awaitable[stripe.StripeObject]]
_Listing = Callable[[Any, RequestOptions], Awaitable[stripe.StripeObject]]

stripe.enable_telemetry = False


class Exchange(stripe.HTTPClient):
    """The library's way to the network: ours, in which nothing is repeated and nothing unread is believed."""

    name = "intentledger"

    def __init__(self, client: HttpClient) -> None:
        """Exchange through `client`."""
        super().__init__()
        self._client = client

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Exchange one request; raises `Transient` and `InDoubt`, which the library lets pass."""
        sent = {name: value for name, value in headers.items() if name.lower() in _SENT}
        body = post_data.encode() if isinstance(post_data, str) else post_data
        received = await self._client.receive(method.upper(), url, body, sent)
        if received.body is None:
            raise InDoubt(f"Stripe's answer is longer than {_ANSWER_BYTES} bytes.")
        try:
            data = parse(received.body, secrets_in([headers["Authorization"]]))
        except Senseless as error:
            silent = received.status in AWAY  # in front of Stripe, which was not heard
            said = f"Stripe answered {received.status} with what has no meaning: {error}."
            raise InDoubt(said, silent=silent) from error
        if received.status >= HTTPStatus.MULTIPLE_CHOICES and not isinstance(pointed(data, "/error/type"), str):
            said = f"{received.status} was answered, not in Stripe's form: it is somebody else's."
            raise InDoubt(said, silent=received.status in AWAY)
        heard = {name: received.headers[name] for name in _HEARD if name in received.headers}
        return canonical(data), received.status, heard


class Account:
    """What is asked of Stripe. Amounts are in minor units, currencies in capitals here and in small letters there."""

    def __init__(
        self, url: str, api_key: Credential, account: str | None, *, connections: int, seconds: float, private: bool
    ) -> None:
        """Speak to `url` with the key as it is at each request, for the connected `account` if there is one."""
        self._api_key = api_key
        self._client = HttpClient(
            connections=connections, seconds=seconds, allow_private=private, headers={}, most_bytes=_ANSWER_BYTES
        )
        self._stripe = stripe.StripeClient(
            "asked for each request",
            stripe_account=account,
            stripe_version=API_VERSION,
            base_addresses={"api": url},
            max_network_retries=0,
            http_client=Exchange(self._client),
        ).v1

    async def open(self) -> None:
        """Make the client; connects to nothing."""
        await self._client.open()

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def payment_method(self, name: str) -> Seen:
        """Show a payment method with its customer."""
        request = self._stripe.payment_methods.retrieve_async
        return await self._named(name, lambda o: request(name, {"expand": ["customer"]}, o))

    async def customer(self, name: str) -> Seen:
        """Show a customer."""
        return await self._named(name, lambda o: self._stripe.customers.retrieve_async(name, {}, o))

    async def payment(self, name: str) -> Seen:
        """Show a payment with its customer, its card and its charge."""
        request = self._stripe.payment_intents.retrieve_async
        return await self._named(name, lambda o: request(name, {"expand": list(_WITH)}, o))

    async def charge(self, name: str) -> Seen:
        """Show a charge with its customer: the one of a payment, or one that has no payment."""
        if name.startswith("pi_"):
            payment = await self.payment(name)
            if payment.maybe("/latest_charge") is None:
                raise Permanent(f"{name} has no charge: it is {payment.text('/status')}.")
            charge = payment.inside("/latest_charge")
            return Seen({**charge.data, "customer": payment.maybe("/customer")}, payment.at)
        request = self._stripe.charges.retrieve_async
        return await self._named(name, lambda o: request(name, {"expand": ["customer"]}, o))

    async def subscription(self, name: str) -> Seen:
        """Show a subscription with its customer."""
        request = self._stripe.subscriptions.retrieve_async
        return await self._named(name, lambda o: request(name, {"expand": ["customer"]}, o))

    async def payments_with(self, key: str, customer: str, since: int | None = None) -> list[Seen]:
        """Return the payments of a customer since then that carry this key.

        Beyond a thousand Stripe is asked to search. A search lags behind by a minute or so, a list does not: what was
        made since then is among the thousand.
        """
        wanted: dict[str, Any] = {"customer": customer, "limit": _PAGE}
        if since is not None:
            wanted["created"] = {"gte": since}
        found, whole = await self._pages(self._stripe.payment_intents.list_async, wanted)
        if not whole:
            query: Any = {"query": f'metadata["{MARK}"]:"{key}"', "limit": _PAGE}
            found += _listed(await self._look(partial(self._stripe.payment_intents.search_async, query)))
        return [one for one in found if one.maybe(f"/metadata/{MARK}") == key]

    async def payments_of(self, customer: str) -> list[Seen]:
        """Return the payments of a customer, the last first; raises `Transient` if they are too many."""
        wanted = {"customer": customer, "limit": _PAGE}
        return _whole(await self._pages(self._stripe.payment_intents.list_async, wanted), f"payments of {customer}")

    async def latest_payments_of(self, customer: str) -> list[Seen]:
        """Return the latest payments of a customer with their charges, the last first, at most a hundred."""
        wanted: Any = {"customer": customer, "limit": _PAGE, "expand": ["data.latest_charge"]}
        return _listed(await self._look(partial(self._stripe.payment_intents.list_async, wanted)))

    async def refunds_of(self, payment: str) -> list[Seen]:
        """Return the refunds of a payment or charge, the last first; raises `Transient` if they are too many."""
        wanted = {_kind(payment): payment, "limit": _PAGE}
        return _whole(await self._pages(self._stripe.refunds.list_async, wanted), f"refunds of {payment}")

    # ── acting ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def authorise(self, call: Call) -> Seen | Denied:
        """Hold the amount on a card, without its owner being there (docs.stripe.com/payments/capture-later)."""
        customer, card = call.params["customer"], call.params["payment_method"]  # missing here, and no answer's fault
        return await self._ask(
            lambda o: self._stripe.payment_intents.create_async(
                {
                    "amount": call.params["amount"],
                    "currency": call.params["currency"].lower(),
                    "customer": customer,
                    "payment_method": card,
                    "allowed_payment_method_types": ["card"],
                    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                    "capture_method": "manual",
                    "confirm": True,
                    "off_session": True,
                    "error_on_requires_action": True,
                    "metadata": marks(call),
                    "expand": list(_WITH),
                },
                o,
            ),
            call.key,
        )

    async def bury(self, call: Call) -> Seen | Denied:
        """Use up the key of a payment for one without a card: a tombstone, unless it was used before."""
        customer = call.params["customer"]  # as above
        return await self._ask(
            lambda o: self._stripe.payment_intents.create_async(
                {
                    "amount": call.params["amount"],
                    "currency": call.params["currency"].lower(),
                    "customer": customer,
                    "allowed_payment_method_types": ["card"],
                    "capture_method": "manual",
                    "description": "A payment that was called off before it was made.",
                    "metadata": marks(call),
                },
                o,
            ),
            call.key,
        )

    async def capture(self, payment: str, key: str) -> Seen | Denied:
        """Take what is held."""
        return await self._ask(lambda o: self._stripe.payment_intents.capture_async(payment, {}, o), key)

    async def cancel(self, payment: str, key: str) -> Seen | Denied:
        """Let go of what is held."""
        return await self._ask(
            lambda o: self._stripe.payment_intents.cancel_async(payment, {"cancellation_reason": "abandoned"}, o), key
        )

    async def refund(self, call: Call, payment: str, amount: int) -> Seen | Denied:
        """Give back a part of a payment or charge."""
        wanted: Any = {_kind(payment): payment, "amount": amount, "metadata": marks(call)}
        return await self._ask(partial(self._stripe.refunds.create_async, wanted), call.key)

    async def let_run_out(self, call: Call, subscription: str, *, out: bool) -> Seen | Denied:
        """Let a subscription end with its period, or go on after it."""
        return await self._ask(
            lambda o: self._stripe.subscriptions.update_async(
                subscription, {"cancel_at_period_end": out, "metadata": {MARK: call.key}}, o
            ),
            call.key,
        )

    async def end(self, subscription: str, comment: str) -> Seen | Denied:
        """End a subscription now."""
        return await self._ask(
            lambda o: self._stripe.subscriptions.cancel_async(
                subscription, {"cancellation_details": {"comment": comment}}, o
            ),
            None,
        )

    # ── one request ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _ask(self, request: _Request, key: str | None) -> Seen | Denied:
        try:
            return seen(await request(self._options(key)))
        except stripe.StripeError as error:
            return denied(error)
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # the library takes its shape for granted
            raise InDoubt(f"Stripe's answer has no meaning: {type(error).__name__}.") from error

    async def _look(self, request: _Request) -> Seen:
        try:
            answer = await self._ask(request, None)
        except InDoubt as error:
            raise Transient(f"Looking failed and changed nothing: {error.message}", silent=error.silent) from error
        match answer:
            case Denied(Meaning.NO | Meaning.MISSING, words):
                raise Permanent(words)
            case Denied(_, words):
                raise Transient(words)
            case _:
                return answer

    async def _named(self, name: str, request: _Request) -> Seen:
        found = await self._look(request)
        if found.maybe("/id") != name:
            raise Transient(f"Stripe was asked for {name} and showed something else.")
        return found

    async def _pages(self, listing: _Listing, wanted: JSON) -> tuple[list[Seen], bool]:
        """Return what is listed, and whether that is all of it."""
        found: list[Seen] = []
        for _ in range(_PAGES):
            listed = await self._look(partial(listing, wanted))
            found += _listed(listed)
            if not found or listed.maybe("/has_more") is not True:
                return found, True
            wanted = {**wanted, "starting_after": found[-1].maybe("/id")}
        return found, False

    def _options(self, key: str | None) -> RequestOptions:
        options: RequestOptions = {"api_key": self._api_key(), "max_network_retries": 0}
        if key is not None:
            options["idempotency_key"] = key
        return options


def _listed(page: Seen) -> list[Seen]:
    data = page.maybe("/data")
    if (
        page.maybe("/object") not in {"list", "search_result"}
        or not isinstance(data, list)
        or not all(isinstance(one, dict) for one in data)
    ):
        raise Transient("Stripe was asked for a list and showed something else; nothing can be told from it.")
    return [Seen(one, page.at) for one in data]


def _whole(listed: tuple[list[Seen], bool], what: str) -> list[Seen]:
    found, whole = listed
    if not whole:
        raise Transient(f"There are more than {len(found)} {what}; nothing can be told from some of them.")
    return found


def _kind(payment: str) -> str:
    return "payment_intent" if payment.startswith("pi_") else "charge"


def marks(call: Call) -> dict[str, str]:
    """Return what is written on everything that a call makes: its key, and whose action it is."""
    return {MARK: call.key, _ACTION: action(call)}


def action(call: Call) -> str:
    """Name the action, whichever of its keys a call has."""
    return f"{call.ledger}/{call.intent}/{call.action}"


def marked(found: list[Seen], call: Call) -> list[Seen]:
    """Return those that carry the key of this call."""
    return [one for one in found if one.maybe(f"/metadata/{MARK}") == call.key]


def of_action(found: list[Seen], call: Call) -> list[Seen]:
    """Return those that carry the action of this call."""
    return [one for one in found if one.maybe(f"/metadata/{_ACTION}") == action(call)]

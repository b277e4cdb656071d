"""What an answer of Stripe means, whatever was asked: one total table, and the fields that are read from a yes.

    | Stripe's answer | means |
    |---|---|
    | 2xx with the object that was asked for | `Seen` |
    | 402 `card_error`; 400 and 404 `invalid_request_error` | NO: certainly nothing happened, now or ever |
    | the same with the code `resource_missing` | MISSING: there is no such object for this API key |
    | 400 `idempotency_error` | KEY_USED: the key has named another request before |
    | 409 (another request with the same key, or on the same object, is being carried out) | BUSY |
    | 401, 403, 429 (also `lock_timeout`) | NOT_NOW: refused before anything was carried out |
    | 5xx, any other status, an error that is not in Stripe's own form, an answer that makes no sense | UNCLEAR |

An error counts only if it is in Stripe's own form (`{"error": {"type": …}}`; `account.py` sees to it): what a
proxy in front of it says about a payment means nothing. Under one key a NO is the stored answer to the first request,
or nothing was ever carried out under it; so it also says that no earlier request with that key took effect.
Sources: docs.stripe.com/api/idempotent_requests, /error-low-level, /error-codes, /rate-limits.

Times are Stripe's: seconds since 1970, and of an answer the one in its `Date`. So an age has no clock of ours in it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any, Final

import msgspec
import stripe

from adapters.answers import pointed
from ledger import bounds
from ledger.errors import AdapterError, InDoubt, Permanent, Transient
from ledger.intents import JSON

_DAY_SECONDS: Final = 86_400


class Meaning(Enum):
    """What an answer that is no yes means."""

    NO = auto()
    MISSING = auto()
    KEY_USED = auto()
    BUSY = auto()
    NOT_NOW = auto()
    UNCLEAR = auto()


class Denied(msgspec.Struct, frozen=True):
    """An answer that is no yes, and a sentence about it. `replayed`: it is the stored answer to an earlier request."""

    meaning: Meaning
    words: str
    replayed: bool = False


class Seen(msgspec.Struct, frozen=True):
    """An object as Stripe showed it. `replayed`: it is the stored answer to an earlier request with the same key."""

    data: JSON
    at: int | None  # when it was shown
    replayed: bool = False

    def text(self, pointer: str) -> str:
        """Return a text in it; raises `InDoubt` if there is none."""
        value = pointed(self.data, pointer)
        if not isinstance(value, str):
            raise InDoubt(f"Stripe's answer has no text at {pointer}, so it makes no sense.")
        return value

    def number(self, pointer: str) -> int:
        """Return an integer in it; raises `InDoubt` if there is none."""
        value = pointed(self.data, pointer)
        if not isinstance(value, int) or isinstance(value, bool):
            raise InDoubt(f"Stripe's answer has no integer at {pointer}, so it makes no sense.")
        return value

    def maybe(self, pointer: str) -> Any:
        """Return what is there, or None."""
        return pointed(self.data, pointer)

    def inside(self, pointer: str) -> "Seen":
        """Return an object in it, as seen at the same time; raises `InDoubt` if there is none."""
        value = pointed(self.data, pointer)
        if not isinstance(value, dict):
            raise InDoubt(f"Stripe's answer has no object at {pointer}, so it makes no sense.")
        return Seen(value, self.at, self.replayed)

    def id_of(self, pointer: str) -> str:
        """Return the id of what is there, shown as a whole or only named; empty if nothing is."""
        value = pointed(self.data, pointer)
        named = value.get("id") if isinstance(value, dict) else value
        return named if isinstance(named, str) else ""

    def age_days(self, pointer: str) -> int:
        """Return for how many whole days the object there has existed; 0 if there is none or it is deleted.

        Who has no account is as new as one can be, so a policy that asks for an age does not let it pass.
        """
        created = pointed(self.data, f"{pointer}/created")
        if not isinstance(created, int):
            return 0
        if self.at is None:
            raise InDoubt("Stripe's answer does not say when it was given, so no age can be told.")
        return max(0, self.at - created) // _DAY_SECONDS


def seen(answer: stripe.StripeObject) -> Seen:
    """Return what a yes shows."""
    response = answer.last_response
    headers: Mapping[str, str] = {} if response is None else response.headers
    return Seen(answer.to_dict(), _time(headers.get("date")), _replayed(headers))


def _replayed(headers: Mapping[str, str]) -> bool:
    return headers.get("idempotent-replayed") == "true"


def denied(error: stripe.StripeError) -> Denied:
    """Return what an error means; see the table above."""
    return Denied(_meaning(error), _words(error), _replayed(error.headers or {}))


def _meaning(error: stripe.StripeError) -> Meaning:
    match error:
        case stripe.IdempotencyError():
            return Meaning.KEY_USED
        case stripe.RateLimitError() | stripe.AuthenticationError() | stripe.PermissionError():
            return Meaning.NOT_NOW
        case stripe.InvalidRequestError(code="resource_missing"):
            return Meaning.MISSING
        case stripe.InvalidRequestError() | stripe.CardError():
            return Meaning.NO
        case stripe.APIError(http_status=409):
            return Meaning.BUSY
        case _:
            return Meaning.UNCLEAR


def fault(answer: Denied) -> AdapterError:
    """Return the error for a request that would have had an effect.

    What is missing was seen when the action was prepared. That it has gone may as well mean that the API key is now
    another account's, where an earlier request cannot be found either; so it is a doubt.
    """
    match answer.meaning:
        case Meaning.NO:
            return Permanent(answer.words)
        case Meaning.NOT_NOW:
            return Transient(answer.words)
        case Meaning.MISSING | Meaning.KEY_USED | Meaning.BUSY | Meaning.UNCLEAR:
            return InDoubt(answer.words)


@contextmanager
def in_doubt(*errors: type[AdapterError]) -> Iterator[None]:
    """Make a doubt of these errors: after a request with an effect, or where looking finds missing what was there."""
    try:
        yield
    except errors as error:
        raise InDoubt(error.message, silent=error.silent) from error


def _words(error: stripe.StripeError) -> str:
    said = pointed(error.json_body, "/error/message")
    code = next(
        (one for name in ("decline_code", "code", "type") if (one := pointed(error.json_body, f"/error/{name}"))), None
    )
    named = f" ({code})" if isinstance(code, str) else ""
    sentence = " ".join(said.split()).removesuffix(".") if isinstance(said, str) else "it does not say why"
    return f"Stripe answered {error.http_status}{named}: {sentence[: bounds.ERROR_LENGTH // 2]}."


def _time(date: str | None) -> int | None:
    try:
        return int(parsedate_to_datetime(date).timestamp()) if date else None
    except ValueError:
        return None

"""Every exception of Intent Ledger, in one tree.

    LedgerError
    ├── Rejected                 the caller's request cannot be taken; nothing was recorded
    │   ├── Malformed            not a JSON text, header or address that we accept
    │   │   └── KeyMissing       a new intent without an idempotency key
    │   ├── TooLarge             more bytes than we read
    │   ├── TooSlow              the bytes did not come in time
    │   ├── UnsupportedMedia     not JSON in UTF-8, or encoded
    │   ├── NoSuchMethod         the address exists, the method on it does not
    │   ├── Invalid              well-formed, but breaks the contract; names each place
    │   │   └── InvalidRequest   the same, in anything but an intent
    │   │       ├── WiderThanParent  a grant that would permit more than its issuer has
    │   │       └── InvalidPolicy    a policy set that cannot be read or does not fit the catalogue
    │   ├── Unauthenticated      no token, or one that is not alive
    │   ├── Forbidden            a live token that may not do this
    │   │   └── NotEligible      a person who may not answer for this intent
    │   ├── OAuthRefused         a request of an OAuth client, with the code that OAuth has for it
    │   ├── NotFound
    │   └── Conflict             the ledger's state forbids it
    │       ├── KeyReused        the same idempotency key with another body
    │       ├── AlreadyDecided   too late to cancel
    │       ├── NotWaiting       nothing here waits for that answer
    │       ├── DigestMismatch   what was approved is not what would happen
    │       ├── PossibleDuplicate  the same actions were submitted under the same task before
    │       └── NotUndoable      names the actions that cannot be undone
    ├── AdapterError             an outside system did not do what was asked
    │   ├── Transient            certainly nothing happened; the same call may succeed later
    │   ├── Permanent            certainly nothing happened; the same call will never succeed
    │   │   └── Erased           nothing was sent: the personal data that it needs were erased
    │   └── InDoubt              something may have happened
    ├── Unavailable              we cannot answer now; what was asked may or may not have been recorded
    │   ├── Overloaded           refused before acceptance; certainly nothing was recorded
    │   └── NotReady             likewise: what is needed to answer is not there yet
    ├── Misconfigured            the operator's settings or files cannot be used; nothing was started
    └── Corrupt                  what we hold cannot be true; a person must look
        ├── Tampered             what was signed, or what it covers, was changed afterwards
        ├── IllegalTransition    an event that its state does not allow
        ├── UnknownEventType     an event written by a newer release, or by nobody we know
        └── InvariantViolation   a law of the protocol would be broken by going on

`gateway/problems.py` maps this tree to HTTP in one table, and a test walks one against the other.
A *refusal* that belongs to the protocol (an adapter's vote, a guard that failed) is a value, never an exception.
"""

from collections.abc import Mapping, Sequence
from typing import Any


class LedgerError(Exception):
    """Something went wrong in Intent Ledger."""

    retryable: bool = False

    def __init__(self, message: str | None = None, **extras: Any) -> None:
        """Say what happened; the class docstring is the default sentence, `extras` are shown beside it."""
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.extras: Mapping[str, Any] = extras
        super().__init__(self.message)


class Rejected(LedgerError):
    """The request cannot be taken. Nothing was recorded."""


class Malformed(Rejected):
    """The body is not a JSON text that this service accepts. Nothing was recorded."""


class KeyMissing(Malformed):
    """A new intent needs an Idempotency-Key header, so that it can be repeated safely. Nothing was recorded."""


class TooLarge(Rejected):
    """The body is larger than this service reads. Nothing was recorded."""


class TooSlow(Rejected):
    """The body did not arrive in time. Nothing was recorded."""


class UnsupportedMedia(Rejected):
    """The body is not plain JSON in UTF-8. Nothing was recorded."""


class NoSuchMethod(Rejected):
    """This address does not answer that method. Nothing was recorded."""


class Invalid(Rejected):
    """The request does not follow the contract. Nothing was recorded."""

    def __init__(
        self, message: str | None = None, errors: Sequence[Mapping[str, str | int]] = (), **extras: Any
    ) -> None:
        """`errors` name each place: `{"path": "/actions/0/params/amount", "message": "…"}`."""
        super().__init__(message, **({"errors": list(errors)} if errors else {}), **extras)


class InvalidRequest(Invalid):
    """The request does not follow the contract. Nothing was changed."""


class WiderThanParent(InvalidRequest):
    """The grant would permit more than its issuer's. Nothing was issued; each part that is wider is named."""


class InvalidPolicy(InvalidRequest):
    """The policy set cannot be used. It was neither kept nor activated; each place is named."""


class Unauthenticated(Rejected):
    """There is no token, or it is not alive. Nothing was done."""


class Forbidden(Rejected):
    """The token is alive but may not do this. Nothing was done."""


class NotEligible(Forbidden):
    """You may not answer for this intent. Nothing was done."""


class OAuthRefused(Rejected):
    """The OAuth request cannot be granted. Nothing was issued or changed."""

    def __init__(self, message: str | None = None, error: str = "invalid_request") -> None:
        """`error` is a code of RFC 6749 §5.2 or of the RFC that added it."""
        super().__init__(message, error=error)


class NotFound(Rejected):
    """There is no such thing in this ledger."""


class Conflict(Rejected):
    """The ledger's present state does not allow this. Nothing was recorded."""


class KeyReused(Conflict):
    """This idempotency key was used before with another body. Nothing was recorded; use a new key for a new intent."""


class AlreadyDecided(Conflict):
    """The intent is decided and can no longer be cancelled. Nothing was changed; a committed intent can be undone."""


class NotWaiting(Conflict):
    """The intent does not wait for this answer. Nothing was changed."""


class DigestMismatch(Conflict):
    """The digest is not that of what waits for an answer. Nothing was recorded; look at the intent again."""


class PossibleDuplicate(Conflict):
    """The same actions were submitted under this task before. Nothing was recorded; "again": true repeats them."""


class NotUndoable(Conflict):
    """Not everything in this intent can be undone. Nothing was changed; ask with "partial": true to undo the rest."""


class AdapterError(LedgerError):
    """An outside system did not do what was asked."""

    def __init__(self, message: str | None = None, *, silent: bool = False, **extras: Any) -> None:
        """`silent`: nothing was heard of the system itself, no connection and no answer in time."""
        super().__init__(message, **extras)
        self.silent = silent


class Transient(AdapterError):
    """Nothing happened in the outside system, and the same call may succeed later."""

    retryable = True


class Permanent(AdapterError):
    """Nothing happened in the outside system, and the same call will never succeed."""


class Erased(Permanent):
    """The personal data that this needs were erased. Nothing was sent."""


class InDoubt(AdapterError):
    """The outside system may or may not have acted."""


class Unavailable(LedgerError):
    """The ledger cannot answer now. Whether the request was recorded is unknown; the same key gives the truth."""

    retryable = True


class Overloaded(Unavailable):
    """The service is at its limit and refused this request before accepting it. Nothing was recorded; retry later."""


class NotReady(Unavailable):
    """What is needed to answer is not there yet. Nothing was recorded; retry later."""


class Misconfigured(LedgerError):
    """The service cannot start with these settings. Nothing was started or changed."""


class Corrupt(LedgerError):
    """What the ledger holds cannot be true. It stopped rather than guess; a person must look."""


class Tampered(Corrupt):
    """What was signed, or what the signature covers, was changed afterwards. Nothing of it can be believed."""


class IllegalTransition(Corrupt):
    """An event stands in a stream whose state does not allow it."""


class UnknownEventType(Corrupt):
    """An event has a type that this release does not know. Upgrade before reading on."""


class InvariantViolation(Corrupt):
    """A law of the protocol would be broken by going on."""

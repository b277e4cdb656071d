"""From errors to answers: the one table from the tree of `ledger/errors.py` to HTTP (RFC 9457).

Every class of the tree has its own row; `tests/unit/test_problems.py` walks one against the other. What a status
promises: 4xx, certainly nothing was recorded; 5xx, unknown, unless the sentence says otherwise. An exception that is
not in the tree is a defect of ours. What a 5xx was about is logged, and the answer tells only what it means.

OAuth clients get the same sentences in the form that they read (RFC 6749 §5.2), with the code of OAuth for each class.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ledger import errors as e
from ledger.bounds import RETRY_AFTER_SECONDS

URN: Final = "urn:intent-ledger:problem:"


class Problem(NamedTuple):
    """What a class of error is called outside."""

    slug: str
    status: int
    title: str


PROBLEMS: Final[Mapping[type[e.LedgerError], Problem]] = {
    e.LedgerError: Problem("internal", 500, "Something went wrong here"),
    # the caller's request cannot be taken
    e.Rejected: Problem("rejected", 400, "The request cannot be taken"),
    e.Malformed: Problem("malformed", 400, "The request is malformed"),
    e.KeyMissing: Problem("idempotency-key-missing", 400, "An Idempotency-Key is needed"),
    e.Unauthenticated: Problem("unauthenticated", 401, "A live token is needed"),
    e.Forbidden: Problem("forbidden", 403, "The token may not do this"),
    e.NotEligible: Problem("not-eligible", 403, "This person may not answer for it"),
    e.OAuthRefused: Problem("oauth-refused", 400, "The OAuth request cannot be granted"),
    e.NotFound: Problem("not-found", 404, "There is no such thing"),
    e.NoSuchMethod: Problem("method-not-allowed", 405, "The address does not answer that method"),
    e.TooSlow: Problem("too-slow", 408, "The request did not arrive in time"),
    e.TooLarge: Problem("too-large", 413, "The request is too large"),
    e.UnsupportedMedia: Problem("unsupported-media-type", 415, "Only the plain type in UTF-8 is read"),
    e.Invalid: Problem("invalid-intent", 422, "The intent does not follow the contract"),
    e.InvalidRequest: Problem("invalid-request", 422, "The request does not follow the contract"),
    e.WiderThanParent: Problem("wider-than-parent", 422, "The grant would be wider than its issuer's"),
    e.InvalidPolicy: Problem("invalid-policy", 422, "The policy set cannot be used"),
    # the ledger's state forbids it
    e.Conflict: Problem("conflict", 409, "The present state does not allow this"),
    e.KeyReused: Problem("idempotency-key-reused", 422, "The idempotency key belongs to another request"),
    e.AlreadyDecided: Problem("already-decided", 409, "The intent is decided"),
    e.NotWaiting: Problem("not-waiting", 409, "The intent does not wait for that"),
    e.DigestMismatch: Problem("digest-mismatch", 409, "That is not what waits for an answer"),
    e.PossibleDuplicate: Problem("possible-duplicate", 409, "The same was asked for before"),
    e.NotUndoable: Problem("not-undoable", 409, "Not everything can be undone"),
    # we cannot answer now
    e.Unavailable: Problem("unavailable", 503, "The ledger cannot answer now"),
    e.Overloaded: Problem("overloaded", 503, "The service is at its limit"),
    e.NotReady: Problem("not-ready", 503, "What is needed to answer is not there yet"),
    # what the coordinator turns into facts and never lets out; here so that a leak has a name
    e.AdapterError: Problem("adapter-error", 502, "An outside system did not do what was asked"),
    e.Transient: Problem("adapter-transient", 502, "An outside system could not be used"),
    e.Permanent: Problem("adapter-permanent", 502, "An outside system refused"),
    e.Erased: Problem("personal-data-erased", 502, "The personal data are gone"),
    e.InDoubt: Problem("adapter-in-doubt", 502, "An outside system may or may not have acted"),
    # a person must look
    e.Misconfigured: Problem("misconfigured", 500, "The service is misconfigured"),
    e.Corrupt: Problem("corrupt", 500, "The ledger holds what cannot be true"),
    e.Tampered: Problem("tampered", 500, "What was signed was changed"),
    e.IllegalTransition: Problem("illegal-transition", 500, "An event stands where it is not allowed"),
    e.UnknownEventType: Problem("unknown-event-type", 500, "An event has an unknown type"),
    e.InvariantViolation: Problem("invariant-violation", 500, "A law of the protocol would be broken"),
}

_SPOKEN: Final = (e.Rejected, e.Overloaded, e.NotReady)
"""What says itself what happened. The words of other errors are for our logs: they know addresses and causes."""

_UNEXPECTED: Final = (
    "Something failed here that we did not foresee. Whether the request was recorded is unknown; "
    "for a new intent, the same Idempotency-Key gives the truth."
)


def row_of(error: Exception) -> Problem:
    """Return the row of an error's class or of its nearest parent; a stranger has that of `LedgerError`."""
    return next(PROBLEMS[cls] for cls in (*type(error).__mro__, e.LedgerError) if cls in PROBLEMS)


def problem(error: Exception, request_id: str) -> tuple[Problem, dict[str, Any]]:
    """Return what `application/problem+json` says about an error: its row, and the members of the body."""
    row = row_of(error)
    if isinstance(error, _SPOKEN):
        detail, extras = error.message, error.extras
    else:
        detail, extras = type(error)().message if isinstance(error, e.LedgerError) else _UNEXPECTED, {}
    return row, {
        **extras,
        "type": URN + row.slug,
        "title": row.title,
        "status": row.status,
        "detail": detail,
        "request_id": request_id,
    }


def oauth_problem(error: Exception, row: Problem, members: Mapping[str, Any]) -> tuple[int, str, dict[str, Any]]:
    """Return status, media type and body of an error as OAuth clients read it (RFC 6749 §5.2)."""
    match error:
        case e.OAuthRefused():
            code, status = error.extras["error"], 401 if error.extras["error"] == "invalid_client" else 400
        case e.Unauthenticated():
            code, status = "invalid_client", 401
        case e.Forbidden():
            code, status = "unauthorized_client", 400
        case e.Invalid() | e.Malformed():
            code, status = "invalid_request", 400
        case e.Rejected():
            code, status = "invalid_request", row.status
        case e.Unavailable():
            code, status = "temporarily_unavailable", row.status
        case _:
            code, status = "server_error", row.status
    said = {"error": code, "error_description": _ascii(members["detail"]), "request_id": members["request_id"]}
    return status, "application/json", {**said, **({"errors": members["errors"]} if "errors" in members else {})}


def _ascii(sentence: str) -> str:
    """Write a sentence in the characters that `error_description` may have."""
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "'" for c in sentence)


def extra_headers(error: Exception) -> Mapping[str, str]:
    """Return the headers that belong to a problem beside its body."""
    match error:
        case e.Unauthenticated():
            return {"WWW-Authenticate": 'Bearer realm="intent-ledger"'}
        case e.Unavailable():
            return {"Retry-After": str(RETRY_AFTER_SECONDS)}
        case e.NoSuchMethod():
            return {"Allow": ", ".join(error.extras.get("allow", ()))}
        case _:
            return {}

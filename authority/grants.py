"""Grants: who may act, on what, and the tokens that name them. Pure: from values to answers.

Rules of this file:

1. Authority is the intersection along the chain: every grant from the first down to the acting one must permit every
   action. Nothing here adds up what two grants permit, nor two permissions of one grant.
2. What is not clearly permitted is not. JSON types never mix: `true` is not 1, `"5000"` is not 5000; a parameter that
   is constrained and absent does not hold. 5000 and 5000.0 are one JSON number, and canonical bytes write both alike.
3. An answer is None (yes) or a sentence that names the grant which says no. It never raises for what an agent sent.

A token is 256 random bits, shown once; the ledger knows only its SHA-256, so that reading the ledger gives no access.
How a child is checked against its parent stands in `authority/delegation.py`, what is counted in `authority/limits.py`.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ledger import bounds
from ledger.errors import Corrupt
from ledger.events import GrantIssued, IntentSubmitted
from ledger.grants import Limit, Permission, Range, Scalar, covers
from ledger.intents import Subject
from ledger.visible_text import brief_json

GRANTS_STREAM: Final = "grants"  # of the operator's grant: issued, and if it was revoked, the next one
TOKEN_BYTES: Final = 32
_PREFIX: Final = "il_"  # so that secret scanners can find a leaked one
_PERMISSIONS_SHOWN: Final = 5  # in a reason; a person who wants all of them looks at the grant


class Principal(msgspec.Struct, frozen=True):
    """Who makes a request, and by which authority."""

    grant: str
    subject: Subject
    custody: tuple[str, ...]  # the grants from the first down to this one
    commissioned_by: str | None  # the nearest person above
    namespace: str  # in which idempotency keys are unique
    chain: tuple[GrantIssued, ...]  # the grants themselves, the first one first


class GrantOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A grant that somebody asks for, below their own."""

    subject: Subject
    operations: tuple[Permission, ...]
    task: str | None = None  # None: the parent's
    limits: tuple[Limit, ...] = ()
    expires_in_seconds: int | None = None  # None: when the parent does
    may_delegate: bool = False


def token_of(entropy: bytes) -> str:
    """Write 32 random bytes as a bearer token."""
    return _PREFIX + base64.urlsafe_b64encode(entropy).rstrip(b"=").decode()


def fingerprint(token: str) -> str:
    """Return the SHA-256 of a token, in hexadecimal: all that is ever stored of it."""
    return hashlib.sha256(token.encode()).hexdigest()


def operator_grant(token: str, number: int = 1) -> GrantIssued:
    """Return the grant that `intentledger init` makes, a person with every right; the next one if it was revoked."""
    name = "grant-operator" if number == 1 else f"grant-operator-{number}"
    return GrantIssued(
        grant=name,
        parent=None,
        subject=Subject(kind="person", name="operator"),
        token_sha256=fingerprint(token),
        operations=("*",),
        custody=(name,),
    )


def grant_stream(issued: GrantIssued) -> str:
    """Name the stream that holds the events of a grant; the first one's name is that of release 0.1."""
    return GRANTS_STREAM if issued.parent is None else f"grant/{issued.grant}"


def principal_of(chain: Sequence[GrantIssued]) -> Principal:
    """Return who acts under the last grant of a chain. Raises `Corrupt` if the grants do not hang on one another.

    Idempotency keys are the subject's own below one issuer: somebody else who issues a grant to the same name cannot
    squat on them, and a new token for the same subject finds them again.
    """
    if not chain or any(g.parent != above for g, above in zip(chain, (None, *(g.grant for g in chain)), strict=False)):
        raise Corrupt(f"The grants {[g.grant for g in chain]} are no chain from the first one down. Nothing was done.")
    leaf = chain[-1]
    name = f"{leaf.subject.kind}:{leaf.subject.name}"
    people = (g.subject.name for g in reversed(chain[:-1]) if g.subject.kind == "person")
    return Principal(
        grant=leaf.grant,
        subject=leaf.subject,
        custody=tuple(g.grant for g in chain),
        commissioned_by=next(people, None),
        namespace=name if leaf.parent is None else f"{leaf.parent}/{name}",
        chain=tuple(chain),
    )


def permissions(grant: GrantIssued) -> tuple[Permission, ...]:
    """Return what a grant permits, patterns of release 0.1 included."""
    return tuple([Permission(one) if isinstance(one, str) else one for one in grant.operations])


def permits(grant: GrantIssued, operation: str, params: Mapping[str, Any], task: str | None) -> str | None:
    """Tell why a grant does not permit an operation with these parameters under this task; None if it does."""
    if grant.task is not None and grant.task != task:
        named = "no task" if task is None else f"task {brief_json(task)}"
        return _outside(grant, operation, f"it is for task {brief_json(grant.task)} only, and the intent names {named}")
    offered = permissions(grant)
    unmet = []
    for one in offered:
        if covers(one.operation, operation):
            reason = _unmet(one, params)
            if reason is None:
                return None
            unmet.append(reason)
    if not unmet:
        return _outside(grant, operation, f"it permits {_listed([one.operation for one in offered])} only")
    return _outside(grant, operation, _listed(unmet, " or "))


def _outside(grant: GrantIssued, operation: str, because: str) -> str:
    return f"{operation} is outside grant {grant.grant}: {because}"


def outside(chain: Sequence[GrantIssued], submitted: IntentSubmitted) -> tuple[str, ...]:
    """Return why the grants of a chain do not permit an intent, each reason once; empty if all of them do."""
    if not chain or chain[-1].grant != submitted.grant:
        return (f"grant {submitted.grant} is not known",)
    return beyond(chain, submitted)


def beyond(chain: Sequence[GrantIssued], submitted: IntentSubmitted) -> tuple[str, ...]:
    """Return why the grants of a chain, not necessarily the intent's own, do not permit its actions."""
    reasons = (permits(g, plan.operation, plan.params, submitted.task) for g in chain for plan in submitted.actions)
    return tuple(dict.fromkeys(reason for reason in reasons if reason is not None))


def holds(constraint: tuple[Scalar, ...] | Range, value: Any) -> bool:
    """Tell whether a parameter's value satisfies a constraint on it."""
    if isinstance(constraint, Range):
        whole = whole_number(value)
        return (
            whole is not None
            and (constraint.min is None or whole >= constraint.min)
            and (constraint.max is None or whole <= constraint.max)
        )
    return any(_same(allowed, value) for allowed in constraint)


def whole_number(value: Any) -> int | None:
    """Return a JSON number that is whole, within the integers that JSON readers agree on; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if abs(value) <= bounds.INTEGER_MAX else None


def _unmet(permission: Permission, params: Mapping[str, Any]) -> str | None:
    """Return the first constraint that the parameters do not satisfy."""
    for name, constraint in permission.where.items():
        if name not in params or not holds(constraint, params[name]):
            return f"{name} must be {_wanted(constraint)}"
    return None


def _wanted(constraint: tuple[Scalar, ...] | Range) -> str:
    if isinstance(constraint, Range):
        low = "" if constraint.min is None else f" from {constraint.min}"
        high = "" if constraint.max is None else f" up to {constraint.max}"
        return f"a whole number{low}{high}"
    return (
        _listed([brief_json(value) for value in constraint], " or ")
        if constraint
        else "absent, for no value is permitted"
    )


def _listed(words: Sequence[str], between: str = ", ") -> str:
    more = len(words) - _PERMISSIONS_SHOWN
    return between.join(words[:_PERMISSIONS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _same(allowed: Scalar, value: Any) -> bool:
    """Compare two JSON scalars: equal, and of one JSON type."""
    return allowed == value and (type(allowed) is type(value) or _json_type(allowed) == _json_type(value))


def _json_type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case _:
            return "container"

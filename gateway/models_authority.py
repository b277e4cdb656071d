"""What people and agents may send about authority: grants, policy sets and tasks, as strict models.

The shape is checked here. What a grant or a contract means, and whether it is wider than its issuer's, is for
`authority/`, which names places in the same way.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema

from authority.grants import GrantOrder
from gateway.models import KEPT, Body, Cursor, JSONObject, KeptReason, Limit, Moment, Name, Position, Query, Word
from ledger import bounds
from ledger import grants as g
from ledger.intents import Subject
from ledger.tasks import Criterion, FailureMode, TaskContract
from ledger.visible_text import readable


def _visible(text: str) -> str:
    """Refuse what is not seen or reads in another order: a name must look like what it is."""
    if not readable(text):
        raise ValueError("Input should be visible characters, without spaces at its ends")
    return text


def _scalar(value: object) -> object:
    if not isinstance(value, str | int | float | bool | None) or (isinstance(value, str) and len(value) > 1_000):
        raise ValueError("Input should be a text, a number, true, false or null")
    return value


def _constraint(value: object) -> str:
    return "range" if isinstance(value, dict | NewRange) else "values"


VisibleName = Annotated[Name, AfterValidator(_visible)]
Pattern = Annotated[
    Name,
    Field(
        pattern=g.PATTERN,
        description="One operation (`payments.refund`), those of an adapter (`payments.*`) or all (`*`).",
    ),
]
GrantId = Annotated[Word, Field(pattern="^grant-")]
SetDigest = Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]
Whole = Annotated[int, Field(ge=-bounds.INTEGER_MAX, le=bounds.INTEGER_MAX)]
Scalar = Annotated[
    Any, AfterValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean", "null"], "maxLength": 1_000})
]
Values = Annotated[list[Scalar], Field(min_length=1, max_length=bounds.GRANT_VALUES)]


class NewSubject(Body):
    """Who is to act."""

    kind: Literal["agent", "person"]
    name: VisibleName
    version: VisibleName | None = None
    role: VisibleName | None = None


class NewRange(Body):
    """A whole number between two ends, both included; an end left out is open."""

    min: Whole | None = None
    max: Whole | None = None


Constraint = Annotated[Annotated[Values, Tag("values")] | Annotated[NewRange, Tag("range")], Discriminator(_constraint)]


class NewPermission(Body):
    """Operations that are permitted, and with which parameters."""

    operation: Pattern
    where: dict[Name, Constraint] = Field(
        default_factory=dict,
        max_length=bounds.GRANT_VALUES,
        description="Each parameter named here must be there, and be one of the values or lie within the range.",
    )


class NewLimit(Body):
    """How much may be done in a window of time: hours and days of the calendar in UTC, or ever."""

    operation: Pattern
    measure: Literal["count", "amount"]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = Field(
        default=None, description="With the measure `amount`, and only there (ISO 4217)."
    )
    per: Literal["hour", "day", "total"]
    max: int = Field(ge=0, le=bounds.INTEGER_MAX, description="Actions, or minor units of the currency.")
    each: Literal["grant", "agent"] = Field(
        default="grant", description="`agent`: every agent below the grant has an allowance of its own."
    )


class NewGrant(Body):
    """Authority to delegate: at most what the issuer has."""

    subject: NewSubject
    task: Name | None = Field(default=None, description="The only task under which it may act; null: the issuer's.")
    operations: list[NewPermission] = Field(min_length=1, max_length=bounds.GRANT_OPERATIONS)
    limits: list[NewLimit] = Field(default_factory=list, max_length=bounds.GRANT_LIMITS)
    expires_in: int | None = Field(
        default=None, ge=1, le=bounds.GRANT_SECONDS_MAX, description="Seconds from now; null: when the issuer's does."
    )
    may_delegate: bool = False


class RevokeGrant(Body):
    """Revoke a grant and every grant below it."""

    reason: KeptReason


class SuspendGrant(Body):
    """Suspend a grant and every grant below it, or lift that again."""

    reason: KeptReason


class PageQuery(Query):
    """Which page of a list."""

    after: Word | None = Field(default=None, description="The `next` of the page before.")
    limit: Limit = bounds.PAGE_LIMIT_DEFAULT


class GrantsQuery(PageQuery):
    """Which page of the grants."""

    after: GrantId | None = Field(default=None, description="The `next` of the page before.")


class PoliciesQuery(PageQuery):
    """Which page of the policy sets."""

    after: SetDigest | None = Field(default=None, description="The `next` of the page before.")


class NewPolicySet(Body):
    """A policy set to keep, and perhaps to put in force."""

    cedar: str = Field(
        min_length=1, max_length=bounds.POLICY_BYTES, description=f"Cedar; each policy has its own @id. {KEPT}"
    )
    activate: bool = False


class TryPolicySet(Body):
    """A policy set to try on the past."""

    cedar: str = Field(min_length=1, max_length=bounds.POLICY_BYTES, description="Cedar; each policy has its own @id.")
    since: Moment | None = Field(default=None, description="Only intents decided at or after this time.")
    limit: int = Field(
        default=bounds.REHEARSAL_DEFAULT, ge=1, le=bounds.REHEARSAL_MAX, description="At most so many past verdicts."
    )


class WorkflowQuery(Query):
    """Which intents of a task."""

    after: Cursor | None = Field(default=None, description="The `next` of the page before.")
    limit: Limit = bounds.PAGE_LIMIT_DEFAULT
    min_position: Position | None = Field(default=None, description="Wait until the view has this position.")


class NewCriterion(Body):
    """One thing that must be true outside after the commit."""

    verify: Name = Field(description="An operation whose preview reports facts.")
    params: JSONObject = Field(default_factory=dict, description="As that operation's schema wants them.")
    expect: dict[Name, Any] = Field(
        min_length=1, max_length=bounds.TASK_CRITERIA, description="Facts by name, each of which must be equal."
    )


class NewFailureMode(Body):
    """A way to fail that is foreseen, and who is asked then."""

    name: VisibleName
    contains: str = Field(
        min_length=1, max_length=bounds.ERROR_LENGTH, description="Words in the outside system's answer; any case."
    )
    escalate_to: VisibleName
    operation: Pattern = "*"


class NewTask(Body):
    """What is commissioned: a contract, which never changes."""

    task: VisibleName
    owner: VisibleName | None = Field(default=None, description="A person; null: who defines it.")
    scope: list[Pattern] = Field(min_length=1, max_length=bounds.TASK_SCOPE)
    success: list[NewCriterion] = Field(default_factory=list, max_length=bounds.TASK_CRITERIA)
    failure_modes: list[NewFailureMode] = Field(default_factory=list, max_length=bounds.TASK_FAILURE_MODES)


def order_of(new: NewGrant) -> GrantOrder:
    """Write a checked request for a grant in the words of authority."""
    return GrantOrder(
        subject=Subject(new.subject.kind, new.subject.name, new.subject.version, new.subject.role),
        operations=tuple([_permission(one) for one in new.operations]),
        task=new.task,
        limits=tuple(
            [g.Limit(one.operation, one.measure, one.per, one.max, one.currency, one.each) for one in new.limits]
        ),
        expires_in_seconds=new.expires_in,
        may_delegate=new.may_delegate,
    )


def contract_of(new: NewTask, definer: str) -> TaskContract:
    """Write a checked contract in the words of the ledger; `definer` owns it where it names nobody."""
    return TaskContract(
        task=new.task,
        owner=new.owner or definer,
        scope=tuple(new.scope),
        success=tuple([Criterion(one.verify, one.params, one.expect) for one in new.success]),
        failure_modes=tuple(
            [FailureMode(one.name, one.contains, one.escalate_to, one.operation) for one in new.failure_modes]
        ),
    )


def _permission(new: NewPermission) -> g.Permission:
    return g.Permission(
        new.operation,
        {
            name: g.Range(allowed.min, allowed.max) if isinstance(allowed, NewRange) else tuple(allowed)
            for name, allowed in new.where.items()
        },
    )

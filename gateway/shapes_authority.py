"""What is shown of authority: grants without their tokens, policy sets, and tasks."""

from datetime import datetime
from typing import Any

from msgspec.structs import asdict

from authority.grants import permissions
from authority.policy import PolicySet
from authority.rehearsal import Report
from gateway.render import Shown, ShownIntent
from ledger.events import GrantIssued
from ledger.grants import Limit, Permission
from ledger.intents import Subject
from ledger.store import StandingGrant
from ledger.tasks import TaskContract


class ShownGrant(Shown, frozen=True):
    """A grant: who may act, on what, how far, for how long, and who said so."""

    id: str
    parent: str | None
    subject: Subject
    task: str | None
    operations: tuple[Permission, ...]
    limits: tuple[Limit, ...]
    expires_at: datetime | None
    may_delegate: bool
    custody: tuple[str, ...]
    commissioned_by: str | None
    issued_by: str | None


class StandingShown(ShownGrant, frozen=True):
    """A grant, and whether it, or one above it, was revoked or is suspended."""

    revoked: bool
    suspended: bool


class IssuedGrant(ShownGrant, frozen=True):
    """A new grant, with its token. The token is shown this once and kept nowhere."""

    token: str


class GrantPage(Shown, frozen=True):
    """Grants at and below the caller's own. `next` is the `after` of the next page."""

    items: tuple[StandingShown, ...]
    next: str | None


class Revocation(Shown, frozen=True):
    """What a revocation stopped: no decision is made any more under these grants."""

    revoked: tuple[str, ...]
    aborting: tuple[str, ...]
    already_decided: tuple[str, ...]


class Suspension(Shown, frozen=True):
    """What a suspension stopped: no decision is made under these grants until it is lifted."""

    suspended: tuple[str, ...]
    aborting: tuple[str, ...]
    already_decided: tuple[str, ...]


class ShownPolicySet(Shown, frozen=True):
    """A policy set by its digest, with the ids of its policies."""

    digest: str
    policies: tuple[str, ...]
    active: bool
    added_at: datetime | None
    added_by: str | None
    activated_at: datetime | None
    activated_by: str | None


class KeptPolicies(Shown, frozen=True):
    """A policy set by its digest, and whether it is in force."""

    digest: str
    policies: tuple[str, ...]
    active: bool


class PolicyText(KeptPolicies, frozen=True):
    """A policy set as it was written."""

    cedar: str


class PolicyPage(Shown, frozen=True):
    """Policy sets that are kept. `next` is the `after` of the next page."""

    items: tuple[ShownPolicySet, ...]
    next: str | None


class ShownDifference(Shown, frozen=True):
    """An intent whose verdict would have been another; policies, reasons and people are the candidate's."""

    intent: str
    agent: str
    task: str | None
    was: str
    would_be: str
    policies: tuple[str, ...]
    reasons: tuple[str, ...]
    approvers: tuple[str, ...]
    quorum: int


class ShownTurn(Shown, frozen=True):
    """How many intents went one way and would go another."""

    was: str
    would_be: str
    intents: int


class ShownSum(Shown, frozen=True):
    """Money, in minor units, of the intents whose verdict would newly be this one."""

    would_be: str
    currency: str
    amount: int


class Rehearsal(Shown, frozen=True):
    """A candidate on the past. `more`: there were more than the limit; `not_looked_at`: verdicts without their time."""

    digest: str
    policies: tuple[str, ...]
    looked_at: int
    not_looked_at: int
    more: bool
    differing: int
    turns: tuple[ShownTurn, ...]
    money: tuple[ShownSum, ...]
    approvals_added: int
    approvals_removed: int
    differences: tuple[ShownDifference, ...]


class ShownTask(Shown, frozen=True):
    """A task: what was commissioned, or null where it was only named in intents."""

    task: str
    contract: TaskContract | None


class Workflow(ShownTask, frozen=True):
    """A task with its intents, oldest first, each with what it follows. `next` is the `after` of the next page."""

    intents: tuple[ShownIntent, ...]
    next: str | None


class TaskPage(Shown, frozen=True):
    """Tasks by name. `next` is the `after` of the next page."""

    items: tuple[ShownTask, ...]
    next: str | None


def show_grant(standing: StandingGrant) -> StandingShown:
    """Show a grant as it stands."""
    return StandingShown(**_grant(standing.issued), revoked=standing.revoked, suspended=standing.suspended)


def show_issued(issued: GrantIssued, token: str) -> IssuedGrant:
    """Show a new grant and, this once, its token."""
    return IssuedGrant(**_grant(issued), token=token)


def show_rehearsal(candidate: PolicySet, report: Report, *, more: bool) -> Rehearsal:
    """Show what a candidate policy set would have changed."""
    return Rehearsal(
        digest=candidate.digest,
        policies=candidate.policies,
        looked_at=report.looked_at,
        not_looked_at=report.not_looked_at,
        more=more,
        differing=report.differing,
        turns=tuple([ShownTurn(**asdict(one)) for one in report.turns]),
        money=tuple([ShownSum(would_be=s.would_be, currency=s.currency, amount=s.minor) for s in report.money]),
        approvals_added=report.approvals_added,
        approvals_removed=report.approvals_removed,
        differences=tuple([ShownDifference(**asdict(one)) for one in report.differences]),
    )


def _grant(issued: GrantIssued) -> dict[str, Any]:
    return {
        "id": issued.grant,
        "parent": issued.parent,
        "subject": issued.subject,
        "task": issued.task,
        "operations": permissions(issued),
        "limits": issued.limits,
        "expires_at": issued.expires_at,
        "may_delegate": issued.may_delegate,
        "custody": issued.custody or (issued.grant,),  # release 0.1 wrote none for its one grant
        "commissioned_by": issued.commissioned_by,
        "issued_by": issued.issued_by,
    }

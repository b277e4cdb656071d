"""Who there is in a simulated ledger: people, agents, their grants and tokens, and the task that they work on.

    operator ─┬─ manager ─┬─ alpha ─── delta     agents that the manager answers for, and one that alpha made
              │           ├─ beta
              │           └─ mallory             a person whom the manager made: never an approver of his agents
              ├─ gamma                           an agent of the operator's own
              ├─ dana (finance) ─── twin         who may approve, one of them: both could be the same person
              ├─ erin (finance)                  who may approve
              └─ frank ─── friend (finance)      who may approve, but never where finance is asked

All of it is recorded before anything else happens.
"""

from collections.abc import Iterable, Mapping
from copy import copy
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from simulation.rules import RULEBOOK
from simulation.store import Database

from authority.grants import GRANTS_STREAM, Principal, fingerprint, operator_grant, principal_of
from ledger import events as e
from ledger.grants import Limit, Permission, Range
from ledger.intents import Subject
from ledger.store import Activate, Append, Appended, Change, Issue
from ledger.tasks import Criterion, FailureMode, TaskContract

AGENTS = ("alpha", "beta", "gamma", "delta")
APPROVERS = ("dana", "erin", "frank", "twin")
INVOLVED = ("operator", "manager", "mallory")  # people who must never approve for alpha, beta or delta
MORTAL = ("manager", "alpha", "beta", "delta")  # whose grants are revoked and expire
TASK = "tidy"
CONTRACT = TaskContract(
    task=TASK,
    owner="manager",
    scope=("*",),
    success=(Criterion("idempotent.look", {}, {"all_there": True}),),
    failure_modes=(FailureMode("gone for good", contains="never be done", escalate_to="dana"),),
)
ROOM = 100_00  # minor units: for one of two payments of 60.00, and never for both
LIMITS = {
    "amount": Limit("*", "amount", "hour", ROOM, "USD"),
    "amount in total": Limit("atomic.pay", "amount", "total", ROOM, "USD"),
    "each agent": Limit("*", "amount", "day", ROOM, "USD", each="agent"),
    "count": Limit("*", "count", "hour", 4),
}


def token(name: str) -> str:
    return f"il_{name}"


def grant_of(name: str) -> str:
    return f"grant-{name}"


def cast(*, limits: Mapping[str, Limit] = {}, expiring: Mapping[str, datetime] = {}) -> tuple[e.GrantIssued, ...]:
    """Return every grant, those above before those below; `limits` and `expiring` (until when) by holder."""
    root = operator_grant(token("operator"))
    manager = _below(root, Subject("person", "manager"), may_delegate=True)
    alpha = _below(manager, Subject("agent", "alpha", "3.1"), may_delegate=True)
    dana = _below(root, Subject("person", "dana", role="finance"), may_delegate=True)
    frank = _below(root, Subject("person", "frank"), may_delegate=True)
    narrow = (Permission("*", {"n": Range(max=7)}),)
    made = [
        root,
        manager,
        alpha,
        _below(manager, Subject("agent", "beta", "1.0")),
        _below(manager, Subject("person", "mallory")),
        _below(root, Subject("agent", "gamma")),
        dana,
        _below(dana, Subject("person", "twin", role="finance")),
        _below(root, Subject("person", "erin", role="finance")),
        frank,
        _below(frank, Subject("person", "friend", role="finance")),
        _below(alpha, Subject("agent", "delta"), operations=narrow),
    ]
    return tuple(_changed(one, limits, expiring) for one in made)


def _below(parent: e.GrantIssued, subject: Subject, **more: Any) -> e.GrantIssued:
    fields: dict[str, Any] = {"operations": (Permission("*"),), "may_delegate": False, **more}
    return e.GrantIssued(
        grant=grant_of(subject.name),
        parent=parent.grant,
        subject=subject,
        token_sha256=fingerprint(token(subject.name)),
        custody=(*parent.custody, grant_of(subject.name)),
        issued_by=parent.subject.name,
        **fields,
    )


def _changed(one: e.GrantIssued, limits: Any, expiring: Any) -> e.GrantIssued:
    name = one.subject.name
    return msgspec.structs.replace(one, limits=(limits[name],) if name in limits else (), expires_at=expiring.get(name))


def principal(name: str) -> Principal:
    """Return who acts under the grant of somebody in the cast."""
    known = {one.grant: one for one in USUAL}
    return principal_of([known[grant] for grant in known[grant_of(name)].custody])


USUAL = cast()
OPERATOR = principal("operator")


def enter(database: Database, grants: tuple[e.GrantIssued, ...]) -> None:
    """Record the grants, the policy sets and the contract of the task."""
    if grants is USUAL:  # recorded once and copied, because thousands of runs begin with it
        _copy(_recorded_once(database.time()), database)
    else:
        _record_all(database, grants)


@cache
def _recorded_once(now: float) -> Database:
    database = Database(lambda: now)
    _record_all(database, USUAL)
    return database


def _copy(known: Database, to: Database) -> None:
    to.log, to.written = list(known.log), list(known.written)
    to.streams = {stream: list(recorded) for stream, recorded in known.streams.items()}
    to.inline.grants = {name: copy(row) for name, row in known.inline.grants.items()}


def _record_all(database: Database, grants: Iterable[e.GrantIssued]) -> None:
    for one in grants:
        stream = GRANTS_STREAM if one.parent is None else f"grant/{one.grant}"
        record(database, stream, one, Issue(one))
    for rules in RULEBOOK.values():
        added = e.PolicySetAdded(rules.digest, rules.text, rules.policies, by="operator", custody=("grant-operator",))
        record(database, f"policy/{rules.digest}", added)
    record(database, f"task/{TASK}", e.TaskDefined(CONTRACT, by="manager"))


def activate(database: Database, name: str) -> None:
    """Put one of the policy sets in force, undivided."""
    digest = RULEBOOK[name].digest
    record(database, "policies", e.PolicySetActivated(digest, by="operator"), Activate(digest))


def record(database: Database, stream: str, event: e.Event, change: Change | None = None) -> None:
    """Append one event of authority, undivided and without anybody's process."""
    there = len(database.streams.get(stream, []))
    verdict = database.append(Append(stream=stream, expected_version=there, events=(event,), change=change))
    assert isinstance(verdict, Appended), verdict

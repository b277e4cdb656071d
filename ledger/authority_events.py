"""The events of authority: grants, refusals, policy sets, tasks. The rules of `ledger/events.py` hold here."""

from datetime import datetime
from typing import Literal

from ledger.event import Event
from ledger.grants import Limit, Permission
from ledger.intents import Subject
from ledger.tasks import TaskContract


class GrantIssued(Event, frozen=True):
    """Authority was delegated. The token itself is never recorded, only its SHA-256."""

    grant: str
    parent: str | None
    subject: Subject
    token_sha256: str
    operations: tuple[Permission | str, ...]  # 0.1 wrote patterns without constraints
    task: str | None = None  # the only task that may be named under it
    limits: tuple[Limit, ...] = ()
    expires_at: datetime | None = None  # None: never
    may_delegate: bool = True
    custody: tuple[str, ...] = ()  # grants, from the first down to this one
    commissioned_by: str | None = None  # the nearest person above
    issued_by: str | None = None  # the name of who issued it


class GrantRevoked(Event, frozen=True):
    """This grant and every grant below it are dead from this position on."""

    grant: str
    reason: str
    by: str
    custody: tuple[str, ...] = ()  # of who did it


class GrantSuspended(Event, frozen=True):
    """Nothing is decided under this grant or any below it until somebody resumes it."""

    grant: str
    reason: str
    by: str | None  # None: the watch over behaviour, because of `anomaly`
    anomaly: str | None = None
    custody: tuple[str, ...] = ()  # of who did it


class GrantResumed(Event, frozen=True):
    """A person lifted the suspension of this grant; what else is suspended above or below it stays so."""

    grant: str
    reason: str
    by: str
    custody: tuple[str, ...] = ()  # of who did it


class TokenRefused(Event, frozen=True):
    """Somebody showed a token that is not alive. At most one such event a minute for each cause and grant."""

    cause: Literal["expired", "revoked", "unknown", "suspended"]
    grant: str | None
    times: int  # since the last one
    custody: tuple[str, ...] = ()  # of that grant


class ActRefused(Event, frozen=True):
    """Whoever holds a living token asked for what is not theirs to do. At most once a minute for each act and grant."""

    act: str  # the route, by its name
    by: Subject
    grant: str
    times: int  # since the last one
    of: str | None = None  # the intent, or the undo plan, that the first of them was about
    custody: tuple[str, ...] = ()  # of who asked


class PolicySetAdded(Event, frozen=True):
    """A policy set was checked and kept under its digest. It has no effect until it is activated."""

    policy_set: str
    cedar: str
    policies: tuple[str, ...]
    by: str
    custody: tuple[str, ...] = ()  # of who did it


class PolicySetActivated(Event, frozen=True):
    """From this position on, this policy set gives the verdicts."""

    policy_set: str
    by: str
    custody: tuple[str, ...] = ()  # of who did it


class TaskDefined(Event, frozen=True):
    """Somebody commissioned a task, and said what counts as success."""

    contract: TaskContract
    by: str
    custody: tuple[str, ...] = ()  # of who did it

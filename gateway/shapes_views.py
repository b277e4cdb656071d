"""What the views show: the audit, what is open, how far each view has come."""

from datetime import datetime

from msgspec import UNSET, UnsetType

from gateway.render import Shown, ShownAgent
from ledger.intents import JSON


class ShownActor(Shown, frozen=True):
    """Who did it: an agent, or a person. `version` is told of whose intent it is; of other acts it is not on record."""

    kind: str
    name: str
    version: str | None


class ShownAuthority(Shown, frozen=True):
    """By what right."""

    grant: str | None
    policies: tuple[str, ...]
    policy_set: str | None


class ShownConfirmation(Shown, frozen=True):
    """What an outside system said of an action; with `by`, what a person said in its place."""

    outcome: str
    result: JSON | UnsetType = UNSET
    undone: JSON | UnsetType = UNSET
    error: str | UnsetType = UNSET
    by: str | UnsetType = UNSET


class ShownDeed(Shown, frozen=True):
    """What was to be done, in words. A grant and a task name patterns of operations instead of actions."""

    action: str | None
    operation: str
    summary: str


class ShownEntry(Shown, frozen=True):
    """One entry of the audit: an intent, what somebody did to one, or what somebody did to authority itself."""

    position: int
    at: datetime
    kind: str
    sentence: str
    intent: str | None
    actor: ShownActor | None
    agent: ShownAgent | None
    task: str | None
    commissioned_by: str | None
    custody: tuple[str, ...]
    authority: ShownAuthority
    effect: str | None
    approved_by: tuple[str, ...]
    facts: dict[str, JSON] | None
    what: tuple[ShownDeed, ...]
    whom: tuple[str, ...]
    outcome: str
    outcome_position: int
    outcome_at: datetime
    decision_position: int | None
    confirmed: dict[str, ShownConfirmation] | None
    reason: str | None
    attention: str | None
    digest: str | None
    follows: str | None
    verification: str | None
    failure_mode: str | None
    escalated_to: str | None
    detail: JSON | None


class AuditPage(Shown, frozen=True):
    """Entries of the audit, newest first. `next` is the `after` of the next page."""

    items: tuple[ShownEntry, ...]
    next: str | None


class ShownExposure(Shown, frozen=True):
    """How much of one agent's work is open at one outside system."""

    agent: str
    adapter: str
    held: int
    promised: int
    in_doubt: int
    oldest: datetime


class ShownOpenAction(Shown, frozen=True):
    """One action that is held, promised or in doubt."""

    intent: str
    action: str
    agent: str
    adapter: str
    operation: str
    exposure: str
    since: datetime


class ExposurePage(Shown, frozen=True):
    """What is open in the outside systems at a position; `more`: not every open action is listed."""

    position: int
    groups: tuple[ShownExposure, ...]
    actions: tuple[ShownOpenAction, ...]
    more: bool


class ShownProjection(Shown, frozen=True):
    """How far a view has come. `lag` counts events; `digest` is true at `digest_position`."""

    name: str
    position: int
    lag: int
    digest: str
    digest_position: int
    failure: str | None


class ProjectionPage(Shown, frozen=True):
    """All views."""

    items: tuple[ShownProjection, ...]
    next: None

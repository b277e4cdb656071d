"""The events of the ledger: a closed union of facts, each in the past tense.

Rules of this file:

1. An event says what happened and never what to do. Deciding is `coordinator/decide.py`.
2. An event is frozen for ever once it is released: fields are never renamed, never change their meaning and never
   disappear. A new field has a default that says what the older events meant. What must change more becomes a new
   class, and the old one moves to `UPCAST` with a function to the new.
3. An event carries everything its readers need: no view ever looks into configuration to understand an old event.
4. No event holds a secret: credentials, tokens and connection strings stay in the operator's configuration.

The events of other streams stand in `ledger/*_events.py`; they are members of the same union.
The stored form of an event is its type name beside the canonical bytes of its fields.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Final, Literal

import msgspec

from ledger.authority_events import (  # noqa: F401  members of the union, found here like all others
    ActRefused,
    GrantIssued,
    GrantResumed,
    GrantRevoked,
    GrantSuspended,
    PolicySetActivated,
    PolicySetAdded,
    TaskDefined,
    TokenRefused,
)
from ledger.behaviour_events import AnomalyCleared, AnomalyDetected, StandingAnomaly  # noqa: F401
from ledger.canonical import UNREADABLE, canonical
from ledger.configuration_events import ConfigurationChanged  # noqa: F401
from ledger.errors import Corrupt, UnknownEventType
from ledger.event import Event
from ledger.grants import Charge
from ledger.intents import JSON, ActionPlan, Mode, Subject, Verb
from ledger.note_events import NoteAdded  # noqa: F401
from ledger.reconcile_events import DivergenceFound, DivergenceGone  # noqa: F401
from ledger.subject_events import SubjectErased  # noqa: F401
from ledger.tasks import Check, TaskContract
from ledger.undo_events import (  # noqa: F401
    UndoListed,
    UndoPlanAdvanced,
    UndoPlanApproved,
    UndoPlanFinished,
    UndoPlanHalted,
    UndoPlanned,
)

# ── the way to the decision ──────────────────────────────────────────────────────────────────────────────────────


class IntentSubmitted(Event, frozen=True):
    """An agent asked for these actions, all or none. Durable before anything else happens."""

    intent: str
    idempotency_key: str
    request_digest: str
    agent: Subject
    grant: str
    custody: tuple[str, ...]
    commissioned_by: str | None
    task: str | None
    reason: str
    confidence: float | None
    mode: Mode
    deadline_seconds: int
    context: JSON
    actions: tuple[ActionPlan, ...]
    traceparent: str | None = None
    follows: str | None = None  # the intent that hands over to this one
    again: bool = False  # the agent says that a repetition is meant
    contract: TaskContract | None = None  # of the task, if one was defined


class PolicyEvaluated(Event, frozen=True):
    """Authority gave its verdict on the submitted actions and the facts that adapters reported about them."""

    effect: Literal["allow", "escalate", "deny"]
    policies: tuple[str, ...]
    policy_set: str  # digest
    reasons: tuple[str, ...] = ()
    facts: dict[str, JSON] = msgspec.field(default_factory=dict)  # by action
    evaluated_at: datetime | None = None  # the time that policy saw
    approvers: tuple[str, ...] = ()  # escalate: names or roles of the people who may approve; empty: any eligible one
    quorum: int = 1  # escalate: how many different people must approve
    charges: tuple[Charge, ...] = ()  # what a decision to commit takes from the limits of the grants
    anomalies: tuple[StandingAnomaly, ...] = ()  # what was odd about whoever acts, as far as policy knew


class ActionPrepared(Event, frozen=True):
    """The adapter voted yes. With a hold, `receipt` is its handle."""

    action: str
    receipt: JSON | None
    preview: JSON


class ActionRefused(Event, frozen=True):
    """The adapter voted no. Nothing is held there."""

    action: str
    reason: str


class ApprovalRequested(Event, frozen=True):
    """Policy wants `quorum` people to look at exactly what `digest` names, until `expires_at`."""

    digest: str
    expires_at: datetime
    approvers: tuple[str, ...] = ()
    quorum: int = 1


class ApprovalGiven(Event, frozen=True):
    """A person approved exactly what `digest` names."""

    digest: str
    by: str
    note: str | None = None
    grant: str | None = None  # the authority under which they approved


class ReleaseAttempted(Event, frozen=True):
    """A hold that would not last until a person answers is about to be let go: it can no longer be committed."""

    action: str


class HoldReleased(Event, frozen=True):
    """The hold was let go; the action is to be prepared again, under `key`."""

    action: str
    key: str


# ── the decision: appending one of these is deciding ─────────────────────────────────────────────────────────────


class CommitDecided(Event, frozen=True):
    """The one commit point. From here the actions happen, whatever crashes."""

    grant: str
    policies: tuple[str, ...]
    policy_set: str
    charges: tuple[Charge, ...] = ()  # taken from the limits in the same transaction
    approved_by: tuple[str, ...] = ()


class AbortDecided(Event, frozen=True):
    """None of the actions will happen."""

    cause: Literal["refused", "deadline", "cancelled", "rejected", "expired", "guard", "revoked", "denied"]
    reason: str
    by: str | None = None
    failure_mode: str | None = None  # of the task's contract, where the reason is one that was foreseen
    escalated_to: str | None = None  # the person whom the contract names for it


class CompensateDecided(Event, frozen=True):
    """What has been done is to be undone: because an action failed for good, or because an operator asked."""

    cause: Literal["failed", "undo"]
    reason: str
    by: str | None = None
    failure_mode: str | None = None
    escalated_to: str | None = None
    plan: str | None = None  # the undo plan of which this is a part


# ── calls to the outside and what came of them ───────────────────────────────────────────────────────────────────


class CallDeferred(Event, frozen=True):
    """A call had certainly no effect, or an inquiry no answer; it is due again at `retry_at`."""

    action: str
    verb: Verb
    reason: str
    retry_at: datetime
    sent: bool = True  # False: it did not even leave, so it is no attempt


class PrepareInDoubt(Event, frozen=True):
    """A prepare was sent and its answer is not known: a hold may exist."""

    action: str
    reason: str
    retry_at: datetime


class CommitAttempted(Event, frozen=True):
    """A commit that must not be repeated blindly is about to be sent."""

    action: str


class CommitInDoubt(Event, frozen=True):
    """A commit was sent and its outcome is not known."""

    action: str
    reason: str
    retry_at: datetime
    answered: bool = False  # the outside system answered something that settles nothing


class CommitFoundAbsent(Event, frozen=True):
    """The adapter was asked about a commit in doubt and says that it did not happen."""

    action: str


class ActionDone(Event, frozen=True):
    """The effect is in the world."""

    action: str
    result: JSON


class ActionFailed(Event, frozen=True):
    """The effect is certainly not in the world and never will be."""

    action: str
    reason: str


class ActionAborted(Event, frozen=True):
    """The adapter holds nothing for this action and will refuse a late prepare."""

    action: str


class AbortFailed(Event, frozen=True):
    """The adapter refuses to release this action; what it holds is not known."""

    action: str
    reason: str


class UndoAttempted(Event, frozen=True):
    """A compensation that must not be repeated blindly is about to be sent."""

    action: str


class UndoInDoubt(Event, frozen=True):
    """A compensation was sent and its outcome is not known."""

    action: str
    reason: str
    retry_at: datetime
    answered: bool = False


class UndoFoundAbsent(Event, frozen=True):
    """The adapter was asked about a compensation in doubt and says that it did not happen."""

    action: str


class ActionUndone(Event, frozen=True):
    """The effect is undone, in the way its operation can undo it."""

    action: str
    result: JSON


class UndoFailed(Event, frozen=True):
    """The compensation certainly did not happen and the adapter will not do it; the effect stands."""

    action: str
    reason: str


# ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────


class AttentionRaised(Event, frozen=True):
    """Only a person can move this intent on. Without an action, the intent itself could not be worked."""

    action: str | None
    reason: str


class AttentionResolved(Event, frozen=True):
    """A person stated what is true in the world about the call that raised attention."""

    action: str | None
    outcome: Literal["applied", "not_applied"]
    note: str
    by: str


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────


class IntentCommitted(Event, frozen=True):
    """Every action is done."""


class IntentAborted(Event, frozen=True):
    """No action happened and nothing is held."""


class IntentCompensated(Event, frozen=True):
    """Every action that was done is undone."""


class IntentMixed(Event, frozen=True):
    """Some effects stand and others do not, and it can no longer be made whole."""

    reason: str


class IntentSimulated(Event, frozen=True):
    """The dry run ended; nothing was changed anywhere."""

    previews: dict[str, JSON]


# ── what the outside shows afterwards, where a task says what success is ─────────────────────────────────────────


class OutcomeDeferred(Event, frozen=True):
    """The outside could not be asked whether the task is done; it is asked again at `retry_at`."""

    reason: str
    retry_at: datetime


class OutcomeVerified(Event, frozen=True):
    """Every success criterion of the task holds in the outside systems."""

    checks: tuple[Check, ...]


class OutcomeContradicted(Event, frozen=True):
    """The intent committed, and the outside systems do not show what its task calls success."""

    checks: tuple[Check, ...]


class OutcomeUnknown(Event, frozen=True):
    """Whether the task is done could not be found out."""

    checks: tuple[Check, ...]
    reason: str


EVENT_TYPES: Final[Mapping[str, type[Event]]] = {cls.__name__: cls for cls in Event.__subclasses__()}

UPCAST: Final[Mapping[str, Callable[[bytes], Event]]] = {}
"""Retired type names, each with the function from its stored bytes to the event that replaced it."""


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """An event and its place in the ledger. `body` are the canonical bytes as they were hashed and stored."""

    ledger: str
    position: int
    stream: str
    version: int
    at: datetime
    event: Event
    body: bytes

    @property
    def type(self) -> str:
        """Return the type name under which the event is stored."""
        return type(self.event).__name__


def encode(event: Event) -> bytes:
    """Return the canonical bytes of an event's fields."""
    return canonical(event)


@cache
def _decoder(cls: type[Event]) -> Callable[[bytes], Event]:
    return msgspec.json.Decoder(cls).decode


def decode(type_name: str, body: bytes) -> Event:
    """Turn a stored event back into its class.

    Raises `UnknownEventType` for a type of a newer release and `Corrupt` for bytes that are not what they say.
    """
    cls = EVENT_TYPES.get(type_name)
    try:
        if cls is not None:
            return _decoder(cls)(body)
        if type_name in UPCAST:
            return UPCAST[type_name](body)
    except UNREADABLE as error:
        raise Corrupt(f"An event of type {type_name} cannot be read: {error}.") from error
    raise UnknownEventType(f"The event type {type_name!r} is not known to this release. Upgrade before reading on.")

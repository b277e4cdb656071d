"""What a run leaves behind, as values: the feed, the intents, the clients' memory, the traces in outside systems.

Nothing here comes from the product's packages. `evidence.py` fills it, `checker.py` judges it.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Event = Mapping[str, Any]  # as GET /v1/events shows it: {position, version, type, at, stream, body}


@dataclass(frozen=True)
class Trace:
    """One line of an outside system's record: `what` is hold, release, apply or undo."""

    system: str
    key: str
    what: str
    at: datetime
    money: tuple[int, str] | None = None  # minor units and currency, where it is about money


@dataclass(frozen=True)
class Attempt:
    """One POST by the load client, in its own time: accepted (2xx), refused (4xx), or unknown (anything else)."""

    key: str
    body: str
    outcome: str
    started: float
    ended: float
    status: int | None = None
    intent: str | None = None
    grant: str | None = None  # whose token was shown; None: nobody remembers


@dataclass(frozen=True)
class Revocation:
    """One POST that revokes a grant, and what a 200 said of the intents under it."""

    grant: str
    started: float
    ended: float
    status: int
    aborting: tuple[str, ...] = ()
    already_decided: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """One POST of somebody who answers for an intent; not `fit`: they may not, and know it."""

    intent: str
    word: str  # approve or reject
    by: str
    grant: str | None
    digest: str
    status: int
    fit: bool = True


@dataclass(frozen=True)
class Frozen:
    """An intent that another worker had ended before a paused one was woken."""

    intent: str
    version: int
    woke_at: datetime


@dataclass
class Evidence:
    """Everything that a run left behind."""

    events: Sequence[Event] = ()
    earlier: Sequence[Event] = ()  # the feed as it was read while the run went on
    intents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    attempts: Sequence[Attempt] = ()
    traces: Sequence[Trace] = ()
    held: Sequence[tuple[str, str]] = ()  # (system, key) of what is still reserved outside
    faults: Mapping[str, int] = field(default_factory=dict)  # how often each kind really fired
    required: Mapping[str, int] = field(default_factory=dict)  # how often it must have, to be a run at all
    frozen: Sequence[Frozen] = ()
    revocations: Sequence[Revocation] = ()
    answers: Sequence[Answer] = ()
    books: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # policy set → where its refusals begin
    repeated: Mapping[str, Any] = field(default_factory=dict)  # what giving every verdict again came to
    views: Mapping[str, str] = field(default_factory=dict)  # name → digest, served live
    rebuilt: Mapping[str, str] = field(default_factory=dict)  # name → digest, after a replay
    inline: Mapping[str, bool] = field(default_factory=dict)  # name of an inline table → whether it is what events say
    head: tuple[int, int] = (0, 0)  # before and after the replay
    outside_calls: tuple[int, int] = (0, 0)  # likewise
    healed_seconds: float = 0.0
    healing_limit_seconds: float = 0.0


@dataclass(frozen=True)
class Action:
    """An action as IntentSubmitted planned it."""

    intent: str
    id: str
    key: str
    undo_key: str
    operation: str
    params: Mapping[str, Any]

    @property
    def money(self) -> tuple[int, str] | None:
        """Return what it moves."""
        return (self.params["amount"], self.params["currency"]) if "amount" in self.params else None


class Run:
    """The evidence, indexed once for all checks."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.streams: dict[str, list[Event]] = defaultdict(list)
        for event in evidence.events:
            if event["stream"].startswith("intent/"):
                self.streams[event["stream"].removeprefix("intent/")].append(event)
        self.actions = [
            Action(intent, plan["id"], plan["key"], plan["undo_key"], plan["operation"], plan["params"])
            for intent, stream in self.streams.items()
            for plan in stream[0]["body"].get("actions", ())
        ]
        self.actions_of: dict[str, list[Action]] = defaultdict(list)
        for action in self.actions:
            self.actions_of[action.intent].append(action)
        self.owner = {key: action for action in self.actions for key in (action.key, action.undo_key)}
        self.count = Counter((trace.key, trace.what) for trace in evidence.traces)
        bodies = [event["body"] for event in evidence.events if event["type"] == "GrantIssued"]
        self.grants: dict[str, Mapping[str, Any]] = {body["grant"]: body for body in bodies}
        self.revoked: dict[str, int] = {}
        for event in evidence.events:
            if event["type"] == "GrantRevoked":
                self.revoked.setdefault(event["body"]["grant"], event["position"])

    def first(self, intent: str, *types: str, action: str | None = None) -> Event | None:
        """Return the first event of these types in an intent's stream, about this action if one is named."""
        for event in self.streams[intent]:
            if event["type"] in types and (action is None or event["body"].get("action") == action):
                return event
        return None

    def phase(self, intent: str) -> str:
        return str(self.evidence.intents.get(intent, {}).get("phase", "not shown"))

    def chain(self, grant: str) -> list[Mapping[str, Any]]:
        """Return a grant and those above it, the first one first."""
        return [self.grants[one] for one in self.grants[grant]["custody"]] if grant in self.grants else []

    def died(self, grant: str) -> int | None:
        """Return the position from which on a grant is dead, by its own revocation or that of one above it."""
        return min(
            (self.revoked[one["grant"]] for one in self.chain(grant) if one["grant"] in self.revoked), default=None
        )

    def below(self, grant: str | None, above: str) -> bool:
        """Tell whether a grant is another one, or stands below it."""
        return grant is not None and above in self.grants.get(grant, {}).get("custody", ())

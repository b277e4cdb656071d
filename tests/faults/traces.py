"""What a run leaves behind, as values: the feed, the intents, the client's memory, the traces in outside systems.

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
    views: Mapping[str, str] = field(default_factory=dict)  # name → digest, served live
    rebuilt: Mapping[str, str] = field(default_factory=dict)  # name → digest, after a replay
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


class Run:
    """The evidence, indexed once for all checks."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.streams: dict[str, list[Event]] = defaultdict(list)
        for event in evidence.events:
            if event["stream"].startswith("intent/"):
                self.streams[event["stream"].removeprefix("intent/")].append(event)
        self.actions = [
            Action(intent, plan["id"], plan["key"], plan["undo_key"])
            for intent, stream in self.streams.items()
            for plan in stream[0]["body"].get("actions", ())
        ]
        self.actions_of: dict[str, list[Action]] = defaultdict(list)
        for action in self.actions:
            self.actions_of[action.intent].append(action)
        self.owner = {key: action for action in self.actions for key in (action.key, action.undo_key)}
        self.count = Counter((trace.key, trace.what) for trace in evidence.traces)

    def first(self, intent: str, *types: str, action: str | None = None) -> Event | None:
        """Return the first event of these types in an intent's stream, about this action if one is named."""
        for event in self.streams[intent]:
            if event["type"] in types and (action is None or event["body"].get("action") == action):
                return event
        return None

    def phase(self, intent: str) -> str:
        return str(self.evidence.intents.get(intent, {}).get("phase", "not shown"))

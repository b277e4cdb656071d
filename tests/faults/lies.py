"""Ways to lie about a run: each takes honest evidence and changes one thing in it."""

from collections.abc import Callable
from typing import Any

from traces import Attempt, Evidence, Trace

Lie = Callable[[Evidence], object]


def event(evidence: Evidence, intent: str, version: int) -> dict[str, Any]:
    return next(e for e in evidence.events if (e["stream"], e["version"]) == (f"intent/{intent}", version))


def told(intent: str, version: int, **body: Any) -> Lie:
    """Change what an event says."""
    return lambda e: event(e, intent, version)["body"].update(body)


def retitle(intent: str, version: int, kind: str) -> Lie:
    return lambda e: event(e, intent, version).update(type=kind)


def swap(intent: str, first: int, second: int) -> Lie:
    """Exchange two events in the order of the feed."""

    def lie(e: Evidence) -> None:
        one, other = e.events.index(event(e, intent, first)), e.events.index(event(e, intent, second))
        e.events[one], e.events[other] = e.events[other], e.events[one]

    return lie


def late(stream: str, kind: str, **body: Any) -> Lie:
    """Add an event at the end of the feed."""

    def lie(e: Evidence) -> None:
        version = sum(one["stream"] == stream for one in e.events) + 1
        last = e.events[-1]
        added = {"position": last["position"] + 1, "version": version, "type": kind, "stream": stream, "body": body}
        e.events.append(added | {"at": last["at"]})

    return lie


def granted(grant: str, **body: Any) -> Lie:
    """Change what a grant says."""
    return lambda e: next(one for one in e.events if one["type"] == "GrantIssued" and one["body"]["grant"] == grant)[
        "body"
    ].update(body)


def shown(intent: str, **fields: object) -> Lie:
    return lambda e: e.intents[intent].update(fields)


def more(*traces: Trace) -> Lie:
    return lambda e: e.traces.extend(traces)


def attempted(*attempts: Attempt) -> Lie:
    return lambda e: e.attempts.extend(attempts)


def without(prefix: str) -> Lie:
    return lambda e: e.traces.__setitem__(slice(None), [t for t in e.traces if not t.key.startswith(prefix)])


def put(**fields: object) -> Lie:
    """Replace a part of the evidence."""
    return lambda e: [setattr(e, name, value) for name, value in fields.items()]


def all_of(*lies: Lie) -> Lie:
    return lambda e: [lie(e) for lie in lies]

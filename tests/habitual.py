"""A past for agents: the events of weeks, written into a ledger as they are, up to a moment ago."""

from datetime import UTC, datetime, timedelta

import msgspec

from bench.behaviour.traffic import Act, Agent, submitted
from ledger import events as e
from ledger.events import Recorded, encode
from ledger.ids import intent_id, intent_stream


def past(agent: Agent, days: int, per_hour: int, *, until: datetime) -> list[Recorded]:
    """Return what an agent did at an even pace, up to `until`, as the first events of a ledger."""
    count = days * 24 * per_hour
    acts = [Act(n, agent.name, agent.operation, agent.amount_minor, "account 88") for n in range(count)]
    events = []
    for number, recorded in enumerate(submitted(acts, [agent]), 1):
        at = until - timedelta(hours=(count - number) / per_hour, minutes=1)
        name = intent_id(at, number.to_bytes(10, "big"))
        event = recorded.event
        if not isinstance(event, e.IntentSubmitted):
            raise TypeError
        event = msgspec.structs.replace(event, intent=name)
        events.append(
            msgspec.structs.replace(recorded, stream=intent_stream(name), at=at, event=event, body=encode(event))
        )
    return events


def a_moment_ago() -> datetime:
    return datetime.now(UTC)

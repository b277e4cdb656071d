"""After the faults: people answer what only they can, and everything that was left behind is gathered."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from authority_checks import rare_paths
from evidence import crm_held, crm_traces, keys_of, mail_traces, payment_traces, planned, tags_of
from people import People
from traces import Evidence, Run
from world import World

from examples.demo.client import TERMINAL, Client, Document

_NOTICED = {"TokenRefused", "ActRefused", "AnomalyDetected"}  # by the service itself, without anybody's asking


async def come_to_rest(
    world: World, people: People, door: Client, since: float, limit_seconds: float
) -> tuple[float, int, list[str]]:
    """Wait until every intent has ended, and meanwhile answer calls for attention as a person would who looks outside.

    What waits for approval is approved.

    Returns how many seconds after `since` that was, how many were answered, and which calls nothing outside explains.
    An intent that asks for attention is at rest, but what it holds may keep others waiting, so nobody lets it lie.
    """
    resolved, unexplained = 0, []
    while time.monotonic() - since <= limit_seconds:
        shown = (await _all(door)).values()
        if all(one["phase"] in TERMINAL for one in shown):
            break
        for one in shown:
            if one["phase"] == "awaiting_approval" and one["attention"] is None:
                await people.settle(one)
            if one["attention"] is None:
                continue
            action = one["attention"]["action"]
            if action is None:
                unexplained.append(f"{one['id']}: {one['attention']['reason']}")
                return time.monotonic() - since, resolved, unexplained
            body = {"action": action, "outcome": await _truth(world, door, one, action), "note": "Looked outside."}
            status, _ = await door.ask("POST", f"/v1/intents/{one['id']}/resolve", body)
            resolved += status == 200
        await asyncio.sleep(0.2)
    return time.monotonic() - since, resolved, unexplained


async def _all(door: Client) -> dict[str, Document]:
    """Return every intent as its own address shows it where the list says that it is not at rest."""
    listed = await door.intents()
    return {
        intent: shown if shown["phase"] in TERMINAL else await door.intent(intent) for intent, shown in listed.items()
    }


async def _truth(world: World, door: Client, shown: Document, action: str) -> str:
    events = (await door.get(f"/v1/intents/{shown['id']}/events"))["items"]
    plan = next(plan for plan in planned(events) if plan["id"] == action)
    traces = await _traces(world, events)
    if shown["phase"] == "aborting":
        return "applied" if ("payments", plan["key"]) not in set(world.open_holds()) else "not_applied"
    wanted = (plan["undo_key"], "undo") if shown["phase"] == "compensating" else (plan["key"], "apply")
    return "applied" if wanted in {(trace.key, trace.what) for trace in traces} else "not_applied"


async def _traces(world: World, events: Sequence[Mapping[str, Any]]) -> list[Any]:
    connection = await world.crm()
    try:
        crm = await crm_traces(connection, tags_of(events))
    finally:
        await connection.close()
    mailed = mail_traces(world.stage.mailbox.record, keys_of(events))
    return [*payment_traces(world.stage.payments.record), *mailed, *crm]


async def gather(world: World, door: Client, evidence: Evidence) -> None:
    """Read everything that the run left behind, replay included."""
    evidence.events = await door.events()
    evidence.intents = {intent: await door.intent(intent) for intent in (await door.intents())}
    evidence.traces = await _traces(world, evidence.events)
    connection = await world.crm()
    try:
        evidence.held = [*world.open_holds(), *await crm_held(connection)]
    finally:
        await connection.close()
    events = Counter(f"event {event['type']}" for event in evidence.events)
    evidence.faults = world.hurt + events + rare_paths(Run(evidence))
    await _replay(world, door, evidence)
    _, evidence.repeated = await world.run("verify", "--decisions", "--json")


async def _replay(world: World, door: Client, evidence: Evidence) -> None:
    """Have every view rebuilt, again where the service has noticed something meanwhile, which it may at any time."""
    for _ in range(10):  # more than there are kinds of what it notices, each of them told once a minute
        await _replay_up_to(world, door, evidence, evidence.events[-1]["position"])
        news = await door.events(evidence.head[0])
        if not news or not all(event["type"] in _NOTICED for event in news):
            return
        evidence.events = [*evidence.events, *news]


async def _replay_up_to(world: World, door: Client, evidence: Evidence, head: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        views = (await door.get("/v1/projections"))["items"]
        if all(view["digest_position"] >= head for view in views):
            break
        await asyncio.sleep(0.2)
    calls = await world.outside_calls()
    _, rebuilt = await world.run("replay", "--json")
    evidence.views = {view["name"]: view["digest"] for view in views}
    evidence.rebuilt = {one["name"]: one["digest"] for one in rebuilt if one["name"] in evidence.views}
    evidence.inline = {one["name"]: one["equal"] for one in rebuilt if one["name"] not in evidence.views}
    evidence.head = (head, head + len(await door.events(head)))
    evidence.outside_calls = (calls, await world.outside_calls())

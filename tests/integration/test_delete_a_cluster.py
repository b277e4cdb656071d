"""Deleting an old server cluster, from outside: through the door, against a cluster API in a process of its own.

What is asserted about the world is read from the record of that process, never from what the service says.
"""

import os
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio
from doorway import Doorway, Holder, doorway, eventually

from adapters.configuration import load
from examples.demo.processes import Outside
from examples.journal import read

pytestmark = pytest.mark.asyncio(loop_scope="module")
CLUSTERS = Path(__file__).parents[2] / "examples" / "clusters"
VOLUMES = [{"id": "data-1", "gib": 500}, {"id": "logs", "gib": 20}]


class Platform(NamedTuple):
    """The service, an agent of it, two people, and the cluster API."""

    people: Doorway
    agent: Holder
    lead: Holder
    owner: Holder
    api: Outside


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(server, template, tmp_path_factory):
    directory = tmp_path_factory.mktemp("clusters")
    name = f"clusters_{os.getpid()}"
    await server.create(name, template)
    async with AsyncExitStack() as parts:
        api = Outside("examples.clusters.api", directory / "clusters.jsonl")
        await api.start()
        parts.push_async_callback(api.kill)
        configured = (
            (CLUSTERS / "intentledger.toml").read_text("utf-8").replace("127.0.0.1:8090", f"127.0.0.1:{api.port}")
        )
        (directory / "intentledger.toml").write_text(configured)
        registry = load(directory / "intentledger.toml", {})
        people = await parts.enter_async_context(doorway(server.dsn(name), None, *registry.adapters))
        cedar = (CLUSTERS / "clusters.cedar").read_text("utf-8")
        status, said, _ = await people.post("/v1/policies", {"cedar": cedar, "activate": True})
        assert status == 201, said
        subject = {"kind": "agent", "name": "cluster-cleaner", "version": "1", "role": "platform-engineer"}
        agent = await people.grant("cluster-cleaner", "clusters.*", subject=subject)
        lead = await people.grant("platform-lead", kind="person")
        owner = await people.grant("service-owner", kind="person")
        yield Platform(people, agent, lead, owner, api)
    await server.drop(name)


async def given(platform: Platform, name: str, *, idle_days: int = 200, **more: Any) -> str:
    now = datetime.now(UTC)
    cluster = {
        "id": name,
        "environment": "test",
        "nodes": [f"{name}-n1", f"{name}-n2"],
        "volumes": VOLUMES,
        "created": (now - timedelta(days=400)).isoformat(),
        "last_traffic": (now - timedelta(days=idle_days)).isoformat(),
    }
    await asked(platform, "/clusters", cluster | more)
    return name


async def asked(platform: Platform, path: str, body: Any = None) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.post(platform.api.url + path, json=body) as response:
        return await response.json() if response.content_type == "application/json" else {}


async def delete(
    platform: Platform, name: str, operation: str = "clusters.delete", wait: int | None = 10, **more: Any
) -> dict[str, Any]:
    status, shown, _ = await platform.agent.submit(
        {
            "task": "cost-review",
            "reason": "It costs 2,100 USD a month and nobody has used it since winter.",
            "confidence": 0.97,
            "actions": [{"id": "it", "operation": operation, "params": {"cluster": name}}],
            **more,
        },
        wait=wait,
    )
    assert status in {200, 202}, shown
    return shown


async def approve(person: Holder, shown: dict[str, Any]) -> None:
    said = await person.post(f"/v1/intents/{shown['id']}/approve", {"digest": shown["digest"], "note": "I looked."})
    assert said[0] == 200, said


async def ends(platform: Platform, shown: dict[str, Any], phase: str) -> dict[str, Any]:
    async def ended() -> Any:
        now = (await platform.people.get(f"/v1/intents/{shown['id']}"))[1]
        return now if now["phase"] == phase else None

    return await eventually(ended)


def happened(platform: Platform, name: str) -> list[str]:
    """Return what the API's own record says was done to a cluster."""
    held = {line["key"] for line in read(platform.api.record) if line.get("cluster") == name and "key" in line}
    return [
        line["what"]
        for line in read(platform.api.record)
        if line["what"] not in {"cluster", "change"} and (line.get("cluster") == name or line.get("key") in held)
    ]


async def test_a_dry_run_shows_exactly_what_would_go_and_nothing_happens(platform):
    name = await given(platform, "dry")
    shown = await delete(platform, name, mode="dry_run")
    assert (shown["phase"], shown["decision"]["effect"]) == ("simulated", "allow")
    preview = shown["actions"][0]["preview"]
    assert preview["before"]["nodes"] == ["dry-n1", "dry-n2"]
    assert (preview["before"]["volumes"], preview["before"]["volume_gib"]) == (VOLUMES, 520)
    assert preview["before"]["last_traffic"].startswith(str((datetime.now(UTC) - timedelta(days=200)).date()))
    assert preview["facts"] == {"environment": "test", "protected": False, "age_days": 400, "idle_days": 200}
    assert happened(platform, name) == []


async def test_an_old_and_idle_cluster_is_scheduled_and_the_undo_brings_it_back_as_it_was(platform):
    name = await given(platform, "idle")
    done = await delete(platform, name)
    assert done["phase"] == "committed"
    assert (done["actions"][0]["guarantee"], done["actions"][0]["undo"]) == ("atomic", "exact")
    assert done["actions"][0]["result"]["status"] == "scheduled"
    status, said, _ = await platform.people.post(f"/v1/intents/{done['id']}/undo", {"reason": "Somebody needs it."})
    assert status in {200, 202}, said
    await ends(platform, done, "compensated")
    assert happened(platform, name) == ["hold", "schedule", "restore"]


async def test_a_cluster_with_traffic_in_the_last_30_days_waits_held_for_a_person(platform):
    name = await given(platform, "busy", idle_days=12)
    shown = await delete(platform, name)
    assert shown["phase"] == "awaiting_approval"
    assert "C-30: context.facts.idle_days >= 30 does not hold (it is 12)" in shown["decision"]["reasons"]
    assert happened(platform, name) == ["hold"]
    changed = await asked(platform, f"/clusters/{name}/changes", {"nodes": []})
    assert "about to be deleted" in changed["error"]  # what the person sees is what goes
    await approve(platform.lead, shown)
    await ends(platform, shown, "committed")
    assert happened(platform, name) == ["hold", "schedule"]


@pytest.mark.parametrize(
    ("name", "label", "policy"),
    [
        ("live", {"environment": "production"}, "production-never"),
        ("kept", {"protected": True}, "protected-never"),
    ],
)
async def test_production_and_protected_clusters_are_denied_and_not_even_held(platform, name, label, policy):
    await given(platform, name, **label)
    shown = await delete(platform, name)
    assert (shown["phase"], shown["decision"]["policies"]) == ("denied", [policy])
    assert happened(platform, name) == []


async def test_after_the_purge_the_undo_says_that_nothing_brings_it_back(platform):
    name = await given(platform, "gone")
    done = await delete(platform, name)
    purge = await delete(platform, name, "clusters.purge")
    assert (purge["phase"], purge["approval"]["quorum"]) == ("awaiting_approval", 2)
    await approve(platform.lead, purge)
    assert happened(platform, name) == ["hold", "schedule", "hold"]
    await approve(platform.owner, purge)
    await ends(platform, purge, "committed")
    status, said, _ = await platform.people.post(f"/v1/intents/{purge['id']}/undo", {"reason": "A mistake."})
    assert (status, said["type"]) == (409, "urn:intent-ledger:problem:not-undoable")
    await platform.people.post(f"/v1/intents/{done['id']}/undo", {"reason": "A mistake."})

    async def told() -> Any:
        return (await platform.people.get(f"/v1/intents/{done['id']}"))[1]["attention"]

    assert "Nothing brings it back" in str(await eventually(told))
    assert happened(platform, name) == ["hold", "schedule", "hold", "purge"]


async def test_lost_answers_and_a_killed_api_leave_one_deletion(platform):
    name = await given(platform, "lost")
    await asked(platform, "/faults", {"on": "confirm deletion", "answer": "lose", "count": 1000})
    done = await delete(platform, name, wait=None)

    async def landed() -> bool:
        return "schedule" in happened(platform, name)

    assert await eventually(landed)
    assert (await platform.people.get(f"/v1/intents/{done['id']}"))[1]["phase"] == "committing"
    await platform.api.kill()
    await platform.api.start()
    await ends(platform, done, "committed")
    assert happened(platform, name) == ["hold", "schedule"]

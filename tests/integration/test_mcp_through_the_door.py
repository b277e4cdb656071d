"""An intent that calls tools of an MCP server: through the door, against the reference server *memory* as a child.

What is asserted about the world is read from the file in which that server keeps it.
"""

import json
import os
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from doorway import doorway, eventually
from mcp_world import MEMORY, _path_to, adapter
from servers.node import program

from adapters.mcp.tools import pin

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def memory(tmp_path_factory):
    """The table of a configured server, and the file in which it remembers."""
    file = tmp_path_factory.mktemp("memory") / "memory.jsonl"
    environment = {"MEMORY_FILE_PATH": str(file), "PATH": _path_to("node")}
    return {**MEMORY, "command": [str(program("mcp-server-memory"))], "environment": environment}, file


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(server, template, memory):
    table, _ = memory
    name = f"mcp_{os.getpid()}"
    await server.create(name, template)
    async with AsyncExitStack() as parts:
        looking = adapter("memory", table)
        tools = await looking.tools()
        await looking.close()
        remember = table["operations"]["remember"]
        honest = {**remember, "commit": {**remember["commit"], "pin": pin(tools["create_entities"])}}
        changed = {**remember, "commit": {**remember["commit"], "pin": "sha256:" + "0" * 64}}
        made = adapter("memory", {**table, "operations": {"remember": honest, "otherwise": changed}})
        yield await parts.enter_async_context(doorway(server.dsn(name), None, made))
    await server.drop(name)


def remembered(memory: Any) -> list[dict[str, Any]]:
    _, file = memory
    return [json.loads(line) for line in file.read_text().splitlines() if line] if file.exists() else []


async def remember(door: Any, name: str, verb: str = "remember") -> dict[str, Any]:
    action = {"id": "it", "operation": f"memory.{verb}", "params": {"name": name, "text": "likes engines"}}
    body = {"task": "12A", "reason": "a test", "again": True, "actions": [action]}
    status, shown, _ = await door.submit(body)
    assert status in {200, 202}, shown
    return shown


async def test_what_a_tool_did_is_in_the_world_and_the_undo_takes_it_out_again(door, memory):
    done = await remember(door, "Ada")
    assert (done["phase"], done["actions"][0]["result"]) == ("committed", {"id": "Ada"})
    (entity,) = remembered(memory)
    assert (entity["name"], entity["observations"][0]) == ("Ada", "likes engines")
    await door.post(f"/v1/intents/{done['id']}/undo", {"reason": "It was Grace."})

    async def undone() -> bool:
        return (await door.get(f"/v1/intents/{done['id']}"))[1]["phase"] == "compensated"

    assert await eventually(undone)
    assert remembered(memory) == []


async def test_a_tool_that_is_not_what_was_pinned_aborts_the_intent_and_says_so(door, memory):
    ended = await remember(door, "Eve", "otherwise")
    assert ended["phase"] == "aborted"
    assert "has changed the tool create_entities: its definition is sha256:" in str(ended["setback"])
    assert [one["name"] for one in remembered(memory)] == []


async def test_what_a_server_says_of_itself_reaches_no_agent(door):
    _, catalogue, _ = await door.get("/v1/operations")
    assert "memory.remember" in str(catalogue)
    assert "knowledge graph" not in str(catalogue)

"""Two MCP servers of the contract suite: a notebook over HTTP that knows keys, and a reference server over stdio.

The notebook is one process for all tests, and each world has a book of its own in it. The memory server of the
protocol's own makers knows nothing of keys: the key stands in what is remembered, and is searched for.
"""

import itertools
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from adapter_worlds import SECRET
from lossy_proxy import Proxy
from servers.mcp_notes import serving
from servers.node import program

from adapters.contract import Adapter
from adapters.mcp.adapter import KIND, McpAdapter
from ledger.intents import Verb

KEY = "example.com/key"
_books = itertools.count(1)
_LOSSY = Path(__file__).parent / "servers" / "lossy_stdio.py"
_FOUND = {"tool": "look_up", "arguments": {"book": "{book}", "key": "{key}"}, "at": "/found", "result": {"id": "/id"}}


def params(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


NOTES: dict[str, Any] = {
    "type": "mcp",
    "allow_private": True,
    "timeout_seconds": 5,
    "credentials": {"Authorization": {"env": "NOTES_AUTHORIZATION"}},
    "operations": {
        "add": {
            "guarantee": "idempotent",
            "undo": "exact",
            "summary": "note {text}",
            "fact_types": {"notes": "integer"},
            "preview": {"tool": "notes", "arguments": {"book": "{book}"}, "facts": {"notes": "/count"}},
            "commit": {"tool": "add", "meta": {KEY: "{key}"}, "result": {"id": "/id"}},
            "compensate": {
                "tool": "strike",
                "arguments": {"book": "{book}", "note": "{result.id}"},
                "meta": {KEY: "{key}"},
                "result": {"id": "/id"},
            },
            "inquire": _FOUND,
            "inquire_undo": _FOUND,
            "params": params(book={"type": "string"}, text={}),
        }
    },
    "reads": {
        "book": {
            "tool": "notes",
            "facts": {"notes": "/count"},
            "fact_types": {"notes": "integer"},
            "before": {"standing": "/notes"},
            "params": params(book={"type": "string"}),
        }
    },
}
MEMORY: dict[str, Any] = {
    "type": "mcp",
    "timeout_seconds": 8,
    "secrets": {"MEMORY_TOKEN": {"env": "MEMORY_TOKEN"}},
    "operations": {
        "remember": {
            "guarantee": "verifiable",
            "settle_seconds": 0,
            "undo": "exact",
            "commit": {
                "tool": "create_entities",
                "arguments": {
                    "entities": [{"name": "{name}", "entityType": "note", "observations": ["{text}", "ref {key}"]}]
                },
                "result": {"id": "/entities/0/name"},
            },
            "compensate": {
                "tool": "delete_entities",
                "arguments": {"entityNames": ["{result.id}"]},
                "result": {"said": "/message"},
            },
            "inquire": {
                "tool": "search_nodes",
                "arguments": {"query": "{key}"},
                "at": "/entities",
                "result": {"id": "/name"},
            },
            "inquire_undo": {
                "tool": "open_nodes",
                "arguments": {"names": ["{name}"]},
                "at": "/entities",
                "where": {"/name": "{name}"},
                "applied": "missing",
            },
            "params": params(name={"type": "string"}, text={}),
        }
    },
}


def adapter(name: str, table: dict[str, Any], secret: str = SECRET) -> McpAdapter:
    """Make an adapter as the configuration would; every secret is the same."""
    made = KIND.build(name, KIND.table.model_validate_json(json.dumps(table)), lambda _, __: lambda: secret)
    assert isinstance(made, McpAdapter)
    return made


class NotesOutside:
    """The notebook over streamable HTTP; `protocol` is the generation that is spoken."""

    def __init__(self, protocol: str) -> None:
        self.operation = "notes.add"
        self.book = f"book-{next(_books)}"
        self.params = {"book": self.book, "text": "call Ada"}
        self.refusable = {**self.params, "text": 7}
        self.facts = {"notes": 0}
        self.table = {**NOTES, "protocol": protocol}
        self._adapters: list[Adapter] = []

    async def start(self) -> "NotesOutside":
        self.server = serving()
        self.proxy = Proxy(("127.0.0.1", self.server.port))
        self.proxy.cut_at = b'"result"'  # a stream of events begins before the tool is called
        await self.proxy.start()
        self.adapter = await self.another()
        return self

    async def another(self) -> McpAdapter:
        made = adapter("notes", {**self.table, "url": f"http://127.0.0.1:{self.proxy.port}/mcp"})
        await made.open()
        self._adapters.append(made)
        return made

    def _count(self, what: str) -> int:
        return sum(line["what"] == what for line in self.server.lines(self.book))

    async def effects(self) -> int:
        return self._count("add")

    async def undone(self) -> int:
        return self._count("strike")

    async def holds(self) -> int:
        return 0

    async def shown(self) -> Any:
        lines = self.server.lines(self.book)
        struck = {line["note"] for line in lines if line["what"] == "strike"}
        return [line["text"] for line in lines if line["what"] == "add" and line["id"] not in struck]

    async def change_a_fact(self) -> None:
        async with self.adapter._server.conversation() as talk:
            await talk.call("add", self.params, {})

    async def lose_answer(self, verb: Verb) -> None:
        self.proxy.lose_after = b'"name":"strike"' if verb is Verb.COMPENSATE else b'"name":"add"'

    async def break_down(self) -> None:
        await self.proxy.stop()

    async def stop(self) -> None:
        for one in self._adapters:
            await one.close()
        await self.proxy.stop()


class MemoryOutside:
    """The reference server *memory*, as children behind a program that counts its answers and can lose one."""

    def __init__(self, directory: Path) -> None:
        self.operation = "memory.remember"
        self.directory = directory
        self.file = directory / "memory.jsonl"
        self.params = {"name": "Ada", "text": "likes engines"}
        self.refusable = {**self.params, "text": 7}
        self._adapters: list[McpAdapter] = []

    async def start(self) -> "MemoryOutside":
        self.adapter = await self.another()
        return self

    async def another(self) -> McpAdapter:
        server = program("mcp-server-memory")
        table = {
            **MEMORY,
            "command": [sys.executable, "-ES", str(_LOSSY), str(self.directory), str(server)],
            "environment": {"MEMORY_FILE_PATH": str(self.file), "PATH": _path_to("node")},
        }
        made = adapter("memory", table)
        await made.open()
        self._adapters.append(made)
        return made

    def _count(self, tool: str) -> int:
        calls = self.directory / "calls"
        return calls.read_text().splitlines().count(tool) if calls.exists() else 0

    async def effects(self) -> int:
        return self._count("create_entities")

    async def undone(self) -> int:
        return self._count("delete_entities")

    async def holds(self) -> int:
        return 0

    async def shown(self) -> Any:
        return self.file.read_text().splitlines() if self.file.exists() and self.file.read_text() else []

    async def lose_answer(self, verb: Verb) -> None:
        tool = "delete_entities" if verb is Verb.COMPENSATE else "create_entities"
        (self.directory / "lose").write_text(tool)

    async def break_down(self) -> None:
        (self.directory / "down").touch()
        for one in self._adapters:
            if one._server._current is not None:
                await one._server._current[0].kill()

    async def stop(self) -> None:
        for one in self._adapters:
            await one.close()


def _path_to(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        raise AssertionError(f"The tests need {tool}; install nodejs.")
    return os.pathsep.join([str(Path(found).parent), os.defpath])

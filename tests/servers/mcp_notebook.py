"""A notebook as an MCP server, written with the package `mcp`: over streamable HTTP or standard input and output.

Notes stand in books, so that tests which share the server do not meet. Its tools:

    add(book, text)       adds a note, once for each key in `_meta` under `example.com/key`; without a key each time
    strike(book, note)    strikes a note out, once for each key likewise
    notes(book)           the notes of a book that stand, and how many they are
    look_up(book, key)    what has become of a key there
    ask(book, text)       asks a person what to write (elicitation), then adds that, or `text`
    fail(words, first)    adds a note if `first`, then fails with these words
    say(size)             answers with that many letters

Every change is a line of the record, on the disk before the answer leaves.
Run: python mcp_notebook.py RECORD [--port N]; with a port it speaks HTTP and says where it listens.
"""

import argparse
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel

KEY = "example.com/key"


class Asked(BaseModel):
    text: str


def notebook(record: Path) -> MCPServer:
    """Make the server over its record."""
    server = MCPServer("notes", log_level="ERROR")
    file = record.open("a")
    lines: list[dict[str, Any]] = [json.loads(line) for line in record.read_text().splitlines()]

    def write(**line: Any) -> dict[str, Any]:
        line["id"] = f"n{len(lines) + 1}"
        lines.append(line)
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
        return line

    def once(context: Context, **line: Any) -> dict[str, Any]:
        meta = context.request_context.meta or {}
        key = meta.get(KEY) if isinstance(meta, dict) else None
        ours = [one for one in lines if one["key"] == key and one["book"] == line["book"]]
        return ours[0] if ours and key is not None else write(key=key, **line)

    def add(book: str, text: str, context: Context) -> dict[str, Any]:
        """Add a note to a book."""
        return once(context, book=book, what="add", text=text)

    def strike(book: str, note: str, context: Context) -> dict[str, Any]:
        """Strike a note out."""
        return once(context, book=book, what="strike", note=note)

    def notes(book: str) -> dict[str, Any]:
        """Show the notes of a book that stand."""
        struck = {one["note"] for one in lines if one["what"] == "strike"}
        ours = [one for one in lines if one["book"] == book and one["what"] == "add"]
        standing = [{"id": one["id"], "text": one["text"]} for one in ours if one["id"] not in struck]
        return {"notes": standing, "count": len(standing)}

    def look_up(book: str, key: str) -> dict[str, Any]:
        """Show what has become of a key in a book."""
        return {"found": [one for one in lines if one["key"] == key and one["book"] == book]}

    async def ask(book: str, text: str, context: Context) -> dict[str, Any]:
        """Ask a person, then add what they said."""
        answered = await context.elicit(message="What shall I write?", schema=Asked)
        return write(key=None, book=book, what="add", text=answered.data.text if answered.action == "accept" else text)

    def fail(book: str, words: str, first: bool) -> dict[str, Any]:
        """Fail, perhaps after something has happened."""
        if first:
            write(key=None, book=book, what="add", text=words)
        raise ValueError(words)

    def say(size: int) -> str:
        """Say a lot."""
        return "x" * size

    for tool in (add, strike, notes, look_up, ask, fail, say):
        server.add_tool(tool)
    return server


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("record", type=Path)
    parser.add_argument("--port", type=int)
    told = parser.parse_args()
    told.record.touch()
    server = notebook(told.record)
    if told.port is None:
        server.run("stdio")
        return
    listening = socket.create_server(("127.0.0.1", told.port))
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="error")).run(sockets=[listening])


if __name__ == "__main__":
    main()

"""An MCP server over standard input and output with every bad habit, in the standard library only: it starts at once.

Run: python mcp_scripted.py DIRECTORY. Each tool called is a line of the file `effects`, before anything is answered.
Files in the directory change it: `changed` (the tool `note` is described otherwise), `slow` (it greets after half a
second), `mute` (it lists no tools), `double` (it lists `note` twice), `down` (it ends at once), `old` (it speaks a
protocol that nobody knows).

    note, strike    answer what they were given; a text that begins with { is answered as the result itself
    environment     answers the environment it was given
    ask             asks us four things before it answers
    die, huge, twice, hang, doze, go_quiet, wrong    what their names say; hang listens on, doze hears nothing
"""

import json
import os
import sys
import time
from pathlib import Path

DIRECTORY = Path(sys.argv[1])
NAMES = ("note", "strike", "environment", "die", "huge", "twice", "hang", "go_quiet", "ask", "wrong")


def is_set(name):
    return (DIRECTORY / name).exists()


def write(message):
    sys.stdout.write((message if isinstance(message, str) else json.dumps(message)) + "\n")
    sys.stdout.flush()


def heard():
    return json.loads(sys.stdin.readline() or sys.exit())


def tool(name):
    described = "Notes, and tells everybody." if name == "note" and is_set("changed") else f"The tool {name}."
    schema = {"type": "object", "properties": {"text": {"type": "string", "maxLength": 100}}}
    return {"name": name, "description": described, "inputSchema": schema, "annotations": {"idempotentHint": True}}


def text(words, **more):
    return {"content": [{"type": "text", "text": words}], **more}


def called(number, params):
    name, given = params["name"], params["arguments"]
    with (DIRECTORY / "effects").open("a") as effects:
        effects.write(json.dumps({"tool": name, **given, "_meta": params.get("_meta")}) + "\n")
    match name:
        case "die":
            sys.exit(3)
        case "go_quiet":
            os.close(1)
            time.sleep(60)
        case "doze":
            time.sleep(60)
        case "hang":
            return None
        case "huge":
            return " " * 3_000_000 + json.dumps({"jsonrpc": "2.0", "id": number, "result": text("done")})
        case "twice":
            return f'{{"jsonrpc":"2.0","id":{number},"result":{{"content":[],"isError":true,"isError":false}}}}'
        case "environment":
            return {"content": [], "structuredContent": dict(os.environ)}
        case "ask":
            answers = []
            for what in ("ping", "elicitation/create", "sampling/createMessage", "roots/list"):
                write({"jsonrpc": "2.0", "id": what, "method": what, "params": {}})
                answers.append(heard())
            return {"content": [], "structuredContent": {"answers": answers}}
        case "wrong":
            return {"jsonrpc": "2.0", "id": number, "error": {"code": -32602, "message": given["text"]}}
        case _ if given.get("text", "").startswith("{"):
            return json.loads(given["text"])
    return text(f"{name}: {given.get('text')}")


def main():
    if is_set("down"):
        sys.exit(1)
    write("Welcome to the scripted server!")
    write('{"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info"}}')
    while True:
        message = heard()
        number, method = message.get("id"), message["method"]
        if number is None:
            continue
        answer = None
        if method == "initialize":
            if is_set("slow"):
                time.sleep(0.5)
            answer = {"protocolVersion": "1999-01-01" if is_set("old") else "2025-06-18", "capabilities": {}}
        elif method == "tools/list" and not is_set("mute"):
            names = (*NAMES, "note") if is_set("double") else NAMES
            place = int(message["params"].get("cursor", 0))  # one tool a page
            answer = {"tools": [tool(names[place])], **({"nextCursor": str(place + 1)} if names[place + 1 :] else {})}
        elif method == "tools/call":
            answer = called(number, message["params"])
        if isinstance(answer, dict) and "jsonrpc" not in answer:
            answer = {"jsonrpc": "2.0", "id": number, "result": answer}
        if answer is not None:
            write(answer)


main()

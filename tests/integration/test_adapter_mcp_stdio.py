"""MCP servers as children: how they live and die, what they may say, and what is believed of it.

Most of it is played by a scripted server with every bad habit; the reference server *filesystem* plays itself.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from mcp_world import _path_to, adapter, params
from servers.node import program

from adapters.contract import Absent, Applied, Call, Prepared, Refused, Result, Unknown
from adapters.mcp.tools import pin
from ledger.errors import AdapterError, InDoubt, Permanent, Transient
from ledger.intents import Verb

SCRIPTED = Path(__file__).parents[1] / "servers" / "mcp_scripted.py"
TEXT = params(text={})


def doing(tool, **commit):
    return {"guarantee": "blind", "commit": {"tool": tool, **commit}, "params": TEXT}


class Stage:
    """A directory, a scripted server in it, and adapters for that."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.opened = []

    def play(self, secret="of-the-operator", **table):
        tools = ("note", "environment", "die", "huge", "twice", "hang", "go_quiet", "ask", "wrong")
        made = adapter(
            "it",
            {
                "type": "mcp",
                "command": [sys.executable, "-ES", str(SCRIPTED), str(self.directory)],
                "timeout_seconds": 5,
                "secrets": {"TOKEN": {"env": "TOKEN"}},
                "environment": {"PLACE": "here"},
                "operations": {tool: doing(tool) for tool in tools},
                **table,
            },
            secret,
        )
        self.opened.append(made)
        return made

    def set(self, name):
        (self.directory / name).touch()

    def unset(self, name):
        (self.directory / name).unlink()

    def effects(self):
        file = self.directory / "effects"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    for one in made.opened:
        await one.close()


def call(tool="note", text="hello", verb=Verb.COMMIT, key="a" * 40, **more):
    return Call(
        verb=verb,
        ledger="main",
        intent="intent-1",
        action="one",
        operation=f"it.{tool}",
        params={"text": text},
        key=key,
        epoch=1,
        deadline=datetime.now(UTC) + timedelta(seconds=10),
        **more,
    )


async def say(made, **result):
    """Let the tool answer exactly this."""
    return await made.commit(call(text=json.dumps(result)), None)


def pid(made):
    return made._server._current[0]._process.pid


# ── a life as a child ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_child_gets_what_the_file_names_and_nothing_else_of_ours(stage, monkeypatch):
    monkeypatch.setenv("DATABASE_PASSWORD", "of-somebody-else")
    given = (await stage.play().commit(call("environment"), None)).data
    assert given.pop("PATH") == os.defpath
    assert {name: given[name] for name in ("PLACE", "TOKEN", "LC_ALL")} == {
        "PLACE": "here",
        "TOKEN": "***",  # it was given the secret; what it says of it is blotted out
        "LC_ALL": "C.UTF-8",
    }
    assert given.keys() <= {"PLACE", "TOKEN", "LC_ALL", "LC_CTYPE", "PWD"}


async def test_a_child_that_dies_in_a_call_leaves_a_doubt_and_the_next_call_has_another(stage):
    made = stage.play()
    with pytest.raises(InDoubt, match="ended before it answered") as caught:
        await made.commit(call("die"), None)
    assert caught.value.silent
    assert (await made.commit(call(), None)).data == {"text": "note: hello"}
    assert [one["tool"] for one in stage.effects()] == ["die", "note"]


async def test_a_child_that_was_killed_between_calls_leaves_no_doubt(stage):
    made = stage.play()
    await made.commit(call(), None)
    first = pid(made)
    os.kill(first, signal.SIGKILL)
    await made._server._current[0]._process.wait()
    await made.commit(call(), None)
    assert pid(made) != first


async def test_a_command_that_is_not_there_is_not_now(stage):
    with pytest.raises(Transient, match=r"^/nowhere/server could not be started: No such file") as caught:
        await stage.play(command=["/nowhere/server"]).commit(call(), None)
    assert caught.value.silent


@pytest.mark.parametrize("habit", ["down", "old"])
async def test_what_cannot_be_greeted_is_not_now(stage, habit):
    stage.set(habit)
    with pytest.raises(Transient, match="Nothing was called"):
        await stage.play().commit(call(), None)
    assert stage.effects() == []


async def test_a_child_that_starts_slowly_is_there_for_a_later_call(stage):
    stage.set("slow")
    made = stage.play(timeout_seconds=0.2)
    with pytest.raises(Transient, match="did not get ready"):
        await made.commit(call(), None)
    async with asyncio.timeout(10):
        while True:
            try:
                await made.commit(call(), None)
                break
            except Transient:
                continue
    assert len(stage.effects()) == 1


async def test_a_stuck_child_is_killed_when_it_was_quiet_for_long(stage, monkeypatch):
    made = stage.play(timeout_seconds=0.2)
    await asyncio.wait_for(_until_it_lists(made), 10)
    stage.set("mute")
    first = pid(made)
    with pytest.raises(Transient, match="did not get ready"):
        await made.commit(call(), None)
    stage.unset("mute")
    monkeypatch.setattr("adapters.mcp.stdio.QUIET_SECONDS", 0.1)
    await asyncio.wait_for(_until_it_lists(made), 10)
    assert pid(made) != first


async def _until_it_lists(made):
    while True:
        try:
            return await made.tools()
        except (Transient, TimeoutError):
            await asyncio.sleep(0)


async def test_a_child_that_closes_its_output_and_lives_on_is_killed(stage):
    made = stage.play()
    with pytest.raises(InDoubt, match="ended before it answered"):
        await made.commit(call("go_quiet"), None)
    first = made._server._current[0]._process
    await made.commit(call(), None)
    assert (first.returncode, pid(made) != first.pid) == (-signal.SIGKILL, True)


async def test_a_rotated_secret_gets_a_child_of_its_own_and_the_old_one_finishes(stage):
    made, secret = stage.play(), "first-secret"
    made._server._secrets = {"TOKEN": lambda: secret}
    old = asyncio.create_task(made.commit(call("hang"), None))
    async with asyncio.timeout(10):
        while not stage.effects():  # noqa: ASYNC110 it is another process that writes
            await asyncio.sleep(0.01)
    first = made._server._current[0]
    secret = "second-secret"
    await made.commit(call(), None)
    assert (made._server._current[0] is not first, first.ended) == (True, False)
    old.cancel()
    await asyncio.wait({old})
    async with asyncio.timeout(10):
        await first._process.wait()


async def test_a_child_does_not_outlive_us(stage, tmp_path):
    parent = textwrap.dedent(
        f"""
        import asyncio, sys, time
        from adapters.mcp.stdio import StdioServer
        from pathlib import Path
        async def main():
            command = [sys.executable, "-ES", {str(SCRIPTED)!r}, {str(tmp_path)!r}]
            server = StdioServer("2025-11-25", command, environment={{}}, secrets={{}}, directory=Path("/"), log=None)
            async with server.conversation() as talk:
                print(server._current[0]._process.pid, flush=True)
                await talk.call("doze", {{"text": "x"}}, {{}})
        asyncio.run(main())
        """
    )
    ours = await asyncio.create_subprocess_exec(sys.executable, "-c", parent, stdout=subprocess.PIPE)
    child = int(await ours.stdout.readline())
    async with asyncio.timeout(10):
        while not stage.effects():  # noqa: ASYNC110 it is another process that writes
            await asyncio.sleep(0.01)
    ours.kill()
    await ours.wait()
    async with asyncio.timeout(10):
        while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)


# ── what it says ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tool", ["huge", "twice", "hang"])
async def test_an_answer_without_one_meaning_is_no_answer_and_leaves_a_doubt(stage, tool):
    made = stage.play(timeout_seconds=1)
    await made.tools()
    with pytest.raises(InDoubt, match="no reply came within 1 seconds"):
        await made.commit(call(tool), None)
    assert (await made.commit(call(), None)).data == {"text": "note: hello"}  # the child is as good as before


async def test_a_server_that_asks_a_person_or_a_model_is_refused_and_only_a_ping_is_answered(stage):
    answers = (await stage.play().commit(call("ask"), None)).data["answers"]
    assert answers[0] == {"jsonrpc": "2.0", "id": "ping", "result": {}}
    assert [one["error"]["code"] for one in answers[1:]] == [-32601] * 3


async def test_a_tool_that_wants_to_ask_instead_of_answering_leaves_a_doubt(stage):
    with pytest.raises(InDoubt, match="nobody answers here"):
        await say(stage.play(), resultType="input_required", inputRequests={})


REFUSING = {"operations": {"note": doing("note", refused=["Access denied", -32602]), "wrong": doing("wrong")}}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("Access denied - not yours", Permanent),
        ("The disk is full. Access denied", InDoubt),  # whoever chose the words did not choose their beginning
        ("", InDoubt),
    ],
)
async def test_an_error_of_a_tool_is_a_no_only_as_it_is_configured(stage, words, error):
    with pytest.raises(error):
        await say(stage.play(**REFUSING), isError=True, content=[{"type": "text", "text": words}])


@pytest.mark.parametrize(("refused", "error"), [([-32602], Permanent), ([-32603, "Tool not found"], InDoubt)])
async def test_an_error_of_the_server_is_a_no_only_by_its_code(stage, refused, error):
    made = stage.play(operations={"wrong": doing("wrong", refused=refused)})
    with pytest.raises(error, match=r"\(-32602\): Tool not found\."):
        await made.commit(call("wrong", "Tool not found"), None)


async def test_a_result_that_does_not_show_what_is_wanted_leaves_a_doubt(stage):
    made = stage.play(operations={"note": doing("note", result={"id": "/id"})})
    assert (await say(made, content=[], structuredContent={"id": "n1", "secret": 1})).data == {"id": "n1"}
    with pytest.raises(InDoubt, match="does not show id"):
        await say(made, content=[], structuredContent={"secret": 1})


# ── what it offers ───────────────────────────────────────────────────────────────────────────────────────────────


async def pinned(stage, **more):
    tools = await stage.play().tools()
    commit = {"tool": "note", "pin": pin(tools["note"]), "meta": {"key": "{key}"}}
    undo = {"tool": "strike", "pin": pin(tools["strike"]), "arguments": {"text": "{key}"}}
    operation = {"guarantee": "idempotent", "undo": "semantic", "commit": commit, "compensate": undo, "params": TEXT}
    return stage.play(operations={"note": operation | more})


async def test_a_tool_whose_description_was_changed_is_noticed_and_not_called(stage):
    made = await pinned(stage)
    assert await made.prepare(call(verb=Verb.PREPARE)) == Prepared()
    stage.set("changed")
    vote = await made.prepare(call(verb=Verb.PREPARE))
    assert isinstance(vote, Refused)
    assert vote.reason.startswith("The MCP server has changed the tool note: its definition is sha256:")
    with pytest.raises(Transient, match="has changed the tool note"):
        await made.commit(call(), None)
    assert stage.effects() == []
    stage.unset("changed")
    assert (await made.commit(call(), None)).data == {"text": "note: hello"}


async def test_without_a_pin_a_change_goes_unnoticed_as_the_documents_say(stage):
    stage.set("changed")
    assert await stage.play().prepare(call(verb=Verb.PREPARE)) == Prepared()


@pytest.mark.parametrize("which", ["commit", "compensate"])
async def test_what_could_not_be_called_or_undone_is_not_promised(stage, which):
    made = await pinned(stage, **{which: {"tool": "gone", "meta": {"key": "{key}"}}})
    vote = await made.prepare(call(verb=Verb.PREPARE))
    assert vote == Refused("The MCP server offers no tool gone now, or two of that name.")


async def test_a_name_that_two_tools_have_names_none(stage):
    stage.set("double")
    vote = await stage.play().prepare(call(verb=Verb.PREPARE))
    assert vote == Refused("The MCP server offers no tool note now, or two of that name.")


@pytest.mark.parametrize("text", [7, "x" * 101])
async def test_what_the_server_would_not_take_is_refused_before_it_is_asked(stage, text):
    vote = await stage.play().prepare(call(text=text, verb=Verb.PREPARE))
    assert isinstance(vote, Refused)
    assert vote.reason.startswith("The tool note does not take these arguments, at /text: ")
    assert "xxx" not in vote.reason
    assert stage.effects() == []


async def test_the_key_travels_where_it_is_configured_and_the_trace_beside_it(stage):
    made = await pinned(stage)
    done = await made.commit(call(traceparent="00-1-2-01"), None)
    await made.compensate(call(verb=Verb.COMPENSATE, key="b" * 40), None, done.data)
    first, second = stage.effects()
    assert first == {"tool": "note", "text": "hello", "_meta": {"key": "a" * 40, "traceparent": "00-1-2-01"}}
    assert (second["tool"], second["text"]) == ("strike", "b" * 40)


# ── the reference server filesystem ──────────────────────────────────────────────────────────────────────────────

FILE = params(path={"type": "string"}, content={"type": "string"})
FILES = {
    "type": "mcp",
    "timeout_seconds": 8,
    "operations": {
        "write": {
            "guarantee": "verifiable",
            "undo": "semantic",
            "commit": {
                "tool": "write_file",
                "arguments": {"path": "/{key}.txt", "content": "{content}"},
                "refused": ["Access denied"],
            },
            "compensate": {"tool": "move_file", "arguments": {"source": "{path}", "destination": "/undone-{key}.txt"}},
            "inquire": {
                "tool": "search_files",
                "arguments": {"path": "/", "pattern": "{key}.txt"},
                "at": "/content",
                "absent": "No matches found",
            },
            "inquire_undo": {
                "tool": "search_files",
                "arguments": {"path": "/", "pattern": "undone-{key}.txt"},
                "at": "/content",
                "absent": "No matches found",
            },
            "params": FILE,
        },
        "overwrite": {
            "guarantee": "blind",
            "commit": {"tool": "write_file", "refused": ["Access denied"]},
            "params": FILE,
        },
    },
    "reads": {
        "read": {
            "tool": "read_text_file",
            "facts": {"content": "/content"},
            "params": params(path={"type": "string"}),
        }
    },
}


@pytest.fixture
async def files(tmp_path):
    server = str(program("mcp-server-filesystem"))
    table = json.loads(json.dumps(FILES).replace('"/', f'"{tmp_path}/').replace(f'"{tmp_path}/content"', '"/content"'))
    made = adapter("it", {**table, "command": [server, str(tmp_path)], "environment": {"PATH": _path_to("node")}})
    yield made
    await made.close()


def file_call(tool, path, verb=Verb.COMMIT, key="a" * 40):
    content = {} if tool == "read" else {"content": "dear Ada"}
    return msgspec.structs.replace(call(tool, verb=verb, key=key), params={"path": str(path), **content})


async def test_a_file_is_written_found_again_and_moved_out_of_the_way(files, tmp_path):
    here = tmp_path / f"{'a' * 40}.txt"
    asked = file_call("write", here)
    assert await files.prepare(asked) == Prepared()
    assert await files.inquire(asked) == Absent()
    await files.commit(asked, None)
    assert here.read_text() == "dear Ada"
    assert await files.inquire(asked) == Applied(Result({"found": str(here)}))
    undo = file_call("write", here, Verb.COMPENSATE, "b" * 40)
    await files.compensate(undo, None, {})
    assert isinstance(await files.inquire(undo), Applied)
    assert [one.name for one in tmp_path.iterdir()] == [f"undone-{'b' * 40}.txt"]


async def test_what_the_server_refuses_is_a_no_and_what_it_cannot_do_a_doubt(files, tmp_path):
    with pytest.raises(Permanent, match="Access denied - path outside allowed directories"):
        await files.commit(file_call("overwrite", "/etc/motd"), None)
    (tmp_path / "a-directory").mkdir()
    with pytest.raises(InDoubt):
        await files.commit(file_call("overwrite", tmp_path / "a-directory"), None)
    assert isinstance(await files.inquire(file_call("overwrite", tmp_path / "x")), Unknown)


async def test_what_only_looks_sees_what_is_there(files, tmp_path):
    (tmp_path / "letter").write_text("dear Ada")
    seen = await files.preview(file_call("read", tmp_path / "letter", Verb.PREVIEW))
    assert seen.facts == {"content": "dear Ada"}
    with pytest.raises(AdapterError, match="ENOENT"):
        await files.preview(file_call("read", tmp_path / "none", Verb.PREVIEW))

"""`intentledger adapters tools`: what an MCP server offers, for an operator who has configured nothing of it yet."""

import json
import sys
from pathlib import Path

import pytest

from adapters.configuration import load
from gateway.cli_tools import tools
from gateway.command import Flags
from ledger.errors import Misconfigured, Unavailable

SCRIPTED = Path(__file__).parents[1] / "servers" / "mcp_scripted.py"


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.logs.configure", lambda *_: None)  # that of this process is not ours to change
    command = [sys.executable, "-ES", str(SCRIPTED), str(tmp_path)]
    written = tmp_path / "intentledger.toml"
    written.write_text(f'[adapters.it]\ntype = "mcp"\ncommand = {json.dumps(command)}\n')
    return written


def test_what_is_shown_can_be_pasted_and_no_tool_was_called(file, tmp_path, capsys):
    assert tools("it", Flags(config=file)) == 0
    shown = capsys.readouterr().out
    assert "[adapters.it.operations.note]  # The tool note.\n" in shown
    file.write_text(file.read_text() + shown)
    assert "it.note" in load(file, {}).operations
    assert not (tmp_path / "effects").exists()


def test_the_pins_in_json_are_those_in_words(file, capsys):
    tools("it", Flags(config=file))
    words = capsys.readouterr().out
    tools("it", Flags(config=file), json=True)
    offered = json.loads(capsys.readouterr().out)
    assert offered
    assert all(one["pin"] in words for one in offered)


def test_a_server_that_is_not_there_and_one_of_another_type_are_named(file, tmp_path):
    (tmp_path / "down").touch()
    with pytest.raises(Unavailable, match="does not say what it offers"):
        tools("it", Flags(config=file))
    file.write_text('[adapters.it]\ntype = "reference"\n')
    with pytest.raises(Misconfigured, match="no adapter it of type mcp"):
        tools("it", Flags(config=file))

"""What `intentledger.toml` may say about an MCP server, and what is refused when it is read, in a sentence."""

import copy

import pytest
from pydantic import ValidationError

from adapters.mcp.tables import McpTable, uses
from ledger.errors import Misconfigured
from ledger.intents import Guarantee, Undo

PARAMS = {"type": "object", "additionalProperties": False, "properties": {"text": {"type": "string"}}}
NOTE = {
    "guarantee": "verifiable",
    "undo": "exact",
    "commit": {"tool": "note", "arguments": {"text": "{text}", "reference": "note/{key}"}},
    "compensate": {"tool": "strike", "arguments": {"note": "{result.id}"}},
    "inquire": {"tool": "find", "arguments": {"query": "{key}"}, "at": "/found"},
    "inquire_undo": {"tool": "find", "arguments": {"query": "{text}"}, "at": "/found", "applied": "missing"},
    "params": PARAMS,
}
STDIO = {"type": "mcp", "command": ["server"], "operations": {"note": NOTE}}
HTTP = {"type": "mcp", "url": "https://example.com/mcp", "operations": {"note": NOTE}}
SECRET = {"env": "TOKEN"}


def changed(table, **more):
    return {**copy.deepcopy(table), **more}


def noting(**more):
    operation = {**copy.deepcopy(NOTE), **more}
    return changed(STDIO, operations={"note": {key: value for key, value in operation.items() if value is not None}})


def test_an_operation_promises_what_its_operator_says():
    (use,) = uses("notes", McpTable.model_validate(STDIO, strict=False)).values()
    operation = use.operation
    assert (operation.name, operation.guarantee, operation.undo, operation.settle_seconds) == (
        "notes.note",
        Guarantee.VERIFIABLE,
        Undo.EXACT,
        60,
    )
    assert [step.tool for step in use.steps()] == ["note", "strike", "find", "find"]
    assert use.commit.arguments({"text": "x", "key": "ab"}) == {"text": "x", "reference": "note/ab"}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (changed(STDIO, url="https://example.com"), "a command that starts it here, or a url"),
        ({"type": "mcp"}, "a command that starts it here, or a url"),
        (changed(STDIO, credentials={"Authorization": SECRET}), "belong to a url"),
        (changed(HTTP, secrets={"TOKEN": SECRET}), "belong to a command"),
        (changed(HTTP, url="http://example.com/mcp"), "url is https"),
        (changed(HTTP, url="https://10.0.0.1/mcp"), "url is https and public"),
        (changed(HTTP, url="https://u:p@example.com/mcp"), "carries no credentials"),
        (changed(HTTP, url="ftp://example.com/mcp"), "url is https://host/path"),
        (changed(STDIO, environment={"API_TOKEN": "x"}), "sounds like a secret"),
        (changed(STDIO, secrets={"TOKEN": "of-the-operator"}), "by reference"),
        (changed(HTTP, credentials={"Mcp-Session-Id": SECRET}), "can be set here"),
        (changed(STDIO, protocol="2024-11-05"), "2025-11-25"),
        (noting(guarantee="atomic"), "a tool is one shot"),
        (noting(undo="none"), "go together"),
        (noting(compensate=None), "go together"),
        (noting(commit={"tool": "note"}), "is blind, not verifiable"),
        (noting(guarantee="idempotent"), "undone under a key too"),
        (noting(inquire=None), "has inquire"),
        (noting(inquire_undo=None), "inquire_undo"),
        (noting(inquire={"tool": "find", "at": "/found", "arguments": {}}), "asks for the key"),
        (noting(commit={"tool": "no te"}), "tool"),
        (noting(commit={"tool": "note", "pin": "sha256:0"}), "pattern"),
        (noting(commit={"tool": "note", "meta": {"io.modelcontextprotocol/x": "{key}"}}), "belongs to the protocol"),
        (noting(commit={"tool": "note", "refused": ["no"]}), "at least 4"),
    ],
)
def test_what_cannot_be_kept_is_refused_when_it_is_read(table, said):
    with pytest.raises(ValidationError) as caught:
        McpTable.model_validate(table, strict=False)
    assert said in str(caught.value)
    assert "of-the-operator" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"commit": {"tool": "note", "arguments": {"text": "{txt}", "key": "{key}"}}},
        {"commit": {"tool": "note", "arguments": {"text": "{result.id}", "key": "{key}"}}},
        {"commit": {"tool": "note", "arguments": {"text": "so {text}", "key": "{key}"}}},
        {"preview": {"tool": "look", "arguments": {"of": "{key}"}}},
        {"params": {**PARAMS, "properties": {"key": {}, "text": {}}}},
    ],
)
def test_a_template_that_names_what_is_not_there_is_refused_at_start(change):
    with pytest.raises(Misconfigured, match=r"^\[adapters\.notes\.operations\.note\]"):
        uses("notes", McpTable.model_validate(noting(**change), strict=False))

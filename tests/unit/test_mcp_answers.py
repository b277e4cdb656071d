"""What a tool's answer means, and what a search tells about an effect."""

import pytest

from adapters.answers import Senseless
from adapters.contract import Absent, Applied, Result, Unknown
from adapters.mcp.answers import Done, Failed, kept, outcome, standing
from adapters.mcp.messages import METHOD_NOT_FOUND, Notice, Question, Reply, Request, answer, read
from adapters.mcp.tables import Inquiry, InquiryTable, Step
from adapters.references import compile_body
from ledger import bounds
from ledger.errors import InDoubt

KEY = "0123456789abcdef" * 2


def text(*words):
    return [{"type": "text", "text": one} for one in words]


@pytest.mark.parametrize(
    ("result", "meaning"),
    [
        ({"content": text("done")}, Done({"text": "done"})),
        ({"content": text("one", "two")}, Done({"text": "one\ntwo"})),
        ({"content": text('{"id": "n1"}')}, Done({"id": "n1"})),
        ({"content": text('{"id": 1, "id": 2}')}, Done({"text": '{"id": 1, "id": 2}'})),
        ({"content": text("[1]")}, Done({"text": "[1]"})),
        ({"content": text("other"), "structuredContent": {"id": "n1"}}, Done({"id": "n1"})),
        ({"content": [{"type": "image", "data": "…"}]}, Done({})),
        ({"content": [], "resultType": "complete"}, Done({})),
        ({"content": text("It broke."), "isError": True}, Failed("It broke.")),
        ({"content": [], "isError": True, "structuredContent": {"ok": True}}, Failed("")),
    ],
)
def test_an_answer_is_read_in_one_way(result, meaning):
    assert outcome(Reply(1, result)) == meaning


@pytest.mark.parametrize(
    "result", [{"content": "done"}, {"content": [], "isError": "no"}, {"resultType": "input_required"}]
)
def test_an_answer_that_makes_no_sense_is_in_doubt(result):
    with pytest.raises(InDoubt):
        outcome(Reply(1, result))


def test_a_refusal_is_known_by_its_code_or_by_how_it_begins():
    assert Failed("Access denied: /etc").is_refusal(["Access denied"])
    assert not Failed("Written, then: Access denied").is_refusal(["Access denied"])
    assert Failed("whatever", -32602).is_refusal([-32602])
    assert not Failed("Access denied", -32603).is_refusal(["Access denied", -32602])
    assert Failed("", -32603).sentence() == "The tool answered with an error (-32603): without words."


def test_what_is_kept_is_what_is_wanted_without_secrets_and_within_bounds():
    data = {"id": "n1", "token": "t", "deep": {"place": [7]}}
    assert kept(data, {}, ("token",)) == {"id": "n1", "deep": {"place": [7]}}
    assert kept(data, {"where": "/deep/place/0"}, ()) == {"where": 7}
    assert kept(data, {"where": "/deep/other"}, ()) is None
    assert kept({"text": "x" * bounds.ANSWER_BYTES}, {}, ()).keys() == {"left_out"}


def inquiry(**more):
    table = InquiryTable(tool="find", at="/found", **more)
    nothing = compile_body("here", {}, ())
    where = {pointer: compile_body("here", value, ("key",)) for pointer, value in table.where.items()}
    return Inquiry(table, Step("find", None, nothing, nothing), where)


OURS, OTHER = {"reference": KEY, "id": "n1"}, {"reference": "another", "id": "n0"}


@pytest.mark.parametrize(
    ("how", "found", "told"),
    [
        ({}, [], Absent()),
        ({}, [OURS], Applied(Result(OURS))),
        ({}, ["n1"], Applied(Result({"found": "n1"}))),
        ({"result": {"id": "/id"}}, [OURS], Applied(Result({"id": "n1"}))),
        ({"result": {"id": "/number"}}, [OURS], Unknown),
        ({"where": {"/reference": "{key}"}}, [OTHER, OURS], Applied(Result(OURS))),
        ({"where": {"/reference": "{key}"}}, [OTHER], Absent()),
        ({"where": {"/reference": "{key}"}}, [{"ref": KEY}], Unknown),  # the search shows something else than it did
        ({"applied": "missing"}, [], Applied(Result())),
        ({"applied": "missing"}, [OURS], Absent()),
        ({}, f"/notes/{KEY}.txt", Applied(Result({"found": f"/notes/{KEY}.txt"}))),
        ({"absent": "No matches found"}, "No matches found", Absent()),
        ({"absent": "Nothing for {key}"}, f"Nothing for {KEY}", Absent()),  # a tool that repeats what it was asked
        ({"absent": "No matches found"}, "Searching took too long", Unknown),
        ({}, "No matches found", Unknown),
        ({}, {"id": "n1"}, Unknown),
        ({}, None, Unknown),
    ],
)
def test_a_search_tells_only_what_it_shows(how, found, told):
    said = standing(inquiry(**how), Done({} if found is None else {"found": found}), {"key": KEY}, ())
    assert isinstance(said, Unknown) if told is Unknown else said == told


def test_what_a_search_shows_is_kept_without_secrets():
    found = Done({"found": [{**OURS, "token": "t"}]})
    assert standing(inquiry(), found, {"key": KEY}, ("token",)) == Applied(Result(OURS))
    named = inquiry(result={"id": "/id", "token": "/token"})
    assert standing(named, found, {"key": KEY}, ("token",)) == Applied(Result({"id": "n1"}))


def test_a_search_that_fails_tells_nothing():
    assert standing(inquiry(), Failed("ENOENT"), {"key": KEY}, ()) == Unknown(
        "The tool answered with an error: ENOENT."
    )


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id":1,"result":{}}', Reply(1, {})),
        (b'{"id":1,"error":{"code":-32601,"message":"no\\nsuch\\tthing"}}', Reply(1, None, -32601, "no such thing")),
        (b'{"id":"x","method":"ping"}', Question("x", "ping")),
        (b'{"method":"notifications/progress"}', Notice()),
        (b'{"id":"1","result":{}}', Notice()),
        (b'{"id":true,"result":{}}', Notice()),
        (b'{"id":1,"result":{"of":"s3cret"}}', Reply(1, {"of": "***"})),
    ],
)
def test_a_message_is_read_in_one_way(line, message):
    assert read(line, [b"s3cret"]) == message


@pytest.mark.parametrize("line", [b"Welcome!", b"[1]", b'{"id":1,"id":1,"result":{}}', b'{"id":1}', b"\xff"])
def test_what_is_no_message_is_none(line):
    with pytest.raises(Senseless):
        read(line)


def test_a_request_is_one_line_and_every_question_but_a_ping_is_refused():
    assert Request(1, "tools/call", {"name": "a\nb"}).encoded().count(b"\n") == 0
    assert read(answer(Question(1, "ping"))) == Reply(1, {})
    refusal = read(answer(Question(1, "sampling/createMessage")))
    assert isinstance(refusal, Reply)
    assert refusal.code == METHOD_NOT_FOUND

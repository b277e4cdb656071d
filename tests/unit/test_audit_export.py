"""The forms in which the audit leaves, judged by other people's readers: the OCSF schema, the SDK of CloudEvents."""

import csv
import io
import itertools
import json

import jsonschema_rs
import msgspec
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from histories import ledger_of
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from unit.told import COMMITTED, DENIED, UNDO, rows, submitted

from ledger import events as e
from projections.audit.cloud_event import cloud_event
from projections.audit.entry import Kind
from projections.audit.export import MEDIA, Form, written
from projections.audit.forms import COLUMNS, entry_json
from projections.audit.ocsf import VERSION, ocsf_event
from projections.audit.sentence import sentence
from projections.audit.view import AUDIT
from projections.page import Page


@pytest.fixture(scope="module")
def entries():
    found = {}
    for one in ledger_of(1, 250):
        if type(one.event) in AUDIT.reads:
            found[one.stream] = AUDIT.apply(found.get(one.stream, ()), one)
    return sorted((row for of_stream in found.values() for row in of_stream), key=lambda row: -row.position)


@pytest.fixture(scope="module")
def ocsf_schema():
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(VERSION)).get_class_schema("api_activity", [])
    return jsonschema_rs.Draft202012Validator(schema)


def as_read(value):
    return json.loads(msgspec.json.encode(value))


def ocsf(*events):
    return as_read(ocsf_event("main", rows(AUDIT, *events)[-1]))


async def exported(form, pages):
    """Export pages of entries, whichever positions they are asked after."""
    left = list(pages)

    async def next_page(_after):
        items = left.pop(0)
        return Page(tuple(items), len(left) or None)

    asked = [chunk async for chunk in written(form, "main", next_page)]
    assert all(asked)  # an empty chunk would end an HTTP answer
    return b"".join(asked)


def test_every_kind_of_entry_is_valid_ocsf(entries, ocsf_schema):
    assert {entry.kind for entry in entries} == set(Kind)
    for entry in entries:
        event = as_read(ocsf_event("main", entry))
        assert [error.message for error in ocsf_schema.iter_errors(event)] == []
    assert not ocsf_schema.is_valid(event | {"type_uid": "600399"})
    assert not ocsf_schema.is_valid(event | {"invented": 1})


def test_an_ocsf_event_says_who_did_what_to_whom_by_what_authority():
    event = ocsf(*COMMITTED)
    assert (event["class_uid"], event["type_uid"], event["activity_name"]) == (6003, 600399, "intent")
    assert (event["status"], event["status_code"], event["severity"]) == ("Success", "committed", "Informational")
    user = event["actor"]["user"]
    assert (user["name"], user["type"], user["programmatic_credentials"][0]["uid"]) == (
        "payment-specialist", "Service", "grant-7",
    )  # fmt: skip
    assert event["actor"]["app_name"] == "payment-specialist 3.1"
    assert event["actor"]["authorizations"] == [{"decision": "allow", "policy": {"name": "P-45", "uid": "sha256:p"}}]
    assert event["api"]["operation"] == "payments.refund"
    assert event["api"]["response"]["data"] == {"refund": {"outcome": "done", "result": {}}}
    assert event["resources"][0]["name"] == "customer 88"
    assert (event["unmapped"]["task"], event["unmapped"]["commissioned_by"]) == ("12A", "manager-x")
    assert event["message"] == sentence(rows(AUDIT, *COMMITTED)[0])
    assert (event["metadata"]["tenant_uid"], event["metadata"]["sequence"]) == ("main", 101)


def test_ocsf_tells_failure_from_success_and_people_from_agents():
    denied = ocsf(submitted(), DENIED)
    assert (denied["status"], denied["severity"], denied["status_detail"]) == (
        "Failure",
        "Low",
        "amount is above 50.00",
    )
    undo = ocsf(*COMMITTED, UNDO)
    assert (undo["type_name"], undo["actor"]["user"]["type"]) == ("API Activity: Update", "User")
    assert ocsf(submitted())["status"] == "Unknown"
    raised = e.AttentionRaised(action="refund", reason="nobody knows")
    assert ocsf(*COMMITTED[:4], raised)["severity"] == "High"


def test_every_kind_of_entry_is_a_cloud_event(entries):
    for entry in entries:
        read = JSONFormat().read(CloudEvent, msgspec.json.encode(cloud_event("main", entry)))
        assert read.get_data()["sentence"] == sentence(entry)
        assert read.get_time() == entry.outcome_at
    ids = [cloud_event("main", entry)["id"] for entry in entries]
    assert len(set(ids)) == len(ids)


def test_an_entry_that_came_out_differently_is_another_event_of_the_same_sequence():
    before, after = (cloud_event("a b/c", rows(AUDIT, *COMMITTED[:n])[0]) for n in (5, 6))
    assert before["id"] != after["id"]
    assert before["sequence"] == after["sequence"]
    assert before["source"] == "urn:intent-ledger:ledger:a%20b%2Fc"


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("cut", [(), (0,), (1, 1, 4), (7,)])
async def test_every_form_is_whole_however_it_is_cut_into_pages(entries, form, cut):
    some = entries[:12]
    edges = [0, *cut, len(some)]
    text = await exported(form, [some[a:b] for a, b in itertools.pairwise(edges)])
    positions = [entry.position for entry in some]
    match form:
        case Form.JSON:
            assert json.loads(text) == [as_read(entry_json(entry)) for entry in some]
        case Form.NDJSON:
            assert [json.loads(line)["position"] for line in text.splitlines()] == positions
        case Form.CSV:
            header, *lines = csv.reader(io.StringIO(text.decode(), newline=""))
            assert tuple(header) == COLUMNS
            assert [int(line[0]) for line in lines] == positions
        case Form.OCSF:
            assert [json.loads(line)["metadata"]["sequence"] for line in text.splitlines()] == positions
        case Form.CLOUDEVENTS:
            assert [int(event["sequence"]) for event in json.loads(text)] == positions


async def test_nothing_leaves_in_every_form_too():
    assert await exported(Form.NDJSON, [[]]) == await exported(Form.OCSF, [[]]) == b""
    assert json.loads(await exported(Form.JSON, [[]])) == json.loads(await exported(Form.CLOUDEVENTS, [[]])) == []
    assert (await exported(Form.CSV, [[]])).decode().split(",")[0] == "position"


def test_every_form_has_a_media_type_of_its_own():
    assert set(MEDIA.values()) == set(Form)

"""Our own OpenAPI document: it describes every route, and what it says is what the service does.

Schemathesis sends what the document allows and what it forbids, to every operation; nothing may fail on our side, and
every answer must be one that the document promises.
"""

import asyncio
import json

import pytest
import schemathesis
from doorway import TOKEN, doorway, intent
from hypothesis import HealthCheck, Phase, given, settings
from logged import kept
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from gateway.app import new_door
from gateway.door import Caller, Limits
from gateway.models import KEPT, SEALED
from gateway.models_authority import TryPolicySet
from gateway.problems import PROBLEMS
from gateway.routes import ROUTES
from ledger.bounds import SUBJECT_LENGTH

DOCUMENT = json.loads(new_door(Limits()).document)
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


def test_every_route_is_described_and_every_reference_leads_somewhere():
    assert DOCUMENT["openapi"] == "3.1.0"
    assert set(OPERATIONS) == {(route.path, route.method.lower()) for route in ROUTES}
    for reference in references(DOCUMENT):
        place = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]
        assert place


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from references(inner)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_answer_of_a_route_is_described(route):
    responses = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
    promised = {str(status) for status in route.answers} | {str(PROBLEMS[error].status) for error in route.errors}
    everybodys = {"400", "422"}  # a token in the address, a query parameter that is not known
    assert promised | everybodys <= responses.keys()
    assert route.body is None or {"408", "413", "415"} <= responses.keys()
    assert route.caller in {Caller.EVERYBODY, Caller.CLIENT} or {"400", "401", "422", "500", "503"} <= responses.keys()


def test_what_stands_in_an_address_may_be_as_long_as_the_door_takes_it():
    erase = DOCUMENT["paths"]["/v1/subjects/{id}/erase"]["post"]
    assert [one["schema"]["maxLength"] for one in erase["parameters"] if one["in"] == "path"] == [SUBJECT_LENGTH]


def test_whoever_writes_free_text_is_told_whether_what_is_personal_in_it_is_sealed():
    free = {
        f"{body.__name__}.{name}": field.description or ""
        for body in {route.body for route in ROUTES if route.body not in {None, TryPolicySet}}  # that keeps nothing
        for name, field in body.model_fields.items()
        if name in {"reason", "note", "text", "cedar"}
    }
    assert len(free) > 10
    told = {place: (SEALED in said) + (KEPT in said) for place, said in free.items()}
    assert set(told.values()) == {1}, told


async def test_the_service_shows_the_document_to_everybody(dsn):
    async with doorway(dsn) as door, door.session.get(f"{door.url}/openapi.json") as response:
        assert (response.status, await response.json()) == (200, DOCUMENT)


async def test_the_service_keeps_to_the_document_whatever_is_sent(dsn, tmp_path):
    async with doorway(dsn) as door, kept(door.service, tmp_path):
        _, body, _ = await door.submit(intent(("bank.post", "88", 1)))
        schema = schemathesis.openapi.from_dict(with_a_catalogue(await door.get("/v1/operations")))
        counts = await asyncio.to_thread(send_everything, schema, door.url, body["id"])
    assert counts["2xx"] > 50
    assert counts["4xx"] > 50


def with_a_catalogue(answer):
    """Let the document know the operation that exists here, so that some of what is made up is taken."""
    _, catalogue, _ = answer
    document = json.loads(json.dumps(DOCUMENT))
    action = document["components"]["schemas"]["NewAction"]["properties"]
    action["operation"] = {"const": catalogue["items"][0]["operation"]}
    action["params"] = catalogue["items"][0]["params"]
    for path in document["paths"].values():  # a made-up position never comes, and waiting for it is 503
        if "get" in path and "parameters" in path["get"]:
            path["get"]["parameters"] = [one for one in path["get"]["parameters"] if one["name"] != "min_position"]
    return document


def send_everything(schema, url, known_id):
    counts = {"2xx": 0, "4xx": 0}
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode is GenerationMode.POSITIVE or takes_anything(operation):
                send(operation.as_strategy(generation_mode=mode), url, known_id, counts)
    return counts


def takes_anything(operation):
    return bool(operation.body or operation.query or operation.headers or operation.path_parameters)


def send(strategy, url, known_id, counts):
    @settings(
        max_examples=12,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def sent(case):
        if "id" in (case.path_parameters or {}) and sum(counts.values()) % 2:
            case.path_parameters["id"] = known_id
        response = case.call(
            base_url=url, headers={"Authorization": f"Bearer {TOKEN}", "Accept": "application/json"}, timeout=40
        )
        counts["2xx" if response.status_code < 300 else "4xx"] += 1
        case.validate_response(response, checks=CHECKS)

    sent()

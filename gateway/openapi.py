"""The OpenAPI 3.1 document, drawn from the route table.

The models that check requests and the structs that are answered are what it shows: it cannot say anything else than
the code does.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from pydantic.json_schema import models_json_schema

from gateway.door import Caller, Route
from gateway.models import Query
from gateway.problems import PROBLEMS
from gateway.render import OAuthProblem, Problem, Shown
from ledger.bounds import IDEMPOTENCY_KEY_LENGTH, NAME_LENGTH, SUBJECT_LENGTH
from ledger.errors import (
    InvalidRequest,
    InvariantViolation,
    LedgerError,
    Malformed,
    NotReady,
    Overloaded,
    TooLarge,
    TooSlow,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)

_REF: Final = "#/components/schemas/"
_EVERYWHERE: Final = (Malformed, Unauthenticated, InvalidRequest, Unavailable, NotReady, Overloaded, LedgerError)
_OF_BODIES: Final = (Malformed, TooSlow, TooLarge, UnsupportedMedia)
_PLACE: Final = re.compile(r"\{([a-z]+)\}")
_FOR_PEOPLE: Final = "For people: the token of an agent is answered 403."
_KEY: Final = {"type": "string", "pattern": f"^[!#-~]([ -~]{{0,{IDEMPOTENCY_KEY_LENGTH - 2}}}[!-~])?$"}
_HEADERS: Final[Mapping[str, dict[str, Any]]] = {
    "Idempotency-Key": {
        "required": True,
        "description": "Names this request for ever: the same key and body give the same intent. Quoted or bare.",
        "schema": _KEY,
    },
    "Idempotency-Key, if any": {
        "name": "Idempotency-Key",
        "description": "With it, the same request can be sent again and is done once. Quoted or bare.",
        "schema": _KEY,
    },
    "Prefer": {
        "description": "`wait=10`: seconds to wait for the intent to come to rest, at most 30.",
        "schema": {"type": "string", "examples": ["wait=10"]},
    },
    "traceparent": {"description": "W3C trace context.", "schema": {"type": "string"}},
    "Accept": {"schema": {"type": "string"}},
    "Last-Event-ID": {
        "description": "Resumes a live stream after this position.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,15}$"},
    },
}


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """Describe every public and private route of this release."""
    requests, schemas = _schemas(routes)
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for route in routes:
        paths[route.path][route.method.lower()] = _operation(route, requests)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Intent Ledger",
            "version": version,
            "description": "Agents submit intents; their effects happen all or not at all. 2xx means durable, "
            "4xx that nothing was recorded, 5xx that it is unknown: the same key gives the truth.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": dict(paths),
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "headers": {
                "X-Request-Id": {"schema": {"type": "string"}, "description": "Names this answer in our logs."}
            },
        },
    }


def _schemas(routes: Sequence[Route]) -> tuple[Mapping[Any, Any], dict[str, Any]]:
    """Return the schema of each request model, and all schemas that the document names."""
    models = {model for route in routes for model in (route.body, route.query) if model is not None}
    _, described = models_json_schema(
        sorted(((model, "validation") for model in models), key=lambda pair: pair[0].__name__),
        ref_template=_REF + "{model}",
    )
    requests = described.get("$defs", {})
    shown = {shape for route in routes for shape in route.answers.values() if shape is not None}
    _, answers = msgspec.json.schema_components(
        sorted([*shown, Problem, OAuthProblem], key=lambda shape: shape.__name__), ref_template=_REF + "{name}"
    )
    if doubles := [name for name in answers if "." in name]:
        raise InvariantViolation(f"Two shapes that are answered have the same name: {doubles}.")
    named = {model.__name__ for model in models}
    if named & answers.keys():
        raise InvariantViolation(f"What is sent and what is answered have the same names: {named & answers.keys()}.")
    queries = {model.__name__ for model in models if issubclass(model, Query)}
    bodies = {name: schema for name, schema in requests.items() if name not in queries}
    return {model: requests[model.__name__] for model in models}, dict(sorted({**bodies, **answers}.items()))


def _operation(route: Route, requests: Mapping[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": route.name, "summary": route.summary}
    said = " ".join(part for part in (route.notes, _FOR_PEOPLE if route.caller is Caller.PERSON else None) if part)
    if said:
        operation["description"] = said
    parameters = [*_query(requests[route.query]), *({"name": h, "in": "header", **_HEADERS[h]} for h in route.headers)]
    for name in _PLACE.findall(route.path):
        parameters.insert(0, {"name": name, "in": "path", "required": True, "schema": _place(route)})
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        media = "application/x-www-form-urlencoded" if route.form else "application/json"
        content = {media: {"schema": {"$ref": _REF + route.body.__name__}}}
        operation["requestBody"] = {"required": True, "content": content}
    operation["responses"] = {
        **{str(status): _answer(route, shape) for status, shape in route.answers.items()},
        **_problems(_errors(route), route.answers, OAuthProblem if route.form else Problem),
    }
    operation["security"] = [] if route.caller in {Caller.EVERYBODY, Caller.CLIENT} else [{"token": []}]
    return operation


def _errors(route: Route) -> list[type[LedgerError]]:
    everywhere = (Malformed, InvalidRequest) if route.caller is Caller.EVERYBODY else _EVERYWHERE
    of_bodies = () if route.body is None else _OF_BODIES
    return [*route.errors, *of_bodies, *everywhere, *((route.refusal,) if route.caller is Caller.PERSON else ())]


def _place(route: Route) -> dict[str, Any]:
    """Describe what stands for {id} or another place in the address."""
    if route.path.startswith("/v1/intents/"):
        return {"type": "string", "format": "uuid"}
    longest = SUBJECT_LENGTH if route.path.startswith("/v1/subjects/") else NAME_LENGTH
    return {"type": "string", "minLength": 1, "maxLength": longest}


def _query(schema: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    required = schema.get("required", ())
    for name, described in schema.get("properties", {}).items():
        one = {key: value for key, value in described.items() if key not in {"title", "default"}}
        description = one.pop("description", None)
        parameter = {"name": name, "in": "query", "required": name in required, "schema": _without_null(one)}
        yield {**parameter, "description": description} if description else parameter


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop the alternative `null` of an optional parameter: in an address, absent is the only way to say it."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    return kinds[0] if len(kinds) == 1 else schema


def _answer(route: Route, shape: type[Shown] | None) -> dict[str, Any]:
    described = {"$ref": _REF + shape.__name__} if shape is not None else {}
    content = {
        media: {"schema": described if media == "application/json" else _of_form(media)} for media in route.media
    }
    summary = (shape.__doc__ or "").strip().partition("\n")[0] if shape is not None else route.summary
    return {"description": summary, "content": content, "headers": _request_id()}


def _of_form(media: str) -> dict[str, Any]:
    """Describe another form of an answer as well as JSON Schema can: what is no JSON is a text."""
    return {"type": "array", "items": {"type": "object"}} if media.endswith("+json") else {"type": "string"}


def _problems(errors: Iterable[type[LedgerError]], taken: Mapping[int, object], shape: type[Shown]) -> dict[str, Any]:
    """Describe the problems, those with the same status together."""
    media = "application/problem+json" if shape is Problem else "application/json"
    rows = sorted({PROBLEMS[error] for error in errors}, key=lambda row: (row.status, row.slug))
    found: dict[str, Any] = {}
    for row in rows:
        if row.status in taken:
            continue
        said = found.get(str(row.status))
        found[str(row.status)] = {
            "description": f"{said['description']}; {row.title} (`{row.slug}`)"
            if said
            else f"{row.title} (`{row.slug}`)",
            "content": {media: {"schema": {"$ref": _REF + shape.__name__}}},
            "headers": _request_id(),
        }
    return found


def _request_id() -> dict[str, Any]:
    return {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}

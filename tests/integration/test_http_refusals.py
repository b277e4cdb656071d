"""The first paragraph of the outside contract, row by row: the exact status, and that nothing was recorded."""

import asyncio
import gzip
import json
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiohttp import FormData
from besieged import siege
from doorway import TOKEN, intent

FINE = intent(("bank.post", "88", 10))
TEXT = json.dumps(FINE).encode()
HEADERS = {"Content-Type": "application/json", "Idempotency-Key": "k-1"}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(server, template):
    """One service for all of them: they leave nothing behind, which is what they test."""
    async with siege(server, template) as (opened, _):
        yield opened


@asynccontextmanager
async def nothing_recorded(door):
    before = await door.head()
    yield
    status, body, _ = await door.get(f"/v1/events?after={before}")
    recorded = [
        event for event in body["items"] if event["type"] not in {"TokenRefused", "ActRefused"}
    ]  # told in the background
    assert (status, recorded, body["next"]) == (200, [], None)


def assert_problem(response, body, status, slug):
    assert response.status == status == body["status"]
    assert response.content_type == "application/problem+json"
    assert body["type"] == f"urn:intent-ledger:problem:{slug}"
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert body["title"]
    assert body["detail"].endswith(".")


async def refused(door, status, slug, data=TEXT, headers=HEADERS, path="/v1/intents", **how):
    async with nothing_recorded(door):
        _, body, response = await door.ask("POST", path, data=data, headers=headers, **how)
        assert_problem(response, body, status, slug)
    return body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        TEXT[:-1] + b', "reason": "again"}',  # a key twice
        TEXT.replace(b'"12A"', b"NaN"),
        TEXT.replace(b'"12A"', b"Infinity"),
        TEXT.replace(b": 10", b": 9007199254740993"),
        TEXT.replace(b": 10", b": -1e17"),
        TEXT.replace(b"12A", b"12\\u0000A"),
        TEXT.replace(b"12A", b"12\\ud800A"),
        TEXT.replace(b'"task"', b'"ta\\ud800sk"'),
        TEXT.replace(b"12A", b"12\xffA"),
        b"\xef\xbb\xbf" + TEXT,
        TEXT[:-1] + b', "context": ' + b'{"a":' * 32 + b"1" + b"}" * 32 + b"}",  # 33 deep
    ],
)
async def test_a_malformed_body_is_400(door, body):
    await refused(door, 400, "malformed", data=body)


async def test_a_body_beyond_256_kib_is_413_announced_or_in_chunks(door):
    big = TEXT[:-1] + b" " * (256 * 1024) + b"}"
    await refused(door, 413, "too-large", data=big)

    async def chunks():
        for start in range(0, len(big), 10_000):
            yield big[start : start + 10_000]

    await refused(door, 413, "too-large", data=chunks())


async def test_a_body_of_exactly_256_kib_in_chunks_is_taken(door):
    body = TEXT[:-1] + b" " * (256 * 1024 - len(TEXT)) + b"}"

    async def chunks():
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    assert len(body) == 256 * 1024
    assert await taken(door, chunks(), "application/json") == "committed"


@pytest.mark.parametrize("coding", ["gzip", "identity", "br", "deflate"])
async def test_any_content_encoding_is_415(door, coding):
    data = gzip.compress(TEXT) if coding == "gzip" else TEXT
    await refused(door, 415, "unsupported-media-type", data=data, headers={**HEADERS, "Content-Encoding": coding})


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "application/jsonp"],
)
async def test_another_content_type_is_415(door, content_type):
    await refused(door, 415, "unsupported-media-type", headers={**HEADERS, "Content-Type": content_type})


async def test_a_form_is_415(door):
    await refused(door, 415, "unsupported-media-type", data=FormData({"a": "b"}), headers={"Idempotency-Key": "k"})


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON;charset=UTF-8", 'application/json; charset="utf-8"']
)
async def test_json_in_utf_8_is_read_however_it_is_spelt(door, content_type):
    assert await taken(door, TEXT, content_type) == "committed"


async def taken(door, data, content_type):
    """Submit what is fine, and see it to its end, so that nothing is recorded any more when the next test looks."""
    headers = {"Content-Type": content_type, "Idempotency-Key": f"fine-{await door.head()}", "Prefer": "wait=10"}
    _, body, _ = await door.ask("POST", "/v1/intents", data=data, headers=headers)
    return body["phase"]


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": ""}, {"Idempotency-Key": '""'}])
async def test_a_missing_idempotency_key_is_400(door, headers):
    await refused(door, 400, "idempotency-key-missing", headers={"Content-Type": "application/json", **headers})


@pytest.mark.parametrize("key", ["k" * 256, '"' + "k" * 256 + '"', '"half', "caf\u00e9"])
async def test_an_idempotency_key_that_is_too_long_or_odd_is_400(door, key):
    await refused(door, 400, "malformed", headers={**HEADERS, "Idempotency-Key": key})


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic dTpw",
        "Bearer il_unknown",
        f"Bearer {TOKEN} {TOKEN}",
        f"Token {TOKEN}",
        f"{TOKEN}",
    ],
)
async def test_no_token_or_a_dead_one_is_401(door, authorization):
    async with nothing_recorded(door):
        _, body, response = await door.ask(
            "POST", "/v1/intents", data=TEXT, headers={**HEADERS, "Authorization": authorization}
        )
        assert_problem(response, body, 401, "unauthenticated")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_token_in_the_address_is_never_taken(door):
    address = f"/v1/intents?access_token={TOKEN}"
    async with nothing_recorded(door), door.session.post(door.url + address, data=TEXT, headers=HEADERS) as response:
        assert response.status == 401
        assert TOKEN not in await response.text()
    body = await refused(door, 400, "malformed", path=address)
    assert TOKEN not in str(body)


@pytest.mark.parametrize("name", ["Authorization", "Idempotency-Key"])
async def test_a_header_that_must_be_one_and_is_two_is_400(door, name):
    headers = {**HEADERS, "Authorization": f"Bearer {TOKEN}"}
    twice = [*headers.items(), (name, headers[name])]
    async with (
        nothing_recorded(door),
        door.session.post(f"{door.url}/v1/intents", data=TEXT, headers=twice) as response,
    ):
        assert_problem(response, await response.json(content_type=None), 400, "malformed")


def action(**more):
    return {"id": "x", "operation": "bank.post", "params": {"account": "88", "amount": 1}, **more}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"surprise": 1}, "/surprise"),
        ({"reason": None}, "/reason"),
        ({"reason": ""}, "/reason"),
        ({"task": 7}, "/task"),
        ({"task": "t" * 129}, "/task"),
        ({"confidence": 1.01}, "/confidence"),
        ({"confidence": -0.01}, "/confidence"),
        ({"confidence": True}, "/confidence"),
        ({"confidence": "1"}, "/confidence"),
        ({"mode": "perhaps"}, "/mode"),
        ({"deadline": 301}, "/deadline"),
        ({"deadline": 0}, "/deadline"),
        ({"deadline": 1.5}, "/deadline"),
        ({"deadline": "30"}, "/deadline"),
        ({"context": []}, "/context"),
        ({"again": 1}, "/again"),
        ({"actions": []}, "/actions"),
        ({"actions": [action(id=f"a{n}") for n in range(17)]}, "/actions"),
        ({"actions": [action(), action()]}, "/actions/1/id"),
        ({"actions": [action(extra=1)]}, "/actions/0/extra"),
        ({"actions": [action(operation="bank.rob")]}, "/actions/0/operation"),
        ({"actions": [action(params={"account": "88", "amount": "1"})]}, "/actions/0/params/amount"),
        ({"actions": [action(params={"account": "88", "amount": 1, "to": "x"})]}, "/actions/0/params"),
        ({"actions": [action(after=["nobody"])]}, "/actions/0/after/0"),
        ({"actions": [action(after=["x"])]}, "/actions/0/after/0"),
        ({"actions": [action(id="x", after=["y"]), action(id="y", after=["x"])]}, "/actions"),
        ({"actions": [action(**{"a/b~c": 1})]}, "/actions/0/a~1b~0c"),
    ],
)
async def test_what_breaks_the_contract_is_422_and_names_the_place(door, change, path):
    body = await refused(door, 422, "invalid-intent", data=json.dumps({**FINE, **change}).encode())
    assert path in [error["path"] for error in body["errors"]]
    assert all(error["message"] for error in body["errors"])


@pytest.mark.parametrize(
    ("sent", "path", "message"),
    [
        ([1], "", "Input should be a JSON object."),
        ({**FINE, "actions": {}}, "/actions", "Input should be a JSON array."),
        ({**FINE, "actions": [7]}, "/actions/0", "Input should be a JSON object."),
        ({**FINE, "actions": []}, "/actions", "List should have at least 1 item, not 0."),
        ({**FINE, "follows": "7"}, "/follows", "Input does not have the form that /openapi.json shows."),
    ],
)
async def test_a_body_of_another_shape_is_422_in_words_that_know_no_python(door, sent, path, message):
    body = await refused(door, 422, "invalid-intent", data=json.dumps(sent).encode())
    assert body["errors"] == [{"path": path, "message": message}]


async def test_every_fault_is_named_at_once_and_no_value_is_echoed(door):
    faulty = {**FINE, "task": 4711_4711, "mode": "hunter2", "surprise": "s3cret"}
    body = await refused(door, 422, "invalid-intent", data=json.dumps(faulty).encode())
    assert [error["path"] for error in body["errors"]] == ["/task", "/mode", "/surprise"]
    assert not any(word in str(body) for word in ("47114711", "hunter2", "s3cret"))


async def test_a_number_of_faults_beyond_reason_is_not_listed(door):
    body = await refused(door, 422, "invalid-intent", data=json.dumps({f"x{n}": n for n in range(5000)}).encode())
    assert len(body["errors"]) == 50


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/intents?colour=red", "/colour"),
        ("/v1/intents?phase=done", "/phase"),
        ("/v1/intents?limit=0", "/limit"),
        ("/v1/intents?limit=501", "/limit"),
        ("/v1/intents?limit=%2B5", "/limit"),
        ("/v1/intents?limit=1_0", "/limit"),
        ("/v1/intents?limit=5&limit=6", "/limit"),
        ("/v1/intents?after=tomorrow", "/after"),
        ("/v1/intents?attention=1", "/attention"),
        ("/v1/intents?agent=", "/agent"),
        ("/v1/intents?agent=a%00b", "/agent"),
        ("/v1/events?after=-1", "/after"),
        ("/v1/events?after=9007199254740993", "/after"),
        ("/v1/events?after=1000000", "/after"),  # nobody was told of that position here
        ("/v1/intents?agent=a%FFb", "/agent"),
        ("/v1/audit?since=yesterday", "/since"),
        ("/v1/audit?outcome=great", "/outcome"),
        ("/v1/audit?after=abc", "/after"),
        ("/v1/audit?after=1000000", "/after"),
        ("/v1/anomalies?after=abc", "/after"),
        ("/v1/anomalies?after=1000000", "/after"),
        ("/v1/divergences?after=abc", "/after"),
        ("/v1/divergences?after=1000000", "/after"),
        ("/v1/grants?after=x", "/after"),
        ("/v1/policies?after=sha256:1", "/after"),
        ("/v1/timeline/paths?after=x", "/after"),
        ("/v1/behaviour?after=x", "/after"),
        ("/v1/operations?limit=1", "/limit"),
        ("/v1/intents/01930000-0000-7000-8000-000000000001?at=x", "/at"),
    ],
)
async def test_a_query_parameter_that_is_unknown_repeated_or_odd_is_422(door, path, name):
    _, body, response = await door.get(path)
    assert_problem(response, body, 422, "invalid-request")
    assert [error["path"] for error in body["errors"]] == [name]


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 16, "1000000"])
async def test_a_last_event_id_that_is_no_position_here_is_422(door, last):
    _, body, response = await door.get("/v1/events", **{"Accept": "text/event-stream", "Last-Event-ID": last})
    assert_problem(response, body, 422, "invalid-request")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v2/intents",
        "/v1/intents/",
        "/v1/intents/x",
        "/v1/intents/%00",
        "/v1/intents/0/../../x",
        "/v1/grant",
    ],
)
async def test_an_unknown_address_is_404(door, path):
    async with door.session.get(door.url + path, headers={"Authorization": f"Bearer {TOKEN}"}) as response:
        assert_problem(response, await response.json(content_type=None), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/intents", "GET, HEAD, POST"),
        ("PUT", "/v1/events", "GET, HEAD"),
        ("GET", "/v1/intents/0/cancel", "POST"),
        ("OPTIONS", "/v1/operations", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("TRACE", "/v1/intents", "GET, HEAD, POST"),
    ],
)
async def test_another_method_is_405_and_says_which_are_allowed(door, method, path, allow):
    async with nothing_recorded(door):
        _, body, response = await door.ask(method, path)
        assert_problem(response, body, 405, "method-not-allowed")
        assert response.headers["Allow"] == allow


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost:\x00y\r\n\r\n",
        b"BREW /v1/intents HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"POST /v1/intents HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/intents HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(500)) + b"\r\n",
    ],
)
async def test_what_is_no_http_is_answered_with_a_problem_and_hung_up_on(door, sent):
    async with nothing_recorded(door):
        head, body = await raw(door, sent)
        assert head.split()[1] == b"400"
        assert b"application/problem+json" in head
        assert json.loads(body)["type"] == "urn:intent-ledger:problem:malformed"
        assert b"aiohttp" not in head + body


async def test_a_body_with_wrong_chunks_is_400(door):
    head = (
        f"POST /v1/intents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nIdempotency-Key: k\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    async with nothing_recorded(door):
        answer, _ = await raw(door, head.encode() + b"zz\r\n{}\r\n0\r\n\r\n")
        assert answer.split()[1] == b"400"


async def raw(door, sent: bytes) -> tuple[bytes, bytes]:
    """Send bytes; return the head and the body of the answer, after which the connection must end."""
    host, port = door.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body

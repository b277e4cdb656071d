"""What is legal and seldom seen: spellings of headers that mean the same, and which form an `Accept` gets."""

import itertools

import msgspec
import pytest
import pytest_asyncio
from besieged import siege
from doorway import intent

pytestmark = pytest.mark.asyncio(loop_scope="module")
keys = itertools.count(1)
JSON, LINES, LIVE, CSV = "application/json", "application/x-ndjson", "text/event-stream", "text/csv"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(server, template):
    """One service for all of them."""
    async with siege(server, template) as (opened, _):
        yield opened


async def submitted(door, **headers):
    headers = {"Content-Type": JSON, "Idempotency-Key": f"f-{next(keys)}", **headers}
    text = b'{"reason": "r", "again": true, "actions": [{"id": "a", "operation": "bank.post", "params": %s}]}'
    return await door.ask("POST", "/v1/intents", data=text % b'{"account": "1", "amount": 1}', headers=headers)


@pytest.mark.parametrize(
    "written",
    [
        "Application/JSON",
        "application/json;charset=UTF-8",
        'application/json ; charset="utf-8"',
        "application/json;",  # RFC 9110 §5.6.6
        "application/json; ; charset=utf-8;",
    ],
)
async def test_json_may_be_named_in_several_ways(door, written):
    status, _, _ = await submitted(door, **{"Content-Type": written})
    assert status == 202


@pytest.mark.parametrize(
    ("written", "applied"),
    [
        ("wait=10", "wait=10"),
        ('wait="10"', "wait=10"),  # RFC 7240 §2: a word is a token or a quoted string
        ("respond-async, WAIT = 10 ; x=y", "wait=10"),
        ("wait=31", "wait=30"),
        ('wait="10', None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("waiting=10", None),
    ],
)
async def test_a_preference_to_wait_may_be_written_in_several_ways_and_nonsense_is_none(door, written, applied):
    status, body, response = await submitted(door, Prefer=written)
    assert response.headers.get("Preference-Applied") == applied
    assert (status, body["phase"] == "committed") == ((200, True) if applied else (202, False))


@pytest.mark.parametrize(
    ("path", "accept", "form"),
    [
        ("/v1/events", "", JSON),
        ("/v1/events", "*/*", JSON),
        ("/v1/events", "application/*", JSON),
        ("/v1/events", "text/*", LIVE),
        ("/v1/events", "Application/X-NDJSON;Q=0.9, application/json;q=0.5", LINES),
        ("/v1/events", "application/json;q=0, application/x-ndjson", LINES),
        ("/v1/events", "*/*, application/x-ndjson", LINES),
        ("/v1/events", "application/x-ndjson;q=0.1, */*;q=0.2", JSON),
        ("/v1/events", "text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", JSON),
        ("/v1/events", "image/png", JSON),
        ("/v1/audit", "text/*", CSV),
        ("/v1/audit", "text/csv; header=present, application/json;q=0.9", CSV),
        ("/v1/audit", "*/csv", JSON),
    ],
)
async def test_accept_gets_what_it_likes_best(door, path, accept, form):
    _, _, response = await door.ask("HEAD", path, headers={"Accept": accept})
    assert (response.status, response.content_type) == (200, form)


@pytest.mark.parametrize("at", ["2999-01-01T00:00:00Z", "9999-12-31T23:59:59+00:00"])
async def test_what_an_intent_will_be_is_not_known(door, at):
    _, _, response = await submitted(door)
    status, body, _ = await door.get(response.headers["Location"] + "?at=" + at.replace("+", "%2B"))
    assert (status, body["errors"]) == (
        422,
        [{"path": "/at", "message": "This time is yet to come; what will be then is not known."}],
    )


async def test_a_cursor_at_the_very_end_is_an_empty_page_and_not_an_error(door):
    await door.submit(intent(("bank.post", "2", 1)))
    head = await door.head()
    for path in ("/v1/events", "/v1/audit", "/v1/divergences"):
        status, body, _ = await door.get(f"{path}?after={head}")
        assert (status, body["next"]) == (200, None)


@pytest.mark.parametrize("form", [LINES, CSV, "application/vnd.ocsf+x-ndjson", "application/cloudevents-batch+json"])
async def test_a_limit_that_is_given_bounds_a_stream_of_the_audit_too(door, form):
    for account in ("3", "4", "5"):
        await door.submit(intent(("bank.post", account, 1)))
    headers = {"Authorization": f"Bearer {door.token}", "Accept": form}
    path = f"/v1/audit?limit=2&min_position={await door.head()}"
    async with door.session.get(f"{door.url}{path}", headers=headers) as answer:
        text = await answer.text()
    around = {CSV: 1}.get(form, 0)  # its header
    entries = len(msgspec.json.decode(text)) if "cloudevents" in form else len(text.splitlines()) - around
    assert entries == 2


async def test_times_are_written_alike_in_json_and_in_csv(door):
    await door.submit(intent(("bank.post", "2", 1)))
    _, page, _ = await door.get(f"/v1/audit?limit=1&min_position={await door.head()}")
    async with door.session.get(
        door.url + "/v1/audit", headers={"Authorization": f"Bearer {door.token}", "Accept": CSV}
    ) as answer:
        lines = (await answer.text()).splitlines()
    assert lines[1].split(",")[:2] == [str(page["items"][0]["position"]), page["items"][0]["at"]]

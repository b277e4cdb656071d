"""What is special about a system over HTTP: every answer it may give or not, and what must never leave or enter."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from adapter_worlds import SECRET, call
from aiohttp import web
from payments_world import PAYMENTS

from adapters.addresses import ForbiddenAddressError, PublicResolver
from adapters.contract import Absent, Applied, Held, Prepared, Refused, Unknown
from adapters.http.adapter import HttpAdapter
from adapters.http.tables import HttpTable
from ledger import bounds
from ledger.errors import AdapterError, InDoubt, Misconfigured, Permanent, Transient
from ledger.intents import Verb

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Oddity:
    """A system that answers whatever the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: Handler = self.say({})
        self.operation = "payments.refund"
        self.params = {"charge": "ch_88", "amount": 4200, "currency": "USD"}

    @staticmethod
    def say(data: Any, status: int = 200, **kwargs: Any) -> Handler:
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        kwargs = {"content_type": "application/json", **kwargs}

        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=body, status=status, **kwargs)

        return answer

    async def start(self) -> None:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.requests.append((request.method, request.raw_path, dict(request.headers), await request.read()))
            if request.method == "GET" and request.path.startswith("/charges/"):
                return web.json_response({"amount": 5000, "refunded": 0})
            return await self.answer(request)

        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", handle)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.port = self.runner.addresses[0][1]
        self.adapter = await self.open()

    async def open(self, **changed: Any) -> HttpAdapter:
        data = {**copy.deepcopy(PAYMENTS), "url": f"http://127.0.0.1:{self.port}", "timeout_seconds": 8, **changed}
        table = HttpTable.model_validate_json(json.dumps(data))
        adapter = HttpAdapter("payments", table, {"Authorization": lambda: f"Bearer {SECRET}"})
        await adapter.open()
        return adapter

    async def hurry(self) -> None:
        """Wait for no answer longer than a moment."""
        await self.adapter.close()
        self.adapter = await self.open(timeout_seconds=0.5)


@pytest.fixture
async def odd() -> AsyncIterator[Oddity]:
    odd = Oddity()
    await odd.start()
    yield odd
    await odd.adapter.close()
    await odd.runner.cleanup()


async def outcome(odd: Oddity, verb: Verb, operation: str = "payments.refund") -> Any:
    """Make the call and return its answer, or the class of the error."""
    asked = call(odd, verb)  # type: ignore[arg-type]
    if operation != odd.operation:
        odd.operation, odd.params = operation, {"account": "a", "amount": 1, "currency": "USD"}
        asked = call(odd, verb)  # type: ignore[arg-type]
    calls: dict[Verb, Callable[[], Awaitable[Any]]] = {
        Verb.PREPARE: lambda: odd.adapter.prepare(asked),
        Verb.COMMIT: lambda: odd.adapter.commit(asked, {"id": "re_1"}),
        Verb.ABORT: lambda: odd.adapter.abort(asked, None),
        Verb.COMPENSATE: lambda: odd.adapter.compensate(asked, {"id": "re_1"}, {"id": "re_1"}),
        Verb.INQUIRE: lambda: odd.adapter.inquire(asked),
    }
    try:
        answer = await calls[verb]()
    except AdapterError as error:
        return type(error)
    return None if answer is None else type(answer)


# ── the table of adapters/http/adapter.py, row by row ──────────────────────────────────────────────────────────────

NO = [402, 422]
NO_TO_A_HOLD = [400, 404, 405, 406, 410, 411, 412, 413, 414, 415, 428, 431, 451]
NOT_NOW = [401, 407, 421, 425, 429]
AWAY = {502, 503, 504}
UNCLEAR = [300, 301, 302, 303, 307, 308, 408, 418, 500, 501, 502, 503, 504, 599]


@pytest.mark.parametrize("status", NO)
async def test_a_certain_no_refuses_a_prepare_and_fails_everything_else_for_good(odd: Oddity, status: int) -> None:
    odd.answer = odd.say({"detail": "No."}, status)
    assert await outcome(odd, Verb.PREPARE) is Refused
    for verb in (Verb.COMMIT, Verb.ABORT, Verb.COMPENSATE):
        assert await outcome(odd, verb) is Permanent


@pytest.mark.parametrize("status", NO_TO_A_HOLD)
async def test_what_an_ingress_may_say_for_the_system_refuses_a_hold_and_leaves_an_effect_in_doubt(
    odd: Oddity, status: int
) -> None:
    odd.answer = odd.say({}, status)
    assert await outcome(odd, Verb.PREPARE) is Refused
    assert await outcome(odd, Verb.ABORT) is Permanent
    assert await outcome(odd, Verb.COMMIT) is (Permanent if status == 410 else InDoubt)  # 410 is listed there
    assert await outcome(odd, Verb.COMPENSATE) is InDoubt
    assert await outcome(odd, Verb.COMMIT, "payments.credit") is InDoubt


async def test_what_the_operator_lists_is_a_certain_no_to_that_endpoint_alone(odd: Oddity) -> None:
    operations = copy.deepcopy(PAYMENTS["operations"])
    operations["refund"]["commit"]["refused"] = [403, 404]
    await odd.adapter.close()
    odd.adapter = await odd.open(operations=operations)
    for status in (403, 404):
        odd.answer = odd.say({}, status)
        assert await outcome(odd, Verb.COMMIT) is Permanent
        assert await outcome(odd, Verb.COMPENSATE) is InDoubt


async def test_403_is_tried_again_where_nothing_can_have_happened_and_in_doubt_elsewhere(odd: Oddity) -> None:
    odd.answer = odd.say({}, 403)
    for verb in (Verb.PREPARE, Verb.ABORT):
        assert await outcome(odd, verb) is Transient
    for verb in (Verb.COMMIT, Verb.COMPENSATE):
        assert await outcome(odd, verb) is InDoubt


@pytest.mark.parametrize("status", NOT_NOW)
async def test_what_was_not_taken_up_is_transient(odd: Oddity, status: int) -> None:
    odd.answer = odd.say({}, status)
    for verb in (Verb.PREPARE, Verb.COMMIT, Verb.ABORT, Verb.COMPENSATE):
        assert await outcome(odd, verb) is Transient


@pytest.mark.parametrize("status", UNCLEAR)
async def test_every_other_status_is_in_doubt(odd: Oddity, status: int) -> None:
    odd.answer = odd.say({}, status, headers={"Location": "/elsewhere"})
    for verb in (Verb.PREPARE, Verb.COMMIT, Verb.ABORT, Verb.COMPENSATE):
        assert await outcome(odd, verb) is InDoubt
    assert await outcome(odd, Verb.INQUIRE) is (Transient if status in AWAY else Unknown)


async def test_409_is_in_doubt_unless_the_operator_says_that_it_is_a_no(odd: Oddity) -> None:
    odd.answer = odd.say({}, 409)
    assert await outcome(odd, Verb.COMPENSATE) is InDoubt
    assert await outcome(odd, Verb.PREPARE) is Refused  # listed there
    assert await outcome(odd, Verb.COMMIT, "payments.credit") is InDoubt


async def test_the_systems_own_words_reach_the_agent(odd: Oddity) -> None:
    odd.answer = odd.say({"error": {"message": "Charge ch_88 is too old."}}, 422)
    vote = await odd.adapter.prepare(call(odd, Verb.PREPARE))  # type: ignore[arg-type]
    assert vote == Refused("The system answered 422: Charge ch_88 is too old.")


# ── answers that make no sense ───────────────────────────────────────────────────────────────────────────────────

SENSELESS = {
    "rubbish": (b'{"id": \xff', {}),
    "not json": (b"<html>ok</html>", {}),
    "half": (b'{"id": "re_1"', {}),
    "a key twice": (b'{"id": "re_1", "id": "re_2"}', {}),
    "nan": (b'{"id": NaN}', {}),
    "infinite": (b'{"id": 1e999}', {}),
    "too deep": (b'{"id":' * 200 + b"1" + b"}" * 200, {}),
    "absurdly deep": (b"[" * 30_000, {}),
    "half a surrogate": (b'{"id": "\\ud800"}', {}),
    "no object": (b'["re_1"]', {}),
    "10 MB": (b'{"id": "' + b"x" * 10_000_000 + b'"}', {}),
    "another type": (b'{"id": "re_1"}', {"content_type": "text/html"}),
    "compressed": (b'{"id": "re_1"}', {"headers": {"Content-Encoding": "gzip"}}),
}


@pytest.mark.parametrize("name", SENSELESS)
async def test_an_answer_that_makes_no_sense_is_in_doubt_and_kept_by_nobody(odd: Oddity, name: str) -> None:
    body, kwargs = SENSELESS[name]
    odd.answer = odd.say(body, **kwargs)
    for verb in (Verb.PREPARE, Verb.COMMIT, Verb.COMPENSATE):
        assert await outcome(odd, verb) is InDoubt
    assert await outcome(odd, Verb.INQUIRE) is Unknown


async def test_a_hold_without_what_its_commit_needs_is_in_doubt(odd: Oddity) -> None:
    odd.answer = odd.say({"status": "held"})
    assert await outcome(odd, Verb.PREPARE) is InDoubt


async def test_integers_that_json_readers_disagree_on_become_text(odd: Oddity) -> None:
    odd.answer = odd.say(b'{"id": 9007199254740993}')
    result = await odd.adapter.commit(call(odd, Verb.COMMIT), {"id": "re_1"})  # type: ignore[arg-type]
    assert result.data == {"id": "9007199254740993"}


async def test_an_empty_answer_is_a_yes_without_words(odd: Oddity) -> None:
    odd.answer = odd.say(b"", 204)
    result = await odd.adapter.commit(call(odd, Verb.COMMIT), {"id": "re_1"})  # type: ignore[arg-type]
    assert result.data == {}


# ── answers that do not come ─────────────────────────────────────────────────────────────────────────────────────


async def test_an_answer_after_the_deadline_is_in_doubt(odd: Oddity) -> None:
    finished = asyncio.Event()

    async def late(_: web.Request) -> web.Response:
        await finished.wait()
        return web.json_response({"id": "re_1"})

    odd.answer = late
    await odd.hurry()
    assert await outcome(odd, Verb.COMMIT) is InDoubt
    finished.set()


async def test_an_answer_that_trickles_is_cut_off_at_the_deadline(odd: Oddity) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.05)

    odd.answer = trickle
    await odd.hurry()
    async with asyncio.timeout(10):
        assert await outcome(odd, Verb.COMMIT) is InDoubt


async def test_a_connection_that_breaks_after_sending_is_in_doubt_and_nothing_is_sent_twice(odd: Oddity) -> None:
    async def slam(request: web.Request) -> web.StreamResponse:
        request.transport.abort()  # type: ignore[union-attr]
        return web.Response()

    odd.answer = slam
    operations = copy.deepcopy(PAYMENTS["operations"])
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        operations["refund"]["commit"]["method"] = method
        await odd.adapter.close()
        odd.adapter = await odd.open(operations=operations)
        odd.requests.clear()
        assert await outcome(odd, Verb.COMMIT) is InDoubt
        assert len(odd.requests) == 1
    odd.requests.clear()
    assert await outcome(odd, Verb.INQUIRE) is Transient
    assert len(odd.requests) == 1


async def test_a_preview_that_fails_is_transient_because_it_only_looks(odd: Oddity) -> None:
    await odd.runner.cleanup()
    with pytest.raises(Transient):
        await odd.adapter.preview(call(odd, Verb.PREVIEW))  # type: ignore[arg-type]


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_redirect_is_never_followed(odd: Oddity) -> None:
    odd.answer = odd.say({}, 307, headers={"Location": f"http://127.0.0.1:{odd.port}/elsewhere"})
    assert await outcome(odd, Verb.COMMIT) is InDoubt
    assert len(odd.requests) == 1


async def test_each_request_carries_its_own_idempotency_key(odd: Oddity) -> None:
    odd.answer = odd.say({"id": "re_1"})
    for verb in (Verb.PREPARE, Verb.COMMIT, Verb.ABORT, Verb.COMPENSATE):
        await outcome(odd, verb)
    key = call(odd, Verb.COMMIT).key  # type: ignore[arg-type]
    undo_key = call(odd, Verb.COMPENSATE).key  # type: ignore[arg-type]
    sent = [headers.get("Idempotency-Key") for method, _, headers, _ in odd.requests if method == "POST"]
    assert sent == [key, f"{key}-commit", f"{key}-abort", undo_key]


async def test_credentials_go_to_the_system_and_come_back_to_nobody(odd: Oddity) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"id": "re_1", "you": request.headers["Authorization"]})

    odd.answer = echo
    vote = await odd.adapter.prepare(call(odd, Verb.PREPARE))  # type: ignore[arg-type]
    assert odd.requests[-1][2]["Authorization"] == f"Bearer {SECRET}"
    assert isinstance(vote, Prepared)
    assert SECRET not in json.dumps(vote.receipt)


async def test_secret_fields_are_not_kept(odd: Oddity) -> None:
    operations = copy.deepcopy(PAYMENTS["operations"])
    operations["refund"]["secret_fields"] = ["client_secret"]
    adapter = await odd.open(operations=operations)
    odd.answer = odd.say({"id": "re_1", "client_secret": "x"})
    result = await adapter.commit(call(odd, Verb.COMMIT), {"id": "re_1"})  # type: ignore[arg-type]
    await adapter.close()
    assert result.data == {"id": "re_1"}


@pytest.mark.parametrize("charge", ["../../admin", "a/b", "a?b=c", "a#b", "a%2fb", "a b", "ü", "a&b"])
async def test_a_value_in_a_path_stays_one_segment_whatever_it_contains(odd: Oddity, charge: str) -> None:
    await odd.adapter.preview(call(odd, Verb.PREVIEW, charge=charge))  # type: ignore[arg-type]
    (_, path, _, _) = odd.requests[-1]
    assert path.count("/") == 2
    assert not set(path) & set("?# &")


@pytest.mark.parametrize("charge", ["", ".", "..", "a\nb", "a\r\nHost: evil", "\0"])
async def test_a_value_that_cannot_be_a_segment_is_refused_before_anything_is_sent(odd: Oddity, charge: str) -> None:
    vote = await odd.adapter.prepare(call(odd, Verb.PREPARE, charge=charge))  # type: ignore[arg-type]
    assert isinstance(vote, Refused)
    assert odd.requests == []


async def test_a_receipt_cannot_lead_to_another_path(odd: Oddity) -> None:
    await odd.adapter.commit(call(odd, Verb.COMMIT), {"id": "x/../../admin"})  # type: ignore[arg-type]
    assert odd.requests[-1][1] == "/refunds/x%2F..%2F..%2Fadmin/confirm"


async def test_a_look_that_nobody_answers_is_silence(odd: Oddity) -> None:
    async def never(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    odd.answer, odd.operation = never, "payments.transfer"
    odd.params = {"account": "a", "amount": 1, "currency": "USD"}
    await odd.hurry()
    with pytest.raises(Transient, match="changed nothing") as caught:
        await odd.adapter.inquire(call(odd, Verb.INQUIRE))  # type: ignore[arg-type]
    assert caught.value.silent


# ── where it may go ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_name_that_leads_to_a_private_address_is_not_called(odd: Oddity) -> None:
    adapter = await odd.open(url=f"https://localhost:{odd.port}", allow_private=False)
    with pytest.raises(Transient, match="is not a public address"):
        await adapter.commit(call(odd, Verb.COMMIT), {"id": "re_1"})  # type: ignore[arg-type]
    await adapter.close()
    assert odd.requests == []


async def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(*_: Any) -> list[dict[str, str]]:
        return [{"host": "93.184.215.14"}, {"host": "169.254.169.254"}]

    monkeypatch.setattr("aiohttp.ThreadedResolver.resolve", both)
    with pytest.raises(ForbiddenAddressError, match=r"169\.254\.169\.254"):
        await PublicResolver().resolve("rebinding.example.com", 443)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "0.0.0.0", "[::1]", "[::ffff:10.0.0.1]", "[fd00:ec2::254]"]
)
async def test_a_private_address_is_refused_when_the_service_starts(odd: Oddity, host: str) -> None:
    with pytest.raises(Misconfigured, match="allow_private"):
        await odd.open(url=f"https://{host}", allow_private=False)


# ── inquiries ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "body", "standing"),
    [
        (200, {"status": "confirmed"}, Applied),
        (200, {"status": "held"}, Held),
        (200, {"status": "released"}, Absent),
        (404, {}, Absent),
        (200, {"status": "something new"}, Unknown),
        (200, {}, Unknown),
        (500, {"status": "confirmed"}, Unknown),
        (401, {}, Unknown),
    ],
)
async def test_an_inquiry_is_read_as_configured_and_in_no_other_way(
    odd: Oddity, status: int, body: dict[str, str], standing: type
) -> None:
    odd.answer = odd.say(body, status)
    assert await outcome(odd, Verb.INQUIRE) is standing


async def test_an_answer_at_the_limit_is_read_and_one_byte_more_is_not(odd: Oddity) -> None:
    def answer(size: int) -> bytes:
        return b'{"id": "' + b"x" * (size - 10) + b'"}'

    odd.answer = odd.say(answer(bounds.ANSWER_BYTES))
    assert await outcome(odd, Verb.COMMIT) is not InDoubt
    odd.answer = odd.say(answer(bounds.ANSWER_BYTES + 1))
    assert await outcome(odd, Verb.COMMIT) is InDoubt

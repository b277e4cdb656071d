"""Webhooks: what lies in the outbox reaches a real receiver, signed, at least once, whoever crashes in between."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from doorway import eventually
from standardwebhooks import Webhook, WebhookVerificationError
from structlog.testing import capture_logs

from gateway.webhook_receiver import Receiver
from gateway.webhook_sender import Sender
from ledger import bounds
from ledger import events as e
from ledger.ids import intent_id, intent_stream
from ledger.intents import ActionPlan, Guarantee, Mode, Subject, Undo
from ledger.outbox import Outbox
from ledger.store import Append, Appended

KEY, NEW_KEY = b"k" * 32, b"n" * 32
EXPIRES = datetime(2031, 1, 1, tzinfo=UTC)
ASKED = e.ApprovalRequested(digest="sha256:1", expires_at=EXPIRES, approvers=("manager",), quorum=2)


class Ear:
    """A receiver of webhooks on this machine, which answers as it is told and remembers what it heard."""

    def __init__(self) -> None:
        self.url = ""
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[web.Response | Callable[[], Any]] = []  # of the next requests; then 204

    async def hear(self, request: web.Request) -> web.StreamResponse:
        self.heard.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        answer = self.answers.pop(0) if self.answers else web.Response(status=204)
        return answer if isinstance(answer, web.Response) else await answer()

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.heard]

    def verified(self, number: int = 0, key: bytes = KEY) -> dict[str, Any]:
        """Check a message as its receiver would, with a library that we have not written; return what it says."""
        headers, body = self.heard[number]
        return Webhook("whsec_" + base64.b64encode(key).decode()).verify(body, headers)


@asynccontextmanager
async def listening(ear: Ear, port: int = 0) -> AsyncIterator[int]:
    runner = web.ServerRunner(web.Server(ear.hear))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    port = runner.addresses[0][1]
    ear.url = f"http://127.0.0.1:{port}/hooks/secret-path"
    yield port
    await runner.cleanup()


@pytest.fixture
async def ear() -> AsyncIterator[Ear]:
    made = Ear()
    async with listening(made):
        yield made


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(bounds, "WEBHOOK_RETRY_BASE_SECONDS", 0.02)
    monkeypatch.setattr(bounds, "WEBHOOK_POLL_SECONDS", 0.02)
    monkeypatch.setattr(bounds, "WEBHOOK_DRAIN_SECONDS", 0.2)


@asynccontextmanager
async def sending(pool, store, ear: Ear, *, outbox: Any = None, keys: Sequence[bytes] = (KEY,)) -> AsyncIterator[list]:
    """Run a sender; what came of each attempt is in the list that this yields."""
    told: list[str] = []
    sender = Sender(outbox or Outbox(pool, "main"), store, Receiver(ear.url, tuple(keys)), told.append)
    sender.start()
    try:
        yield told
    finally:
        await sender.stop()


def submitted(number: int) -> e.IntentSubmitted:
    refund = ActionPlan(
        id="refund",
        adapter="payments",
        operation="payments.refund",
        params={"charge": "ch_88", "card": "4242"},
        guarantee=Guarantee.ATOMIC,
        undo=Undo.EXACT,
        summary="refund 120.00 USD to ch_88",
        key="k",
        undo_key="u",
    )
    return e.IntentSubmitted(
        intent=intent_id(datetime.now(UTC), number.to_bytes(10, "big")),
        idempotency_key=f"k-{number}",
        request_digest="sha256:0",
        agent=Subject(kind="agent", name="payment-specialist", version="3.1"),
        grant="grant-7",
        custody=("grant-operator", "grant-7"),
        commissioned_by="manager-x",
        task="12A",
        reason="a reason that stays in the house",
        confidence=None,
        mode=Mode.EXECUTE,
        deadline_seconds=30,
        context={},
        actions=(refund,),
    )


async def ask(store, *told: e.Event, number: int = 1) -> tuple[str, int]:
    """Record an intent and these events, the last one to be told; return the intent and the last position."""
    first = submitted(number)
    stream = intent_stream(first.intent)
    told = told or (ASKED,)
    events = (first, *told)
    verdict = await store.append(Append(stream=stream, expected_version=0, events=events, notify=len(told)))
    assert isinstance(verdict, Appended)
    return first.intent, verdict.recorded[-1].position


async def waiting(pool) -> int:
    return await pool.fetchval("select count(*) from intent_ledger.outbox")


async def nothing_waits(pool) -> None:
    async def empty() -> bool:
        return await waiting(pool) == 0

    await eventually(empty)


# ── what is said, and the signature under it ─────────────────────────────────────────────────────────────────────


async def test_a_request_is_told_with_what_waits_and_verifies_with_a_library_of_others(pool, store, ear):
    intent, position = await ask(store)
    async with sending(pool, store, ear) as told:
        await nothing_waits(pool)
    said = ear.verified()
    timestamp = datetime.fromisoformat(said.pop("timestamp"))
    assert abs(datetime.now(UTC) - timestamp) < timedelta(minutes=1)
    assert said == {
        "type": "approval.requested",
        "data": {
            "ledger": "main",
            "position": position,
            "intent": intent,
            "agent": {"name": "payment-specialist", "version": "3.1"},
            "commissioned_by": "manager-x",
            "custody": ["grant-operator", "grant-7"],
            "task": "12A",
            "actions": [{"id": "refund", "operation": "payments.refund", "summary": "refund 120.00 USD to ch_88"}],
            "by": None,
            "digest": "sha256:1",
            "approvers": ["manager"],
            "quorum": 2,
            "expires_at": "2031-01-01T00:00:00Z",
            "approved_by": [],
        },
    }
    assert ear.ids == [f"main-{position}"]
    assert told == ["delivered"]


@pytest.mark.parametrize(
    ("answer", "kind", "by", "approved_by"),
    [
        (e.ApprovalGiven(digest="sha256:1", by="dana"), "approval.given", "dana", ["dana"]),
        (e.AbortDecided(cause="rejected", reason="no", by="dana"), "approval.rejected", "dana", []),
        (e.AbortDecided(cause="expired", reason="nobody came"), "approval.expired", None, []),
    ],
)
async def test_an_answer_is_told_with_who_gave_it(pool, store, ear, answer, kind, by, approved_by):
    await ask(store, ASKED, answer)
    async with sending(pool, store, ear):
        await nothing_waits(pool)
    said = ear.verified()
    assert (said["type"], said["data"]["by"], said["data"]["approved_by"]) == (kind, by, approved_by)
    assert said["data"]["digest"] == "sha256:1"


async def test_an_answer_to_what_has_changed_since_does_not_count_as_approval(pool, store, ear):
    given = e.ApprovalGiven(digest="sha256:1", by="dana")
    await ask(store, ASKED, given, e.ApprovalRequested(digest="sha256:2", expires_at=EXPIRES))
    async with sending(pool, store, ear):
        await nothing_waits(pool)
    data = ear.verified()["data"]
    assert (data["digest"], data["approved_by"]) == ("sha256:2", [])


async def test_a_message_that_was_tampered_with_fails_verification(pool, store, ear):
    await ask(store)
    async with sending(pool, store, ear):
        await nothing_waits(pool)
    headers, body = ear.heard[0]
    ear.heard.append((headers, body.replace(b'"quorum":2', b'"quorum":1')))
    ear.heard.append((headers | {"webhook-id": "main-999"}, body))
    assert ear.verified(0)
    for number in (1, 2):
        with pytest.raises(WebhookVerificationError):
            ear.verified(number)
    with pytest.raises(WebhookVerificationError):
        ear.verified(0, NEW_KEY)


async def test_while_a_key_is_replaced_either_verifies(pool, store, ear):
    await ask(store)
    async with sending(pool, store, ear, keys=(KEY, NEW_KEY)):
        await nothing_waits(pool)
    assert ear.verified(0, KEY) == ear.verified(0, NEW_KEY)


async def test_parameters_reasons_and_keys_stay_in_the_house(pool, store, ear):
    ear.answers = [web.Response(status=500)]
    with capture_logs() as logged:
        await ask(store, ASKED, e.AbortDecided(cause="rejected", reason="a private word", by="dana"))
        async with sending(pool, store, ear):
            await nothing_waits(pool)
    for secret in ("4242", "stays in the house", "a private word"):
        assert secret.encode() not in b"".join(body for _, body in ear.heard)
    assert logged
    for secret in ("secret-path", KEY.decode(), base64.b64encode(KEY).decode(), "4242", "refund 120.00"):
        assert secret not in str(logged)


# ── at least once ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_it_is_sent_again_after_a_5xx_a_redirect_and_a_refusal_and_then_never_more(pool, store, ear):
    _, position = await ask(store)
    elsewhere = web.Response(status=307, headers={"Location": "/elsewhere"})
    ear.answers = [web.Response(status=500), elsewhere, web.Response(status=400)]
    async with sending(pool, store, ear) as told:
        await nothing_waits(pool)
        await ask(store, number=2)
        await nothing_waits(pool)
    assert ear.ids == [f"main-{position}"] * 4 + [f"main-{position + 2}"]
    assert len({body for _, body in ear.heard[:4]}) == 1
    assert told == ["failed", "failed", "failed", "delivered", "delivered"]


async def test_a_receiver_that_does_not_answer_in_time_is_asked_again(pool, store, ear, monkeypatch):
    usual, hung = bounds.WEBHOOK_SECONDS, asyncio.Event()

    async def hangs() -> web.Response:
        monkeypatch.setattr(bounds, "WEBHOOK_SECONDS", usual)  # for the next attempt, however busy the machine is
        await hung.wait()
        return web.Response()

    monkeypatch.setattr(bounds, "WEBHOOK_SECONDS", 0.1)
    ear.answers = [hangs]
    await ask(store)
    async with sending(pool, store, ear) as told:
        await nothing_waits(pool)
    hung.set()
    assert told[-1] == "delivered"
    assert set(told[:-1]) == {"failed"}


async def test_a_receiver_that_is_away_is_told_when_it_is_back(pool, store):
    ear = Ear()
    async with listening(ear) as port:
        pass
    await ask(store)
    async with sending(pool, store, ear) as told:

        async def failed() -> bool:
            return len(told) >= 2

        await eventually(failed)
        async with listening(ear, port):
            await nothing_waits(pool)
    assert len(ear.heard) == 1
    assert set(told[:-1]) == {"failed"}
    assert told[-1] == "delivered"


async def test_an_endless_answer_is_not_listened_to(pool, store, ear):
    ear.answers = [web.Response(body=b"x" * 10_000_000)]
    await ask(store)
    async with sending(pool, store, ear) as told:
        await nothing_waits(pool)
    assert told == ["delivered"]


async def test_a_receiver_that_is_gone_for_good_is_given_up(pool, store, ear):
    ear.answers = [web.Response(status=410)]
    with capture_logs() as logged:
        await ask(store)
        async with sending(pool, store, ear) as told:
            await nothing_waits(pool)
    assert told == ["given_up"]
    assert [line["event"] for line in logged] == ["webhook_given_up"]


async def test_what_is_too_old_to_matter_is_given_up(pool, store, ear, monkeypatch):
    async def a_week_later() -> web.Response:
        monkeypatch.setattr(bounds, "WEBHOOK_AGE_SECONDS", 0.0)
        return web.Response(status=500)

    ear.answers = [web.Response(status=500), web.Response(status=500), a_week_later]
    await ask(store)
    async with sending(pool, store, ear) as told:
        await nothing_waits(pool)
    assert told == ["failed", "failed", "given_up"]


# ── whoever crashes, however many send ───────────────────────────────────────────────────────────────────────────


class Crashing(Outbox):
    """An outbox whose process dies between the post and `done`."""

    async def done(self, position: int, attempts: int) -> bool:
        await asyncio.Event().wait()
        return False


async def test_a_crash_between_the_post_and_its_record_sends_the_same_message_again(pool, store, ear, monkeypatch):
    monkeypatch.setattr(bounds, "WEBHOOK_LEASE_SECONDS", 0.3)
    _, position = await ask(store)
    async with sending(pool, store, ear, outbox=Crashing(pool, "main")):

        async def posted() -> bool:
            return bool(ear.heard)

        await eventually(posted)
    assert await waiting(pool) == 1
    async with sending(pool, store, ear):
        await nothing_waits(pool)
    assert ear.ids == [f"main-{position}"] * 2
    assert ear.heard[0][1] == ear.heard[1][1]


async def test_two_senders_beside_each_other_send_each_message_once(pool, store, ear):
    positions = {(await ask(store, number=number))[1] for number in range(40)}
    async with sending(pool, store, ear) as one, sending(pool, store, ear) as two:
        await nothing_waits(pool)
    assert sorted(ear.ids) == sorted(f"main-{position}" for position in positions)
    assert len(one) + len(two) == 40


async def test_a_message_under_way_is_finished_before_a_sender_stops(pool, store, ear):
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slowly() -> web.Response:
        arrived.set()
        await go.wait()
        return web.Response(status=200)

    ear.answers = [slowly]
    await ask(store)
    async with sending(pool, store, ear) as told:
        await asyncio.wait_for(arrived.wait(), 10)
        asyncio.get_running_loop().call_later(0.05, go.set)
    assert told == ["delivered"]
    assert await waiting(pool) == 0


async def test_what_the_outbox_wrongly_names_does_not_stop_the_rest(pool, store, ear):
    await ask(store, e.IntentAborted(), number=1)  # nothing is said about this one
    _, position = await ask(store, number=2)
    async with sending(pool, store, ear) as told:

        async def both() -> bool:
            return {"failed", "delivered"} <= set(told)

        await eventually(both)
    assert ear.ids == [f"main-{position}"]
    assert json.loads(ear.heard[0][1])["data"]["position"] == position

"""The outside systems that the demo and the fault tests run over must themselves be honest."""

import asyncio
from contextlib import closing
from datetime import UTC, datetime, timedelta

import aiosmtplib
import pytest
from aiohttp import ClientError
from aiohttp.test_utils import TestClient, TestServer

from examples.billing import Billing
from examples.journal import Journal, read
from examples.mailbox import Session, index
from examples.payments import Payments

YEAR_AGO = (datetime.now(UTC).date() - timedelta(days=365)).isoformat()
HOLD = {"charge": "ch_88", "amount": 4200, "currency": "USD"}


@pytest.fixture
def journal(tmp_path):
    with closing(Journal(tmp_path / "journal")) as opened:
        yield opened


@pytest.fixture
async def payments(journal):
    async with TestClient(TestServer(Payments(journal).app())) as client:
        charge = {"id": "ch_88", "customer": "88", "amount": 10_000, "currency": "USD"}
        assert (await client.post("/charges", json=charge)).status == 201
        yield client


async def post(client, path, body=None, key="k1"):
    response = await client.post(path, json=body or {}, headers={"Idempotency-Key": key})
    return response.status, await response.json()


async def look(client, path):
    return await (await client.get(path)).json()


async def test_a_hold_reserves_and_a_confirm_moves_the_money(payments):
    status, hold = await post(payments, "/refunds", HOLD)
    assert status == 201
    assert (await look(payments, "/charges/ch_88"))["held"] == 4200
    assert (await post(payments, f"/refunds/{hold['id']}/confirm"))[0] == 200
    assert (await post(payments, "/refunds/k1/confirm"))[1]["status"] == "confirmed"
    charge = await look(payments, "/charges/ch_88")
    assert (charge["held"], charge["refunded"]) == (0, 4200)


async def test_the_same_key_holds_once(payments):
    await post(payments, "/refunds", HOLD)
    assert (await post(payments, "/refunds", HOLD))[0] == 200
    assert len((await look(payments, "/holds"))["holds"]) == 1


async def test_a_release_that_overtakes_its_hold_wins(payments):
    assert (await post(payments, "/refunds/k1/release"))[0] == 200
    assert (await post(payments, "/refunds", HOLD))[0] == 410
    assert (await look(payments, "/holds"))["holds"] == []


async def test_more_than_is_left_is_refused(payments):
    status, answer = await post(payments, "/refunds", HOLD | {"amount": 10_001})
    assert status == 422
    assert "10000 USD left" in answer["error"]


async def test_a_reversal_gives_the_money_back_once(payments):
    hold = (await post(payments, "/refunds", HOLD))[1]
    await post(payments, "/refunds/k1/confirm")
    for _ in range(2):
        assert (await post(payments, "/reversals", {"of": hold["id"]}, key="undo"))[0] == 200
    assert (await look(payments, "/charges/ch_88"))["refunded"] == 0


async def test_a_transfer_is_repeated_as_often_as_it_is_called_and_can_be_found(payments):
    body = {"account": "a1", "amount": 1, "currency": "USD"}
    assert (await payments.get("/transfers?reference=k1")).status == 404
    await post(payments, "/transfers", body)
    await post(payments, "/transfers", body)
    assert (await look(payments, "/transfers?reference=k1"))["count"] == 2


async def test_everything_is_recovered_from_the_record(payments, tmp_path):
    await post(payments, "/refunds", HOLD)
    await post(payments, "/refunds", HOLD, key="k2")
    await post(payments, "/refunds/k2/confirm")
    with closing(Journal(tmp_path / "journal")) as again:
        recovered = Payments(again)
    async with TestClient(TestServer(recovered.app())) as client:
        assert [hold["key"] for hold in (await look(client, "/holds"))["holds"]] == ["k1"]
        assert (await look(client, "/charges/ch_88"))["refunded"] == 4200


async def test_a_line_that_a_crash_cut_short_is_dropped(tmp_path):
    path = tmp_path / "journal"
    with closing(Journal(path)) as journal:
        journal.append(what="first")
    with path.open("ab") as file:
        file.write(b'{"what": "sec')
    with closing(Journal(path)) as again:
        again.append(what="third")
    assert [line["what"] for line in read(path)] == ["first", "third"]


@pytest.mark.parametrize(
    ("fault", "happened"),
    [
        ({"answer": "lose"}, True),
        ({"answer": "lose", "moment": "before"}, False),
        ({"answer": "500"}, True),
        ({"answer": "409", "moment": "before"}, False),
        ({"answer": "rubbish"}, True),
        ({"answer": "huge"}, True),
        ({"answer": "delay", "seconds": 0.01}, True),
        ({"answer": "hang", "seconds": 0.01, "moment": "before"}, False),
    ],
)
async def test_a_fault_fires_once_and_its_effect_is_as_announced(payments, fault, happened):
    assert (await payments.post("/faults", json={"on": "hold"} | fault)).status == 204
    try:
        proper = (await post(payments, "/refunds", HOLD))[0] == 201
    except (ClientError, ValueError):
        proper = False
    assert proper == (fault["answer"] == "delay")
    assert len((await look(payments, "/holds"))["holds"]) == happened
    assert sum((await look(payments, "/faults"))["fired"].values()) == 1
    assert (await post(payments, "/refunds", HOLD))[0] == (200 if happened else 201)


async def test_a_lie_says_yes_and_nothing_happens(payments):
    await post(payments, "/refunds", HOLD)
    await payments.post("/faults", json={"on": "confirm", "answer": "lie", "moment": "before"})
    assert await post(payments, "/refunds/k1/confirm") == (200, {"status": "done"})
    assert (await look(payments, "/charges/ch_88"))["refunded"] == 0


@pytest.mark.parametrize(("known", "days"), [({}, 0), ({"since": YEAR_AGO, "country": "US"}, 365)])
async def test_a_charge_says_how_long_its_customer_is_known(payments, known, days):
    charge = {"id": "ch_1", "customer": "1", "amount": 1, "currency": "USD"}
    await payments.post("/charges", json=charge | known)
    shown = await look(payments, "/charges/ch_1")
    assert (shown["account_age_days"], shown["country"]) == (days, known.get("country", ""))


# ── billing ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def billing(journal):
    async with TestClient(TestServer(Billing(journal).app())) as client:
        for name, retention in (("88", False), ("89", True)):
            account = {"id": name, "plan": "pro", "since": YEAR_AGO, "country": "US", "retention": retention}
            assert (await client.post("/accounts", json=account)).status == 201
        yield client


async def subscription(client, account="88"):
    return (await look(client, f"/accounts/{account}/subscription"))["status"]


async def test_a_held_cancellation_changes_nothing_until_it_is_confirmed(billing):
    assert (await post(billing, "/cancellations", {"account": "88"}))[0] == 201
    assert (await post(billing, "/cancellations", {"account": "88"}))[0] == 200
    assert (await subscription(billing), len((await look(billing, "/holds"))["holds"])) == ("active", 1)
    for _ in range(2):
        assert (await post(billing, "/cancellations/k1/confirm"))[1]["status"] == "confirmed"
    assert (await subscription(billing), (await look(billing, "/holds"))["holds"]) == ("canceled", [])


async def test_a_released_cancellation_leaves_no_trace_and_is_not_held_again(billing):
    await post(billing, "/cancellations", {"account": "88"})
    for key in ("k1", "k2"):  # the second was never held
        assert (await post(billing, f"/cancellations/{key}/release"))[0] == 200
        assert (await post(billing, "/cancellations", {"account": "88"}, key=key))[0] == 410
        assert (await post(billing, f"/cancellations/{key}/confirm"))[0] == 410
    assert await subscription(billing) == "active"
    assert (await post(billing, "/cancellations", {"account": "88"}, key="k3"))[0] == 201


@pytest.mark.parametrize(
    ("account", "said"), [("90", "Account not found: 90."), ("89", "The customer must phone retention before")]
)
async def test_what_billing_refuses_it_says(billing, account, said):
    status, answer = await post(billing, "/cancellations", {"account": account})
    assert status == 422
    assert answer["error"].startswith(said)
    assert (await look(billing, "/holds"))["holds"] == []


async def test_a_canceled_subscription_is_canceled_once_and_reactivated_once(billing, tmp_path):
    await post(billing, "/cancellations", {"account": "88"})
    await post(billing, "/cancellations/k1/confirm")
    assert (await post(billing, "/cancellations", {"account": "88"}, key="k2"))[0] == 422
    for _ in range(2):
        assert (await post(billing, "/reactivations", {"of": "k1"}, key="undo"))[1]["status"] == "reactivated"
    assert (await post(billing, "/reactivations", {"of": "k2"}, key="undo-2"))[0] == 422
    with closing(Journal(tmp_path / "journal")) as again:
        async with TestClient(TestServer(Billing(again).app())) as recovered:
            assert await subscription(recovered) == "active"
            assert (await look(recovered, "/keys/k1"))["status"] == "confirmed"


# ── the mailbox ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_message_that_was_kept_is_found_by_its_recipient_and_subject(mailbox):
    port, journal = mailbox
    await send(port, "c@test")
    await send(port, "swallow.me@test")
    async with TestClient(TestServer(index(journal))) as client:
        for to, subject, count in (("c@test", "Refund", 1), ("c@test", "Other", 0), ("swallow.me@test", "Refund", 0)):
            found = await look(client, f"/messages?to={to}&subject={subject}")
            assert (found["sent"], found["count"]) == (count > 0, count)
        assert (await client.get("/messages?to=c@test")).status == 400


@pytest.fixture
async def mailbox(journal):
    server = await asyncio.start_server(lambda r, w: Session(journal, r, w).run(), "127.0.0.1", 0, limit=8192)
    async with server:
        yield server.sockets[0].getsockname()[1], journal


async def send(port, to, text="Hello"):
    message = f"Subject: Refund\r\nMessage-ID: <k1@test>\r\n\r\n{text}\r\n"
    return await aiosmtplib.send(message, sender="a@test", recipients=[to], hostname="127.0.0.1", port=port)


async def test_a_message_is_kept_as_it_was_sent_dots_included(mailbox):
    port, journal = mailbox
    await send(port, "c@test", "One\r\n.\r\n..two")
    (line,) = journal.lines
    assert line["recipients"] == ["c@test"]
    assert line["headers"]["message-id"] == "<k1@test>"
    assert line["text"].splitlines() == ["One", ".", "..two"]


async def test_refused_and_busy_recipients_get_no_mail(mailbox):
    port, journal = mailbox
    for to, code in (("refuse.me@test", 550), ("busy.me@test", 451)):
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as caught:
            await send(port, to)
        assert caught.value.recipients[0].code == code
    assert journal.lines == []


async def test_a_lost_answer_leaves_the_message_kept(mailbox):
    port, journal = mailbox
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await send(port, "lost.me@test")
    assert journal.lines[0]["recipients"] == ["lost.me@test"]


async def test_a_message_broken_off_before_its_end_is_no_message(mailbox):
    port, journal = mailbox
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"HELO x\r\nMAIL FROM:<a@test>\r\nRCPT TO:<b@test>\r\nDATA\r\nSubject: half\r\n")
    await writer.drain()
    while not (await reader.readline()).startswith(b"354"):
        pass
    writer.close()
    await writer.wait_closed()
    assert await reader.read() == b""
    assert journal.lines == []


async def test_commands_out_of_order_are_refused(mailbox):
    port, _ = mailbox
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"MAIL FROM:<a@test>\r\nDATA\r\nWHAT\r\nQUIT\r\n")
    await writer.drain()
    codes = [line[:3] for line in (await reader.read()).splitlines()]
    writer.close()
    assert codes == [b"220", b"503", b"503", b"500", b"221"]

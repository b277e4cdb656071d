"""One intent through the real door: submit, wait, replay, look, cancel, undo, resolve."""

import asyncio
import re

import pytest
from doorway import eventually, intent

from ledger.errors import AdapterError, Unavailable

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}").fullmatch
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z").fullmatch
TWO = intent(("bank.post", "88", 4200), ("mail.post", "box", 1), confidence=0.97, context={"ticket": "T-1"})


async def committed(door, *actions, **more):
    status, body, _ = await door.submit(intent(*actions, **more))
    assert (status, body["phase"]) == (200, "committed")
    return body


# ── submit ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_intent_that_ends_within_the_wait_is_200_and_shown_as_the_contract_says(door):
    status, body, response = await door.submit(TWO, key="k-1")
    assert status == 200
    assert UUID7(body["id"])
    assert response.headers["Location"] == f"/v1/intents/{body['id']}"
    assert response.headers["Preference-Applied"] == "wait=10"
    assert "Idempotency-Hit" not in response.headers
    assert {name: body[name] for name in ("ledger", "phase", "mode", "task", "reason", "confidence", "context")} == {
        "ledger": "main",
        "phase": "committed",
        "mode": "execute",
        "task": "12A",
        "reason": "a test",
        "confidence": 0.97,
        "context": {"ticket": "T-1"},
    }
    assert (body["agent"], body["commissioned_by"]) == ({"name": "operator", "version": None}, None)
    assert (body["grant"], body["custody"]) == ("grant-operator", ["grant-operator"])
    assert body["decision"]["effect"] == "allow"
    assert body["decision"]["policies"] == ["allow-all"]
    assert (body["approval"], body["attention"], body["setback"]) == (None, None, None)
    assert TIME(body["submitted_at"])
    assert TIME(body["updated_at"])
    refund, mail = body["actions"]
    assert {name: refund[name] for name in ("id", "operation", "step", "guarantee", "undo", "params", "error")} == {
        "id": "a1",
        "operation": "bank.post",
        "step": "done",
        "guarantee": "atomic",
        "undo": "exact",
        "params": {"account": "88", "amount": 4200},
        "error": None,
    }
    assert refund["result"] == {"account": "88", "amount": 4200}
    assert refund["preview"]["facts"] == {"balance": 0}
    assert mail["guarantee"] == "blind"
    assert (door.bank.world.balances, door.mail.world.balances) == ({"88": 4200}, {"box": 1})


async def test_without_a_wait_the_answer_is_202_and_the_intent_goes_on_by_itself(door):
    status, body, response = await door.submit(intent(("bank.post", "88", 1)), wait=None)
    assert status == 202
    assert body["phase"] not in {"committed", "aborted"}
    assert "Preference-Applied" not in response.headers

    async def ended():
        _, now, _ = await door.get(response.headers["Location"])
        return now["phase"] == "committed"

    assert await eventually(ended)


async def test_a_wait_that_ends_first_is_202(door):
    door.bank.gate.clear()
    status, body, _ = await door.submit(intent(("bank.post", "88", 1)), wait=1)
    assert (status, body["phase"]) == (202, "preparing")
    door.bank.gate.set()


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait=5", "wait=5"),
        ("respond-async, wait=5", "wait=5"),
        ("WAIT = 5; x=y", "wait=5"),
        ("wait=9999", "wait=30"),
        ("wait=-1", None),
        ("wait=soon", None),
        ("await=5", None),
    ],
)
async def test_a_preference_is_applied_as_far_as_it_is_understood(door, prefer, applied):
    _, _, response = await door.post(
        "/v1/intents", intent(("bank.post", "88", 1)), **{"Prefer": prefer, "Idempotency-Key": "k"}
    )
    assert response.headers.get("Preference-Applied") == applied


async def test_a_traceparent_is_kept_if_it_is_one_and_ignored_otherwise(door):
    good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for key, sent, kept in (("k-1", good, good), ("k-2", "00-" + "0" * 32 + good[35:], None), ("k-3", "x" * 500, None)):
        headers = {"Idempotency-Key": key, "traceparent": sent, "Prefer": "wait=10"}
        _, body, _ = await door.post("/v1/intents", intent(("bank.post", "88", 1)), **headers)
        _, events, _ = await door.get(f"/v1/intents/{body['id']}/events")
        assert events["items"][0]["body"].get("traceparent") == kept


async def test_a_dry_run_shows_what_would_be_and_changes_nothing(door):
    status, body, _ = await door.submit(intent(("bank.post", "88", 10), mode="dry_run"))
    assert (status, body["phase"]) == (200, "simulated")
    assert body["actions"][0]["preview"]["after"] == {"balance": 10}
    assert door.bank.world.balances == {}


async def test_an_action_that_refuses_aborts_the_intent_and_says_why(door):
    status, body, _ = await door.submit(intent(("bank.post", "88", 10), ("bank.post", "77", -1)))
    assert (status, body["phase"]) == (200, "aborted")
    assert body["setback"]["cause"] == "refused"
    assert [action["step"] for action in body["actions"]] == ["aborted", "refused"]
    assert door.bank.world.balances == {}
    assert door.bank.world.held == {}


# ── the same key ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_same_key_and_body_give_the_same_intent_however_the_body_is_written(door):
    _, first, _ = await door.submit(TWO, key='"k-1"')
    head = await door.head()
    reordered = dict(reversed(TWO.items()))
    status, second, response = await door.submit(reordered, key="k-1", wait=None)
    assert status == 200
    assert second == first
    assert response.headers["Idempotency-Hit"] == "true"
    assert response.headers["Location"] == f"/v1/intents/{first['id']}"
    assert await door.head() == head


async def test_the_same_key_with_another_body_is_422_and_nothing_is_recorded(door):
    _, first, _ = await door.submit(TWO, key="k-1")
    head = await door.head()
    status, body, _ = await door.submit({**TWO, "reason": "another"}, key="k-1")
    assert (status, body["type"]) == (422, "urn:intent-ledger:problem:idempotency-key-reused")
    assert body["intent"] == first["id"]
    assert await door.head() == head


async def test_many_at_once_with_the_same_key_are_one_intent(door):
    answers = await asyncio.gather(*(door.submit(TWO, key="k-1") for _ in range(20)))
    assert len({body["id"] for _, body, _ in answers}) == 1
    assert sum("Idempotency-Hit" not in response.headers for _, _, response in answers) == 1
    assert door.bank.world.balances == {"88": 4200}


# ── look ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_intent_can_be_seen_as_it_was_at_any_position(door):
    body = await committed(door, ("bank.post", "88", 1))
    _, events, _ = await door.get(f"/v1/intents/{body['id']}/events")
    phases = []
    for event in events["items"]:
        assert event.keys() == {"position", "version", "type", "at", "stream", "body", "custody"}
        assert event["custody"] == ["grant-operator"]
        _, then, _ = await door.get(f"/v1/intents/{body['id']}?at={event['position']}")
        assert (then["version"], then["position"]) == (event["version"], event["position"])
        phases.append(then["phase"])
    assert (phases[0], phases[-1]) == ("submitted", "committed")
    first = events["items"][0]["position"]
    _, begun, _ = await door.get(f"/v1/intents/{body['id']}?at={first}")
    assert begun["decision"] is None
    status, _, _ = await door.get(f"/v1/intents/{body['id']}?at={first - 1}")
    assert status == 404
    _, then, _ = await door.get(f"/v1/intents/{body['id']}?at={begun['updated_at']}")
    assert then["submitted_at"] == then["updated_at"] == begun["updated_at"]
    for senseless in ("2026-11-23", "9" * 16, "-1", "now", "999999"):
        status, problem, _ = await door.get(f"/v1/intents/{body['id']}?at={senseless}")
        assert (status, [error["path"] for error in problem["errors"]]) == (422, ["/at"])
    status, _, _ = await door.get(f"/v1/intents/{body['id']}?at=2001-01-01T00:00:00Z")
    assert status == 404


async def test_an_intent_nobody_submitted_is_404(door):
    for path in ("", "/events"):
        status, body, _ = await door.get(f"/v1/intents/01930000-0000-7000-8000-000000000001{path}")
        assert (status, body["type"]) == (404, "urn:intent-ledger:problem:not-found")
    for word, said in (("cancel", {"reason": "x"}), ("undo", {"reason": "x"})):
        status, _, _ = await door.post(f"/v1/intents/01930000-0000-7000-8000-000000000001/{word}", said)
        assert status == 404


async def test_min_position_waits_until_it_is_there(door):
    body = await committed(door, ("bank.post", "88", 1))
    waiting = asyncio.create_task(door.get(f"/v1/intents/{body['id']}?min_position={body['position'] + 3}"))
    await committed(door, ("bank.post", "88", 1))
    status, _, _ = await waiting
    assert status == 200


async def test_a_position_that_does_not_come_is_503(door, monkeypatch):
    monkeypatch.setattr("gateway.waiting.VIEW_SECONDS", 0.1)
    body = await committed(door, ("bank.post", "88", 1))
    status, problem, response = await door.get(f"/v1/intents/{body['id']}?min_position={body['position'] + 1000}")
    assert (status, problem["type"]) == (503, "urn:intent-ledger:problem:not-ready")
    assert response.headers["Retry-After"]


async def test_head_is_get_without_the_body(door):
    body = await committed(door, ("bank.post", "88", 1))
    await door.get(f"/v1/audit?min_position={body['position']}")
    for path in (f"/v1/intents/{body['id']}", "/v1/intents", "/v1/events", "/v1/operations", "/healthz", "/v1/audit"):
        _, _, got = await door.get(path)
        async with door.session.head(door.url + path, headers=got.request_info.headers) as head:
            assert head.status == 200
            assert await head.read() == b""
            assert head.headers["Content-Length"] == got.headers["Content-Length"]


# ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_undecided_intent_can_be_cancelled_and_a_decided_one_cannot(door):
    door.bank.gate.clear()
    _, body, _ = await door.submit(intent(("bank.post", "88", 1), deadline=300), wait=None)
    status, said, _ = await door.post(f"/v1/intents/{body['id']}/cancel", {"reason": "not today"})
    assert (status, said["phase"]) == (200, "aborting")
    assert {name: said["setback"][name] for name in ("cause", "reason", "by")} == {
        "cause": "cancelled",
        "reason": "not today",
        "by": "operator",
    }
    door.bank.gate.set()

    async def ended():
        _, now, _ = await door.get(f"/v1/intents/{body['id']}")
        return now["phase"] == "aborted"

    assert await eventually(ended)
    assert door.bank.world.held == {}
    done = await committed(door, ("bank.post", "88", 1))
    status, problem, _ = await door.post(f"/v1/intents/{done['id']}/cancel", {"reason": "too late"})
    assert (status, problem["type"]) == (409, "urn:intent-ledger:problem:already-decided")


async def test_a_committed_intent_can_be_undone_once(door):
    done = await committed(door, ("bank.post", "88", 7))
    status, body, _ = await door.post(f"/v1/intents/{done['id']}/undo", {"reason": "a mistake"})
    assert (status, body["phase"]) == (200, "compensating")

    async def ended():
        _, now, _ = await door.get(f"/v1/intents/{done['id']}")
        return now["phase"] == "compensated"

    assert await eventually(ended)
    assert door.bank.world.balances == {"88": 0}
    status, problem, _ = await door.post(f"/v1/intents/{done['id']}/undo", {"reason": "again"})
    assert (status, problem["type"]) == (409, "urn:intent-ledger:problem:not-undoable")


async def test_attention_is_shown_and_answered(door):
    door.mail.loses_answers = True
    status, body, _ = await door.submit(intent(("mail.post", "box", 1)))
    assert (status, body["phase"]) == (202, "committing")
    assert body["attention"]["action"] == "a1"
    assert TIME(body["attention"]["since"])
    assert body["actions"][0]["step"] == "in_doubt"
    _, listed, _ = await door.get(f"/v1/intents?attention=true&min_position={body['position']}")
    assert [item["id"] for item in listed["items"]] == [body["id"]]
    path = f"/v1/intents/{body['id']}/resolve"
    status, problem, _ = await door.post(path, {"action": "a2", "outcome": "applied", "note": "x"})
    assert (status, problem["type"]) == (409, "urn:intent-ledger:problem:not-waiting")
    status, said, _ = await door.post(path, {"action": "a1", "outcome": "applied", "note": "seen in the mailbox"})
    assert (status, said["attention"], said["actions"][0]["step"]) == (200, None, "done")
    _, events, _ = await door.get(f"/v1/intents/{body['id']}/events")
    assert {"by": "operator", "note": "seen in the mailbox"}.items() <= events["items"][-1]["body"].items() or any(
        event["type"] == "AttentionResolved" and event["body"]["by"] == "operator" for event in events["items"]
    )


@pytest.mark.parametrize(
    ("word", "said", "path"),
    [
        ("cancel", {}, "/reason"),
        ("cancel", {"reason": "x", "by": "somebody"}, "/by"),
        ("undo", {"reason": "x", "partial": "yes"}, "/partial"),
        ("resolve", {"action": "a1", "outcome": "maybe", "note": "x"}, "/outcome"),
        ("resolve", {"outcome": "applied", "note": "x"}, "/action"),
    ],
)
async def test_what_a_person_says_must_follow_the_contract(door, word, said, path):
    done = await committed(door, ("bank.post", "88", 1))
    head = await door.head()
    status, problem, _ = await door.post(f"/v1/intents/{done['id']}/{word}", said)
    assert (status, problem["type"]) == (422, "urn:intent-ledger:problem:invalid-request")
    assert [error["path"] for error in problem["errors"]] == [path]
    assert await door.head() == head


# ── what goes wrong on our side ──────────────────────────────────────────────────────────────────────────────────


async def test_a_defect_of_ours_is_a_500_that_tells_nothing(door, monkeypatch):
    async def broken(*_):
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(door.service.coordinator, "submit", broken)
    status, body, _ = await door.submit(TWO)
    assert (status, body["type"]) == (500, "urn:intent-ledger:problem:internal")
    assert "unknown" in body["detail"]
    assert "hunter2" not in str(body)


async def test_an_unknown_outcome_is_a_503_that_says_so(door, monkeypatch):
    async def unknown(*_):
        raise Unavailable

    monkeypatch.setattr(door.service.coordinator, "submit", unknown)
    status, body, response = await door.submit(TWO)
    assert (status, body["type"]) == (503, "urn:intent-ledger:problem:unavailable")
    assert "unknown" in body["detail"]
    assert response.headers["Retry-After"]


async def test_an_adapters_error_of_no_known_kind_is_in_doubt_and_asked_about(door, monkeypatch):
    commit = door.bank.commit

    async def strange(call, receipt):
        monkeypatch.setattr(door.bank, "commit", commit)
        await commit(call, receipt)
        raise AdapterError("It is neither of the three.")

    monkeypatch.setattr(door.bank, "commit", strange)
    body = await committed(door, ("bank.post", "88", 7))
    _, recorded, _ = await door.get(f"/v1/intents/{body['id']}/events")
    assert "CommitInDoubt" in [one["type"] for one in recorded["items"]]

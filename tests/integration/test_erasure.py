"""Personal data are sealed wherever they rest, opened at the door, and gone once their subject is erased."""

import asyncio
import base64
import html
import itertools
import json
import os
from urllib.parse import quote

import pytest
from doorway import doorway, eventually, intent
from personal_world import CUSTOMER, MAIL, NAME, PLAIN, Customers, update

from gateway.keyring_file import KeyringFile
from gateway.routes import ROUTES
from ledger.intents import Guarantee
from ledger.sealing import ERASED, MARK
from projections.audit.export import MEDIA

TABLES = (
    "select table_name from information_schema.tables where table_schema = 'intent_ledger' and table_type like 'BASE%'"
)
OF_THE_LOG = {"get_receipt", "get_log_checkpoint", "prove_inclusion", "prove_consistency"}  # test_erasure_keys.py


@pytest.fixture
def keyring(tmp_path):
    return KeyringFile(tmp_path / "personal.keyring", os.urandom)


@pytest.fixture
def crm():
    return Customers()


@pytest.fixture
async def door(dsn, keyring, crm):
    async with doorway(dsn, None, crm, keyring=keyring) as found:
        yield found


async def dump(door):
    """Return everything that the database holds, as text, and what stands in bytes as hexadecimal digits."""
    async with door.service.pool.acquire() as connection:
        tables = [row[0] for row in await connection.fetch(TABLES)]
        rows = [await connection.fetch(f"select row_to_json(t)::text from intent_ledger.{name} t") for name in tables]
    return "\n".join(row[0] for found in rows for row in found)


def told(text):
    """Return which personal values a text tells, however they are spelled or encoded."""
    low = text.lower()
    return [
        one for one in PLAIN if any(way.lower() in low for way in _ways(one)) or any(b in text for b in _base64(one))
    ]


def _ways(value):
    yield from (value, quote(value), quote(value, safe=""), json.dumps(value)[1:-1], html.escape(value))
    yield from (value.encode(form).hex() for form in ("utf-8", "utf-16-le", "utf-16-be"))


def _base64(value):
    """Yield how a value looks within something in base64, wherever it begins there."""
    for before, cut in ((0, 0), (1, 2), (2, 3)):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"." * before + value.encode()).decode().rstrip("=")[cut:-2]


def test_what_is_looked_for_is_found_however_it_is_encoded():
    for one in PLAIN:
        for before in ("", "a", "ab", "abc"):
            assert one in told(base64.b64encode(f"{before}{one} and more".encode()).decode())
        assert one in told(f"x{one.encode('utf-16-le').hex()}y")
        assert one in told(quote(one, safe="").lower())


async def everything_shown(door, intent):
    """Ask for everything that is shown, of an intent and of the ledger, in every form."""
    await eventually(lambda: caught_up(door))
    shown = {}
    for route in ROUTES:
        of_an_intent = "/v1/intents/" in route.path
        if route.method != "GET" or ("{" in route.path and not of_an_intent) or route.name in OF_THE_LOG:
            continue
        path = route.path.replace("{id}", intent)
        asked = f"{path}?left={intent}&right={intent}" if route.name == "compare_runs" else path
        status, body, response = await door.get(asked)
        assert status == 200, route.name
        shown[path] = json.dumps(body, ensure_ascii=False) + str(response.headers)
    for path, form in (
        *(("/v1/audit", form) for form in MEDIA),
        ("/v1/events", "application/x-ndjson"),
        ("/metrics", "text/plain"),
    ):
        headers = {"Authorization": f"Bearer {door.token}", "Accept": form}
        async with door.session.get(door.url + path, headers=headers) as response:
            assert response.status == 200
            shown[f"{path} {form}"] = await response.text()
    return shown


async def caught_up(door):
    return door.service.follower.position >= await door.head()


async def erase(door, subject=CUSTOMER, **more):
    return await door.post(
        f"/v1/subjects/{quote(subject, safe='')}/erase", {"reason": f"{subject} asked for it"} | more
    )


async def test_what_is_personal_rests_sealed_is_opened_at_the_door_and_gone_once_erased(door, crm, capfd):
    status, shown, _ = await door.submit(update())
    assert (status, shown["phase"]) == (200, "committed")
    action = shown["actions"][0]
    assert action["params"] == update()["actions"][0]["params"]
    assert action["summary"] == f'write "for {CUSTOMER} at {MAIL}" to {MAIL} of {CUSTOMER}'
    assert action["preview"]["facts"] == {"name": NAME, "level": 3}
    assert action["result"]["said"] == f"Dear {MAIL}, it is done."
    assert shown["reason"] == update()["reason"]
    assert shown["context"] == update()["context"]
    assert all(params == action["params"] for _, params, _ in crm.seen)  # its adapter is told what was asked for
    assert ("commit", action["params"], {"hold": f"for {MAIL}"}) in crm.seen
    assert told(await dump(door)) == []

    before = await everything_shown(door, shown["id"])
    assert set(told(before[f"/v1/intents/{shown['id']}"])) == set(PLAIN)
    assert set(told(before["/v1/audit"])) >= {NAME, MAIL, CUSTOMER}
    for path in (
        f"/v1/intents/{shown['id']}/events",
        "/v1/events",
        "/v1/audit text/csv",
        "/v1/events application/x-ndjson",
    ):
        assert MARK in before[path]  # what may be kept by others stays sealed
        assert told(before[path]) == []

    status, done, _ = await erase(door)
    assert (status, done["by"]) == (200, "operator")
    assert done["reason"] == f"{ERASED} asked for it"
    after = await everything_shown(door, shown["id"])
    assert {path: told(text) for path, text in after.items() if told(text)} == {}
    assert told(await dump(door)) == []
    assert told("".join(capfd.readouterr())) == []  # nor in the logs
    _, seen, _ = await door.get(f"/v1/intents/{shown['id']}")
    assert seen["actions"][0]["params"] == {
        "customer": ERASED, "mail": ERASED, "set": {"phone": ERASED, "level": 4}, "note": f"for {ERASED} at {ERASED}"
    }  # fmt: skip
    assert seen["digest"] == shown["digest"]
    assert after["/v1/events"].startswith(before["/v1/events"][: before["/v1/events"].index('], "next"')])


async def test_erasing_again_answers_the_same_and_an_unknown_subject_is_none(door):
    await door.submit(update())
    _, first, _ = await erase(door)
    status, again, _ = await erase(door)
    assert (status, again) == (200, first)
    status, problem, _ = await erase(door, "somebody-else")
    assert (status, problem["type"]) == (404, "urn:intent-ledger:problem:not-found")
    assert "somebody-else" not in json.dumps(problem)
    entries = await eventually(lambda: _erasures(door))
    assert len(entries) == 1
    assert entries[0]["sentence"].startswith(f"Operator erased what is personal of the data subject {first['key']}")


async def test_the_reason_of_an_erasure_does_not_name_the_subject_however_it_is_spelled(door):
    subject = "\u00c4nn+88/b@example.com"
    await door.submit(update(params={"customer": subject}))
    spelled = f"{subject}, {subject.lower()}, {quote(subject, safe='')} and {json.dumps(subject)} asked"
    _, done, _ = await erase(door, subject, reason=spelled)
    assert done["reason"] == f'{ERASED}, {ERASED}, {ERASED} and "{ERASED}" asked'


async def _erasures(door):
    return [one for one in (await door.get("/v1/audit"))[1]["items"] if one["kind"] == "erase"]


async def test_whoever_has_data_here_can_be_erased_whatever_their_name(door):
    for name in ("a/b?c#d %2F+&é田中", "...", "%2e%2e", "~\t\"'"):
        await door.submit(update(params={"customer": name}))
        assert (await erase(door, name))[0] == 200, name
    for name in ("", ".", ".."):
        status, problem, _ = await door.submit(update(params={"customer": name}))
        assert (status, problem["errors"][0]["path"]) == (422, "/actions/0/params/customer")


async def test_what_grows_too_long_by_sealing_is_refused(door):
    head = await door.head()
    status, problem, _ = await door.submit(update(context={"from": f"{MAIL} " * 8000}))
    assert (status, problem["type"]) == (422, "urn:intent-ledger:problem:invalid-intent")
    assert await door.head() == head


async def test_only_a_person_who_may_do_everything_erases(door):
    await door.submit(update())
    agent = await door.grant("payment-specialist", "crm.*")
    clerk = await door.grant("clerk", "crm.*", kind="person")
    assert (await erase(agent))[0] == 403
    assert (await erase(clerk))[0] == 403
    assert (await erase(door))[0] == 200


async def test_an_agent_sees_what_is_personal_in_its_own_intents_only(door):
    agent = await door.grant("payment-specialist", "crm.*")
    other = await door.grant("other", "crm.*")
    _, shown, _ = await agent.submit(update())
    recorded = (await door.get(f"/v1/intents/{shown['id']}/events"))[1]["items"][0]["body"]
    token = recorded["actions"][0]["params"]["mail"]
    assert token.startswith(MARK)
    assert shown["actions"][0]["params"]["mail"] == MAIL
    _, copied, _ = await other.submit(
        {"reason": token, "actions": [{"id": "a", "operation": "bank.post", "params": {"account": "x", "amount": 1}}]}
    )
    assert copied["reason"] == "[sealed]"
    body = {
        "reason": "x",
        "actions": [{"id": "a", "operation": "bank.post", "params": {"account": token, "amount": 1}}],
    }
    assert (await agent.submit(body))[0] == 422  # whoever approves it would see another account than the bank
    status, problem, _ = await other.submit(update(reason=token))
    assert (status, problem["errors"][0]["path"]) == (422, "")


async def test_what_an_outside_system_refuses_doubts_or_repeats_is_sealed_in_whatever_spelling(door, crm):
    crm.refuses = True
    _, refused, _ = await door.submit(update())
    assert refused["phase"] == "aborted"
    assert MAIL.upper() in refused["setback"]["reason"]
    crm.refuses, crm.doubts = False, True
    _, doubted, _ = await door.submit(update(), wait=None)
    await eventually(lambda: _doubted(door, doubted["id"]))
    assert told(await dump(door)) == []
    crm.doubts = False
    assert (await eventually(lambda: _done(door, doubted["id"])))["phase"] == "committed"


async def _doubted(door, intent):
    shown = (await door.get(f"/v1/intents/{intent}"))[1]
    return (
        shown
        if shown["actions"][0]["step"] == "in_doubt" and "ann%2B88%40example.com" in shown["actions"][0]["error"]
        else None
    )


async def _done(door, intent):
    shown = (await door.get(f"/v1/intents/{intent}"))[1]
    return shown if shown["phase"] == "committed" else None


async def test_the_same_key_finds_its_intent_and_another_body_does_not_sealed_or_not(door):
    _, first, _ = await door.submit(update(), "k-1")
    status, again, response = await door.submit(update(), "k-1")
    assert (status, again["id"], response.headers["Idempotency-Hit"]) == (200, first["id"], "true")
    status, problem, _ = await door.submit(update(params={"mail": "b@example.com"}), "k-1")
    assert (status, problem["type"]) == (422, "urn:intent-ledger:problem:idempotency-key-reused")
    status, problem, _ = await door.submit(update(again=False), "k-2")
    assert (status, problem["intent"]) == (409, first["id"])
    await erase(door)
    status, problem, _ = await door.submit(update(), "k-1")  # whether it is the same nobody can tell any more
    assert (status, problem["intent"]) == (422, first["id"])
    _, anew, _ = await door.submit(update(again=False), "k-3")  # somebody erased may come back, as somebody new
    assert anew["phase"] == "committed"
    assert (await erase(door))[0] == 200


async def test_a_name_with_personal_data_is_refused_and_nothing_is_recorded(door):
    head = await door.head()
    for body, key, path in (
        (update(), f"mail-{MAIL}", "/idempotency_key"),
        (update(), "mail-Ann%2B88%40Example.com", "/idempotency_key"),
        (update(task=f"for {CUSTOMER}"), "k-4", "/task"),
    ):
        status, problem, _ = await door.submit(body, key)
        assert (status, problem["type"]) == (422, "urn:intent-ledger:problem:invalid-intent")
        assert [one["path"] for one in problem["errors"]] == [path]
        assert told(json.dumps(problem)) == []
    assert await door.head() == head


async def test_policy_sees_what_is_personal_and_its_reasons_are_sealed(door):
    cedar = f"""
        @id("P-1") permit(principal, action, resource);
        @id("P-2") @description("no mail to {MAIL}") forbid(principal, action in Action::"crm.update", resource)
        when {{ context.params.mail == "{MAIL}" && context.facts.level == 3 }};
    """
    status, said, _ = await door.post("/v1/policies", {"cedar": cedar, "activate": True})
    assert status == 201, said
    agent = await door.grant("payment-specialist", "crm.*")
    _, shown, _ = await agent.submit(update())
    assert shown["phase"] == "denied"
    _, allowed, _ = await agent.submit(update(params={"mail": "b@example.com"}))
    assert allowed["phase"] == "committed"
    verdict = next(
        one["body"]
        for one in (await door.get(f"/v1/intents/{shown['id']}/events"))[1]["items"]
        if one["type"] == "PolicyEvaluated"
    )
    assert told(json.dumps(verdict)) == []
    assert verdict["effect"] == "deny"
    await eventually(lambda: caught_up(door))
    _, tried, _ = await door.post("/v1/policies/test", {"cedar": '@id("P-9") permit(principal, action, resource);'})
    assert (tried["looked_at"], tried["differing"]) == (2, 1)


async def test_a_verdict_that_is_given_at_once_is_sealed_as_well(dsn, keyring):
    cedar = f"""
        @id("P-1") permit(principal, action, resource);
        @id("P-2") @description("no mail to {MAIL}") forbid(principal, action in Action::"crm.update", resource)
        when {{ context.params.mail == "{MAIL}" }};
    """
    async with doorway(dsn, None, Customers(facts=False), keyring=keyring) as door:
        await door.post("/v1/policies", {"cedar": cedar, "activate": True})
        agent = await door.grant("payment-specialist", "crm.*")
        _, shown, _ = await agent.submit(update())
        recorded = (await door.get(f"/v1/intents/{shown['id']}/events"))[1]["items"]
    assert any(MAIL in reason for reason in shown["decision"]["reasons"])
    assert [one["type"] for one in recorded] == ["IntentSubmitted", "PolicyEvaluated"]
    assert told(json.dumps(recorded)) == []


async def test_what_people_write_about_an_intent_is_sealed_too(door):
    _, shown, _ = await door.submit(update())
    _, undone, _ = await door.post(f"/v1/intents/{shown['id']}/undo", {"reason": f"{NAME} ({MAIL}) complained"})
    assert undone["setback"]["reason"] == f"{NAME} ({MAIL}) complained"
    await eventually(lambda: _phase(door, shown["id"], "compensated"))
    assert told(await dump(door)) == []


async def _phase(door, intent, phase):
    shown = (await door.get(f"/v1/intents/{intent}"))[1]
    return shown if shown["phase"] == phase else None


async def test_an_undecided_intent_of_an_erased_subject_is_aborted_and_its_hold_let_go(door, crm):
    cedar = '@id("P-1") permit(principal, action, resource) when { context.approved };'
    status, said, _ = await door.post("/v1/policies", {"cedar": cedar, "activate": True})
    assert status == 201, said
    agent = await door.grant("payment-specialist", "crm.*")
    _, waiting, _ = await agent.submit(update())
    assert waiting["phase"] == "awaiting_approval"
    assert crm.held
    await erase(door)
    aborted = await eventually(lambda: _phase(door, waiting["id"], "aborted"))
    assert "erased" in aborted["setback"]["reason"]
    assert not crm.held
    assert crm.seen[-1] == ("abort", {"set": {"level": 4}} if "set" in crm.seen[-1][1] else {}, None)


async def test_an_intent_that_was_being_worked_when_its_subject_was_erased_does_not_wait_for_people(
    door, crm, monkeypatch
):
    cedar = '@id("P-1") permit(principal, action, resource) when { context.approved };'
    await door.post("/v1/policies", {"cedar": cedar, "activate": True})
    agent = await door.grant("payment-specialist", "crm.*")
    prepare = crm.prepare

    async def prepared(call):
        vote = await prepare(call)
        await erase(door)
        return vote

    monkeypatch.setattr(crm, "prepare", prepared)
    _, waiting, _ = await agent.submit(update(), wait=None)
    await eventually(lambda: _phase(door, waiting["id"], "aborted"))
    assert not crm.held


async def test_a_decided_intent_of_an_erased_subject_asks_for_a_person_and_ends_by_their_word(door, crm):
    crm.doubts = True
    _, shown, _ = await door.submit(update(), wait=None)
    await eventually(lambda: _doubted(door, shown["id"]))
    await erase(door)
    crm.doubts = False
    asks = await eventually(lambda: _asks(door, shown["id"]))
    assert asks["phase"] == "committing"
    assert "erased" in asks["attention"]["reason"]
    sent = len(crm.seen)
    await door.post(f"/v1/intents/{shown['id']}/resolve", {"action": "crm", "outcome": "applied", "note": "looked"})
    assert (await eventually(lambda: _phase(door, shown["id"], "committed")))["actions"][0]["step"] == "done"
    assert len(crm.seen) == sent


async def test_what_was_done_for_somebody_erased_is_undone_by_a_person_s_hand(door, crm):
    _, shown, _ = await door.submit(update())
    await erase(door)
    sent = len(crm.seen)
    await door.post(f"/v1/intents/{shown['id']}/undo", {"reason": "wrong"})
    asks = await eventually(lambda: _asks(door, shown["id"]))
    assert (asks["phase"], asks["attention"]["action"]) == ("compensating", "crm")
    await door.post(f"/v1/intents/{shown['id']}/resolve", {"action": "crm", "outcome": "applied", "note": "by hand"})
    await eventually(lambda: _phase(door, shown["id"], "compensated"))
    assert len(crm.seen) == sent


async def test_keys_that_cannot_be_read_leave_an_announced_call_unsent_and_not_in_doubt(dsn, keyring):
    crm = Customers(Guarantee.BLIND, facts=False)
    async with doorway(dsn, None, crm, keyring=keyring) as door:
        keys, aside = door.service.subject_keys, keyring.path.with_name("aside")
        living, reads = keys.living, itertools.count(1)

        async def away(ids):
            if next(reads) == 4:  # as the run begins, for prepare, for the decision, and for the commit
                keyring.path.rename(aside)
                asyncio.get_running_loop().call_later(0.3, aside.rename, keyring.path)
            return await living(ids)

        keys.living = away
        _, shown, _ = await door.submit(update())
        assert (shown["phase"], shown["actions"][0]["attempts"]) == ("committed", 1)
        recorded = (await door.get(f"/v1/intents/{shown['id']}/events"))[1]["items"]
    types = [one["type"] for one in recorded]
    assert "CallDeferred" in types[types.index("CommitAttempted") :]
    assert "CommitInDoubt" not in types


async def _asks(door, intent):
    shown = (await door.get(f"/v1/intents/{intent}"))[1]
    return shown if shown["attention"] else None


async def test_the_reason_of_an_undo_plan_is_sealed_where_it_names_whom_one_of_its_intents_is_about(door):
    agent = await door.grant("payment-specialist", "crm.*", "bank.*")
    for one in (update(), intent(("bank.post", "x", 1))):
        assert (await agent.submit(one))[1]["phase"] == "committed"
    reason = f"{MAIL} and b@example.com complained"
    status, plan, _ = await door.post("/v1/undo-plans", {"agent": "payment-specialist", "reason": reason})
    assert (status, plan["reason"]) == (201, reason)
    assert told(await dump(door)) == []
    undo = {"digest": plan["digest"]}
    assert (await door.post(f"/v1/undo-plans/{plan['id']}/approve", undo))[0] == 202
    await eventually(lambda: _over(door, plan["id"]))
    assert told(await dump(door)) == []
    await erase(door)
    shown = (await door.get(f"/v1/undo-plans/{plan['id']}"))[1]
    assert shown["reason"] == f"{ERASED} and b@example.com complained"
    await eventually(lambda: caught_up(door))
    entries = [one for one in (await door.get("/v1/audit"))[1]["items"] if one["kind"] == "plan_undo"]
    assert told(json.dumps([shown, entries])) == []
    assert "b@example.com complained" in entries[0]["sentence"]


async def _over(door, plan):
    return (await door.get(f"/v1/undo-plans/{plan}"))[1]["phase"] == "done"

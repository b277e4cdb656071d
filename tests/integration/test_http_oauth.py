"""The OAuth face through the real door, spoken to by a client library that nobody here wrote (Authlib)."""

import asyncio
import json
import warnings
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from doorway import Holder, doorway, intent

with warnings.catch_warnings(record=True):  # about the name under which Authlib will want httpx next year
    from authlib.integrations.base_client import OAuthError
    from authlib.integrations.httpx_client import AsyncOAuth2Client

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
DETAIL = {
    "type": "intent_ledger_grant",
    "subject": {"kind": "agent", "name": "payments", "version": "3.1"},
    "task": "12A",
    "operations": [{"operation": "bank.post", "where": {"account": ["88"]}}],
    "limits": [{"operation": "bank.*", "measure": "count", "per": "hour", "max": 5}],
    "may_delegate": True,
}
ONE = intent(("bank.post", "88", 1))


@pytest.fixture
async def door(dsn):
    async with doorway(dsn) as opened:
        yield opened


@asynccontextmanager
async def client(door, name="payments", secret=None, **how):
    """Spoken without TLS, so the authorities of this machine, of which reading takes longest, are nothing to it."""
    method = "none" if secret is None else "client_secret_basic"
    async with AsyncOAuth2Client(
        name, secret, token_endpoint_auth_method=method, revocation_endpoint_auth_method=method, verify=False, **how
    ) as opened:
        yield opened


async def exchange(door, subject_token, name="payments", **fields):
    async with client(door, name) as opened:
        return await opened.fetch_token(
            f"{door.url}/oauth/token",
            grant_type=EXCHANGE,
            subject_token=subject_token,
            subject_token_type=ACCESS_TOKEN,
            **fields,
        )


async def form(door, path, headers=None, **fields):
    async with door.session.post(f"{door.url}/oauth/{path}", data=fields, headers=headers) as response:
        return response.status, await response.json(), response


async def introspect(door, token, caller=None):
    headers = {"Authorization": f"Bearer {caller}"} if caller else None
    status, body, _ = await form(door, "introspect", headers, token=token)
    assert status == 200, body
    return body


def holding(door, token):
    return Holder(door, {"token": token, "id": ""})


# ── exchange ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_token_is_exchanged_for_a_narrower_one_that_acts(door):
    told = await exchange(door, door.token, authorization_details=json.dumps([DETAIL]))
    assert (told["token_type"], told["issued_token_type"], told["scope"]) == ("Bearer", ACCESS_TOKEN, "bank.post")
    assert 3590 <= told["expires_in"] <= 3600
    (detail,) = told["authorization_details"]
    assert detail["type"] == "intent_ledger_grant"
    assert detail["operations"] == DETAIL["operations"]
    assert (detail["subject"]["name"], detail["task"], detail["may_delegate"]) == ("payments", "12A", True)
    agent = holding(door, told["access_token"])
    status, body, _ = await agent.submit(ONE)
    assert (status, body["phase"], body["agent"]) == (200, "committed", {"name": "payments", "version": "3.1"})
    assert body["commissioned_by"] == "operator"
    _, body, _ = await agent.submit(intent(("bank.post", "99", 1)))
    assert body["phase"] == "denied"
    _, tree, _ = await door.get("/v1/grants")
    assert {item["id"] for item in tree["items"]} == {"grant-operator", body["grant"]}


async def test_the_short_form_names_operations_by_scope_and_the_agent_by_client_id(door):
    told = await exchange(door, door.token, name="mailer", scope="mail.post bank.*")
    assert told["scope"] == "mail.post bank.*"
    assert told["authorization_details"][0]["subject"]["name"] == "mailer"
    assert told["authorization_details"][0]["may_delegate"] is False
    _, body, _ = await holding(door, told["access_token"]).submit(ONE)
    assert (body["phase"], body["agent"]["name"]) == ("committed", "mailer")


async def test_the_actor_is_whose_token_is_shown_as_such(door):
    issuer, actor = await door.grant("manager", may_delegate=True), await door.grant("worker", "mail.post")
    fields = {"actor_token": actor.token, "actor_token_type": ACCESS_TOKEN}
    told = await exchange(door, issuer.token, name="some client", scope="bank.post", **fields)
    about = await introspect(door, told["access_token"])
    assert (about["sub"], about["act"]["sub"], about["act"]["act"]["sub"]) == ("operator", "worker", "manager")
    other = {**DETAIL, "task": None}
    with pytest.raises(OAuthError) as refused:
        await exchange(door, issuer.token, authorization_details=json.dumps([other]), **fields)
    assert refused.value.error == "invalid_request"


async def test_a_token_lives_no_longer_than_the_one_it_came_from(door):
    issuer = await door.grant("manager", may_delegate=True, expires_in=60)
    told = await exchange(door, issuer.token, scope="bank.post")
    assert 50 <= told["expires_in"] <= 60
    short = json.dumps([{**DETAIL, "expires_in": 5}])
    assert 3 <= (await exchange(door, door.token, authorization_details=short))["expires_in"] <= 5
    with pytest.raises(OAuthError) as refused:
        await exchange(door, issuer.token, authorization_details=json.dumps([{**DETAIL, "expires_in": 3600}]))
    assert refused.value.error == "invalid_authorization_details"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "invalid_request"),
        ({"subject_token": ""}, "invalid_request"),
        ({"subject_token": "il_" + "A" * 43}, "invalid_request"),
        ({"subject_token_type": ""}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:id_token"}, "invalid_request"),
        ({"actor_token": "il_" + "A" * 43}, "invalid_request"),
        ({"actor_token": "il_" + "A" * 43, "actor_token_type": ACCESS_TOKEN}, "invalid_request"),
        ({"audience": "another"}, "invalid_target"),
        ({"resource": "https://example.com/"}, "invalid_target"),
        ({"scope": ""}, "invalid_scope"),
        ({"scope": "bank.post  mail.post"}, "invalid_scope"),
        ({"scope": "everything"}, "invalid_scope"),
        ({"client_id": ""}, "invalid_request"),
        ({"client_id": "a\u202eb"}, "invalid_scope"),
        ({"authorization_details": json.dumps([DETAIL])}, "invalid_scope"),  # beside a scope
        ({"scope": "", "authorization_details": "[]"}, "invalid_authorization_details"),
        ({"scope": "", "authorization_details": "{"}, "invalid_authorization_details"),
        ({"scope": "", "authorization_details": json.dumps([DETAIL, DETAIL])}, "invalid_authorization_details"),
        (
            {"scope": "", "authorization_details": json.dumps([{**DETAIL, "type": "payment_initiation"}])},
            "invalid_authorization_details",
        ),
        (
            {"scope": "", "authorization_details": json.dumps([{**DETAIL, "amount": 5}])},
            "invalid_authorization_details",
        ),
        (
            {"scope": "", "authorization_details": json.dumps([{**DETAIL, "may_delegate": "yes"}])},
            "invalid_authorization_details",
        ),
    ],
)
async def test_what_cannot_be_granted_is_refused_with_the_code_of_oauth_for_it(door, fields, error):
    head = await door.head()
    good = {
        "grant_type": EXCHANGE,
        "subject_token": door.token,
        "subject_token_type": ACCESS_TOKEN,
        "client_id": "payments",
        "scope": "bank.post",
    }
    status, body, response = await form(door, "token", **{**good, **fields})
    assert (status, body["error"]) == (400, error), body
    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert body["error_description"].isascii()
    assert "il_" not in str(body)
    refusals = {line["type"] for line in (await door.get(f"/v1/events?after={head}"))[1]["items"]}
    assert refusals <= {"TokenRefused"}


async def test_more_than_the_issuer_has_is_refused_with_the_part_that_is_wider(door):
    issuer = await door.grant("manager", {"operation": "bank.post", "where": {"account": ["88"]}}, may_delegate=True)
    for fields, error in (
        ({"scope": "bank.post"}, "invalid_scope"),
        ({"scope": "mail.post"}, "invalid_scope"),
        (
            {"authorization_details": json.dumps([{**DETAIL, "operations": [{"operation": "*"}]}])},
            "invalid_authorization_details",
        ),
    ):
        with pytest.raises(OAuthError) as refused:
            await exchange(door, issuer.token, **fields)
        assert refused.value.error == error
        assert "/operations/0" in refused.value.description


async def test_forms_are_read_strictly_and_tokens_never_from_addresses(door):
    good = [
        ("grant_type", EXCHANGE),
        ("subject_token", door.token),
        ("subject_token_type", ACCESS_TOKEN),
        ("client_id", "payments"),
        ("scope", "bank.post"),
        ("something_new", "1"),  # RFC 6749 §3.2: ignored
    ]
    typed = {"Content-Type": "application/x-www-form-urlencoded"}
    url = f"{door.url}/oauth/token"
    for data, headers, status in (
        (urlencode(good), typed, 200),
        (urlencode(good), {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}, 200),
        (urlencode([*good, ("scope", "mail.post")]), typed, 400),
        (urlencode([*good, ("a", "\0")]), typed, 400),
        (urlencode(good) + "&a=%ff", typed, 400),
        (urlencode([*good, *((f"f{number}", "1") for number in range(40))]), typed, 400),
        (json.dumps(dict(good)), {"Content-Type": "application/json"}, 415),
        (urlencode(good), {"Content-Type": "text/plain"}, 415),
        (urlencode(good), {**typed, "Content-Encoding": "gzip"}, 415),
        ("a=" + "b" * 300_000, typed, 413),
    ):
        async with door.session.post(url, data=data, headers=headers) as response:
            body = await response.json()
            assert response.status == status, body
            assert status == 200 or body["error"] == "invalid_request"
    for query in (f"access_token={door.token}", urlencode(good)):
        async with door.session.post(f"{url}?{query}", data=urlencode(good), headers=typed) as response:
            body = await response.json()
            assert (response.status, body["error"]) == (400, "invalid_request")
            assert door.token not in str(body)
    async with door.session.get(url) as response:
        assert response.status == 405


# ── introspect ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_introspection_tells_whose_a_token_is_and_through_whom_it_came(door):
    manager = await door.grant("manager-x", kind="person", may_delegate=True)
    lead = await manager.grant("lead", "bank.*", may_delegate=True)
    agent = await lead.grant("payments", "bank.post", expires_in=600)
    async with client(door, secret=door.token) as opened:
        answer = await opened.introspect_token(f"{door.url}/oauth/introspect", token=agent.token)
    about = answer.json()
    assert (about["active"], about["token_type"], about["jti"]) == (True, "Bearer", agent.id)
    assert (about["sub"], about["client_id"], about["scope"]) == ("manager-x", "payments", "bank.post")
    assert about["act"] == {"sub": "payments", "grant": agent.id, "act": {"sub": "lead", "grant": lead.id}}
    assert about["custody"] == agent.issued["custody"]
    now = datetime.now(UTC).timestamp()
    assert now - 60 <= about["iat"] <= now
    assert about["exp"] - about["iat"] in {599, 600, 601}
    assert about["authorization_details"][0]["operations"] == agent.issued["operations"]
    assert agent.token not in answer.text
    own = await introspect(door, manager.token)
    assert (own["sub"], own["client_id"], "act" in own, "exp" in own) == ("manager-x", "manager-x", False, False)


async def test_dead_and_unknown_tokens_are_inactive_and_nothing_else(door):
    agent = await door.grant("payments")
    await door.post(f"/v1/grants/{agent.id}/revoke", {"reason": "x"})
    for token in (agent.token, "il_" + "A" * 43, "x", agent.token + "\u00e9"):
        for caller in (None, door.token):
            assert await introspect(door, token, caller) == {"active": False}


async def test_an_agent_is_told_only_of_itself_and_those_below_it(door):
    agent, other = await door.grant("payments", may_delegate=True), await door.grant("other")
    child = await agent.grant("child")
    for token, caller, told in (
        (agent.token, agent.token, True),
        (child.token, agent.token, True),
        (agent.token, child.token, False),
        (other.token, agent.token, False),
        (door.token, agent.token, False),
        (other.token, door.token, True),
        (other.token, None, True),
    ):
        assert (await introspect(door, token, caller))["active"] is told
    for headers in ({"Authorization": "Bearer il_" + "A" * 43}, {"Authorization": "Basic !"}):
        status, body, response = await form(door, "introspect", headers, token=agent.token)
        assert (status, body["error"]) == (401, "invalid_client")
        assert response.headers["WWW-Authenticate"]


# ── revoke ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def changes(door):
    """Return what was recorded, but for tokens that were refused: that is told in the background, whenever."""
    _, page, _ = await door.get("/v1/events?limit=500")
    return [
        (event["stream"], event["type"])
        for event in page["items"]
        if event["type"] not in {"TokenRefused", "ActRefused"}
    ]


async def test_whoever_has_a_token_revokes_it_and_everything_below_it(door):
    agent, other = await door.grant("payments", may_delegate=True), await door.grant("other")
    child = await agent.grant("child")
    async with client(door) as opened:
        answer = await opened.revoke_token(f"{door.url}/oauth/revoke", token=agent.token)
        assert answer.status_code == 200
        for dead in (agent, child):
            assert (await dead.get("/v1/operations"))[0] == 401
            assert await introspect(door, dead.token) == {"active": False}
        assert (await other.get("/v1/operations"))[0] == 200
        before = await changes(door)
        for token in (agent.token, "il_" + "A" * 43, "nonsense"):
            again = await opened.revoke_token(f"{door.url}/oauth/revoke", token=token)
            assert again.status_code == 200
        assert await changes(door) == before
    status, body, _ = await form(door, "revoke", token_type_hint="access_token")
    assert (status, body["error"]) == (400, "invalid_request")


async def test_what_is_revoked_while_it_is_exchanged_gives_no_living_token(door):
    for _ in range(5):
        issuer = await door.grant("manager", may_delegate=True)
        answers = await asyncio.gather(
            exchange(door, issuer.token, scope="bank.post"),
            form(door, "revoke", token=issuer.token),
            return_exceptions=True,
        )
        if not isinstance(answers[0], OAuthError):
            assert await introspect(door, answers[0]["access_token"]) == {"active": False}


# ── where it is ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_client_finds_everything_in_the_metadata(door):
    async with door.session.get(f"{door.url}/.well-known/oauth-authorization-server") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        told = await response.json()
    assert told["issuer"] == door.url
    assert told["grant_types_supported"] == [EXCHANGE]
    assert told["authorization_details_types_supported"] == ["intent_ledger_grant"]
    for name in ("token_endpoint", "introspection_endpoint", "revocation_endpoint"):
        async with door.session.post(told[name], data={"x": "y"}) as response:
            assert response.status == 400
            assert (await response.json())["error"] == "invalid_request"

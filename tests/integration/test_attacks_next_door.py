"""Attacks from next door: with what is good in another ledger of the same database, and through the OAuth face.

Each attack stands beside its honest twin, which must succeed.
"""

import base64
import json
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from besieged import happened, pay, problem, siege, till
from doorway import doorway, intent

from adapters.reference import World
from authority.grants import token_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
ONE = intent(("bank.post", "88", 1))
CEDAR = '@id("P-1") permit (principal, action, resource);'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(server, template):
    async with siege(server, template, till(World())) as (door, dsn):
        yield door, dsn


@pytest.fixture
def door(opened):
    return opened[0]


# ── of another ledger ────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def neighbour(dsn):
    """Serve another ledger in the same database."""
    async with doorway(dsn, None, till(World()), ledger="neighbour", token=token_of(b"n" * 32)) as door:
        yield door


async def test_nothing_of_another_ledger_in_the_same_database_has_a_meaning_here(opened):
    door, dsn = opened
    async with neighbour(dsn) as there:
        agent = await there.grant("neighbour's", may_delegate=True)
        _, theirs, _ = await agent.submit({**ONE, "again": False}, "shared key")
        assert theirs["phase"] == "committed"
        _, kept, _ = await there.post("/v1/policies", {"cedar": CEDAR.replace("P-1", "P-there")})
        await there.post(
            "/v1/tasks", {"task": "their task", "owner": "x", "scope": ["*"], "success": [], "failure_modes": []}
        )
        before = await door.head()
        for token in (agent.token, there.token):
            for method, path in (
                ("GET", "/v1/operations"),
                ("GET", "/v1/grants"),
                ("GET", f"/v1/intents/{theirs['id']}"),
            ):
                assert problem(await door.holding(token).ask(method, path)) == (401, "unauthenticated")
            assert problem(await door.holding(token).submit(ONE, "shared key")) == (401, "unauthenticated")
        for method, path, body in (
            ("GET", f"/v1/intents/{theirs['id']}", None),
            ("GET", f"/v1/intents/{theirs['id']}/events", None),
            ("GET", f"/v1/intents/{theirs['id']}/timeline", None),
            ("POST", f"/v1/intents/{theirs['id']}/approve", {"digest": theirs["digest"]}),
            ("POST", f"/v1/intents/{theirs['id']}/cancel", {"reason": "x"}),
            ("POST", f"/v1/intents/{theirs['id']}/undo", {"reason": "x"}),
            ("GET", f"/v1/grants/{agent.id}", None),
            ("POST", f"/v1/grants/{agent.id}/revoke", {"reason": "x"}),
            ("GET", f"/v1/policies/{kept['digest']}", None),
            ("POST", f"/v1/policies/{kept['digest']}/activate", None),
            ("GET", "/v1/tasks/their%20task", None),
        ):
            how = {} if body is None else {"json": body}
            ours = await door.ask(method, path, **how)
            assert problem(ours) == (404, "not-found") or "/timeline" in path, (path, ours[1])
            honest, _, _ = await there.ask(method, path, **how)
            assert honest != 404 or "/timeline" in path, path
        assert problem(await door.submit({**ONE, "follows": theirs["id"]})) == (422, "invalid-intent")
        status, told, _ = await door.ask("POST", "/oauth/introspect", data={"token": agent.token})
        assert (status, told) == (200, {"active": False})
        assert await happened(door, before) == []
        status, own, response = await door.submit({**ONE, "again": False, "task": "theirs too"}, "shared key")
        assert (status, own["id"] != theirs["id"], "Idempotency-Hit" in response.headers) == (200, True, False)


async def test_limits_keys_and_likeness_are_counted_in_each_ledger_for_itself(opened):
    door, dsn = opened
    once = {"operation": "till.*", "measure": "count", "per": "total", "max": 1}
    body = pay("the same", 5, task="the same", again=False)
    async with neighbour(dsn) as there:
        for ledger in (door, there):
            agent = await ledger.grant("twin", limits=[once])
            assert (await agent.submit(body, "twin"))[1]["phase"] == "committed"
            assert problem(await agent.submit(body, "twin again")) == (409, "possible-duplicate")
            assert (await agent.submit(pay("the same", 6), "twin more"))[1]["phase"] == "aborted"


# ── OAuth ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def exchange(door, token, **fields):
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "client_id": "exchanged",
        **fields,
    }
    return await door.ask("POST", "/oauth/token", data=form, headers={"Authorization": ""})


def details(**change):
    narrow = {"operation": "till.post", "where": {"account": ["oauth"], "amount": {"min": 1, "max": 500}}}
    detail = {"type": "intent_ledger_grant", "operations": [narrow], "expires_in": 60, "task": "12A", **change}
    return json.dumps([detail])


async def test_an_exchange_never_gives_more_than_the_token_it_was_given(door):
    permission = {"operation": "till.post", "where": {"account": ["oauth"], "amount": {"min": 1, "max": 500}}}
    limit = {"operation": "till.*", "measure": "amount", "currency": "USD", "per": "total", "max": 600}
    agent = await door.grant("issuer", permission, limits=[limit], task="12A", expires_in=600, may_delegate=True)
    person = await door.grant("oauth person", kind="person")
    actor = {"actor_token": person.token, "actor_token_type": "urn:ietf:params:oauth:token-type:access_token"}
    before = await door.head()
    for fields in (
        {"scope": "*"}, {"scope": "till.post"}, {"scope": "till.post bank.post"},
        {"authorization_details": details(operations=[{"operation": "*"}])},
        {"authorization_details": details(operations=[{**permission, "where": {"account": ["oauth"]}}])},
        {"authorization_details": details(limits=[{**limit, "max": 601}])},
        {"authorization_details": details(expires_in=601)},
        {"authorization_details": details(task="13B")},
        {"authorization_details": details(subject={"kind": "person", "name": "accomplice"})},
        {"authorization_details": details(), **actor},  # more than it: another's kind
        {"authorization_details": details(), "audience": "neighbour"},
    ):  # fmt: skip
        status, told, _ = await exchange(door, agent.token, **fields)
        assert (status, "access_token" in told) == (400, False), fields
    assert await happened(door, before) == []
    status, told, _ = await exchange(door, agent.token, authorization_details=details(limits=[]))
    assert status == 200
    child = door.holding(told["access_token"])
    assert (await child.submit(pay("oauth", 500)))[1]["phase"] == "committed"
    assert (await child.submit(pay("oauth", 101)))[1]["phase"] == "aborted"  # the issuer's limit is its own as well
    assert (await child.submit(pay("elsewhere", 1)))[1]["phase"] == "denied"
    status, _, _ = await exchange(door, told["access_token"], authorization_details=details())
    assert status == 400  # it may not delegate


async def test_introspection_tells_an_agent_nothing_of_the_tokens_of_others(door):
    agent, other = await door.grant("curious", may_delegate=True), await door.grant("other")
    below = await agent.grant("below")
    unknown = token_of(b"no token of anybody that there is")
    bodies = {}
    for token in (other.token, door.token, unknown, other.id, below.token):
        for headers in (
            {"Authorization": f"Bearer {agent.token}"},
            {"Authorization": "Basic " + base64.b64encode(f"curious:{agent.token}".encode()).decode()},
        ):
            async with door.session.post(
                f"{door.url}/oauth/introspect", data={"token": token}, headers=headers
            ) as response:
                bodies.setdefault(token, set()).add(await response.read())
    assert [bodies[token] for token in (other.token, door.token, unknown, other.id)] == [{b'{"active":false}'}] * 4
    (told,) = bodies[below.token]
    assert json.loads(told)["jti"] == below.id
    async with door.session.post(
        f"{door.url}/oauth/introspect", data={"token": other.token}, headers={"Authorization": f"Bearer {unknown}"}
    ) as response:
        assert response.status == 401

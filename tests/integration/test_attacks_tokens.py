"""Attacks with tokens: forged, cut, shown in a wrong place, dead, dying on the way, guessed by time.

Each attack stands beside its honest twin, which must succeed.
"""

import ast
import asyncio
import base64
import itertools
import json
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from time import perf_counter

import pytest
import pytest_asyncio
from besieged import happened, problem, siege, till
from doorway import doorway, eventually, intent

from adapters.reference import World
from authority.grants import token_of
from ledger.errors import Unauthenticated

pytestmark = pytest.mark.asyncio(loop_scope="module")
ONE = intent(("bank.post", "88", 1))
CEDAR = '@id("P-1") permit (principal, action, resource);'
PRODUCT = Path(__file__).parents[2]
UNLIKE = {"x-request-id", "date", "content-length"}  # headers that differ from one answer to the next


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(server, template):
    async with siege(server, template, till(World())) as (door, dsn):
        yield door, dsn


@pytest.fixture
def door(opened):
    return opened[0]


async def bare(door, method, path, headers=(), data=None):
    """Send a request with exactly these headers; return the status and the bytes."""
    async with door.session.request(method, door.url + path, headers=headers, data=data) as response:
        return response.status, (await response.read()).decode()


# ── forged ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_token_but_the_very_one_that_was_issued_opens_anything(door):
    agent = await door.grant("forged", may_delegate=True)
    token, last = agent.token, agent.token[-1]
    bytes_of_it = base64.urlsafe_b64decode(token[3:] + "=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    same_bytes = token[:-1] + alphabet[alphabet.index(last) ^ 1]  # its last two bits are not part of the 32 bytes
    assert base64.urlsafe_b64decode(same_bytes[3:] + "=") == bytes_of_it
    forged = [
        token[:-1], token[1:], token[3:], token + "A", token + "=", token * 2, f"{token}.{token}", token.swapcase(),
        token[::-1], same_bytes, sha256(token.encode()).hexdigest(), "il_" + sha256(token.encode()).hexdigest(),
        bytes_of_it.hex(), agent.id, "forged", "il_", "null", "grant-operator", token_of(bytes(32)),
    ]  # fmt: skip
    before = await door.head()
    for text in forged:
        for method, path, how in (
            ("GET", "/v1/operations", {}),
            ("POST", "/v1/intents", {"json": ONE, "headers": {"Idempotency-Key": "forged"}}),
            ("POST", "/v1/grants", {"json": {"subject": {"kind": "agent", "name": "x"}, "operations": []}}),
        ):
            assert problem(await door.holding(text).ask(method, path, **how)) == (401, "unauthenticated"), text
    assert await happened(door, before) == []
    assert (await agent.get("/v1/operations"))[0] == 200
    assert (await agent.submit(ONE, "forged"))[1]["phase"] == "committed"


async def test_a_token_counts_in_one_authorization_header_and_nowhere_else(door):
    agent = await door.grant("misplaced")
    token = agent.token
    bearer = {"Authorization": f"Bearer {token}"}
    basic = base64.b64encode(f"misplaced:{token}".encode()).decode()
    before = await door.head()
    elsewhere = [
        {"Authorization": f"Basic {basic}"},
        {"Authorization": f"Token {token}"},
        {"Authorization": token},
        {"Authorization": f"Bearer {token} {token}"},
        {"Authorization": f'Bearer "{token}"'},
        {"Cookie": f"access_token={token}; Authorization=Bearer {token}"},
        {"Proxy-Authorization": f"Bearer {token}"},
        {"X-Authorization": f"Bearer {token}", "X-Forwarded-User": "operator", "X-Api-Key": token},
    ]
    for headers in elsewhere:
        assert (await bare(door, "GET", "/v1/operations", headers))[0] == 401, headers
    twice = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {door.token}")]
    assert (await bare(door, "GET", "/v1/operations", twice))[0] == 400
    for query in (
        f"access_token={token}",
        f"token={token}",
        f"Authorization=Bearer%20{token}",
        f"access%5Ftoken={token}",
    ):
        status, text = await bare(door, "GET", f"/v1/operations?{query}")
        assert status == 401
        assert token not in text
        status, text = await bare(door, "GET", f"/v1/operations?{query}", bearer)  # not even beside a good one
        assert status in {400, 422}
        assert token not in text
    body = json.dumps({**ONE, "access_token": token})
    typed = {"Content-Type": "application/json", "Idempotency-Key": "misplaced"}
    assert (await bare(door, "POST", "/v1/intents", typed, body))[0] == 401
    assert await happened(door, before) == []
    for spelt in (f"Bearer {token}", f"bearer {token}", f"BEARER  {token}"):
        assert (await bare(door, "GET", "/v1/operations", {"Authorization": spelt}))[0] == 200


# ── dead ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def every_answer(door, token):
    """Ask at every kind of route with a token; return all that comes back, byte by byte, but the request's own id."""
    form = {"token": token}
    exchange = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "client_id": "x",
        "scope": "bank.post",
    }
    mine = {"Authorization": f"Bearer {token}"}
    answers = []
    for method, path, how in (
        ("GET", "/v1/operations", {"headers": mine}),
        ("HEAD", "/v1/operations", {"headers": mine}),
        ("GET", "/v1/grants", {"headers": mine}),
        ("GET", "/v1/audit", {"headers": mine}),
        ("POST", "/v1/intents", {"headers": {**mine, "Idempotency-Key": "dead"}, "json": ONE}),
        (
            "POST",
            "/v1/intents",
            {"headers": {**mine, "Idempotency-Key": "dead-2"}, "json": intent(("bank.pots", "8", 1))},
        ),
        ("POST", "/v1/grants", {"headers": mine, "json": {}}),
        ("POST", "/oauth/token", {"data": exchange}),
        ("POST", "/oauth/introspect", {"data": form}),
        ("POST", "/oauth/introspect", {"data": {"token": door.token}, "headers": mine}),
        ("POST", "/oauth/revoke", {"data": form}),
    ):
        async with door.session.request(method, door.url + path, **how) as response:
            own = response.headers["X-Request-Id"]
            headers = {k: v for k, v in response.headers.items() if k.lower() not in UNLIKE}
            text = (await response.read()).decode().replace(own, "<id>")
            length = int(response.headers["Content-Length"]) if method == "HEAD" else 0
            answers.append((path, response.status, headers, text, length - len(own) if method == "HEAD" else 0))
    return answers


async def test_revoked_expired_and_unknown_tokens_are_one_outside_and_three_in_the_audit(door):
    revoked, expired, below, living = [
        await door.grant("one of many", **more)
        for more in ({"may_delegate": True}, {"expires_in": 1}, {"may_delegate": True}, {})
    ]
    child = await below.grant("child of one")
    for one in (revoked, below):
        await door.post(f"/v1/grants/{one.id}/revoke", {"reason": "x"})

    async def dead():
        return (await expired.get("/v1/operations"))[0] == 401

    assert await eventually(dead)
    unknown = token_of(b"nobody's token, but well-formed.")
    told = [await every_answer(door, token) for token in (unknown, revoked.token, expired.token, child.token)]
    for one in told:
        for left, right in zip(one, told[0], strict=True):
            assert left == right
    assert {status for path, status, *_ in told[0] if path.startswith("/v1")} == {401}
    statuses = {status for _, status, *_ in await every_answer(door, living.token)}
    assert 200 in statuses
    assert 401 not in statuses

    wanted = {"token_unknown": {None}, "token_expired": {expired.id}, "token_revoked": {revoked.id, child.id}}

    async def audited():
        found = {}
        for outcome in wanted:
            _, page, _ = await door.get(f"/v1/audit?outcome={outcome}&limit=500")
            found[outcome] = {entry["detail"]["grant"] for entry in page["items"]}
            assert living.id not in found[outcome]
        return all(wanted[outcome] <= found[outcome] for outcome in wanted)

    assert await eventually(audited)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"actions": [{"id": "a", "operation": "bank.pots", "params": {}}]}, "new"),
        ({"follows": "01930000-0000-7000-8000-000000000001"}, "new"),
        ({"mode": "nonsense"}, "new"),
        ({}, "known there"),
        ({"reason": "other"}, "known there"),
        ({"again": False}, "new"),
        ({}, "new"),
    ],
)
async def test_another_process_tells_a_token_that_died_elsewhere_nothing_but_that(opened, change, key):
    door, dsn = opened
    async with doorway(dsn, None, till(World())) as other:
        dead, living = await door.grant("remembered"), await door.grant("still alive")
        for one in (dead, living):
            assert (await other.holding(one.token).submit(ONE, "known there"))[1]["phase"] == "committed"
        await door.post(f"/v1/grants/{dead.id}/revoke", {"reason": "x"})
        assert problem(await other.holding(dead.token).submit({**ONE, **change}, key)) == (401, "unauthenticated")
        assert (await other.holding(living.token).submit({**ONE, **change}, key))[0] in {200, 409, 422}


@asynccontextmanager
async def on_the_way(door, token, path, body):
    """Send a request's headers, and go on when the service asks for its body; yield how to send it."""
    host, port = door.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Idempotency-Key: slow\r\nContent-Length: {len(data)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )

    async def finish():
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), 10)
        return int(answer.split(b" ", 2)[1])

    writer.write(head.encode())
    first = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert first.startswith(b"HTTP/1.1 100 ")
    try:
        yield finish
    finally:
        writer.close()
        await writer.wait_closed()


async def things_to_do(door, holder):
    """Return one request for each thing that a person may do, each possible now."""
    door.mail.loses_answers = True
    _, stuck, _ = await door.submit(intent(("mail.post", "on the way", 1)))
    door.mail.loses_answers = False
    door.bank.gate.clear()
    _, undecided, _ = await door.submit(intent(("bank.post", "on the way", 1), deadline=300), wait=None)
    _, done, _ = await door.submit(intent(("mail.post", "on the way", 1)))
    child = await holder.grant("child of it")
    task = {"task": f"of {holder.id}", "owner": "x", "scope": ["*"], "success": [], "failure_modes": []}
    return {
        f"/v1/intents/{undecided['id']}/cancel": {"reason": "x"},
        f"/v1/intents/{done['id']}/undo": {"reason": "x"},
        f"/v1/intents/{stuck['id']}/resolve": {"action": "a1", "outcome": "applied", "note": "x"},
        f"/v1/grants/{child.id}/revoke": {"reason": "x"},
        "/v1/grants": {"subject": {"kind": "agent", "name": "x"}, "operations": [{"operation": "*"}]},
        "/v1/policies": {"cedar": CEDAR.replace("P-1", holder.id)},
        "/v1/tasks": task,
        "/v1/intents": intent(("mail.post", "on the way", 1)),
    }


@pytest.mark.parametrize("place", range(8))
async def test_a_token_that_dies_while_its_request_is_on_the_way_does_nothing(door, place):
    for dies in (True, False):
        holder = await door.grant("on the way", kind="person", may_delegate=True)
        path, body = list((await things_to_do(door, holder)).items())[place]
        async with on_the_way(door, holder.token, path, body) as finish:
            before = await door.head()
            if dies:
                await door.post(f"/v1/grants/{holder.id}/revoke", {"reason": "x"})
            status = await finish()
            found = await happened(door, before)
        door.bank.gate.set()
        if dies and "/revoke" not in path:
            assert status == 401
        assert status in {200, 201, 202} or dies
        assert found == ["GrantRevoked"] if dies else found


# ── guessed ──────────────────────────────────────────────────────────────────────────────────────────────────────


TOKENS_PASS = (
    "authority/*.py",
    "gateway/door.py",
    "gateway/oauth.py",
    "gateway/routes_*.py",
    "ledger/postgres_store.py",
)


def comparisons_of_tokens():
    """Name each place on the way of a token in which one could be compared with another, letter by letter or not."""
    for path in sorted(itertools.chain.from_iterable(map(PRODUCT.glob, TOKENS_PASS))):
        for node in ast.walk(ast.parse(path.read_text())):
            found = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            words = [getattr(one, "attr", getattr(one, "id", "")) for one in found]
            told = any(word.endswith(("token", "secret", "own", "shown")) for word in words)
            if told and not all(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
                yield f"{path.name}:{node.lineno}"
        if "compare_digest" in path.read_text():
            yield f"{path.name}: compare_digest"


async def test_tokens_are_never_compared_but_looked_up_by_their_hash():
    assert list(comparisons_of_tokens()) == []
    statements = (PRODUCT / "sql" / "grants.sql").read_text()
    assert statements.count("token") == statements.count("chain_of_token") + statements.count("token_sha256 = $2") == 2


async def test_a_nearly_right_token_takes_as_long_as_a_wholly_wrong_one(door):
    """Coarse, so that it is never wrong by chance: the fastest of many answers, in turn, and twice as long passes."""
    agent = await door.grant("timed")
    near = agent.token[:-1] + ("A" if agent.token[-1] != "A" else "Q")
    far = token_of(b"shares nothing but its beginning")
    fastest = dict.fromkeys((near, far), float("inf"))
    authenticate = door.service.authority.authenticate
    for _ in range(100):
        for token in fastest:
            began = perf_counter()
            with pytest.raises(Unauthenticated):
                await authenticate(token)
            fastest[token] = min(fastest[token], perf_counter() - began)
    assert fastest[near] < 2 * fastest[far]
    assert fastest[far] < 2 * fastest[near]
    assert (await authenticate(agent.token)).grant == agent.id

"""One bad day at a time, over real processes: a database that is away, a full disk, an outside system that misbehaves.

What each day must lead to is what the design says of it, seen from outside: over HTTP and in the outside records.
"""

import asyncio
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from load import USD, action
from patience import until
from world import CLIENT_SECONDS, LEASE_SECONDS, World

from examples.demo.client import Client
from examples.demo.processes import Service
from gateway.embedded_postgres import EmbeddedPostgres

pytestmark = pytest.mark.asyncio(loop_scope="module")
EFFECTS = {"confirm", "credit", "transfer"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world():
    with temporary_directory() as directory:
        async with World(directory, coordinators=1) as found:
            yield found


@contextmanager
def temporary_directory():
    with tempfile.TemporaryDirectory(prefix="il-") as directory:
        Path(directory).chmod(0o755)  # as root: PostgreSQL's user must pass through
        yield Path(directory)


@pytest.fixture
def door(world):
    return world.doors[0]


@pytest.fixture
def submit(world, door, request):
    """Submit an intent and wait until it has ended or waits for a person."""
    numbers = iter(range(100))

    async def send(*actions, deadline=60, seconds=30):
        body = {
            "task": "bad day",
            "again": True,
            "reason": request.node.name[:200],
            "deadline": deadline,
            "actions": list(actions),
        }
        key = f"{abs(hash(request.node.nodeid))}-{next(numbers)}"
        status, shown = await door.submit(key, body)
        assert status in {200, 202}, shown
        return await door.until(shown["id"], seconds)

    return send


def refund(number=0):
    return action("refund", "payments.refund", charge=f"ch_{number}", amount=1, **USD)


def credit():
    return action("credit", "payments.credit", account="acct_1", amount=1, **USD)


def transfer():
    return action("transfer", "payments.transfer", account="acct_1", amount=1, **USD)


async def effects_of(world, door, shown):
    """Count what the payments service recorded under the keys of an intent's actions."""
    events = (await door.get(f"/v1/intents/{shown['id']}/events"))["items"]
    keys = {plan["key"] for plan in events[0]["body"]["actions"]}
    found = Counter(line["what"] for line in world.stage.paid() if line.get("key") in keys)
    return {what: count for what, count in found.items() if what in EFFECTS}


# ── an outside system that misbehaves ────────────────────────────────────────────────────────────────────────────

HANG = {"answer": "hang", "moment": "before", "seconds": 2.5}


@pytest.mark.parametrize(
    "fault",
    [
        HANG,
        {"answer": "rubbish"},
        {"answer": "huge"},
        {"answer": "500"},
        {"answer": "500", "moment": "before"},
        {"answer": "409", "moment": "before"},
        {"answer": "lose"},
        {"answer": "lose", "count": 2},
        {"answer": "delay", "moment": "before", "seconds": 2.5},  # it happens after we have stopped waiting
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
@pytest.mark.parametrize(
    ("one", "on", "effect"),
    [(refund, "hold", "confirm"), (refund, "confirm", "confirm"), (credit, "credit", "credit")],
    ids=["hold", "confirm", "credit"],
)
async def test_what_may_be_repeated_happens_once_whatever_is_answered(world, door, submit, one, on, effect, fault):
    await world.misbehave(on=on, **fault)
    shown = await submit(one())
    assert shown["phase"] == "committed"
    assert await effects_of(world, door, shown) == {effect: 1}


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        (HANG, "CommitFoundAbsent"),
        ({"answer": "500", "moment": "before"}, "CommitFoundAbsent"),
        ({"answer": "409", "moment": "before"}, "CommitFoundAbsent"),
        ({"answer": "500"}, "ActionDone"),
        ({"answer": "rubbish"}, "ActionDone"),
        ({"answer": "huge"}, "ActionDone"),
        ({"answer": "lose"}, "ActionDone"),
    ],
    ids=lambda value: "-".join(str(one) for one in value.values()) if isinstance(value, dict) else value,
)
async def test_what_must_not_be_repeated_is_asked_about_first(world, door, submit, fault, asked):
    await world.misbehave(on="transfer", **fault)
    shown = await submit(transfer())
    events = [event["type"] for event in (await door.get(f"/v1/intents/{shown['id']}/events"))["items"]]
    assert shown["phase"] == "committed"
    assert await effects_of(world, door, shown) == {"transfer": 1}
    assert events[events.index("CommitInDoubt") + 1] == asked


async def test_a_refusal_undoes_what_was_done(world, door, submit):
    await world.misbehave(on="transfer", answer="422", moment="before")
    shown = await submit(credit(), transfer() | {"after": ["credit"]})
    assert shown["phase"] == "compensated"
    assert {one["id"]: one["step"] for one in shown["actions"]} == {"credit": "undone", "transfer": "failed"}
    assert await effects_of(world, door, shown) == {"credit": 1}


async def test_a_vote_after_the_deadline_is_refused_and_holds_nothing(world, door, submit):
    await world.misbehave(on="hold", answer="delay", moment="before", seconds=3)
    shown = await submit(refund(), deadline=1)
    assert shown["phase"] == "aborted"
    key = (await door.get(f"/v1/intents/{shown['id']}/events"))["items"][0]["body"]["actions"][0]["key"]
    await world.misbehave(on="look", answer="delay", seconds=0)
    await until(lambda: any(line.get("key") == key for line in world.stage.paid()), 5, "the release")
    await asyncio.sleep(3)  # the late hold arrives in this time, and finds the tombstone
    assert [line["what"] for line in world.stage.paid() if line.get("key") == key] == ["release"]


async def test_an_outside_system_that_is_away_delays_only_its_own_intents(world, door, submit):
    await world.stage.payments.kill()
    try:
        status, waiting = await door.submit(
            "away", {"task": "t", "again": True, "reason": "r", "deadline": 60, "actions": [refund()]}
        )
        assert status == 202
        crm = action("crm", "crm.update", customer="7", status="closed", tag="away")
        assert (await submit(crm, seconds=5))["phase"] == "committed"
        assert (await door.intent(waiting["id"]))["phase"] in {"submitted", "preparing"}  # it has no facts to show yet
    finally:
        await world.stage.payments.start()
    assert (await door.until(waiting["id"], 30))["phase"] == "committed"


async def test_a_mail_server_that_is_away_or_busy_for_good_fails_the_mail_and_undoes_the_rest(world, submit):
    mail = action("mail", "email.send", to="refuse.me@example.com", subject="s", text="t")
    shown = await submit(credit(), mail | {"after": ["credit"]})
    assert shown["phase"] == "compensated"
    assert not any("refuse.me@example.com" in line["recipients"] for line in world.stage.mailed())


# ── the ledger's database ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_database_that_is_away_at_start_is_waited_for(world, open_directory):
    postgres = EmbeddedPostgres(open_directory / "late")
    await postgres.start()
    await postgres.stop()
    elsewhere = {"INTENTLEDGER_DSN": postgres.dsn(), "INTENTLEDGER_DATA": str(open_directory / "data")}
    service = Service("early", open_directory, world.settings | elsewhere)
    await service.start()
    try:
        async with Client(service.url, "none") as stranger:
            await until(lambda: answers(stranger, "/healthz", 200), 30, "a process that listens")
            status, problem = await stranger.ask("POST", "/v1/intents", {"reason": "early"})
            assert (status, problem["type"]) == (503, "urn:intent-ledger:problem:not-ready")
            assert await answers(stranger, "/readyz", 503)
            assert service.pid is not None
            await postgres.start()
            await until(lambda: answers(stranger, "/readyz", 200), 30, "the service to find its database")
    finally:
        await service.stop()
        await postgres.stop()


async def answers(client, path, wanted):
    return (await client.ask("GET", path))[0] == wanted


async def test_a_database_that_goes_away_in_the_middle_costs_a_503_and_nothing_else(world, door, submit):
    await world.misbehave(on="hold", answer="delay", seconds=1.4)
    body = {"task": "t", "again": True, "reason": "r", "deadline": 120, "actions": [refund(), credit()]}
    status, before = await door.submit("in the middle", body)
    assert status == 202
    async with world.without(world.postgres):
        status, headers = await post(world, "while it is away", body)
        assert status == 503
        assert int(headers["Retry-After"]) >= 1
        await until(lambda: answers(door, "/readyz", 503), 30, "the service to say so")
        assert world.coordinators[0].pid is not None
    await until(lambda: answers(door, "/readyz", 200), 60, "the service to find its database again")
    assert (await door.until(before["id"], 60))["phase"] == "committed"
    assert await effects_of(world, door, before) == {"confirm": 1, "credit": 1}
    assert (await submit(refund()))["phase"] == "committed"


async def post(world, key, body):
    """Submit once; return the status and the headers of the answer."""
    headers = {"Authorization": f"Bearer {world.token_file.read_text().strip()}", "Idempotency-Key": key}
    async with (
        aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(30)) as session,
        session.post(world.coordinators[0].url + "/v1/intents", json=body) as response,
    ):
        return response.status, response.headers


# ── poison ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_poison_is_parked_and_named_and_the_others_go_on(world, open_directory):
    """An event that this release does not know stands in an intent's stream, as after a downgrade."""
    service = Service("poisoned", open_directory, world.settings | {"INTENTLEDGER_LEDGER": "poisoned"})
    await service.start()
    try:
        await service.ready()
        token = world.token_file.with_name("operator-poisoned.token").read_text().strip()
        async with Client(service.url, token, CLIENT_SECONDS) as door:
            await world.misbehave(on="hold", **(HANG | {"count": 3}))
            body = {"task": "t", "again": True, "reason": "poison", "deadline": 300, "actions": [refund()]}
            _, poison = await door.submit("poison", body)
            position = await add_unknown_event(world.postgres.dsn(), "poisoned", poison["id"])
            await until(lambda: names(door, position), LEASE_SECONDS + 20, "the views to name the event")
            assert (await door.ask("GET", f"/v1/intents/{poison['id']}"))[0] == 500
            await until(lambda: parked(world.postgres.dsn(), poison["id"]), 20, "the intent to be parked")
            body = {"task": "t", "again": True, "reason": "other", "actions": [credit()]}
            for number in range(3):
                _, other = await door.submit(f"other-{number}", body)
                assert (await door.until(other["id"], 20))["phase"] == "committed"
            assert await names(door, position)
    finally:
        await service.stop()


async def add_unknown_event(dsn, ledger, intent):
    """Write what a newer release might have written; return its position."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        async with connection.transaction():
            move = "update intent_ledger.heads set position = position + 1 where ledger = $1 returning position"
            position = await connection.fetchval(move, ledger)
            await connection.execute(
                "insert into intent_ledger.events (ledger, position, stream, version, type, at, body)"
                " select ledger, $2, stream, max(version) + 1, 'FromTheFuture', clock_timestamp(), '{}'"
                " from intent_ledger.events where ledger = $1 and stream = $3 group by ledger, stream",
                *(ledger, position, f"intent/{intent}"),
            )
    finally:
        await connection.close()
    return position


async def names(door, position):
    status, views = await door.ask("GET", "/v1/projections")
    return status == 200 and all(f"{position}" in (view["failure"] or "") for view in views["items"])


async def parked(dsn, intent):
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        query = "select due_at = 'infinity' from intent_ledger.in_flight where intent = $1"
        return await connection.fetchval(query, intent)
    finally:
        await connection.close()

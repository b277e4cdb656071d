"""A ledger of release 0.1, with all that it may hold, brought to this release: its grant, and what is in flight."""

import json

import asyncpg
import pytest

import sql
from ledger import events as e
from ledger.database import open_pool
from ledger.events import decode
from ledger.intents import Subject
from ledger.migrations import migrate
from ledger.postgres_store import PostgresStore
from ledger.store import (
    Append,
    Appended,
    EpochCurrent,
    Finished,
    GrantAlive,
    KeyUnused,
    PolicyActive,
    Revoke,
    StandingGrant,
    Submission,
    Unlike,
)

RELEASE_0_1 = {name: text for name, text in sql.migrations().items() if name < "014"}
OPERATOR = "grant-operator"
TOKEN = "7d" * 32
GRANT = (  # as release 0.1 wrote it
    b'{"grant":"grant-operator","operations":["*"],"parent":null,'
    b'"subject":{"kind":"person","name":"operator","role":null,"version":null},"token_sha256":"'
    + TOKEN.encode()
    + b'"}'
)


def submitted(intent: str) -> bytes:
    """Return a submission as release 0.1 wrote it, with words in it that jsonb cannot hold."""
    return json.dumps(
        {
            "intent": intent,
            "idempotency_key": "k",
            "request_digest": "d",
            "agent": {"kind": "person", "name": "operator", "version": None, "role": None},
            "grant": OPERATOR,
            "custody": [OPERATOR],
            "commissioned_by": None,
            "task": None,
            "reason": 'NULs \x00\x00 \\\x00, no NUL \\u0000, and "grant": "another"',
            "confidence": None,
            "mode": "execute",
            "deadline_seconds": 30,
            "context": {"grant": "not this one", "nul": "\x00"},
            "actions": [],
        },
        separators=(",", ":"),
        sort_keys=True,
    ).encode()


@pytest.fixture
async def old(empty_dsn):
    """A database of release 0.1 in which an intent waits, another is leased, and a third has ended."""
    await migrate(empty_dsn, RELEASE_0_1)
    owner = await asyncpg.connect(empty_dsn)
    append = "select * from intent_ledger.append($1, $2, $3)"
    for ledger in ("main", "empty"):
        await owner.execute("insert into intent_ledger.heads (ledger) values ($1)", ledger)
    items = [{"stream": "grants", "version": 0, "types": ["GrantIssued"]}]
    bodies = [GRANT]
    works = {
        "waits": {"work": "parked"},
        "leased": {"work": "take", "worker": "w1", "lease_seconds": 0},
        "ended": {"work": "finished"},
    }
    for intent, work in works.items():
        claim = {"intent": intent, "subject": OPERATOR, "key": intent, "digest": "d"}
        items.append({"stream": f"intent/{intent}", "version": 0, "types": ["IntentSubmitted"]} | claim | work)
        bodies.append(submitted(intent))
    rows = await owner.fetch(append, "main", json.dumps(items), bodies)
    assert [row["verdict"] for row in rows] == ["appended"] * 4
    await owner.close()
    return empty_dsn


@pytest.fixture
async def upgraded(old):
    assert await migrate(old) == [name for name in sql.migrations() if name not in RELEASE_0_1]
    pool = await open_pool(old, 6)
    store = PostgresStore(pool, "main")
    await store.start()
    yield store
    await store.stop()
    await pool.close()


async def test_the_operators_grant_is_alive_with_the_bytes_in_which_it_was_issued(upgraded):
    expected = e.GrantIssued(
        grant=OPERATOR,
        parent=None,
        subject=Subject(kind="person", name="operator"),
        token_sha256=TOKEN,
        operations=("*",),
    )
    assert list(await upgraded.chain(token_sha256=TOKEN)) == [StandingGrant(expected, revoked=False)]
    assert await upgraded._pool.fetchval("select issued from intent_ledger.grants") == GRANT
    assert decode("GrantIssued", GRANT) == expected


async def test_what_was_in_flight_is_under_the_grant_of_its_submission(upgraded):
    assert list(await upgraded.in_flight_under(OPERATOR)) == ["leased", "waits"]
    assert [(one.intent, one.alive) for one in await upgraded.claim("w2", 10, 60.0)] == [("leased", True)]


async def test_revoking_the_old_grant_reaches_what_was_in_flight(upgraded):
    revoked = Append(
        stream="grants",
        expected_version=1,
        events=(e.GrantRevoked(grant=OPERATOR, reason="new owner", by="dana"),),
        change=Revoke(OPERATOR),
    )
    assert isinstance(await upgraded.append(revoked), Appended)
    claimed = {one.intent: one.alive for one in await upgraded.claim("w2", 10, 60.0)}
    assert claimed == {"leased": False, "waits": False}


async def test_old_keys_are_used_and_old_submissions_are_like_nothing(upgraded):
    assert await upgraded.submission(OPERATOR, "ended") == Submission("ended", "d")
    done = (e.ActionDone(action="a", result={}),)
    guards = (KeyUnused("agent", "new", "d"), Unlike("anything", 3600))
    again = Append(stream="intent/new", expected_version=0, events=done, guards=guards)
    assert isinstance(await upgraded.append(again), Appended)


async def test_old_intents_go_on_under_the_guards_of_this_release(upgraded):
    (leased,) = await upgraded.claim("w2", 10, 60.0)
    ended = Append(
        stream="intent/leased",
        expected_version=1,
        events=(e.ActionDone(action="a", result={}),),
        guards=(EpochCurrent(leased.epoch), GrantAlive(OPERATOR), PolicyActive(None)),
        work=Finished(),
    )
    assert isinstance(await upgraded.append(ended), Appended)


async def test_a_ledger_without_a_grant_is_brought_to_this_release_too(upgraded):
    assert await upgraded._pool.fetchval("select count(*) from intent_ledger.grants where ledger = 'empty'") == 0


async def test_a_process_of_release_0_1_that_still_runs_is_answered_in_its_own_words(upgraded):
    """Its queries name the columns that they want, and those are still there."""
    item = {"stream": "intent/late", "version": 0, "types": ["IntentCommitted"], "intent": "late", "work": "due"}
    row = await upgraded._pool.fetchrow(
        "select verdict, first_position, at, epoch, actual_version, key_intent, key_digest "
        "from intent_ledger.append($1, $2, $3)",
        "main",
        json.dumps([item]),
        [b"{}"],
    )
    assert row["verdict"] == "appended"
    rows = await upgraded._pool.fetch("select intent, epoch from intent_ledger.claim('main', 'old', 10, 60)")
    assert {row["intent"] for row in rows} == {"leased", "late"}

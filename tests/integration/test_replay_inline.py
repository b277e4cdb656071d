"""The inline tables against the events: after a working day they are the same; what is not is found, named and mended.

More days end with the same question: `inline_tables_are_what_events_say` in the tests of limits, grants and undo plans.
"""

import asyncpg
import pytest
from doorway import doorway, eventually, intent
from views import inline_tables_are_what_events_say

from ledger.database import connect
from ledger.errors import Misconfigured
from projections.inline_replay import INLINE, fill_inline, replay_inline

POLICIES = (
    '@id("P-1") permit (principal, action, resource) when { context.params.amount < 50 };\n'
    '@id("P-2") permit (principal, action == Action::"bank.post#with_approval", resource);'
)
TASK = {
    "task": "close the account",
    "owner": "dana",
    "scope": ["bank.*"],
    "success": [{"verify": "bank.post", "params": {"account": "88", "amount": 1}, "expect": {"balance": 5}}],
}


async def working_day(door):
    """Leave something in every inline table, and something of it behind; return the intent that waits for a person."""
    await door.post("/v1/policies", {"cedar": POLICIES, "activate": True})
    await door.post("/v1/tasks", TASK)
    manager = await door.grant("manager", kind="person", may_delegate=True, expires_in=3600)
    limits = [
        {"operation": "*", "measure": "count", "per": "hour", "max": 50},
        {"operation": "bank.*", "measure": "count", "per": "total", "max": 50},
    ]
    agent = await manager.grant("payments", "bank.*", "mail.*", limits=limits, may_delegate=True)
    below = await agent.grant("payments-helper", "bank.*")
    gone = await door.grant("gone")
    for who, body in (
        (agent, intent(("bank.post", "88", 5))),
        (agent, intent(("bank.post", "88", 1), task="close the account")),
        (agent, intent(("bank.post", "nobody", -7))),  # refused
        (below, intent(("mail.post", "88", 1))),  # denied
        (agent, intent(("bank.post", "88", 1), mode="dry_run")),
        (gone, intent(("bank.post", "88", 1))),
    ):
        assert (await who.submit(body))[0] == 200
    _, undone, _ = await agent.submit(intent(("bank.post", "88", 3)))
    assert (await door.post(f"/v1/intents/{undone['id']}/undo", {"reason": "a mistake"}))[0] == 200
    door.mail.loses_answers = True
    _, stuck, _ = await agent.submit(intent(("mail.post", "box", 1)))
    assert stuck["attention"]
    assert (await door.post(f"/v1/grants/{gone.id}/revoke", {"reason": "the end"}))[0] == 200
    assert (await door.post(f"/v1/grants/{below.id}/suspend", {"reason": "a look"}))[0] == 200
    _, waiting, _ = await agent.submit(intent(("bank.post", "88", 120)))
    assert waiting["phase"] == "awaiting_approval"
    return waiting


async def differing(dsn, *, swap=False):
    connection = await connect(dsn)
    try:
        found = await replay_inline(connection, "main", swap=swap)
    finally:
        await connection.close()
    assert [one.name for one in found] == list(INLINE)
    return {one.name: one for one in found if not one.equal}


@pytest.fixture
async def after_a_day(dsn):
    async with doorway(dsn) as door:
        waiting = await working_day(door)
        await inline_tables_are_what_events_say(dsn)
    return dsn, waiting


TAMPERED = {
    "heads": "update intent_ledger.heads set policy_set = null",
    "grants": "update intent_ledger.grants set ended = false, suspensions = 0 where ended or suspensions > 0",
    "limits": "update intent_ledger.limits set used = used - 1",
    "submissions": "update intent_ledger.submissions set request_digest = 'sha256:0' where subject like '%payments'",
    "in_flight": "delete from intent_ledger.in_flight",
    "outbox": "insert into intent_ledger.outbox values ('main', 1, now(), now(), 0)",
}
FORGED = {
    "grants": (
        "insert into intent_ledger.grants (ledger, grant_id, token_sha256, expires_at, issued)"
        " values ('main', 'grant-eve', 'of eve', 'infinity', '')"
    ),
    "limits": "insert into intent_ledger.limits values ('main', 'grant-eve/0', '-infinity', -0)",
    "submissions": "insert into intent_ledger.submissions values ('main', 'eve', 'key', 'intent', 'digest')",
    "in_flight": "insert into intent_ledger.in_flight (ledger, intent, due_at, epoch) values ('main', 'eve', now(), 1)",
}


async def test_what_no_event_says_is_found_named_and_mended(after_a_day):
    dsn, _ = after_a_day
    owner = await asyncpg.connect(dsn)
    assert await differing(dsn) == {}
    for name, statement in [*TAMPERED.items(), *FORGED.items()]:
        assert (await owner.execute(statement)).split()[-1] != "0", name
        wrong = await differing(dsn)
        assert wrong.keys() == {name}
        assert wrong[name].difference.live != wrong[name].difference.rebuilt
        assert (await differing(dsn, swap=True)).keys() == {name}, "it was wrong, and says so"
        assert await differing(dsn) == {}
    await owner.close()


async def test_a_mended_table_keeps_what_events_cannot_tell(after_a_day):
    dsn, _ = after_a_day
    owner = await asyncpg.connect(dsn)
    leases = "select intent, due_at, epoch, worker from intent_ledger.in_flight order by intent"
    likeness = "select key, likeness, submitted_at from intent_ledger.submissions order by key"
    before = await owner.fetch(leases), await owner.fetch(likeness)
    await owner.execute(TAMPERED["submissions"])
    await differing(dsn, swap=True)
    assert (await owner.fetch(leases), await owner.fetch(likeness)) == before
    await owner.close()


async def test_who_does_not_own_the_tables_compares_and_changes_nothing(after_a_day):
    dsn, _ = after_a_day
    owner = await asyncpg.connect(dsn)
    await owner.execute(FORGED["grants"])
    await owner.execute("set role intent_ledger_app")
    with pytest.raises(Misconfigured, match="changed by their owner only"):
        await replay_inline(owner, "main", swap=True)
    await owner.close()
    assert (await differing(dsn)).keys() == {"grants"}


async def test_a_service_goes_on_with_inline_tables_made_from_the_events_alone(after_a_day):
    dsn, waiting = after_a_day
    owner = await connect(dsn)
    tables = ("outbox", "in_flight", "submissions", "limits", "grants", "heads")
    async with owner.transaction():
        for table in tables:
            await owner.execute(f"delete from intent_ledger.{table}")
        await fill_inline(owner, "main")
    await owner.close()
    assert await differing(dsn) == {}
    async with doorway(dsn) as door:
        dana = await door.grant("dana", kind="person")
        said = {"digest": waiting["digest"], "note": "seen"}
        assert (await dana.post(f"/v1/intents/{waiting['id']}/approve", said))[0] == 200

        async def moved_on():
            return (await door.get(f"/v1/intents/{waiting['id']}"))[1]["phase"] != "awaiting_approval"

        assert await eventually(moved_on)
        await inline_tables_are_what_events_say(dsn)

"""Reconciliation: somebody changes the outside behind our back, and the ledger comes to know it, once."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from adapter_worlds import PostgresOutside
from commands import COMMAND, environment
from doorway import Doorway, doorway, eventually, intent
from payments_world import PAYMENTS, HttpOutside

import sql
from adapters.http.adapter import HttpAdapter
from adapters.http.tables import HttpTable
from adapters.postgres.adapter import PostgresAdapter
from coordinator.reconciler import Passed, Reconciler
from gateway.reconciliation import ReconcileTable, Reconciliation
from ledger.errors import Transient
from ledger.ids import reconciliation_stream
from projections.divergences import DIVERGENCES
from projections.replay import replay

EVER = datetime(2000, 1, 1, tzinfo=UTC)


class Outside:
    """A database and a payments service of which the ledger is not the only user."""

    def __init__(self, door: Doorway, crm: PostgresOutside, payments: HttpOutside, database: PostgresAdapter) -> None:
        self.database = database
        self.door = door
        self.crm = crm
        self.payments = payments
        service = door.service
        self.part = self.made(ReconcileTable())
        self.pool = service.pool

    def made(self, table: ReconcileTable) -> Reconciliation:
        service = self.door.service

        def reconciler(moved: Any) -> Reconciler:
            return Reconciler(service.store, service.registry, service.coordinator.calls, moved)

        return Reconciliation(service.pool, service.store, service.follower, reconciler, table)

    async def reconcile(self, since: datetime | None = EVER) -> Passed:
        return await self.part.now(since, 1_000)

    async def did(self, operation: str, **params: Any) -> str:
        body = intent() | {"actions": [{"id": "one", "operation": operation, "params": params}]}
        status, shown, _ = await self.door.submit(body)
        assert (status, shown["phase"]) == (200, "committed"), shown
        return str(shown["id"])

    async def divergences(self, **query: Any) -> list[dict[str, Any]]:
        position = await self.door.head()
        asked = "&".join(f"{name}={value}" for name, value in {**query, "min_position": position}.items())
        status, page, _ = await self.door.get(f"/v1/divergences?{asked}")
        assert status == 200, page
        return page["items"]


@pytest.fixture
async def outside(dsn: str, empty_dsn: str, tmp_path) -> AsyncIterator[Outside]:
    crm, payments = await PostgresOutside(empty_dsn).start(), await HttpOutside("credit", tmp_path / "journal").start()
    table = copy.deepcopy(PAYMENTS) | {"url": payments.url}
    table["operations"]["credit"]["inquire"]["absent"] = [404, "reversed"]
    http = HttpAdapter("payments", HttpTable.model_validate_json(json.dumps(table)), {})
    database = PostgresAdapter("crm", crm.table, lambda: crm._proxied)
    async with doorway(dsn, None, database, http) as door:
        yield Outside(door, crm, payments, database)
    await crm.stop()
    await payments.stop()


async def test_an_outside_that_agrees_leaves_no_trace(outside: Outside) -> None:
    await outside.did("crm.update", customer="88", status="refunded")
    await outside.did("payments.credit", account="a", amount=4200, currency="USD")
    await outside.did("bank.post", account="alice", amount=5)
    await outside.did("mail.post", account="bob", amount=5)
    before = await outside.door.head()
    passed = await outside.reconcile()
    assert (passed.found, passed.standing, passed.diverged, passed.untold) == ([], [], 0, 0)
    assert passed.agreed == 8, "three are there, three are shown as they were left, two repeat their parameters"
    assert await outside.door.head() == before
    _, page, _ = await outside.door.get("/v1/divergences")
    assert page["items"] == []
    assert (page["last"]["intents"], page["last"]["agreed"]) == (4, 8)


async def test_a_row_that_somebody_changes_is_found_once_and_gone_once_it_is_put_right(outside: Outside) -> None:
    changed = await outside.did("crm.update", customer="88", status="refunded")
    await outside.did("crm.update", customer="89", status="refunded")
    await outside.crm.system.execute("update customers set status = 'active' where id = '88'")
    await outside.crm.system.execute("update customers set age = 7 where id = '89'")  # no agent ever changed that
    first, second = await outside.reconcile(), await outside.reconcile()
    assert [(one.intent, one.aspect, one.expected, one.found) for one in first.found] == [
        (changed, "shown", {"status": "refunded"}, {"status": "active"})
    ]
    assert (second.found, second.standing) == ([], first.found), "it stands, and is not found again"
    (row,) = await outside.divergences(standing="true")
    assert (row["intent"], row["action"], row["operation"]) == (changed, "one", "crm.update")
    assert (row["reason"], row["summary"]) == ("It differs in status.", "set customer 88 to refunded")

    await outside.crm.system.execute("update customers set status = 'refunded' where id = '88'")
    third = await outside.reconcile()
    assert [(one.intent, one.aspect, one.cause) for one in third.gone] == [(changed, "shown", "agrees")]
    assert (await outside.reconcile()).gone == []
    (row,) = await outside.divergences(intent=changed)
    assert (row["standing"], row["cause"]) == (False, "agrees")
    assert await outside.divergences(standing="true") == []
    recorded = await outside.door.service.store.read(reconciliation_stream(changed))
    assert [one.type for one in recorded] == ["DivergenceFound", "DivergenceGone"]

    _, audit, _ = await outside.door.get(f"/v1/audit?operation=crm.update&min_position={await outside.door.head()}")
    told = [entry["sentence"] for entry in audit["items"] if entry["kind"] == "reconcile"]
    assert (
        told[0]
        == "The outside no longer differs from what Operator did: set customer 88 to refunded: It is as it was left"
    )
    assert told[1].startswith(
        "The outside differs from what Operator did: set customer 88 to refunded, where crm.update"
    )
    assert told[1].endswith(" shows status active, not status refunded")
    (rebuilt,) = await replay(outside.pool, "main", [DIVERGENCES])
    assert rebuilt.equal


async def test_a_row_that_a_later_intent_changed_is_no_divergence(outside: Outside) -> None:
    first = await outside.did("crm.update", customer="88", status="refunded")
    await outside.crm.system.execute("update customers set status = 'active' where id = '88'")
    assert [one.intent for one in (await outside.reconcile()).found] == [first]
    await outside.did("crm.update", customer="88", status="refunded")
    await outside.did("crm.update", customer="88", status="active")
    passed = await outside.reconcile()
    assert (passed.found, [(one.intent, one.cause) for one in passed.gone]) == ([], [(first, "overtaken")])


async def test_an_intent_that_comes_while_we_look_explains_what_is_shown(outside: Outside) -> None:
    await outside.did("crm.update", customer="88", status="refunded")
    look, came = outside.database.preview, []

    async def interrupted(call: Any) -> Any:
        if not came:
            came.append(call)
            await outside.did("crm.update", customer="88", status="active")
        return await look(call)

    outside.database.preview = interrupted  # type: ignore[method-assign]
    passed = await outside.reconcile()
    assert came
    assert (passed.diverged, passed.found) == (1, []), (
        "it differs from what the first intent left, and is no divergence"
    )
    assert (await outside.reconcile()).diverged == 0


async def test_an_effect_that_is_reversed_or_changed_behind_our_back_is_found_by_asking_for_its_key(
    outside: Outside,
) -> None:
    reversed_, changed = [
        await outside.did("payments.credit", account=account, amount=4200, currency="USD") for account in "ab"
    ]
    keys = outside.payments.payments._keys
    by_account = {one["account"]: one for one in keys.values()}
    by_account["a"]["status"], by_account["b"]["amount"] = "reversed", 9900
    passed = await outside.reconcile()
    assert {(one.intent, one.aspect, str(one.expected), str(one.found)) for one in passed.found} == {
        (reversed_, "standing", "{'effect': 'applied'}", "{'effect': 'absent'}"),
        (changed, "result", str(EXPECTED), str(EXPECTED | {"amount": 9900})),
    }
    status, _, _ = await outside.door.post(f"/v1/intents/{changed}/undo", {"reason": "It is not what was asked for"})
    assert status == 200
    await eventually(lambda: _phase(outside.door, changed, "compensated"))
    after = await outside.reconcile()
    assert [(one.intent, one.aspect, one.cause) for one in after.gone] == [(changed, "result", "overtaken")]
    assert [one.intent for one in after.standing] == [reversed_]


EXPECTED = {"account": "b", "amount": 4200, "currency": "USD"}


async def _phase(door: Doorway, name: str, phase: str) -> bool:
    return (await door.get(f"/v1/intents/{name}"))[1]["phase"] == phase


async def test_a_system_that_is_away_tells_nothing_and_reconciling_changes_nothing_there(outside: Outside) -> None:
    await outside.did("crm.update", customer="88", status="refunded")
    await outside.crm.system.execute("update customers set status = 'active' where id = '88'")
    assert len((await outside.reconcile()).found) == 1
    changes = await outside.crm.system.fetchval("select count(*) from changes")
    fence = await outside.crm.system.fetch("select * from public.intent_ledger_fence")

    async def silent(_: Any) -> Any:
        raise Transient("It is away.", silent=True)

    outside.database.inquire = outside.database.preview = silent  # type: ignore[method-assign]
    passed = await outside.reconcile()
    assert (passed.untold, passed.found, passed.gone, len(passed.standing)) == (2, [], [], 1)
    assert await outside.crm.system.fetchval("select count(*) from changes") == changes
    assert await outside.crm.system.fetch("select * from public.intent_ledger_fence") == fence


async def test_two_processes_that_look_at_once_record_a_divergence_once(outside: Outside) -> None:
    changed = await outside.did("crm.update", customer="88", status="refunded")
    await outside.crm.system.execute("update customers set status = 'active' where id = '88'")
    await asyncio.gather(*[outside.made(ReconcileTable()).now(EVER, 1_000) for _ in range(4)])
    recorded = await outside.door.service.store.read(reconciliation_stream(changed))
    assert [one.type for one in recorded] == ["DivergenceFound"]


async def test_on_a_schedule_one_process_looks_and_no_more_calls_leave_than_may(outside: Outside) -> None:
    changed = await outside.did("crm.update", customer="88", status="refunded")
    await outside.crm.system.execute("update customers set status = 'active' where id = '88'")
    parts = [outside.made(ReconcileTable(every_seconds=3_600, calls_per_second=10)) for _ in range(2)]
    for part in parts:
        part.start()
    try:
        rows = await eventually(lambda: outside.divergences(standing="true"))
        assert [row["intent"] for row in rows] == [changed]
        _, page, _ = await eventually(lambda: _ended(outside.door))
        assert page["last"]["calls"] == 2
    finally:
        for part in parts:
            await part.stop()
    begun = await outside.pool.fetchval(sql.query("reconcile.begin"), "main", 3_600, False)
    assert begun is None, "it is not due before the hour is over, whichever process asks"


async def _ended(door: Doorway) -> Any:
    found = await door.get("/v1/divergences")
    return found if found[1]["last"] is not None else None


async def test_nonsense_is_refused_by_name(outside: Outside) -> None:
    for query in ("standing=perhaps", "intent=x", "after=-1", "limit=0", "colour=red"):
        status, problem, _ = await outside.door.get(f"/v1/divergences?{query}")
        assert (status, problem["errors"][0]["path"]) == (422, f"/{query.partition('=')[0]}")


async def test_the_command_says_what_differs_and_ends_with_1(outside: Outside, dsn: str, tmp_path) -> None:
    await outside.did("crm.update", customer="88", status="refunded")
    config = tmp_path / "intentledger.toml"
    config.write_text("[reconcile]\ncalls_per_second = 100\n" + CRM_TOML)
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *("reconcile", "--config", str(config), "--since", "1h", "--json"),
        env=environment({"INTENTLEDGER_DSN": dsn, "INTENTLEDGER_DATA": str(tmp_path), "CRM_DSN": outside.crm._proxied}),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    said = json.loads(out)
    assert (process.returncode, said["agreed"], said["standing"]) == (0, 2, []), said


CRM_TOML = """
[adapters.crm]
type = "postgres"
dsn = { env = "CRM_DSN" }

[adapters.crm.operations.update]
undo = "none"
preview = "select id, status, age from customers where id = :customer"
statements = [{ sql = "update customers set status = :status where id = :customer" }]

[adapters.crm.operations.update.params]
type = "object"
additionalProperties = false
properties = { customer = { type = "string" }, status = { type = "string" } }
"""

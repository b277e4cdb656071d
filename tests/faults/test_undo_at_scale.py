"""Many intents undone by real processes that are killed with -9 in the middle: each is undone once, in its order.

The judge reads only what the payments service itself has written down.

    UNDO_INTENTS   how many to undo; 1000 by default, which takes some ten seconds
"""

import asyncio
import os
import tempfile
from collections import Counter
from pathlib import Path
from string import Template

import pytest
from patience import until

from examples.demo.client import Client
from examples.demo.processes import Outside, Service
from examples.journal import read

INTENTS = int(os.environ.get("UNDO_INTENTS", "1000"))
OPERATIONS = ("credit", "loan")  # undone by a follow-up, and exactly
LEASE_SECONDS = 1.0
CONFIGURATION = """
[adapters.payments]
type = "http"
url = "http://127.0.0.1:$port"
allow_private = true
"""
OPERATION = """
[adapters.payments.operations.$name]
guarantee = "idempotent"
undo = "$undo"

[adapters.payments.operations.$name.params]
type = "object"
additionalProperties = false
required = ["account", "amount", "currency"]

[adapters.payments.operations.$name.params.properties]
account = { type = "string" }
amount = { type = "integer", minimum = 1 }
currency = { type = "string" }

[adapters.payments.operations.$name.commit]
path = "/credits"
body = { account = "{account}", amount = "{amount}", currency = "{currency}" }

[adapters.payments.operations.$name.compensate]
path = "/reversals"
body = { of = "{result.id}" }
"""


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory(prefix="il-") as made:
        yield Path(made)


@pytest.fixture
async def payments(directory):
    outside = Outside("examples.payments", directory / "payments.jsonl")
    await outside.start()
    yield outside
    await outside.stop()


@pytest.fixture
async def services(dsn, directory, payments):
    parts = [Template(CONFIGURATION).substitute(port=payments.port)]
    undo = {"credit": "semantic", "loan": "exact"}
    parts += [Template(OPERATION).substitute(name=name, undo=undo[name]) for name in OPERATIONS]
    (directory / "adapters.toml").write_text("".join(parts))
    settings = {
        "INTENTLEDGER_CONFIG": str(directory / "adapters.toml"),
        "INTENTLEDGER_DSN": dsn,
        "INTENTLEDGER_DATA": str(directory / "token"),
        "INTENTLEDGER_LEASE_SECONDS": str(LEASE_SECONDS),
        "INTENTLEDGER_LOG_FORMAT": "json",
    }
    made = [Service(f"coordinator-{number}", directory, settings) for number in range(2)]
    for service in made:  # the first one makes the operator's token
        await service.start()
        await service.ready()
    yield made
    for service in made:
        await service.stop()


@pytest.fixture
async def door(services, directory):
    token = (directory / "token" / "operator-main.token").read_text().strip()
    async with Client(services[0].url, token) as client:
        yield client


async def credited(door: Client, number: int) -> str:
    """Have one effect, and wait for it."""
    params = {"account": f"acct_{number}", "amount": number + 1, "currency": "USD"}
    operation = f"payments.{OPERATIONS[number % len(OPERATIONS)]}"
    actions = [{"id": "pay", "operation": operation, "params": params}]
    body = {"task": "the wrong list", "again": True, "reason": "Everybody on the list", "actions": actions}
    status, shown = await door.submit(f"credit-{number}", body, wait=30)
    assert (status, shown.get("phase")) == (200, "committed"), shown
    return shown["id"]


def reversed_in(payments: Outside) -> list[str]:
    """Return which payments the service itself says were reversed, in time."""
    return [line["of"] for line in read(payments.record) if line["what"] == "reverse"]


async def killed_at(service: Service, payments: Outside, count: int) -> None:
    """Kill a process with -9 once so much is reversed, and start it again."""
    await until(lambda: len(reversed_in(payments)) >= count, 60, f"{count} reversals")
    await service.kill()
    await service.start()


async def test_undoing_many_survives_a_kill_of_each_process_in_the_middle_and_undoes_each_once(
    door, services, payments
):
    gate = asyncio.Semaphore(32)

    async def pay(number: int) -> str:
        async with gate:
            return await credited(door, number)

    intents = await asyncio.gather(*(pay(number) for number in range(INTENTS)))
    status, plan = await door.ask(
        "POST", "/v1/undo-plans", {"task": "the wrong list", "reason": "It was the wrong list"}
    )
    assert (status, plan["counts"]["exact"] + plan["counts"]["semantic"]) == (201, INTENTS)
    assert set(intents) == {one["intent"] for one in plan["intents"]}
    path = f"/v1/undo-plans/{plan['id']}"
    status, _ = await door.ask("POST", f"{path}/approve", {"digest": plan["digest"]})
    assert status == 202
    for number, service in enumerate(services, 1):
        await killed_at(service, payments, number * INTENTS // 3)
    assert len(reversed_in(payments)) < INTENTS, "it was over before it could be hurt"
    for service in services:
        await service.ready()

    async def done() -> bool:
        return (await door.get(path))["phase"] == "done"

    await until(done, 120, "the plan to end")
    ended = await door.get(path)
    assert ended["progress"]["undone"] == INTENTS, ended["progress"]
    paid = {line["id"]: line for line in read(payments.record) if line["what"] == "credit"}
    reversals = reversed_in(payments)
    assert Counter(reversals) == Counter(paid.keys()), "each of them once"
    account = {intent: f"acct_{number}" for number, intent in enumerate(intents)}
    exact = [account[one["intent"]] for one in plan["intents"] if one["undo"] == "exact"]
    assert len(exact) == INTENTS // len(OPERATIONS)
    in_time = [paid[one]["account"] for one in reversals]
    assert [one for one in in_time if one in set(exact)] == exact, "and what is exact in the order of the plan"
    decided = [event for event in await door.events() if event["type"] == "CompensateDecided"]
    assert Counter(event["stream"].removeprefix("intent/") for event in decided) == Counter(intents)
    assert {event["body"]["plan"] for event in decided} == {plan["id"]}

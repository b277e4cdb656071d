"""A task whose success is checked outside: canceled in billing *and* confirmed by mail, whatever anybody answered.

The outside systems are those of examples/, in this process; the configuration is that of examples/support.
"""

import os
from contextlib import AsyncExitStack, closing
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from doorway import Doorway, Holder, doorway, eventually

from adapters.configuration import load
from examples.billing import Billing
from examples.faults import Fault
from examples.journal import Journal
from examples.mailbox import index, receive
from examples.service import listen
from gateway.keyring_file import KeyringFile

pytestmark = pytest.mark.asyncio(loop_scope="module")
SUPPORT = Path(__file__).parents[2] / "examples" / "support" / "intentledger.toml"
SUBJECT = "Your subscription is canceled"


class Department(NamedTuple):
    """The service, an agent of it, and the outside systems."""

    people: Doorway
    agent: Holder
    billing: Billing
    mails: Journal


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def department(server, template, tmp_path_factory):
    directory = tmp_path_factory.mktemp("outside")
    name = f"cancel_{os.getpid()}"
    await server.create(name, template)
    async with AsyncExitStack() as parts:
        mails = parts.enter_context(closing(Journal(directory / "mails")))
        billing = Billing(parts.enter_context(closing(Journal(directory / "billing"))))
        mailbox = await parts.enter_async_context(await receive(mails, 0))
        looked_up, http_port = await listen(index(mails), 0)
        parts.push_async_callback(looked_up.cleanup)
        billed, billing_port = await listen(billing.app(), 0)
        parts.push_async_callback(billed.cleanup)
        ports = {
            "PAYMENTS_PORT": 9,
            "BILLING_PORT": billing_port,
            "MAILBOX_PORT": mailbox.sockets[0].getsockname()[1],
            "MAILBOX_HTTP_PORT": http_port,
        }
        (directory / "intentledger.toml").write_text(Template(SUPPORT.read_text("utf-8")).substitute(ports))
        registry = load(directory / "intentledger.toml", {"CRM_DSN": server.dsn(name)})
        keyring = KeyringFile(directory / "personal.keyring", os.urandom)  # mail is sealed
        people = await parts.enter_async_context(doorway(server.dsn(name), None, *registry.adapters, keyring=keyring))
        agent = await people.grant("Support Agent", "billing.*", "email.send", "mailbox.find")
        yield Department(people, agent, billing, mails)
    await server.drop(name)


async def commission(department: Department, account: str, to: str | None = None, **more: Any) -> str:
    """Open an account in billing and commission the cancellation of its subscription; return the task."""
    if not account.startswith("unknown"):
        known = {"id": account, "plan": "pro", "since": "2024-01-01", "country": "US", "retention": False}
        department.billing._account("", known | more, "")
    task = f"cancel-{account}"
    contract = {
        "task": task,
        "owner": "Operations",
        "scope": ["billing.*", "email.send"],
        "success": [
            {"verify": "billing.subscription", "params": {"account": account}, "expect": {"status": "canceled"}},
            {
                "verify": "mailbox.find",
                "params": {"to": to or f"{account}@example.com", "subject": SUBJECT},
                "expect": {"sent": True},
            },
        ],
        "failure_modes": [
            {"name": "account-not-found", "contains": "account not found", "escalate_to": "Account Manager"},
            {"name": "must-phone-retention", "contains": "must phone retention", "escalate_to": "Retention Lead"},
        ],
    }
    status, said, _ = await department.people.post("/v1/tasks", contract)
    assert status == 201, said
    return task


async def cancel(department: Department, account: str, task: str, to: str | None = None) -> dict[str, Any]:
    """Have the agent cancel the subscription and confirm it by mail; return the intent once it has ended."""
    mail = {"to": to or f"{account}@example.com", "subject": SUBJECT, "text": "As you asked, it ends today."}
    status, said, _ = await department.agent.submit(
        {
            "task": task,
            "reason": "The customer asked us to end the subscription.",
            "actions": [
                {"id": "cancel", "operation": "billing.cancel_subscription", "params": {"account": account}},
                {"id": "confirm", "operation": "email.send", "params": mail, "after": ["cancel"]},
            ],
        }
    )
    assert status == 200, said
    return said


async def outcome(department: Department, intent: str) -> dict[str, Any]:
    """Return what the outside was found to show, as soon as it is recorded."""

    async def found() -> Any:
        _, shown, _ = await department.people.get(f"/v1/intents/{intent}")
        return shown["outcome"]

    return await eventually(found)


async def types(department: Department, intent: str) -> list[str]:
    _, events, _ = await department.people.get(f"/v1/intents/{intent}/events")
    return [event["type"] for event in events["items"]]


def mails(department: Department, to: str) -> int:
    return sum(to in line["recipients"] for line in department.mails.lines)


async def test_success_is_a_canceled_subscription_and_a_mail_and_both_are_looked_up_outside(department):
    task = await commission(department, "88")
    done = await cancel(department, "88", task)
    assert done["phase"] == "committed"
    found = await outcome(department, done["id"])
    assert (found["verdict"], [check["found"] for check in found["checks"]]) == (
        "verified",
        [{"status": "canceled"}, {"sent": True}],
    )
    assert (department.billing._accounts["88"]["status"], mails(department, "88@example.com")) == ("canceled", 1)
    happened = await types(department, done["id"])
    assert happened.index("IntentCommitted") < happened.index("OutcomeVerified")


async def test_an_account_that_does_not_exist_escalates_to_a_named_person_and_nothing_happens(department):
    task = await commission(department, "unknown-1")
    ended = await cancel(department, "unknown-1", task)
    assert ended["phase"] == "aborted"
    setback = ended["setback"]
    assert (setback["failure_mode"], setback["escalated_to"]) == ("account-not-found", "Account Manager")
    assert "Account not found: unknown-1." in setback["reason"]
    assert mails(department, "unknown-1@example.com") == 0


async def test_a_customer_who_must_phone_retention_escalates_to_a_named_person_and_nothing_happens(department):
    task = await commission(department, "89", retention=True)
    ended = await cancel(department, "89", task)
    assert ended["phase"] == "aborted"
    setback = ended["setback"]
    assert (setback["failure_mode"], setback["escalated_to"]) == ("must-phone-retention", "Retention Lead")
    assert (department.billing._accounts["89"]["status"], mails(department, "89@example.com")) == ("active", 0)
    assert department.billing.holds() == []


async def test_a_billing_service_that_lies_is_contradicted(department):
    task = await commission(department, "90")
    department.billing.faults.arm(Fault(on="confirm", answer="lie", moment="before"))
    done = await cancel(department, "90", task)
    assert done["phase"] == "committed"  # as far as billing says
    found = await outcome(department, done["id"])
    assert found["verdict"] == "contradicted"
    assert [check["holds"] for check in found["checks"]] == [False, True]
    assert found["checks"][0]["found"] == {"status": "active"}
    assert await entry(department, done["id"]) == "contradicted"


async def test_a_mail_server_that_takes_a_message_and_drops_it_is_contradicted(department):
    to = "swallow.91@example.com"
    task = await commission(department, "91", to)
    done = await cancel(department, "91", task, to)
    found = await outcome(department, done["id"])
    assert (found["verdict"], [check["holds"] for check in found["checks"]]) == ("contradicted", [True, False])


async def test_what_cannot_be_looked_up_yet_is_looked_up_again(department, monkeypatch):
    task = await commission(department, "92")
    record = department.billing._record

    def recorded(what: str, **fields: Any) -> None:
        record(what, **fields)
        if what == "confirm":
            department.billing.faults.arm(Fault(on="look", answer="503", count=2))

    monkeypatch.setattr(department.billing, "_record", recorded)
    done = await cancel(department, "92", task)
    assert (await outcome(department, done["id"]))["verdict"] == "verified"
    assert (await types(department, done["id"])).count("OutcomeDeferred") == 2


async def entry(department: Department, intent: str) -> str | None:
    """Return what the audit says about the success of an intent."""

    async def found() -> Any:
        _, audit, _ = await department.people.get("/v1/audit?limit=100")
        return next((one["verification"] for one in audit["items"] if one["intent"] == intent), None)

    return await eventually(found)

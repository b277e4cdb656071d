"""The adapters that come with Intent Ledger earn what they declare, over systems that are really outside."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import asyncpg
import pytest

from adapters.configuration import load, read
from adapters.laws.sampling import setups
from adapters.laws.verdict import Report
from adapters.laws.verification import Watched, verify
from adapters.parent_death import signal_at_parent_death

CUSTOMERS = """
create table customers (id text primary key, status text not null);
create table changes (id text not null, status text not null);
create function keep() returns trigger language plpgsql as $$
begin insert into changes values (new.id, new.status); return new; end $$;
create trigger keep after update of status on customers for each row execute function keep();
insert into customers select n, 'active' from generate_series(1, 500) n;
"""
CRM = """
[adapters.crm]
type = "postgres"
dsn = { env = "CRM_DSN" }
lock_timeout_seconds = 0.2

[adapters.crm.operations.update]
undo = "exact"
capture = "select status from customers where id = :customer for update"
statements = [{ sql = "update customers set status = :status where id = :customer", expect_rows = 1 }]
undo_statements = [
    { sql = "update customers set status = :captured.status where id = :customer", expect_rows = 1 },
]
params.type = "object"
params.additionalProperties = false
params.required = ["customer", "status"]
params.properties = { customer = { type = "string" }, status = { type = "string" } }

[adapters.witness]
type = "postgres"
dsn = { env = "CRM_DSN" }

[adapters.witness.reads.status]
query = "select status from customers where id = :customer"
facts = ["status"]
params = { type = "object", additionalProperties = false, properties = { customer = { type = "string" } } }

[adapters.witness.reads.changes]
query = "select count(*)::int as changes from changes where id = :customer"
facts = ["changes"]
params = { type = "object", additionalProperties = false, properties = { customer = { type = "string" } } }

[adapters.witness.reads.holds]
query = "select count(*)::int as holds from pg_prepared_xacts where database = current_database()"
facts = ["holds"]
params = { type = "object", additionalProperties = false }

[verify.crm.update]
params = { customer = "{n}", status = "refunded" }
refused = { customer = "nobody" }
shows = { read = "witness.status", params = { customer = "{n}" } }
counts = { read = "witness.changes", params = { customer = "{n}" } }
holds = { read = "witness.holds" }
at_most = 2
"""
PAYMENTS = """
[adapters.payments]
type = "http"
url = "URL"
allow_private = true
credentials = { Authorization = { env = "PAYMENTS_AUTHORIZATION" } }

[adapters.payments.operations.refund]
guarantee = "atomic"
undo = "exact"
preview = { path = "/charges/{charge}", facts = { charged = "/amount" } }
fact_types = { charged = "integer" }
prepare = { path = "/refunds", body = "{params}" }
commit = { path = "/refunds/{receipt.id}/confirm", refused = [410] }
abort = { path = "/refunds/{key}/release" }
compensate = { path = "/reversals", body = { of = "{result.id}" } }
inquire.path = "/keys/{key}"
inquire.state = "/status"
inquire.applied = ["confirmed"]
inquire.held = ["held"]
inquire.absent = [404, "released"]
inquire_undo = { path = "/keys/{key}", state = "/status", applied = ["reversed"], absent = [404] }
params.type = "object"
params.additionalProperties = false
params.required = ["charge", "amount", "currency"]
params.properties.charge = { type = "string" }
params.properties.amount = { type = "integer", minimum = 1 }
params.properties.currency = { type = "string" }

[adapters.payments.operations.credit]
guarantee = "idempotent"
undo = "exact"
commit = { path = "/credits", body = "{params}" }
compensate = { path = "/reversals", body = { of = "{result.id}" } }
inquire = { path = "/keys/{key}", state = "/status", applied = ["credited"], absent = [404] }
inquire_undo = { path = "/keys/{key}", state = "/status", applied = ["reversed"], absent = [404] }
params.type = "object"
params.additionalProperties = false
params.required = ["account", "amount", "currency"]
params.properties.account = { type = "string" }
params.properties.amount = { type = "integer", minimum = 1 }
params.properties.currency = { type = "string" }

[adapters.payments.operations.transfer]
guarantee = "verifiable"
settle_seconds = 1
undo = "exact"
commit.path = "/transfers"
commit.body = { account = "{account}", amount = "{amount}", currency = "{currency}", reference = "{key}" }
compensate = { path = "/reversals", body = { of = "{result.id}" } }
inquire = { path = "/transfers?reference={key}", applied = [200], absent = [404] }
inquire_undo = { path = "/keys/{key}", state = "/status", applied = ["reversed"], absent = [404] }
params.type = "object"
params.additionalProperties = false
params.required = ["account", "amount", "currency"]
params.properties.account = { type = "string" }
params.properties.amount = { type = "integer", minimum = 1 }
params.properties.currency = { type = "string" }

[adapters.record]
type = "http"
url = "URL"
allow_private = true

[adapters.record.reads.refunded]
path = "/charges/{charge}"
facts = { refunded = "/refunded" }
params = { type = "object", additionalProperties = false, properties = { charge = { type = "string" } } }

[adapters.record.reads.held]
path = "/charges/{charge}"
facts = { held = "/held" }
params = { type = "object", additionalProperties = false, properties = { charge = { type = "string" } } }

[adapters.record.reads.account]
path = "/accounts/{account}"
facts = { given = "/given", total = "/total" }
params = { type = "object", additionalProperties = false, properties = { account = { type = "string" } } }

[verify.payments.refund]
params = { charge = "ch_1", amount = 10, currency = "USD" }
refused = { amount = 1_000_000 }
shows = { read = "record.refunded", params = { charge = "ch_1" } }
holds = { read = "record.held", params = { charge = "ch_1" } }
at_most = 2

[verify.payments.credit]
params = { account = "credit-{n}", amount = 10, currency = "USD" }
shows = { read = "record.account", params = { account = "credit-{n}" } }
at_most = 2

[verify.payments.transfer]
params = { account = "transfer-{n}", amount = 10, currency = "USD" }
shows = { read = "record.account", params = { account = "transfer-{n}" } }
at_most = 2
"""
EMAIL = """
[adapters.email]
type = "email"
host = "127.0.0.1"
port = PORT
security = "none"
sender = "Support <support@example.com>"
allowed_domains = ["example.com"]
follow_up = { subject = "Correction: {subject}", text = "Please disregard our message." }

[adapters.mailbox]
type = "http"
url = "URL"
allow_private = true

[adapters.mailbox.reads.messages]
path = "/messages?to={to}&subject={subject}"
facts = { count = "/count" }
params.type = "object"
params.additionalProperties = false
params.properties = { to = { type = "string" }, subject = { type = "string" } }

[verify.email.send]
params = { to = "ada@example.com", subject = "Refund {n}", text = "42.00 USD are on their way." }
refused = { to = "ada@example.net" }
shows = { read = "mailbox.messages", params = { to = "ada@example.com", subject = "Refund {n}" } }
counts = { read = "mailbox.messages", params = { to = "ada@example.com", subject = "Correction: Refund {n}" } }
at_most = 2
"""
_numbers = itertools.count(1)


def earned(tmp_path: Path, text: str, name: str, **environment: str) -> list[Report]:
    """Verify an adapter of a file with this text, as the command does."""
    path = tmp_path / "intentledger.toml"
    path.write_text(text)
    watched = Watched(environment)
    registry = load(path, watched)
    trying = setups(str(path), read(path), registry, name, f"run{next(_numbers)}")
    assert len(trying) == len(registry.operations) - sum(one.reads for one in registry.operations.values())
    return [verify(one, now=lambda: datetime.now(UTC), secrets=watched.used) for one in trying]


@contextlib.contextmanager
def service(module: str, record: Path) -> Iterator[dict[str, int]]:
    """Run an outside system of the examples; yield where it listens."""
    child = subprocess.Popen(
        [sys.executable, "-m", module, "--record", str(record)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=signal_at_parent_death(signal.SIGKILL),  # noqa: PLW1509
    )
    try:
        yield json.loads(child.stdout.readline())
    finally:
        child.stdin.close()
        child.wait(timeout=10)
        child.stdout.close()


@pytest.fixture
def run() -> Iterator[Callable[[Any], Any]]:
    loop = asyncio.new_event_loop()
    yield loop.run_until_complete
    loop.close()


def failures(reports: list[Report]) -> list[Any]:
    return [(report.operation, report.earned, report.laws) for report in reports if not report.kept]


def test_postgres_earns_atomic(server, run, tmp_path):
    database = f"earned_{os.getpid()}"

    async def fill() -> None:
        connection = await asyncpg.connect(server.dsn(database))
        await connection.execute(CUSTOMERS)
        await connection.close()

    run(server.execute(f"create database {database}"))
    try:
        run(fill())
        (report,) = earned(tmp_path, CRM, "crm", CRM_DSN=server.dsn(database))
    finally:
        run(server.drop(database))
    assert failures([report]) == []
    assert min(report.faults.values()) >= 5


def test_http_earns_atomic_idempotent_and_verifiable(tmp_path):
    charge = {"id": "ch_1", "customer": "1", "amount": 100_000, "currency": "USD"}
    with service("examples.payments", tmp_path / "record") as listening:
        url = f"http://127.0.0.1:{listening['port']}"
        body = json.dumps(charge).encode()
        urlopen(Request(f"{url}/charges", body, {"Content-Type": "application/json"})).close()
        secret = "Bearer of-the-operator"
        reports = earned(tmp_path, PAYMENTS.replace("URL", url), "payments", PAYMENTS_AUTHORIZATION=secret)
    assert failures(reports) == []
    assert [str(report.earned) for report in reports] == ["atomic", "idempotent", "verifiable"]


def test_email_earns_blind(tmp_path):
    with service("examples.mailbox", tmp_path / "record") as listening:
        url = f"http://127.0.0.1:{listening['http_port']}"
        text = EMAIL.replace("PORT", str(listening["port"])).replace("URL", url)
        reports = earned(tmp_path, text, "email")
    assert failures(reports) == []

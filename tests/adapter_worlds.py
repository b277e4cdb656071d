"""The outside systems of the contract suite, each with its adapter, its own record, and the bad days it can have.

The one over HTTP is in `payments_world.py`.

A `World` is one outside system. `adapter` is our process; `another()` is a second one over the same outside system.
What happened is counted where it happened, never at the adapter.
"""

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import asyncpg
from aiosmtpd import smtp
from lossy_proxy import Proxy

from adapters.contract import Adapter, Call
from adapters.email import EmailAdapter, EmailTable
from adapters.postgres.adapter import PostgresAdapter
from adapters.postgres.tables import PostgresTable
from adapters.reference import Fate, ReferenceAdapter
from adapters.reference import World as ReferenceWorld
from ledger.errors import InDoubt
from ledger.ids import action_key
from ledger.intents import Guarantee, Verb

SECRET = "s3cret-of-the-operator"
KEY = action_key("main", "intent-1", "one", "commit")
UNDO_KEY = action_key("main", "intent-1", "one", "compensate")


class World(Protocol):
    """An outside system and an adapter for it."""

    adapter: Adapter
    operation: str
    params: dict[str, Any]
    refusable: dict[str, Any]

    async def another(self) -> Adapter: ...
    async def effects(self) -> int: ...
    async def undone(self) -> int: ...
    async def holds(self) -> int: ...
    async def shown(self) -> Any: ...
    async def change_a_fact(self) -> None: ...
    async def lose_answer(self, verb: Verb) -> None: ...
    async def break_down(self) -> None: ...
    async def stop(self) -> None: ...


def call(world: World, verb: Verb, *, epoch: int = 1, key: str | None = None, **changed: Any) -> Call:
    """Make a call on the world's operation; its key is that of the action, or of its compensation."""
    default = UNDO_KEY if verb is Verb.COMPENSATE else KEY
    return Call(
        verb=verb,
        ledger="main",
        intent="intent-1",
        action="one",
        operation=world.operation,
        params={**world.params, **changed},
        key=key or default,
        epoch=epoch,
        deadline=datetime.now(UTC) + timedelta(seconds=10),
        decision_position=7 if verb in {Verb.COMMIT, Verb.COMPENSATE} else None,
    )


# ── reference ────────────────────────────────────────────────────────────────────────────────────────────────────


class Forgetful(ReferenceAdapter):
    """A reference adapter whose answer is lost once, after the effect."""

    losing: Verb | None = None

    async def prepare(self, call):
        return self._answer(Verb.PREPARE, await super().prepare(call))

    async def commit(self, call, receipt):
        return self._answer(Verb.COMMIT, await super().commit(call, receipt))

    async def abort(self, call, receipt):
        return self._answer(Verb.ABORT, await super().abort(call, receipt))

    async def compensate(self, call, receipt, result):
        return self._answer(Verb.COMPENSATE, await super().compensate(call, receipt, result))

    def _answer(self, verb, answer):
        if self.losing is verb:
            self.losing = None
            raise InDoubt("The answer was lost.")
        return answer


class ReferenceOutside:
    def __init__(self, guarantee: Guarantee) -> None:
        self.world = ReferenceWorld()
        self.world.balances["a"] = 100
        self.guarantee = guarantee
        self.adapter = Forgetful("stock", self.world, guarantee)
        self.operation = "stock.post"
        self.params = {"account": "a", "amount": -60}
        self.refusable = {"account": "a", "amount": -101}

    async def another(self) -> Adapter:
        return ReferenceAdapter("stock", self.world, self.guarantee)

    async def effects(self) -> int:
        return sum(entry.effects for entry in self.world.settled.values() if entry.amount < 0)

    async def undone(self) -> int:
        return sum(entry.effects for entry in self.world.settled.values() if entry.amount > 0)

    async def holds(self) -> int:
        return sum(entry.fate is Fate.HELD for entry in self.world.held.values())

    async def shown(self) -> Any:
        return dict(self.world.balances)

    async def change_a_fact(self) -> None:
        self.world.balances["a"] += 100

    async def lose_answer(self, verb: Verb) -> None:
        self.adapter.losing = verb

    async def break_down(self) -> None:
        raise NotImplementedError("What lives in memory cannot be unreachable.")

    async def stop(self) -> None:
        """Nothing runs."""


# ── postgres ─────────────────────────────────────────────────────────────────────────────────────────────────────

CUSTOMERS = """
create table customers (
    id text primary key,
    status text not null check (status in ('active', 'refunded')),
    age integer not null default 100
);
create table changes (number bigserial primary key, status text not null);
create function keep() returns trigger language plpgsql as $$
begin insert into changes (status) values (new.status); return new; end $$;
create trigger keep after update of status on customers for each row execute function keep();
insert into customers (id, status) values ('88', 'active'), ('89', 'active');
"""
_STATUS = "update customers set status = :status where id = :customer returning id, status"
CRM: dict[str, Any] = {
    "type": "postgres",
    "dsn": {"env": "CRM_DSN"},
    "lock_timeout_seconds": 0.2,
    "timeout_seconds": 3,
    "reads": {
        "customer": {
            "query": "select status, age, 'a customer' as what from customers where id = :customer",
            "facts": ["status", "age"],
            "fact_types": {"status": "string", "age": "integer"},
            "params": {
                "type": "object",
                "additionalProperties": False,
                "required": ["customer"],
                "properties": {"customer": {"type": "string"}},
            },
        }
    },
    "operations": {
        "update": {
            "summary": "set customer {customer} to {status}",
            "undo": "exact",
            "preview": "select id, status, age from customers where id = :customer",
            "facts": ["status", "age"],
            "fact_types": {"status": "string", "age": "integer"},
            "capture": "select status from customers where id = :customer for update",
            "statements": [{"sql": _STATUS, "expect_rows": 1}],
            "undo_statements": [
                {"sql": "update customers set status = :captured.status where id = :customer", "expect_rows": 1}
            ],
            "params": {
                "type": "object",
                "additionalProperties": False,
                "required": ["customer", "status"],
                "properties": {"customer": {"type": "string"}, "status": {"type": "string"}},
            },
        }
    },
}


class PostgresOutside:
    def __init__(self, dsn: str, table: dict[str, Any] = CRM) -> None:
        self.dsn = dsn
        self.table = PostgresTable.model_validate_json(json.dumps(table))
        self.operation = "crm.update"
        self.params = {"customer": "88", "status": "refunded"}
        self.refusable = {"customer": "88", "status": "melted"}
        self._adapters: list[Adapter] = []

    async def start(self) -> "PostgresOutside":
        self.system = await asyncpg.connect(self.dsn)
        await self.system.execute(CUSTOMERS)
        address, parameters = self.system._addr, self.system._params
        self.proxy = Proxy(address)
        await self.proxy.start()
        self._proxied = f"postgresql://{parameters.user}:{parameters.password or SECRET}@127.0.0.1:{self.proxy.port}"
        self._proxied += f"/{parameters.database}?sslmode=disable"
        self.adapter = await self.another()
        return self

    async def another(self) -> Adapter:
        adapter = PostgresAdapter("crm", self.table, lambda: self._proxied)
        await adapter.open()
        self._adapters.append(adapter)
        return adapter

    async def effects(self) -> int:
        return await self.system.fetchval("select count(*) from changes where status = 'refunded'")

    async def undone(self) -> int:
        return await self.system.fetchval("select count(*) from changes where status = 'active'")

    async def holds(self) -> int:
        return await self.system.fetchval("select count(*) from pg_prepared_xacts where database = current_database()")

    async def shown(self) -> Any:
        return [tuple(row) for row in await self.system.fetch("select id, status from customers order by id")]

    async def change_a_fact(self) -> None:
        await self.system.execute("update customers set age = age + 1 where id = '88'")

    async def lose_answer(self, verb: Verb) -> None:
        self.proxy.lose_after = {
            Verb.PREPARE: b"prepare transaction",
            Verb.COMMIT: b"commit prepared",
            Verb.ABORT: b"rollback prepared",
            Verb.COMPENSATE: b"commit\x00",
        }[verb]

    async def break_down(self) -> None:
        await self.proxy.stop()

    async def stop(self) -> None:
        for adapter in self._adapters:
            await adapter.close()
        await self.proxy.stop()
        await self.system.close()


# ── email ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Mailbox:
    """Keeps what was accepted; can break the connection after accepting a message."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, list[str], bytes]] = []
        self.losing = False
        self.reply = "250 OK: kept"

    async def handle_DATA(self, server, session, envelope) -> str:  # noqa: N802 - the library calls it so
        if self.reply.startswith("250"):
            self.messages.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        if self.losing:
            self.losing = False
            server.transport.abort()
        return self.reply


class EmailOutside:
    def __init__(self) -> None:
        self.mailbox = Mailbox()
        self.operation = "email.send"
        self.params = {"to": "ada@example.com", "subject": "Your refund", "text": "42.00 USD are on their way."}
        self.refusable = self.params | {"to": "ada@example.net"}

    async def start(self, **table: Any) -> "EmailOutside":
        def protocol() -> smtp.SMTP:
            return smtp.SMTP(self.mailbox, hostname="mail.test", enable_SMTPUTF8=False)

        self.server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        self.table = {
            "type": "email",
            "host": "127.0.0.1",
            "port": self.server.sockets[0].getsockname()[1],
            "security": "none",
            "sender": "Support <support@example.com>",
            "allowed_domains": ["example.com"],
            "follow_up": {"subject": "Correction: {subject}", "text": "Please disregard our message."},
            "timeout_seconds": 2,
            **table,
        }
        self.adapter = await self.another()
        return self

    async def another(self) -> Adapter:
        return EmailAdapter("email", EmailTable.model_validate_json(json.dumps(self.table)), None)

    async def effects(self) -> int:
        return sum(b"Subject: Your refund" in content for _, _, content in self.mailbox.messages)

    async def undone(self) -> int:
        return sum(b"Subject: Correction: Your refund" in content for _, _, content in self.mailbox.messages)

    async def holds(self) -> int:
        return 0

    async def shown(self) -> Any:
        return len(self.mailbox.messages)

    async def lose_answer(self, verb: Verb) -> None:
        self.mailbox.losing = True

    async def break_down(self) -> None:
        self.server.close()

    async def stop(self) -> None:
        self.server.close()
        with suppress(Exception):
            await self.server.wait_closed()

"""What attackers find: a service with participants worth attacking, and the words in which attacks are written.

`async with siege(server, template, ...) as door` serves a database of its own for a whole module of tests, because
attacks must do no harm; each test uses accounts, names and keys of its own.
"""

import itertools
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from doorway import Doorway, doorway, eventually

from adapters.contract import Adapter
from adapters.reference import ReferenceAdapter, World
from ledger.intents import Undo

_numbers = itertools.count(1)
_SCHEMA: Mapping[str, Any] = {"type": "object", "additionalProperties": False}
_MONEY = {
    **_SCHEMA,
    "required": ["account", "amount", "currency"],
    "properties": {
        "account": {"type": "string"},
        "amount": {"type": "integer", "minimum": 1},
        "currency": {"type": "string", "enum": ["USD", "EUR"]},
    },
}
_ANYTHING = {
    **_SCHEMA,
    "required": ["account", "amount"],
    "properties": {
        "account": {"type": "string"},
        "amount": {"type": "integer"},
        "text": {"type": "string"},
        "note": {},
    },
}


def _offering(adapter: ReferenceAdapter, **more: Any) -> ReferenceAdapter:
    adapter.operations = {name: msgspec.structs.replace(one, **more) for name, one in adapter.operations.items()}
    return adapter


def till(world: World) -> Adapter:
    """Build a participant that moves money: `till.post` of an amount in a currency."""
    return _offering(ReferenceAdapter("till", world, facts=False), params=_MONEY, summary="pay {amount|money}")


def notebook(world: World) -> Adapter:
    """Build a participant that takes any `text`, and any JSON value as a `note`, and looks at neither."""
    return _offering(ReferenceAdapter("notebook", world, facts=False), params=_ANYTHING)


def vault(world: World) -> Adapter:
    """Build a participant whose holds live for a second, which is less than people take to answer."""
    return _offering(ReferenceAdapter("vault", world), hold_seconds=1, undo=Undo.NONE)


@asynccontextmanager
async def siege(server: Any, template: str, *more: Adapter) -> AsyncIterator[tuple[Doorway, str]]:
    """Serve a fresh copy of the template; yield the operator's client, and the DSN for other processes and ledgers."""
    name = f"siege_{os.getpid()}_{next(_numbers)}"
    await server.create(name, template)
    async with doorway(server.dsn(name), None, *more) as door:
        yield door, server.dsn(name)
    await server.drop(name)


def pay(account: str, *amounts: int, **more: Any) -> dict[str, Any]:
    """Write an intent that pays amounts of dollars, one action each."""
    params = [{"account": account, "amount": amount, "currency": "USD"} for amount in amounts]
    return wanting("till.post", *params, **more)


def wanting(operation: str, *params: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Write an intent of actions on one operation."""
    actions = [{"id": f"a{place}", "operation": operation, "params": one} for place, one in enumerate(params, 1)]
    return {"task": "12A", "reason": "a test", "again": True, "actions": actions, **more}


def problem(answer: tuple[int, Mapping[str, Any], Any]) -> tuple[int, str]:
    """Return the status of a refusal, and which problem it is."""
    status, body, _ = answer
    return status, str(body.get("type", body)).removeprefix("urn:intent-ledger:problem:")


async def happened(door: Doorway, after: int) -> list[str]:
    """Return the types of what was recorded after a position, but for what the service itself notices at any time."""
    _, page, _ = await door.get(f"/v1/events?after={after}&limit=500")
    noticed = {"TokenRefused", "ActRefused", "AnomalyDetected"}
    return [line["type"] for line in page["items"] if line["type"] not in noticed]


async def at_rest(door: Doorway) -> None:
    """Wait until what other tests have left behind at a shared server needs nobody for the next minute."""

    async def quiet() -> bool:
        return not await door.service.pool.fetchval(
            "select exists (select from intent_ledger.in_flight where due_at < now() + interval '1 minute')"
        )

    await eventually(quiet)


async def reached(door: Doorway, intent: str, phase: str) -> dict[str, Any]:
    """Wait until an intent has reached a phase; return it."""

    async def there() -> dict[str, Any] | None:
        _, shown, _ = await door.get(f"/v1/intents/{intent}")
        return shown if shown["phase"] == phase else None

    return await eventually(there)

"""What the laws are run over, and the two first steps of most of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adapter_worlds import EmailOutside, PostgresOutside, ReferenceOutside, World, call
from inventory_world import InventoryOutside
from mcp_world import MemoryOutside, NotesOutside
from messages_world import MessagesOutside
from mysql_world import MysqlOutside
from objects_world import ObjectsOutside
from payments_world import HttpOutside
from stripe_world import StripeOutside

from adapters.contract import Prepared, Result
from ledger.intents import Guarantee, Verb

Make = Callable[[str | None, Path], Any]

OUTSIDE: dict[str, tuple[Guarantee, Make]] = {
    "reference-atomic": (Guarantee.ATOMIC, lambda _, __: ReferenceOutside(Guarantee.ATOMIC)),
    "reference-idempotent": (Guarantee.IDEMPOTENT, lambda _, __: ReferenceOutside(Guarantee.IDEMPOTENT)),
    "reference-verifiable": (Guarantee.VERIFIABLE, lambda _, __: ReferenceOutside(Guarantee.VERIFIABLE)),
    "reference-blind": (Guarantee.BLIND, lambda _, __: ReferenceOutside(Guarantee.BLIND)),
    "postgres": (Guarantee.ATOMIC, lambda dsn, _: PostgresOutside(dsn).start()),
    "mysql": (Guarantee.ATOMIC, lambda _, __: MysqlOutside().start()),
    "http-atomic": (Guarantee.ATOMIC, lambda _, path: HttpOutside("refund", path / "record").start()),
    "http-idempotent": (Guarantee.IDEMPOTENT, lambda _, path: HttpOutside("credit", path / "record").start()),
    "http-verifiable": (Guarantee.VERIFIABLE, lambda _, path: HttpOutside("transfer", path / "record").start()),
    "fence-postgres": (Guarantee.ATOMIC, lambda dsn, _: InventoryOutside("reserve", dsn).start()),
    "fence-mariadb": (Guarantee.ATOMIC, lambda _, __: InventoryOutside("reserve", None).start()),
    "fence-mariadb-once": (Guarantee.IDEMPOTENT, lambda _, __: InventoryOutside("deliver", None).start()),
    "mcp-http": (Guarantee.IDEMPOTENT, lambda _, __: NotesOutside("2025-11-25").start()),
    "mcp-stdio": (Guarantee.VERIFIABLE, lambda _, path: MemoryOutside(path).start()),
    "email": (Guarantee.BLIND, lambda _, __: EmailOutside().start()),
    "messages": (Guarantee.IDEMPOTENT, lambda _, __: MessagesOutside().start()),
    "objects-put": (Guarantee.ATOMIC, lambda _, __: ObjectsOutside("put").start()),
    "objects-create": (Guarantee.IDEMPOTENT, lambda _, __: ObjectsOutside("create").start()),
    "stripe-pay": (Guarantee.ATOMIC, lambda _, __: StripeOutside("pay").start()),
    "stripe-refund": (Guarantee.IDEMPOTENT, lambda _, __: StripeOutside("refund").start()),
    "stripe-cancel": (Guarantee.IDEMPOTENT, lambda _, __: StripeOutside("cancel_subscription").start()),
    "stripe-end": (Guarantee.IDEMPOTENT, lambda _, __: StripeOutside("end_subscription").start()),
}
ALL = frozenset(Guarantee)
WITHOUT_FACTS = {"email", "http-verifiable", "objects-create", "objects-replace", "mcp-stdio"}
WITHOUT_UNDO = {"stripe-refund", "stripe-end"}
WITHOUT_FENCE = {"http-atomic", "stripe-pay"}
KEEPING_BOTH = {"objects-put", "stripe-pay"}  # what two ask for does not exclude each other
RECOGNISING = {Guarantee.ATOMIC, Guarantee.IDEMPOTENT}


def worlds(guarantees: Any = ALL, where: Callable[[str], bool] = lambda _: True) -> pytest.MarkDecorator:
    """Run a test over the outside systems with one of these guarantees."""
    names = [name for name, (guarantee, _) in OUTSIDE.items() if guarantee in guarantees and where(name)]
    return pytest.mark.parametrize("place", names, indirect=True)


def undoable(name: str) -> bool:
    return name not in WITHOUT_UNDO


def guarantee(world: World) -> Guarantee:
    return world.adapter.operations[world.operation].guarantee


async def prepared(world: World, **kwargs: Any) -> Prepared:
    vote = await world.adapter.prepare(call(world, Verb.PREPARE, **kwargs))
    assert isinstance(vote, Prepared), vote
    return vote


async def committed(world: World) -> tuple[Prepared, Result]:
    vote = await prepared(world)
    return vote, await world.adapter.commit(call(world, Verb.COMMIT), vote.receipt)

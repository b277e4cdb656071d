"""The verbs of `protocol.py` on a connection of yours, on which a transaction of yours is open."""

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol, TypeAlias, TypeVar

from intentledger_fence import protocol
from intentledger_fence.call import Call
from intentledger_fence.protocol import JSON, Do, Effect, Found, Outcome, Refused

Answer: TypeAlias = JSON | Refused
T = TypeVar("T")


class Database(Protocol):
    """How one driver speaks to one kind of database."""

    schema: str  # the SQL that creates the table

    async def run(self, connection: Any, step: Do) -> list[Any]:
        """Run a statement of the protocol's and return its rows."""

    async def create(self, connection: Any) -> None:
        """Run `schema`."""


class Fence:
    """The fence in one kind of database.

    Commit your transaction whatever the outcome says: a refusal and a tombstone are recorded too. An error goes out as
    it is and takes your transaction with it; nothing has happened then, and the call may be repeated.
    """

    def __init__(self, database: Database) -> None:
        """Speak to this kind of database."""
        self._database = database

    @property
    def schema(self) -> str:
        """Return the SQL of the table, for your own migrations."""
        return self._database.schema

    async def create(self, connection: Any) -> None:
        """Create the table, if there is none."""
        await self._database.create(connection)

    async def once(self, connection: Any, call: Call, effect: Callable[[], Awaitable[Answer]]) -> Outcome:
        """Let `effect` happen at the first call of its key; repeat its answer, or its refusal, from then on."""
        return await self._drive(connection, protocol.once(call), lambda _: effect())

    async def hold(self, connection: Any, call: Call, effect: Callable[[], Awaitable[Answer]]) -> Outcome:
        """Let `effect` reserve what a confirm will need; its answer is the receipt."""
        return await self._drive(connection, protocol.hold(call), lambda _: effect())

    async def confirm(self, connection: Any, call: Call, effect: Callable[[JSON], Awaitable[JSON]]) -> Outcome:
        """Let `effect` make the hold final, given its receipt. Without a hold there will be none any more."""
        return await self._drive(connection, protocol.confirm(call), effect)

    async def release(self, connection: Any, call: Call, effect: Callable[[JSON], Awaitable[Any]]) -> Outcome:
        """Let `effect` give back what was reserved. Without a hold leave a tombstone: a late one is refused."""
        return await self._drive(connection, protocol.release(call), effect)

    async def look(self, connection: Any, key: str) -> Found | None:
        """Tell what became of a key. Whoever is just acting under it is waited for."""
        return await self._drive(connection, protocol.look(Call(key)), _nothing)

    async def _drive(
        self,
        connection: Any,
        steps: Generator[Do | Effect, Any, T],
        effect: Callable[[Any], Awaitable[Any]],
    ) -> T:
        reply: Any = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(step, Do):
                reply = await self._database.run(connection, step)
            else:
                reply = await effect(step.receipt)


async def _nothing(_: Any) -> JSON:
    return {}

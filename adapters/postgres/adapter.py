"""A PostgreSQL database of the operator's as a participant, through PREPARE TRANSACTION: every operation is `atomic`.

What an operation does are the operator's statements from `intentledger.toml`. Agents choose values, never SQL.

    prepare    begin → claim the fence row → capture → preview → statements → PREPARE TRANSACTION    rows stay locked
    commit     COMMIT PREPARED; then the fence row, visible from that instant on, is the answer, as often as it is asked
    abort      ROLLBACK PREPARED, then a tombstone, which a late prepare runs into
    compensate one ordinary transaction: claim the fence row of the undo key → undo statements → COMMIT
    inquire    the hold, else the fence row, else whether anybody is just writing it

Rules of this file:

1. First the hold, then the fence row: always two statements, in this order. A transaction that is being committed
   shows its effects before it leaves the list of prepared ones, so what is not in the list is visible in the fence,
   if it ever happened. In the other order, or in one snapshot, a commit could slip between the two looks.
2. Until PREPARE TRANSACTION or COMMIT is sent an error leaves nothing behind, and says so. From there on what is not a
   clear no is in doubt.
3. Nobody waits: a row or key that another holds is waited for `lock_timeout_seconds`, then the call is `Transient`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import msgspec

from adapters import fence
from adapters.contract import (
    Absent,
    Applied,
    Call,
    Held,
    Operation,
    Prepared,
    Preview,
    Refused,
    Result,
    Standing,
    Unknown,
    Vote,
)
from adapters.credentials import Credential, Reveal
from adapters.fence import AnyConnection, State
from adapters.kinds import Kind
from adapters.postgres.session import LOST, Pool, certain, judge, open_pool, run, session, unheard, words
from adapters.postgres.tables import PostgresTable
from adapters.sql_tables import Recipe, bounded, recipes, seen
from adapters.statements import POSTGRES
from ledger import bounds
from ledger.errors import AdapterError, InDoubt, Misconfigured, Permanent, Transient
from ledger.intents import JSON, Verb

_HOLDS: Final = """
select gid, prepared
from pg_catalog.pg_prepared_xacts
where database = current_database() and starts_with(gid, $1)
order by prepared
"""
_NO_SUCH_HOLD: Final = "42704"


class Hold(msgspec.Struct, frozen=True):
    """A prepared transaction of this adapter: rows are locked until it is committed or rolled back."""

    gid: str
    key: str
    epoch: int
    since: str


class PostgresAdapter:
    """One database and the operations configured for it."""

    def __init__(self, name: str, table: PostgresTable, dsn: Credential) -> None:
        """Compile the operator's statements; raises `Misconfigured`. Connects to nothing."""
        self.name = name
        self._table = table
        self._dsn = dsn
        self._connected_with = _checked(name, dsn())
        self._recipes = recipes(name, table, POSTGRES)
        self.operations: Mapping[str, Operation] = {key: recipe.operation for key, recipe in self._recipes.items()}
        self._pool: Pool | None = None

    async def open(self) -> None:
        """Make the pool; the database may be down."""
        table = self._table
        self._pool = await open_pool(self._dsn, table.connections, table.timeout_seconds, table.lock_timeout_seconds)

    async def close(self) -> None:
        """Close the pool. Holds stay: they belong to the database."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close()

    async def preview(self, call: Call) -> Preview:
        """Read the row that the operation's preview query shows (law 11)."""
        async with self._session() as connection, _nothing_changed():
            await connection.execute("begin read only")  # rolled back with the session
            return await self._preview(connection, call)

    async def prepare(self, call: Call) -> Vote:
        """Do everything but the commit, and leave it prepared (laws 1 to 4, 7)."""
        async with self._session() as connection:
            try:
                hold = await self._hold(connection, call.key)
                if hold is not None:
                    return await self._repeated(connection, call, hold.epoch)
                return await self._take_hold(connection, call)
            except LOST as error:
                verdict = judge(error)
                if isinstance(verdict, Refused):
                    return verdict
                raise verdict from error

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        """Commit the hold; repeated, answer what the fence keeps (law 5)."""
        gid = str((receipt or {}).get("gid"))
        async with self._session() as connection, _in_doubt("Whether the hold was committed is not known"):
            if gid.startswith(self._prefix(call.key)):
                await _finish(connection, "commit prepared", gid)
            row = await fence.read(connection, call.key) or await fence.bury(connection, call.key, call.epoch)
        if row.state is State.APPLIED:
            return Result(row.result or {})
        raise Permanent(
            "There is no hold and there was no effect: the prepared transaction was rolled back, "
            "by an abort or by somebody's hand. A late prepare will be refused."
        )

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        """Roll the hold back, if there is one, and leave a tombstone (law 6)."""
        del receipt  # it may be that of nobody or of an older epoch; the key finds the hold that exists
        async with self._session() as connection, _in_doubt("The hold may still stand"):
            hold = await self._hold(connection, call.key)
            if hold is not None:
                await _finish(connection, "rollback prepared", hold.gid)
            row = await fence.bury(connection, call.key, call.epoch)
        if row.state is State.APPLIED:
            raise Permanent("This action has happened in the database and can no longer be aborted.")

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        """Run the undo statements in one transaction under the fence of the undo key (law 8)."""
        del receipt
        recipe = self._recipes[call.operation]
        rows = result.get("rows") or [None]
        values = {**call.params, "captured": result.get("captured"), "returned": rows[0]}
        async with self._session() as connection, _nothing_changed():
            await connection.execute(self._begin())
            if not await fence.claim(connection, call.key, call.epoch):
                return await self._undone_before(connection, call.key)
            undone = [row for statement in recipe.undo for row in await run(connection, statement, values)]
            data = bounded({"rows": undone}, bounds.ANSWER_BYTES)
            await fence.note(connection, call.key, data)
            await _end(connection, "commit", "COMMIT")
            return Result(data)

    async def inquire(self, call: Call) -> Standing:
        """Look for the hold, then for the fence row, then for somebody who is just writing it (law 9)."""
        async with self._session() as connection:
            try:
                hold = await self._hold(connection, call.key)
                if hold is not None and call.verb is not Verb.COMPENSATE:
                    return Held({"gid": hold.gid})
                row = await fence.read(connection, call.key)
                if row is None:
                    return await self._nobody_writes(connection, call)
            except LOST as error:
                raise Transient(f"The database did not tell: {words(error)}.", silent=unheard(error)) from error
            return Applied(Result(row.result or {})) if row.state is State.APPLIED else Absent()

    async def holds(self) -> list[Hold]:
        """List every hold of this adapter, the oldest first, so that what nobody finished can be found by hand."""
        async with self._session() as connection:
            rows = await connection.fetch(_HOLDS, self._prefix(""))
        return [_hold_of(row["gid"], row["prepared"]) for row in rows]

    # ── inside a session ─────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[AnyConnection]:
        if self._pool is None:
            raise Transient(f"Adapter {self.name} is closed; nothing was sent.")
        dsn = self._dsn()
        if dsn != self._connected_with:  # it was rotated
            self._connected_with = dsn
            await self._pool.expire_connections()
        async with session(self._pool, self.name, self._table.timeout_seconds) as connection:
            yield connection

    def _begin(self) -> str:
        return f"begin isolation level {self._table.isolation}"

    def _prefix(self, key: str) -> str:
        return f"intentledger:{self.name}:{key}{':' if key else ''}"

    async def _hold(self, connection: AnyConnection, key: str) -> Hold | None:
        rows = await connection.fetch(_HOLDS, self._prefix(key))
        return _hold_of(rows[0]["gid"], rows[0]["prepared"]) if rows else None

    async def _take_hold(self, connection: AnyConnection, call: Call) -> Vote:
        recipe = self._recipes[call.operation]
        gid = f"{self._prefix(call.key)}{call.epoch}"
        try:
            await connection.execute(self._begin())
            if not await fence.claim(connection, call.key, call.epoch):
                return await self._settled_before(connection, call)
            captured = await _capture(connection, recipe, call.params)  # first, so that what it locks is what is seen
            before = await self._preview(connection, call)
            data = await _perform(connection, recipe, call.params, captured)
            await fence.note(connection, call.key, data)
            after = await self._preview(connection, call)
        except Permanent as error:  # an unmet expectation: before the promise that is a no, not a fault
            return Refused(error.message)
        await _end(connection, f"prepare transaction {_literal(gid)}", "PREPARE TRANSACTION")
        return Prepared({"gid": gid}, Preview(before.facts, before.before, after.before))

    async def _repeated(self, connection: AnyConnection, call: Call, epoch: int) -> Vote:
        """Answer a prepare whose hold stands, or stood until it was committed."""
        if call.epoch < epoch:
            return Refused("A newer process has taken this action over.")
        try:
            preview = await self._preview(connection, call)
        except Permanent:  # the word is given: what can no longer be seen must not turn it into a no
            preview = Preview()
        return Prepared({"gid": f"{self._prefix(call.key)}{epoch}"}, preview)

    async def _settled_before(self, connection: AnyConnection, call: Call) -> Vote:
        row = await fence.read(connection, call.key)
        await connection.execute("rollback")
        if row is None or row.state is State.ABORTED:
            return Refused("This action was aborted before it was prepared.")
        return await self._repeated(connection, call, row.epoch)

    async def _undone_before(self, connection: AnyConnection, key: str) -> Result:
        row = await fence.read(connection, key)
        if row is None or row.state is State.ABORTED:
            raise Permanent("This compensation was aborted. Nothing was changed.")
        return Result(row.result or {})

    async def _nobody_writes(self, connection: AnyConnection, call: Call) -> Standing:
        """Try to write the row and take it back: whoever is just doing so makes us wait, and that is the answer."""
        try:
            await connection.execute("begin")
            free = await fence.claim(connection, call.key, call.epoch)
            await connection.execute("rollback")
        except LOST as error:
            return Unknown(f"Another call under this key may be under way: {words(error)}.")
        return Absent() if free else Unknown("Another call under this key has just ended.")

    async def _preview(self, connection: AnyConnection, call: Call) -> Preview:
        recipe = self._recipes[call.operation]
        if recipe.preview is None:
            return Preview()
        try:
            rows = await run(connection, recipe.preview, call.params)
        except LOST as error:
            verdict = judge(error)
            raise Permanent(verdict.reason) if isinstance(verdict, Refused) else verdict from error
        return seen(recipe, rows)


async def _capture(connection: AnyConnection, recipe: Recipe, params: JSON) -> JSON:
    if recipe.capture is None:
        return {}
    seen = await run(connection, recipe.capture, params)
    return {"captured": seen[0] if seen else None}


async def _perform(connection: AnyConnection, recipe: Recipe, params: JSON, captured: JSON) -> JSON:
    values = {**params, **captured}
    rows = [row for statement in recipe.do for row in await run(connection, statement, values)]
    return bounded({"rows": rows, **captured}, bounds.ANSWER_BYTES)


async def _finish(connection: AnyConnection, verb: str, gid: str) -> None:
    """COMMIT or ROLLBACK a prepared transaction. That it does not exist is no error here: the fence tells why."""
    try:
        await connection.execute(f"{verb} {_literal(gid)}")
    except LOST as error:
        if getattr(error, "sqlstate", None) != _NO_SUCH_HOLD:
            raise


async def _end(connection: AnyConnection, statement: str, tag: str) -> None:
    """Send the statement that makes a transaction durable, and believe only its own tag."""
    try:
        answered = await connection.execute(statement)
    except LOST as error:
        if not certain(error):
            raise InDoubt(f"The answer to {tag} was lost: {words(error)}.", silent=unheard(error)) from error
        raise
    if answered != tag:  # PostgreSQL answers ROLLBACK, without an error, where the transaction had failed
        raise Transient(f"The database answered {answered} to {tag}; nothing was changed.")


@asynccontextmanager
async def _in_doubt(sentence: str) -> AsyncIterator[None]:
    try:
        yield
    except LOST as error:
        raise InDoubt(f"{sentence}: {words(error)}.", silent=unheard(error)) from error


@asynccontextmanager
async def _nothing_changed() -> AsyncIterator[None]:
    try:
        yield
    except LOST as error:
        verdict: Refused | AdapterError = judge(error)
        raise Permanent(verdict.reason) if isinstance(verdict, Refused) else verdict from error


def _hold_of(gid: str, since: str) -> Hold:
    _, _, rest = gid.split(":", 2)
    key, _, epoch = rest.rpartition(":")
    return Hold(gid, key, int(epoch), since)


def _literal(gid: str) -> str:
    """Quote a name; these statements take no parameters."""
    return "'" + gid.replace("'", "''") + "'"


def _checked(name: str, dsn: str) -> str:
    try:
        parts = urlsplit(dsn)
        valid = parts.scheme in {"postgres", "postgresql"} and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise Misconfigured(f"[adapters.{name}]: dsn is not an address like postgresql://user@host:5432/database.")
    return dsn


def _build(name: str, table: PostgresTable, reveal: Reveal) -> PostgresAdapter:
    return PostgresAdapter(name, table, reveal("dsn", table.dsn))


KIND: Final = Kind(PostgresTable, _build)

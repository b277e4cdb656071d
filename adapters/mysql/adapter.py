"""A MariaDB or MySQL database of the operator's as a participant, through XA: every operation is `atomic`.

What an operation does are the operator's statements from `intentledger.toml`. Agents choose values, never SQL.

    prepare    XA START → claim the fence row → capture → preview → statements → XA END → XA PREPARE    rows stay locked
    commit     XA COMMIT; then the fence row, visible from that instant on, is the answer, as often as it is asked
    abort      XA ROLLBACK, then a tombstone, which a late prepare runs into
    compensate one ordinary transaction: claim the fence row of the undo key → undo statements → COMMIT
    inquire    the hold, else the fence row, else whether anybody is just writing it

Rules of this file:

1. First the list of prepared branches, then the fence row: always two statements, in this order. A branch that is being
   committed shows its effects before it leaves the list, so what is not in the list is visible in the fence, if it ever
   happened.
2. `XAER_NOTA` says nothing by itself. The branch was committed, was rolled back, was never there, or is there in a
   session that has not ended (which then cannot be finished by anybody else): the list and the fence row tell which.
3. Until XA PREPARE or COMMIT is sent an error leaves nothing behind, and says so. From there on what is not a clear no
   is in doubt.
4. Nobody waits: a row or key that another holds is waited for `lock_timeout_seconds`, then the call is `Transient`.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec
from asyncmy.errors import MySQLError

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
from adapters.fence import Fence, State
from adapters.kinds import Kind
from adapters.mysql import fence
from adapters.mysql.session import (
    LOST,
    NO_SUCH_BRANCH,
    Branch,
    Database,
    Session,
    address,
    certain,
    judge,
    number,
    silent,
    words,
)
from adapters.mysql.tables import MYSQL, MysqlTable
from adapters.sql_tables import Recipe, bounded, recipes, seen
from ledger import bounds
from ledger.errors import AdapterError, InDoubt, Permanent, Transient
from ledger.intents import JSON, Verb

_ENDING_SECONDS: Final = 1.0  # how long a session that was closed may take to end; usually a millisecond
_ENDING_POLL_SECONDS: Final = 0.01
_DURABLE: Final = "select @@global.innodb_flush_log_at_trx_commit, @@global.log_bin, @@global.sync_binlog"


class Hold(msgspec.Struct, frozen=True):
    """A prepared branch of this adapter: the rows that it changed are locked until it is committed or rolled back."""

    xid: str  # "gtrid,bqual"
    key: str
    epoch: int


class MysqlAdapter:
    """One database and the operations configured for it."""

    def __init__(self, name: str, table: MysqlTable, dsn: Credential) -> None:
        """Compile the operator's statements; raises `Misconfigured`. Connects to nothing."""
        self.name = name
        self._table = table
        self._dsn = dsn
        address(name, dsn())
        self._recipes = recipes(name, table, MYSQL)
        self.operations: Mapping[str, Operation] = {key: recipe.operation for key, recipe in self._recipes.items()}
        self._database = Database(name, table)
        self._is_open = False
        self._is_checked = False

    async def open(self) -> None:
        """Allow calls; the database may be down."""
        self._is_open = True

    async def close(self) -> None:
        """Refuse calls. Holds stay: they belong to the database."""
        self._is_open = False

    async def preview(self, call: Call) -> Preview:
        """Read the row that the operation's preview query shows, in a transaction that can only read (law 11)."""
        async with self._session() as session, _nothing_changed():
            await session.execute("start transaction read only")  # rolled back with the session
            return await self._preview(session, call)

    async def prepare(self, call: Call) -> Vote:
        """Do everything but the commit, and leave it prepared (laws 1 to 4, 7)."""
        async with self._session() as session:
            try:
                hold = await self._hold(session, call.key)
                if hold is not None:
                    return await self._repeated(session, call, hold.epoch)
                return await self._take_hold(session, call)
            except LOST as error:
                verdict = judge(error)
                if isinstance(verdict, Refused):
                    return verdict
                raise verdict from error

    async def commit(self, call: Call, receipt: JSON | None) -> Result:
        """Commit the hold; repeated, answer what the fence keeps (law 5)."""
        xid = str((receipt or {}).get("xid"))
        async with self._session() as session, _in_doubt("Whether the hold was committed is not known"):
            if xid.startswith(f"{_gtrid(call.key)},"):
                await self._finish(session, "commit", xid)
            row = await fence.read(session, call.key) or await self._bury(session, call)
        if row.state is State.APPLIED:
            return Result(row.result or {})
        raise Permanent(
            "There is no hold and there was no effect: the prepared branch was rolled back, "
            "by an abort or by somebody's hand. A late prepare will be refused."
        )

    async def abort(self, call: Call, receipt: JSON | None) -> None:
        """Roll the hold back, if there is one, and leave a tombstone (law 6)."""
        del receipt  # it may be that of nobody or of an older epoch; the key finds the hold that exists
        async with self._session() as session, _in_doubt("The hold may still stand"):
            hold = await self._hold(session, call.key)
            if hold is not None:
                await self._finish(session, "rollback", hold.xid)
            row = await self._bury(session, call)
        if row.state is State.APPLIED:
            raise Permanent("This action has happened in the database and can no longer be aborted.")

    async def compensate(self, call: Call, receipt: JSON | None, result: JSON) -> Result:
        """Run the undo statements in one transaction under the fence of the undo key (law 8)."""
        del receipt
        recipe = self._recipes[call.operation]
        rows = result.get("rows") or [None]
        values = {**call.params, "captured": result.get("captured"), "returned": rows[0]}
        async with self._session() as session, _nothing_changed():
            await session.execute("start transaction")
            if not await fence.claim(session, call.key, call.epoch):
                return await self._undone_before(session, call.key)
            undone = [row for statement in recipe.undo for row in await session.run(statement, values)]
            data = bounded({"rows": undone}, bounds.ANSWER_BYTES)
            await fence.note(session, call.key, data)
            await _end(session, "commit")
            return Result(data)

    async def inquire(self, call: Call) -> Standing:
        """Look for the hold, then for the fence row, then for somebody who is just writing it (law 9)."""
        async with self._session() as session:
            try:
                hold = await self._hold(session, call.key)
                if hold is not None and call.verb is not Verb.COMPENSATE:
                    return Held({"xid": hold.xid})
                row = await fence.read(session, call.key)
                if row is None:
                    return await self._nobody_writes(session, call)
            except LOST as error:
                raise Transient(f"The database did not tell: {words(error)}.", silent=silent(error)) from error
            return Applied(Result(row.result or {})) if row.state is State.APPLIED else Absent()

    async def holds(self) -> list[Hold]:
        """List every hold of this adapter, so that what nobody finished can be found by hand."""
        async with self._session() as session:
            return await self._holds(session, _gtrid(""))

    # ── inside a session ─────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        if not self._is_open:
            raise Transient(f"Adapter {self.name} is closed; nothing was sent.")
        async with self._database.session(self._dsn()) as session:
            if not self._is_checked:
                await self._check(session)
                self._is_checked = True
            yield session

    async def _check(self, session: Session) -> None:
        """Make sure, once, that the database keeps what it acknowledges, and that the fence is there."""
        try:
            ((flush, log, sync),) = [tuple(row.values()) for row in await session.rows(_DURABLE)]
            if flush != 1 or (log and sync != 1):
                raise Transient(
                    f"The database of adapter {self.name} acknowledges what a crash may lose; nothing was sent. Set "
                    "innodb_flush_log_at_trx_commit = 1 there and, beside a binary log, sync_binlog = 1."
                )
            engine = await fence.engine(session)
            if engine is None:
                await session.execute(fence.CREATE)
            elif engine != "InnoDB":
                raise Transient(f"The table intent_ledger_fence there is not InnoDB but {engine}; nothing was sent.")
        except LOST as error:
            raise Transient(
                f"The database of adapter {self.name} could not be checked ({words(error)}); nothing was sent.",
                silent=silent(error),
            ) from error

    async def _hold(self, session: Session, key: str) -> Hold | None:
        holds = await self._holds(session, _gtrid(key))
        return next((hold for hold in holds if hold.key == key), None)

    async def _holds(self, session: Session, prefix: str) -> list[Hold]:
        found = [_hold_of(branch) for branch in await session.branches() if branch.gtrid.startswith(prefix)]
        return [hold for hold, name in found if name == self.name]

    async def _finish(self, session: Session, verb: str, xid: str) -> None:
        """XA COMMIT or XA ROLLBACK a branch. That it is not there is no error here: the fence tells why."""
        for _ in range(round(_ENDING_SECONDS / _ENDING_POLL_SECONDS)):
            try:
                await session.execute(f"xa {verb} {_literal(xid)}")
            except MySQLError as error:
                if number(error) != NO_SUCH_BRANCH:
                    raise
            else:
                return
            if all(branch.xid != xid for branch in await session.branches()):
                return
            await asyncio.sleep(_ENDING_POLL_SECONDS)
        raise InDoubt("The session that prepared the hold has not ended, or somebody else is just finishing it.")

    async def _bury(self, session: Session, call: Call) -> Fence:
        row = await fence.bury(session, call.key, call.epoch)
        if row is None:
            raise InDoubt("The row of this key was taken out of the fence by somebody.")
        return row

    async def _take_hold(self, session: Session, call: Call) -> Vote:
        recipe = self._recipes[call.operation]
        xid = self._xid(call.key, call.epoch)
        await session.execute(f"xa start {_literal(xid)}")
        try:
            if not await fence.claim(session, call.key, call.epoch):
                await _give_back(session, xid)
                return await self._settled_before(session, call)
            captured = await _capture(session, recipe, call.params)  # first, so that what it locks is what is seen
            before = await self._preview(session, call)
            data = await _perform(session, recipe, call.params, captured)
            await fence.note(session, call.key, data)
            after = await self._preview(session, call)
            await session.execute(f"xa end {_literal(xid)}")
        except Permanent as error:  # an unmet expectation: before the promise that is a no, not a fault
            await _give_back(session, xid)
            return Refused(error.message)
        except LOST:
            await _give_back(session, xid)
            raise
        await _end(session, f"xa prepare {_literal(xid)}")
        return Prepared({"xid": xid}, Preview(before.facts, before.before, after.before))

    async def _repeated(self, session: Session, call: Call, epoch: int) -> Vote:
        """Answer a prepare whose hold stands, or stood until it was committed."""
        if call.epoch < epoch:
            return Refused("A newer process has taken this action over.")
        try:
            preview = await self._preview(session, call)
        except Permanent:  # the word is given: what can no longer be seen must not turn it into a no
            preview = Preview()
        return Prepared({"xid": self._xid(call.key, epoch)}, preview)

    async def _settled_before(self, session: Session, call: Call) -> Vote:
        row = await fence.read(session, call.key)
        if row is None or row.state is State.ABORTED:
            return Refused("This action was aborted before it was prepared.")
        return await self._repeated(session, call, row.epoch)

    async def _undone_before(self, session: Session, key: str) -> Result:
        row = await fence.read(session, key)
        if row is None or row.state is State.ABORTED:
            raise Permanent("This compensation was aborted. Nothing was changed.")
        return Result(row.result or {})

    async def _nobody_writes(self, session: Session, call: Call) -> Standing:
        """Try to write the row and take it back: whoever is just doing so makes us wait, and that is the answer."""
        try:
            await session.execute("start transaction")
            free = await fence.claim(session, call.key, call.epoch)
            await session.execute("rollback")
        except LOST as error:
            return Unknown(f"Another call under this key may be under way: {words(error)}.")
        return Absent() if free else Unknown("Another call under this key has just ended.")

    async def _preview(self, session: Session, call: Call) -> Preview:
        recipe = self._recipes[call.operation]
        if recipe.preview is None:
            return Preview()
        try:
            rows = await session.run(recipe.preview, call.params)
        except LOST as error:
            verdict = judge(error)
            raise Permanent(verdict.reason) if isinstance(verdict, Refused) else verdict from error
        return seen(recipe, rows)

    def _xid(self, key: str, epoch: int) -> str:
        return f"{_gtrid(key)},{self.name}:{epoch}"


async def _capture(session: Session, recipe: Recipe, params: JSON) -> JSON:
    if recipe.capture is None:
        return {}
    found = await session.run(recipe.capture, params)
    return {"captured": found[0] if found else None}


async def _perform(session: Session, recipe: Recipe, params: JSON, captured: JSON) -> JSON:
    values = {**params, **captured}
    rows = [row for statement in recipe.do for row in await session.run(statement, values)]
    return bounded({"rows": rows, **captured}, bounds.ANSWER_BYTES)


async def _give_back(session: Session, xid: str) -> None:
    """Roll back a branch that is not prepared, so that its locks are gone now and not when the session has ended."""
    for verb in ("end", "rollback"):
        with suppress(*LOST):
            await session.execute(f"xa {verb} {_literal(xid)}")


async def _end(session: Session, statement: str) -> None:
    """Send the statement that makes a transaction durable."""
    try:
        await session.execute(statement)
    except LOST as error:
        if certain(error):
            raise
        said = "XA PREPARE" if statement.startswith("xa") else "COMMIT"
        raise InDoubt(f"The answer to {said} was lost: {words(error)}.", silent=silent(error)) from error


@asynccontextmanager
async def _in_doubt(sentence: str) -> AsyncIterator[None]:
    try:
        yield
    except LOST as error:
        raise InDoubt(f"{sentence}: {words(error)}.", silent=silent(error)) from error


@asynccontextmanager
async def _nothing_changed() -> AsyncIterator[None]:
    try:
        yield
    except LOST as error:
        verdict: Refused | AdapterError = judge(error)
        raise Permanent(verdict.reason) if isinstance(verdict, Refused) else verdict from error


def _gtrid(key: str) -> str:
    return f"intentledger:{key}"


def _hold_of(branch: Branch) -> tuple[Hold, str]:
    name, _, epoch = branch.bqual.rpartition(":")
    key = branch.gtrid.removeprefix(_gtrid(""))
    return Hold(branch.xid, key, int(epoch) if epoch.isdecimal() else 0), name


def _literal(xid: str) -> str:
    """Write a branch's name as SQL: each of its halves has 64 bytes at most."""
    gtrid, _, bqual = xid.partition(",")
    return f"x'{gtrid.encode().hex()}',x'{bqual.encode().hex()}'"


def _build(name: str, table: MysqlTable, reveal: Reveal) -> MysqlAdapter:
    return MysqlAdapter(name, table, reveal("dsn", table.dsn))


KIND: Final = Kind(MysqlTable, _build)

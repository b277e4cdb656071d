"""How the mysql adapter speaks to a participant's database: its sessions, its values, and what its errors mean.

A session serves one call and is closed. That is not thrift forgone: MariaDB lets nobody else finish a prepared branch
while the session that prepared it lives, a kept connection that the server has just closed would turn a call that never
arrived into one in doubt, and the next connection takes the credentials as they are then. Connecting takes less than a
millisecond in a local network.

A session that we lose without the server noticing is ended by the server itself after `wait_timeout`, which we set: a
branch that it had prepared stays and is free then, any other is rolled back.
"""

import asyncio
import math
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import asyncmy
import msgspec
from asyncmy.constants import CLIENT, ER, FIELD_TYPE
from asyncmy.errors import MySQLError

from adapters.contract import Refused
from adapters.mysql.tables import MysqlTable, written
from adapters.sql_tables import expected
from adapters.statements import Statement
from ledger import bounds
from ledger.errors import AdapterError, Misconfigured, Permanent, Transient
from ledger.intents import JSON

LOST: Final = (OSError, MySQLError)
"""Everything a database call may raise when it does not succeed; a `TimeoutError` is an `OSError`."""

NO_SUCH_BRANCH: Final = 1397  # XAER_NOTA: also where it is, in a session that has not ended
_ROLLED_BACK: Final = frozenset({ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT, 1402, 1613, 1614})  # by the server, surely
_REFUSING: Final = frozenset({"22", "23", "44", "45"})  # data, constraints, check options, SIGNAL
_REFUSING_NUMBERS: Final = frozenset({1265, 1267, 1366, 1411, 3819})  # the same, under no state of their own
_PASSING: Final = frozenset({"08", "40", "70", "XA"})  # connection, deadlock, interruption, a branch rolled back
_PASSING_NUMBERS: Final = frozenset(
    {
        1020,  # changed since it was read
        1021, 1030, 1037, 1038, 1041, 1114, 1180,  # the disk, memory, the engine
        1203, 1205, 1226,  # too many connections, a lock, a quota
        1290, 1836,  # read-only: a replica that is not the primary yet, or no longer
        1412, 1615, 1637, 3024,  # a table that is being altered, too many transactions, time
    }
)  # fmt: skip
_CLOSING_SECONDS: Final = 1.0  # then the rest of a farewell (TLS has one too) goes on without us
_CLIENT_NUMBERS: Final = range(2000, 3000)  # said by the driver, not by the server
_SHOWS_OTHERS: Final = re.compile(r"(?<=Duplicate entry )'.*'(?= for key)", re.DOTALL)

_SETTINGS: Final = (
    "set session sql_mode = 'TRADITIONAL', time_zone = '+00:00', autocommit = 1, "
    "wait_timeout = {idle}, lock_wait_timeout = {metadata}, innodb_lock_wait_timeout = {lock}, "
    "sql_select_limit = {rows}, {limit}"
)
_INTEGERS: Final = frozenset(
    {FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG, FIELD_TYPE.YEAR}
)
_FLOATS: Final = frozenset({FIELD_TYPE.FLOAT, FIELD_TYPE.DOUBLE})


class Address(msgspec.Struct, frozen=True):
    """Where a database is, and as whom we come."""

    host: str
    port: int
    user: str
    password: bytes
    database: str


class Branch(msgspec.Struct, frozen=True):
    """A prepared branch that the server lists; whoever's it is."""

    gtrid: str
    bqual: str

    @property
    def xid(self) -> str:
        """Return its name as receipts hold it."""
        return f"{self.gtrid},{self.bqual}"


class Session:
    """One connection, for one call."""

    def __init__(self, connection: Any) -> None:
        """Speak over a connection of the driver's that stands."""
        self._connection = connection

    async def execute(self, sql: str) -> int:
        """Run one statement of ours and return how many rows it affected."""
        async with self._connection.cursor() as cursor:
            await cursor.execute(sql)
            return int(cursor.rowcount)

    async def rows(self, sql: str) -> list[dict[str, Any]]:
        """Run one query and return its rows, with values as JSON has them."""
        rows, _ = await self._run(sql)
        return rows

    async def branches(self) -> list[Branch]:
        """Return every prepared branch on the server, of all its databases."""
        return [_branch(row) for row in await self.rows("xa recover")]

    async def run(self, statement: Statement, values: JSON) -> list[JSON]:
        """Run a statement of the operator's; raises `Permanent` if it affects more or fewer rows than expected."""
        rows, count = await self._run(written(statement, values))
        expected(statement, count, len(rows))
        return rows

    async def _run(self, sql: str) -> tuple[list[dict[str, Any]], int]:
        async with self._connection.cursor() as cursor:
            await cursor.execute(sql)
            if cursor.description is None:
                return [], int(cursor.rowcount)
            columns = [(column[0], column[1]) for column in cursor.description]
            rows = [_row(columns, row) for row in await cursor.fetchall()]
            while await cursor.nextset():  # CALL has more to say; the first is its answer
                pass
            return rows, len(rows)


class Database:
    """Where sessions come from: at most so many at the same time."""

    def __init__(self, name: str, table: MysqlTable) -> None:
        """Read what is needed to check certificates; raises `Misconfigured`. Connects to nothing."""
        self._name = name
        self._table = table
        self._places = asyncio.Semaphore(table.connections)
        self._tls = _tls(name, table)

    @asynccontextmanager
    async def session(self, dsn: str) -> AsyncIterator[Session]:
        """Lend a session. Raises `Transient` if there is none; the server rolls back what was left open in it."""
        seconds = self._table.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._places.acquire()
        except TimeoutError:
            raise Transient(f"All connections of adapter {self._name} are busy; nothing was sent.") from None
        try:
            connection = await self._connect(address(self._name, dsn))
            try:
                yield Session(connection)
            finally:
                with suppress(*LOST):
                    async with asyncio.timeout(_CLOSING_SECONDS):
                        await connection.ensure_closed()
                connection.close()
        finally:
            self._places.release()

    async def _connect(self, where: Address) -> Any:
        seconds = self._table.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                connection = await asyncmy.connect(
                    host=where.host,
                    port=where.port,
                    user=where.user,
                    password=where.password,
                    database=where.database,
                    ssl=self._tls,
                    charset="utf8mb4",
                    conv={},  # values stay the text that they travel as
                    autocommit=None,  # see _SETTINGS
                    client_flag=CLIENT.FOUND_ROWS,  # a row that already is as wanted counts as affected
                    connect_timeout=seconds,
                    read_timeout=seconds,
                    program_name="intentledger",
                )
                try:
                    await self._begin_session(connection)
                except BaseException:
                    connection.close()
                    raise
        except (*LOST, RuntimeError, ValueError) as error:  # the last two: a handshake that makes no sense
            said = words(error) if isinstance(error, MySQLError) else type(error).__name__
            raise Transient(
                f"The database of adapter {self._name} cannot be reached ({said}); nothing was sent.",
                silent=silent(error),
            ) from error
        return connection

    async def _begin_session(self, connection: Any) -> None:
        table, seconds = self._table, self._table.timeout_seconds
        mariadb = "mariadb" in connection.get_server_info().lower()
        limit = f"max_statement_time = {seconds}" if mariadb else f"max_execution_time = {round(seconds * 1000)}"
        settings = _SETTINGS.format(
            idle=math.ceil(2 * seconds),
            metadata=max(1, table.lock_timeout_seconds),
            lock=table.lock_timeout_seconds,
            rows=bounds.ANSWER_ROWS + 1,
            limit=limit,
        )
        session = Session(connection)
        await session.execute(settings)
        await session.execute(f"set session transaction isolation level {table.isolation}")


def address(name: str, dsn: str) -> Address:
    """Read `mysql://user:password@host:port/database`; raises `Misconfigured`, saying nothing of what stands there."""
    try:
        parts = urlsplit(dsn)
        found = Address(
            host=parts.hostname or "",
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or "").encode(),
            database=unquote(parts.path.removeprefix("/")),
        )
    except ValueError:
        found = None
    if (
        found is None
        or parts.scheme not in {"mysql", "mariadb"}
        or parts.query
        or not (found.host and found.user and found.database)
    ):
        raise Misconfigured(f"[adapters.{name}]: dsn is not an address like mysql://user:password@host:3306/database.")
    return found


def judge(error: BaseException) -> Refused | AdapterError:
    """Say what an error means that struck before anything could be durable: the transaction is rolled back."""
    if not isinstance(error, MySQLError) or silent(error):
        return Transient(f"The connection to the database failed ({words(error)}); nothing was changed.", silent=True)
    group = str(error.sqlstate or "")[:2]
    if group in _REFUSING or number(error) in _REFUSING_NUMBERS:
        return Refused(f"The database refuses: {words(error)}.")
    if group in _PASSING or number(error) in _PASSING_NUMBERS:
        return Transient(f"The database cannot do it now: {words(error)}. Nothing was changed.")
    return Permanent(f"The operator's statement cannot run: {words(error)}. Nothing was changed.")


def certain(error: BaseException) -> bool:
    """Tell whether an error in answer to COMMIT or XA PREPARE says for sure that it did not happen."""
    return isinstance(error, MySQLError) and number(error) in _ROLLED_BACK


def silent(error: BaseException) -> bool:
    """Tell whether an error is the connection's and nothing was heard of the database."""
    return not isinstance(error, MySQLError) or number(error) in _CLIENT_NUMBERS


def number(error: MySQLError) -> int:
    """Return the server's number of an error; 0 where it has none."""
    first = error.args[0] if error.args else 0
    return first if isinstance(first, int) else 0


def words(error: BaseException) -> str:
    """Return the database's sentence about an error, without the value that somebody else's row may hold."""
    said = str(error.args[-1]) if isinstance(error, MySQLError) and error.args else type(error).__name__
    said = " ".join(_SHOWS_OTHERS.sub("", said).split())
    return said[: bounds.ERROR_LENGTH // 2].removesuffix(".")


def plain(kind: int, value: Any) -> Any:
    """Return a value as JSON, by the type of its column; it comes as text, or as bytes where it has no characters."""
    if value is None:
        return None
    if isinstance(value, bytes | bytearray):
        return value.hex()
    if kind in _INTEGERS:
        whole = int(value)
        return whole if abs(whole) <= bounds.INTEGER_MAX else value
    return float(value) if kind in _FLOATS else value


def _row(columns: Sequence[tuple[str, int]], row: Sequence[Any]) -> dict[str, Any]:
    return {name: plain(kind, value) for (name, kind), value in zip(columns, row, strict=True)}


def _branch(row: dict[str, Any]) -> Branch:
    data, cut = bytes.fromhex(row["data"]), row["gtrid_length"]  # others may put any bytes into their names
    return Branch(data[:cut].decode(errors="replace"), data[cut:].decode(errors="replace"))


def _tls(name: str, table: MysqlTable) -> ssl.SSLContext | None:
    if table.tls == "none":
        return None
    try:
        return ssl.create_default_context(cafile=table.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(f"[adapters.{name}]: ca_file cannot be used ({type(error).__name__}).") from error

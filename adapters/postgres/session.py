"""How the postgres adapter speaks to a participant's database: its sessions, its values, and what its errors mean.

Values travel as text in both directions, so PostgreSQL itself reads "2026-01-31" as a date where a date is wanted, and
what it returns is JSON: numbers beyond 2^53, `numeric`, times and everything without a JSON form are text.
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeAlias

import asyncpg

from adapters import fence
from adapters.contract import Refused
from adapters.credentials import Credential
from adapters.fence import AnyConnection
from adapters.sql_tables import expected
from adapters.statements import Statement, bind
from ledger import bounds
from ledger.errors import AdapterError, Permanent, Transient
from ledger.intents import JSON

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

LOST: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""Everything a database call may raise when it does not succeed; a `TimeoutError` is an `OSError`."""

_REFUSING: Final = frozenset({"22", "23", "44", "P0"})  # data, constraints, check options, raise in a trigger
_PASSING: Final = frozenset(
    {"08", "40", "53", "55", "57", "58", "XX"}
)  # connection, conflict, resources, locks, shutdown
_UNCERTAIN: Final = frozenset({"08", "57", "58", "XX"})  # may strike after the commit they interrupt
_NO_PREPARED_TRANSACTIONS: Final = "55000"


async def open_pool(dsn: Credential, connections: int, seconds: float, lock_seconds: float) -> Pool:
    """Make a pool that connects when it is first used: a database that is down fails calls, not the start.

    Each connection is made with the credential as it is then; `Pool.expire_connections` retires those made before.
    """

    async def connect(*_: Any, **how: Any) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(dsn(), **how)

    return await asyncpg.create_pool(
        min_size=0,
        max_size=connections,
        connect=connect,
        init=_begin_session,
        timeout=seconds,
        command_timeout=seconds,
        server_settings={
            "application_name": "intentledger",
            "timezone": "UTC",
            "datestyle": "ISO",
            "synchronous_commit": "on",  # an answer is durable, whatever the database's default
            "statement_timeout": _milliseconds(seconds),
            "lock_timeout": _milliseconds(lock_seconds),
            "idle_in_transaction_session_timeout": _milliseconds(2 * seconds),
        },
    )


@asynccontextmanager
async def session(pool: Pool, name: str, seconds: float) -> AsyncIterator[AnyConnection]:
    """Lend a connection. Raises `Transient` if there is none; whatever was left open is rolled back when it returns."""
    try:
        connection = await pool.acquire(timeout=seconds)
    except (*LOST, ValueError) as error:
        reason = words(error) if isinstance(error, asyncpg.PostgresError) else type(error).__name__
        sentence = f"The database of adapter {name} cannot be reached ({reason}); nothing was sent."
        raise Transient(sentence, silent=unheard(error)) from error
    try:
        yield connection
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) or isinstance(error.__cause__, TimeoutError):
            connection.terminate()  # the driver may wait for an answer that never comes, and rows would stay locked
        raise
    finally:  # the answer is known by now, and a session that was lost is rolled back by the server
        with suppress(*LOST):
            if connection.is_in_transaction():
                await connection.execute("rollback")
        with suppress(*LOST):
            await pool.release(connection, timeout=seconds)


async def run(connection: AnyConnection, statement: Statement, values: JSON) -> list[JSON]:
    """Run one statement and return its rows; raises `Permanent` if it affects more or fewer rows than expected."""
    prepared = await connection.prepare(statement.sql)
    rows = await prepared.fetch(*bind(statement, values))
    said = (prepared.get_statusmsg() or "").rpartition(" ")[2]
    count = int(said) if said.isdigit() else len(rows)  # CALL does not count
    expected(statement, count, len(rows))
    return [{column: plain(value) for column, value in row.items()} for row in rows]


def judge(error: BaseException) -> Refused | AdapterError:
    """Say what an error means that struck before anything could be durable: the transaction is rolled back."""
    if isinstance(error, ValueError):  # the driver itself could not encode it
        return Refused("A value does not have the form that its place in a statement wants.")
    if not isinstance(error, asyncpg.PostgresError):
        reason = f"The connection to the database failed ({type(error).__name__}); nothing was changed."
        return Transient(reason, silent=True)
    state, group = error.sqlstate or "", (error.sqlstate or "")[:2]
    if state == _NO_PREPARED_TRANSACTIONS and "max_prepared_transactions" in (error.hint or ""):
        return Permanent("The database does not allow prepared transactions; set max_prepared_transactions there.")
    if group in _REFUSING:
        return Refused(f"The database refuses: {words(error)}.")
    if group in _PASSING or isinstance(error, asyncpg.InvalidCachedStatementError):
        return Transient(f"The database cannot do it now: {words(error)}. Nothing was changed.", silent=unheard(error))
    return Permanent(f"The operator's statement cannot run: {words(error)}. Nothing was changed.")


def unheard(error: BaseException) -> bool:
    """Tell whether an error says that there is no database to speak to, rather than anything about what was asked."""
    if not isinstance(error, asyncpg.PostgresError):
        return not isinstance(error, ValueError)
    return (error.sqlstate or "").startswith(("08", "57P0"))  # the connection; it shuts down, or starts up


def certain(error: BaseException) -> bool:
    """Tell whether an error in answer to COMMIT or PREPARE TRANSACTION says for sure that it did not happen."""
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "XX")[:2] not in _UNCERTAIN


def words(error: BaseException) -> str:
    """Return PostgreSQL's one sentence about an error; never its detail, which shows other people's rows."""
    return " ".join((getattr(error, "message", None) or str(error)).split())[: bounds.ERROR_LENGTH // 2].removesuffix(
        "."
    )


def plain(value: Any) -> Any:
    """Return a value as JSON."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if abs(value) <= bounds.INTEGER_MAX else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case list() | tuple() | set():
            return [plain(one) for one in value]
        case bytes():
            return value.hex()
        case _ if isinstance(value, Mapping | asyncpg.Record):
            return {str(key): plain(one) for key, one in value.items()}
        case _:
            return str(value)


async def _begin_session(connection: AnyConnection) -> None:
    for name, decode in _DECODE.items():
        encode = _json_text if name in {"json", "jsonb"} else _text
        await connection.set_type_codec(name, schema="pg_catalog", encoder=encode, decoder=decode, format="text")
    await fence.create(connection)


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # 42.0 and 42 are one number (RFC 8785)
    return _json_text(value)


def _json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _same(text: str) -> str:
    return text


_DECODE: Final[Mapping[str, Callable[[str], Any]]] = {
    **dict.fromkeys(("int2", "int4", "int8"), int),
    **dict.fromkeys(("float4", "float8"), float),
    **dict.fromkeys(("numeric", "uuid", "text", "varchar", "bpchar"), _same),
    **dict.fromkeys(("date", "time", "timetz", "timestamp", "timestamptz", "interval"), _same),
    **dict.fromkeys(("json", "jsonb"), json.loads),
    "bool": lambda text: text == "t",
}
"""The types that travel as text: those to which a JSON value can be bound, by their names in pg_catalog."""

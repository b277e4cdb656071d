"""The way to PostgreSQL: pools whose connections are all alike, the settings that make "durable" true, and one table
of what an error of the driver means for the question "was it written?".

Every connection runs as `intent_ledger_app`, without JIT, with bounded statements. This file knows no table of ours.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg

import sql
from ledger import bounds
from ledger.errors import InvariantViolation, Misconfigured, Overloaded, Unavailable

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]

APP_ROLE: Final = "intent_ledger_app"
SUPPORTED: Final = range(15, 19)
_DURABLE: Final = ("fsync", "full_page_writes", "synchronous_commit")

_SETTINGS = sql.query("database.settings")
_MIGRATED = sql.query("database.migrated")

DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""Everything that the driver raises."""

_BROKEN: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
)
_EXHAUSTED: Final = (
    asyncpg.InsufficientResourcesError,  # disk full, too many connections
    asyncpg.QueryCanceledError,  # statement_timeout
    asyncpg.LockNotAvailableError,
    asyncpg.PostgresSystemError,  # an input or output error of the server
    asyncpg.ReadOnlySQLTransactionError,  # a standby, or a server that was told to stop writing
)


class Fate(Enum):
    """What an error of the driver says about the statement that met it."""

    UNKNOWN = "the connection broke: it may have been done, or may be done later"
    NOT_NOW = "the server cannot now: certainly not done, and the statement is not to blame"
    NEVER = "the statement cannot be done: certainly not done, and never will be"


def fate_of(error: BaseException) -> Fate:
    """Tell what an error of the driver means. This is the one place that decides it."""
    if isinstance(error, _EXHAUSTED):
        return Fate.NOT_NOW
    if isinstance(error, asyncpg.PostgresError):
        return Fate.UNKNOWN if isinstance(error, _BROKEN) else Fate.NEVER
    if isinstance(error, ValueError):  # an argument that the driver could not encode: nothing was sent
        return Fate.NEVER
    return Fate.UNKNOWN


async def open_pool(dsn: str, size: int) -> "Pool":
    """Open `size` connections at most to a migrated, durable PostgreSQL 15 to 18.

    Raises `Unavailable` if there is none or it is not migrated, and `InvariantViolation` if it could lose what it
    has acknowledged.
    """
    pool = await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=size,
        timeout=bounds.CONNECT_SECONDS,
        command_timeout=bounds.COMMAND_SECONDS,
        server_settings=_session("intentledger", bounds.STATEMENT_SECONDS) | {"role": APP_ROLE},
        reset=_nothing_to_reset,
    )
    try:
        async with connection(pool) as checked:
            await _check(checked)
    except BaseException as error:
        pool.terminate()
        if isinstance(error, asyncpg.InvalidParameterValueError):  # there is no such role
            raise _unmigrated() from error
        if isinstance(error, asyncpg.InsufficientPrivilegeError):
            message = f"The role of this DSN may not act as {APP_ROLE}. Nothing was started; grant it that role."
            raise Unavailable(message) from error
        raise
    return pool


async def connect(dsn: str) -> "asyncpg.Connection[asyncpg.Record]":
    """Open one connection as the role of `dsn` itself, for migrations. Raises `Unavailable`."""
    with answering():
        settings = _session("intentledger migrate", statement_seconds=0)
        return await asyncpg.connect(dsn, timeout=bounds.CONNECT_SECONDS, server_settings=settings)


@asynccontextmanager
async def connection(pool: "Pool") -> AsyncIterator["Connection"]:
    """Borrow a connection for reading, for as short a time as can be.

    Raises `Overloaded` if none becomes free within ACQUIRE_SECONDS, and `Unavailable` if the database does not answer.
    """
    with answering():
        try:
            borrowed = await pool.acquire(timeout=bounds.ACQUIRE_SECONDS)
        except TimeoutError as error:
            raise Overloaded(
                "No database connection became free in time. Nothing was recorded; retry later."
            ) from error
        try:
            yield borrowed
        finally:
            await asyncio.shield(pool.release(borrowed))


@asynccontextmanager
async def session_lock(held: "Connection", take: str, let_go: str, name: str) -> AsyncIterator[bool]:
    """Hold an advisory lock for as long as the connection lives; False: somebody else does.

    The connection goes back to its pool afterwards, and never takes the lock with it: where it cannot be let go, the
    connection is broken.
    """
    taken: bool | None = None  # nobody can tell until the answer is here
    try:
        taken = bool(await held.fetchval(take, name))
        yield taken
    finally:
        if taken is not False and not held.is_closed():
            try:
                await held.execute(let_go, name)
            except BaseException as error:
                held.terminate()
                if not isinstance(error, DRIVER_ERRORS):
                    raise


@contextmanager
def answering() -> Iterator[None]:
    """Turn what the driver raises when the database does not answer into `Unavailable`; `Misconfigured`: no DSN."""
    try:
        yield
    except asyncpg.ClientConfigurationError as error:
        raise Misconfigured(f"This is no DSN of a PostgreSQL: {error}. Nothing was done; correct it.") from error
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise Unavailable(f"PostgreSQL refused the connection: {error}. Nothing was done; correct the DSN.") from error
    except DRIVER_ERRORS as error:
        if fate_of(error) is Fate.NEVER:
            raise
        raise Unavailable(f"PostgreSQL does not answer ({describe(error)}). Ask again; it is safe.") from error


def describe(error: BaseException) -> str:
    """Name an error of the driver in a few words for people."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def check_durable(settings: Mapping[str, str]) -> None:
    """Refuse settings under which an acknowledged commit could be lost. Raises `InvariantViolation`."""
    off = [name for name in _DURABLE if settings.get(name) == "off"]
    if off:
        names = " and ".join(f"{name}=off" for name in off)
        raise InvariantViolation(
            f"This PostgreSQL runs with {names}, so what it has acknowledged could be lost. "
            "Nothing was started; turn it on."
        )


async def _check(connection: "Connection") -> None:
    major = connection.get_server_version().major
    if major not in SUPPORTED:
        raise Unavailable(
            f"This is PostgreSQL {major}. Nothing was started; use {SUPPORTED.start} to {SUPPORTED.stop - 1}."
        )
    check_durable({row["name"]: row["setting"] for row in await connection.fetch(_SETTINGS)})
    if not await connection.fetchval(_MIGRATED):
        raise _unmigrated()


def _unmigrated() -> Unavailable:
    return Unavailable("This database has not been migrated. Nothing was started; run `intentledger migrate`.")


def _session(application_name: str, statement_seconds: float) -> dict[str, str]:
    milliseconds = str(int(statement_seconds * 1000))
    return {
        "application_name": application_name,
        "jit": "off",  # our statements are short; compiling them takes longer than running them
        "statement_timeout": milliseconds,
        "idle_in_transaction_session_timeout": milliseconds,
    }


async def _nothing_to_reset(_connection: "Connection") -> None:
    """Skip the driver's reset round trip: our statements leave no session state, and settings are the session's own."""

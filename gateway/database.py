"""Where the database of a process comes from: a PostgreSQL of the operator's, or our own.

It knows how to reach it and how to wait for it, and nothing of what is in it.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from gateway.embedded_postgres import EmbeddedPostgres
from gateway.settings import Settings
from ledger.database import open_pool
from ledger.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from ledger.database import Pool

_RETRY_SECONDS: Final = 0.5
_RETRY_CAP_SECONDS: Final = 5.0  # how long after its return the service notices
T = TypeVar("T")
_log = structlog.get_logger(__name__)


@asynccontextmanager
async def database(settings: Settings, *, shared: bool = False, existing: bool = False) -> AsyncGenerator[str]:
    """Yield the DSN: the operator's, or that of our own server, which runs as long as this context.

    Where another process of ours runs the embedded server already, `Unavailable` says which one; `shared` uses its
    server instead, for as long as it runs. For a command that asks about what there is, `existing` makes no new
    database where there is none, and raises `Misconfigured`.
    """
    if settings.dsn is not None:
        yield settings.dsn.get_secret_value()
        return
    postgres = EmbeddedPostgres(settings.data, settings.postgres_bin)
    if existing and not postgres.database_directory.exists():
        raise Misconfigured(
            f"There is no database in {settings.data}. Nothing was done; name the service's own directory with --data, "
            "or its PostgreSQL with INTENTLEDGER_DSN."
        )
    if shared and postgres.runs_elsewhere():
        yield postgres.dsn()
        return
    dsn = await postgres.start()
    keeper = asyncio.create_task(postgres.keep_running())
    try:
        yield dsn
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])
        await postgres.stop()


@asynccontextmanager
async def existing_pool(settings: Settings, connections: int) -> "AsyncGenerator[Pool]":
    """Yield a pool for a command that works beside whatever serves the database. Raises as `database` does."""
    async with database(settings, shared=True, existing=True) as dsn:
        pool = await open_pool(dsn, connections)
        try:
            yield pool
        finally:
            await pool.close()


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Repeat what needs the database until it answers, as long as that takes; each wait is logged with its reason."""
    delay = _RETRY_SECONDS
    while True:
        try:
            return await attempt()
        except Unavailable as error:
            _log.warning("database_unavailable", detail=error.message, again_in_seconds=delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _RETRY_CAP_SECONDS)

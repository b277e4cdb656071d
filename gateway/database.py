"""Where the database of a process comes from: a PostgreSQL of the operator's, or our own.

It knows how to reach it, wait for it and bring it to this release, and nothing of what is in it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from gateway.embedded_postgres import EmbeddedPostgres
from gateway.settings import Settings
from ledger.errors import Unavailable
from ledger.migrations import migrate

_RETRY_SECONDS: Final = 0.5
_RETRY_CAP_SECONDS: Final = 5.0  # how long after its return the service notices
_log = structlog.get_logger(__name__)


@asynccontextmanager
async def database(settings: Settings, *, shared: bool = False) -> AsyncIterator[str]:
    """Yield the DSN: the operator's, or that of our own server, which runs as long as this context.

    Where another process of ours runs the embedded server already, `Unavailable` says which one; `shared` uses its
    server instead, for as long as it runs.
    """
    if settings.dsn is not None:
        yield settings.dsn.get_secret_value()
        return
    postgres = EmbeddedPostgres(settings.data, settings.postgres_bin)
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


async def migrated(dsn: str, tell: Callable[[str], None]) -> list[str]:
    """Bring the database to this release, waiting as long as it takes until it answers; `tell` why we wait."""
    delay = _RETRY_SECONDS
    while True:
        try:
            return await migrate(dsn)
        except Unavailable as error:
            tell(error.message)
            _log.warning("database_unavailable", detail=error.message, again_in_seconds=delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _RETRY_CAP_SECONDS)

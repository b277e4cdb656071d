"""Bringing a database to this release: every migration once, in order, one transaction a file.

A file that was applied is never edited afterwards; its SHA-256 is kept beside its name and compared at every start.
Several processes may do this at the same time: one works and the others wait, polling, because a blocking advisory
lock would deadlock with an index that is being created concurrently.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import asyncpg

import sql
from ledger import bounds
from ledger.database import answering, connect, describe
from ledger.errors import Corrupt, Misconfigured, Unavailable

if TYPE_CHECKING:
    from ledger.database import Connection

LOCK: Final = 0x1A7E_47ED  # names our advisory lock among those of other programs
_POLL_SECONDS: Final = 0.1

_TRY_LOCK = sql.query("database.try_lock")
_CREATE_SCHEMA = sql.query("database.create_schema")
_CREATE_MIGRATIONS = sql.query("database.create_migrations")
_APPLIED = sql.query("database.applied")
_MIGRATED = sql.query("database.migrated")
_RECORD_APPLIED = sql.query("database.record_applied")


async def migrate(dsn: str, files: Mapping[str, str] | None = None) -> list[str]:
    """Apply what is missing of `files` (default: this release's migrations); return the names of those applied now.

    The role of `dsn` owns what is created. Raises `Corrupt` if an applied file was edited or is not known to this
    release, `Unavailable` if the database does not answer or another process migrates for too long, and
    `Misconfigured` if the role may not.
    """
    files = sql.migrations() if files is None else files
    with answering():  # it may go away at any moment of this, too
        connection = await connect(dsn)
        try:
            await _lock(connection)
            return await _apply(connection, files)
        except asyncpg.InsufficientPrivilegeError as error:
            raise Misconfigured(
                f"The role of this DSN may not migrate the database ({describe(error)}). Nothing was changed; use the "
                "DSN of the tables' owner."
            ) from error
        finally:
            await connection.close()  # and with it the advisory lock


async def behind(connection: "Connection", files: Mapping[str, str] | None = None) -> bool:
    """Tell whether an earlier release has migrated a database, and this one not yet; an empty one it has not."""
    if not await connection.fetchval(_MIGRATED):
        return False
    applied = {row["file"] for row in await connection.fetch(_APPLIED)}
    return bool(applied) and not (sql.migrations() if files is None else files).keys() <= applied


async def _lock(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    give_up_at = asyncio.get_running_loop().time() + bounds.MIGRATION_LOCK_SECONDS
    while not await connection.fetchval(_TRY_LOCK, LOCK):
        if asyncio.get_running_loop().time() > give_up_at:
            raise Unavailable("Another process is migrating this database and does not finish. Nothing was changed.")
        await asyncio.sleep(_POLL_SECONDS)


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", files: Mapping[str, str]) -> list[str]:
    await connection.execute(_CREATE_SCHEMA)
    await connection.execute(_CREATE_MIGRATIONS)
    applied = {row["file"]: row["sha256"] for row in await connection.fetch(_APPLIED)}
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    for name, digest in applied.items():
        if name not in digests:
            raise Corrupt(f"Migration {name} was applied by a newer release. Nothing was changed; upgrade this one.")
        if digests[name] != digest:
            raise Corrupt(f"Migration {name} is not the file that was applied. Nothing was changed; restore the file.")
    missing = [name for name in files if name not in applied]
    for name in missing:
        async with connection.transaction():
            await connection.execute(files[name])
            await connection.execute(_RECORD_APPLIED, name, digests[name])
    return missing

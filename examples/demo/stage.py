"""The outside systems of the demo, standing: the CRM's database, the payments service, the mailbox.

The CRM has a PostgreSQL of its own, which is ours to start and stop and outlives every crash of the coordinator; the
ledger's own PostgreSQL belongs to `intentledger serve`, as it does for anybody who starts it with no settings.
"""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Final

import aiohttp
import asyncpg

from examples.demo.processes import Outside
from examples.journal import Line, read
from gateway.embedded_postgres import EmbeddedPostgres

CRM: Final = "crm"


class Stage:
    """The outside systems below one directory."""

    def __init__(self, directory: Path) -> None:
        """Take an empty directory that every user may pass through."""
        self.directory = directory
        self.postgres = EmbeddedPostgres(directory / "crm")
        self.payments = Outside("examples.payments", directory / "payments.jsonl")
        self.mailbox = Outside("examples.mailbox", directory / "mailbox.jsonl")

    async def start(self) -> None:
        """Start everything, with an empty CRM schema and the adapters' file written."""
        await self.postgres.start()
        await _once(self.postgres.dsn("postgres"), f"create database {CRM}")
        await _once(self.crm_dsn, _text("crm.sql"))
        await self.payments.start()
        await self.mailbox.start()
        ports = {"PAYMENTS_PORT": self.payments.port, "MAILBOX_PORT": self.mailbox.port}
        self.configuration.write_text(Template(_text("intentledger.toml")).substitute(ports))

    async def stop(self) -> None:
        """Stop everything, whatever state it is in."""
        await self.payments.stop()
        await self.mailbox.stop()
        await self.postgres.stop()

    @property
    def crm_dsn(self) -> str:
        """Return where the CRM's database is."""
        return self.postgres.dsn(CRM)

    @property
    def configuration(self) -> Path:
        """Return the adapters' file."""
        return self.directory / "intentledger.toml"

    @property
    def environment(self) -> Mapping[str, str]:
        """Return what a coordinator needs to reach these systems."""
        return {"INTENTLEDGER_CONFIG": str(self.configuration), "CRM_DSN": self.crm_dsn}

    async def crm(self, query: str, *values: Any) -> list[asyncpg.Record]:
        """Ask the CRM's database what it holds."""
        connection = await asyncpg.connect(self.crm_dsn, timeout=10)
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    async def tell_payments(self, path: str, body: Mapping[str, Any]) -> None:
        """POST to the payments service, past the coordinator: to open a charge or to arm a fault."""
        async with aiohttp.ClientSession() as session, session.post(self.payments.url + path, json=body) as response:
            response.raise_for_status()

    def paid(self) -> list[Line]:
        """Return what the payments service has recorded."""
        return list(read(self.payments.record))

    def mailed(self) -> list[Line]:
        """Return what the mailbox has recorded."""
        return list(read(self.mailbox.record))


async def _once(dsn: str, script: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


def _text(name: str) -> str:
    return files("examples.demo").joinpath(name).read_text("utf-8")

"""A service with a fence of its own earns what its configuration declares: the warehouse, in MariaDB."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from inventory_world import CONFIGURATION
from servers.mariadb import mariadb

from adapters.configuration import load, read
from adapters.laws.sampling import setups
from adapters.laws.verification import verify
from adapters.parent_death import signal_at_parent_death

REPOSITORY = Path(__file__).parents[2]


@contextlib.contextmanager
def warehouse(dsn: str) -> Iterator[int]:
    """Run the warehouse; yield its port."""
    paths = {"PYTHONPATH": os.pathsep.join([str(REPOSITORY / "fence"), str(REPOSITORY)])}
    with subprocess.Popen(
        [sys.executable, "-m", "examples.inventory", "--dsn", dsn, "--goods", "bolt=999", "nail=999"],
        env=os.environ | paths,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=signal_at_parent_death(signal.SIGKILL),  # noqa: PLW1509
    ) as service:
        assert service.stdout is not None
        try:
            yield json.loads(service.stdout.readline())["port"]
        finally:
            service.kill()


@pytest.fixture
def dsn() -> Iterator[str]:
    with asyncio.Runner() as loop:
        server = loop.run(mariadb())
        database = loop.run(server.make_database())
    yield server.dsn(database)
    with asyncio.Runner() as loop:
        loop.run(server.drop_database(database))


def tried(tmp_path: Path, port: int):
    path = tmp_path / "intentledger.toml"
    text = (
        CONFIGURATION.read_text().replace(":8090", f":{port}").replace("timeout_seconds = 3.0", "timeout_seconds = 0.5")
    )
    path.write_text(text.replace("[verify.inventory.reserve]", "[verify.inventory.reserve]\nat_most = 2"))
    (setup, _) = setups(str(path), read(path), load(path, {}), "inventory", "run")
    return verify(setup, now=lambda: datetime.now(UTC), secrets=[])


def test_a_service_with_the_fence_earns_atomic_with_an_exact_undo(dsn: str, tmp_path: Path) -> None:
    with warehouse(dsn) as port:
        report = tried(tmp_path, port)
    assert report.kept, [law.findings for law in report.laws]
    assert (str(report.earned), str(report.earned_undo)) == ("atomic", "exact")
    assert all(law.trials > 0 for law in report.laws)

"""Databases for tests.

One server for each test process: `$TEST_DATABASE_URL` (a role that may create databases), else a container if a Docker
daemon answers, else the embedded one. Where none can be had the tests fail; they are never skipped. On it one migrated
template, and for each test that asks a fresh copy, dropped afterwards.

  server        the server: `server.dsn(database)`, `server.binaries` (None unless it is the embedded one),
                `await server.create(database, template)`, `await server.drop(database)`
  dsn           a fresh, migrated database of this test
  empty_dsn     a fresh database with nothing in it
  make_database `await make_database()`: one more empty database
  pool, store   an open pool on `dsn`, and a started store of the ledger "main" on that
  make_postgres `make_postgres(binaries=None)`: another embedded server of this test's own, to kill and restart
  binaries      a directory of PostgreSQL's programs; a test that asks for it runs once for each version at hand:
                the wheel's, Debian's in /usr/lib/postgresql, those in $TEST_POSTGRES_BINS (separated by colons).
                $TEST_REQUIRE_POSTGRES (versions, separated by commas) fails the run if one of them is not there
  open_directory  an empty directory with a short path that every user may pass (tmp_path is closed to others)
"""

import asyncio
import gc
import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import settings

from gateway.embedded_postgres import EmbeddedPostgres
from gateway.postgres_binaries import major_version, wheel_directory
from ledger.database import SUPPORTED, open_pool
from ledger.migrations import migrate
from ledger.postgres_store import PostgresStore

settings.register_profile("busy machine", deadline=None)  # how long an example takes says nothing here
settings.load_profile("busy machine")

# A shell that starts the tests in the background makes them, and every process they start, deaf to Control-C; some of
# them are about what happens when it is heard.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The walk and the simulation make millions of small values that lie in no cycle; looking for some took a third of their
# time.
gc.set_threshold(50_000, 20, 50)

# Hundreds of tests start our commands, each of which would compile every file of ours where Python may not keep what it
# has compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# And each would read every authority of this machine; here nobody speaks TLS with the world outside.
os.environ.setdefault("SSL_CERT_FILE", os.devnull)

# Databases come and go with nearly every test, and each fsync of theirs waits for a disk that none of them is about:
# they are killed, and never lose power. Where there is room in memory, everything temporary lies there.
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 6 * 1024**3

_numbers = itertools.count(1)


def _in_memory() -> bool:
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK):
        return False
    found = os.statvfs(_MEMORY)
    return found.f_bavail * found.f_frsize >= _ROOM_BYTES and not found.f_flag & os.ST_NOEXEC


if _in_memory():
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


class Server:
    """A PostgreSQL to test against, on which databases may be made."""

    def __init__(self, url: str, binaries: Path | None = None) -> None:
        self._url = urlsplit(url)
        self.binaries = binaries

    def dsn(self, database: str) -> str:
        return urlunsplit(self._url._replace(path="/" + database))

    async def execute(self, *statements: str) -> None:
        """Run statements that want no transaction around them, on the maintenance database."""
        connection = await asyncpg.connect(urlunsplit(self._url), timeout=10)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def drop(self, database: str) -> None:
        """Drop a database, connections, prepared transactions and all."""
        connection = await asyncpg.connect(urlunsplit(self._url), timeout=10)
        try:
            held = await connection.fetch("select gid from pg_prepared_xacts where database = $1", database)
            if held:
                await self._let_go(database, [row["gid"] for row in held])
            await connection.execute(f"drop database {database} with (force)")
        finally:
            await connection.close()

    async def _let_go(self, database: str, prepared: Sequence[str]) -> None:
        connection = await asyncpg.connect(self.dsn(database), timeout=10)
        try:
            for gid in prepared:
                await connection.execute(f"rollback prepared '{gid}'")
        finally:
            await connection.close()

    async def create(self, database: str, template: str) -> None:
        """Make a database as a copy; in memory, copying its files costs half of writing all of it into the log."""
        await self.execute(f"create database {database} template {template} strategy file_copy")

    async def check(self) -> None:
        """Refuse a server on which tests of two-phase commit would mean nothing."""
        connection = await asyncpg.connect(urlunsplit(self._url), timeout=10)
        try:
            if int(await connection.fetchval("show max_prepared_transactions")) == 0:
                raise RuntimeError("The test server has max_prepared_transactions = 0. Set it to 64.")
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    url = os.environ.get("TEST_DATABASE_URL")
    source = _given(url) if url else _container() if _docker_answers() else _embedded()
    for found in source:
        _run(found.check())
        yield found


@pytest.fixture(scope="session")
def template(server: Server) -> Iterator[str]:
    """Name the migrated database that every test gets a copy of."""
    name = f"template_{os.getpid()}"
    _run(server.execute(f"create database {name}"))
    _run(migrate(server.dsn(name)))
    yield name
    _run(server.execute(f"drop database {name} with (force)"))


class MakeDatabase(Protocol):
    async def __call__(self, template: str = "template0") -> str: ...


@pytest.fixture
async def make_database(server: Server) -> AsyncIterator[MakeDatabase]:
    made: list[str] = []

    async def make(template: str = "template0") -> str:
        name = f"test_{os.getpid()}_{next(_numbers)}"
        await server.create(name, template)
        made.append(name)
        return server.dsn(name)

    yield make
    for name in made:
        await server.drop(name)


@pytest.fixture
async def dsn(make_database: MakeDatabase, template: str) -> str:
    return await make_database(template)


@pytest.fixture
async def empty_dsn(make_database: MakeDatabase) -> str:
    return await make_database()


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(dsn, 8)
    yield opened
    await asyncio.wait_for(opened.close(), 10)


@pytest.fixture
async def store(pool: asyncpg.Pool) -> AsyncIterator[Any]:
    started = PostgresStore(pool, "main")
    await started.start()
    yield started
    await started.stop()


def _directories_of_programs() -> dict[int, Path]:
    """Find a directory of programs for each major version at hand, by version."""
    named = [Path(one) for one in os.environ.get("TEST_POSTGRES_BINS", "").split(":") if one]
    debian = [Path(f"/usr/lib/postgresql/{version}/bin") for version in SUPPORTED]
    candidates = [*(one for one in debian if (one / "initdb").exists()), wheel_directory(), *named]
    found = {major_version(one): one for one in candidates}
    return dict(sorted(found.items()))


def pytest_configure() -> None:
    required = {int(one) for one in os.environ.get("TEST_REQUIRE_POSTGRES", "").split(",") if one}
    if required and (missing := required - _directories_of_programs().keys()):
        raise pytest.UsageError(f"$TEST_REQUIRE_POSTGRES asks for PostgreSQL {missing}, which is not installed here.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "binaries" in metafunc.fixturenames:
        found = _directories_of_programs()
        metafunc.parametrize("binaries", found.values(), ids=[f"postgres{version}" for version in found])


class MakePostgres(Protocol):
    def __call__(self, binaries: Path | None = None, directory: Path | None = None) -> EmbeddedPostgres: ...


@pytest.fixture
async def make_postgres(open_directory: Path) -> AsyncIterator[MakePostgres]:
    made: list[EmbeddedPostgres] = []

    def make(binaries: Path | None = None, directory: Path | None = None) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(directory or open_directory / "data", binaries))
        return made[-1]

    yield make
    for one in made:
        await one.stop()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    directory = _open_directory()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def _open_directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="il-"))
    directory.chmod(0o755)
    return directory


def _given(url: str) -> Iterator[Server]:
    yield Server(url)


def _embedded() -> Iterator[Server]:
    directory = _open_directory()
    postgres = EmbeddedPostgres(directory / "data")
    _run(postgres.start())
    yield Server(postgres.dsn("postgres"), wheel_directory())
    _run(postgres.stop())
    shutil.rmtree(directory, ignore_errors=True)


def _docker_answers() -> bool:
    if not (os.environ.get("DOCKER_HOST") or Path("/var/run/docker.sock").exists()):
        return False
    import docker  # noqa: PLC0415  slow, and of use only where there is a daemon

    try:
        client = docker.from_env(timeout=3)
        client.ping()
    except docker.errors.DockerException:
        return False
    client.close()
    return True


def _container() -> Iterator[Server]:
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415

    container = PostgresContainer("postgres:18", driver=None)
    with container.with_command("-c max_prepared_transactions=64") as running:
        yield Server(running.get_connection_url())


def _run(work: Coroutine[Any, Any, object]) -> None:
    """Run to the end on a loop of its own, on this thread: the embedded server ends with the thread that started it."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()

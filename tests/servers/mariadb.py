"""A MariaDB of the tests' own, Debian's programs: on a free port of the loopback, to be killed and started again.

One for all tests of this process; each takes databases of its own. Its binary log is on, as on a server that matters.
"""

import asyncio
import atexit
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import asyncmy
from asyncmy.errors import MySQLError

from gateway.child_process import spawn
from gateway.postgres_binaries import service_uid

USER, PASSWORD = "ledger", "s3cret-of-the-operator"
_numbers = itertools.count(1)


class MariaDB:
    """One server and its directory. `start` answers when the server does."""

    def __init__(self) -> None:
        """Make the directory; as root it belongs to a user of the server's own."""
        for program in ("mariadbd", "mariadb-install-db"):
            if shutil.which(program, path="/usr/sbin:/usr/bin") is None:
                raise RuntimeError(f"{program} is not here; install Debian's mariadb-server-core and client-core.")
        self.home = Path(tempfile.mkdtemp(prefix="mariadb-"))
        self.home.chmod(0o755)
        self._data = self.home / "data"
        self._uid = service_uid(self._data)
        self._data.mkdir()
        if self._uid is not None:
            os.chown(self._data, self._uid, self._uid)
        self.ca_file = self.home / "ca.pem"
        _certify(self.ca_file, self.home / "key.pem")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str) -> str:
        return f"mysql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    async def start(self) -> None:
        first = not any(self._data.iterdir())
        if first:
            self._install()
        with (self.home / "log").open("ab") as log:
            self._process = spawn(self._command(), self._uid, signal.SIGKILL, log)
        async with asyncio.timeout(60):
            while True:
                try:
                    await (await self.connect("", user="root", password="")).ensure_closed()
                except (OSError, MySQLError):
                    if self._process.poll() is not None:
                        raise RuntimeError(f"mariadbd ended: {self.said()}") from None
                    await asyncio.sleep(0.02)
                else:
                    break
        if first:
            await self.execute(
                "", f"create user {USER}@'%' identified by '{PASSWORD}'", f"grant all on `test\\_%`.* to {USER}@'%'"
            )

    def kill(self) -> None:
        """Kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def said(self) -> str:
        return (self.home / "log").read_text(errors="replace")[-2000:]

    async def connect(self, database: str, user: str = "root", password: str = "") -> Any:
        return await asyncmy.connect(
            host="127.0.0.1", port=self.port, user=user, password=password, database=database or None, autocommit=True
        )

    async def execute(self, database: str, *statements: str) -> None:
        """Run statements as the owner of everything."""
        connection = await self.connect(database)
        try:
            for statement in statements:
                await connection.query(statement)
        finally:
            await connection.ensure_closed()

    async def make_database(self) -> str:
        name = f"test_{next(_numbers)}"
        await self.execute("", f"create database {name}")
        return name

    async def drop_database(self, name: str) -> None:
        """Drop a database; branches that are still prepared are rolled back before, all of them."""
        connection = await self.connect("")
        try:
            async with asyncio.timeout(10), connection.cursor() as cursor:
                while True:
                    await cursor.execute("xa recover format='sql'")
                    branches = [row[3] for row in await cursor.fetchall()]
                    if not branches:
                        break
                    for branch in branches:
                        try:
                            await cursor.execute(f"xa rollback {branch}")
                        except MySQLError:  # its session is just ending
                            await asyncio.sleep(0.01)
                await cursor.execute(f"drop database {name}")
        finally:
            await connection.ensure_closed()

    def _install(self) -> None:
        command = ["/usr/bin/mariadb-install-db", "--no-defaults", f"--datadir={self._data}", "--skip-test-db"]
        subprocess.run(
            [*command, "--auth-root-authentication-method=normal", "--skip-name-resolve", "--innodb-log-file-size=8M"],
            check=True,
            capture_output=True,
            user=self._uid,
            group=self._uid,
            extra_groups=None if self._uid is None else [],
            cwd="/",
            timeout=60,
        )

    def _command(self) -> list[str]:
        return [
            "/usr/sbin/mariadbd",
            "--no-defaults",
            f"--datadir={self._data}",
            f"--socket={self._data}/s",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--performance-schema=off",
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=8M",
            "--log-bin=binlog",
            "--sync-binlog=1",
            "--server-id=1",
            f"--ssl-cert={self.ca_file}",
            f"--ssl-key={self.home}/key.pem",
        ]


def _certify(certificate: Path, key: Path) -> None:
    """Write a certificate for 127.0.0.1 that has signed itself, and its key."""
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=IP:127.0.0.1 -out {certificate} -keyout {key}".split(),
        check=True,
        capture_output=True,
    )
    key.chmod(0o644)  # the server runs as somebody else, for tests alone


@cache
def _server() -> MariaDB:
    server = MariaDB()
    atexit.register(server.remove)
    return server


async def mariadb() -> MariaDB:
    """Return the server of this process, started."""
    server = _server()
    if server._process is None or server._process.poll() is not None:
        await server.start()
    return server

"""A PostgreSQL of our own: one server below our data directory, our direct child, gone when we are gone.

What it promises:

  * **One owner.** A file lock says which process runs the server. Nobody starts a second one, and nobody stops, kills
    or trusts a process only because its number stands in a file: what counts as a server of this directory is a living
    `postgres` whose working directory it is, as the kernel tells.
  * **It ends with us.** The kernel sends it SIGINT when our process dies, however it dies (PR_SET_PDEATHSIG): a fast
    shutdown, which cuts connections, writes a checkpoint and leaves nothing to recover. SIGQUIT would be quicker now
    and leave recovery to the next start; SIGTERM would wait for clients that may never go. Whoever starts next waits.
  * **No port, no password.** It listens on a socket inside its own directory (mode 0700), where whoever could connect
    could as well read the files, and the kernel says who connects: `peer` authentication lets in the user who started
    it and no one else. So there is no secret to keep, to log by accident or to lose.
  * **A settled directory.** A new cluster is built beside its final name and renamed when it is whole.
  * **Root hands over no power.** Under root the server runs under a user id of its own (`postgres_binaries`), and its
    configuration lies outside of the directory it can write to, rewritten at each start. `alter system` still works.

Linux only, as the rest of the service's process handling.
"""

import asyncio
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

import structlog

from gateway import data_directory
from gateway.child_process import end, ended, processes_in, spawn
from gateway.postgres_binaries import (
    SERVICE_UIDS,
    builder_uid,
    closed_to_others,
    major_version,
    service_uid,
    wheel_directory,
    within_reach,
)
from ledger.database import SUPPORTED, connect
from ledger.errors import Misconfigured, Unavailable
from ledger.whole_file import sync_directory

DATABASE: Final = "intentledger"
_LOCK: Final = "postgres.lock"
_PORT: Final = 5432  # only a part of the socket's name
_SOCKET_PATH_BYTES: Final = 107  # sockaddr_un.sun_path
_READY_SECONDS: Final = 120.0  # recovery after a crash reads up to max_wal_size of log
_LEAVING_SECONDS: Final = 10.0  # how long a predecessor may take to finish its shutdown
_LOG_BYTES: Final = 10 * 1024 * 1024  # a longer one becomes postgres.log.1 at the next start
_POLL_SECONDS: Final = 0.01
_log = structlog.get_logger(__name__)


class EmbeddedPostgres:
    """The server below one data directory. Start it and keep it running from the main thread, which must outlive it."""

    def __init__(self, directory: Path, binaries: Path | None = None) -> None:
        """Take any directory of PostgreSQL programs, versions 15 to 18; by default the wheel's."""
        self._directory = directory.expanduser().absolute()
        self._binaries = binaries or wheel_directory()
        self._uid: int | None = None
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0  # where in the log the words of the present child begin

    @property
    def database_directory(self) -> Path:
        """Return where PostgreSQL keeps its files."""
        return self._directory / "postgres"

    @property
    def _unfinished(self) -> Path:
        return self._directory / "postgres.unfinished"

    @property
    def pid(self) -> int | None:
        """Return the process id of the server, None when this object runs none."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def dsn(self, database: str = DATABASE) -> str:
        """Return where to connect: a socket, as the user who started the server; no PG* variable can change it."""
        socket = quote(str(self.database_directory))
        return f"postgresql://{DATABASE}@/{quote(database)}?host={socket}&port={_PORT}&sslmode=disable"

    async def start(self) -> str:
        """Start the server, making the cluster and the database if need be; return the DSN.

        Raises `Misconfigured` when the directory or the programs will not do, and `Unavailable` when another process
        uses the directory or the server does not come up. In each case nothing of ours is left running.
        """
        version = self._check_settings()
        self._directory = data_directory.claim(self._directory)
        self._acquire()
        try:
            self._uid = service_uid(self.database_directory)
            if self._uid is not None:
                self._binaries = within_reach(self._binaries, self._directory)
            if self.database_directory.exists():
                self._check_cluster(version)
            await self._wait_until_unused()
            if not self.database_directory.exists():
                await self._initialise()
            self._configure()
            await self._launch()
            await self._create_database()
        except BaseException:
            await self.stop()
            raise
        return self.dsn()

    async def stop(self) -> None:
        """Shut the server down cleanly, wait for it, and let go of the directory. Harmless when nothing runs."""
        if self._process is not None:
            await end(self._process)
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def runs_elsewhere(self) -> bool:
        """Tell whether another process runs the server of this directory now."""
        try:
            with (self._directory / _LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    async def keep_running(self) -> None:
        """Start the server again whenever it dies, for ever; cancel this before `stop`."""
        delay = 0.1
        while self._process is not None:
            status = await ended(self._process, None)
            _log.error("embedded_postgres_died", status=status, again_in_seconds=delay)
            await asyncio.sleep(delay)
            try:
                await self._wait_until_unused()
                await self._launch()
                delay = 0.1
            except Unavailable as error:
                _log.error("embedded_postgres_did_not_restart", detail=error.message)
                delay = min(delay * 2, 5.0)

    # ── may we? ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _check_settings(self) -> int:
        """Check what can be known without touching anything; return the programs' major version."""
        closed = closed_to_others(self._directory) if os.geteuid() == 0 else None
        if closed is not None:
            raise Misconfigured(
                f"PostgreSQL does not run as root, and no other user may pass {closed}. Nothing was started or "
                "changed; choose a directory below an open one, such as /var/lib, with INTENTLEDGER_DATA."
            )
        if len(os.fsencode(self.database_directory)) + len(f"/.s.PGSQL.{_PORT}") > _SOCKET_PATH_BYTES:
            raise Misconfigured(
                f"The path {self.database_directory} is too long for a socket in it. Nothing was started or changed; "
                "choose a shorter directory with INTENTLEDGER_DATA."
            )
        version = major_version(self._binaries)
        if version not in SUPPORTED:
            raise Misconfigured(f"PostgreSQL {version} in {self._binaries} is not among 15 to 18. Nothing was started.")
        return version

    def _acquire(self) -> None:
        lock = (self._directory / _LOCK).open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip()
            lock.close()
            raise Unavailable(
                f"The data directory {self._directory} is in use by Intent Ledger, process {owner}. Nothing was "
                "started or changed; stop that one first, or choose another directory with INTENTLEDGER_DATA."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def _check_cluster(self, version: int) -> None:
        database = self.database_directory
        owner = database.stat().st_uid
        ours = owner in SERVICE_UIDS if os.geteuid() == 0 else owner == os.geteuid()
        if not ours:
            raise Misconfigured(
                f"The database in {database} belongs to {data_directory.owner_name(owner)}, which is not who Intent "
                "Ledger runs PostgreSQL as. Nothing was started or changed; choose another directory with "
                "INTENTLEDGER_DATA."
            )
        try:
            found = (database / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise Misconfigured(
                f"{database} is not a PostgreSQL database. Nothing was started or changed; move it away, or choose "
                "another directory with INTENTLEDGER_DATA."
            ) from None
        if found != str(version):
            raise Misconfigured(
                f"The database in {database} was made by PostgreSQL {found}, and {self._binaries} holds PostgreSQL "
                f"{version}. Nothing was started or changed; name programs of version {found} with "
                "INTENTLEDGER_POSTGRES_BIN, or move the data over with pg_upgrade."
            )

    async def _wait_until_unused(self) -> None:
        """Wait until no server of this directory lives: one whose owner was killed is shutting down by itself."""
        deadline = asyncio.get_running_loop().time() + _LEAVING_SECONDS
        while living := [
            *processes_in("postgres", self.database_directory),
            *processes_in("postgres", self._unfinished),
        ]:
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(
                    f"The database in {self.database_directory} is in use by a living PostgreSQL server, process "
                    f"{living[0]}. Nothing was started or changed; stop that one first (kill -INT {living[0]})."
                )
            await asyncio.sleep(_POLL_SECONDS)
        self._forget_stale_pid()

    def _forget_stale_pid(self) -> None:
        """Remove a postmaster.pid whose number is a stranger's now: PostgreSQL would refuse to start for it."""
        named = self._postmaster_status()[0]
        if named.isdigit() and Path("/proc", named).exists():
            (self.database_directory / "postmaster.pid").unlink(missing_ok=True)

    # ── making and running it ────────────────────────────────────────────────────────────────────────────────────

    async def _initialise(self) -> None:
        """Build the cluster under another name, and give it its own name when it is whole and on disk."""
        unfinished = self._unfinished
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        builder = None if self._uid is None else builder_uid()
        if builder is not None:
            os.chown(unfinished, builder, builder)
        options = ["--encoding=UTF8", "--no-locale", "--data-checksums", "--auth-local=peer", "--auth-host=reject"]
        command: list[str | Path] = [
            self._binaries / "initdb",
            "-D",
            unfinished,
            "-U",
            DATABASE,
            *options,
            "--no-instructions",
        ]
        with self._open_log() as log:
            process = spawn(command, builder, signal.SIGKILL, log)
            status = await ended(process, _READY_SECONDS)
        if status != 0:
            await end(process)
            raise Unavailable(f"initdb failed: {self._last_words()} What it had made is removed at the next start.")
        if self._uid is not None:
            _hand_over(unfinished, self._uid)
        unfinished.rename(self.database_directory)
        sync_directory(self._directory)
        _log.info("embedded_postgres_initialised", directory=str(self.database_directory))

    def _configure(self) -> None:
        """Write the server's configuration beside its directory, where it may read and not write."""
        settings = {
            "hba_file": str(self._directory / "pg_hba.conf"),
            "ident_file": str(self._directory / "pg_ident.conf"),
            "listen_addresses": "",
            "port": str(_PORT),
            "unix_socket_directories": ".",  # its working directory: the database's
            "unix_socket_permissions": "0700",
            "max_prepared_transactions": "64",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
        }
        lines = (f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items())
        user = pwd.getpwuid(os.geteuid()).pw_name  # initdb has made sure that there is one
        self._write("postgres.conf", "".join(lines))
        self._write("pg_hba.conf", "local all all peer map=intentledger\n")
        self._write("pg_ident.conf", f'intentledger "{user}" {DATABASE}\n')

    def _write(self, name: str, text: str) -> None:
        path = self._directory / name
        path.write_text(text)
        path.chmod(0o644)  # PostgreSQL may run as somebody else; there is no secret in it

    async def _launch(self) -> None:
        configuration = f"config_file={self._directory / 'postgres.conf'}"
        command: list[str | Path] = [self._binaries / "postgres", "-D", self.database_directory, "-c", configuration]
        with self._open_log() as log:
            process = self._process = spawn(command, self._uid, signal.SIGINT, log)
        deadline = asyncio.get_running_loop().time() + _READY_SECONDS
        while self._postmaster_status() != (str(process.pid), "ready"):
            if process.poll() is not None:
                raise Unavailable(f"PostgreSQL did not start: {self._last_words()}")
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(f"PostgreSQL was not ready after {_READY_SECONDS:.0f} seconds: {self._last_words()}")
            await asyncio.sleep(_POLL_SECONDS)
        _log.info("embedded_postgres_started", pid=process.pid, directory=str(self.database_directory))

    async def _create_database(self) -> None:
        connection = await connect(self.dsn("postgres"))
        try:
            if not await connection.fetchval("select exists (select from pg_database where datname = $1)", DATABASE):
                await connection.execute(f"create database {DATABASE}")
        finally:
            await connection.close()

    # ── what it says ─────────────────────────────────────────────────────────────────────────────────────────────

    def _postmaster_status(self) -> tuple[str, str]:
        """Return the process id and the status that stand in postmaster.pid (its lines 1 and 8), or empty words."""
        try:
            lines = (self.database_directory / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return "", ""
        return (lines[0].strip() if lines else "", lines[7].strip() if len(lines) > 7 else "")

    def _open_log(self) -> IO[bytes]:
        path = self._directory / "postgres.log"
        if path.exists() and path.stat().st_size > _LOG_BYTES:
            path.rename(path.with_suffix(".log.1"))
        log = path.open("ab")
        self._log_start = log.tell()
        return log

    def _last_words(self) -> str:
        path = self._directory / "postgres.log"
        lines = path.read_bytes()[self._log_start :].decode(errors="replace").splitlines()
        grave = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "error:", "could not"))]
        return f"{(grave or lines or ['it said nothing'])[-1].strip()} (more in {path})"


def _hand_over(tree: Path, uid: int) -> None:
    """Give a fresh tree to another user, following no link that its present owner may have put in the way."""
    for _, folders, files, handle in os.fwalk(tree):
        for name in (*folders, *files):
            os.chown(name, uid, uid, dir_fd=handle, follow_symlinks=False)
    os.chown(tree, uid, uid, follow_symlinks=False)

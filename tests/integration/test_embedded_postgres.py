"""The embedded PostgreSQL: as root and as a plain user, over every version at hand (fixture `binaries`)."""

import asyncio
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from gateway import postgres_binaries
from gateway.child_process import processes_in
from gateway.embedded_postgres import EmbeddedPostgres
from gateway.postgres_binaries import SERVICE_UIDS, major_version, wheel_directory
from ledger.errors import Misconfigured, Unavailable

REPOSITORY = Path(__file__).parents[2]
STRANGER = 1  # daemon: a user id that is neither root's, ours nor the service's
ROOT = os.geteuid() == 0


async def value(postgres: EmbeddedPostgres, query: str):
    connection = await asyncpg.connect(postgres.dsn(), timeout=10)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def execute(postgres: EmbeddedPostgres, script: str) -> None:
    connection = await asyncpg.connect(postgres.dsn(), timeout=10)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


def kernel_file(pid: int | None, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def program(command: list[str | Path], uid: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, user=uid if ROOT else None, cwd="/", stderr=subprocess.DEVNULL)


async def eventually(condition, seconds: float = 15) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen in time"
        await asyncio.sleep(0.02)


# ── it works ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_clean_stop_and_a_restart_keep_what_was_written(make_postgres, binaries):
    postgres = make_postgres(binaries)
    await postgres.start()
    await value(postgres, "create table kept as select 42 as answer")
    await postgres.stop()
    assert postgres.pid is None
    assert not (postgres.database_directory / "postmaster.pid").exists()
    await postgres.start()
    assert await value(postgres, "select answer from kept") == 42
    assert "not properly shut down" not in (postgres.database_directory.parent / "postgres.log").read_text()


async def test_it_can_prepare_transactions_checks_its_pages_and_loses_nothing(make_postgres, binaries):
    postgres = make_postgres(binaries)
    await postgres.start()
    settings = {
        "max_prepared_transactions": "64",
        "data_checksums": "on",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "server_encoding": "UTF8",
        "lc_collate": "C",
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
    }
    if major_version(binaries) >= 16:
        del settings["lc_collate"]  # it is no setting there
    assert {name: await value(postgres, f"show {name}") for name in settings} == settings


async def test_a_restart_takes_less_than_a_second(make_postgres, binaries):
    postgres = make_postgres(binaries)
    await postgres.start()
    times = []
    for _ in range(3):
        await postgres.stop()
        began = time.monotonic()
        await postgres.start()
        times.append(time.monotonic() - began)
    assert min(times) < 1.0


async def test_what_was_committed_survives_kill_9_of_postgresql(make_postgres, binaries):
    postgres = make_postgres(binaries)
    await postgres.start()
    await value(postgres, "create table kept as select 42 as answer")
    await execute(postgres, "begin; insert into kept values (43); prepare transaction 'held'")
    os.kill(postgres.pid, signal.SIGKILL)
    await eventually(lambda: postgres.pid is None)
    assert (postgres.database_directory / "postmaster.pid").exists()
    await postgres.stop()
    await postgres.start()
    await execute(postgres, "commit prepared 'held'")
    assert await value(postgres, "select array_agg(answer order by answer) from kept") == [42, 43]
    assert "not properly shut down" in (postgres.database_directory.parent / "postgres.log").read_text()


async def test_it_starts_again_by_itself_when_it_is_killed_while_we_live(make_postgres):
    postgres = make_postgres()
    await postgres.start()
    first = postgres.pid
    keeper = asyncio.create_task(postgres.keep_running())
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: postgres.pid not in {None, first})

    async def answers() -> bool:
        try:
            return await value(postgres, "select 1") == 1
        except (OSError, asyncpg.PostgresError):
            return False

    give_up_at = time.monotonic() + 15
    while not await answers():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.02)
    keeper.cancel()
    await asyncio.wait([keeper])


# ── it ends with us ──────────────────────────────────────────────────────────────────────────────────────────────

OWNER = """
import asyncio, sys
from pathlib import Path
import structlog
from gateway.embedded_postgres import EmbeddedPostgres

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

async def main():
    postgres = EmbeddedPostgres(Path(sys.argv[1]))
    await postgres.start()
    print(postgres.pid, file=sys.stdout, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await postgres.stop()

asyncio.run(main())
"""


def start_owner(directory: Path) -> subprocess.Popen[str]:
    """Start another process that runs the server of this directory until its standard input is closed."""
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(owner: subprocess.Popen[str]) -> None:
    owner.communicate(timeout=20)


async def test_kill_9_of_the_owner_ends_the_server_cleanly_and_the_next_owner_recovers_nothing(
    make_postgres, open_directory
):
    owner = start_owner(open_directory / "data")
    server = int(await asyncio.to_thread(owner.stdout.readline))
    assert processes_in("postgres", open_directory / "data" / "postgres")[0] == server
    owner.kill()
    finish(owner)
    postgres = make_postgres()
    await postgres.start()  # waits for the server that is still stopping
    assert postgres.pid != server
    assert "not properly shut down" not in (open_directory / "data" / "postgres.log").read_text()


async def test_a_control_c_meant_for_the_owner_does_not_reach_the_server(make_postgres):
    postgres = make_postgres()
    await postgres.start()
    assert os.getpgid(postgres.pid) != os.getpgid(0)


async def test_neither_the_server_nor_the_way_to_it_depends_on_our_environment(make_postgres, monkeypatch):
    for name, value_of_another in {"PGPORT": "1", "PGHOST": "127.0.0.1", "PGUSER": "x", "PGSSLMODE": "require"}.items():
        monkeypatch.setenv(name, value_of_another)
    monkeypatch.setenv("CRM_PASSWORD", "hunter2")
    postgres = make_postgres()
    await postgres.start()
    assert await value(postgres, "select 1") == 1
    assert b"hunter2" not in kernel_file(postgres.pid, "environ")


# ── pids in files are not believed ───────────────────────────────────────────────────────────────────────────────


async def test_a_stale_pid_file_that_names_a_living_stranger_is_no_obstacle_and_the_stranger_lives(make_postgres):
    postgres = make_postgres()
    await postgres.start()
    pid_file = postgres.database_directory / "postmaster.pid"
    uid = postgres.database_directory.stat().st_uid
    lines = pid_file.read_text().splitlines()
    await postgres.stop()
    stranger = program(["/bin/sleep", "60"], uid)  # PostgreSQL would believe in it
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        os.chown(pid_file, uid, -1)
        await postgres.start()
        assert await value(postgres, "select 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_living_server_that_we_did_not_start_is_neither_used_nor_killed(make_postgres, monkeypatch):
    monkeypatch.setattr("gateway.embedded_postgres._LEAVING_SECONDS", 0.3)
    postgres = make_postgres()
    await postgres.start()
    directory = postgres.database_directory
    uid = directory.stat().st_uid
    await postgres.stop()
    by_hand = program(
        [wheel_directory() / "postgres", "-D", directory, "-c", f"config_file={directory.parent / 'postgres.conf'}"],
        uid,
    )
    try:
        await eventually(lambda: processes_in("postgres", directory))
        with pytest.raises(Unavailable) as refusal:
            await postgres.start()
        assert str(refusal.value) == (
            f"The database in {directory} is in use by a living PostgreSQL server, process {by_hand.pid}. "
            f"Nothing was started or changed; stop that one first (kill -INT {by_hand.pid})."
        )
        assert by_hand.poll() is None
    finally:
        by_hand.send_signal(signal.SIGINT)
        by_hand.wait(timeout=20)
    await postgres.start()


# ── it refuses, in a sentence, and changes nothing ───────────────────────────────────────────────────────────────


def snapshot(directory: Path) -> list[tuple[str, int, int, int, int]]:
    found = []
    for path in sorted([directory, *directory.rglob("*")]):
        if path.name == "postgres.lock":
            continue  # it says who tried last
        stat = path.lstat()
        found.append((str(path), stat.st_mode, stat.st_uid, stat.st_size, stat.st_mtime_ns))
    return found


async def refusal_of(postgres: EmbeddedPostgres, directory: Path, error: type[Exception] = Misconfigured) -> str:
    before = snapshot(directory)
    with pytest.raises(error) as refusal:
        await postgres.start()
    assert snapshot(directory) == before
    assert postgres.pid is None
    return str(refusal.value)


async def test_a_directory_in_use_by_another_process_of_ours(make_postgres, open_directory):
    owner = start_owner(open_directory / "data")
    server = int(await asyncio.to_thread(owner.stdout.readline))
    postgres = make_postgres()
    with pytest.raises(Unavailable) as refusal:
        await postgres.start()
    assert str(refusal.value) == (
        f"The data directory {open_directory}/data is in use by Intent Ledger, process {owner.pid}. Nothing was "
        "started or changed; stop that one first, or choose another directory with INTENTLEDGER_DATA."
    )
    assert postgres.runs_elsewhere()
    assert kernel_file(server, "comm") == b"postgres\n"
    await asyncio.to_thread(finish, owner)
    assert not postgres.runs_elsewhere()


async def test_a_directory_that_belongs_to_somebody_else(make_postgres, open_directory):
    directory = open_directory / "data"
    if ROOT:
        directory.mkdir()
        os.chown(directory, STRANGER, STRANGER)
        owner = f"{pwd.getpwuid(STRANGER).pw_name} (uid {STRANGER})"
    else:
        directory, owner = Path("/usr"), "root (uid 0)"
    postgres = make_postgres(directory=directory)
    assert await refusal_of(postgres, open_directory) == (
        f"The data directory {directory} belongs to {owner}, and this process runs as "
        f"{pwd.getpwuid(os.geteuid()).pw_name} (uid {os.geteuid()}). Nothing was started or changed; run it as its "
        "owner, or choose another directory with INTENTLEDGER_DATA."
    )


async def test_a_directory_that_holds_something_else(make_postgres, open_directory):
    (open_directory / "data").mkdir()
    (open_directory / "data" / "thesis.tex").write_text("mine")
    assert await refusal_of(make_postgres(), open_directory) == (
        f"The data directory {open_directory}/data is not empty and was not made by Intent Ledger. Nothing was started "
        "or changed; choose an empty or new directory with INTENTLEDGER_DATA."
    )


async def test_a_directory_that_is_a_file(make_postgres, open_directory):
    (open_directory / "data").write_text("mine")
    assert await refusal_of(make_postgres(), open_directory) == (
        f"The data directory {open_directory}/data is not a directory. Nothing was started or changed; "
        "choose another one with INTENTLEDGER_DATA."
    )


async def test_a_directory_that_others_may_write_to(make_postgres, open_directory):
    (open_directory / "data").mkdir()
    (open_directory / "data").chmod(0o777)
    assert await refusal_of(make_postgres(), open_directory) == (
        f"Others may write to the data directory {open_directory}/data (mode 777). Nothing was started or changed; "
        f"forbid it with: chmod go-w {open_directory}/data"
    )


async def test_a_cluster_that_is_none(make_postgres, open_directory):
    postgres = make_postgres()
    await postgres.start()
    await postgres.stop()
    (postgres.database_directory / "PG_VERSION").unlink()
    assert await refusal_of(postgres, open_directory) == (
        f"{open_directory}/data/postgres is not a PostgreSQL database. Nothing was started or changed; "
        "move it away, or choose another directory with INTENTLEDGER_DATA."
    )


async def test_a_cluster_of_another_major_version(make_postgres, open_directory):
    postgres = make_postgres()
    await postgres.start()
    await postgres.stop()
    (postgres.database_directory / "PG_VERSION").write_text("14\n")
    assert await refusal_of(postgres, open_directory) == (
        f"The database in {open_directory}/data/postgres was made by PostgreSQL 14, and {wheel_directory()} holds "
        "PostgreSQL 18. Nothing was started or changed; name programs of version 14 with INTENTLEDGER_POSTGRES_BIN, or "
        "move the data over with pg_upgrade."
    )


async def test_a_directory_without_programs(make_postgres, open_directory):
    refusal = await refusal_of(make_postgres(open_directory), open_directory)
    assert refusal.startswith(f"There is no working PostgreSQL in {open_directory}: ")
    assert refusal.endswith(". Nothing was started.")


async def test_programs_that_are_too_old(make_postgres, open_directory):
    (open_directory / "bin").mkdir()
    fake = open_directory / "bin" / "postgres"
    fake.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n")
    fake.chmod(0o755)
    assert await refusal_of(make_postgres(fake.parent), open_directory) == (
        f"PostgreSQL 14 in {fake.parent} is not among 15 to 18. Nothing was started."
    )


async def test_a_path_too_long_for_a_socket(make_postgres, open_directory):
    long = open_directory / ("x" * 90)
    assert await refusal_of(make_postgres(directory=long), open_directory) == (
        f"The path {long}/postgres is too long for a socket in it. Nothing was started or changed; choose a shorter "
        "directory with INTENTLEDGER_DATA."
    )


async def test_a_failing_initdb_leaves_no_half_cluster_and_says_why(make_postgres, open_directory):
    (open_directory / "bin").mkdir()
    for name, text in {
        "postgres": "echo 'postgres (PostgreSQL) 18.0'",
        "initdb": "echo 'initdb: error: no space'; exit 1",
    }.items():
        (open_directory / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (open_directory / "bin" / name).chmod(0o755)
    postgres = make_postgres(open_directory / "bin")
    with pytest.raises(Unavailable, match=r"^initdb failed: initdb: error: no space \(more in "):
        await postgres.start()
    assert not postgres.database_directory.exists()
    await make_postgres().start()  # and the directory can be used at once


async def test_a_server_that_does_not_start_says_why(make_postgres):
    postgres = make_postgres()
    await postgres.start()
    await value(postgres, "alter system set shared_preload_libraries = 'no_such_library'")
    await postgres.stop()
    with pytest.raises(Unavailable, match=r'^PostgreSQL did not start: .*could not access file "no_such_library"'):
        await postgres.start()


# ── as root, and as a plain user ─────────────────────────────────────────────────────────────────────────────────

PLAIN = """
import asyncio, json, os, sys
from pathlib import Path
import asyncpg
from gateway.embedded_postgres import EmbeddedPostgres
from ledger.errors import Misconfigured

async def run(directory, binaries):
    postgres = EmbeddedPostgres(directory, binaries)
    await postgres.start()
    connection = await asyncpg.connect(postgres.dsn())
    user = await connection.fetchval("select current_user || ' on ' || current_database()")
    await connection.close()
    owner = os.stat(f"/proc/{postgres.pid}").st_uid
    await postgres.stop()
    await postgres.start()
    await postgres.stop()
    return user, owner

async def main(binaries, as_root, as_plain, of_root):
    await run(as_root, binaries)  # also loads all that a plain user may not be allowed to load
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
    user, owner = await run(as_plain, binaries)
    try:
        await EmbeddedPostgres(of_root, binaries).start()
        refusal = None
    except Misconfigured as error:
        refusal = error.message
    print(json.dumps([user, owner, refusal]))

asyncio.run(main(*map(Path, sys.argv[1:])))
"""

if ROOT:  # a plain user has no choice of who to be; there, all of the above has run as one

    async def test_root_runs_it_under_a_user_id_that_nobody_has(make_postgres, binaries):
        postgres = make_postgres(binaries)
        ours = os.getgroups()
        os.setgroups([4])
        try:
            await postgres.start()
        finally:
            os.setgroups(ours)
        status = kernel_file(postgres.pid, "status").decode()
        uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
        groups = next(line for line in status.splitlines() if line.startswith("Groups:")).split()[1:]
        assert len(set(uids)) == 1
        assert int(uids[0]) in SERVICE_UIDS
        assert groups == []
        owners = {path.lstat().st_uid for path in postgres.database_directory.rglob("*")}
        assert owners == {int(uids[0])}

    async def test_the_server_of_root_may_write_only_below_its_own_directory(make_postgres):
        postgres = make_postgres()
        await postgres.start()
        uid = postgres.database_directory.stat().st_uid
        for path in [postgres.database_directory.parent, *postgres.database_directory.parent.iterdir()]:
            if path != postgres.database_directory:
                assert path.stat().st_uid != uid
                assert not path.stat().st_mode & 0o022

    async def test_a_user_id_that_somebody_has_is_not_taken(monkeypatch, open_directory):
        taken = SERVICE_UIDS.start
        real = pwd.getpwuid
        monkeypatch.setattr(pwd, "getpwuid", lambda uid: real(0) if uid == taken else real(uid))
        assert postgres_binaries.service_uid(open_directory / "none") == taken + 1

    async def test_root_refuses_a_directory_that_no_other_user_may_reach(make_postgres, open_directory):
        closed = open_directory / "closed"
        closed.mkdir(mode=0o700)
        assert await refusal_of(make_postgres(directory=closed / "data"), open_directory) == (
            f"PostgreSQL does not run as root, and no other user may pass {closed}. Nothing was started or changed; "
            "choose a directory below an open one, such as /var/lib, with INTENTLEDGER_DATA."
        )

    async def test_root_refuses_a_cluster_that_belongs_to_an_account(make_postgres, open_directory):
        postgres = make_postgres()
        await postgres.start()
        await postgres.stop()
        os.chown(postgres.database_directory, STRANGER, STRANGER)
        assert await refusal_of(postgres, open_directory) == (
            f"The database in {postgres.database_directory} belongs to {pwd.getpwuid(STRANGER).pw_name} (uid "
            f"{STRANGER}), which is not who Intent Ledger runs PostgreSQL as. Nothing was started or changed; choose "
            "another directory with INTENTLEDGER_DATA."
        )

    async def test_programs_below_a_closed_directory_are_copied_to_where_the_server_may_run_them(
        make_postgres, open_directory
    ):
        closed = open_directory / "home"
        package = wheel_directory().parents[1]
        shutil.copytree(package, closed / package.name, ignore=shutil.ignore_patterns("include"))
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(libraries, closed / libraries.name)
        closed.chmod(0o700)
        postgres = make_postgres(closed / package.name / "pginstall" / "bin")
        await postgres.start()
        assert await value(postgres, "select 1") == 1
        assert kernel_file(postgres.pid, "cmdline").startswith(bytes(open_directory / "data" / ""))
        assert closed.stat().st_mode & 0o777 == 0o700

    async def test_a_plain_user_runs_it_as_himself_and_is_refused_what_is_roots(binaries, open_directory):
        reachable = postgres_binaries.within_reach(binaries, open_directory)
        (open_directory / "plain").mkdir()
        os.chown(open_directory / "plain", 65534, 65534)
        (open_directory / "root").mkdir()
        directories = [str(open_directory / name) for name in ("data", "plain/data", "root")]
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", PLAIN, str(reachable), *directories],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        user, owner, refusal = json.loads(done.stdout.splitlines()[-1])
        assert (user, owner) == ("intentledger on intentledger", 65534)
        assert refusal == (
            f"The data directory {open_directory}/root belongs to root (uid 0), and this process runs as nobody "
            "(uid 65534). Nothing was started or changed; run it as its owner, or choose another "
            "directory with INTENTLEDGER_DATA."
        )

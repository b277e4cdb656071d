"""As whom the embedded PostgreSQL runs: under root as a user of its own, and as a plain user as that one."""

import asyncio
import json
import os
import pwd
import shutil
import subprocess
import sys

from postgres_servers import (
    REPOSITORY,
    ROOT,
    STRANGER,
    kernel_file,
    refusal_of,
    value,
)

from gateway import postgres_binaries
from gateway.postgres_binaries import SERVICE_UIDS, wheel_directory

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

"""What the embedded PostgreSQL refuses, in a sentence, changing nothing."""

import asyncio
import os
import pwd
from pathlib import Path

import pytest
from postgres_servers import (
    ROOT,
    STRANGER,
    finish,
    kernel_file,
    refusal_of,
    start_owner,
    value,
)

from gateway.postgres_binaries import wheel_directory, within_reach
from ledger.errors import Unavailable


async def test_it_refuses_a_directory_in_use_by_another_process_of_ours(make_postgres, open_directory):
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


async def test_it_refuses_a_directory_that_belongs_to_somebody_else(make_postgres, open_directory):
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


async def test_it_refuses_a_directory_that_holds_something_else(make_postgres, open_directory):
    (open_directory / "data").mkdir()
    (open_directory / "data" / "thesis.tex").write_text("mine")
    assert await refusal_of(make_postgres(), open_directory) == (
        f"The data directory {open_directory}/data is not empty and was not made by Intent Ledger. Nothing was started "
        "or changed; choose an empty or new directory with INTENTLEDGER_DATA."
    )


async def test_it_refuses_a_directory_that_is_a_file(make_postgres, open_directory):
    (open_directory / "data").write_text("mine")
    assert await refusal_of(make_postgres(), open_directory) == (
        f"The data directory {open_directory}/data is not a directory. Nothing was started or changed; "
        "choose another one with INTENTLEDGER_DATA."
    )


async def test_it_refuses_a_directory_that_others_may_write_to(make_postgres, open_directory):
    (open_directory / "data").mkdir()
    (open_directory / "data").chmod(0o777)
    assert await refusal_of(make_postgres(), open_directory) == (
        f"Others may write to the data directory {open_directory}/data (mode 777). Nothing was started or changed; "
        f"forbid it with: chmod go-w {open_directory}/data"
    )


async def test_it_refuses_a_cluster_that_is_none(make_postgres, open_directory):
    postgres = make_postgres()
    await postgres.start()
    await postgres.stop()
    (postgres.database_directory / "PG_VERSION").unlink()
    assert await refusal_of(postgres, open_directory) == (
        f"{open_directory}/data/postgres is not a PostgreSQL database. Nothing was started or changed; "
        "move it away, or choose another directory with INTENTLEDGER_DATA."
    )


async def test_it_refuses_a_cluster_of_another_major_version(make_postgres, open_directory):
    postgres = make_postgres()
    await postgres.start()
    await postgres.stop()
    (postgres.database_directory / "PG_VERSION").write_text("14\n")
    programs = within_reach(wheel_directory(), open_directory / "data") if os.getuid() == 0 else wheel_directory()
    assert await refusal_of(postgres, open_directory) == (
        f"The database in {open_directory}/data/postgres was made by PostgreSQL 14, and {programs} holds "
        "PostgreSQL 18. Nothing was started or changed; name programs of version 14 with INTENTLEDGER_POSTGRES_BIN, or "
        "move the data over with pg_upgrade."
    )


async def test_it_refuses_a_directory_without_programs(make_postgres, open_directory):
    refusal = await refusal_of(make_postgres(open_directory), open_directory)
    assert refusal.startswith(f"There is no working PostgreSQL in {open_directory}: ")
    assert refusal.endswith(". Nothing was started.")


async def test_it_refuses_programs_that_are_too_old(make_postgres, open_directory):
    (open_directory / "bin").mkdir()
    fake = open_directory / "bin" / "postgres"
    fake.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n")
    fake.chmod(0o755)
    assert await refusal_of(make_postgres(fake.parent), open_directory) == (
        f"PostgreSQL 14 in {fake.parent} is not among 15 to 18. Nothing was started."
    )


async def test_it_refuses_a_path_too_long_for_a_socket(make_postgres, open_directory):
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

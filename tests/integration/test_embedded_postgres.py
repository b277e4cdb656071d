"""The embedded PostgreSQL works, ends with us, and believes no pid in a file; over each version at hand."""

import asyncio
import os
import signal
import time

import asyncpg
import pytest
from postgres_servers import (
    eventually,
    execute,
    finish,
    kernel_file,
    program,
    start_owner,
    value,
)

from gateway.child_process import processes_in
from gateway.postgres_binaries import major_version, wheel_directory, within_reach
from ledger.errors import Unavailable

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
        [
            within_reach(wheel_directory(), directory.parent) / "postgres",
            "-D",
            directory,
            "-c",
            f"config_file={directory.parent / 'postgres.conf'}",
        ],
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

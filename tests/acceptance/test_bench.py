"""`intentledger bench` measures an installation and leaves nothing behind, but for the ledger it was told to make."""

import json
import signal
import subprocess
from pathlib import Path

import asyncpg
import pytest
from test_cli import COMMAND, environment, eventually, run

import sql
from ledger.migrations import migrate

SHORT = ("bench", "--seconds", "0.5")


def test_a_short_load_says_how_fast_it_was_and_what_it_cost(open_directory):
    done = run(*SHORT, "--in-flight", "1", "--in-flight", "8", "--directory", open_directory, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert [one["in_flight"] for one in said["runs"]] == [1, 8]
    for one in said["runs"]:
        assert one["intents"] > 0
        assert one["seconds"] >= 0.5
        assert one["intents_per_second"] == pytest.approx(one["intents"] / one["seconds"])
        assert 0 < one["p50_ms"] <= one["p99_ms"]
        assert one["wal_bytes_per_intent"] > 1_000
    assert 3 <= said["runs"][0]["commits_per_intent"] < 6  # three durable writes; views and the log write beside them
    assert said["fsync_us"] > 0
    assert list(open_directory.iterdir()) == []


def test_what_it_starts_is_ours_wherever_it_is_called(open_directory, tmp_path):
    (tmp_path / "gateway.py").write_text("raise SystemExit('somebody else')")
    done = run(*SHORT, "--in-flight", "1", "--directory", open_directory, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


async def test_a_database_of_ones_own_keeps_the_ledger_and_no_cost_is_guessed(empty_dsn, open_directory):
    done = run(*SHORT, "--in-flight", "2", "--dsn", empty_dsn, "--directory", open_directory)
    assert done.returncode == 0, done.stderr
    assert "not known" in done.stdout
    connection = await asyncpg.connect(empty_dsn)
    try:
        ledgers = await connection.fetch("select distinct ledger from intent_ledger.events")
    finally:
        await connection.close()
    (ledger,) = [row["ledger"] for row in ledgers]
    assert ledger.startswith("bench-")
    assert f"The ledger {ledger} stays in your database." in done.stdout
    assert list(open_directory.iterdir()) == []


async def test_a_database_of_an_earlier_release_is_left_as_it_is(empty_dsn):
    earlier = dict(list(sql.migrations().items())[:3])
    await migrate(empty_dsn, earlier)
    done = run(*SHORT, "--dsn", empty_dsn)
    assert (done.returncode, done.stdout) == (2, "")
    assert "run `intentledger migrate` first" in done.stderr
    connection = await asyncpg.connect(empty_dsn)
    try:
        assert [row["file"] for row in await connection.fetch("select file from intent_ledger.migrations")] == [
            *earlier
        ]
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--seconds", "0"), 2),
        (("--seconds", "nan"), 2),
        (("--in-flight", "0"), 2),
        (("--in-flight", "100000"), 2),
        (("--directory", "/nowhere"), 2),
        (("--dsn", "mysql://x"), 2),
        (("--dsn", "postgresql://nobody@127.0.0.1:1/x"), 3),
    ],
)
def test_what_cannot_be_measured_is_said_at_once(flags, code):
    done = run("bench", *flags)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.strip().endswith(".")


def test_a_directory_that_will_not_do_is_named_as_it_was_given(open_directory):
    deep = open_directory / ("deep" * 25)
    deep.mkdir()
    done = run(*SHORT, "--directory", deep)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("choose a shorter directory with --directory.\n")
    assert list(deep.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGHUP, 130), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_however_it_is_stopped_no_process_stays(open_directory, number, code):
    process = subprocess.Popen(
        [COMMAND, "bench", "--seconds", "600", "--directory", str(open_directory)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: living(open_directory) >= 3)  # ourselves, PostgreSQL and the service
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    eventually(lambda: living(open_directory) == 0)
    assert bool(list(open_directory.iterdir())) is (number == signal.SIGKILL)  # which nobody can tidy up after


def living(directory: Path) -> int:
    """Count the processes that name a directory in their command or in their environment."""
    found = 0
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        found += str(directory).encode() in words
    return found

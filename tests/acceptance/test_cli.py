"""The command `intentledger` as a person or a script meets it: words, JSON, exit codes, signals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from gateway.child_process import processes_in
from gateway.cli import main

COMMAND = Path(sys.executable).with_name("intentledger")
COMMANDS = (
    "adapters", "approve", "audit", "bench", "demo", "export", "grant", "grants", "import", "init", "log", "migrate",
    "policy", "receipt", "reconcile", "reject", "replay", "resume", "revoke", "serve", "subjects", "suspend", "undo",
    "verify", "witness", "work",
)  # fmt: skip
ADAPTERS = """
[adapters.example]
type = "reference"
"""


def environment(**settings: str) -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith(("INTENTLEDGER_", "PG"))}
    return {**others, "NO_COLOR": "1", "COLUMNS": "160"} | settings


def run(*arguments: str | Path, cwd: Path = Path("/"), **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=cwd,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def running(*arguments: str | Path, **settings: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [COMMAND, *arguments],
        cwd="/",
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ask(url: str, token: str | None = None) -> tuple[int, dict]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def eventually(condition, seconds: float = 20):
    give_up_at = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < give_up_at, "it did not happen in time"
        time.sleep(0.02)
    return found


def logged(process: subprocess.Popen[str], event: str) -> dict:
    """Read the log until this event."""
    for line in process.stderr:
        fact = json.loads(line)
        if fact["event"] == event:
            return fact
    pytest.fail(f"the log ended without {event}")


# ── help and bad usage ───────────────────────────────────────────────────────────────────────────────────────────


def test_help_names_every_command():
    answer = run("--help")
    assert answer.returncode == 0
    assert tuple(re.findall(r"^│ (\w+) ", answer.stdout, re.MULTILINE)) == COMMANDS


def test_help_waits_for_nothing_that_only_a_command_needs():
    heavy = ("pydantic", "asyncpg", "aiohttp", "uvloop", "prometheus_client", "jsonschema_rs")
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, gateway.cli; print([m for m in {heavy} if m in sys.modules])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout == "[]\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main([command, "--help"])
    told = capsys.readouterr()
    assert told.err == ""
    assert f"Usage: intentledger {command}" in told.out
    assert "--empty-" not in told.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("serve", "--port", "many"),
        ("migrate", "--colour"),
        ("replay", "--json=maybe"),
        ("replay", "audit"),
    ],
)
def test_bad_usage_is_2_and_says_why_on_standard_error(arguments):
    answer = run(*arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr


def test_a_bad_setting_is_2_and_a_sentence():
    answer = run("migrate", INTENTLEDGER_PORT="70000")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == (
        "INTENTLEDGER_PORT cannot be used: input should be less than or equal to 65535. Nothing was started.\n"
    )


def test_a_misspelt_setting_is_2():
    answer = run("adapters", INTENTLEDGER_CONFIGURATION="x.toml")
    assert answer.returncode == 2
    assert answer.stderr.startswith("INTENTLEDGER_CONFIGURATION is set in the environment and is no setting of ")


@pytest.mark.parametrize("command", ["init", "migrate", "replay"])
def test_a_database_that_does_not_answer_is_3_and_the_password_is_not_shown(command):
    answer = run(command, INTENTLEDGER_DSN="postgresql://ledger:hunter2@127.0.0.1:1/ledger")
    assert (answer.returncode, answer.stdout) == (3, "")
    assert answer.stderr.startswith("PostgreSQL does not answer")
    assert "hunter2" not in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_ledger_that_there_is_not_is_not_found_equal(empty_dsn):
    assert run("migrate", INTENTLEDGER_DSN=empty_dsn).returncode == 0
    answer = run("replay", "--ledger", "mian", INTENTLEDGER_DSN=empty_dsn)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == "There are no events of a ledger 'mian' here. Nothing was done.\n"


def test_a_view_that_there_is_not_is_2():
    answer = run("replay", "--view", "dreams", INTENTLEDGER_DSN="postgresql://127.0.0.1:1/ledger")
    assert answer.returncode == 2
    assert answer.stderr.startswith("There is no view 'dreams'. There are: ")


@pytest.mark.parametrize("asked", [("verify", "--decisions"), ("replay",), ("audit", "export"), ("export", "file")])
def test_a_command_that_asks_what_is_there_makes_no_database_where_there_is_none(asked, tmp_path):
    answer = run(*asked, "--data", tmp_path / "none", cwd=tmp_path)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith(f"There is no database in {tmp_path / 'none'}. Nothing was done; ")
    assert not any(tmp_path.iterdir())


# ── one-off commands ─────────────────────────────────────────────────────────────────────────────────────────────


def test_migrate_says_what_it_applied_and_the_second_time_that_nothing_was_missing(empty_dsn):
    first = run("migrate", "--json", INTENTLEDGER_DSN=empty_dsn)
    assert first.returncode == 0
    assert json.loads(first.stdout)["applied"] == sorted(json.loads(first.stdout)["applied"])
    assert json.loads(first.stdout)["applied"]
    again = run("migrate", INTENTLEDGER_DSN=empty_dsn)
    assert (again.returncode, again.stdout) == (0, "Nothing was missing.\n")


def test_init_makes_a_token_that_only_the_operator_can_read_and_makes_it_once(empty_dsn, open_directory):
    flags = ("--data", open_directory / "data", "--json")
    first = json.loads(run("init", *flags, INTENTLEDGER_DSN=empty_dsn).stdout)
    token_file = Path(first["token_file"])
    assert token_file.stat().st_mode & 0o777 == 0o600
    token = token_file.read_text()
    again = json.loads(run("init", *flags, INTENTLEDGER_DSN=empty_dsn).stdout)
    assert again == {"ledger": "main", "applied": [], "token_file": str(token_file)}
    assert token_file.read_text() == token


def test_init_on_a_ledger_whose_operator_was_made_elsewhere_leaves_no_dead_token(empty_dsn, open_directory):
    run("init", "--data", open_directory / "here", INTENTLEDGER_DSN=empty_dsn)
    there = run("init", "--data", open_directory / "there", INTENTLEDGER_DSN=empty_dsn)
    assert there.returncode == 0
    assert there.stdout == "The ledger 'main' is ready. Its operator was made elsewhere, where the token is too.\n"
    assert not list((open_directory / "there").glob("*.token"))


def test_each_ledger_has_an_operator_of_its_own(empty_dsn, open_directory):
    flags = ("--data", open_directory / "data", "--json")
    one, two = (
        json.loads(run("init", *flags, "--ledger", name, INTENTLEDGER_DSN=empty_dsn).stdout) for name in ("one", "two")
    )
    assert Path(one["token_file"]).read_text() != Path(two["token_file"]).read_text()


def test_a_token_that_others_may_read_is_refused(empty_dsn, open_directory):
    flags = ("--data", open_directory / "data")
    run("init", *flags, INTENTLEDGER_DSN=empty_dsn)
    file = open_directory / "data" / "operator-main.token"
    file.chmod(0o644)
    answer = run("init", *flags, INTENTLEDGER_DSN=empty_dsn)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"Others may read the operator's token in {file}. Nothing was started; ")


def test_adapters_lists_guarantees_for_people_and_for_programs(tmp_path):
    (tmp_path / "intentledger.toml").write_text(ADAPTERS)
    words = run("adapters", cwd=tmp_path)
    assert words.returncode == 0, words.stderr
    data = json.loads(run("adapters", "--json", cwd=tmp_path).stdout)
    assert data
    for one in data:
        assert one["operation"] in words.stdout
        assert one["guarantee"] in words.stdout
        assert one["params"]["type"] == "object"


def test_adapters_without_a_file_says_so():
    assert run("adapters").stdout == "No adapters are configured; INTENTLEDGER_CONFIG names their file.\n"
    assert json.loads(run("adapters", "--json").stdout) == []


def test_an_adapters_file_that_is_not_there_is_2(tmp_path):
    answer = run("adapters", INTENTLEDGER_CONFIG=str(tmp_path / "none.toml"))
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "none.toml" in answer.stderr


async def test_replay_is_0_when_every_view_is_equal_and_1_when_one_is_not(dsn, open_directory):
    nothing = run("replay", INTENTLEDGER_DSN=dsn)
    assert (nothing.returncode, "no events of a ledger 'main'" in nothing.stderr) == (1, True)
    assert run("init", INTENTLEDGER_DSN=dsn, INTENTLEDGER_DATA=str(open_directory / "data")).returncode == 0
    equal = run("replay", "--json", INTENTLEDGER_DSN=dsn)
    assert equal.returncode == 0, equal.stderr
    found = {one["name"]: one["equal"] for one in json.loads(equal.stdout)}
    assert set(found.values()) == {True}
    assert {"intents", "audit", "exposure", "heads", "grants", "submissions", "in_flight"} <= found.keys()
    await plant_a_row(dsn)
    wrong = run("replay", "--view", "exposure", INTENTLEDGER_DSN=dsn)
    assert wrong.returncode == 1
    where = "exposure: DIFFERS at position 0, 1 before the ledger's end, first in the row "
    assert re.fullmatch(where + r".*, which is too much\n", wrong.stdout)
    swapped = run("replay", "--view", "exposure", "--swap", INTENTLEDGER_DSN=dsn)
    assert swapped.returncode == 1  # it was wrong
    assert "the rebuilt rows are in its place now" in swapped.stdout
    assert run("replay", INTENTLEDGER_DSN=dsn).returncode == 0


async def plant_a_row(dsn: str) -> None:
    """Write into a view what no event says."""
    connection = await asyncpg.connect(dsn)
    try:
        columns = await connection.fetch(
            "select column_name, data_type, is_nullable from information_schema.columns "
            "where table_schema = 'intent_ledger' and table_name = 'exposure' order by ordinal_position"
        )
        values = {
            row["column_name"]: {
                "text": "'main'",
                "bigint": "1",
                "integer": "1",
                "boolean": "true",
                "ARRAY": "'{}'",
            }.get(row["data_type"], "now()")
            for row in columns
            if row["is_nullable"] == "NO"
        }
        await connection.execute(
            f"insert into intent_ledger.exposure ({', '.join(values)}) values ({', '.join(values.values())})"
        )
    finally:
        await connection.close()


# ── long-running commands ────────────────────────────────────────────────────────────────────────────────────────


def test_serve_with_no_settings_starts_its_own_postgresql_and_stops_it_on_sigterm(open_directory):
    with running("serve", "--port", "0", "--json", INTENTLEDGER_DATA=str(open_directory / "data")) as service:
        told = json.loads(service.stdout.readline())
        token = Path(told["token_file"]).read_text().strip()
        assert Path(told["token_file"]).stat().st_mode & 0o777 == 0o600
        assert ask(told["url"] + "/readyz")[0] == 200
        assert ask(told["url"] + "/v1/operations")[0] == 401
        assert ask(told["url"] + "/v1/operations", token) == (200, {"items": [], "next": None})
        service.send_signal(signal.SIGTERM)
        rest, log = service.communicate(timeout=30)
    assert (service.returncode, rest) == (0, "")
    assert token not in log
    assert not processes_in("postgres", open_directory / "data" / "postgres")
    assert "not properly shut down" not in (open_directory / "data" / "postgres.log").read_text()


def test_serve_again_keeps_the_ledger_and_the_token(open_directory):
    tokens = []
    for _ in range(2):
        with running("serve", "--port", "0", "--json", INTENTLEDGER_DATA=str(open_directory / "data")) as service:
            told = json.loads(service.stdout.readline())
            tokens.append(Path(told["token_file"]).read_text().strip())
            assert ask(told["url"] + "/v1/operations", tokens[0])[0] == 200
    assert tokens[0] == tokens[1]


def test_a_second_serve_on_the_same_directory_is_3_and_a_one_off_command_uses_the_first_ones_database(open_directory):
    data = str(open_directory / "data")
    with running("serve", "--port", "0", "--json", INTENTLEDGER_DATA=data) as service:
        service.stdout.readline()
        second = run("serve", "--port", "0", INTENTLEDGER_DATA=data)
        assert second.returncode == 3
        assert f"The data directory {data} is in use by Intent Ledger, process {service.pid}." in second.stderr
        assert run("migrate", INTENTLEDGER_DATA=data).stdout == "Nothing was missing.\n"
        assert service.poll() is None


def test_serve_brings_its_postgresql_back_after_kill_9(open_directory):
    data = open_directory / "data"
    with running("serve", "--port", "0", "--json", INTENTLEDGER_DATA=str(data)) as service:
        url = json.loads(service.stdout.readline())["url"]
        server = processes_in("postgres", data / "postgres")[0]
        os.kill(server, signal.SIGKILL)
        eventually(lambda: server not in processes_in("postgres", data / "postgres"))
        eventually(lambda: ask(url + "/readyz")[0] == 200)
        assert service.poll() is None


def test_serve_waits_for_a_database_that_is_away_answers_503_meanwhile_and_says_why(open_directory):
    away = "postgresql://ledger:hunter2@127.0.0.1:1/ledger"
    with running(
        "serve", "--port", "0", INTENTLEDGER_DATA=str(open_directory / "data"), INTENTLEDGER_DSN=away
    ) as service:
        url = logged(service, "listening")["url"]
        reason = logged(service, "database_unavailable")
        assert reason["detail"].startswith("PostgreSQL does not answer")
        status, body = ask(url + "/readyz")
        assert (status, body["ready"]) == (503, False)
        assert ask(url + "/healthz")[0] == 200
        assert logged(service, "database_unavailable")["again_in_seconds"] > reason["again_in_seconds"]
        service.send_signal(signal.SIGTERM)
        _, log = service.communicate(timeout=30)
    assert service.returncode == 0
    assert "hunter2" not in log


def test_an_address_in_use_is_2(open_directory):
    with running("serve", "--port", "0", "--json", INTENTLEDGER_DATA=str(open_directory / "data")) as service:
        port = json.loads(service.stdout.readline())["url"].rpartition(":")[2]
        second = run("serve", "--port", port, INTENTLEDGER_DATA=str(open_directory / "other"))
        assert second.returncode == 2
        assert second.stderr.endswith("Nothing was started.\n")


def test_work_works_without_a_door_until_sigterm(dsn, open_directory):
    with running("work", INTENTLEDGER_DSN=dsn, INTENTLEDGER_DATA=str(open_directory / "data")) as worker:
        assert logged(worker, "working")["ledger"] == "main"
        worker.send_signal(signal.SIGTERM)
        answer, _ = worker.communicate(timeout=30)
    assert (worker.returncode, answer) == (0, "")
    assert not (open_directory / "data").exists()

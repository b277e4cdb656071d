"""Settings: what is taken, what is refused and with which words; no refusal shows a value."""

from pathlib import Path

import pytest

from gateway.data_directory import default_data_directory
from gateway.settings import Settings, load
from ledger.errors import Misconfigured

KNOWN = (
    "INTENTLEDGER_CONFIG, INTENTLEDGER_DATA, INTENTLEDGER_DSN, INTENTLEDGER_DSN_FILE, "
    "INTENTLEDGER_HOST, INTENTLEDGER_LEASE_SECONDS, INTENTLEDGER_LEDGER, INTENTLEDGER_LOG_FORMAT, "
    "INTENTLEDGER_LOG_LEVEL, INTENTLEDGER_PORT, INTENTLEDGER_POSTGRES_BIN"
)


def test_nothing_set_means_our_own_postgresql_on_loopback(tmp_path):
    settings = load({}, tmp_path)
    assert settings == Settings(data=default_data_directory({}))
    assert (settings.dsn, settings.config, settings.host, settings.port, settings.ledger) == (
        None,
        None,
        "127.0.0.1",
        8700,
        "main",
    )


def test_the_environment_sets_everything(tmp_path):
    settings = load(
        {
            "INTENTLEDGER_DSN": "postgresql://ledger@db/ledger",
            "INTENTLEDGER_CONFIG": "/etc/intentledger.toml",
            "INTENTLEDGER_DATA": "/srv/il",
            "INTENTLEDGER_POSTGRES_BIN": "/usr/lib/postgresql/16/bin",
            "INTENTLEDGER_HOST": "0.0.0.0",
            "INTENTLEDGER_PORT": "0",
            "INTENTLEDGER_LEDGER": "acme",
            "INTENTLEDGER_LOG_LEVEL": "debug",
            "INTENTLEDGER_LOG_FORMAT": "json",
            "INTENTLEDGER_LEASE_SECONDS": "2.5",
            "PATH": "/usr/bin",
        },
        tmp_path,
    )
    assert settings.dsn.get_secret_value() == "postgresql://ledger@db/ledger"
    assert settings.model_dump(exclude={"dsn"}) == {
        "config": Path("/etc/intentledger.toml"),
        "data": Path("/srv/il"),
        "postgres_bin": Path("/usr/lib/postgresql/16/bin"),
        "host": "0.0.0.0",
        "port": 0,
        "ledger": "acme",
        "lease_seconds": 2.5,
        "log_level": "debug",
        "log_format": "json",
    }


def test_a_flag_wins_over_the_environment_and_an_absent_flag_does_not(tmp_path):
    settings = load({"INTENTLEDGER_PORT": "1", "INTENTLEDGER_HOST": "::1"}, tmp_path, port=2, host=None)
    assert (settings.port, settings.host) == (2, "::1")


def test_the_adapters_file_of_the_working_directory_is_found(tmp_path):
    (tmp_path / "intentledger.toml").touch()
    assert load({}, tmp_path).config == tmp_path / "intentledger.toml"


def test_a_misspelt_variable_is_refused(tmp_path):
    with pytest.raises(Misconfigured) as refusal:
        load({"INTENTLEDGER_DNS": "postgresql://secret"}, tmp_path)
    assert str(refusal.value) == (
        "INTENTLEDGER_DNS is set in the environment and is no setting of Intent Ledger. Nothing was started. "
        f"The settings are {KNOWN}; name an adapter's secrets otherwise."
    )


def test_an_empty_variable_is_refused_rather_than_read_as_unset(tmp_path):
    with pytest.raises(Misconfigured) as refusal:
        load({"INTENTLEDGER_DSN": " "}, tmp_path)
    assert str(refusal.value) == "INTENTLEDGER_DSN is set and empty. Nothing was started; give it a value or unset it."


@pytest.mark.parametrize(
    ("environment", "flags", "sentence"),
    [
        (
            {"INTENTLEDGER_PORT": "70000"},
            {},
            "INTENTLEDGER_PORT cannot be used: input should be less than or equal to 65535. Nothing was started.",
        ),
        (
            {},
            {"port": -1},
            "--port cannot be used: input should be greater than or equal to 0. Nothing was started.",
        ),
        (
            {"INTENTLEDGER_LOG_LEVEL": "loud"},
            {},
            (
                "INTENTLEDGER_LOG_LEVEL cannot be used: input should be 'debug', 'info', 'warning' or 'error'. "
                "Nothing was started."
            ),
        ),
        (
            {"INTENTLEDGER_DSN": "db.example/hunter2"},
            {},
            "INTENTLEDGER_DSN must begin with postgresql://. Nothing was started.",
        ),
    ],
)
def test_a_bad_value_is_named_by_its_source(tmp_path, environment, flags, sentence):
    with pytest.raises(Misconfigured) as refusal:
        load(environment, tmp_path, **flags)
    assert str(refusal.value) == sentence


@pytest.mark.parametrize("name", ["", "Main", "a b", "x" * 64, "0", "a;drop"])
def test_a_ledger_name_is_short_and_plain(tmp_path, name):
    with pytest.raises(Misconfigured, match=r"^--ledger cannot be used: .*Nothing was started\.$"):
        load({}, tmp_path, ledger=name)


def test_a_dsn_may_lie_in_a_file(tmp_path):
    file = tmp_path / "dsn"
    file.write_text("postgresql://ledger:hunter2@db/ledger\n")
    settings = load({"INTENTLEDGER_DSN_FILE": str(file)}, tmp_path)
    assert settings.dsn.get_secret_value() == "postgresql://ledger:hunter2@db/ledger"


def test_a_dsn_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(
        Misconfigured, match=r"^The file that INTENTLEDGER_DSN_FILE names cannot be read: .* Nothing was"
    ):
        load({"INTENTLEDGER_DSN_FILE": str(tmp_path / "none")}, tmp_path)


def test_two_places_for_the_dsn_are_one_too_many(tmp_path):
    with pytest.raises(Misconfigured, match="Both INTENTLEDGER_DSN and INTENTLEDGER_DSN_FILE are set"):
        load({"INTENTLEDGER_DSN": "postgresql://a", "INTENTLEDGER_DSN_FILE": "/b"}, tmp_path)


def test_settings_never_show_the_password(tmp_path):
    settings = load({"INTENTLEDGER_DSN": "postgresql://ledger:hunter2@db/ledger"}, tmp_path)
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_the_data_directory_of_a_plain_user_follows_xdg(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert default_data_directory({"XDG_DATA_HOME": "/data"}) == Path("/data/intentledger")
    assert default_data_directory({"XDG_DATA_HOME": "relative"}) == Path.home() / ".local/share/intentledger"
    assert default_data_directory({}) == Path.home() / ".local/share/intentledger"


def test_the_data_directory_of_root_is_outside_its_closed_home(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_data_directory({"XDG_DATA_HOME": "/root/data"}) == Path("/var/lib/intentledger")

"""Settings: what is taken, what is refused and with which words; no refusal shows a value."""

import base64
from pathlib import Path

import pytest

from gateway.collector import Collector
from gateway.data_directory import default_data_directory
from gateway.settings import Settings, load
from gateway.webhook_receiver import Receiver
from ledger.errors import Misconfigured

KNOWN = (
    "INTENTLEDGER_CONFIG, INTENTLEDGER_DATA, INTENTLEDGER_DSN, INTENTLEDGER_DSN_FILE, "
    "INTENTLEDGER_HOST, INTENTLEDGER_KEYRING, INTENTLEDGER_LEASE_SECONDS, INTENTLEDGER_LEDGER, "
    "INTENTLEDGER_LOG_FORMAT, INTENTLEDGER_LOG_LEVEL, INTENTLEDGER_OTLP_HEADERS_FILE, INTENTLEDGER_OTLP_URL, "
    "INTENTLEDGER_PORT, INTENTLEDGER_POSTGRES_BIN, INTENTLEDGER_TOKEN_FILE, "
    "INTENTLEDGER_URL, INTENTLEDGER_WEBHOOK_SECRET_FILE, INTENTLEDGER_WEBHOOK_URL"
)
KEY = "whsec_" + base64.b64encode(b"k" * 24).decode()


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
    (tmp_path / "keys").write_text(KEY)
    (tmp_path / "headers").write_text("authorization: Bearer abc\nx-tenant: 7\n")
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
            "INTENTLEDGER_URL": "https://ledger.example",
            "INTENTLEDGER_TOKEN_FILE": "/srv/dana.token",
            "INTENTLEDGER_WEBHOOK_URL": "https://chat.example/hooks/1",
            "INTENTLEDGER_WEBHOOK_SECRET_FILE": str(tmp_path / "keys"),
            "INTENTLEDGER_OTLP_URL": "http://collector:4318/",
            "INTENTLEDGER_OTLP_HEADERS_FILE": str(tmp_path / "headers"),
            "INTENTLEDGER_KEYRING": "/etc/intentledger/master.keys",
            "PATH": "/usr/bin",
        },
        tmp_path,
    )
    assert settings.dsn.get_secret_value() == "postgresql://ledger@db/ledger"
    assert settings.receiver == Receiver("https://chat.example/hooks/1", (b"k" * 24,))
    headers = {"authorization": "Bearer abc", "x-tenant": "7"}
    assert settings.collector == Collector("http://collector:4318/v1/traces", headers)
    secrets = {"dsn", "webhook_url", "webhook_secret", "otlp_url", "otlp_headers"}
    assert settings.model_dump(exclude=secrets) == {
        "keyring": Path("/etc/intentledger/master.keys"),
        "config": Path("/etc/intentledger.toml"),
        "data": Path("/srv/il"),
        "postgres_bin": Path("/usr/lib/postgresql/16/bin"),
        "host": "0.0.0.0",
        "port": 0,
        "ledger": "acme",
        "lease_seconds": 2.5,
        "url": "https://ledger.example",
        "token_file": Path("/srv/dana.token"),
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


# ── webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────────


def webhook(tmp_path: Path, url: str = "https://chat.example/secret-path", text: str = KEY) -> Settings:
    (tmp_path / "keys").write_text(text)
    return load({"INTENTLEDGER_WEBHOOK_URL": url, "INTENTLEDGER_WEBHOOK_SECRET_FILE": str(tmp_path / "keys")}, tmp_path)


def test_nobody_is_told_unless_a_receiver_is_set(tmp_path):
    assert load({}, tmp_path).receiver is None


def test_two_keys_are_in_force_while_one_replaces_the_other(tmp_path):
    new = base64.b64encode(b"n" * 32).decode()
    assert webhook(tmp_path, text=f"{KEY}\n\n{new}\n").receiver.keys == (b"k" * 24, b"n" * 32)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_plain_http_may_go_to_this_machine(tmp_path, host):
    assert webhook(tmp_path, f"http://{host}:9000/hook").receiver.url == f"http://{host}:9000/hook"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://chat.example/hook", "plain http only goes to this machine; it must begin with https://"),
        ("http://localhost.evil.example/hook", "plain http only goes to this machine; it must begin with https://"),
        ("https://user:hunter2@chat.example/hook", "it must have no user, password or fragment in it"),
        ("https://chat.example/#hunter2", "it must have no user, password or fragment in it"),
        ("ftp://chat.example/hunter2", "it must be a URL that begins with https://"),
        ("chat.example/hunter2", "it must be a URL that begins with https://"),
        ("https://chat.example/a b", "it must be a URL that begins with https://"),
        ("https://chat.example:hunter2/", "it is not a URL"),
    ],
)
def test_an_address_to_which_nothing_should_be_sent_is_refused_and_not_shown(tmp_path, url, sentence):
    with pytest.raises(Misconfigured) as refusal:
        webhook(tmp_path, url)
    assert str(refusal.value) == f"INTENTLEDGER_WEBHOOK_URL cannot be used: {sentence}. Nothing was started."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "it must hold 1 to 2 keys, one a line, and holds 0"),
        ("\n".join([KEY] * 3), "it must hold 1 to 2 keys, one a line, and holds 3"),
        ("whsec_hunter2!", "each line must be a key in base64"),
        (base64.b64encode(b"k" * 23).decode(), "a key must be 24 to 64 bytes, written in base64"),
        (base64.b64encode(b"k" * 65).decode(), "a key must be 24 to 64 bytes, written in base64"),
    ],
)
def test_keys_that_sign_nothing_well_are_refused_and_not_shown(tmp_path, text, sentence):
    with pytest.raises(Misconfigured) as refusal:
        webhook(tmp_path, text=text)
    assert str(refusal.value) == f"INTENTLEDGER_WEBHOOK_SECRET_FILE cannot be used: {sentence}. Nothing was started."


@pytest.mark.parametrize("alone", ["INTENTLEDGER_WEBHOOK_URL", "INTENTLEDGER_WEBHOOK_SECRET_FILE"])
def test_nothing_is_sent_unsigned(tmp_path, alone):
    (tmp_path / "keys").write_text(KEY)
    value = "https://chat.example" if alone.endswith("URL") else str(tmp_path / "keys")
    with pytest.raises(Misconfigured, match="need one another and only one is set"):
        load({alone: value}, tmp_path)


@pytest.mark.parametrize(
    ("url", "headers", "sentence"),
    [
        ("collector:4318", None, "it must be an address such as http://collector:4318"),
        ("http://user:secret@collector:4318", None, "it must be an address such as http://collector:4318"),
        ("http://collector:4318", "no colon here", "its headers must be lines of the form name: value"),
        (None, "a: b", "is set and INTENTLEDGER_OTLP_URL is not"),
    ],
)
def test_a_collector_that_cannot_be_reached_so_is_refused_and_not_shown(tmp_path, url, headers, sentence):
    (tmp_path / "headers").write_text(headers or "")
    environment = {"INTENTLEDGER_OTLP_URL": url, "INTENTLEDGER_OTLP_HEADERS_FILE": str(tmp_path / "headers")}
    given = {name: value for name, value in environment.items() if value and (headers or "URL" in name)}
    with pytest.raises(Misconfigured) as refusal:
        load(given, tmp_path)
    assert sentence in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_spans_are_not_promised_where_opentelemetry_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.collector._NEEDED", ("opentelemetry_is_elsewhere.sdk",))
    with pytest.raises(Misconfigured, match=r"pip install 'intentledger\[otel\]'"):
        load({"INTENTLEDGER_OTLP_URL": "http://collector:4318"}, tmp_path)


def test_settings_never_show_the_receiver(tmp_path):
    settings = webhook(tmp_path)
    shown = repr(settings) + str(settings) + settings.model_dump_json() + repr(settings.receiver)
    assert "secret-path" not in shown
    assert KEY.removeprefix("whsec_") not in shown

"""What [log] may say, what it means to say nothing, and the commands about its keys."""

import json

import pytest

from gateway import cli
from gateway.log_settings import log_settings
from gateway.settings import load
from ledger.bounds import LOG_KEYS
from ledger.errors import Misconfigured
from ledger.log.keys import Keyring, changing, read_keys, write_first_key, write_keys
from ledger.log.signed_note import COSIGNATURE, SigningKey

WITNESS = str(SigningKey("witness.example/w1", b"w" * 32, COSIGNATURE).verifier)
LOG = str(SigningKey("some.example/log", b"l" * 32).verifier)
FIRST = SigningKey("intent-ledger/main", b"1" * 32)


@pytest.fixture
def configured(tmp_path):
    def read(text):
        (tmp_path / "intentledger.toml").write_text(text)
        return log_settings(load({"INTENTLEDGER_DATA": str(tmp_path / "data")}, tmp_path))

    return read


def test_nothing_needs_to_be_said(tmp_path):
    found = log_settings(load({"INTENTLEDGER_DATA": str(tmp_path), "INTENTLEDGER_LEDGER": "books"}, tmp_path))
    assert found.origin == "intent-ledger/books"
    assert (found.keys, found.directory) == (tmp_path / "log" / "books.key", tmp_path / "log" / "books")
    assert (found.objects, found.witnesses) == (None, ())


def test_everything_can_be_said(configured):
    found = configured(
        '[log]\norigin = "example.com/main"\nkeys = "/k/main.key"\ndirectory = "/d"\n'
        '[log.objects]\nbucket = "checkpoints"\nregion = "eu-central-1"\n'
        'credentials = { access_key_id = { env = "A" }, secret_access_key = { file = "/s" } }\n'
        f'[[log.witnesses]]\nurl = "https://witness.example/"\nkey = "{WITNESS}"\n'
        'monitoring_url = "https://shows.example/w/"\n'
    )
    assert (found.origin, str(found.keys), str(found.directory)) == ("example.com/main", "/k/main.key", "/d")
    assert found.objects.bucket == "checkpoints"
    (witness,) = found.witnesses
    assert (witness.url, str(witness.key)) == ("https://witness.example", WITNESS)
    assert witness.monitoring_url == "https://shows.example/w"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('[log]\norigin = "with spaces"', "origin"),
        ('[log]\norigin = "a+b"', "origin"),
        ('[log]\norigin = "a\\u0001b"', "origin"),
        ("[log]\nwitness = 3", "witness"),
        ("log = 3", "log"),
        ("[log]\nsince = 2026-01-01", r"\[log\]"),
        ("[log.objects]\nbucket = 'b'", "region"),
        ("[[log.witnesses]]\nurl = 'ftp://w'\nkey = 'x'", "url"),
        ("[[log.witnesses]]\nurl = 'https://w'\nkey = 'x'", "not an Ed25519 key"),
        (f"[[log.witnesses]]\nurl = 'https://w'\nkey = '{LOG}'", "not a witness's"),
        (2 * f"[[log.witnesses]]\nurl = 'https://w'\nkey = '{WITNESS}'\n", "stands twice"),  # one would not be heard
    ],
)
def test_what_makes_no_sense_is_refused_by_name(configured, text, match):
    with pytest.raises(Misconfigured, match=match):
        configured(text)


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("INTENTLEDGER_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gateway.logs.configure", lambda *_: None)  # it would outlive the standard error of this test

    def run(*arguments):
        code = cli._code(["log", *map(str, arguments), "--json"])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else said.err

    return run


def begun(tmp_path):
    """Make the first key, as `serve` does."""
    file = tmp_path / "data" / "log" / "main.key"
    write_first_key(file, FIRST)
    return file


def test_keys_are_made_listed_and_retired(command, tmp_path):
    assert command("keys")[1]["keys"] == []
    file, first = begun(tmp_path), FIRST.verifier.key_id.hex()
    _, second = command("rotate")
    assert [one["state"] for one in second["keys"]] == ["signs", "signs"]
    (file.parent / ".main.key.17.4711").write_text(FIRST.secret)  # by a process that was killed
    assert command("retire", first)[0] == 0
    _, listed = command("keys")
    assert [(one["id"], one["state"]) for one in listed["keys"]] == [(first, "retired"), (second["made"], "signs")]
    for left in file.parent.iterdir():
        assert FIRST.secret not in left.read_text(), "a retired key is destroyed, wherever it was written"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().count("PRIVATE") == 1, "the private part of a retired key is gone"
    code, said = command("retire", second["made"])
    assert (code, "Only" in said) == (2, True)
    code, said = command("retire", "ffffffff")
    assert (code, "No key ffffffff" in said) == (2, True)


def test_a_key_that_was_lost_goes_on_being_known(command, tmp_path):
    file = tmp_path / "data" / "log" / "main.key"
    code, said = command("rotate")
    assert (code, "There are no keys of the log" in said, file.exists()) == (2, True, False), "none is made in silence"
    code, said = command("rotate", "--known", LOG)
    assert (code, "is of the log 'some.example/log'" in said, file.exists()) == (2, True, False)
    _, made = command("rotate", "--known", FIRST.verifier)
    assert [one["state"] for one in made["keys"]] == ["retired", "signs"]
    assert read_keys(file).verifiers[0] == FIRST.verifier
    assert command("rotate", "--known", "nonsense")[0] == 2


@pytest.mark.parametrize("words", [("rotate",), ("retire", FIRST.verifier.key_id.hex())])
def test_keys_are_changed_by_one_at_a_time(command, tmp_path, words):
    """Of two rotations at once one's key would be handed on and never sign."""
    file = begun(tmp_path)
    command("rotate")
    before = file.read_text()
    with changing(file):
        code, said = command(*words)
        assert (code, "Somebody else is changing" in said, file.read_text()) == (2, True, before)
    assert command(*words)[0] == 0
    assert file.read_text() != before


def test_a_key_can_be_replaced_for_ever_and_few_sign_at_a_time(command, tmp_path):
    file = begun(tmp_path)
    keys = Keyring((FIRST,))
    for nth in range(400):
        keys = keys.with_new(SigningKey("intent-ledger/main", nth.to_bytes(32, "big")))
        keys = keys.without(keys.signing[0].verifier.key_id.hex())
    write_keys(file, keys)
    assert read_keys(file).verifiers == keys.verifiers, "what they have signed goes on being verified"
    for _ in range(LOG_KEYS - 1):
        assert command("rotate")[0] == 0
    code, said = command("rotate")
    assert (code, "16 keys sign already" in said) == (2, True)


def test_the_checkpoint_outside_is_verified_before_it_is_shown(command, tmp_path):
    assert "There is no checkpoint" in command("checkpoint")[1]
    begun(tmp_path)
    (key,) = read_keys(tmp_path / "data" / "log" / "main.key").signing
    text = "intent-ledger/main\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    file = tmp_path / "data" / "log" / "main" / "checkpoint"
    file.parent.mkdir()
    file.write_text(f"{text}\n{key.sign(text).line}\n")
    code, said = command("checkpoint")
    assert (code, said["size"], said["signed_by"][0]["key"]) == (0, 0, key.verifier.key_id.hex())
    witness = SigningKey("witness.example/w1", b"w" * 32, COSIGNATURE)
    (tmp_path / "intentledger.toml").write_text(f'[[log.witnesses]]\nurl = "https://w"\nkey = "{WITNESS}"\n')
    right = file.read_text()
    file.write_text(right + witness.cosign(text, 1_800_000_000).line + "\n")
    assert [one["name"] for one in command("checkpoint")[1]["signed_by"]] == [
        "intent-ledger/main",
        "witness.example/w1",
    ]
    file.write_text(f"{text}\n{witness.cosign(text, 1_800_000_000).line}\n")
    assert command("checkpoint")[0] == 1, "a witness may cosign other logs, too"
    file.write_text(right.replace("\n0\n", "\n1\n"))
    code, said = command("checkpoint")
    assert (code, "was changed" in said) == (1, True)

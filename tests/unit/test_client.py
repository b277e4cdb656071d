"""A person's way to the service: where a token may go, and from which file it is taken."""

import pytest

from gateway.client import Client, address, part, read_token
from gateway.settings import Settings
from ledger.errors import Misconfigured


def settings(tmp_path, **more) -> Settings:
    return Settings(data=tmp_path, **more)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:8700"),
        ({"port": 9000, "host": "::1"}, "http://[::1]:9000"),
        ({"host": "0.0.0.0"}, "http://127.0.0.1:8700"),
        ({"host": "::"}, "http://[::1]:8700"),
        ({"url": "https://ledger.example/"}, "https://ledger.example"),
        ({"url": "http://localhost:9000"}, "http://localhost:9000"),
    ],
)
def test_the_service_is_where_serve_puts_it_or_where_it_is_said_to_be(tmp_path, given, url):
    assert address(settings(tmp_path, **given)) == url


@pytest.mark.parametrize(
    "given", [{"url": "http://ledger.example"}, {"host": "10.0.0.7"}, {"url": "http://[2001:db8::1]"}]
)
def test_a_token_does_not_go_out_in_the_clear(tmp_path, given):
    with pytest.raises(Misconfigured, match=r" would show your token to whoever is in between\. Nothing was sent; "):
        address(settings(tmp_path, **given))


def test_any_free_port_names_no_address(tmp_path):
    with pytest.raises(Misconfigured, match=r"^INTENTLEDGER_PORT=0 names no address"):
        address(settings(tmp_path, port=0))


def test_the_operators_token_is_the_default(tmp_path):
    file = tmp_path / "operator-acme.token"
    file.write_text("il_x\n")
    file.chmod(0o600)
    client = Client(settings(tmp_path, ledger="acme"))
    assert client._token == "il_x"
    assert "il_x" not in repr(client)


def test_a_token_that_others_may_read_goes_nowhere(tmp_path):
    file = tmp_path / "dana.token"
    file.write_text("il_hunter2\n")
    file.chmod(0o640)
    with pytest.raises(Misconfigured, match=r"^Others may read the token in ") as refusal:
        read_token(file)
    assert "hunter2" not in refusal.value.message


def test_a_token_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(Misconfigured) as refusal:
        read_token(tmp_path / "none")
    assert refusal.value.message == (
        f"The token in {tmp_path}/none cannot be read: No such file or directory. Nothing was sent; name another file "
        "with --token-file or INTENTLEDGER_TOKEN_FILE."
    )


@pytest.mark.parametrize("text", ["", "\n", "il_a il_b", "il_a\nil_b", "il_\u00e9", "il_a\x07", "\xff"])
def test_what_is_no_token_is_not_sent(tmp_path, text):
    file = tmp_path / "dana.token"
    file.write_bytes(text.encode("latin-1"))
    file.chmod(0o600)
    with pytest.raises(Misconfigured, match=r"(holds no token|cannot be read: it is not text)\. Nothing was sent; "):
        read_token(file)


def test_an_id_stays_one_part_of_a_path():
    assert part("../x?y=/z#") == "..%2Fx%3Fy%3D%2Fz%23"

"""What operators write into templates and statements, and what agents' values can and cannot do there."""

from typing import Any

import pytest

from adapters.addresses import is_public
from adapters.answers import Senseless, parse, pointed, said, secrets_in
from adapters.references import Unrenderable, compile_body, compile_path, render_body
from adapters.statements import bind, compile_statement
from ledger.errors import Misconfigured, Permanent

# ── statements ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("sql", "numbered", "names"),
    [
        ("select :a", "select $1", ("a",)),
        ("select :a, :b, :a;", "select $1, $2, $1", ("a", "b")),
        ("select :a::int, x::text", "select $1::int, x::text", ("a",)),
        ("select ':a', \":b\", :a", "select ':a', \":b\", $1", ("a",)),
        ("select 'it''s :b', :a", "select 'it''s :b', $1", ("a",)),
        (r"select E'\' :b', :a", r"select E'\' :b', $1", ("a",)),
        ("select $$ :b $$, $x$ :b $x$, :a", "select $$ :b $$, $x$ :b $x$, $1", ("a",)),
        ("select :a -- not :b\n, :a", "select $1 -- not :b\n, $1", ("a",)),
        ("select /* :b */ :a", "select /* :b */ $1", ("a",)),
        ("select :a.city, :captured.x", "select $1, $2", ("a.city", "captured.x")),
        ("select x[1:2], :a", "select x[1:2], $1", ("a",)),
        ("with x as (select :a) delete from y", "with x as (select $1) delete from y", ("a",)),
    ],
)
def test_named_parameters_are_numbered_and_nothing_else_is_touched(sql: str, numbered: str, names: tuple[str]) -> None:
    statement = compile_statement("here", sql, {"a", "b", "captured"})
    assert (statement.sql, statement.names) == (numbered, names)


@pytest.mark.parametrize(
    "sql",
    ["", "select :c", "select $1", "select 1; drop table x", "commit", "drop table x", "select :captured", "begin"],
)
def test_a_statement_that_means_something_else_is_refused_at_start(sql: str) -> None:
    with pytest.raises(Misconfigured, match=r"^here: "):
        compile_statement("here", sql, {"a", "captured"})


def test_values_are_bound_in_order_and_what_was_left_out_is_null() -> None:
    statement = compile_statement("here", "select :b, :a.city, :captured.x", {"a", "b", "captured"})
    assert bind(statement, {"a": {"city": "Ulm"}, "captured": {"x": None}}) == [None, "Ulm", None]


def test_what_was_never_captured_cannot_be_restored() -> None:
    statement = compile_statement("here", "select :captured.x", {"captured"})
    with pytest.raises(Permanent, match=r"captured\.x"):
        bind(statement, {"captured": None})


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────

KNOWN = {"charge", "amount", "note", "params", "key", "receipt"}


def test_a_path_takes_values_and_encodes_all_of_them() -> None:
    path = compile_path("here", "/a/{charge}/b?c={receipt.id}", KNOWN)
    assert path({"charge": "x/../y z", "receipt": {"id": 7}}) == "/a/x%2F..%2Fy%20z/b?c=7"


@pytest.mark.parametrize("value", ["", ".", "..", "...", "a\nb", None, True, 1.5, ["a"], {"b": 1}])
def test_what_cannot_stand_in_a_path_is_not_sent(value: Any) -> None:
    with pytest.raises(Unrenderable):
        compile_path("here", "/a/{charge}", KNOWN)({"charge": value})


@pytest.mark.parametrize("template", ["a/{charge}", "/{nothing}", "/{charge", "/a b", "/a#b", "/{result.id}", "/\r\n"])
def test_a_path_that_makes_no_sense_is_refused_at_start(template: str) -> None:
    with pytest.raises(Misconfigured, match=r"^here: "):
        compile_path("here", template, KNOWN)


def test_a_body_keeps_types_and_leaves_out_what_was_left_out() -> None:
    template = {"a": "{amount}", "n": "{note}", "fixed": "text", "deep": [{"id": "{receipt.id}"}], "all": "{params}"}
    body = render_body(
        compile_body("here", template, KNOWN), {"amount": 4200, "receipt": {"id": "r"}, "params": {"amount": 4200}}
    )
    assert body == {"a": 4200, "fixed": "text", "deep": [{"id": "r"}], "all": {"amount": 4200}}


def test_a_value_that_looks_like_a_reference_is_only_a_value() -> None:
    body = compile_body("here", {"a": "{note}"}, KNOWN)
    assert render_body(body, {"note": "{receipt.id}"}) == {"a": "{receipt.id}"}


@pytest.mark.parametrize("template", [{"a": "x {amount}"}, {"a": "{nothing}"}, ["{result.id}"]])
def test_a_body_that_makes_no_sense_is_refused_at_start(template: Any) -> None:
    with pytest.raises(Misconfigured, match=r"^here: "):
        compile_body("here", template, KNOWN)


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pointer_finds_what_is_there_and_nothing_else() -> None:
    value = {"a": [{"b/c": {"~": 1}}]}
    assert pointed(value, "/a/0/b~1c/~0") == 1
    for pointer in ("/a/1", "/a/x", "/b", "/a/0/b~1c/~0/deeper", "/a/-1"):
        assert pointed(value, pointer) is None


def test_the_longest_credential_is_blotted_out_first() -> None:
    secrets = secrets_in(["Bearer abcdefgh", "x"])
    assert secrets == (b"Bearer abcdefgh", b"abcdefgh")
    assert parse(b'{"a": "Bearer abcdefgh", "b": "abcdefgh", "c": "x"}', secrets) == {"a": "***", "b": "***", "c": "x"}


@pytest.mark.parametrize(
    "body", [b'{"a": 1, "a": 1}', b'{"a": -Infinity}', b'{"a": "\\u0000"}', b"1", b"null", b"\xef\xbb\xbf{}"]
)
def test_an_answer_with_two_meanings_has_none(body: bytes) -> None:
    with pytest.raises(Senseless):
        parse(body)


def test_what_a_system_says_is_found_and_bounded() -> None:
    assert said({"error": {"message": "No\n\nmoney."}}) == "No money."
    assert said({"detail": 7, "title": " "}) is None
    assert len(said({"detail": "x" * 10_000}) or "") == 250


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:93.184.215.14"])
def test_public_addresses_may_be_called(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "255.255.255.255",         "224.0.0.1", "240.0.0.1", "192.0.2.1",
        "::", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::7f00:1",
        "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "fe80::1",
        "fe80::1%eth0", "fc00::1",
        "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1",
    ],
)  # fmt: skip
def test_every_other_address_may_not(address: str) -> None:
    assert not is_public(address)

"""Strict JSON: one number is one value, however it is written; who reads says what lies beyond 2^53."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import answers
from gateway import gate
from ledger.canonical import canonical
from ledger.strict_json import NotStrictJSON, reader, refuse_beyond

LIMIT = 2**53
read = reader(refuse_beyond)


@pytest.mark.parametrize("written", ["5000", "5000.0", "5000.000", "5e3", "5E+3", "0.5e4", "50000e-1"])
def test_one_number_is_one_integer_with_one_canonical_form(written: str) -> None:
    value = read(f'{{"amount": {written}}}'.encode())
    assert type(value["amount"]) is int
    assert canonical(value) == b'{"amount":5000}'


@pytest.mark.parametrize("written", ["-0.0", "-0", "0e9"])
def test_there_is_one_zero(written: str) -> None:
    assert canonical(read(written.encode())) == b"0"


@pytest.mark.parametrize(("written", "value"), [("5000.5", 5000.5), ('"5000"', "5000"), ("true", True), ("-5", -5)])
def test_what_is_another_value_stays_it(written: str, value: object) -> None:
    found = read(written.encode())
    assert (found, type(found)) == (value, type(value))


@given(st.integers(1 - LIMIT, LIMIT - 1))
def test_an_integer_written_as_a_fraction_is_the_same_integer(number: int) -> None:
    for written in (f"{number}.0", f"{number}e0"):
        found = read(written.encode())
        assert (type(found), found) == (int, number)


@given(st.floats(-1e15, 1e15))
def test_no_number_changes_its_canonical_bytes_by_being_read(number: float) -> None:
    assert canonical(read(json.dumps(number).encode())) == canonical(number)


@pytest.mark.parametrize("written", [str(2**63), "-9007199254740993", "9007199254740992.0", "1e16", "1" * 400, "1e999"])
def test_beyond_two_to_the_53_nothing_is_read(written: str) -> None:
    with pytest.raises(NotStrictJSON, match=r"^contains a number beyond 2\^53"):
        read(written.encode())


def test_an_answer_may_name_things_by_numbers_beyond_two_to_the_53() -> None:
    said = answers.parse(b'{"id": 9223372036854775808, "ratio": 1e16, "count": 3.0}')
    assert said == {"id": "9223372036854775808", "ratio": 1e16, "count": 3}
    assert type(said["count"]) is int


def test_an_answer_with_an_infinite_number_has_no_meaning() -> None:
    with pytest.raises(answers.Senseless, match="it contains a number that is too large"):
        answers.parse(b'{"a": 1e999}')


@pytest.mark.parametrize("body", [b'{"a": 1, "a": 1}', b"[NaN]", b'["\\u0000"]', b'["\\ud800"]', b"\xff", b"[" * 99])
def test_the_gate_and_the_answers_refuse_the_same(body: bytes) -> None:
    with pytest.raises(gate.Malformed) as refused:
        gate.parse(body)
    with pytest.raises(answers.Senseless) as senseless:
        answers.parse(body)
    reason = str(senseless.value).removeprefix("it ")
    assert refused.value.message == f"The body {reason}. Nothing was recorded."

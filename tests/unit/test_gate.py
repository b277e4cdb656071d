"""The gate: what one JSON reader could understand differently from another does not come in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.gate import parse
from ledger.canonical import canonical
from ledger.errors import Malformed

LIMIT = 2**53
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LIMIT, LIMIT)
    | st.floats(-1e15, 1e15)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4), inner, max_size=4
        )
    ),
    max_leaves=20,
)


def refusal(body: bytes) -> str:
    with pytest.raises(Malformed) as refused:
        parse(body)
    assert refused.value.message.endswith("Nothing was recorded.")
    return refused.value.message


@given(VALUES)
def test_a_value_comes_in_as_it_was_sent_however_it_was_escaped(value):
    assert parse(json.dumps(value).encode()) == value
    assert parse(json.dumps(value, ensure_ascii=False, indent=2).encode()) == value


@given(VALUES)
def test_whatever_comes_in_has_canonical_bytes(value):
    assert parse(canonical(parse(json.dumps(value).encode()))) == value


@given(st.binary(max_size=200))
def test_no_bytes_make_the_gate_fail_in_another_way_than_refusing(body):
    try:
        parse(body)
    except Malformed:
        return


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 1}',
        b'{"a": 1, "b": 2, "a": 3}',
        b'[{"x": {"k": 1, "\\u006b": 2}}]',  # the same key, escaped
        b'{"": 0, "": 0}',
    ],
)
def test_a_key_that_stands_twice_in_an_object_is_refused(body):
    assert "the same key twice" in refusal(body)


def test_a_key_may_stand_in_several_objects():
    assert parse(b'[{"a": 1}, {"a": {"a": 2}}]') == [{"a": 1}, {"a": {"a": 2}}]


@pytest.mark.parametrize("body", [b"NaN", b"Infinity", b"-Infinity", b'{"a": [NaN]}'])
def test_what_is_no_number_is_refused(body):
    assert "which JSON does not have" in refusal(body)


@pytest.mark.parametrize(
    "number",
    ["9007199254740993", "-9007199254740993", "1" * 17, "1" * 5000, "1e16", "-1e16", "1e400", "9007199254740993.0"],
)
def test_a_number_beyond_two_to_the_53_is_refused(number):
    assert "beyond 2^53" in refusal(f'{{"a": [{number}]}}'.encode())


@pytest.mark.parametrize("number", [LIMIT, -LIMIT, LIMIT - 1, 0, -1])
def test_a_number_up_to_two_to_the_53_comes_in_exactly(number):
    assert parse(str(number).encode()) == number


@pytest.mark.parametrize("body", [b'"\\u0000"', b'{"\\u0000": 1}', b'{"a": ["x\\u0000y"]}'])
def test_nul_is_refused_in_keys_and_values(body):
    assert "NUL" in refusal(body)


@pytest.mark.parametrize(
    "body",
    [b'"\\ud800"', b'{"\\udfff": 1}', b'{"a": ["\\ude00\\ud83d"]}', b'"\\ud83d\\u0041"', b'{"a": {"b": "\\uDC00"}}'],
)
def test_half_of_a_surrogate_pair_is_refused_in_keys_and_values(body):
    assert "surrogate" in refusal(body)


def test_a_whole_surrogate_pair_is_one_character():
    assert parse(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"


@pytest.mark.parametrize("body", [b"\xff", b'"\xc3"', b'"\xed\xa0\x80"', b'"\xc0\xaf"', '"é"'.encode("latin-1")])
def test_bytes_that_are_not_utf_8_are_refused(body):
    assert "not UTF-8" in refusal(body)


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf{}", '{"a": 1}'.encode("utf-16")])
def test_a_byte_order_mark_is_refused(body):
    refusal(body)


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"{", b"[1,]", b"{'a': 1}", b"{} {}", b"01", b"+1", b".5", b'"\n"', b"\x0c{}", b"tru", b'{"a" 1}'],
)
def test_what_is_not_json_is_refused(body):
    refusal(body)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_a_value_may_be_32_deep_and_not_33(opening, closing):
    def deep(levels):
        return (opening * levels + "1" + closing * levels).encode()

    parse(deep(32))
    assert "deeper than 32" in refusal(deep(33))
    assert "deeper than 32" in refusal(deep(40_000))


def test_brackets_inside_text_are_not_depth():
    assert parse(b'["' + b"[{" * 100 + b'"]') == ["[{" * 100]


def test_a_broad_value_is_not_a_deep_one():
    assert len(parse(b"[" + b"{}," * 100 + b"{}]")) == 101

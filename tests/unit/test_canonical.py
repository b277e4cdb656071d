"""Canonical bytes equal RFC 8785, whichever encoder wrote them."""

import hashlib

import msgspec
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.canonical import canonical, digest

RFC_8785_VECTORS = [
    # section 3.2.2: the sample object, with numbers in the shortest form
    (
        {
            "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
            "literals": [None, True, False],
        },
        b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}',
    ),
    # section 3.2.2.2: the sample string
    ({"string": '€$\u000f\nA\'B"\\\\"/'}, '{"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'.encode()),
    # section 3.2.3: keys in the order of UTF-16 code units, where the emoji stands before U+FB33
    (
        {"€": 1, "\r": 2, "\ufb33": 3, "1": 4, "😀": 5, "\u0080": 6, "ö": 7},
        '{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}'.encode(),
    ),
    # appendix B: numbers
    (0.0, b"0"),
    (-0.0, b"0"),
    (5e-324, b"5e-324"),
    (1.7976931348623157e308, b"1.7976931348623157e+308"),
    (9007199254740992.0, b"9007199254740992"),
    (295147905179352830000.0, b"295147905179352830000"),
    (9.999999999999997e22, b"9.999999999999997e+22"),
    (1e23, b"1e+23"),
    (0.000001, b"0.000001"),
    (333333333.33333325, b"333333333.33333325"),
    (0.1, b"0.1"),
]


@pytest.mark.parametrize(("value", "expected"), RFC_8785_VECTORS)
def test_the_vectors_of_rfc_8785_hold(value, expected):
    assert canonical(value) == expected


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=600)
@given(json_values)
def test_every_json_value_has_the_bytes_of_the_reference_encoder(value):
    assert canonical(value) == rfc8785.dumps(value)


@settings(max_examples=400)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_inside_an_array_an_object_or_alone_is_written_alike(number):
    assert canonical([number, {"n": number}, number]) == rfc8785.dumps([number, {"n": number}, number])
    assert canonical(number) == rfc8785.dumps(number)


hexadecimal = st.text("0123456789abcdef", min_size=1, max_size=40)


@settings(max_examples=600)
@given(
    st.dictionaries(hexadecimal, hexadecimal | st.lists(st.floats(allow_nan=False, allow_infinity=False) | hexadecimal))
)
def test_numbers_among_digests_that_look_like_numbers_are_written_alike(value):
    assert canonical(value) == rfc8785.dumps(value)


def test_digests_and_prices_in_a_text_do_not_need_the_slow_encoder(monkeypatch):
    monkeypatch.setattr(rfc8785, "dumps", lambda _: pytest.fail("the slow encoder was used"))
    value = {
        "key": "3e4f1e9",
        "digest": "sha256:e1e5",
        "text": "42.00 USD, 1.0 and 2e5",
        "version": "3.0",
        "n": [0.97, 1],
    }
    assert canonical(value) == msgspec.json.encode(value, order="sorted")


def test_a_struct_is_written_like_the_object_of_its_fields():
    class Money(msgspec.Struct, frozen=True):
        currency: str
        amount: int

    assert canonical(Money("USD", 4200)) == b'{"amount":4200,"currency":"USD"}'


def test_the_digest_names_the_bytes():
    assert digest({"b": 1, "a": 2}) == "sha256:" + hashlib.sha256(b'{"a":2,"b":1}').hexdigest()

"""How an operator's SQL becomes a statement of MariaDB's: where references are seen, and how values are written."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.mysql.tables import MYSQL, literal, written
from adapters.statements import compile_statement
from ledger.errors import Misconfigured, Permanent


def sql(text: str, **values: Any) -> str:
    return written(compile_statement("here", text, set(values), dialect=MYSQL), values)


@pytest.mark.parametrize(
    "text",
    [
        "select ':a', \":a\", `:a`, 'it\\':a', 'it'':a', \"\\\":a\", 'x\\\\'",
        "select 1 -- :a",
        "select 1 # :a\n, 2",
        "select /* :a ; */ 1",
        "select @x := 1",
    ],
)
def test_a_colon_in_a_text_a_name_or_a_comment_is_no_reference(text: str) -> None:
    assert sql(text, a=1) == text


@pytest.mark.parametrize("text", ["select 1; select 2", "select /*! :a */ 1", "select /*M!100101 1 */", "drop table t"])
def test_what_is_not_one_statement_of_data_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured):
        sql(text, a=1)


def test_two_minus_signs_are_a_comment_only_before_a_blank() -> None:
    assert sql("select 5--:a", a=1) == "select 5--1"


def test_values_are_written_so_that_nothing_can_read_them_otherwise() -> None:
    text = "select :a, :b, :c, :d, :e, :f, :g.h"
    values = {"a": "it's\\", "b": 7, "c": None, "d": True, "e": 42.0, "f": 0.1, "g": {"h": [1, "ü"]}}
    assert sql(text, **values) == (
        "select _utf8mb4 x'697427735c', 7, null, true, 42, 0.1, _utf8mb4 x'5b312c2022c3bc225d'"
    )


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(Permanent):
        literal("\ud800")


_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_SIMPLE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT


@given(st.recursive(_SIMPLE, lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner), max_leaves=10))
def test_no_value_leaves_the_letters_of_a_literal(value: Any) -> None:
    said = literal(value)
    assert re.fullmatch(r"null|true|false|-?\d+(\.\d+)?(e[+-]?\d+)?|_utf8mb4 x'([0-9a-f]{2})*'", said)
    if said.startswith("_"):
        text = bytes.fromhex(said[len("_utf8mb4 x'") : -1]).decode()
        assert (text if isinstance(value, str) else json.loads(text)) == value

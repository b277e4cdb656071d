"""Where something stands in a TOML file."""

import pytest

from adapters.toml_lines import line_of

TEXT = '''# who may do what

[adapters.crm]
type = "postgres"  # of ours
dsn = { env = "CRM_DSN" }
calls.at_once = 4

[adapters.crm.operations.update]
statements = [
  { sql = """
[adapters.none]
""", expect_rows = 1 },
]
"undo" = "none"

[[adapters.crm.more]]
a = 1
[[adapters.crm.more]]
a = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("adapters",), 3),
        (("adapters", "crm"), 3),
        (("adapters", "crm", "type"), 4),
        (("adapters", "crm", "dsn", "env"), 5),
        (("adapters", "crm", "calls", "at_once"), 6),
        (("adapters", "crm", "operations"), 8),
        (("adapters", "crm", "operations", "update", "statements", 0, "sql"), 9),
        (("adapters", "crm", "operations", "update", "undo"), 14),
        (("adapters", "crm", "more", 0, "a"), 17),
        (("adapters", "crm", "more", 1), 18),
        (("adapters", "crm", "more", 1, "a"), 19),
        (("adapters", "none"), None),
        (("adapters", "crm", "type", "deeper"), None),
        (("adapters", "crm", "more", 2), None),
    ],
)
def test_the_line_is_the_one_on_which_it_begins(path, line):
    assert line_of(TEXT, path) == line
    assert line_of(TEXT.replace("\n", "\r\n"), path) == line


def test_characters_that_only_some_take_for_line_breaks_are_none():
    assert line_of('a = "\u2028\x85"\nb = 1\n', ["b"]) == 2


def test_what_is_no_toml_has_no_lines():
    assert line_of("[adapters", ["adapters"]) is None

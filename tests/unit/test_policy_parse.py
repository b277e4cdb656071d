"""Reading a policy set: what is taken, and the place and the reason of everything that is not."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authority.cedar_text import statements
from authority.policy import parse
from ledger import bounds
from ledger.canonical import digest
from ledger.errors import InvalidPolicy

GOOD = '@id("a") permit (principal, action, resource);'


def faults(cedar: str) -> list[tuple[int, int, str]]:
    with pytest.raises(InvalidPolicy) as refused:
        parse(cedar)
    return [(one["line"], one["column"], one["message"]) for one in refused.value.extras["errors"]]


def noted(notes: str, action: str = "action") -> str:
    return f"{notes} permit (principal, {action}, resource);"


def test_a_set_has_its_text_its_digest_and_its_ids_in_order():
    found = parse(f'{GOOD}\n// a comment; with "this\n@id("b")\nforbid (principal, action, resource);')
    assert found.policies == ("a", "b")
    assert found.digest == digest(found.text)


def test_a_set_is_read_once():
    assert parse(GOOD) is parse("".join(list(GOOD)))


def test_a_fault_of_syntax_has_its_line_and_column_and_the_others_are_told_too():
    wrong = "permit (principal, action, resource)\n  when { context.a < };"
    cedar = f"{GOOD}\n{wrong}\n\n{GOOD}\n  permit (principal action);"
    assert faults(cedar) == [
        (3, 22, "The policy cannot be read: unexpected token `}`."),
        (6, 21, "The policy cannot be read: unexpected token `action`."),
    ]


def test_a_policy_without_its_semicolon_is_not_complete():
    assert faults(GOOD[:-1]) == [(1, 45, "The policy ends before it is complete; a policy ends with a semicolon.")]


def test_what_is_wrong_beyond_syntax_stands_at_the_beginning_of_its_policy():
    assert faults(f'{GOOD}\n\n  @id("b") permit (principal, action, resource) when {{ foo(1) }};') == [
        (3, 3, "The policy cannot be read: `foo` is not a valid function.")
    ]


@pytest.mark.parametrize("cedar", ["", "  \n", "// only a comment;"])
def test_an_empty_set_is_refused(cedar):
    assert faults(cedar)[0][2].startswith("There is no policy in it")


@pytest.mark.parametrize(
    ("cedar", "reason"),
    [
        ("permit (principal, action, resource);", "A policy needs an id"),
        (noted("@id"), "A policy needs an id"),
        (noted('@id("")'), "A policy needs an id"),
        (noted('@id(" a")'), "An id is at most 128 printable characters"),
        (noted('@id("a\\nb")'), "An id is at most 128 printable characters"),
        (noted('@id("a\\u{202e}b")'), "An id is at most 128 printable characters"),
        (noted(f'@id("{"a" * 129}")'), "An id is at most 128 printable characters"),
        (noted('@id("a") @id("b")'), "duplicate annotation"),
        (noted('@id("a") @approver("dana")'), "The annotation @approver is not known"),
        (noted('@id("a") @approvers("")'), "@approvers is a list of names or roles"),
        (noted('@id("a") @approvers("dana,")'), "@approvers is a list of names or roles"),
        (noted(f'@id("a") @approvers("{",".join(map(str, range(21)))}")'), "@approvers is a list of names or roles"),
        (noted('@id("a") @quorum("0")'), "@quorum is a whole number from 1 to 10"),
        (noted('@id("a") @quorum("11")'), "@quorum is a whole number from 1 to 10"),
        (noted('@id("a") @quorum("two")'), "@quorum is a whole number from 1 to 10"),
        (noted('@id("a") @quorum("1.5")'), "@quorum is a whole number from 1 to 10"),
        (noted('@id("a") @quorum'), "@quorum is a whole number from 1 to 10"),
        (noted('@id("a") @quorum("2")', 'action == Action::"x.y"'), "has an effect only on a permit"),
        (noted('@id("a") @quorum("2")').replace("permit", "forbid"), "has an effect only on a permit"),
        (noted('@id("a") @description("b\\u{7}")'), "A description is at most 200 printable characters"),
        ('@id("a") permit (principal == ?principal, action, resource);', "Templates (?principal, ?resource)"),
        ('@id("a") forbid (principal, action, resource in ?resource);', "Templates (?principal, ?resource)"),
    ],
)
def test_notes_that_would_be_without_effect_are_faults(cedar, reason):
    (fault,) = faults(cedar)
    assert (fault[:2], reason in fault[2]) == ((1, 1), True), fault


def test_an_id_is_given_once():
    assert faults(f"{GOOD}\n{GOOD}") == [(2, 1, "The id 'a' was given to a policy above already.")]


def test_notes_that_are_taken():
    notes = '@id("P 45 · großzügig") @approvers(" finance, dana ,dana") @quorum("10") @description("why")'
    (rule,) = parse(noted(notes, 'action == Action::"x.y#with_approval"')).rules
    assert (rule.id, rule.approvers, rule.quorum) == ("P 45 · großzügig", ("finance", "dana"), 10)
    assert rule.description == "why"


def test_a_set_is_bounded():
    assert "128 * 1024" not in faults("/" * (bounds.POLICY_BYTES + 1))[0][2]
    assert faults("é" * (bounds.POLICY_BYTES // 2 + 1))[0][2] == "The policy set is longer than 131072 bytes."
    many = "\n".join(f'@id("{n}") permit (principal, action, resource);' for n in range(bounds.POLICIES_MAX))
    assert len(parse(many).policies) == bounds.POLICIES_MAX
    assert faults(f"{many}\n{GOOD}") == [(501, 1, "There are more than 500 policies.")]


CHAINS = {
    "brackets": lambda n: "(" * n + "true" + ")" * n,
    "and": lambda n: "true" + " && true" * n,
    "or": lambda n: "true" + " || true" * n,
    "not": lambda n: "!(" * n + "true" + ")" * n,
    "attributes": lambda n: "context" + ".a" * n,
    "indices": lambda n: "context" + '["a"]' * n,
    "sums": lambda n: "1" + " + 1" * n + " == 2",
    "ifs": lambda n: "if true then true else " * n + "true",
    "sets": lambda n: "[" * n + "]" * n + ".isEmpty()",
    "records": lambda n: "{a: " * n + "1" + "}" * n + " == 1",
    "signs": lambda n: "-(" * n + "1" + ")" * n + " == 1",
    "has": lambda n: "context has a" + ".a" * n,
    "mixed": lambda n: "(" * min(n, 30) + "true" + " && context.a.b" * (n // 3) + ")" * min(n, 30),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_what_nests_too_deeply_is_refused_before_the_parser_overflows_the_stack(chain):
    for deep in (400, 5_000):
        cedar = f'@id("a") permit (principal, action, resource) when {{ {CHAINS[chain](deep)} }};'
        assert any("nests more than 32 brackets deep or has more than 300" in said for *_, said in faults(cedar))


def test_what_is_let_through_does_not_overflow_the_stack():
    """In a process of its own: the control would end this one."""
    source = f"""
from authority.policy import parse
from ledger.errors import InvalidPolicy
for cedar in {[chain(n) for chain in CHAINS.values() for n in (25, 31, 95, 299)]!r}:
    try:
        parse('@id("a") permit (principal, action, resource) when {{ ' + cedar + ' }};')
    except InvalidPolicy:
        pass
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "alive\n", (done.returncode, done.stderr[-500:])


@settings(max_examples=100)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_place(text):
    try:
        assert parse(text).policies
    except InvalidPolicy as refused:
        for one in refused.extras["errors"]:
            assert one["line"] >= 1
            assert one["column"] >= 1
            assert one["message"]


@settings(max_examples=100)
@given(
    st.lists(
        st.sampled_from(
            [
                GOOD,
                "// ; @\n",
                "// x\r",
                "\n",
                " ",
                "\t",
                '"a;b"',
                "@id",
                '("b")',
                "forbid",
                "(principal,",
                "&&",
                ";",
                '"',
                "\\",
            ]
        ),
        max_size=12,
    )
)
def test_policies_are_cut_where_cedar_cuts_them(parts):
    text = "".join(parts)
    try:
        found = parse(text)
    except InvalidPolicy:
        return
    assert len(found.rules) == len(statements(text))
    assert [rule.template.annotations["id"] for rule in found.rules] == list(found.policies)


@settings(max_examples=100)
@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_what_a_string_says_never_becomes_policy(said):
    quoted = "".join(f"\\u{{{ord(one):x}}}" for one in said)
    cedar = f'@id("a") permit (principal, action, resource) when {{ context.params.x == "{quoted}" }};'
    assert parse(cedar).policies == ("a",)

"""Grants in a person's words: what is read, what is not understood, and that what is written can be read again."""

import pytest

from gateway.grant_words import described, limit, limit_words, permission, permission_words, seconds, tree
from ledger.errors import Misconfigured


@pytest.mark.parametrize(
    ("words", "operation", "where"),
    [
        ("payments.refund", "payments.refund", {}),
        ("  payments.*  ", "payments.*", {}),
        ("payments.refund where currency=USD,EUR", "payments.refund", {"currency": ["USD", "EUR"]}),
        ("payments.refund where amount<=5000", "payments.refund", {"amount": {"max": 5000}}),
        ("p.r where amount>=-5 amount<=5 currency=USD", "p.r", {"amount": {"min": -5, "max": 5}, "currency": ["USD"]}),
        ("p.r where a = 1 , 2", "p.r", {"a": [1, 2]}),
        ('p.r where customer="88" vip=true level=88 ratio=0.5 x=null', "p.r",
         {"customer": ["88"], "vip": [True], "level": [88], "ratio": [0.5], "x": [None]}),
        ('p.r where name="A, \\"B\\" where c<=d"', "p.r", {"name": ['A, "B" where c<=d']}),
        ("p.r where code=007", "p.r", {"code": ["007"]}),
        ("p.r where mail=a@example.com", "p.r", {"mail": ["a@example.com"]}),
    ],
)  # fmt: skip
def test_a_permission_is_read_and_what_is_written_reads_the_same(words, operation, where):
    assert permission(words) == {"operation": operation, "where": where}
    assert permission(permission_words(permission(words))) == permission(words)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "payments.refund currency=USD",
        "payments.refund where",
        "payments.refund where currency",
        "payments.refund where currency=",
        "payments.refund where amount<5000",
        "payments.refund where amount<=50.5",
        "payments.refund where amount<=many",
        "payments.refund where amount<=true",
        "payments.refund where amount<=1,2",
        "payments.refund where amount<=1 amount<=2",
        "payments.refund where amount=1 amount<=2",
        "payments.refund where amount<=2 amount=1",
        "payments.refund where amount=1 amount=2",
        'payments.refund where name="open',
        'payments.refund where name="a"b',
        "payments.refund where amount<=5000;drop",
        "payments.refund where a=1,,2",
    ],
)
def test_what_is_not_understood_is_refused_and_never_widened(words):
    with pytest.raises(Misconfigured, match=r"^--operation .* is not understood\. Nothing was done; write "):
        permission(words)


@pytest.mark.parametrize(
    ("words", "read", "written"),
    [
        (
            "payments.* amount 100000 USD per day",
            {"operation": "payments.*", "measure": "amount", "max": 100_000, "currency": "USD", "per": "day"},
            "payments.*: 1000.00 USD per day",
        ),
        (
            "email.send count 20 per hour for each agent",
            {"operation": "email.send", "measure": "count", "max": 20, "per": "hour", "each": "agent"},
            "email.send: 20 times per hour for each agent",
        ),
        (
            "* count 1000 in total",
            {"operation": "*", "measure": "count", "max": 1000, "per": "total"},
            "*: 1,000 times in total",
        ),
    ],
)
def test_a_limit_is_read_and_written_in_the_digits_of_its_money(words, read, written):
    assert limit(words) == read
    assert limit_words(read) == written


@pytest.mark.parametrize(
    "words",
    [
        "payments.* amount 100000 per day",
        "payments.* amount 1000.00 USD per day",
        "payments.* amount 100000 usd per day",
        "payments.* count 20",
        "payments.* count -1 per day",
        "payments.* count 20 per week",
        "count 20 per day",
        "payments.* count 20 USD per day",
        "payments.* count 20 per day for each grant",
    ],
)
def test_a_limit_that_is_not_understood_is_refused(words):
    with pytest.raises(Misconfigured, match=r"^--limit .* is not understood"):
        limit(words)


@pytest.mark.parametrize(("words", "meant"), [("90", 90), ("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800)])
def test_a_time_is_read(words, meant):
    assert seconds(words) == meant


@pytest.mark.parametrize("words", ["", "0", "-1", "1.5h", "1w", "1h30m", "forever"])
def test_a_time_that_is_not_understood_is_refused(words):
    with pytest.raises(Misconfigured, match=r"^--expires-in "):
        seconds(words)


def shown(name: str, parent: str | None, **more) -> dict:
    return {
        "id": name,
        "parent": parent,
        "subject": {"kind": "agent", "name": f"agent of {name}", "version": None, "role": None},
        "task": None,
        "operations": [{"operation": "*", "where": {}}],
        "limits": [],
        "expires_at": None,
        "may_delegate": False,
    } | more


def test_the_tree_shows_each_grant_below_its_issuer_whatever_the_order():
    found = tree([shown("c", "b"), shown("b", "a"), shown("d", "a"), shown("a", "not shown to us")])
    assert [line.partition(":")[0] for line in found] == ["a", "  b", "    c", "  d"]


def test_a_grant_is_described_in_one_line_that_cannot_hide_anything():
    line = described(
        shown(
            "g-7",
            None,
            subject={"kind": "agent", "name": "pay\u202e", "version": "3.1", "role": "specialist"},
            task="12A",
            operations=[permission("payments.refund where amount<=5000")],
            limits=[limit("payments.* amount 100000 USD per day")],
            expires_at="2031-01-01T00:00:00Z",
            may_delegate=True,
            revoked=True,
        )
    )
    assert line == (
        "g-7: pay\\u202e 3.1 (agent, specialist) may payments.refund where amount<=5000 | task 12A | "
        "payments.*: 1000.00 USD per day | until 2031-01-01T00:00:00Z | may delegate | REVOKED"
    )

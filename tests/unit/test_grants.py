"""What a grant permits, and what it never mistakes for what it permits."""

import pytest
from chains import action, agent, below, descend, intent, only, person, refund
from hypothesis import given
from hypothesis import strategies as st

from authority.grants import fingerprint, holds, operator_grant, outside, permits, principal_of, token_of
from ledger.canonical import canonical
from ledger.errors import Corrupt
from ledger.events import GrantIssued, decode, encode
from ledger.grants import Range


def grant(**more):
    return below(operator_grant("t"), agent("refunder", **more))


# ── operations ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("pattern", "operation", "yes"),
    [
        ("payments.refund", "payments.refund", True),
        ("payments.*", "payments.refund", True),
        ("*", "payments.refund", True),
        ("payments.refund", "payments.refunds", False),
        ("payments.*", "payments_eu.refund", False),
        ("payments.*", "paymentsx.refund", False),
        ("payments.ref*", "payments.refund", False),
        ("*.refund", "payments.refund", False),
        ("Payments.refund", "payments.refund", False),
        ("", "payments.refund", False),
    ],
)
def test_a_pattern_is_an_operation_or_an_adapter_or_everything(pattern, operation, yes):
    assert (permits(grant(operations=only(pattern)), operation, {}, None) is None) is yes


def test_the_operators_grant_of_0_1_still_permits_everything():
    stored = encode(operator_grant("t")).replace(b',"custody":["grant-operator"]', b"")
    old = decode("GrantIssued", stored.replace(b'"custody":["grant-operator"],', b""))
    assert isinstance(old, GrantIssued)
    assert (old.operations, old.custody) == (("*",), ())
    assert permits(old, "payments.refund", {"amount": 1}, "12A") is None
    assert principal_of([old]).custody == ("grant-operator",)


def test_a_refusal_names_the_grant_and_what_it_permits():
    narrow = grant(operations=only("crm.*"))
    assert permits(narrow, "payments.refund", {}, None) == (
        "payments.refund is outside grant grant-refunder: it permits crm.* only"
    )
    where = grant(operations=only("payments.refund", currency=["USD", "EUR"]))
    assert permits(where, "payments.refund", {"currency": "GBP"}, None) == (
        'payments.refund is outside grant grant-refunder: currency must be "USD" or "EUR"'
    )


def test_two_permissions_are_never_added_up():
    both = grant(operations=(*only("payments.refund", currency=["USD"]), *only("payments.refund", charge=["ch_88"])))
    assert permits(both, "payments.refund", {"currency": "USD", "charge": "ch_1"}, None) is None
    assert permits(both, "payments.refund", {"currency": "EUR", "charge": "ch_1"}, None) is not None


def test_a_grant_for_a_task_permits_nothing_under_another_or_under_none():
    narrow = grant(task="12A")
    assert permits(narrow, "payments.refund", {}, "12A") is None
    assert "it is for task" in str(permits(narrow, "payments.refund", {}, "12a"))
    assert "names no task" in str(permits(narrow, "payments.refund", {}, None))


# ── types never mix ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", ["5000", True, None, [5000], {"amount": 5000}, 5000.5, 4999])
def test_only_the_number_itself_is_the_number_that_a_grant_names(value):
    assert holds((5000,), 5000)
    assert not holds((5000,), value)


@pytest.mark.parametrize(
    ("allowed", "value"), [(1, True), (0, False), (True, 1), ("true", True), (None, False), ("", None)]
)
def test_truth_is_not_one_and_nothing_is_not_false(allowed, value):
    assert not holds((allowed,), value)
    assert holds((allowed,), allowed)


@pytest.mark.parametrize("value", ["5", True, None, -1, 101, 5.5, 2.0**60, 2**63, float("inf"), float("nan"), [5], {}])
def test_a_range_holds_whole_numbers_within_it_and_nothing_else(value):
    assert holds(Range(0, 100), 5)
    assert not holds(Range(0, 100), value)
    assert not holds(Range(), value) or value in (-1, 101)


def test_a_number_means_the_same_before_and_after_it_was_stored():
    assert canonical({"amount": 5000.0}) == canonical({"amount": 5000})
    assert holds((5000,), 5000.0)
    assert holds(Range(max=5000), 5000.0)


@pytest.mark.parametrize("constraint", [("USD",), (None,), Range(), Range(0, 5), ()])
def test_a_parameter_that_is_absent_satisfies_no_constraint(constraint):
    narrow = grant(operations=only("payments.refund", currency=constraint))
    assert permits(narrow, "payments.refund", {}, None) is not None
    assert permits(narrow, "payments.refund", {"Currency": "USD"}, None) is not None


@pytest.mark.parametrize("value", ["usd", "USD ", "USD\u200b", "\uff35\uff33\uff24", ["USD"]])
def test_a_word_is_compared_as_it_is(value):
    narrow = grant(operations=only("payments.refund", currency=["USD"]))
    assert permits(narrow, "payments.refund", {"currency": "USD"}, None) is None
    assert permits(narrow, "payments.refund", {"currency": value}, None) is not None


# ── the chain ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_grant_of_the_chain_must_permit_every_action():
    wide = descend(person("manager-x", operations=only("payments.*")), agent("refunder", operations=only("*")))
    assert outside(wide, intent(wide, refund(1))) == ()
    assert outside(wide, intent(wide, refund(1), action("crm.update"))) == (
        "crm.update is outside grant grant-manager-x: it permits payments.* only",
    )


def test_every_reason_is_told_once():
    chain = descend(agent("refunder", operations=only("crm.*")))
    reasons = outside(chain, intent(chain, refund(1), refund(2), action("email.send")))
    assert len(reasons) == 2


def test_an_unknown_chain_permits_nothing():
    chain = descend(agent("refunder"))
    asked = intent(chain, refund(1))
    assert outside((), asked) == ("grant grant-refunder is not known",)
    assert outside(chain[:-1], asked) == ("grant grant-refunder is not known",)


_PATTERNS = st.sampled_from(["*", "payments.*", "payments.refund", "crm.*", "crm.update"])


@given(st.lists(_PATTERNS, min_size=1, max_size=5), st.sampled_from(["payments.refund", "crm.update", "email.send"]))
def test_a_chain_permits_exactly_what_each_of_its_grants_permits(patterns, operation):
    chain = descend(*(agent(f"a{n}", operations=only(one)) for n, one in enumerate(patterns)))
    alone = all(permits(one, operation, {}, "12A") is None for one in chain)
    assert (outside(chain, intent(chain, action(operation))) == ()) is alone


# ── who it is ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_principal_knows_the_nearest_person_above():
    chain = descend(person("manager-x"), agent("planner"), agent("refunder"))
    found = principal_of(chain)
    assert found.custody == ("grant-operator", "grant-manager-x", "grant-planner", "grant-refunder")
    assert (found.grant, found.commissioned_by) == ("grant-refunder", "manager-x")
    assert principal_of(chain[:1]).commissioned_by is None


def test_the_same_name_below_another_issuer_has_other_keys():
    mine = principal_of(descend(person("manager-x"), agent("bot")))
    again = principal_of(descend(person("manager-x"), agent("bot", grant="grant-bot-2")))
    other = principal_of(descend(person("manager-y"), agent("bot")))
    someone = principal_of(descend(person("manager-x"), person("bot")))
    assert mine.namespace == again.namespace
    assert len({mine.namespace, other.namespace, someone.namespace}) == 3
    assert principal_of(descend()).namespace == "person:operator"  # as in 0.1


@pytest.mark.parametrize("cut", [lambda c: c[1:], lambda c: (c[0], c[2]), lambda c: c[::-1], lambda _: ()])
def test_grants_that_do_not_hang_on_one_another_are_no_chain(cut):
    with pytest.raises(Corrupt):
        principal_of(cut(descend(person("manager-x"), agent("bot"))))


def test_only_the_digest_of_a_token_is_in_the_event():
    token = token_of(bytes(range(32)))
    assert token.startswith("il_")
    assert len(token) == 46
    assert token.encode() not in encode(operator_grant(token))
    assert fingerprint(token).encode() in encode(operator_grant(token))

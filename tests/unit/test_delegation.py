"""A child is narrower than its parent: what is refused, where it is named, and that nothing slips through."""

from datetime import timedelta
from typing import Any

import pytest
from chains import NOW, agent, below, descend, limit, only, person
from hypothesis import given
from hypothesis import strategies as st

from authority.delegation import child_of, faults, wider
from authority.grants import GrantOrder, operator_grant, permits, principal_of
from ledger import bounds
from ledger.grants import Limit, Permission, Range
from ledger.intents import Subject


def parent(kind=person, **more: Any):
    return below(operator_grant("t"), kind("manager-x", **more))


def paths(child, above):
    return [fault["path"] for fault in wider(below(above, child), above)]


# ── what is wider is named ───────────────────────────────────────────────────────────────────────────────────────


def test_everything_may_be_delegated_narrower():
    above = parent(operations=only("payments.*", currency=["USD", "EUR"], amount=Range(1, 5000)))
    child = agent("bot", operations=only("payments.refund", currency=["USD"], amount=Range(1, 50), charge=["ch_88"]))
    assert paths(child, above) == []


@pytest.mark.parametrize("operation", ["*", "payments.*", "crm.update", "payments.refunds"])
def test_an_operation_that_the_parent_has_not_is_named(operation):
    above = parent(operations=only("crm.read", "payments.refund"))
    child = agent("bot", operations=only("payments.refund", operation))
    assert paths(child, above) == ["/operations/1/operation"]


@pytest.mark.parametrize(
    ("has", "wants"),
    [
        (["USD"], ["USD", "EUR"]),
        (["1"], [1]),
        ([1], [True]),
        ([1, 2, 3], Range(1, 3)),
        (Range(1, 100), Range(1)),
        (Range(1, 100), Range(None, 100)),
        (Range(1, 100), Range(0, 100)),
        (Range(1, 100), Range(1, 101)),
        (Range(1, 100), [100, 101]),
        (Range(1, 100), ["50"]),
        (Range(), ["50"]),
    ],
)
def test_a_wider_constraint_is_named(has, wants):
    above = parent(operations=only("payments.*", x=has))
    assert paths(agent("bot", operations=only("payments.*", x=wants)), above) == ["/operations/0/where/x"]


def test_a_constraint_left_out_is_named_and_its_name_is_escaped():
    above = parent(operations=only("payments.*", **{"a/b~c": ["x"], "d": [1]}))
    child = agent("bot", operations=only("payments.*", d=[1]))
    assert paths(child, above) == ["/operations/0/where/a~1b~0c"]


def test_two_permissions_of_the_parent_do_not_together_cover_one_of_the_child():
    above = parent(operations=(*only("payments.*", currency=["USD"]), *only("payments.*", currency=["EUR"])))
    assert paths(agent("bot", operations=only("payments.*", currency=["USD", "EUR"])), above) != []
    each = (*only("payments.*", currency=["EUR"]), *only("payments.*", currency=["USD"]))
    assert paths(agent("bot", operations=each), above) == []


def test_a_limit_above_the_parents_is_named():
    above = parent(limits=(limit("payments.*", 50_000), limit("*", 10, "count")))
    child = agent("bot", limits=(limit("payments.refund", 50_000), limit("payments.refund", 50_001)))
    assert paths(child, above) == ["/limits/1/max"]
    assert paths(agent("bot", limits=(limit("*", 50_001),)), above) == ["/limits/0/max"]
    assert paths(agent("bot", limits=(limit("crm.update", 11, "count"),)), above) == ["/limits/0/max"]


def test_limits_that_count_something_else_are_not_compared():
    above = parent(limits=(limit("payments.*", 100),))
    others = (
        limit("payments.*", 900, currency="EUR"),
        limit("payments.*", 900, per="hour"),
        limit("payments.*", 900, "count"),
        limit("crm.*", 900),
    )
    assert paths(agent("bot", limits=others), above) == []


def test_an_allowance_for_each_agent_is_compared_with_one_for_all_of_them():
    each, every = {"each": "agent"}, {"each": "grant"}
    assert paths(agent("bot", limits=(limit("*", 101, **each),)), parent(limits=(limit("*", 100, **every),))) != []
    assert paths(agent("bot", limits=(limit("*", 101, **every),)), parent(limits=(limit("*", 100, **each),))) == []
    assert paths(agent("bot", limits=(limit("*", 101, **each),)), parent(limits=(limit("*", 100, **each),))) != []


def test_a_child_never_outlives_its_parent():
    above = parent(expires_at=NOW + timedelta(hours=1))
    assert paths(agent("bot", expires_at=NOW + timedelta(hours=1)), above) == []
    assert paths(agent("bot", expires_at=NOW + timedelta(hours=1, microseconds=1)), above) == ["/expires_in"]
    assert paths(agent("bot", expires_at=None), above) == ["/expires_in"]


def test_a_child_keeps_to_its_parents_task():
    assert paths(agent("bot", task="12A"), parent(task="12A")) == []
    assert paths(agent("bot", task="12B"), parent(task="12A")) == ["/task"]
    assert paths(agent("bot"), parent(task="12A")) == ["/task"]
    assert paths(agent("bot", task="12B"), parent()) == []


def test_an_agent_never_issues_to_a_person():
    assert paths(person("friend"), parent(agent)) == ["/subject/kind"]
    assert paths(agent("friend"), parent(agent)) == []
    assert paths(person("friend"), parent(person)) == []


def test_who_may_not_delegate_has_no_children():
    assert paths(agent("bot", may_delegate=False), parent(may_delegate=False)) == ["/may_delegate"]


def test_a_chain_ends_at_its_greatest_depth():
    deep = descend(*(agent(f"a{n}") for n in range(bounds.GRANT_DEPTH - 1)))
    assert len(deep) == bounds.GRANT_DEPTH
    assert paths(agent("one-more"), deep[-2]) == []
    assert paths(agent("one-more"), deep[-1]) == ["/may_delegate"]


def test_every_part_that_is_wider_is_named_at_once():
    above = parent(operations=only("crm.*"), task="12A", limits=(limit("*", 5, "count"),), expires_at=NOW)
    child = agent("bot", operations=only("payments.*"), task="12B", limits=(limit("*", 6, "count"),))
    assert paths(child, above) == ["/task", "/expires_in", "/operations/0/operation", "/limits/0/max"]


# ── from an order to a child ─────────────────────────────────────────────────────────────────────────────────────


def order(**more: Any) -> GrantOrder:
    return GrantOrder(**{"subject": Subject("agent", "bot", "2"), "operations": only("payments.*"), **more})


def test_what_an_order_leaves_out_is_inherited():
    ends = NOW + timedelta(hours=1)
    issuer = principal_of(
        descend(person("manager-x", task="12A", expires_at=ends), agent("planner", task="12A", expires_at=ends))
    )
    child = child_of(issuer, order(), grant="grant-7", token="il_x", now=NOW)
    assert (child.task, child.expires_at) == ("12A", ends)
    assert child.custody == ("grant-operator", "grant-manager-x", "grant-planner", "grant-7")
    assert (child.parent, child.commissioned_by, child.issued_by) == ("grant-planner", "manager-x", "planner")
    assert wider(child, issuer.chain[-1]) == []


def test_a_person_commissions_what_they_issue():
    issuer = principal_of(descend(person("manager-x")))
    child = child_of(issuer, order(expires_in_seconds=60), grant="grant-7", token="il_x", now=NOW)
    assert (child.commissioned_by, child.expires_at) == ("manager-x", NOW + timedelta(seconds=60))


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"subject": Subject("robot", "bot")}, "/subject/kind"),
        ({"subject": Subject("agent", "")}, "/subject/name"),
        ({"subject": Subject("agent", " bot")}, "/subject/name"),
        ({"subject": Subject("agent", "bo\u200bt")}, "/subject/name"),
        ({"subject": Subject("agent", "\u202etob")}, "/subject/name"),
        ({"subject": Subject("agent", "b" * 129)}, "/subject/name"),
        ({"subject": Subject("agent", "bot", "3\n1")}, "/subject/version"),
        ({"subject": Subject("person", "bob", None, "")}, "/subject/role"),
        ({"operations": ()}, "/operations"),
        ({"operations": only(*["crm.*"] * 65)}, "/operations"),
        ({"operations": only("payments.ref*")}, "/operations/0/operation"),
        ({"operations": only("payments")}, "/operations/0/operation"),
        ({"operations": only("*.refund")}, "/operations/0/operation"),
        ({"operations": only("crm.*", x=[])}, "/operations/0/where/x"),
        ({"operations": only("crm.*", x=Range(2, 1))}, "/operations/0/where/x"),
        ({"operations": only("crm.*", x=range(101))}, "/operations/0/where/x"),
        ({"limits": (Limit("*", "amount", "day", 5),)}, "/limits/0/currency"),
        ({"limits": (Limit("*", "count", "day", 5, "USD"),)}, "/limits/0/currency"),
        ({"limits": (limit("*", -1),)}, "/limits/0/max"),
        ({"limits": (limit("*", 2**63),)}, "/limits/0/max"),
        ({"limits": (limit("pay*", 5),)}, "/limits/0/operation"),
        ({"limits": (limit("*", 5),) * 17}, "/limits"),
        ({"expires_in_seconds": 0}, "/expires_in"),
        ({"expires_in_seconds": -5}, "/expires_in"),
        ({"expires_in_seconds": bounds.GRANT_SECONDS_MAX + 1}, "/expires_in"),
        ({"task": ""}, "/task"),
    ],
)
def test_what_is_no_grant_at_all_is_named(more, path):
    assert [fault["path"] for fault in faults(order(**more))] == [path]


def test_a_sound_order_has_no_faults():
    assert (
        faults(order(limits=(limit("payments.*", 0), limit("*", 3, "count")), expires_in_seconds=1, task="12A")) == []
    )


# ── whatever is accepted is narrower ─────────────────────────────────────────────────────────────────────────────

_VALUES = st.sampled_from([0, 1, 2, 3, "1", "USD", "EUR", True, False, None])
_ENDS = st.none() | st.integers(-1, 4)
_CONSTRAINTS = st.builds(Range, _ENDS, _ENDS) | st.lists(_VALUES, max_size=3).map(tuple)
_PERMISSIONS = st.builds(
    Permission,
    st.sampled_from(["*", "payments.*", "payments.refund", "crm.*"]),
    st.dictionaries(st.sampled_from(["amount", "currency"]), _CONSTRAINTS, max_size=2),
)
_OPERATIONS = st.lists(_PERMISSIONS, min_size=1, max_size=3).map(tuple)
_TASKS = st.sampled_from([None, "12A", "12B"])
_PARAMS = st.dictionaries(st.sampled_from(["amount", "currency"]), _VALUES | st.just(1.0), max_size=2)


@given(_OPERATIONS, _OPERATIONS, _TASKS, _TASKS, st.sampled_from(["payments.refund", "crm.update"]), _PARAMS, _TASKS)
def test_a_child_that_is_accepted_never_permits_what_its_parent_does_not(
    has, wants, parents_task, childs_task, operation, params, task
):
    above = parent(operations=has, task=parents_task)
    child = below(above, agent("bot", operations=wants, task=childs_task))
    if not wider(child, above) and permits(child, operation, params, task) is None:
        assert permits(above, operation, params, task) is None


@given(_OPERATIONS, _TASKS)
def test_a_child_like_its_parent_is_accepted(has, task):
    above = parent(operations=has, task=task)
    assert wider(below(above, agent("bot", operations=has, task=task)), above) == []

"""What a policy set says to an intent: allow, escalate or deny, by which policies, and why in words."""

import pytest
from judged import NOON, action, asking, judged

from authority.policy import DEFAULT, Judgement, judge, parse
from ledger.canonical import digest
from ledger.intents import Mode

SMALL = '@id("P-45") permit (principal, action == Action::"payments.refund", resource) when { context.amount < 5000 };'
PEOPLE = '@id("P-46") permit (principal, action == Action::"payments.refund#with_approval", resource);'
ALL = '@id("all") permit (principal, action, resource);'


def when(condition: str) -> str:
    return f'@id("P") permit (principal, action, resource) when {{ {condition} }};'


def holds(condition: str, *args, **how) -> bool:
    facts, at = how.pop("facts", None), how.pop("at", NOON)
    return judged(when(condition), asking(*(args or ("payments.refund",)), **how), facts, at).effect == "allow"


def refunding(amount: int, **how):
    return asking("payments.refund", amount=amount, **how)


# ── the verdict ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_built_in_set_allows_and_is_that_of_release_0_1():
    assert judge(DEFAULT, refunding(10**9), {}, NOON) == Judgement("allow", ("allow-all",))
    assert DEFAULT.digest == digest('@id("allow-all") permit (principal, action, resource);')
    assert DEFAULT.policies == ("allow-all",)


def test_what_a_permit_lets_pass_is_allowed_under_its_id():
    assert judged(SMALL + PEOPLE, refunding(4999)) == Judgement("allow", ("P-45",))


def test_what_only_people_may_let_pass_escalates_and_says_what_stopped_it():
    assert judged(SMALL + PEOPLE, refunding(12_000)) == Judgement(
        "escalate", ("P-45", "P-46"), ("P-45: context.amount < 5000 does not hold (it is 12000)",)
    )


def test_what_no_policy_lets_pass_is_denied_and_names_what_was_considered():
    assert judged(SMALL, refunding(5000)) == Judgement(
        "deny", ("P-45",), ("P-45: context.amount < 5000 does not hold (it is 5000)",)
    )


def test_what_no_policy_is_about_is_denied():
    said = judged(SMALL, asking("crm.update"))
    assert said == Judgement("deny", (), ("No policy permits crm.update to helper",))


def test_a_forbid_beats_every_permit_and_is_named():
    said = judged(ALL + '@id("no") forbid (principal, action in Action::"payments.*", resource);', refunding(1))
    assert said == Judgement("deny", ("no",), ("no forbids payments.refund",))


def test_a_forbid_that_a_person_may_lift_escalates():
    cedar = ALL + '@id("ask") forbid (principal, action, resource) when { context.amount > 100 && !context.approved };'
    said = judged(cedar, refunding(101))
    assert (said.effect, said.policies) == ("escalate", ("all", "ask"))
    assert said.reasons == (
        "ask forbids payments.refund: context.amount > 100 holds (it is 101) and !context.approved holds (it is false)",
    )


def test_a_forbid_of_the_plain_action_alone_leaves_it_to_people_and_one_of_the_group_does_not():
    forbid = '@id("no") forbid (principal, action {} Action::"payments.refund", resource);'
    assert judged(ALL + forbid.format("=="), refunding(1)).effect == "escalate"
    assert judged(ALL + forbid.format("in"), refunding(1)).effect == "deny"


def test_the_strictest_action_decides_for_the_intent():
    small, large, other = action("payments.refund", "a", 1), action("payments.refund", "b", 9_000), action("x.y", "c")
    assert judged(SMALL + PEOPLE, asking(small)).policies == ("P-45",)
    said = judged(SMALL + PEOPLE, asking(small, large))
    assert (said.effect, said.policies) == ("escalate", ("P-45", "P-46"))
    assert said.reasons == ("b: P-45: context.amount < 5000 does not hold (it is 9000)",)
    said = judged(SMALL + PEOPLE, asking(small, large, other))
    assert (said.effect, said.policies, said.reasons) == ("deny", (), ("c: No policy permits x.y to helper",))


def test_the_permits_of_every_action_are_the_authority_of_an_allowed_intent():
    mail = '@id("M-1") permit (principal, action == Action::"email.send", resource);'
    said = judged(mail + SMALL, asking(action("payments.refund", "a", 1), action("email.send", "b")))
    assert said == Judgement("allow", ("M-1", "P-45"))


def test_an_intent_without_actions_is_denied():
    assert judged(ALL, asking()).effect == "deny"


def test_permits_for_somebody_else_are_named_only_if_there_is_no_other():
    mine = '@id("mine") permit (principal, action, resource) when { principal.role == "a" && context.amount < 10 };'
    theirs = '@id("theirs") permit (principal, action, resource) when { principal.role == "b" };'
    assert judged(mine + theirs, refunding(10, role="a")).policies == ("mine",)
    said = judged(mine + theirs, refunding(10, role="c"))
    assert said.policies == ("mine", "theirs")
    assert said.reasons[1] == 'theirs: principal.role == "b" does not hold (it is "c")'


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_value_that_is_missing_denies_and_is_named():
    said = judged(when("context.facts.age > 90"), refunding(1), {"other": 1})
    assert said == Judgement(
        "deny", ("P",), ("P: context.facts.age > 90 could not be evaluated, because context.facts.age is not known",)
    )


def test_a_value_of_another_type_denies_and_is_shown():
    said = judged(when("context.params.n > 90"), asking("x.y", params={"n": "100"}))
    assert said.effect == "deny"
    assert said.reasons == (
        'P: context.params.n > 90 could not be evaluated, because its values do not fit (it is "100")',
    )


@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_an_error_in_one_policy_denies_whatever_the_others_say(effect):
    erring = f'@id("bad") {effect} (principal, action, resource) when {{ context.facts.nothing == 1 }};'
    said = judged(ALL + erring, refunding(1))
    assert (said.effect, said.policies) == ("deny", ("bad",))
    assert "context.facts.nothing is not known" in said.reasons[0]


def test_an_overflow_denies():
    said = judged(when("context.params.n * context.params.n > 0"), asking("x.y", params={"n": 2**53}))
    assert (said.effect, said.policies) == ("deny", ("P",))


def test_an_error_in_the_plain_request_leaves_it_to_people_whose_policy_does_not_err():
    erring = '@id("P-1") permit (principal, action == Action::"payments.refund", resource) when { context.facts.x };'
    said = judged(erring + PEOPLE, refunding(1))
    assert (said.effect, said.policies) == ("escalate", ("P-1", "P-46"))


def test_what_stands_behind_a_condition_that_fails_is_not_reached():
    assert judged(when("context.facts has x && context.facts.x > 1"), refunding(1)).reasons == (
        "P: context.facts has x does not hold",
    )


# ── who approves ─────────────────────────────────────────────────────────────────────────────────────────────────


def people(name: str, notes: str, operation: str = "payments.refund") -> str:
    return f'@id("{name}") {notes} permit (principal, action == Action::"{operation}#with_approval", resource);'


def test_without_annotations_any_eligible_person_approves():
    said = judged(people("a", ""), refunding(1))
    assert (said.approvers, said.quorum) == ((), 1)


def test_of_several_policies_all_must_name_the_approver_and_the_most_people_are_asked():
    cedar = people("a", '@approvers("finance, dana, eve") @quorum("2")') + people("b", '@approvers("eve,finance")')
    said = judged(cedar + people("c", '@quorum("3")'), refunding(1))
    assert (said.effect, said.approvers, said.quorum) == ("escalate", ("finance", "eve"), 3)


def test_of_several_actions_likewise():
    cedar = people("a", '@approvers("dana, eve")') + people("b", '@approvers("eve, finance") @quorum("2")', "x.y")
    said = judged(cedar, asking(action("payments.refund", "a"), action("x.y", "b")))
    assert (said.approvers, said.quorum) == (("eve",), 2)


def test_policies_that_name_nobody_in_common_deny():
    said = judged(people("a", '@approvers("dana")') + people("b", '@approvers("eve")'), refunding(1))
    assert (said.effect, said.policies) == ("deny", ("a", "b"))
    assert said.reasons[-1] == "a and b name no approver in common, so nobody may approve"


# ── what policy sees ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "condition",
    [
        'principal == Agent::"helper" && principal.name == "helper" && principal.kind == "agent"',
        'principal.version == "3.1" && principal.role == "clerk" && principal.grant == "grant-7"',
        'resource == System::"payments"',
        'action == Action::"payments.refund" && action in Action::"payments.*" && action in Action::"*"',
        'context.task == "12A" && context.mode == "execute" && !context.approved',
        'context.amount == 4200 && context.currency == "USD" && context.params.amount == 4200',
        'context.confidence == decimal("0.97")',
        'context.time == datetime("2030-06-01T12:00:00Z")',
        'context.facts.country == "US" && context.facts.tags.contains("a") && context.facts.deep.er == 1',
    ],
)
def test_policy_sees_who_what_where_and_the_circumstances(condition):
    facts = {"country": "US", "tags": ["a"], "deep": {"er": 1}}
    assert holds(condition, "payments.refund", role="clerk", confidence=0.97, amount=4200, facts=facts)


def test_what_is_not_there_is_empty():
    assert holds('context.task == "" && context.mode == "dry_run"', task=None, mode=Mode.DRY_RUN)
    assert holds('context.amount == 0 && context.currency == "" && principal.version == ""', "x.y", version=None)
    assert holds('principal is Person && principal.kind == "person"', kind="person")


def test_absent_confidence_counts_as_none():
    assert holds('context.confidence == decimal("0.0")', confidence=None)


@pytest.mark.parametrize(("stated", "seen"), [(0.97, "0.97"), (0.79999999, "0.7999"), (1.0, "1.0"), (1e-9, "0.0")])
def test_confidence_is_never_rounded_up(stated, seen):
    assert holds(f'context.confidence == decimal("{seen}")', confidence=stated)


def test_facts_of_one_action_are_not_those_of_another():
    both = asking(action("x.a", "a"), action("x.b", "b"))
    said = judge(parse(when("context.facts.ok")), both, {"a": {"ok": True}}, NOON)
    assert (said.effect, said.reasons[0][:3]) == ("deny", "b: ")


@pytest.mark.parametrize(
    ("number", "condition"),
    [
        (5, "context.params.n == 5"),
        (5.0, "context.params.n == 5"),  # one JSON number
        (2**63 - 1, "context.params.n == 9223372036854775807"),
        (0.25, 'context.params.n == decimal("0.25")'),
        (-0.0001, 'context.params.n == decimal("-0.0001")'),
        (True, "context.params.n == true"),
    ],
)
def test_numbers_that_cedar_has_are_compared(number, condition):
    assert holds(condition, "x.y", params={"n": number})


@pytest.mark.parametrize(
    "value", [0.00001, 1e15 + 0.5, 2**63, -(2**63) - 1, 1e300, {"__extn": {"fn": "decimal", "arg": "1.0"}}, [None]]
)
def test_values_that_cedar_does_not_have_are_there_and_fit_nothing(value):
    assert holds("context.params has n", "x.y", params={"n": value})
    for comparison in (
        "> 0",
        "< 10",
        "== 1",
        "== true",
        '== "1.0"',
        '== decimal("1.0")',
        '== decimal("0.0")',
        '.lessThan(decimal("5.0"))',
        '.greaterThan(decimal("0.0"))',
    ):
        assert not holds(
            f"context.params.n{'' if comparison[0] == '.' else ' '}{comparison}", "x.y", params={"n": value}
        )
    assert not holds("[1, 2].containsAll(context.params.n)", "x.y", params={"n": value})


def test_a_list_keeps_what_cedar_does_not_have_so_that_it_is_not_contained_in_another():
    inside = '["a", "b"].containsAll(context.params.to)'
    assert holds(inside, "x.y", params={"to": ["a"]})
    for stranger in (0.00001, None, 2**64, {"__entity": {"type": "Agent", "id": "x"}}):
        assert not holds(inside, "x.y", params={"to": ["a", stranger]})


def test_null_is_as_if_it_were_not_there():
    for nothing in (None, float("nan"), float("inf")):  # the last two are recorded as null
        assert not holds("context.params has n", "x.y", params={"n": nothing})


def test_reasons_are_bounded_in_number_and_length():
    many = "".join(
        f'@id("P-{n}") permit (principal, action, resource) when {{ context.params.x == "{n}{"y" * 600}" }};'
        for n in range(40)
    )
    said = judged(many, asking("x.y", params={"x": "z" * 5000}))
    assert len(said.policies) == 40
    assert (len(said.reasons), said.reasons[-1]) == (16, "and 25 more")
    assert max(map(len, said.reasons)) <= 500


@pytest.mark.parametrize(
    "condition",
    [
        'context.params.note == "n"',
        "context.params has note",
        "context has params.note",
        'context["facts"]["age"] == 91',
        "if context has facts.age then true else false",
        "context.amount + 1 == 4201",
        '["USD"].contains(context.currency)',
        'context.confidence.greaterThan(decimal("0.9"))',
        'context.task like "1*"',
        '{"how": context.mode}.how == "execute"',
        'context.time == datetime("2030-06-01T12:00:00Z")',
        "!context.approved",
        '{"all": context}.all.params.note == "n"',
        "{context: context}.context has facts",
        '(if principal.role == "x" then context else context).amount == 4200',
    ],
)
def test_whatever_a_policy_looks_at_it_is_told(condition):
    rules = f'@id("P") permit (principal, action, resource) when {{ {condition} }};'
    intent = asking("payments.refund", amount=4200, note="n", confidence=0.95, role="x")
    assert judged(rules, intent, {"age": 91}).effect == "allow"
    assert judged(rules.replace("when", "unless"), intent, {"age": 91}).effect != "allow"


def test_an_answer_that_is_remembered_is_to_the_same_question_only():
    rules = (
        '@id("P") permit (principal == Agent::"helper", action == Action::"payments.refund", resource)'
        ' when { context.amount < 5000 && context.facts.age > 90 && principal.grant == "grant-7" };'
    )
    right = {"amount": 4200, "name": "helper", "grant": "grant-7"}
    for wrong in ({"amount": 5000}, {"name": "other"}, {"grant": "grant-8"}):
        assert judged(rules, asking("payments.refund", **right), {"age": 91}).effect == "allow"
        assert judged(rules, asking("payments.refund", **{**right, **wrong}), {"age": 91}).effect == "deny"
    assert judged(rules, asking("payments.refund", **right), {"age": 90}).effect == "deny"
    assert judged(rules, asking("payments.refund", **right), {}).effect == "deny"
    assert judged(rules.replace("refund", "credit"), asking("payments.refund", **right), {"age": 91}).effect == "deny"


@pytest.mark.parametrize(
    ("conditions", "effect"),
    [
        ('when { principal.role == "other" && context.nothing == 1 }', "allow"),  # for somebody else, without an error
        ('when { principal.role == "clerk" && context.nothing == 1 }', "deny"),
        ('when { context.nothing == 1 && principal.role == "other" }', "deny"),  # errs before it looks who it is
        ('when { principal.role == "other" || context.nothing == 1 }', "deny"),
        ('unless { principal.role == "other" }', "deny"),
        ('when { principal.role == "clerk" } when { principal.name == "x" }', "allow"),
        ('when { principal.role == "clerk" } when { principal.name == "helper" }', "deny"),
        ('when { principal.team == "x" }', "deny"),
        ('when { principal.team == "x" && principal.role == "other" }', "deny"),
        ('when { principal.role == "other" && principal.team == "x" }', "allow"),
    ],
)
def test_a_policy_is_left_out_only_where_it_is_plainly_for_somebody_else(conditions, effect):
    rules = f'{ALL}\n@id("F") forbid (principal, action, resource) {conditions};'
    assert judged(rules, asking("payments.refund", name="helper", role="clerk")).effect == effect

"""Laws of policy, over sets, intents and facts that nobody thought of.

Cedar itself is trusted to evaluate one policy; what stands here is what we promise about the whole: that only what
policies clearly say happens, and that nothing which comes from outside is ever read as one.
"""

import json
from datetime import UTC, datetime

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged import NOON, action, asking

from authority.cedar_request import Asked
from authority.policy import judge, parse
from ledger.canonical import canonical
from ledger.events import IntentSubmitted, decode, encode

STRICTNESS = {"allow": 0, "escalate": 1, "deny": 2}
OPERATIONS = ("payments.refund", "payments.credit", "crm.update")
SCOPES = st.sampled_from(
    ["action", 'action in Action::"payments.*"', 'action in Action::"*"']
    + [f'action == Action::"{name}{suffix}"' for name in OPERATIONS for suffix in ("", "#with_approval")]
    + [f'action in [Action::"{name}", Action::"crm.*"]' for name in OPERATIONS]
)
CONDITIONS = st.sampled_from(
    [
        "true",
        "false",
        "context.approved",
        "!context.approved",
        "context.amount < 5000",
        "context.facts.age > 90",  # errs where there is no such fact, or of another type
        "context.params has note",
        "context has facts.age",
        '{"whole": context}.whole has params.tags',
        'context.task == "12A" && context.mode == "execute"',
        'context.time < datetime("2030-06-01") || context["currency"] == "USD"',
        'context.params.note == "x"',
        'principal.role == "clerk"',
        'principal.role == "other"',
        'principal.team == "x"',  # errs: nobody has one
        'context.confidence.greaterThanOrEqual(decimal("0.5"))',
        "context.params.amount + context.params.amount > 0",
        '["a", "b"].containsAll(context.params.tags)',
    ]
)
CLAUSES = st.lists(
    st.tuples(st.sampled_from(["when", "unless"]), st.lists(CONDITIONS, min_size=1, max_size=3)), max_size=3
)
RULES = st.lists(st.tuples(st.sampled_from(["permit", "permit", "forbid"]), SCOPES, CLAUSES), min_size=1, max_size=6)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "__extn", "__entity", "__expr", "fn", "arg", "type", "id"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
PARAMS = st.fixed_dictionaries({}, optional={"note": VALUES, "amount": VALUES, "tags": VALUES})
FACTS = st.fixed_dictionaries({}, optional={"age": VALUES})
WHO = st.fixed_dictionaries(
    {"name": st.text(min_size=1, max_size=8), "role": st.sampled_from([None, "clerk", "other"])}
)


def cedar(rules) -> str:
    return "\n".join(
        f'@id("R{number}") {effect} (principal, {scope}, resource) '
        + " ".join(f"{word} {{ {' && '.join(conditions)} }}" for word, conditions in clauses)
        + ";"
        for number, (effect, scope, clauses) in enumerate(rules)
    )


@st.composite
def intents(draw) -> IntentSubmitted:
    plans = []
    for number, name in enumerate(draw(st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=3))):
        plans.append(action(name, f"a{number}", draw(st.none() | st.integers(0, 10_000))))
        plans[-1].params.update(draw(PARAMS))
    return asking(*plans, **draw(WHO), confidence=draw(st.none() | st.floats(0, 1)))


def facts_of(intent: IntentSubmitted, facts):
    return {one.id: facts for one in intent.actions}


@settings(max_examples=60)
@given(RULES, intents(), FACTS)
def test_a_judgement_never_raises_and_can_be_repeated(rules, intent, facts):
    found = judge(parse(cedar(rules)), intent, facts_of(intent, facts), NOON)
    assert found == judge(parse.__wrapped__(cedar(rules)), intent, facts_of(intent, facts), NOON)
    assert (found.effect == "allow") == (not found.reasons)


@settings(max_examples=60)
@given(RULES, intents(), FACTS)
def test_adding_a_forbid_never_widens(rules, intent, facts):
    policy_set = parse(cedar(rules))
    before = judge(policy_set, intent, facts_of(intent, facts), NOON)
    for extra in (
        '@id("F") forbid (principal, action, resource);',
        '@id("F") forbid (principal, action == Action::"payments.refund", resource);',
        '@id("F") forbid (principal, action, resource) when { context.facts.age > 90 };',
        '@id("F") forbid (principal, action, resource) unless { context.approved };',
    ):
        after = judge(parse(f"{policy_set.text}\n{extra}"), intent, facts_of(intent, facts), NOON)
        assert STRICTNESS[after.effect] >= STRICTNESS[before.effect]


@settings(max_examples=60)
@given(RULES, intents(), FACTS, st.sampled_from(["permit", "forbid"]))
def test_a_policy_that_errs_never_lets_anything_happen(rules, intent, facts, effect):
    erring = f'@id("E") {effect} (principal, action, resource) when {{ context.nothing == 1 }};'
    found = judge(parse(f"{cedar(rules)}\n{erring}"), intent, facts_of(intent, facts), NOON)
    assert found.effect == "deny"
    assert "E" in found.policies


@settings(max_examples=60)
@given(RULES, intents(), FACTS)
def test_absent_confidence_is_confidence_of_nothing(rules, intent, facts):
    none, zero = (asking(*intent.actions, name="x", confidence=stated) for stated in (None, 0.0))
    policy_set = parse(cedar(rules))
    assert judge(policy_set, none, facts_of(intent, facts), NOON) == judge(
        policy_set, zero, facts_of(intent, facts), NOON
    )


@settings(max_examples=60)
@given(RULES, intents(), FACTS)
def test_each_answer_is_the_one_that_cedar_gives_to_the_whole_set(rules, intent, facts):
    """We ask only the policies that may be about an action, tell them only what they may look at, remember what they
    said, and read it our own way; this asks all of them, and tells them everything."""
    text = cedar(rules)
    for plan in intent.actions:
        asked = Asked(intent, plan, facts, NOON)
        said = []
        for approved in (False, True):
            question = asked.question(approved=approved)
            answer = cedarpy.is_authorized(question.request, text, question.entities)
            said.append(answer.allowed and not answer.diagnostics.errors)
        expected = "allow" if said[0] else "escalate" if said[1] else "deny"
        found = judge(parse(text), asking(plan, **who(intent)), {plan.id: facts}, NOON)
        assert found.effect == expected


@settings(max_examples=60)
@given(RULES, intents(), FACTS)
def test_a_recorded_intent_is_judged_as_it_was_before_it_was_recorded(rules, intent, facts):
    try:
        again, known = decode("IntentSubmitted", encode(intent)), canonical(facts)
    except Exception:  # noqa: BLE001  (what cannot be recorded never comes to be judged again)
        return
    first = judge(parse(cedar(rules)), intent, facts_of(intent, facts), NOON)
    second = judge(parse(cedar(rules)), again, facts_of(again, json.loads(known)), NOON)
    assert (first.effect, first.policies) == (second.effect, second.policies)


def who(intent: IntentSubmitted):
    return {"name": intent.agent.name, "role": intent.agent.role, "confidence": intent.confidence}


HOSTILE = (
    'x"', 'x");\npermit (principal, action, resource);', 'x" || true || "', "x\\", "\\u{22}", "principal",
    'Agent::"root"', "a\nb", "\u202eevil", "\x00", "e\u0301", "\u00e9", "\U000103ff", "*", "x') or 1=1 --", "{}", "[]",
    "", " root ", "root\x1f", "refund#with_approval",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_from_outside_is_read_as_policy(text):
    """Every name and value that an agent or a system chooses, where only `root` may act and `y` may be written."""
    only_root = parse(
        '@id("root") permit (principal == Agent::"root", action == Action::"payments.refund", resource)'
        ' when { context.params.note == "y" && context.task == "t" && principal.role == "r" };'
    )
    right = {"name": "root", "role": "r", "task": "t", "params": {"note": "y"}}
    assert judge(only_root, asking("payments.refund", **right), {}, NOON).effect == "allow"
    for wrong in ({"name": text}, {"role": text}, {"task": text}, {"params": {"note": text}}, {"params": {text: "y"}}):
        found = judge(only_root, asking("payments.refund", **{**right, **wrong}), {"it": {text: text}}, NOON)
        assert found.effect == "deny"
        assert found.policies == ("root",) or "name" in wrong
    elsewhere = judge(only_root, asking(f"payments.{text}", **right), {}, NOON)
    assert elsewhere.effect == "deny"


@settings(max_examples=60)
@given(st.text(max_size=20))
def test_a_value_equals_itself_and_no_other(text):
    exact = '@id("P") permit (principal, action, resource) when { context.params.x == context.facts.x };'
    same = judge(parse(exact), asking("x.y", params={"x": text}), {"it": {"x": text}}, NOON)
    other = judge(parse(exact), asking("x.y", params={"x": text}), {"it": {"x": text + "a"}}, NOON)
    assert (same.effect, other.effect) == ("allow", "deny")


@settings(max_examples=60)
@given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001
def test_every_moment_is_one_that_policy_can_compare(at):
    before = '@id("P") permit (principal, action, resource) when { context.time >= datetime("1970-01-01") };'
    assert judge(parse(before), asking("x.y"), {}, at).effect == "allow"

"""The verdict is the first no of grants, task, limits and policy, and says which of them it was."""

import pytest
from chains import NOW, action, agent, descend, intent, limit, only, person, refund

from authority.policy import DEFAULT, parse
from authority.verdict import evaluate
from ledger.events import decode, encode
from ledger.grants import Charge
from ledger.intents import Subject
from ledger.tasks import TaskContract

CHAIN = descend(
    person("manager-x", operations=only("payments.*", "crm.*"), limits=(limit("payments.*", 50_000),)),
    agent("refunder", operations=only("*")),
)
SMALL = parse('@id("P-45") permit(principal, action, resource) when { context.amount < 5000 };')
ASKS = parse('@id("P-46") permit(principal, action, resource) when { context.approved };')


def verdict(*actions, chain=CHAIN, policy_set=DEFAULT, facts=None, **more):
    return evaluate(chain, policy_set, intent(chain, *actions, **more), facts or {}, NOW)


def test_what_everybody_permits_is_allowed_and_names_its_authority():
    found = verdict(refund(4200), policy_set=SMALL, facts={"a": {"age_days": 120}})
    assert (found.effect, found.policies, found.policy_set) == ("allow", ("P-45",), SMALL.digest)
    assert found.charges == (Charge("grant-manager-x/0", "day", 4200, 50_000),)
    assert (found.facts, found.evaluated_at) == ({"a": {"age_days": 120}}, NOW)


def test_grants_come_before_policy():
    found = verdict(action("email.send"))
    assert (found.effect, found.policies, found.charges) == ("deny", (), ())
    assert found.reasons == ("email.send is outside grant grant-manager-x: it permits payments.*, crm.* only",)


def test_one_action_outside_denies_the_whole_intent():
    assert verdict(refund(1), action("email.send")).effect == "deny"


def test_a_task_permits_what_is_in_its_scope():
    contract = TaskContract(task="12A", owner="dana", scope=("crm.*",))
    assert verdict(action("crm.update"), contract=contract).effect == "allow"
    found = verdict(refund(1), action("crm.update"), contract=contract)
    assert (found.effect, found.reasons) == ("deny", ('payments.refund is outside task "12A": its scope is crm.*',))


def test_a_task_without_scope_permits_nothing():
    contract = TaskContract(task="12A", owner="dana", scope=())
    assert verdict(refund(1), contract=contract).effect == "deny"


@pytest.mark.parametrize("money", [(50_001, "USD"), (5, "EUR"), (-5, "USD"), ("5", "USD"), (True, "USD")])
def test_limits_that_can_never_be_kept_deny(money):
    found = verdict(refund(*money))
    assert (found.effect, found.charges) == ("deny", ())
    assert "limit grant-manager-x/0" in found.reasons[0]


def test_policy_denies_what_grants_permit():
    found = verdict(refund(12_000), policy_set=SMALL)
    assert (found.effect, found.charges) == ("deny", ())
    assert found.reasons


def test_policy_may_ask_for_people_and_the_limits_are_charged_all_the_same():
    found = verdict(refund(12_000), policy_set=ASKS)
    assert (found.effect, found.policies, found.quorum) == ("escalate", ("P-46",), 1)
    assert found.charges == (Charge("grant-manager-x/0", "day", 12_000, 50_000),)


def chain_of_agents(*names):
    return descend(person("manager-x"), *({"subject": Subject(kind="agent", name=name)} for name in names))


def test_an_agent_cannot_delegate_what_policy_does_not_permit_itself():
    policy_set = parse(
        '@id("P-1") permit(principal == Agent::"specialist", action, resource);\n'
        '@id("P-2") permit(principal == Agent::"lead", action, resource) when { context.amount < 50 };'
    )
    for amount, effect in ((49, "allow"), (50, "deny")):
        found = verdict(refund(amount), chain=chain_of_agents("lead", "specialist"), policy_set=policy_set)
        assert found.effect == effect
    assert found.policies == ("P-2",)
    assert all(reason.startswith("lead, who delegated it: ") for reason in found.reasons)
    assert found.charges == ()
    for alone in ("specialist", "lead"):
        found = verdict(refund(50), chain=chain_of_agents(alone), policy_set=policy_set)
        assert found.effect == ("allow" if alone == "specialist" else "deny")
    found = verdict(refund(50), chain=chain_of_agents("lead", "between", "specialist"), policy_set=policy_set)
    assert (found.effect, len(found.reasons)) == ("deny", 2)


def test_what_one_agent_of_the_chain_needs_people_for_all_of_it_does():
    policy_set = parse(
        '@id("P-1") permit(principal == Agent::"specialist", action, resource);\n'
        '@id("P-2") @approvers("dana,erin") @quorum("2") '
        'permit(principal, action == Action::"payments.refund#with_approval", resource) '
        'when { ["lead", "between"].contains(principal.name) };\n'
        '@id("P-3") @approvers("erin,frank") '
        'permit(principal == Agent::"between", action == Action::"payments.refund#with_approval", resource);\n'
        '@id("P-4") @approvers("frank") '
        'permit(principal == Agent::"other", action == Action::"payments.refund#with_approval", resource);'
    )
    found = verdict(refund(5), chain=chain_of_agents("lead", "specialist"), policy_set=policy_set)
    assert (found.effect, found.approvers, found.quorum) == ("escalate", ("dana", "erin"), 2)
    assert set(found.policies) == {"P-1", "P-2"}
    found = verdict(refund(5), chain=chain_of_agents("lead", "between"), policy_set=policy_set)
    assert (found.effect, found.approvers, found.quorum) == ("escalate", ("erin",), 2)
    found = verdict(refund(5), chain=chain_of_agents("lead", "other"), policy_set=policy_set)
    assert (found.effect, "nobody may approve" in found.reasons[-1]) == ("deny", True)


def test_people_above_are_not_judged_by_policy():
    policy_set = parse('@id("P-1") permit(principal is Agent, action, resource);')
    assert verdict(refund(5), chain=chain_of_agents("lead"), policy_set=policy_set).effect == "allow"


def test_an_unknown_chain_is_denied():
    asked = intent(CHAIN, refund(1))
    assert evaluate((), DEFAULT, asked, {}, NOW).effect == "deny"


@pytest.mark.parametrize("actions", [(refund(4200),), (refund(12_000),), (action("email.send"),), (refund(-5),)])
def test_what_was_stored_gives_the_same_verdict_again(actions):
    first = verdict(*actions, policy_set=SMALL)
    chain = tuple(decode("GrantIssued", encode(one)) for one in CHAIN)
    again = evaluate(chain, parse(SMALL.text), decode("IntentSubmitted", encode(intent(CHAIN, *actions))), {}, NOW)
    assert encode(again) == encode(first)

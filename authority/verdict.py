"""The verdict of authority on one intent: grants, then task, then limits, then policy; the first that says no denies.

Pure, and made of nothing but what events hold (the grants of the chain, the intent, the facts, the time, the text of
the policy set): whoever has the events can repeat it offline, years later, and must find the same. It never raises for
what an agent sent: what cannot be judged is denied, with the reason.

Authority is the intersection along the chain for policy too: it judges every agent of the chain as if it acted itself,
and the strictest verdict counts. An agent that may delegate names its children, and gives them roles; without this it
could make one whom policy permits what it does not permit the agent. People, who answer for policy, are not judged.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from authority.grants import outside
from authority.limits import charges
from authority.policy import Judgement, PolicySet, judge, strictest
from ledger.bounds import DECISION_REASONS
from ledger.events import GrantIssued, IntentSubmitted, PolicyEvaluated, StandingAnomaly
from ledger.grants import Charge, covers
from ledger.intents import JSON
from ledger.visible_text import brief_json


def evaluate(
    chain: Sequence[GrantIssued],
    policy_set: PolicySet,
    submitted: IntentSubmitted,
    facts: Mapping[str, JSON],
    at: datetime,
    *,
    anomalies: tuple[StandingAnomaly, ...] = (),
) -> PolicyEvaluated:
    """Give the verdict on an intent; `facts` are by action, `at` is the time that policy sees.

    `anomalies` is what is odd about whoever acts: policy sees their kinds, and one that escalates turns what policy
    would allow into a question to people. An intent that is denied before policy was asked names no policy. `charges`
    are what a decision to commit has to take from the limits; a denied intent takes nothing.
    """
    denied, taken = _before_policy(chain, submitted)
    if denied:
        return _deny(denied, policy_set, facts, at)
    kinds = tuple(sorted({one.kind for one in anomalies}))
    judgement = _raised(_strictest(chain, policy_set, submitted, facts, at, anomalies=kinds), anomalies)
    return PolicyEvaluated(
        effect=judgement.effect,
        policies=judgement.policies,
        policy_set=policy_set.digest,
        reasons=judgement.reasons,
        facts=dict(facts),
        evaluated_at=at,
        approvers=judgement.approvers,
        quorum=judgement.quorum,
        charges=() if judgement.effect == "deny" else taken,
        anomalies=anomalies,
    )


def foregone(
    chain: Sequence[GrantIssued], policy_set: PolicySet, submitted: IntentSubmitted, at: datetime
) -> PolicyEvaluated | None:
    """Give the verdict that no fact and no policy can change: a denial by grants, task or limits; None without one.

    Who asks first looks up nothing for an intent that is denied anyway, and so shows nobody what they may not see.
    """
    denied, _ = _before_policy(chain, submitted)
    return _deny(denied, policy_set, {}, at) if denied else None


def _before_policy(
    chain: Sequence[GrantIssued], submitted: IntentSubmitted
) -> tuple[tuple[str, ...], tuple[Charge, ...]]:
    """Return why grants, task or limits deny, and what is taken from the limits if they do not."""
    denied = outside(chain, submitted) or _out_of_scope(submitted)
    taken = () if denied else charges(chain, submitted)
    return ((taken,), ()) if isinstance(taken, str) else (denied, taken)


def _strictest(
    chain: Sequence[GrantIssued],
    policy_set: PolicySet,
    submitted: IntentSubmitted,
    facts: Mapping[str, JSON],
    at: datetime,
    *,
    anomalies: tuple[str, ...],
) -> Judgement:
    """Give what policy says of an intent for whoever acts and for every agent above, nearest first."""
    own = judge(policy_set, submitted, facts, at, anomalies)
    above = [grant for grant in reversed(chain[:-1]) if grant.subject.kind != "person"]
    if not above:
        return own
    found = [own]
    for grant in above:
        acting = msgspec.structs.replace(submitted, agent=grant.subject, grant=grant.grant)
        judged = judge(policy_set, acting, facts, at, anomalies)
        reasons = tuple(f"{grant.subject.name}, who delegated it: {reason}" for reason in judged.reasons)
        found.append(msgspec.structs.replace(judged, reasons=reasons))
    return strictest(found)


def _raised(judgement: Judgement, anomalies: tuple[StandingAnomaly, ...]) -> Judgement:
    """Ask people about what policy would allow, while an anomaly stands of which configuration says so."""
    raising = tuple(one for one in anomalies if one.escalates)
    if judgement.effect != "allow" or not raising:
        return judgement
    reasons = tuple(f"{one.name} does something odd: {one.kind} (anomaly {one.anomaly})" for one in raising)
    return msgspec.structs.replace(judgement, effect="escalate", reasons=reasons[:DECISION_REASONS])


def _deny(reasons: tuple[str, ...], policy_set: PolicySet, facts: Mapping[str, JSON], at: datetime) -> PolicyEvaluated:
    return PolicyEvaluated(
        effect="deny",
        policies=(),
        policy_set=policy_set.digest,
        reasons=reasons,
        facts=dict(facts),
        evaluated_at=at,
    )


def _out_of_scope(submitted: IntentSubmitted) -> tuple[str, ...]:
    """Return why the contract of an intent's task does not cover its actions."""
    contract = submitted.contract
    if contract is None:
        return ()
    beyond = dict.fromkeys(
        plan.operation
        for plan in submitted.actions
        if not any(covers(pattern, plan.operation) for pattern in contract.scope)
    )
    scope = ", ".join(contract.scope) or "nothing"
    return tuple(
        f"{operation} is outside task {brief_json(contract.task)}: its scope is {scope}" for operation in beyond
    )

"""How long a policy decision takes, away from everything else: `python -m bench.policies`.

Sets of 50 and 500 policies, of which a fifth or all are about the operation that is asked about; an intent that is
allowed, one that a person must decide, one that is denied. What is not allowed takes longer, because then the condition
that failed is looked for. Prints the median and the 99th percentile in microseconds.
"""

import json
import statistics
import sys
import time
from datetime import UTC, datetime

from authority.policy import PolicySet, judge, parse
from ledger.events import IntentSubmitted
from ledger.intents import ActionPlan, Guarantee, Mode, Subject, Undo

ROUNDS = 2_000
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
FACTS = {"refund": {"account_age_days": 120, "country": "US"}}
AMOUNTS = {"allow": 4_200, "escalate": 12_000, "deny": 2_000_000}


def policies(number: int, about: int) -> PolicySet:
    """Return a set of so many policies, of which one in `about` is about refunds."""
    verbs = ["refund" if n % about == 0 else f"op{n}" for n in range(number - 2)]
    rules = [
        f'@id("P-{n}") permit (principal is Agent, action in Action::"payments.{verb}", resource)'
        f' when {{ principal.role == "payment-specialist" && context.amount < {5000 + n} }}'
        ' when { context.facts.account_age_days > 90 && context.facts.country == "US" };'
        for n, verb in enumerate(verbs)
    ]
    rules += [
        '@id("person") permit (principal, action == Action::"payments.refund#with_approval", resource);',
        '@id("never") forbid (principal, action, resource) when { context.amount > 1000000 };',
    ]
    return parse("\n".join(rules))


def refund(amount: int) -> IntentSubmitted:
    """Return an intent as an agent of the support department would submit it."""
    plan = ActionPlan(
        id="refund",
        adapter="payments",
        operation="payments.refund",
        params={"charge": "ch_88", "amount": amount, "currency": "USD"},
        guarantee=Guarantee.ATOMIC,
        undo=Undo.SEMANTIC,
        summary="refund",
        key="key",
        undo_key="undo",
        amount_minor=amount,
        currency="USD",
    )
    return IntentSubmitted(
        intent="01930000-0000-7000-8000-000000000001",
        idempotency_key="k",
        request_digest="sha256:0",
        agent=Subject(kind="agent", name="payment-specialist", version="3.1", role="payment-specialist"),
        grant="grant-7",
        custody=("grant-operator", "grant-7"),
        commissioned_by="manager-x",
        task="12A",
        reason="Customer 88 was charged twice",
        confidence=0.97,
        mode=Mode.EXECUTE,
        deadline_seconds=30,
        context={"ticket": "T-1841"},
        actions=(plan,),
    )


def measure(policy_set: PolicySet, effect: str) -> dict[str, float]:
    """Return what one verdict takes, in microseconds."""
    submitted, times = refund(AMOUNTS[effect]), []
    for _ in range(ROUNDS):
        began = time.perf_counter_ns()
        found = judge(policy_set, submitted, FACTS, NOON)
        times.append((time.perf_counter_ns() - began) / 1_000)
        if found.effect != effect:
            sys.exit(f"The verdict is {found.effect}, and {effect} was to be measured.")
    return {"p50": round(statistics.median(times), 1), "p99": round(statistics.quantiles(times, n=100)[98], 1)}


def main() -> None:
    """Measure and print."""
    figures = {
        f"{number} policies, {'all' if about == 1 else f'one in {about}'} about it": {
            effect: measure(policies(number, about), effect) for effect in AMOUNTS
        }
        for number, about in ((50, 5), (50, 1), (500, 50), (500, 5))
    }
    json.dump({"microseconds": figures}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()

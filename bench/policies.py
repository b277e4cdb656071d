"""How long a policy decision takes, away from everything else: `python -m bench.policies`.

The set of 50 policies under which the whole service is measured (`bench/under_authority.py`), asked about one action
and about two; then sets of 50 and 500, of which 10 or all are about the operation asked about. An intent that is
allowed, one that a person must decide, one that is denied. What is not allowed takes longer, because then the condition
that failed is looked for. No payment is the same twice, so that the answer is never a remembered one. Prints the median
and the 99th percentile in microseconds.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from authority.policy import PolicySet, judge, parse
from bench import under_authority
from ledger.events import IntentSubmitted
from ledger.intents import ActionPlan, Guarantee, Mode, Subject, Undo

ROUNDS = 2_000
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
FACTS = {"account_age_days": 120, "country": "US"}
AMOUNTS = {"allow": 1_000, "escalate": 60_000, "deny": 20_000_000}


def policies(number: int, about: int) -> PolicySet:
    """Return a set of so many policies, of which one in `about` is about refunds."""
    verbs = ["refund" if n % about == 0 else f"op{n}" for n in range(number - 2)]
    rules = [
        f'@id("P-{n}") permit (principal is Agent, action in Action::"payments.{verb}", resource)'
        f' when {{ principal.role == "payment-specialist" && context.amount < {50000 + n} }}'
        ' when { context.facts.account_age_days > 90 && context.facts.country == "US" };'
        for n, verb in enumerate(verbs)
    ]
    rules += [
        '@id("person") permit (principal, action == Action::"payments.refund#with_approval", resource);',
        '@id("never") forbid (principal, action, resource) when { context.amount > 10000000 };',
    ]
    return parse("\n".join(rules))


def plan(operation: str, amount: int) -> ActionPlan:
    """Return an action as the service would plan it."""
    adapter, _, verb = operation.partition(".")
    return ActionPlan(
        id=verb if adapter == "payments" else adapter,
        adapter=adapter,
        operation=operation,
        params={"account": "customer-88", "amount": amount, "currency": "USD"},
        guarantee=Guarantee.ATOMIC,
        undo=Undo.SEMANTIC,
        summary=operation,
        key="key",
        undo_key="undo",
        amount_minor=amount,
        currency="USD",
    )


def intent(*actions: ActionPlan) -> IntentSubmitted:
    """Return an intent as an agent of the support department would submit it."""
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
        actions=actions,
    )


def measure(policy_set: PolicySet, asking: Callable[[int], IntentSubmitted]) -> dict[str, dict[str, float]]:
    """Return what one verdict takes, in microseconds, by effect; `asking` makes the intent for an amount."""
    return {effect: _measure(policy_set, asking, effect) for effect in AMOUNTS}


def _measure(policy_set: PolicySet, asking: Callable[[int], IntentSubmitted], effect: str) -> dict[str, float]:
    times = []
    for number in range(ROUNDS):
        submitted = asking(AMOUNTS[effect] + number)
        facts = {one.id: FACTS for one in submitted.actions}
        began = time.perf_counter_ns()
        found = judge(policy_set, submitted, facts, NOON)
        times.append((time.perf_counter_ns() - began) / 1_000)
        if found.effect != effect:
            sys.exit(f"The verdict is {found.effect}, and {effect} was to be measured.")
    return {"p50": round(statistics.median(times), 1), "p99": round(statistics.quantiles(times, n=100)[98], 1)}


def main() -> None:
    """Measure and print."""
    department = parse(under_authority.policies())
    figures = {
        "50 of a department, one action": measure(department, lambda amount: intent(plan("payments.post", amount))),
        "50 of a department, two actions": measure(
            department, lambda amount: intent(plan("payments.post", amount), plan("crm.post", 1))
        ),
    }
    for number, about in ((50, 5), (500, 50), (50, 1)):
        figures[f"{number}, of which {number // about} are about it, one action"] = measure(
            policies(number, about), lambda amount: intent(plan("payments.refund", amount))
        )
    json.dump({"microseconds": figures}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
